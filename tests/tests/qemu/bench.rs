//! The benchmark: runs to its end at every size, has every row, counts exactly, can be read by a program and stopped.

use crate::support::{Failure, Outcome, Run, Settings, Test, Typist, script};
use std::time::Duration;
use tests::End;
use tests::records::{Record, records};

const WORKLOADS: [&str; 7] = ["pair64", "pairmix", "lifo1000", "fifo1000", "mstress", "xmalloc", "larson"];
const PEERS: [&str; 4] = ["talc", "linked_list", "buddy", "rlsf"];
const OURS: [&str; 3] = ["heap", "slabs", "slabs-locked"];
const CTRL_C: &str = "\x03";

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("bench::1-cpu", || has_every_row(1, "1")),
        Test::new("bench::2-cpus", || has_every_row(2, "1,2")),
        Test::new("bench::8-cpus", || has_every_row(8, "8")),
        Test::new("bench::a-table-for-people", || {
            let run = Run::of(script(2, "bench pair64 frame --ops 256 --reps 2; mem; quit"))?;
            run.ends(End::Success)?.judges("bench", &[true])?.adds_up(1)?;
            run.says("emulated: times are relative only")?.says("the heap is")?.says("x emptiest")?;
            let has_row = |name| run.serial().lines().any(|line| line.contains("pair64 ") && line.contains(name));
            run.check(OURS.iter().chain(&PEERS).all(|name| has_row(*name)), || "a row of each contender".into())?
                .passes()
        }),
        Test::new("bench::wrong-arguments-are-refused", || {
            let mut typist = Typist::at_prompt(script(2, ""))?;
            for wrong in ["pair63", "--cpus 3", "--cpus 0", "--cpus 1,x", "--cpus", "--reps 0", "--ops many", "--jsn"] {
                let (text, status) = typist.enter(&format!("bench {wrong}"))?;
                typist.expect(status == 2, format!("`bench {wrong}` to be refused, status {status}"))?;
                let says_why = ["usage: bench", "expected", "did you mean"].iter().any(|words| text.contains(words));
                typist.expect(says_why, format!("`bench {wrong}` to say what it wants"))?;
            }
            typist.quit().ends(End::CommandFailed)?.passes()
        }),
        Test::new("bench::ctrl-c-stops-it", || {
            let mut typist = Typist::at_prompt(script(2, ""))?;
            for endless in ["pair64 --cpus 1", "mstress --cpus 2", "xmalloc --cpus 2", "larson --cpus 2", "frame"] {
                typist.keys(&format!("bench {endless} --ops 100M --reps 1000\r"));
                typist.reads("contender")?;
                typist.keys(CTRL_C);
                typist.reads("bench: PASS rows=0 bad=0 stopped")?;
                typist.prompt()?;
                let (_, status) = typist.enter("mem")?;
                typist.expect(status == 0, "mem to add up after the interruption")?;
            }
            typist.quit().adds_up(5)?.passes()
        }),
        Test::new("bench::the-heap-is-ahead-of-every-lock", is_ahead),
        Test::new("bench::frames-cost-the-same-at-every-fill", fill_costs_nothing),
    ]
}

fn read(run: &Run) -> Result<Vec<Record>, Failure> {
    let found = records(run.serial());
    run.check(found.is_ok(), || format!("JSON on every line with a brace, found {:?}", found.as_ref().err()))?;
    Ok(found.unwrap_or_default())
}

