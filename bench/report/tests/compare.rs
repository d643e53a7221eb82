//! Verdicts about pairs of recordings: every way that one can differ from another.

mod common;

use common::{kernel, native, run, tiny, written};
use records::lines::Recording;
use records::{Throughput, Waste};
use report::compare::{Change, Options, Verdict, compare};

fn verdict(a: Recording, b: Recording, options: &Options) -> Verdict {
    compare(&[run(a)], &[run(b)], options)
}

fn plain(a: Recording, b: Recording) -> Verdict {
    verdict(a, b, &Options::default())
}

/// The times of `contender` on `workload`, changed.
fn with_times(mut recording: Recording, workload: &str, contender: &str, factor: f64) -> Recording {
    for row in recording.rows.iter_mut().filter(|row| row.workload == workload && row.contender == contender) {
        row.milliticks_per_op.to_mut().iter_mut().for_each(|milli| *milli = (*milli as f64 * factor) as u64);
    }
    recording
}

fn change(verdict: &Verdict, name: &str, contender: &str) -> Change {
    let line = verdict.lines.iter().find(|line| line.name == name && line.contender == contender);
    line.unwrap_or_else(|| panic!("no {name} by {contender}:\n{verdict}")).change
}

#[test]
fn equal_recordings_are_not_worse() {
    for recording in [kernel(1, 0.05), native(1, 0.05), kernel(1, 0.0)] {
        let verdict = plain(recording.clone(), recording);
        assert_eq!((verdict.exit_code(), verdict.nr_worse()), (0, 0), "{verdict}");
        assert!(verdict.lines.iter().all(|line| line.change == Change::Noise));
    }
}

#[test]
fn only_rows_that_differ_are_shown_and_the_others_counted() {
    let rows = |text: &str| text.lines().filter(|line| line.contains(" %  ")).count();
    let all = Options { is_all: true, ..Options::default() };
    let (same, noisy) = (plain(native(1, 0.05), native(1, 0.05)), plain(native(1, 0.05), native(2, 0.05)));
    let nr_rows = same.lines.len();
    assert_eq!(same.to_string().lines().next(), Some(&*format!("no difference: {nr_rows} rows with the same figures")));
    assert!(noisy.to_string().starts_with(&format!("no difference beyond the noise in {nr_rows} rows, which --all")));
    assert_eq!((rows(&same.to_string()), rows(&noisy.to_string())), (0, 0));
    assert_eq!(rows(&self::verdict(native(1, 0.05), native(1, 0.05), &all).to_string()), nr_rows);
    let slower = plain(native(1, 0.05), with_times(native(2, 0.05), "pair64", "mm", 1.2)).to_string();
    assert!(slower.contains(&format!("beyond the noise in {} rows more, which --all", nr_rows - 2)), "{slower}");
    assert_eq!(rows(&slower), 2, "on 1 and 2 CPUs: {slower}");
}

#[test]
fn other_noise_of_the_same_size_is_not_worse() {
    // Twenty pairs of runs of a hundred rows: a test of one in twenty by itself would find some worse in each.
    for seed in 0..20 {
        let verdict = plain(native(seed, 0.2), native(1000 + seed, 0.2));
        assert_eq!(verdict.exit_code(), 0, "{verdict}");
    }
}

#[test]
fn a_slowdown_past_the_threshold_is_worse_and_said_in_words() {
    for (a, b, ours) in [(native(1, 0.05), native(2, 0.05), "mm"), (kernel(1, 0.05), kernel(2, 0.05), "heap")] {
        let verdict = plain(a, with_times(b, "pair64", ours, 1.2));
        assert_eq!(verdict.exit_code(), 1, "{verdict}");
        assert_eq!(change(&verdict, "pair64, 1 CPU", ours), Change::Up);
        let first = &verdict.lines[0];
        assert!(
            first.is_worse && first.contender == ours && first.name.starts_with("pair64"),
            "the worst stands first"
        );
        let text = verdict.to_string();
        assert!(text.contains("WORSE: slower") && text.contains("within noise") && text.contains("FAIL"), "{text}");
    }
}

