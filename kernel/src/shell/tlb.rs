//! `tlb`: what shootdowns cost, measured here and now.

mod company;
mod figures;
mod mode_guard;
mod problem;
mod rounds;
mod storm;
mod threshold;

use alloc::vec::Vec;

use kernel::args::{ArgError, Args};
use kernel::figures::{Count, Ratio, Things};
use kernel::json;
use kernel::report::Format;
use smp::shootdown::{Mode, Settings};

use company::Pace;

use super::{Command, Out, Status};
use crate::console::println;
use crate::machine::SHOOTDOWNS;
use crate::space::{self, Attributes, Mapped};
use crate::time::Deadline;
use crate::{input, per_cpu, workers};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "tlb",
    usage: "[figures [--exact] | threshold] [flush-pages=N] [pages=N] [lazy=N] [--json]",
    help: "unmap pages one by one, in batches and lazily; count the interrupts",
    details: "All other CPUs are kept running, so that each has to be told. Counts of writes to the\n\
              interrupt command register for N single-page unmaps: the naive way (one to each CPU for each page),\n\
              one round for each page, one round for each batch, and lazily, with the last purge (lazy=N: once N pages\n\
              wait); then one batch with all other CPUs idle.\n\
              tlb figures: counts beside the least and the most that they may be; fails if one is not. With --exact,\n\
              instructions, too: for accel=icount, where a tick of the clock is one.\n\
              tlb threshold: what flushing pages one by one costs beside flushing everything; flush-pages=N sets the\n\
              most that are flushed one by one from here on (as does the kernel option).",
    run: tlb,
}];

/// Printed where the counts are those of a machine that is broken on purpose.
const DROPPED: &str = "tlb: interrupts are dropped (chaos), so these counts mean nothing";

fn tlb<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let nr_pages = args.number("pages", 1..=4096)?.unwrap_or(32) as usize;
    let (default_ranges, default_pages) = space::lazy_limits();
    let lazy =
        args.number("lazy", 1..=space::MAX_WAITING as u64)?.map_or(default_ranges, |nr_ranges| nr_ranges as usize);
    let is_json = args.flag("--json");
    let is_exact = args.flag("--exact");
    let flush_pages = args.number("flush-pages", 0..=Settings::MAX_FULL_FLUSH_PAGES as u64)?;
    let verb = args.word();
    args.finish(usage)?;
    if let Some(nr_pages) = flush_pages {
        SHOOTDOWNS.settings().set_full_flush_pages(nr_pages as usize);
        println!("tlb: up to {} are flushed one by one", Things(nr_pages, "page"));
    }
    match verb {
        None if flush_pages.is_some() => return Ok(Status::Ok),
        None => {}
        Some("threshold") => return Ok(threshold::print(Format::json_if(is_json))),
        Some("figures") => return Ok(figures::print(is_exact, Format::json_if(is_json))),
        Some(other) => {
            println!("tlb: `{other}` is none of figures, threshold");
            return Ok(Status::Usage);
        }
    }
    space::purge();
    space::set_lazy_limits(lazy, default_pages);
    let counted = counts_with_busy_cpus(nr_pages);
    space::set_lazy_limits(default_ranges, default_pages);
    let Some(([naive, single, batched, lazy], nr_purges)) = counted else {
        println!("tlb: stopped, or no memory for {}", Things(nr_pages as u64, "page"));
        return Ok(Status::Failed);
    };
    company::wait_until_idle(&workers::others());
    let Some(idle) = writes_for(nr_pages, Way::Batched) else { return Ok(Status::Failed) };
    let is_broken = SHOOTDOWNS.settings().drops_ipis();
    if is_broken {
        println!("{DROPPED}");
    }
    let counts =
        [("naive", naive), ("one by one", single), ("batched", batched), ("lazily", lazy), ("batched, all idle", idle)];
    if is_json {
        let printed = print_json(nr_pages, counts);
        return Ok(if is_broken { Status::Failed } else { printed });
    }
    println!(
        "tlb: {}, {}; writes to the interrupt command register:",
        Things(per_cpu::all().count() as u64, "CPU"),
        Things(nr_pages as u64, "single-page unmap"),
    );
    for (name, count) in counts {
        println!("  {name:<18} {:>8}   {:.3} per page", Count(count), Ratio(count, nr_pages as u64));
    }
    println!("tlb: {} made the lazily unmapped pages free", Things(nr_purges, "round"));
    Ok(if is_broken { Status::Failed } else { Status::Ok })
}

