//! `space`: what waits for a purge, page tables, the tuning of lazy unmapping; and trials of all that.

use kernel::args::{ArgError, Args};
use kernel::figures::{Count, Things};
use kernel::shown;

use super::{Command, Status, tlb};
use crate::baseline::Baseline;
use crate::console::println;
use crate::reclaim;
use crate::space::{self, ENOUGH_FRAMES, LeftOut, TRIALS};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "space",
    usage: "[purge] [test] [ranges=N] [pages=N]",
    help: "kernel address space: what is unmapped and waits; trials on all CPUs",
    details: "purge: one shootdown for all ranges that are unmapped and wait. Comes first if both are asked for.\n\
              ranges=N, pages=N: how much may wait in the queue of a CPU before it purges.\n\
              test: maps, unmaps, protects and remaps ranges of many sizes, and has every CPU look; unmaps what must not\n\
              be unmapped; does without memory, and without addresses. What there is no memory for is left out, and said; with\n\
              32 MiB of usable memory that is a failure.",
    run,
}];

fn run<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let (ranges, pages) = space::lazy_limits();
    let ranges = args.number("ranges", 1..=space::MAX_WAITING as u64)?.map_or(ranges, |ranges| ranges as usize);
    let pages = args.number("pages", 1..=1 << 32)?.map_or(pages, |pages| pages as usize);
    let is_purge = args.flag("purge");
    let is_test = args.flag("test");
    args.finish(usage)?;
    space::set_lazy_limits(ranges, pages);
    if is_purge {
        let purged = space::purge();
        let (ranges, pages) = (Things(purged.nr_ranges as u64, "range"), Things(purged.nr_pages as u64, "page"));
        println!("space: {ranges} purged, {pages}");
    }
    if is_test {
        return Ok(test());
    }
    let (ranges, pages) = space::lazy_limits();
    let waiting = space::waiting();
    println!(
        "space: {} page tables; waiting: {}, {} frames mapped and {} large",
        Count(space::nr_tables()),
        Things(waiting.nr_ranges, "range"),
        Count(waiting.nr_mapped),
        Count(waiting.nr_large),
    );
    println!(
        "space: a purge is due at {} or {} of a CPU; {} so far",
        Things(ranges as u64, "range"),
        Things(pages as u64, "page"),
        Things(space::nr_purges(), "purge"),
    );
    Ok(Status::Ok)
}

fn test() -> Status {
    let Some(baseline) = Baseline::take() else {
        println!("space: FAIL: memory does not add up before the trials");
        return Status::Failed;
    };
    let size_left_out = space::size_left_out();
    if let Some(nr_pages) = size_left_out {
        println!("space: ranges of {nr_pages} pages are left out: too little memory");
    }
    // Halted CPUs forget everything when they are called: those that run are the harder half.
    let tallies = [try_all("all others halted"), tlb::with_busy_cpus(|| try_all("all others running"))];
    let nr_left_out = tallies.iter().map(|tally| tally.nr_left_out).max().unwrap_or(0);
    let mut nr_failed: usize = tallies.iter().map(|tally| tally.nr_failed).sum();
    if let Some(difference) = baseline.compare() {
        println!("space: FAIL: {difference}");
        nr_failed += 1;
    }
    let nr_usable = reclaim::boot_memory().nr_usable;
    let wants_memory = size_left_out.is_some() || tallies.iter().any(|tally| tally.nr_without_memory > 0);
    if wants_memory && nr_usable >= ENOUGH_FRAMES {
        println!("space: FAIL: with {} usable frames nothing may lack memory", Count(nr_usable));
        nr_failed += 1;
    }
    if nr_failed > 0 {
        return Status::Failed;
    }
    let left_out = shown::by(|f| if nr_left_out > 0 { write!(f, ", {nr_left_out} left out") } else { Ok(()) });
    let nr_tried = TRIALS.len() - nr_left_out;
    println!("space: PASS {nr_tried} trials{left_out}, with CPUs that are halted and running");
    Status::Ok
}

/// What became of the trials.
#[derive(Clone, Copy, Default)]
struct Tally {
    nr_failed: usize,
    nr_left_out: usize,
    /// Of these, for want of memory.
    nr_without_memory: usize,
}

/// Runs all trials that can be run here.
fn try_all(others: &str) -> Tally {
    let mut tally = Tally::default();
    for trial in &TRIALS {
        if let Some(why) = trial.left_out() {
            println!("space: left out: {}, {others}: {why}", trial.name);
            tally.nr_left_out += 1;
            tally.nr_without_memory += usize::from(why == LeftOut::Memory);
            continue;
        }
        match (trial.run)() {
            Ok(()) => println!("space: ok: {}, {others}", trial.name),
            Err(wrong) => {
                println!("space: FAIL: {}, {others}: {wrong}", trial.name);
                tally.nr_failed += 1;
            }
        }
    }
    tally
}