fn has_every_row(cpus: u32, sweep: &str) -> Outcome {
    // Eight CPUs that meet on fewer wait for the host's scheduler each time.
    let settings = script(cpus, &format!("bench --json --cpus {sweep} --ops 300 --reps 1; mem; quit"));
    let run = Run::of(Settings { timeout: Duration::from_secs(180), ..settings })?;
    run.ends(End::Success)?.adds_up(1)?;
    let records = read(&run)?;
    let meta = records.first().filter(|record| record.text("kind") == "bench-meta" && record.is("relative_only"));
    run.check(meta.is_some(), || "a meta record that says that times are relative, first".into())?;
    for nr_cpus in sweep.split(',') {
        for workload in WORKLOADS {
            for contender in OURS.iter().chain(&PEERS) {
                let row = row(&run, &records, workload, contender, nr_cpus)?;
                let is_whole = row.number("ticks_per_pair") > 0.0 && row.number("pairs") > 0.0;
                let is_sane = row.number("q1") <= row.number("q3") && row.number("bad") == 0.0;
                run.check(is_whole && is_sane, || format!("sound figures in {row:?}"))?;
            }
        }
    }
    let nr_of = |kind| records.iter().filter(|record| record.text("kind") == kind).count();
    run.check(nr_of("bench-frame") == 4, || "four fills of memory".into())?;
    let end = records.iter().rfind(|record| record.text("kind") == "bench-end");
    run.check(end.is_some_and(|end| end.is("pass") && !end.is("stopped")), || "a pass at the end".into())?.passes()
}

fn row<'r>(run: &Run, records: &'r [Record], name: &str, alloc: &str, cpus: &str) -> Result<&'r Record, Failure> {
    let is_it = |record: &&Record| {
        (record.text("kind"), record.text("name"), record.text("alloc")) == ("bench", name, alloc)
            && cpus.parse() == Ok(record.number("cpus"))
    };
    let found: Vec<&Record> = records.iter().filter(is_it).collect();
    run.check(found.len() == 1, || format!("one row of {name}, {alloc}, {cpus} CPUs, found {}", found.len()))?;
    Ok(found[0])
}

/// Counts to the last one; ratios with much room, as two machines may share a core here. On a quiet machine they are
/// several times these: see the README.
fn is_ahead() -> Outcome {
    let run = Run::of(script(2, "bench pair64 pairmix --json --cpus 1,2 --ops 5k --reps 20; mem; quit"))?;
    run.ends(End::Success)?.adds_up(1)?;
    let records = read(&run)?;
    for (workload, cpus, least) in
        [("pair64", "1", 2.0), ("pairmix", "1", 1.5), ("pair64", "2", 1.5), ("pairmix", "2", 1.2)]
    {
        let heap = row(&run, &records, workload, "heap", cpus)?;
        let (locks, pairs) = (heap.number("locks"), heap.number("pairs"));
        // A CPU that comes to a new size takes a magazine.
        run.check(locks * 1000.0 <= pairs, || {
            format!("no lock in 1000 pairs of {workload}, found {locks} in {pairs}")
        })?;
        for peer in PEERS {
            let row = row(&run, &records, workload, peer, cpus)?;
            let (locks, pairs) = (row.number("locks"), row.number("pairs"));
            // Of the quicker rounds: from most others the host took a CPU away, where it is busy.
            let ratio = row.number("q1") / heap.number("q1");
            run.check(locks == 2.0 * pairs, || format!("two locks for a pair of {peer}, found {locks} for {pairs}"))?;
            let is_ahead = ratio >= least;
            run.check(is_ahead, || format!("{workload} on {cpus} by {peer} to take {least} times as long: {ratio}"))?;
        }
    }
    run.passes()
}

fn fill_costs_nothing() -> Outcome {
    let settings = Settings { mem: "1G".into(), ..script(1, "bench frame --json; mem; quit") };
    let run = Run::of(settings)?;
    run.ends(End::Success)?.adds_up(1)?;
    let rows: Vec<Record> = read(&run)?.into_iter().filter(|record| record.text("kind") == "bench-frame").collect();
    let fill = |row: &Record| row.number("used") / row.number("managed");
    let fills: Vec<f64> = rows.iter().map(fill).collect();
    let is_filled = fills.len() == 4 && fills[1] >= 0.5 && fills[2] >= 0.99 && fills[3] >= 0.999;
    run.check(is_filled, || format!("fills of 50, 99 and 99.9 %, found {fills:?}"))?;
    for row in &rows {
        // The same number of visits to the bitmap, whatever the fill, and each takes as long.
        let is_same = row.number("locks") == rows[0].number("locks") && row.number("locks") > 0.0;
        run.check(is_same, || format!("as many locks as at the emptiest fill: {row:?}"))?;
        run.check(row.number("to_emptiest") < 3.0, || format!("at most thrice the time: {row:?}"))?;
    }
    run.passes()
}
