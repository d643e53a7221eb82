//! The benchmark: runs to its end at every size, has every row, counts exactly, is a recording that programs can read, finds
//! what is damaged, and can be stopped.

use crate::support::{CTRL_C, Failure, Outcome, Run, Settings, Test, Typist, script};
use records::lines::{self, Recording};
use records::{Latency, Throughput};
use std::time::Duration;
use tests::End;

/// Those of which every operation is an allocation and a free of one object, so that locks can be counted exactly.
const EXACT: [&str; 8] =
    ["pair64", "pairmix", "lifo1000", "fifo1000", "bulk", "xmalloc", "cache-scratch", "cache-thrash"];
const OTHERS: [&str; 4] = ["mstress", "sh6", "rptest", "larson"];
const PEERS: [&str; 4] = ["talc", "linked_list", "buddy", "rlsf"];
const OURS: [&str; 3] = ["heap", "slabs", "slabs-locked"];

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("bench::1-cpu", || has_every_row(1, "1")),
        Test::new("bench::2-cpus", || has_every_row(2, "1,2")),
        Test::new("bench::8-cpus", || has_every_row(8, "8")),
        Test::new("bench::a-table-for-people", || {
            let settings = script(2, "bench pair64 waste frame --ops 256 --reps 2; mem; quit");
            let run = Run::of(Settings { append: "host-cpus=1".into(), ..settings })?;
            run.ends(End::Success)?.judges("bench", &[true])?.adds_up(1)?;
            run.says("emulated: times are relative only")?.says("the heap is")?.says("lower is better")?;
            let has_row = |name| run.serial().lines().any(|line| line.contains("pair64 ") && line.contains(name));
            run.check(OURS.iter().chain(&PEERS).all(|name| has_row(*name)), || "a row of each contender".into())?;
            run.says("pair64           2* heap")?.says("pair64            1 heap")?.says("waste-reclaim  heap")?;
            let rows = run.serial().lines().filter(|line| !line.contains("bench ")).map(str::trim_end);
            let widest = rows.max_by_key(|line| line.len()).unwrap_or_default();
            run.check(widest.len() <= 100, || format!("at most 100 columns: {widest:?}"))?.passes()
        }),
        Test::new("bench::the-list-has-all-that-can-be-named", || {
            let run = Run::of(script(1, "bench list; quit"))?;
            run.ends(End::Success)?;
            let is_listed = |name: &&str| run.serial().contains(&format!("\n  {name} "));
            let missing = EXACT.iter().chain(&OTHERS).chain(&OURS).chain(&PEERS).find(|name| !is_listed(name));
            run.check(missing.is_none(), || format!("{missing:?} in the list"))?.passes()
        }),
        Test::new("bench::what-is-damaged-is-found", finds_damage),
        Test::new("bench::without-a-number-it-finds-one", || {
            let run = Run::of(script(1, "bench pair64 larson --quick --json; bench pair64 --quick; quit"))?;
            run.ends(End::Success)?.judges("bench", &[true])?;
            let recording = read(&run)?;
            let has_none = recording.meta.nr_ops.is_none() && recording.meta.command.contains("--quick");
            run.check(has_none, || format!("a run that lets each workload choose: {:?}", recording.meta))?;
            for row in &recording.rows {
                let nr_reps = recording.meta.nr_reps;
                // Sets are exchanged after 500 pairs, four times at least.
                let (least, unit) = if row.workload == "larson" { (2000, 500) } else { (256, 1) };
                let is_whole = row.nr_ops >= least * nr_reps && row.nr_ops.is_multiple_of(unit * nr_reps);
                run.check(is_whole, || format!("enough and as many operations in each of {nr_reps}: {row:?}"))?;
            }
            let nr_ops = |name| row_of(&run, &recording, "pair64", name, 1).map(|row| row.nr_ops);
            let (heap, slabs) = (nr_ops("heap")?, nr_ops("slabs")?);
            run.check(heap > slabs, || format!("the quicker to do more: {heap} and {slabs}"))?;
            run.says(" each: the heap is")?.passes()
        }),
        Test::new("bench::wrong-arguments-are-refused", || {
            let mut typist = Typist::at_prompt(script(2, ""))?;
            for wrong in [
                "pair63",
                "--cpus 3",
                "--cpus 0",
                "--cpus 1,x",
                "--cpus",
                "--reps 0",
                "--ops many",
                "--jsn",
                "--contender tulc",
                "quick list",
            ] {
                let (text, status) = typist.enter(&format!("bench {wrong}"))?;
                typist.expect(status == 2, format!("`bench {wrong}` to be refused, status {status}"))?;
                let says_why = ["usage: bench", "expected", "did you mean"].iter().any(|words| text.contains(words));
                typist.expect(says_why, format!("`bench {wrong}` to say what it wants"))?;
            }
            typist.quit().ends(End::CommandFailed)?.passes()
        }),
        Test::new("bench::ctrl-c-stops-it", || {
            let mut typist = Typist::at_prompt(script(2, ""))?;
            for endless in ["pair64 --cpus 1", "rptest --cpus 2", "xmalloc --cpus 2", "larson --cpus 2", "frame"] {
                typist.keys(&format!("bench {endless} --ops 100M --reps 1000\r"));
                typist.reads("  [0/")?;
                typist.stops_bench()?;
            }
            typist.quit().adds_up(5)?.passes()
        }),
        Test::new("bench::ctrl-c-leaves-a-recording", || {
            let mut typist = Typist::at_prompt(script(1, ""))?;
            typist.keys("bench pair --json --ops 20k --reps 10\r");
            typist.reads("\"kind\":\"bench-row\"")?;
            typist.keys(CTRL_C);
            typist.reads("\"kind\":\"bench-end\"")?;
            typist.prompt()?;
            let run = typist.quit();
            let recording = read(&run)?;
            let end = recording.end.as_ref();
            let is_stopped = end.is_some_and(|end| end.is_stopped && end.is_pass && end.nr_bad == 0);
            run.check(is_stopped, || format!("an end that says that it was stopped: {end:?}"))?;
            let nr_rows = recording.rows.len();
            let is_part = (7..19 * 7).contains(&nr_rows) && end.is_some_and(|end| end.nr_rows == nr_rows as u64);
            run.check(is_part, || format!("the rows until then, found {nr_rows}"))?.passes()
        }),
        Test::new("bench::who-is-refused-memory-has-no-figures-and-has-not-failed", tells_refusals),
        Test::new("bench::too-little-memory-for-itself-says-how-much-it-needs", || {
            let settings = Settings { mem: "32M".into(), ..script(8, "bench pair64; mem; quit") };
            let run = Run::of(settings)?;
            run.ends(End::CommandFailed)?.adds_up(1)?.judges("bench", &[false])?.never_says("QR codes")?;
            run.says("32 MiB for the contenders")?.says("mem=64M")?.passes()
        }),
        Test::new("bench::a-number-of-cpus-that-comes-twice-is-played-once", || {
            let run =
                Run::of(script(2, "bench pair64 --cpus 2,1,1,2 --contender heap --ops 300 --reps 1 --json; quit"))?;
            run.ends(End::Success)?;
            let cpus: Vec<_> = read(&run)?.rows.iter().map(|row| row.cpus).collect();
            run.check(cpus == [2, 1], || format!("two rows, on 2 CPUs and on 1, found {cpus:?}"))?.passes()
        }),
        Test::new("bench::the-heap-takes-no-lock-where-every-peer-takes-two", takes_no_lock),
        Test::new("bench::frames-cost-the-same-at-every-fill", fill_costs_nothing),
    ]
}

