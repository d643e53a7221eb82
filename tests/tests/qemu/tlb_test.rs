//! TLB shootdowns in awkward situations: `tlb-test` passes in both modes of the local APIC and at many sizes, fails when the
//! protocol is broken on purpose, and a CPU that does not answer is named before the machine ends.
//!
//! What each case is and which of these tests runs it: `docs/shootdown.md`. Those of the group `tlb-test-long` take minutes and
//! run only when they are asked for (`just test-tlb`).

use crate::support::{Failure, LIMIT, Outcome, Run, Settings, Test, Typist, script, xapic};
use std::time::Duration;
use tests::{End, kernel};

/// The group that runs on demand.
const LONG: &str = "tlb-test-long";

/// Whether a test is one of those that only a filter asks for.
pub(crate) fn is_on_demand(test: &Test) -> bool {
    test.group() == LONG
}

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let usual = [
        Test::new("tlb-test::1-cpu-interrupts-nobody", alone),
        Test::new("tlb-test::2-cpus", || passes(script(2, ""), "")),
        Test::new("tlb-test::3-cpus-xapic", || passes(xapic(script(3, "")), "")),
        Test::new("tlb-test::8-cpus", || passes(script(8, ""), "")),
        Test::new("tlb-test::8-cpus-xapic", || passes(xapic(script(8, "")), "")),
        Test::new("tlb-test::ctrl-c-ends-a-case", cancelled),
        Test::new("tlb-test::fails-when-interrupts-are-dropped", broken),
        Test::new("tlb-test::an-nmi-that-sends-a-cpu-to-sleep-is-noticed", asleep),
        Test::new("tlb-test::a-lock-whose-waiters-serve-nobody-is-noticed", hung),
        Test::new("tlb-test::a-cpu-that-never-answers-is-named", || deaf(script(4, ""))),
        Test::new("tlb-test::a-cpu-that-never-answers-is-named-xapic", || deaf(xapic(script(2, "")))),
        Test::new("tlb-test::a-purge-that-never-ends-is-named", || {
            endless("purge", "its purge of what is unmapped", "")
        }),
        Test::new("tlb-test::a-reclaim-that-never-ends-is-named", || {
            endless("reclaim", "its reclaim of memory", "destroy_for_ever")
        }),
        Test::new("tlb-test::all-cpus-panic-and-one-reports", || one_report(script(8, "fault all-panic"))),
        Test::new("tlb-test::a-panic-stops-cpus-with-interrupts-off", || {
            one_report(script(8, "fault panic-among-deaf"))
        }),
        Test::new("tlb-test::a-panic-stops-cpus-with-interrupts-off-xapic", || {
            one_report(xapic(script(3, "fault panic-among-deaf")))
        }),
    ];
    let long = [2, 3, 8, 16].into_iter().flat_map(|cpus| {
        let name = |rest: &str| format!("{LONG}::{cpus}-cpus{rest}");
        [
            Test::new(name(""), move || passes(script(cpus, ""), LONG_CASES)),
            Test::new(name("-xapic"), move || passes(xapic(script(cpus, "")), LONG_CASES)),
        ]
    });
    usual.into_iter().chain(long).collect()
}

/// More of what finds races, after all cases once: 100,000 halts, and the storms.
const LONG_CASES: &str = "tlb-test wake ops=100000; tlb-test nmi ops=20000; tlb-test storm all-masked ops=4000; ";

/// All cases, and perhaps more of them.
fn passes(settings: Settings, more: &str) -> Outcome {
    let timeout = if more.is_empty() { LIMIT } else { Duration::from_secs(900) };
    let run = Run::of(Settings { cmd: format!("tlb-test; {more}mem; quit"), timeout, ..settings })?;
    run.ends(End::Success)?.adds_up(1)?;
    let verdicts = kernel::verdicts(run.serial(), "tlb-test");
    let runs = 1 + more.matches("tlb-test").count();
    run.check(verdicts.len() == runs && verdicts.iter().all(|v| v.pass), || format!("{runs} times PASS"))?;
    run.check(verdicts[0].value("skipped") == Some("0"), || "no case skipped".into())?;
    run.never_says("watchdog:")?.passes()
}

/// One CPU: cases that want another say so, the others pass without an interrupt to anybody.
fn alone() -> Outcome {
    let run = Run::of(script(1, "tlb-test; cpus; mem; tlb-test visible storm; quit"))?;
    run.ends(End::Success)?.judges("tlb-test", &[true, true])?.adds_up(1)?;
    let named = kernel::answer(run.serial(), "tlb-test visible storm");
    let order = ["visible", "storm"].map(|case| named.find(&format!("tlb-test: {case}: ")));
    run.check(order[0].is_some() && order[0] < order[1], || format!("visible before storm, but {named:?}"))?;
    let sent = kernel::ipis_sent(run.serial());
    run.says(": skipped, wants 2 CPUs")?
        .check(sent == Some(0), || format!("no interrupts sent, told {sent:?}"))?
        .passes()
}

