//! The benchmark of what is no object allocator's: frames, mapped pages, interrupts, shootdowns, recordings. Counts are
//! exact, what is broken on purpose is a failure and no figure, and Ctrl-C leaves what there was.

use crate::support::{CTRL_C, Failure, Outcome, Passed, Run, Settings, Test, Typist, script};
use records::lines::{Recording, read};
use records::{Latency, Throughput};
use std::path::PathBuf;
use std::time::Duration;
use tests::End;
use tests::scratch::Scratch;
use tests::settings::recording_dirs;
use tests::trace::{Event, Op};

const PAGES: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
const RUNS: [u64; 4] = [2, 8, 64, 512];
const CONTENDERS: [&str; 7] = ["heap", "slabs", "slabs-locked", "talc", "linked_list", "buddy", "rlsf"];
const RECORDING: &str = "fork-exec-small.kmt";

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("bench-machine::frames-count-their-locks", frames),
        Test::new("bench-machine::an-unmap-is-one-round-whatever-its-length", maps),
        Test::new("bench-machine::each-target-gets-one-interrupt", || rounds(4, "max")),
        Test::new("bench-machine::each-target-gets-one-interrupt-by-xapic", || rounds(3, "max,-x2apic")),
        Test::new("bench-machine::without-interrupts-there-are-no-figures", without_interrupts),
        Test::new("bench-machine::a-recording-is-played-by-all", recording),
        Test::new("bench-machine::a-recording-is-played-on-the-recorded-cpus", recorded_cpus),
        Test::new("bench-machine::who-has-no-room-is-left-out", no_room),
        Test::new("bench-machine::ctrl-c-stops-it", ctrl_c),
    ]
}

/// Runs one benchmark that is to pass, and reads its recording.
fn bench(settings: Settings, words: &str) -> Result<(Run, Recording), Failure> {
    // Virtual CPUs that share cores wait for one another.
    let timeout = Duration::from_secs(180);
    let cmd = format!("bench {words} --json; mem; quit");
    let run = Run::of(Settings { cmd, timeout, ..settings })?;
    run.ends(End::Success)?.adds_up(1)?;
    let recording = one(&run)?;
    let is_pass = recording.end.as_ref().is_some_and(|end| end.is_pass && !end.is_stopped && end.nr_bad == 0);
    run.check(is_pass, || format!("a pass at the end, found {:?}", recording.end))?;
    for latency in &recording.latencies {
        run.check(is_sound(latency), || format!("percentiles in order, with the clock's cost: {latency:?}"))?;
    }
    Ok((run, recording))
}

/// The only recording of a run.
fn one(run: &Run) -> Result<Recording, Failure> {
    let found = read(run.serial());
    run.check(found.as_ref().is_ok_and(|runs| runs.len() == 1), || format!("one recording, found {found:?}"))?;
    Ok(found.unwrap_or_default().remove(0))
}

fn is_sound(latency: &Latency<'_>) -> bool {
    let Latency { p50_ticks, p99_ticks, p999_ticks, max_ticks, timer_ticks, nr_samples, .. } = *latency;
    nr_samples > 0 && timer_ticks > 0 && p50_ticks <= p99_ticks && p99_ticks <= p999_ticks && p999_ticks <= max_ticks
}

/// The one row of that name, with percentiles for each of `operations`.
fn row<'r>(
    run: &Run,
    recording: &'r Recording,
    (workload, contender, cpus, scale): (&str, &str, u64, Option<u64>),
    operations: &[&str],
) -> Result<&'r Throughput<'static>, Failure> {
    let what = || format!("{workload}, {contender}, {cpus} CPUs, {scale:?}");
    let name = (workload, contender, cpus, scale);
    let is_it = |row: &&Throughput<'_>| (&*row.workload, &*row.contender, row.cpus, row.scale_value) == name;
    let found: Vec<_> = recording.rows.iter().filter(is_it).collect();
    run.check(found.len() == 1, || format!("one row of {}, found {}", what(), found.len()))?;
    let row = found[0];
    let nr_reps = recording.meta.nr_reps as usize;
    let is_whole = row.milliticks_per_op.len() == nr_reps && row.milliticks_per_op.iter().all(|&ticks| ticks > 0);
    run.check(is_whole && row.nr_ops > 0 && row.nr_bad == 0, || format!("a figure for each repetition of {row:?}"))?;
    for operation in operations {
        let is_it = |latency: &&Latency<'_>| {
            (&*latency.workload, &*latency.contender, latency.cpus, latency.scale_value) == name
                && latency.operation == *operation
        };
        let nr_found = recording.latencies.iter().filter(is_it).count();
        run.check(nr_found == 1, || format!("percentiles of {operation} in {}, found {nr_found}", what()))?;
    }
    Ok(row)
}

/// Both counts for each operation, exactly.
fn counts(run: &Run, row: &Throughput<'_>, locks: Option<u64>, ipis: u64) -> Result<(), Failure> {
    let of_each = |count: u64| Some(count * row.nr_ops);
    run.check(row.nr_ipis == of_each(ipis), || format!("{ipis} interrupts for each operation of {row:?}"))?;
    run.check(locks.is_none() || row.nr_locks == locks.and_then(of_each), || format!("{locks:?} locks in {row:?}"))?;
    Ok(())
}