#[test]
fn a_slowdown_below_the_threshold_is_said_and_not_worse() {
    let verdict = plain(native(1, 0.005), with_times(native(2, 0.005), "pair64", "mm", 1.03));
    assert_eq!((verdict.exit_code(), change(&verdict, "pair64, 1 CPU", "mm")), (0, Change::Up), "{verdict}");
    let strict = Options { threshold: 0.01, ..Options::default() };
    assert_eq!(
        self::verdict(native(1, 0.005), with_times(native(2, 0.005), "pair64", "mm", 1.03), &strict).exit_code(),
        1
    );
}

#[test]
fn a_speedup_is_faster() {
    let verdict = plain(native(1, 0.05), with_times(native(2, 0.05), "pair64", "mm", 0.8));
    assert_eq!((verdict.exit_code(), change(&verdict, "pair64, 2 CPUs", "mm")), (0, Change::Down), "{verdict}");
}

#[test]
fn a_faster_host_under_an_emulator_changes_nothing() {
    let mut b = kernel(2, 0.05);
    for row in &mut b.rows {
        row.milliticks_per_op.to_mut().iter_mut().for_each(|milli| *milli *= 3);
    }
    let verdict = plain(kernel(1, 0.05), b);
    assert_eq!(verdict.exit_code(), 0, "{verdict}");
    assert!(verdict.to_string().contains("relative to talc in the same run"));
}

#[test]
fn rows_without_the_reference_are_held_against_the_anchor() {
    let verdict = plain(kernel(1, 0.05), with_times(kernel(2, 0.05), "shootdown", "busy", 1.4));
    assert_eq!(verdict.exit_code(), 1, "{verdict}");
    assert_eq!(change(&verdict, "shootdown, 8 CPUs", "busy"), Change::Up);
    let other = Options { reference: Some("rlsf".into()), ..Options::default() };
    let verdict = self::verdict(kernel(1, 0.05), with_times(kernel(2, 0.05), "pair64", "heap", 1.4), &other);
    assert!(verdict.to_string().contains("relative to rlsf") && verdict.exit_code() == 1);
    // A run of one row has nothing to hold it against.
    assert_eq!(plain(tiny(), tiny()).lines.len(), 0);
}

fn with_counts(mut recording: Recording, cpus: u64, nr_locks: u64) -> Recording {
    let mut rows = recording.rows.iter_mut();
    let row = rows.find(|row| row.cpus == cpus && row.contender == "heap").expect("a row of the heap");
    row.nr_locks = Some(nr_locks);
    recording
}

#[test]
fn counts_on_one_cpu_are_compared_exactly() {
    let (a, b) = (kernel(1, 0.05), kernel(2, 0.05));
    let verdict = plain(a.clone(), with_counts(b.clone(), 1, 13));
    assert_eq!((verdict.exit_code(), change(&verdict, "pair64, 1 CPU: locks", "heap")), (1, Change::Up), "{verdict}");
    let verdict = plain(a.clone(), with_counts(b.clone(), 1, 11));
    assert_eq!((verdict.exit_code(), change(&verdict, "pair64, 1 CPU: locks", "heap")), (0, Change::Down), "{verdict}");
    // Where CPUs meet by chance one lock more is none.
    assert_eq!(plain(a.clone(), with_counts(b.clone(), 2, 13)).exit_code(), 0);
    assert_eq!(plain(a, with_counts(b, 2, 100_000)).exit_code(), 1);
}

#[test]
fn counts_can_be_judged_alone() {
    let counts = Options { is_counts: true, ..Options::default() };
    let (a, b) = (kernel(1, 0.05), with_times(kernel(2, 0.05), "pair64", "heap", 2.0));
    let verdict = self::verdict(a.clone(), b.clone(), &counts);
    assert_eq!(verdict.exit_code(), 0, "{verdict}");
    assert!(
        verdict.lines.iter().any(|line| line.name == "pair64, 1 CPU: locks")
            && !verdict.to_string().contains("slower\n")
    );
    assert_eq!(self::verdict(a, with_counts(b, 1, 13), &counts).exit_code(), 1);
}

