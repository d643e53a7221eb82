//! `tlb`: what shootdowns cost, measured here and now.

mod company;
mod figures;
mod mode_guard;
mod problem;
mod rounds;
mod storm;
mod threshold;

use alloc::vec::Vec;
use core::fmt;

use kernel::args::{ArgError, Args};
use kernel::figures::{Count, Ratio, Things};
use kernel::json;
use kernel::report::Format;
use smp::shootdown::{Mode, Settings};

use company::Pace;
use mode_guard::ModeGuard;
use problem::Problem;

use super::{Command, Out, Status};
use crate::console::println;
use crate::machine::SHOOTDOWNS;
use crate::space::{self, Attributes, Mapped};
use crate::time::Deadline;
use crate::{input, per_cpu, workers};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "tlb",
    usage: "[pages=N] [lazy=N] | figures [--exact] | threshold; each with [flush-pages=N] [--json]",
    help: "unmap pages one by one, in batches and lazily; count the interrupts",
    details: "All other CPUs are kept running, so that each has to be told. Counts of writes to the\n\
              interrupt command register for N single-page unmaps: the naive way (one to each CPU for each page),\n\
              one round for each page, one round for each batch, and lazily, with the last purge (lazy=N: once N pages\n\
              wait); then one batch with all other CPUs idle.\n\
              tlb figures: counts beside the least and the most that they may be; fails if one is not. With --exact,\n\
              instructions, too: needs accel=icount, where a tick of the clock is one.\n\
              tlb threshold: what flushing pages one by one costs beside flushing everything; flush-pages=N sets the\n\
              most that are flushed one by one from here on (as does the kernel option).",
    run: tlb,
}];

/// Printed where the counts are those of a machine that is broken on purpose.
const DROPPED: &str = "tlb: interrupts are dropped (chaos), so these counts mean nothing";

fn tlb<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let verb = args.word();
    let is_json = args.flag("--json");
    let flush_pages = args.number("flush-pages", 0..=Settings::MAX_FULL_FLUSH_PAGES as u64)?;
    // Only what the verb takes is asked for, so that the rest is refused.
    let is_exact = verb == Some("figures") && args.flag("--exact");
    let nr_pages = if verb.is_none() { args.number("pages", 1..=4096)? } else { None };
    let lazy = if verb.is_none() { args.number("lazy", 1..=space::MAX_WAITING as u64)? } else { None };
    if let Some(other) = verb.filter(|verb| !["figures", "threshold"].contains(verb)) {
        println!("tlb: `{other}` is none of figures, threshold");
        return Ok(Status::Usage);
    }
    args.finish(usage)?;
    let format = Format::json_if(is_json);
    let is_set = flush_pages.is_none_or(|nr_pages| set_flush_pages(nr_pages as usize, format).is_ok());
    let status = match verb {
        Some("threshold") => threshold::print(format),
        Some(_) => figures::print(is_exact, format),
        None if flush_pages.is_some() && nr_pages.is_none() && lazy.is_none() => Status::Ok,
        None => count(nr_pages.unwrap_or(32) as usize, lazy.map(|nr_ranges| nr_ranges as usize), format),
    };
    Ok(if is_set { status } else { Status::Failed })
}

/// Sets the most pages that are flushed one by one, and says so.
fn set_flush_pages(nr_pages: usize, format: Format) -> fmt::Result {
    SHOOTDOWNS.settings().set_full_flush_pages(nr_pages);
    if format == Format::Text {
        println!("tlb: up to {} are flushed one by one", Things(nr_pages as u64, "page"));
        return Ok(());
    }
    json::line(&mut Out, |object| {
        object.text("kind", "tlb_flush_pages");
        object.number("flush_pages", nr_pages as u64);
    })
}