fn cancelled() -> Outcome {
    let mut typist = Typist::at_prompt(script(2, ""))?;
    typist.keys("tlb-test wake ops=100000000\r");
    typist.reads("tlb-test: wake: ")?;
    typist.keys("\u{3}");
    let status = typist.prompt()?;
    typist.expect(status == 1, format!("a run that was stopped to have failed, status {status}"))?;
    let (answer, status) = typist.enter("tlb-test nmi nmi")?;
    typist.expect(status == 2 && answer.contains("nmi is given twice"), "a case that is given twice to be refused")?;
    let run = typist.quit();
    run.says("tlb-test: STOPPED passed=0 failed=0")?.judges("tlb-test", &[])?.passes()
}

/// With shootdowns broken every case fails that rests on them: the proof that it can.
fn broken() -> Outcome {
    let cases = "detector subset late-answer many-requests log-overrun lock-holder lost-interrupt no-answer visible";
    // Rounds that wait for nobody are over in no time: of these it takes many before two CPUs get in each other's way.
    let races = "storm all-masked";
    let cmd = format!("tlb-test {cases} seed=1; tlb-test {races} ops=50000 seed=1; quit");
    let run = Run::of(Settings { append: "chaos=drop-ipi".into(), ..script(3, &cmd) })?;
    run.ends(End::CommandFailed)?.judges("tlb-test", &[false, false])?;
    for case in cases.split_whitespace().chain(races.split_whitespace()) {
        run.says(&format!("tlb-test: {case}: failed: "))?;
    }
    run.says("tlb-test: again with: tlb-test storm ops=50000 seed=1")?;
    let answer = kernel::answer(run.serial(), &format!("tlb-test {races} ops=50000 seed=1"));
    let said = answer.lines().find(|line| line.starts_with("tlb-test: storm: failed: ")).unwrap_or_default();
    run.check(said.contains(" still read mapping ") && said.trim_end().ends_with("was unmapped"), || {
        format!("a mapping that was unmapped and read, but {said:?}")
    })?;
    run.says("stale translation: cpu ")?.says("stale right: cpu ")?.passes()
}

/// Without the step over the `hlt` a pending interrupt is taken before the halt, which then lasts.
fn asleep() -> Outcome {
    let settings = Settings { append: "chaos=nmi-to-sleep".into(), ..script(2, "tlb-test halt; mem; quit") };
    let run = Run::of(settings)?;
    run.ends(End::CommandFailed)?.judges("tlb-test", &[false])?.adds_up(1)?;
    run.says("which an NMI sent to sleep, did not come")?.passes()
}

fn hung() -> Outcome {
    let append = "chaos=no-self-service watchdog=300ms".into();
    let run = Run::of(Settings { append, ..script(2, "tlb-test lock-holder; quit") })?;
    crashed(&run)?.says("watchdog: cpu 1 is at ")?.says("has not acked generation")?.passes()
}

/// Asked again, found by NMI, named with its place, and then the end.
fn deaf(settings: Settings) -> Outcome {
    let last = settings.cpus - 1;
    let run = Run::of(Settings { append: "watchdog=300ms".into(), cmd: "fault deaf; mem; quit".into(), ..settings })?;
    let place = |line: &str| line.contains("listen_to_nobody");
    let found = run.serial().lines().any(|l| l.starts_with(&format!("watchdog: cpu {last} is at ")) && place(l));
    run.check(found, || format!("the place of cpu {last}, by NMI"))?;
    let shown = run.serial().lines().any(|l| l.starts_with(&format!("cpu {last}: ")) && place(l));
    run.check(shown, || format!("the place of cpu {last}, in the report"))?;
    crashed(&run)?.says(&format!("cpu {last} has not acked generation"))?.passes()
}

/// Who waits for its turn at something that another CPU never ends names that CPU, and where it is.
fn endless(kind: &str, what: &str, place: &str) -> Outcome {
    let cmd = format!("fault endless-{kind}; mem; quit");
    let run = Run::of(Settings { append: "watchdog=300ms".into(), ..script(3, &cmd) })?;
    let mut lines = run.serial().lines().map(|line| line.strip_prefix("watchdog: cpu ").unwrap_or_default());
    let of_cpu = |line: &str, text: &str| Some(line.split_once(text)?.0.to_string());
    let late = lines.find_map(|line| of_cpu(line, &format!(" has not ended {what} for ")));
    run.check(late.is_some(), || format!("a CPU that has not ended {what}"))?;
    let late = late.unwrap_or_default();
    let is_placed = |line: &str| line.starts_with(&format!("watchdog: cpu {late} is at ")) && line.contains(place);
    run.check(run.serial().lines().any(is_placed), || format!("cpu {late} in {place}, by NMI"))?;
    crashed(&run)?.passes()
}

/// The machine ended by a crash, with one report, whole, in which every other CPU was stopped.
fn crashed(run: &Run) -> Result<&Run, Failure> {
    run.ends(End::Crashed)?.never_says("not stopped")?.never_says("the report crashed too")?;
    let nr = |text: &str| run.serial().matches(text).count();
    run.check(nr("*** crash on cpu ") == 1 && nr(kernel::END_OF_REPORT) == 1, || "one report".into())
}

fn one_report(settings: Settings) -> Outcome {
    let others = settings.cpus as usize - 1;
    let run = Run::of(settings)?;
    let stopped = |line: &&str| line.starts_with("cpu ") && line.contains(": 0xffffffff8");
    let nr_stopped = run.serial().lines().filter(stopped).count();
    crashed(&run)?.check(nr_stopped == others, || format!("{others} CPUs stopped, found {nr_stopped}"))?.passes()
}