#[test]
fn instructions_and_memory_held_are_judged() {
    let with = |milli: u64| {
        let row = |row: Throughput<'static>| Throughput { milli_instructions_per_op: Some(milli), ..row };
        Recording { rows: native(1, 0.05).rows.into_iter().map(row).collect(), ..native(1, 0.05) }
    };
    assert_eq!(plain(with(44_000), with(44_000)).exit_code(), 0);
    assert_eq!(plain(with(44_000), with(44_500)).exit_code(), 1);
    let mut more = native(1, 0.05);
    more.wastes[2].held_bytes *= 2;
    let verdict = plain(native(1, 0.05), more);
    assert_eq!((verdict.exit_code(), change(&verdict, "sawtooth 2: held", "mm")), (1, Change::Up), "{verdict}");
}

#[test]
fn every_difference_is_named_and_force_overrides() {
    let mut b = kernel(2, 0.05);
    let meta = &mut b.meta;
    (meta.source, meta.cpu, meta.platform) = ("other".into(), "other".into(), "KVM".into());
    (meta.apic, meta.nr_cpus, meta.profile, meta.nr_ops) = (Some("xapic".into()), 4, "debug".into(), Some(7));
    (meta.memory_bytes, meta.clock_hz, meta.seed, meta.host_cpus) = (1 << 20, 1, 9, None);
    let all = Options { is_all: true, ..Options::default() };
    let verdict = self::verdict(kernel(1, 0.05), b.clone(), &all);
    assert_eq!(verdict.exit_code(), 2);
    let text = verdict.to_string();
    for name in [
        "source",
        "cpu",
        "platform",
        "apic",
        "nr_cpus",
        "profile",
        "nr_ops",
        "memory_bytes",
        "clock_hz",
        "seed",
        "host_cpus",
    ] {
        assert!(text.contains(&format!("not comparable: {name} differs: ")), "{name}:\n{text}");
    }
    assert!(text.contains("--force") && !text.contains("PASS"));
    let short = plain(kernel(1, 0.05), b.clone()).to_string();
    let names: Vec<&str> = short.lines().map(|line| line.split(" differs").next().unwrap_or(line)).collect();
    let reasons = ["source", "profile", "cpu"].map(|name| format!("not comparable: {name}"));
    assert_eq!(names[..3], reasons, "{short}");
    assert_eq!(names[3], "not comparable: 8 more reasons, which --all names");
    assert!(names[4].contains("--force") && names.len() == 5, "{short}");
    let forced = Options { is_forced: true, ..Options::default() };
    let verdict = self::verdict(kernel(1, 0.05), b, &forced);
    assert_eq!(verdict.exit_code(), 0, "{verdict}");
    assert!(verdict.to_string().contains("not comparable: source differs"), "it is still said");
}

#[test]
fn what_may_differ_does_not_refuse() {
    let mut b = kernel(2, 0.05);
    let meta = &mut b.meta;
    (meta.revision, meta.unix_s, meta.program) = (Some("another".into()), None, "bandolier 0.2.0".into());
    (meta.memory_bytes, meta.clock_hz, meta.nr_reps) = (meta.memory_bytes - 4096, meta.clock_hz + 1000, 20);
    assert_eq!(plain(kernel(1, 0.05), b).exit_code(), 0);
}

#[test]
fn broken_recordings_are_refused() {
    let whole = || kernel(1, 0.05);
    let stopped =
        |is_stopped| Recording { end: Some(records::End { is_stopped, ..records::End::default() }), ..whole() };
    let mut bad = whole();
    bad.rows[0].nr_bad = 1;
    let cases = [
        (Recording { end: None, ..whole() }, "is cut off"),
        (stopped(true), "was stopped"),
        (stopped(false), "failed"),
        (bad.clone(), "has damaged objects"),
    ];
    for (broken, why) in cases {
        for (a, b, side) in [(whole(), broken.clone(), "B"), (broken, whole(), "A")] {
            let verdict = plain(a, b);
            assert_eq!(verdict.exit_code(), 2);
            assert!(verdict.to_string().contains(&format!("{side} (recording.jsonl) {why}")), "{verdict}");
        }
    }
    let forced = Options { is_forced: true, ..Options::default() };
    let verdict = self::verdict(whole(), bad, &forced);
    assert_eq!((verdict.exit_code(), change(&verdict, "pair64, 1 CPU: bad", "heap")), (1, Change::Up), "{verdict}");
}

