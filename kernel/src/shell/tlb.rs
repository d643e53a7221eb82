//! `tlb`: what a batch of unmaps costs in interrupts, measured here and now.

use alloc::vec::Vec;

use kernel::args::{ArgError, Args};
use kernel::figures::{Count, Ratio};
use kernel::json;
use smp::shootdown::{Mode, Presence};

use super::{Command, Out, Status};
use crate::console::println;
use crate::machine::{self, Cpu, SHOOTDOWNS, WORK};
use crate::space::{self, Attributes, Mapped};
use crate::time::Deadline;
use crate::{input, per_cpu};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "tlb",
    usage: "[pages=N] [lazy=N] [--json]",
    help: "unmap pages one by one, in batches and lazily; count the interrupts",
    details: "All other CPUs are kept running, so that each has to be told. Counts of writes to the\n\
              interrupt command register for N single-page unmaps: the naive way (one to each CPU for each page),\n\
              one round for each page, one round for each batch, and lazily, with the last purge (lazy=N: once N pages\n\
              wait); then one batch with all other CPUs idle.",
    run: tlb,
}];

fn tlb<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let nr_pages = args.number("pages", 1..=4096)?.unwrap_or(32) as usize;
    let (default_ranges, default_pages) = space::lazy_limits();
    let lazy =
        args.number("lazy", 1..=space::MAX_WAITING as u64)?.map_or(default_ranges, |nr_ranges| nr_ranges as usize);
    let is_json = args.flag("--json");
    args.finish(usage)?;
    space::purge();
    space::set_lazy_limits(lazy, default_pages);
    let counted = counts_with_busy_cpus(nr_pages);
    space::set_lazy_limits(default_ranges, default_pages);
    let Some(([naive, single, batched, lazy], nr_purges)) = counted else {
        println!("tlb: stopped, or no memory for {nr_pages} pages");
        return Ok(Status::Failed);
    };
    wait_for_idle_cpus();
    let Some(idle) = writes_for(nr_pages, Way::Batched) else { return Ok(Status::Failed) };
    if SHOOTDOWNS.settings().drops_ipis() {
        println!("tlb: interrupts are dropped (chaos), so these counts mean nothing");
    }
    let counts =
        [("naive", naive), ("one by one", single), ("batched", batched), ("lazily", lazy), ("batched, all idle", idle)];
    if is_json {
        return Ok(print_json(nr_pages, counts));
    }
    println!(
        "tlb: {} CPUs, {nr_pages} single-page unmaps; writes to the interrupt command register:",
        per_cpu::all().count()
    );
    for (name, count) in counts {
        println!("  {name:<18} {:>8}   {:.3} per page", Count(count), Ratio(count, nr_pages as u64));
    }
    println!("tlb: {nr_purges} rounds made the lazily unmapped pages free");
    Ok(Status::Ok)
}

/// Writes by each way, all other CPUs busy, and the purges of the lazy one.
fn counts_with_busy_cpus(nr_pages: usize) -> Option<([u64; 4], u64)> {
    with_busy_cpus(|| {
        SHOOTDOWNS.settings().set_mode(Mode::Naive);
        let naive = writes_for(nr_pages, Way::OneByOne);
        SHOOTDOWNS.settings().set_mode(Mode::Coalescing);
        let [single, batched] = [Way::OneByOne, Way::Batched].map(|way| writes_for(nr_pages, way));
        let before = space::nr_purges();
        let lazy = writes_for(nr_pages, Way::Lazily);
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

/// Waits until every other CPU has halted, or for a second.
fn wait_for_idle_cpus() {
    let me = per_cpu::this().cpu;
    let deadline = Deadline::after_ns(1_000_000_000);
    let is_idle = |cpu| SHOOTDOWNS.presence(cpu) == Presence::Idle;
    let all_are = || SHOOTDOWNS.online().iter().all(|cpu| cpu == me || is_idle(cpu));
    machine::wait_until(all_are, || deadline.has_passed());
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
            println!("tlb: {} pages to go", Count(ranges.len() as u64));
        }
    }
}

/// Runs `body` while every other CPU is kept from halting.
pub(super) fn with_busy_cpus<R>(body: impl FnOnce() -> R) -> R {
    use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let is_over = AtomicBool::new(false);
    let nr_running = AtomicUsize::new(0);
    let spin = |_| {
        nr_running.fetch_add(1, Ordering::Relaxed);
        while !is_over.load(Ordering::Relaxed) {
            machine::relax_and_serve();
        }
    };
    WORK.scope(&Cpu, |scope| {
        let others = per_cpu::all().filter(|area| area.cpu != per_cpu::this().cpu);
        let nr_started = others.filter(|area| scope.start(area.cpu, &spin).is_ok()).count();
        while nr_running.load(Ordering::Relaxed) < nr_started {
            machine::relax_and_serve();
        }
        let result = body();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}