/// The one recording on the serial line.
fn read(run: &Run) -> Result<Recording, Failure> {
    let found = lines::read(run.serial());
    run.check(found.as_ref().is_ok_and(|runs| runs.len() == 1), || {
        format!("one recording, found {:?}", found.as_ref().err())
    })?;
    let stray = run.serial().lines().find(|line| line.starts_with('{') && !line.starts_with("{\"kind\":\"bench-"));
    run.check(stray.is_none(), || format!("a brace at the start of records only, found {stray:?}"))?;
    Ok(found.ok().and_then(|mut runs| runs.pop()).unwrap_or_default())
}

fn has_every_row(cpus: u32, sweep: &str) -> Outcome {
    let workloads = EXACT.iter().chain(&OTHERS);
    let names = workloads.clone().map(|name| format!("{name} ")).collect::<String>();
    let command = format!("bench {names}waste frame --json --cpus {sweep} --ops 300 --reps 2 --seed 7; mem; quit");
    // Eight CPUs that meet on fewer wait for the host's scheduler each time.
    let settings =
        Settings { timeout: Duration::from_secs(180), append: "host-cpus=2".into(), ..script(cpus, &command) };
    let run = Run::of(settings)?;
    run.ends(End::Success)?.adds_up(1)?;
    let recording = read(&run)?;
    let meta = &recording.meta;
    let says_what = meta.is_emulated && meta.host_cpus == Some(2) && meta.nr_cpus == u64::from(cpus) && meta.seed == 7;
    let says_how = (meta.nr_ops, meta.nr_reps) == (Some(300), 2) && meta.clock_hz > 0 && meta.timer_ticks > 0;
    run.check(says_what && says_how && meta.source == "kernel", || format!("what ran and how, found {meta:?}"))?;
    for nr_cpus in sweep.split(',').filter_map(|number| number.parse().ok()) {
        for workload in workloads.clone() {
            for contender in OURS.iter().chain(&PEERS) {
                check_row(&run, row_of(&run, &recording, workload, contender, nr_cpus)?)?;
                check_latencies(&run, &recording, workload, contender, nr_cpus)?;
            }
        }
    }
    let fills = recording.rows.iter().filter(|row| row.scale.as_deref() == Some("fill_per_mille")).count();
    run.check(fills == 4, || format!("four fills of memory, found {fills}"))?;
    let is_sane = recording.wastes.iter().all(|waste| waste.held_bytes >= waste.live_bytes && waste.live_bytes > 0);
    let has_waste = |name: &str| recording.wastes.iter().any(|waste| waste.contender == name);
    run.check(is_sane && ["heap", "slabs", "talc", "linked_list", "rlsf"].into_iter().all(has_waste), || {
        format!("what is held for what is live, found {:?}", recording.wastes)
    })?;
    let end = recording.end.as_ref();
    let is_end = end.is_some_and(|end| end.is_pass && !end.is_stopped && end.nr_rows == recording.rows.len() as u64);
    run.check(is_end, || format!("a pass at the end with the number of rows, found {end:?}"))?.passes()
}

