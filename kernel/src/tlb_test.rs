//! `tlb-test`: one small case for each way in which a TLB shootdown can go wrong, each on the real machine.
//!
//! Where `stress` does everything at once, a case here sets up one situation and looks at what must come of it: a CPU
//! that keeps interrupts off, a lost interrupt, two CPUs that wait for each other, an NMI at the wrong moment. Cases are
//! bounded by operations and not by time. What each is for, and which of them fail on purpose: `docs/shootdown.md`.
//!
//! | file | what is in it |
//! |---|---|
//! | [`window`] | a page whose translation changes from version to version: what tells a stale translation |
//! | [`watched`] | this machine as `smp` sees it, with a clock and a way of losing interrupts of its own |
//! | [`company`] | what the other CPUs do meanwhile |
//! | [`verdict`] | what a case finds, and the first thing that must not happen |
//! | the others | cases |
//!
//! Called by: the shell. Context: the first CPU, interrupts on, the others idle.

mod company;
pub mod halt;
mod locks;
mod masked;
mod nmi;
mod nobody;
mod storm;
mod subset;
mod verdict;
mod visible;
mod wake;
mod watchdog;
mod watched;
mod window;

use arch::tsc;
use kernel::args::{ArgError, Args};
use kernel::suggest;

use crate::baseline::Baseline;
use crate::console::println;
use crate::shell::{Command, Status};
use crate::{input, time, workers};

use verdict::{Failure, Figures, Run};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "tlb-test",
    usage: "[list] [case..] [ops=N] [seed=N]",
    help: "TLB shootdowns in awkward situations, one case for each",
    details: "`tlb-test list` says what the cases are; named cases run alone, in the order given. Each is named before it\n\
              runs, and is over after a number of operations that `ops` changes. `seed` repeats the choices of a run,\n\
              and not how the CPUs interleave. A case that wants more CPUs than there are is skipped.\n\
              Ends with PASS or FAIL, or STOPPED after Ctrl-C. With chaos=drop-ipi on the kernel command line it must fail.",
    run: tlb_test,
}];

/// One case.
struct Case {
    name: &'static str,
    /// CPUs that it wants.
    nr_cpus: usize,
    /// Operations, unless something else is asked for.
    nr_ops: u64,
    help: &'static str,
    run: fn(&Run) -> Result<Figures, Failure>,
}

const CASES: &[Case] = &[
    case("detector", 2, 2, "shootdowns are left out: a stale translation must be noticed", storm::detector),
    case("storm", 1, 200, "all CPUs unmap at once and look at each other's pages", storm::storm),
    case("subset", 2, 30, "some CPUs flush a page by themselves: these see the new one", subset::subset),
    case("late-answer", 2, 5, "the target keeps interrupts off for a million instructions", masked::late_answer),
    case("many-requests", 2, 5, "a hundred requests to a CPU with interrupts off", masked::many_requests),
    case("log-overrun", 2, 1, "1 to 200 rounds behind: pages one by one, or everything", masked::log_overrun),
    case("all-masked", 2, 200, "all CPUs begin rounds with interrupts off", locks::all_masked),
    case("lock-holder", 2, 60, "the targets spin for a lock that the initiator holds", locks::lock_holder),
    case("lost-interrupt", 2, 2, "an interrupt is lost: the watchdog sends it again", watchdog::lost_interrupt),
    case("no-answer", 2, 2, "a CPU does not answer: an NMI finds out where it is", watchdog::no_answer),
    case("nobody", 1, 1, "interrupts to CPUs that do not exist", nobody::nobody),
    case("nmi", 2, 300, "NMIs to CPUs that halt, wake up and flush", nmi::nmi),
    case("halt", 2, 200, "an NMI comes between sti and hlt, with an interrupt pending", halt::halt),
    case("wake", 2, 2000, "a CPU halts and runs under a stream of rounds", wake::wake),
    case("visible", 1, 1, "rights that are taken away are gone on every CPU", visible::visible),
];

