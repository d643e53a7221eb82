//! Pages of what recordings may hold.

mod common;

use common::{kernel, meta, native, remark, row, run, tiny};
use proptest::prelude::*;
use records::lines::Recording;
use records::{Throughput, Waste};
use report::page;

fn html(recordings: Vec<Recording>) -> String {
    let runs: Vec<_> = recordings.into_iter().map(run).collect();
    page::html(&page::sections(&runs), "report.plots", "just report")
}

/// Every element is closed in its order: the page is whole whatever was in the recording.
fn check_nesting(html: &str) {
    let mut open = Vec::new();
    for piece in html.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("a tag ends");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed in order");
        } else if !tag.ends_with('/') && !["meta", "!DOCTYPE"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The text of the page without its tags and without drawings' numbers.
fn count(html: &str, what: &str) -> usize {
    html.matches(what).count()
}

#[test]
fn a_page_has_every_plot_twice_and_nothing_from_elsewhere() {
    let html = html(vec![kernel(1, 0.03), native(2, 0.03)]);
    check_nesting(&html);
    assert_eq!(count(&html, "<figure"), count(&html, "<svg class=\"plot wide\""));
    assert_eq!(count(&html, "<figure"), count(&html, "<svg class=\"plot narrow\""));
    assert!(count(&html, "<figure") >= 18, "{}", count(&html, "<figure"));
    for elsewhere in ["src=", "http:", "https:", "url(", "<script", "<link", "@import"] {
        assert_eq!(count(&html, elsewhere), 0, "{elsewhere}");
    }
    for chapter in ["At a glance", "Throughput", "Cost of single operations", "Latency", "Memory"] {
        assert!(html.contains(&format!("class=\"chapter\">{chapter}")), "{chapter}");
    }
    assert!(html.contains("oversubscribed: the host has 2 CPUs") && html.contains(">ideal<"));
    assert!(html.contains("Made again by <code>just bench</code>"));
    // Links within the page lead somewhere, once.
    for link in html.split("href=\"#").skip(1).map(|rest| rest.split('"').next().expect("an end")) {
        assert_eq!(count(&html, &format!("id=\"{link}\"")), 1, "{link}");
    }
}

#[test]
fn times_of_an_emulated_run_are_relative_and_marked() {
    let emulated = html(vec![kernel(1, 0.03)]);
    let real = html(vec![Recording {
        meta: records::Meta { is_emulated: false, host_cpus: None, ..meta("kernel") },
        ..kernel(1, 0.03)
    }]);
    assert!(emulated.contains("emulated: relative only") && !real.contains("emulated: relative only"));
    assert!(emulated.contains("relative to heap on 1 CPU") && real.contains("pairs per second"));
    for absolute in [" ns<", " µs<", " ms<", "per second"] {
        assert!(!emulated.contains(absolute), "{absolute}");
        assert!(real.contains(absolute) || absolute == " ms<", "{absolute}");
    }
    assert!(emulated.contains("oversubscribed") && !real.contains("oversubscribed"));
}

#[test]
fn losses_are_in_the_titles_and_in_the_list() {
    let html = html(vec![native(2, 0.01)]);
    assert!(html.contains("On 1 CPU mm is behind its best peer in 1 of 5 workloads"), "a title");
    assert!(html.contains("Behind: thrash to snmalloc"), "the list");
    assert!(html.contains("thrash: snmalloc does"), "the title of the plot");
}

#[test]
fn what_was_not_as_it_should_be_is_loud() {
    let cut = html(vec![Recording { end: None, ..tiny() }]);
    assert!(cut.contains("class=\"alarm\"") && cut.contains("cut off"));
    let mut bad = tiny();
    bad.rows[0].nr_bad = 3;
    let bad = html(vec![bad]);
    assert!(bad.contains("class=\"alarm\"") && bad.contains("3 objects, frames or pages were damaged"));
    assert!(bad.contains("pair64 by heap on 1 CPU (3)"));
    let mut failed = tiny();
    failed.end.as_mut().expect("an end").is_pass = false;
    assert!(html(vec![failed]).contains("The run FAILED"));
    let mut short = tiny();
    short.end.as_mut().expect("an end").nr_rows = 7;
    assert!(html(vec![short]).contains("The run wrote 7 rows, and 1 are here"));
    assert!(!html(vec![tiny()]).contains("class=\"alarm\""));
    let debug = Recording { meta: records::Meta { profile: "debug".into(), ..meta("kernel") }, ..tiny() };
    assert!(html(vec![debug]).contains("A debug build"));
}

#[test]
fn names_are_text_whatever_is_in_them() {
    let evil = "<script>alert(1)</script>\" onload='x' &amp;";
    let mut recording = kernel(1, 0.1);
    for row in &mut recording.rows {
        row.contender = format!("{}{evil}", row.contender).into();
        row.workload = format!("{}{evil}", row.workload).into();
        row.unit = evil.into();
    }
    recording.rows.iter_mut().filter(|row| row.scale.is_some()).for_each(|row| row.scale = Some(evil.into()));
    for row in &mut recording.latencies {
        row.operation = evil.into();
    }
    recording.wastes.push(Waste { workload: evil.into(), contender: evil.into(), live_bytes: 1, held_bytes: 2 });
    recording.remarks.push(remark(evil));
    recording.meta.cpu = evil.into();
    recording.meta.command = evil.into();
    recording.meta.source = evil.into();
    recording.meta.platform = evil.into();
    let html = html(vec![recording]);
    check_nesting(&html);
    assert!(!html.contains("<script>") && !html.contains("onload='") && html.contains("&lt;script&gt;"));
}

#[test]
fn few_rows_make_a_page_too() {
    for recording in [
        tiny(),
        Recording { meta: meta("kernel"), ..Recording::default() },
        Recording { rows: vec![Throughput::default()], ..tiny() },
        Recording { wastes: vec![Waste::default()], ..tiny() },
        Recording { latencies: vec![records::Latency::default()], ..tiny() },
        Recording { meta: records::Meta { is_summary: true, ..meta("kernel") }, ..kernel(1, 0.1) },
        Recording { meta: records::Meta { clock_hz: 0, is_emulated: false, ..meta("kernel") }, ..kernel(1, 0.1) },
    ] {
        check_nesting(&html(vec![recording]));
    }
    assert!(html(vec![Recording::default()]).contains("nothing to plot"));
}

#[test]
fn quartiles_of_a_summary_are_taken_as_they_are() {
    let meta = records::Meta { is_summary: true, ..meta("kernel") };
    let row = Throughput {
        milliticks_per_op: vec![1000, 2000, 9000].into(),
        ..row(&mut common::Random(1), ("w", "heap", 1), 1.0, 0.0)
    };
    let recording = Recording { meta, rows: vec![row], ..Recording::default() };
    let ticks = report::rows::workloads(&recording)[0].cells[0].ticks;
    assert_eq!((ticks.low, ticks.median, ticks.high), (1.0, 2.0, 9.0));
}

#[test]
fn a_recording_and_its_summary_have_the_same_quartiles() {
    for nr_reps in 1..12 {
        let mut whole = kernel(nr_reps, 0.3);
        whole.rows.iter_mut().for_each(|row| row.milliticks_per_op.to_mut().truncate(nr_reps as usize));
        let mut short = whole.clone();
        short.meta.is_summary = true;
        for row in &mut short.rows {
            let three = records::quartiles::of(row.milliticks_per_op.to_mut());
            row.milliticks_per_op = three.expect("there are repetitions").to_vec().into();
        }
        for (row, same) in whole.rows.iter().zip(&short.rows) {
            assert_eq!(report::rows::quartiles(&whole, row), report::rows::quartiles(&short, same));
        }
    }
}

#[test]
fn percentiles_without_the_samples_for_them_are_not_shown() {
    let of = |nr_samples| {
        let mut recording = kernel(1, 0.1);
        recording.latencies.retain(|row| row.cpus == 1 && row.contender == "heap" && row.operation == "alloc");
        recording.latencies[0].nr_samples = nr_samples;
        html(vec![recording])
    };
    assert!(of(1000).contains("one in a thousand takes at least 30 times") && !of(1000).contains("too few samples"));
    assert!(of(999).contains("one in a hundred takes at least 4 times") && of(999).contains("too few samples"));
    assert!(of(99).contains("heap alloc, the median<") && of(99).contains("<td>-</td>"));
}

#[test]
fn a_row_that_stands_twice_is_said() {
    let mut recording = tiny();
    assert!(!html(vec![recording.clone()]).contains("there again"));
    recording.rows.push(recording.rows[0].clone());
    assert!(html(vec![recording]).contains("1 row is there again: the last is shown."));
}

#[test]
fn a_cpu_that_was_let_wait_is_named_and_so_are_refusals() {
    let mut recording = tiny();
    assert!(!html(vec![recording.clone()]).contains("twice the mean time"));
    let row = &mut recording.rows[0];
    let mean = row.milliticks_per_op.iter().copied().sum::<u64>() / row.milliticks_per_op.len() as u64;
    row.longest_milliticks_per_op = Some(mean * 5);
    let of_it = format!("{} by {} on", row.workload, row.contender);
    if let Some(end) = &mut recording.end {
        end.nr_refused = Some(7);
    }
    let page = html(vec![recording]);
    assert!(page.contains("In 1 row one CPU took at least twice the mean time") && page.contains(&of_it));
    assert!(page.contains("7 requests were refused"));
}

#[test]
fn more_than_ideal_is_called_no_finding() {
    let mut recording = kernel(1, 0.01);
    assert!(!html(vec![recording.clone()]).contains("More than ideal"));
    recording.rows.iter_mut().filter(|row| row.cpus == 2).for_each(|row| {
        row.milliticks_per_op.to_mut().iter_mut().for_each(|milli| *milli /= 100);
    });
    assert!(html(vec![recording]).contains("More than ideal"));
}

#[test]
fn a_program_that_goes_to_and_fro_is_shown_look_by_look() {
    let waste = |live: u64, held: u64| Waste {
        workload: "w".into(),
        contender: "mm".into(),
        live_bytes: live,
        held_bytes: held,
    };
    let once = Recording { wastes: vec![waste(1, 2), waste(10, 12), waste(2, 9)], ..tiny() };
    assert!(html(vec![once]).contains("w: with 10 B in use mm holds 1.2 bytes for each"));
    let often = Recording { wastes: vec![waste(10, 12), waste(2, 9), waste(10, 25), waste(2, 20)], ..tiny() };
    let html = html(vec![often]);
    assert!(html.contains("w: mm holds 25 B at most, 2.5 times the most in use") && html.contains("looks, in order"));
}

#[test]
fn a_reference_with_one_number_of_cpus_is_what_the_others_are_held_against() {
    let mut recording = kernel(1, 0.0);
    recording.rows.retain(|row| ["shootdown", "map"].contains(&row.workload.as_ref()) && row.contender != "halted");
    for (workload, scale, values) in [("shootdown", None, &[None][..]), ("map", Some("pages"), &[Some(1), Some(64)])] {
        for &scale_value in values {
            let row = row(&mut common::Random(1), (workload, "halted", 1), 1200.0, 0.0);
            let scale = scale.map(Into::into);
            recording.rows.push(Throughput { unit: "round".into(), scale, scale_value, ..row });
        }
    }
    recording.rows.iter_mut().for_each(|row| row.unit = "round".into());
    let html = html(vec![recording]);
    assert!(
        html.contains("<h3>shootdown: one round takes 150 times as long with woken on 2 CPUs as with halted on 1 CPU")
    );
    assert!(html.contains("<h3>map: one round takes 2.39 times as long at 64 pages as at 1 page (busy, 2 CPUs)"));
}

#[test]
fn each_machine_has_a_section_and_each_plot_a_file_of_its_own() {
    let runs: Vec<_> = [kernel(1, 0.1), kernel(2, 0.1), native(3, 0.1)].into_iter().map(run).collect();
    let sections = page::sections(&runs);
    assert_eq!(sections.len(), 3);
    let slugs: Vec<&str> = sections.iter().flat_map(|section| section.plots()).map(|plot| plot.slug.as_str()).collect();
    let distinct: std::collections::HashSet<_> = slugs.iter().collect();
    assert_eq!(distinct.len(), slugs.len());
    assert!(slugs.iter().all(|slug| slug.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_numbers_make_a_page(values in proptest::collection::vec(any::<u64>(), 1..24), is_emulated in any::<bool>()) {
        let value = |i: usize| values[i % values.len()];
        let mut recording = tiny();
        recording.meta.is_emulated = is_emulated;
        recording.meta.clock_hz = value(0);
        recording.meta.host_cpus = Some(value(1));
        recording.meta.unix_s = Some(value(2));
        for i in 0..6 {
            let scale_value = value(i).is_multiple_of(2).then(|| value(i + 1));
            recording.rows.push(Throughput {
                workload: format!("w{}", i % 2).into(),
                contender: ["heap", "talc", "other"][i % 3].into(),
                cpus: value(i + 2),
                scale: scale_value.map(|_| ["pages", "bytes", "fill_per_mille"][i % 3].into()),
                scale_value,
                unit: "pair".into(),
                nr_ops: value(i + 3),
                milliticks_per_op: vec![value(i + 4), value(i + 5)].into(),
                nr_locks: Some(value(i + 6)),
                milli_instructions_per_op: Some(value(i)),
                nr_bad: value(i) % 3,
                ..Throughput::default()
            });
            recording.wastes.push(Waste { workload: "x".into(), contender: "mm".into(), live_bytes: value(i), held_bytes: value(i + 1) });
            recording.latencies.push(records::Latency {
                workload: "y".into(), contender: "heap".into(), cpus: value(i), p50_ticks: value(i), p99_ticks: value(i + 1),
                p999_ticks: value(i + 2), max_ticks: value(i + 3), timer_ticks: value(i + 4), ..records::Latency::default()
            });
        }
        check_nesting(&html(vec![recording]));
    }
}

/// Not a test: `SAMPLES=folder` writes made-up recordings, to look at their page.
#[test]
fn samples() {
    let Some(folder) = std::env::var_os("SAMPLES").map(std::path::PathBuf::from) else { return };
    for (name, recording) in
        [("kernel", kernel(1, 0.06)), ("native", native(2, 0.05)), ("tiny", Recording { end: None, ..tiny() })]
    {
        std::fs::write(folder.join(format!("{name}.jsonl")), common::written(&recording))
            .expect("the folder can be written");
    }
}