fn row_of<'r>(
    run: &Run,
    recording: &'r Recording,
    workload: &str,
    contender: &str,
    cpus: u64,
) -> Result<&'r Throughput<'static>, Failure> {
    let is_it = |row: &&Throughput<'_>| (&*row.workload, &*row.contender, row.cpus) == (workload, contender, cpus);
    let found: Vec<_> = recording.rows.iter().filter(is_it).collect();
    run.check(found.len() == 1, || format!("one row of {workload}, {contender}, {cpus} CPUs, found {}", found.len()))?;
    Ok(found[0])
}

/// Counts that hold to the last one, whatever the machine.
fn check_row(run: &Run, row: &Throughput<'_>) -> Result<(), Failure> {
    let is_whole = row.milliticks_per_op.len() == 2 && row.milliticks_per_op.iter().all(|&time| time > 0);
    run.check(is_whole && row.nr_bad == 0 && row.nr_ops > 0, || format!("sound figures in {row:?}"))?;
    let is_ours = OURS.contains(&&*row.contender);
    let longest = row.longest_milliticks_per_op;
    let least = row.milliticks_per_op.iter().min();
    // Half of the CPUs of `xmalloc` have no pairs of their own.
    let is_longest = row.workload == "xmalloc" || longest.as_ref() >= least;
    run.check(longest.is_some() && is_longest, || format!("the CPU that took longest: {row:?}"))?;
    run.check(is_ours == row.nr_heap_ops.is_some(), || format!("counts of the heap for what is ours: {row:?}"))?;
    let is_known = row.nr_waits.is_some_and(|nr_waits| row.cpus > 1 || nr_waits == 0);
    run.check(is_known, || format!("waits for locks, and none of a CPU alone: {row:?}"))?;
    if EXACT.contains(&&*row.workload) {
        if !is_ours {
            run.check(row.nr_locks == Some(2 * row.nr_ops), || format!("two locks for a pair: {row:?}"))?;
        }
        if row.contender == "heap" {
            run.check(row.nr_heap_ops == Some(2 * row.nr_ops), || format!("two operations for a pair: {row:?}"))?;
            run.check(row.nr_ipis == Some(0), || format!("no other CPU disturbed: {row:?}"))?;
        }
    }
    Ok(())
}