fn frames() -> Outcome {
    let settings = Settings { mem: "512M".into(), ..script(2, "") };
    let (run, recording) = bench(settings, "frame frames --cpus 1,2 --ops 512 --reps 2")?;
    const OPERATIONS: [&str; 2] = ["alloc", "free"];
    for cpus in [1, 2] {
        let row_of_magazine = row(&run, &recording, ("frame", "magazine", cpus, None), &OPERATIONS)?;
        run.check(row_of_magazine.nr_ops == 2 * 512 * cpus, || format!("512 pairs of each CPU: {row_of_magazine:?}"))?;
        counts(&run, row_of_magazine, Some(0), 0)?;
        let is_hit = (row_of_magazine.nr_heap_ops, row_of_magazine.nr_depot_visits) == (Some(4 * 512 * cpus), Some(0));
        run.check(is_hit, || format!("a magazine that served every call: {row_of_magazine:?}"))?;
        for contender in ["empty", "full"] {
            for pages in RUNS {
                let row = row(&run, &recording, ("frames", contender, cpus, Some(pages)), &OPERATIONS)?;
                counts(&run, row, Some(2), 0)?;
            }
        }
    }
    let fills: Vec<_> = recording.rows.iter().filter(|row| row.contender == "bitmap").collect();
    run.check(fills.len() == 4, || format!("four fills of memory, found {}", fills.len()))?;
    for fill in fills {
        row(&run, &recording, ("frame", "bitmap", 1, fill.scale_value), &OPERATIONS)?;
        run.check(fill.nr_locks == locks_when_empty(&recording), || format!("as many locks at every fill: {fill:?}"))?;
    }
    run.passes()
}

/// Locks at the emptiest fill.
fn locks_when_empty(recording: &Recording) -> Option<u64> {
    recording.rows.iter().find(|row| row.contender == "bitmap")?.nr_locks.filter(|&locks| locks > 0)
}

fn maps() -> Outcome {
    let (run, recording) = bench(script(3, ""), "map --cpus 2,3 --ops 64 --reps 2")?;
    for pages in PAGES {
        // One look at how many frames there are. Addresses of up to 8 pages come from magazines; more take the arena's
        // lock to see that it has tags, to take and to give. Beyond that page magazines go to the bitmap now and then.
        let locks = match pages {
            ..=8 => Some(1),
            9..=16 => Some(4),
            _ => None,
        };
        let halted = row(&run, &recording, ("map", "halted", 1, Some(pages)), &["map", "unmap"])?;
        counts(&run, halted, locks, 0)?;
        for cpus in [2, 3] {
            let busy = row(&run, &recording, ("map", "busy", cpus, Some(pages)), &["map", "unmap"])?;
            counts(&run, busy, locks, cpus - 1)?;
        }
    }
    for pages in [8, 64] {
        // One round for all of a batch.
        let batched = row(&run, &recording, ("map", "batched", 3, Some(pages)), &["map", "unmap"])?;
        counts(&run, batched, None, 2)?;
    }
    run.passes()
}

fn rounds(nr_cpus: u32, cpu: &str) -> Outcome {
    let settings = Settings { cpu: cpu.into(), ..script(nr_cpus, "") };
    let nr_cpus = u64::from(nr_cpus);
    let (run, recording) = bench(settings, &format!("ipi shootdown --cpus 1,2,{nr_cpus} --ops 128 --reps 2"))?;
    counts(&run, row(&run, &recording, ("shootdown", "halted", 1, None), &["round"])?, None, 0)?;
    for cpus in [2, nr_cpus] {
        for (workload, contender, operation) in [
            ("ipi", "halted", "call"),
            ("ipi", "busy", "call"),
            ("shootdown", "busy", "round"),
            ("shootdown", "woken", "round"),
        ] {
            let row = row(&run, &recording, (workload, contender, cpus, None), &[operation])?;
            counts(&run, row, None, cpus - 1)?;
        }
    }
    run.passes()
}

fn without_interrupts() -> Outcome {
    let settings =
        Settings { append: "chaos=drop-ipi".into(), ..script(2, "bench map shootdown --json --ops 64 --reps 2; quit") };
    let run = Run::of(settings)?;
    run.ends(End::CommandFailed)?;
    let recording = one(&run)?;
    let end = recording.end.as_ref();
    run.check(end.is_some_and(|end| !end.is_pass && end.nr_bad > 0), || {
        format!("a failure at the end, found {end:?}")
    })?;
    let is_figure = |workload: &str, contender: &str| {
        let is_row = recording.rows.iter().any(|row| row.workload == workload && row.contender == contender);
        let is_it = |latency: &Latency<'_>| latency.workload == workload && latency.contender == contender;
        is_row || recording.latencies.iter().any(is_it)
    };
    for (workload, contender) in [("shootdown", "halted"), ("shootdown", "busy"), ("map", "busy")] {
        run.check(!is_figure(workload, contender), || format!("no figures of {workload}, {contender}"))?;
        let has_remark = recording.remarks.iter().any(|remark| {
            remark.text.starts_with(workload) && remark.text.contains(contender) && remark.text.contains("no figures")
        });
        run.check(has_remark, || format!("a remark on {workload}, {contender}"))?;
    }
    // A cross-call is no shootdown.
    run.check(is_figure("shootdown", "woken"), || "figures of CPUs that were woken".into())?.passes()
}