/// Writes by each way, all other CPUs busy, and the purges of the lazy one.
fn counts_with_busy_cpus(nr_pages: usize) -> Option<([u64; 4], u64)> {
    with_busy_cpus(|| {
        let settings = SHOOTDOWNS.settings();
        let mode_before = settings.mode();
        settings.set_mode(Mode::Naive);
        let naive = writes_for(nr_pages, Way::OneByOne);
        settings.set_mode(Mode::Coalescing);
        let [single, batched] = [Way::OneByOne, Way::Batched].map(|way| writes_for(nr_pages, way));
        let before = space::nr_purges();
        let lazy = writes_for(nr_pages, Way::Lazily);
        settings.set_mode(mode_before);
        Some(([naive?, single?, batched?, lazy?], space::nr_purges() - before))
    })
}

fn print_json(nr_pages: usize, counts: [(&str, u64); 5]) -> Status {
    let printed = counts.into_iter().try_for_each(|(method, count)| {
        json::line(&mut Out, |object| {
            object.text("kind", "tlb");
            object.text("method", method);
            object.number("cpus", per_cpu::all().count() as u64);
            object.number("pages", nr_pages as u64);
            object.number("icr_writes", count);
            object.ratio("icr_writes_per_page", count, nr_pages as u64);
        })
    });
    if printed.is_ok() { Status::Ok } else { Status::Failed }
}

/// How pages are unmapped.
#[derive(Clone, Copy)]
enum Way {
    OneByOne,
    Batched,
    Lazily,
}

/// Interrupt command writes that unmapping `nr_pages` single pages takes; `None` without memory.
fn writes_for(nr_pages: usize, way: Way) -> Option<u64> {
    let mut ranges = Vec::new();
    ranges.try_reserve(nr_pages).ok()?;
    while ranges.len() < nr_pages
        && let Ok(range) = space::map(1, Attributes::READ_WRITE)
    {
        ranges.push(range);
    }
    let is_complete = ranges.len() == nr_pages;
    let counters = SHOOTDOWNS.counters(per_cpu::this().cpu);
    let before = counters.values().ipis_sent;
    // SAFETY: the ranges are ours, and nobody else knows of them.
    unsafe {
        match way {
            Way::OneByOne => unmap_one_by_one(&mut ranges),
            Way::Batched => {}
            Way::Lazily => {
                ranges.drain(..).for_each(|range| space::unmap_lazily(range));
                space::purge();
            }
        }
        // All, or what a Ctrl-C left.
        space::unmap_batch(ranges.drain(..));
    }
    (is_complete && !input::is_cancelled()).then(|| counters.values().ipis_sent - before)
}

/// # Safety
///
/// Nobody uses the ranges.
unsafe fn unmap_one_by_one(ranges: &mut Vec<Mapped>) {
    let mut second = Deadline::after_ns(1_000_000_000);
    while !input::is_cancelled()
        && let Some(range) = ranges.pop()
    {
        // SAFETY: as promised by the caller.
        unsafe { space::unmap(range) };
        if second.has_passed() {
            second = Deadline::after_ns(1_000_000_000);
            println!("tlb: {} to go", Things(ranges.len() as u64, "page"));
        }
    }
}

/// Runs `body` while every other CPU is kept from halting.
pub(super) fn with_busy_cpus<R>(body: impl FnOnce() -> R) -> R {
    company::while_busy(&workers::others(), Pace::Threads, body)
}