fn check_latencies(run: &Run, recording: &Recording, workload: &str, name: &str, cpus: u64) -> Result<(), Failure> {
    for operation in ["alloc", "free"] {
        let is_it = |row: &&Latency<'_>| {
            (&*row.workload, &*row.contender, row.cpus, &*row.operation) == (workload, name, cpus, operation)
        };
        let found: Vec<_> = recording.latencies.iter().filter(is_it).collect();
        let is_sound = |row: &Latency<'_>| {
            let times = [1, row.p50_ticks, row.p99_ticks, row.p999_ticks, row.max_ticks];
            times.is_sorted() && row.nr_samples > 0 && row.timer_ticks > 0
        };
        run.check(matches!(found[..], [row] if is_sound(row)), || {
            format!("one sound row of how long {operation} takes in {workload}, {name}, {cpus} CPUs: {found:?}")
        })?;
    }
    Ok(())
}

/// With a contender that hands out memory which is in use every run fails, and names it.
fn finds_damage() -> Outcome {
    const HOLDING: [&str; 6] = ["lifo1000", "fifo1000", "mstress", "sh6", "rptest", "larson"];
    let names = HOLDING.join(" ");
    let run =
        Run::of(script(2, &format!("bench {names} --contender heap,damaged --ops 2k --reps 1 --json; mem; quit")))?;
    run.ends(End::CommandFailed)?.adds_up(1)?;
    let recording = read(&run)?;
    for workload in HOLDING {
        for cpus in [1, 2] {
            let damaged = row_of(&run, &recording, workload, "damaged", cpus)?;
            run.check(damaged.nr_bad > 0, || format!("damage to be found: {damaged:?}"))?;
            let heap = row_of(&run, &recording, workload, "heap", cpus)?;
            run.check(heap.nr_bad == 0, || format!("nothing wrong with the heap beside it: {heap:?}"))?;
        }
    }
    let end = recording.end.as_ref();
    let is_failed = end.is_some_and(|end| !end.is_pass && !end.is_stopped && end.nr_bad > 0 && end.why.is_some());
    run.check(is_failed, || format!("a failure at the end, found {end:?}"))?.passes()
}

/// With a contender that has no memory there are remarks, rows of the others, and no failure.
fn tells_refusals() -> Outcome {
    let names = EXACT.iter().chain(&OTHERS).map(|name| format!("{name} ")).collect::<String>();
    let run = Run::of(script(
        2,
        &format!(
            "bench {names}waste --contender heap,refusing --ops 1k --reps 1 --json; bench pair64 --contender refusing; mem; quit"
        ),
    ))?;
    run.ends(End::Success)?.adds_up(1)?.judges("bench", &[true])?.says("requests were refused in")?;
    let recording = read(&run)?;
    for workload in EXACT.iter().chain(&OTHERS) {
        for cpus in [1, 2] {
            let heap = row_of(&run, &recording, workload, "heap", cpus)?;
            run.check(heap.nr_bad == 0, || format!("nothing wrong with the heap beside it: {heap:?}"))?;
            let start = format!("{workload} on {cpus}: refusing has no figures: too little memory");
            let is_said = recording.remarks.iter().any(|remark| remark.text.starts_with(&start));
            run.check(is_said, || format!("a remark {start:?}, found {:?}", recording.remarks))?;
        }
    }
    let has_figures = recording.rows.iter().any(|row| row.contender == "refusing")
        || recording.latencies.iter().any(|latency| latency.contender == "refusing");
    run.check(!has_figures, || "no figures of who was refused".into())?;
    let end = recording.end.as_ref();
    let is_told = end.is_some_and(|end| end.is_pass && end.nr_bad == 0 && end.nr_refused > Some(0));
    run.check(is_told, || format!("a pass that counts what was refused, found {end:?}"))?.passes()
}