#[test]
fn rows_of_one_side_are_named_and_no_common_row_is_no_comparison() {
    let mut b = native(2, 0.05);
    b.rows.retain(|row| row.workload != "larson");
    let verdict = plain(native(1, 0.05), b.clone());
    assert!(verdict.to_string().contains("only in A: larson, 1 CPU by mm") && verdict.exit_code() == 0, "{verdict}");
    b.rows.clear();
    b.wastes.clear();
    let verdict = plain(native(1, 0.05), b);
    assert_eq!(verdict.exit_code(), 2, "{verdict}");
    assert_eq!(compare(&[], &[run(tiny())], &Options::default()).exit_code(), 2);
}

fn cut(mut recording: Recording, nr_reps: usize, is_summary: bool) -> Recording {
    recording.meta.is_summary = is_summary;
    for row in &mut recording.rows {
        let times = row.milliticks_per_op.to_mut();
        if is_summary {
            times.sort_unstable();
            *times = vec![times[2], times[5], times[7]];
        } else {
            times.truncate(nr_reps);
        }
    }
    recording
}

#[test]
fn few_repetitions_and_summaries_need_values_that_lie_apart() {
    for (nr_reps, is_summary) in [(3, false), (10, true)] {
        let (a, b) = (cut(native(1, 0.05), nr_reps, is_summary), cut(native(2, 0.05), nr_reps, is_summary));
        assert_eq!(plain(a.clone(), a.clone()).exit_code(), 0);
        let verdict = plain(a.clone(), with_times(b.clone(), "pair64", "mm", 1.2));
        assert_eq!(verdict.exit_code(), 1, "{verdict}");
        assert_eq!(change(&verdict, "pair64, 1 CPU", "mm"), Change::Up);
        // Twice as slow once, and no different otherwise.
        let mut noisy = b;
        noisy.rows.iter_mut().for_each(|row| row.milliticks_per_op.to_mut()[0] = row.milliticks_per_op[1]);
        assert_eq!(change(&plain(a, noisy), "pairmix, 1 CPU", "mm"), Change::Noise);
    }
}

/// `nr_rows` rows of ours with `nr_reps` repetitions each, up to a tenth more or less.
fn rows_of(nr_rows: u64, nr_reps: usize, seed: u64, factor: f64) -> Recording {
    let mut random = common::Random(seed);
    let mut one = |value: u64| {
        let row = common::row(&mut random, ("pair", "mm", 1), 100.0 * factor, 0.1);
        Throughput { scale: Some("bytes".into()), scale_value: Some(value), ..row }
    };
    let rows: Vec<_> = (0..nr_rows).map(&mut one).collect();
    cut(
        Recording { meta: common::meta("native"), end: common::end(rows.len()), rows, ..Recording::default() },
        nr_reps,
        false,
    )
}

#[test]
fn a_doubling_is_found_however_few_the_repetitions_and_many_the_rows() {
    for nr_reps in [3, 5, 10] {
        for nr_rows in [1, 2, 600, 1000] {
            let verdict = plain(rows_of(nr_rows, nr_reps, 1, 1.0), rows_of(nr_rows, nr_reps, 2, 2.0));
            assert_eq!((verdict.exit_code(), verdict.nr_worse() as u64), (1, nr_rows), "{nr_reps} of {nr_rows}");
        }
    }
}