/// Counts the interrupts of each way, and prints them.
fn count(nr_pages: usize, lazy: Option<usize>, format: Format) -> Status {
    let (default_ranges, default_pages) = space::lazy_limits();
    space::purge();
    space::set_lazy_limits(lazy.unwrap_or(default_ranges), default_pages);
    let counted = counts_with_busy_cpus(nr_pages, format);
    space::set_lazy_limits(default_ranges, default_pages);
    company::wait_until_idle(&workers::others());
    let counted = counted.and_then(|(counts, nr_purges)| {
        Ok((counts, nr_purges, writes_for(nr_pages, Way::Batched, Mode::Coalescing, format)?))
    });
    let ([naive, single, batched, lazy], nr_purges, idle) = match counted {
        Ok(counted) => counted,
        Err(problem) => {
            println!("tlb: {problem}");
            return Status::Failed;
        }
    };
    let is_broken = SHOOTDOWNS.settings().drops_ipis();
    let purges_of = |method| if method == "lazily" { nr_purges } else { 0 };
    let counts =
        [("naive", naive), ("one by one", single), ("batched", batched), ("lazily", lazy), ("batched, all idle", idle)];
    if format == Format::Json {
        let printed = counts.into_iter().try_for_each(|(method, count)| {
            let (thousandths, whole) = thousandths(count, nr_pages);
            json::line(&mut Out, |object| {
                object.text("kind", "tlb");
                object.text("method", method);
                object.number("cpus", per_cpu::all().count() as u64);
                object.number("pages", nr_pages as u64);
                object.number("icr_writes", count);
                object.ratio("icr_writes_per_page", thousandths, whole);
                object.number("purges", purges_of(method));
                object.boolean("interrupts_dropped", is_broken);
            })
        });
        return if printed.is_ok() && !is_broken { Status::Ok } else { Status::Failed };
    }
    if is_broken {
        println!("{DROPPED}");
    }
    println!(
        "tlb: {}, {}; writes to the interrupt command register:",
        Things(per_cpu::all().count() as u64, "CPU"),
        Things(nr_pages as u64, "single-page unmap"),
    );
    for (name, count) in counts {
        let (thousandths, whole) = thousandths(count, nr_pages);
        println!("  {name:<18} {:>8}   {:.3} per page", Count(count), Ratio(thousandths, whole));
    }
    println!("tlb: {} made the lazily unmapped pages free", Things(nr_purges, "round"));
    if is_broken { Status::Failed } else { Status::Ok }
}

/// `count` for each of `nr_pages`, to the nearest thousandth: what is printed is cut there.
fn thousandths(count: u64, nr_pages: usize) -> (u64, u64) {
    let nr_pages = nr_pages as u64;
    ((count * 1000 + nr_pages / 2) / nr_pages, 1000)
}

/// Writes by each way, all other CPUs busy, and the purges of the lazy one.
fn counts_with_busy_cpus(nr_pages: usize, format: Format) -> Result<([u64; 4], u64), Problem> {
    with_busy_cpus(|| {
        let naive = writes_for(nr_pages, Way::OneByOne, Mode::Naive, format)?;
        let single = writes_for(nr_pages, Way::OneByOne, Mode::Coalescing, format)?;
        let batched = writes_for(nr_pages, Way::Batched, Mode::Coalescing, format)?;
        let before = space::nr_purges();
        let lazy = writes_for(nr_pages, Way::Lazily, Mode::Coalescing, format)?;
        Ok(([naive, single, batched, lazy], space::nr_purges() - before))
    })
}

/// How pages are unmapped.
#[derive(Clone, Copy)]
enum Way {
    OneByOne,
    Batched,
    Lazily,
}

/// Interrupt command writes that unmapping `nr_pages` single pages takes, by rounds of this mode.
fn writes_for(nr_pages: usize, way: Way, mode: Mode, format: Format) -> Result<u64, Problem> {
    let mut ranges = Vec::new();
    ranges.try_reserve(nr_pages).map_err(|_| Problem::NoMemory { nr_pages })?;
    while ranges.len() < nr_pages
        && let Ok(range) = space::map(1, Attributes::READ_WRITE)
    {
        ranges.push(range);
    }
    let is_complete = ranges.len() == nr_pages;
    let counters = SHOOTDOWNS.counters(per_cpu::this().cpu);
    let before = counters.values().ipis_sent;
    let in_mode = ModeGuard::set(mode);
    // SAFETY: the ranges are ours, and nobody else knows of them.
    unsafe {
        match way {
            Way::OneByOne => unmap_one_by_one(&mut ranges, format),
            Way::Batched => space::unmap_batch(ranges.drain(..)),
            Way::Lazily => {
                ranges.drain(..).for_each(|range| space::unmap_lazily(range));
                space::purge();
            }
        }
    }
    let nr_writes = counters.values().ipis_sent - before;
    // What a Ctrl-C left goes in one round, and not in the naive way, which it was to end.
    drop(in_mode);
    // SAFETY: as above.
    unsafe { space::unmap_batch(ranges.drain(..)) };
    if input::is_cancelled() {
        return Err(Problem::Stopped);
    }
    if is_complete { Ok(nr_writes) } else { Err(Problem::NoMemory { nr_pages }) }
}

/// # Safety
///
/// Nobody uses the ranges.
unsafe fn unmap_one_by_one(ranges: &mut Vec<Mapped>, format: Format) {
    let mut second = Deadline::after_ns(1_000_000_000);
    while !input::is_cancelled()
        && let Some(range) = ranges.pop()
    {
        // SAFETY: as promised by the caller.
        unsafe { space::unmap(range) };
        if format == Format::Text && second.has_passed() {
            second = Deadline::after_ns(1_000_000_000);
            println!("tlb: {} to go", Things(ranges.len() as u64, "page"));
        }
    }
}

/// Runs `body` while every other CPU is kept from halting.
pub(super) fn with_busy_cpus<R>(body: impl FnOnce() -> R) -> R {
    company::while_busy(&workers::others(), Pace::Threads, body)
}