fn with_recording(cpus: u32, mem: &str) -> Option<Settings> {
    let file = recording_dirs().into_iter().map(|dir| dir.join(RECORDING)).find(|file: &PathBuf| file.is_file());
    Some(Settings { mem: mem.into(), modules: vec![file?], ..script(cpus, "") })
}

fn skipped() -> Outcome {
    Ok(Passed::Skipped(format!("{RECORDING} is not in tests/data or ../shared/traces")))
}

fn recording() -> Outcome {
    let Some(settings) = with_recording(2, "256M") else { return skipped() };
    let (run, recording) = bench(settings, "replay --cpus 1 --reps 1")?;
    for contender in CONTENDERS {
        let row = row(&run, &recording, ("replay:fork-exec-small", contender, 1, None), &["alloc", "free"])?;
        run.check(row.nr_ops == 21_504, || format!("every event of the recording, once: {row:?}"))?;
        // More than half of the events are those of objects, and each of these takes a peer's lock.
        let locks = row.nr_locks.unwrap_or(0);
        run.check((locks * 2 > row.nr_ops) == (contender != "heap"), || format!("locks of {contender}: {row:?}"))?;
    }
    run.passes()
}

/// A short one, since CPUs that share cores wait long for their turns.
fn recorded_cpus() -> Outcome {
    let small = tests::trace::Recording::small();
    let dir = Scratch::new()?;
    let file = dir.file("small.kmt");
    tests::error::write(&file, &small.encode())?;
    let settings = Settings { modules: vec![file], ..script(3, "") };
    let (run, recording) = bench(settings, "replay --cpus 1,3 --reps 2")?;
    for contender in CONTENDERS {
        for cpus in [1, 2] {
            // So few events that not all kinds need have been sampled.
            let row = row(&run, &recording, ("replay:small", contender, cpus, None), &[])?;
            run.check(row.nr_ops == 2 * small.events.len() as u64, || format!("every event, twice: {row:?}"))?;
        }
    }
    run.check(recording.rows.len() == 2 * CONTENDERS.len(), || "rows on 1 and 2 CPUs alone".into())?.passes()
}

/// A recording that needs 5 MB, so that four peers of ours would want 16 MiB each, in a machine of 64 MiB.
fn no_room() -> Outcome {
    const NR_OBJECTS: u32 = 2000;
    const SIZE: u32 = 2500;
    let of_all = |op, size| (0..NR_OBJECTS).map(move |id| Event { id, op, cpu: 0, size });
    let large = tests::trace::Recording {
        cpus: 1,
        objects: NR_OBJECTS,
        peak_live_bytes: u64::from(NR_OBJECTS * SIZE),
        events: of_all(Op::Alloc, SIZE).chain(of_all(Op::Free, 0)).collect(),
    };
    let dir = Scratch::new()?;
    let file = dir.file("large.kmt");
    tests::error::write(&file, &large.encode())?;
    let settings = Settings { mem: "64M".into(), modules: vec![file], ..script(1, "") };
    let (run, recording) = bench(settings, "replay --cpus 1 --reps 1")?;
    let is_there = |contender| recording.rows.iter().any(|row| row.contender == contender);
    run.check(is_there("heap") && is_there("slabs") && !is_there("talc"), || "rows of ours, and of no peer".into())?;
    let has_remark = recording.remarks.iter().any(|remark| remark.text.contains("no room"));
    run.check(has_remark, || "a remark that there was no room".into())?.passes()
}

fn ctrl_c() -> Outcome {
    let Some(settings) = with_recording(2, "256M") else { return skipped() };
    let mut typist = Typist::at_prompt(settings)?;
    let endless = [
        ("frame", "Single frames"),
        ("frames", "Adjacent frames"),
        ("map", "Pages mapped"),
        ("ipi", "Interrupts to"),
        ("shootdown", "TLB shootdown"),
        ("replay", "Recordings"),
    ];
    for (workload, heading) in endless {
        typist.keys(&format!("bench {workload} --ops 100M --reps 1000\r"));
        typist.reads(heading)?;
        typist.stops_bench()?;
    }
    // What there was until then stays, percentiles too.
    typist.keys("bench map --cpus 1 --ops 1k --reps 1000\r");
    typist.reads("map 2 ")?;
    typist.keys(CTRL_C);
    for expected in ["contender    of", "map 1 ", "unmap", "bench: PASS rows=", "stopped"] {
        typist.reads(expected)?;
    }
    typist.prompt()?;
    typist.quit().adds_up(endless.len())?.passes()
}