const fn case(
    name: &'static str,
    nr_cpus: usize,
    nr_ops: u64,
    help: &'static str,
    run: fn(&Run) -> Result<Figures, Failure>,
) -> Case {
    Case { name, nr_cpus, nr_ops, help, run }
}

/// The names of all cases.
pub fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

fn tlb_test<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let nr_ops = args.number("ops", 1..=100_000_000)?;
    let seed = args.number("seed", 0..=u64::MAX)?.unwrap_or_else(tsc::read);
    // The cases by their places in the table, in the order given.
    let mut wanted = [0; CASES.len()];
    let mut nr_wanted = 0;
    while let Some(word) = args.word() {
        if word == "list" {
            args.finish(usage)?;
            return Ok(list());
        }
        let Some(index) = CASES.iter().position(|case| case.name == word) else {
            match suggest::closest(word, names()) {
                Some(nearest) => println!("tlb-test: `{word}` is no case; did you mean `{nearest}`?"),
                None => println!("tlb-test: `{word}` is no case; `tlb-test list` lists them"),
            }
            return Ok(Status::Usage);
        };
        if wanted[..nr_wanted].contains(&index) {
            println!("tlb-test: {word} is given twice");
            return Ok(Status::Usage);
        }
        wanted[nr_wanted] = index;
        nr_wanted += 1;
    }
    args.finish(usage)?;
    Ok(match &wanted[..nr_wanted] {
        [] => run(CASES.iter(), nr_ops, seed),
        wanted => run(wanted.iter().map(|index| &CASES[*index]), nr_ops, seed),
    })
}

fn list() -> Status {
    for case in CASES {
        println!("  {:<15} {} ({} operations)", case.name, case.help, case.nr_ops);
    }
    Status::Ok
}

fn run<'a>(cases: impl Iterator<Item = &'a Case>, nr_ops: Option<u64>, seed: u64) -> Status {
    let nr_cpus = workers::nr_available();
    let (mut nr_passed, mut nr_failed, mut nr_skipped) = (0, 0, 0);
    let Some(baseline) = Baseline::take() else {
        println!("tlb-test: FAIL: memory does not add up before the run");
        return Status::Failed;
    };
    for case in cases {
        if input::is_cancelled() {
            break;
        }
        if nr_cpus < case.nr_cpus {
            println!("tlb-test: {}: skipped, wants {} CPUs", case.name, case.nr_cpus);
            nr_skipped += 1;
            continue;
        }
        println!("tlb-test: {}: {}", case.name, case.help);
        let start_ns = time::now_ns();
        let nr_case_ops = nr_ops.unwrap_or(case.nr_ops);
        match (case.run)(&Run::new(nr_case_ops, seed)) {
            Ok(figures) => {
                let ms = (time::now_ns() - start_ns) / 1_000_000;
                println!("tlb-test: {}: ok in {ms} ms{figures}", case.name);
                nr_passed += 1;
            }
            Err(Failure::Cancelled) => break,
            Err(failure) => {
                println!("tlb-test: {}: failed: {failure}", case.name);
                println!("tlb-test: again with: tlb-test {} ops={nr_case_ops} seed={seed}", case.name);
                nr_failed += 1;
            }
        }
    }
    let difference = baseline.compare();
    if let Some(difference) = difference {
        println!("tlb-test: {difference}");
    }
    // What was stopped has found nothing wrong, and has not done what it was told either.
    let verdict = match nr_failed == 0 && difference.is_none() {
        true if input::is_cancelled() => "STOPPED",
        true => "PASS",
        false => "FAIL",
    };
    println!(
        "tlb-test: {verdict} passed={nr_passed} failed={nr_failed} skipped={nr_skipped} cpus={nr_cpus} seed={seed}"
    );
    if verdict == "PASS" { Status::Ok } else { Status::Failed }
}