#[test]
fn a_quick_run_of_the_kernel_can_fail_and_need_not() {
    let quick = |seed| cut(kernel(seed, 0.05), 5, false);
    let verdict = plain(quick(1), with_times(quick(2), "pair64", "heap", 2.0));
    assert_eq!((verdict.exit_code(), verdict.nr_worse()), (1, 4), "on 1, 2, 4 and 8 CPUs: {verdict}");
    assert_eq!(plain(quick(1), quick(2)).exit_code(), 0);
}

#[test]
fn noise_of_few_repetitions_is_not_worse() {
    // Of five repetitions: by the rank test for one row, by their ranges for two and more.
    for (nr_rows, nr_seeds, most) in [(1, 100, 2), (2, 100, 1), (600, 20, 2)] {
        let is_worse =
            |seed: &u64| plain(rows_of(nr_rows, 5, *seed, 1.0), rows_of(nr_rows, 5, 1000 + seed, 1.0)).exit_code() != 0;
        let alarms: Vec<u64> = (0..nr_seeds).filter(is_worse).collect();
        assert!(alarms.len() <= most, "{nr_rows} rows: {alarms:?}");
    }
}

#[test]
fn several_runs_in_a_file_are_pooled() {
    // Between the runs of a side lies as much as between the sides.
    let slow = |seed| with_times(native(seed, 0.02), "pair64", "mm", 1.15);
    let a = [run(native(1, 0.02)), run(slow(2))];
    let b = [run(slow(3)), run(native(4, 0.02))];
    let verdict = compare(&a, &b, &Options::default());
    assert_eq!((verdict.exit_code(), change(&verdict, "pair64, 1 CPU", "mm")), (0, Change::Noise), "{verdict}");
    // One by one they differ.
    assert_eq!(plain(native(1, 0.02), slow(3)).exit_code(), 1);
    // Runs of one side that cannot be compared are refused like any others.
    let mut other = native(5, 0.02);
    other.meta.cpu = "another".into();
    assert_eq!(compare(&[run(native(1, 0.02)), run(other)], &b, &Options::default()).exit_code(), 2);
}

#[test]
fn options_are_understood_or_refused() {
    let (files, options) =
        Options::parse(&["--threshold", "10%", "a", "--force", "b", "--reference", "rlsf", "--counts", "--all"])
            .expect("a good line");
    assert_eq!(files, ["a", "b"]);
    assert_eq!(
        options,
        Options { threshold: 0.1, reference: Some("rlsf".into()), is_counts: true, is_forced: true, is_all: true }
    );
    for words in [
        &["a"][..],
        &["a", "b", "c"],
        &["a", "b", "--threshold"],
        &["a", "b", "--threshold", "x"],
        &["a", "b", "--threshold", "-1"],
        &["a", "b", "--what"],
        &[],
    ] {
        assert!(Options::parse(words).is_err(), "{words:?}");
    }
}

#[test]
fn damaged_files_are_refused_with_their_line() {
    let folder = common::Folder::new("damaged");
    let load = |path: &str| report::load::load(std::path::Path::new(path));
    let text = written(&tiny());
    let path = folder.file("damaged.jsonl", &text[..text.len() - 20]);
    let error = load(&path).expect_err("damaged").to_string();
    assert!(error.contains("damaged.jsonl: line 3: a damaged record"), "{error}");
    let path = folder.file("damaged.jsonl", &format!("boot\n{text}\u{fffd}\n{text}"));
    let runs = load(&path).expect("two runs");
    assert_eq!(
        runs.iter().map(|run| run.origin.as_str()).collect::<Vec<_>>(),
        ["damaged.jsonl, run 1 of 2", "damaged.jsonl, run 2 of 2"]
    );
    assert!(load(&folder.0.join("missing").display().to_string()).is_err());
}

#[test]
fn a_waste_at_another_point_is_not_compared() {
    let mut b = native(1, 0.05);
    b.wastes = vec![Waste { workload: "sawtooth".into(), contender: "mm".into(), live_bytes: 7, held_bytes: 1 << 40 }];
    assert_eq!(plain(native(1, 0.05), b).exit_code(), 0);
}
