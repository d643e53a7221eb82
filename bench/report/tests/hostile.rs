//! Any recording makes a page and a verdict, or an error: whatever its fields hold, nothing panics.
//!
//! The records are written from their own descriptions, so that a field that is added is tried too.

mod common;

use common::{kernel, native, run};
use proptest::prelude::*;
use records::lines::{Recording, read};
use records::record::FieldDoc;
use records::{End, Latency, Meta, Record, Remark, Throughput, VERSION, Waste};
use report::compare::{Options, compare};
use report::page;

/// Names that mean something somewhere, and some that mean harm.
const TEXTS: &[&str] = &[
    "heap",
    "talc",
    "mm",
    "null",
    "halted",
    "pair64",
    "pair",
    "round",
    "kernel",
    "native",
    "debug",
    "bare metal",
    "tsc",
    "pages",
    "bytes",
    "fill_per_mille",
    "alloc",
    "",
    "<b>&\"'",
    "\u{202e}\u{0}\n{\"kind\":\"bench-row\"",
    "a name that is longer than any column of any table has room for, and has blanks",
];

/// Where arithmetic goes wrong, and what is usual.
const NUMBERS: &[u64] =
    &[0, 1, 2, 3, 7, 64, 999, 1000, 1001, 4096, 1 << 32, 1 << 53, i64::MAX as u64, u64::MAX - 1, u64::MAX];

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => prop::sample::select(NUMBERS), 1 => any::<u64>()]
}

/// A field of a record as JSON, by the shape that its description names.
fn field(field: &'static FieldDoc) -> BoxedStrategy<String> {
    let text = prop_oneof![
        8 => prop::sample::select(TEXTS).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    // Quoted as Rust does but for what JSON has no such escape for.
    let text = text.prop_map(|text| {
        let escaped: String = text
            .chars()
            .map(|c| if c < ' ' || c == '"' || c == '\\' { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
            .collect();
        format!("\"{escaped}\"")
    });
    let value = match field.shape.trim_end_matches(", or null") {
        // Other versions are refused before anything is looked at.
        _ if field.name == "version" => Just(VERSION.to_string()).boxed(),
        "number" => number().prop_map(|number| number.to_string()).boxed(),
        "text" => text.boxed(),
        "truth" => any::<bool>().prop_map(|truth| truth.to_string()).boxed(),
        "numbers" => {
            prop::collection::vec(number(), 0..13).prop_map(|list| format!("{list:?}").replace(' ', "")).boxed()
        }
        other => panic!("{}: a shape that is not known here: {other}", field.name),
    };
    let value = match field.shape.ends_with(", or null") {
        true => prop_oneof![1 => Just("null".to_owned()), 3 => value].boxed(),
        false => value,
    };
    value.prop_map(|value| format!("\"{}\":{value}", field.name)).boxed()
}

fn line<R: Record>() -> impl Strategy<Value = String> {
    let fields: Vec<_> = R::FIELDS.iter().map(field).collect();
    fields.prop_map(|fields| format!("{{\"kind\":\"{}\",{}}}\n", R::KIND, fields.join(",")))
}

/// A run as text.
fn text() -> impl Strategy<Value = String> {
    let rows = prop::collection::vec(line::<Throughput<'_>>(), 0..12);
    let others = prop_oneof![line::<Latency<'_>>(), line::<Waste<'_>>(), line::<Remark<'_>>()];
    let others = prop::collection::vec(others, 0..12);
    let end = prop::option::of(line::<End<'_>>());
    (line::<Meta<'_>>(), rows, others, end)
        .prop_map(|(meta, rows, others, end)| meta + &rows.concat() + &others.concat() + &end.unwrap_or_default())
}

/// Its numbers exchanged for others in a recording that is otherwise as it should be.
fn shaped() -> impl Strategy<Value = Recording> {
    let numbers = prop::collection::vec(number(), 1..40);
    (any::<bool>(), numbers).prop_map(|(is_kernel, numbers)| {
        let mut recording = if is_kernel { kernel(1, 0.05) } else { native(1, 0.05) };
        let mut next = numbers.iter().copied().cycle();
        let mut next = || next.next().unwrap_or(0);
        for row in &mut recording.rows {
            row.milliticks_per_op.to_mut().fill_with(&mut next);
            (row.nr_ops, row.nr_locks, row.nr_bad) = (next(), Some(next()), next());
            row.milli_instructions_per_op = Some(next());
        }
        for row in &mut recording.wastes {
            (row.live_bytes, row.held_bytes) = (next(), next());
        }
        if let Some(end) = &mut recording.end {
            end.nr_bad = next();
        }
        recording
    })
}

fn judge(a: Recording, b: Recording) {
    let (a, b) = ([run(a)], [run(b)]);
    for (is_forced, is_counts) in [(false, false), (true, false), (true, true)] {
        for reference in [None, Some("talc".to_owned())] {
            let options = Options { is_forced, is_counts, reference, ..Options::default() };
            let verdict = compare(&a, &b, &options);
            assert!(verdict.exit_code() <= 2 && !verdict.to_string().is_empty());
            // Pooled with itself.
            let verdict = compare(&[a[0].clone(), b[0].clone()], &b, &options);
            assert!(verdict.exit_code() <= 2 && !verdict.to_string().is_empty());
        }
    }
}

fn draw(recordings: Vec<Recording>) -> Result<(), TestCaseError> {
    let runs: Vec<_> = recordings.into_iter().map(run).collect();
    let sections = page::sections(&runs);
    let html = page::html(&sections, "report.plots", "just report");
    prop_assert!(html.ends_with("</html>\n") && !html.contains("NaN\"") && !html.contains("<b>"));
    for plot in sections.iter().flat_map(page::Section::plots) {
        let svg = plot::svg::file(&plot.alone("origin", "command"));
        prop_assert!(svg.contains("</svg>") && !svg.contains("NaN") && !svg.contains("inf"));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_recording_makes_a_page_or_an_error(one in text(), other in text()) {
        // What was written is read: only a remark with a record in it could be another.
        let runs = read(&(one + &other));
        prop_assert!(runs.is_ok(), "{runs:?}");
        draw(runs.unwrap_or_default())?;
    }

    #[test]
    fn no_recording_is_fatal_to_a_comparison(one in text(), other in text()) {
        let (Ok(a), Ok(b)) = (read(&one), read(&other)) else { return Err(TestCaseError::fail("it was written here")) };
        judge(a[0].clone(), a[0].clone());
        judge(a[0].clone(), b[0].clone());
    }

    #[test]
    fn any_numbers_in_a_whole_recording_are_compared_and_drawn(a in shaped(), b in shaped()) {
        draw(vec![a.clone()])?;
        judge(a, b);
    }

    #[test]
    fn any_text_is_a_recording_or_an_error(text in "(\\{\"kind\":\"bench-(meta|row|end)\"[,:\"a-z0-9{}\\[\\]]{0,20}\n?){0,4}") {
        if let Err(error) = read(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