/// What makes the heap quick, counted: no lock and no interrupt for any other CPU, and magazines that serve all but one
/// operation in a thousand, where each peer takes two locks for each pair. Times mean nothing under emulation.
fn takes_no_lock() -> Outcome {
    let run = Run::of(script(2, "bench pair64 pairmix --json --cpus 1,2 --ops 5k --reps 20; mem; quit"))?;
    run.ends(End::Success)?.adds_up(1)?;
    let recording = read(&run)?;
    for (workload, cpus) in [("pair64", 1), ("pairmix", 1), ("pair64", 2), ("pairmix", 2)] {
        let heap = row_of(&run, &recording, workload, "heap", cpus)?;
        // A CPU that comes to a new size takes a magazine.
        run.check(heap.nr_locks.is_some_and(|locks| locks * 1000 <= heap.nr_ops), || {
            format!("no lock in 1000 pairs of {workload}, found {heap:?}")
        })?;
        let nr_missed =
            heap.nr_depot_visits.unwrap_or(u64::MAX).saturating_add(heap.nr_slab_visits.unwrap_or(u64::MAX));
        run.check(heap.nr_heap_ops.is_some_and(|nr_ops| nr_missed.saturating_mul(1000) <= nr_ops), || {
            format!("magazines to serve all but one in 1000 operations of {workload}, found {heap:?}")
        })?;
        run.check(heap.nr_ipis == Some(0), || format!("no other CPU disturbed: {heap:?}"))?;
        let slabs = row_of(&run, &recording, workload, "slabs", cpus)?;
        run.check(slabs.nr_locks == Some(3 * slabs.nr_ops), || {
            format!("three locks a pair past the magazines: {slabs:?}")
        })?;
        for peer in PEERS {
            let row = row_of(&run, &recording, workload, peer, cpus)?;
            run.check(row.nr_locks == Some(2 * row.nr_ops), || format!("two locks for a pair: {row:?}"))?;
        }
    }
    run.passes()
}

/// Of the quicker rounds: from most others the host took a CPU away, where it is busy.
fn first_quartile(row: &Throughput<'_>) -> f64 {
    let mut times = row.milliticks_per_op.to_vec();
    times.sort_unstable();
    times[times.len() / 4] as f64
}

fn fill_costs_nothing() -> Outcome {
    let settings = Settings { mem: "1G".into(), ..script(1, "bench frame --ops 10k --json; mem; quit") };
    let run = Run::of(settings)?;
    run.ends(End::Success)?.adds_up(1)?;
    let recording = read(&run)?;
    let rows: Vec<_> = recording.rows.iter().filter(|row| row.scale.as_deref() == Some("fill_per_mille")).collect();
    let fills: Vec<u64> = rows.iter().filter_map(|row| row.scale_value).collect();
    run.check(fills == [0, 500, 990, 999], || format!("fills of 50, 99 and 99.9 %, found {fills:?}"))?;
    run.check(recording.remarks.is_empty(), || format!("memory as full as it was to be: {:?}", recording.remarks))?;
    for row in &rows {
        // The same number of visits to the bitmap, whatever the fill.
        let is_same = row.nr_locks == rows[0].nr_locks && row.nr_locks > Some(0);
        run.check(is_same, || format!("as many locks as at the emptiest fill: {row:?}"))?;
        // A search that grew with the fill would take hundreds of times as long at 99.9 %: a factor of ten cannot be the host's.
        run.check(first_quartile(row) < 10.0 * first_quartile(rows[0]), || format!("about the same time: {row:?}"))?;
    }
    run.passes()
}
