//! `tlb figures`: what shootdowns cost here, beside the least and the most that they may cost.
//!
//! A count below its least is as wrong as one above its most: rounds that nobody is told of cost nothing, and do nothing.
//!
//! Counts hold on every machine. Instructions are counted by the TSC, where a tick is an instruction (`accel=icount`,
//! and `--exact`); elsewhere their rows are left out.

use alloc::vec::Vec;

use arch::{apic, tsc};
use kernel::report::{self, Cell, Format};
use mm::frame::PAGE_SIZE;
use smp::shootdown::Mode;
use smp::{CpuId, CpuSet, PageRange};

use super::company::{self, Pace};
use super::mode_guard::ModeGuard;
use super::problem::Problem;
use super::{Out, rounds, storm};
use crate::console::println;
use crate::machine::{Cpu, SHOOTDOWNS};
use crate::shell::Status;
use crate::space::{self, Attributes, Mapped};
use crate::{input, per_cpu, time, workers};

/// Single pages that are unmapped, naively and lazily. Fewer where a round of interrupts takes milliseconds.
const NR_PAGES: usize = 1024;
const NR_PAGES_THREADS: usize = 128;
/// How many times fewer instructions a page takes lazily.
const LEAST_GAIN: u64 = 20;
/// The most instructions of a round to seven CPUs, on the initiator's side: what a first prototype took.
const MOST_INITIATOR: u64 = 681;
/// CPUs that the figure above is for.
const NR_TARGETS: u64 = 7;
/// The most instructions of a target's handler.
const MOST_HANDLER: u64 = 80;
/// The most interrupts of a storm in percent of the naive ones, and the most flushes.
const MOST_INTERRUPTS_PERCENT: u64 = 45;
const MOST_FLUSHES_PERCENT: u64 = 50;

/// One row.
#[derive(Clone, Copy)]
struct Figure {
    name: &'static str,
    value: u64,
    /// The same in the naive way, where that is what it is compared with.
    naive: Option<u64>,
    /// The least and the most that it may be; none where it is told and not judged.
    allowed: Option<(u64, u64)>,
}

impl Figure {
    fn holds(&self) -> bool {
        self.allowed.is_none_or(|(least, most)| (least..=most).contains(&self.value))
    }
}

/// Measures and prints; fails if a figure is not what it may be, or cannot be measured.
pub(super) fn print(is_exact: bool, format: Format) -> Status {
    if is_exact && !tsc::counts_instructions() {
        println!(
            "tlb: --exact counts instructions by the clock, whose ticks are none here: boot with accel=icount\n\
             (just accel=icount cmd='tlb figures --exact; quit' qemu-smp)"
        );
        return Status::Failed;
    }
    let mut figures = Vec::new();
    let measured = measure(is_exact, &mut figures);
    let columns = [
        ("figure", "figure"),
        ("measured", "measured"),
        ("naive", "naive"),
        ("at least", "least"),
        ("at most", "most"),
        ("", "verdict"),
    ];
    let printed = report::table(&mut Out, format, "tlb_figure", columns, |row| {
        for figure in &figures {
            let shown = |n: Option<u64>| n.map_or(Cell::Text(&"-"), Cell::Id);
            let verdict = if figure.allowed.is_none() {
                "told"
            } else if figure.holds() {
                "holds"
            } else {
                "FAILS"
            };
            row([
                Cell::Text(&figure.name),
                Cell::Id(figure.value),
                shown(figure.naive),
                shown(figure.allowed.map(|(least, _)| least)),
                shown(figure.allowed.map(|(_, most)| most)),
                Cell::Text(&verdict),
            ]);
        }
    });
    if SHOOTDOWNS.settings().drops_ipis() && format == Format::Text {
        println!("{}", super::DROPPED);
    }
    if let Err(problem) = measured {
        println!("tlb: figures: {problem}");
        return Status::Failed;
    }
    if printed.is_ok() && figures.iter().all(Figure::holds) { Status::Ok } else { Status::Failed }
}

/// Adds what it measures to `figures`, as far as it comes.
fn measure(is_exact: bool, figures: &mut Vec<Figure>) -> Result<(), Problem> {
    let others = workers::others();
    if others.is_empty() {
        return Err(Problem::NoOtherCpu);
    }
    figures.try_reserve(16).map_err(|_| Problem::NoMemory { nr_pages: 1 })?;
    let mut add = |name, value, naive, allowed| figures.push(Figure { name, value, naive, allowed });
    let (pace, nr_pages) = if is_exact { (Pace::OneThread, NR_PAGES) } else { (Pace::Threads, NR_PAGES_THREADS) };
    let some: CpuSet = others.iter().step_by(2).collect();
    company::wait_until_idle(&others);
    add("ICR writes, all others idle", writes_of_a_round()?, None, Some((0, 0)));
    let writes = company::while_busy(&others, pace, writes_of_a_round)?;
    add("ICR writes, all others busy", writes, None, Some((1, if is_xapic() { others.len() as u64 } else { 1 })));
    let writes = company::while_busy(&some, pace, writes_of_a_round)?;
    let nr_destinations = nr_destinations(&some);
    add("ICR writes, every second busy", writes, None, Some((nr_destinations, nr_destinations)));
    storms(others.len() as u64, &mut add)?;
    go_on()?;
    let naive = company::while_busy(&others, pace, || unmap(nr_pages, Mode::Naive))?;
    go_on()?;
    let lazy = company::while_busy(&others, pace, || unmap(nr_pages, Mode::Coalescing))?;
    let (nr_ranges, _) = space::lazy_limits();
    let most = nr_pages.div_ceil(nr_ranges) as u64;
    add("unmap: rounds for single pages", lazy.nr_rounds, Some(naive.nr_rounds), Some((1, most)));
    if is_exact {
        let pages = nr_pages as u64;
        let (naive, lazy) = (naive.nr_ticks / pages, lazy.nr_ticks / pages);
        // The figures are for seven targets.
        let is_comparable = others.len() as u64 == NR_TARGETS;
        let a_part_of = |naive: u64| is_comparable.then_some((1, naive / LEAST_GAIN));
        // All of it: tables, frames and addresses are in it, which cost the same in both ways.
        add("unmap: instructions per page", lazy, Some(naive), a_part_of(naive));
        go_on()?;
        let (naive, batched) = company::while_busy(&others, pace, || shootdown_ticks(nr_pages))?;
        add("unmap: of these, of shootdowns", batched, Some(naive), a_part_of(naive));
        let costs = rounds::measure()?;
        add("round: initiator's instructions", costs.initiator, None, is_comparable.then_some((1, MOST_INITIATOR)));
        add("round: a handler's instructions", costs.handler, None, Some((1, MOST_HANDLER)));
        add("round: instructions of all CPUs", costs.elapsed, None, None);
        add("boot: entry to all online", time::ticks_to_online(), None, None);
    }
    Ok(())
}

/// An error after Ctrl-C.
fn go_on() -> Result<(), Problem> {
    if input::is_cancelled() { Err(Problem::Stopped) } else { Ok(()) }
}

/// The figures of storms with `nr_others` CPUs beside this one.
fn storms(
    nr_others: u64,
    add: &mut impl FnMut(&'static str, u64, Option<u64>, Option<(u64, u64)>),
) -> Result<(), Problem> {
    let (naive, ours) = (storm::run(Mode::Naive)?, storm::run(Mode::Coalescing)?);
    // Two or three CPUs seldom have anything to share: of these no more is asked than that each of the others is told once.
    let is_storm = nr_others >= NR_TARGETS;
    let (name, most) = ("storm: interrupts", naive.nr_interrupts * MOST_INTERRUPTS_PERCENT / 100);
    let most = if is_storm { most } else { naive.nr_interrupts };
    add(name, ours.nr_interrupts, Some(naive.nr_interrupts), Some((nr_others, most)));
    // Each round has to flush the CPU that begins it.
    let least = storm::NR_ROUNDS as u64 * (nr_others + 1);
    let most = naive.nr_flushes * MOST_FLUSHES_PERCENT / 100;
    add("storm: flushes", ours.nr_flushes, Some(naive.nr_flushes), is_storm.then_some((least, most)));
    Ok(())
}

fn is_xapic() -> bool {
    crate::machine::apic().is_some_and(|apic| apic.mode() == apic::Mode::XApic)
}

/// Interrupt command writes that reach `targets`: one for each cluster, or for each CPU where there are no clusters.
fn nr_destinations(targets: &CpuSet) -> u64 {
    let id = |cpu: CpuId| per_cpu::of(cpu).map_or(0, per_cpu::PerCpu::apic_id);
    let destination = |cpu: CpuId| if is_xapic() { id(cpu) } else { apic::cluster_of(id(cpu)) };
    let is_first =
        |cpu: &CpuId| targets.iter().take_while(|other| other != cpu).all(|o| destination(o) != destination(*cpu));
    targets.iter().filter(is_first).count() as u64
}

/// Interrupt command writes of one unmap.
fn writes_of_a_round() -> Result<u64, Problem> {
    let page = space::map(1, Attributes::READ_WRITE).map_err(|_| Problem::NoMemory { nr_pages: 1 })?;
    let mode = ModeGuard::set(Mode::Coalescing);
    let before = storm::counted().ipis_sent;
    SHOOTDOWNS.initiate(&Cpu, PageRange::new(page.start(), 1).into_iter());
    let writes = storm::counted().ipis_sent - before;
    drop(mode);
    // SAFETY: the page is this function's own.
    unsafe { space::unmap(page) };
    Ok(writes)
}

struct Unmapped {
    nr_ticks: u64,
    nr_rounds: u64,
}

/// Unmaps `nr_pages` single pages: each by a round of its own in the naive way, lazily otherwise, until all are free.
fn unmap(nr_pages: usize, mode: Mode) -> Result<Unmapped, Problem> {
    let mut ranges: Vec<Mapped> = Vec::new();
    ranges.try_reserve(nr_pages).map_err(|_| Problem::NoMemory { nr_pages })?;
    while ranges.len() < nr_pages
        && let Ok(range) = space::map(1, Attributes::READ_WRITE)
    {
        ranges.push(range);
    }
    let is_complete = ranges.len() == nr_pages;
    // What others have left there is not counted.
    space::purge();
    let in_mode = ModeGuard::set(mode);
    let (nr_rounds, before) = (storm::counted().shootdowns, tsc::read());
    // SAFETY: the ranges are ours, and nobody else knows of them.
    unsafe {
        match mode {
            Mode::Naive => ranges.drain(..).for_each(|range| space::unmap(range)),
            _ => ranges.drain(..).for_each(|range| space::unmap_lazily(range)),
        }
    }
    space::purge();
    let nr_ticks = tsc::read() - before;
    drop(in_mode);
    if !is_complete {
        return Err(Problem::NoMemory { nr_pages });
    }
    Ok(Unmapped { nr_ticks, nr_rounds: storm::counted().shootdowns - nr_rounds })
}

/// Ticks for each of `nr_pages` pages that its shootdown takes, as a page by itself in the naive way, and as part of what a
/// purge takes out together.
fn shootdown_ticks(nr_pages: usize) -> Result<(u64, u64), Problem> {
    let range = space::map(nr_pages, Attributes::READ_WRITE).map_err(|_| Problem::NoMemory { nr_pages })?;
    let page = |nth: usize| PageRange::new(range.start() + nth * PAGE_SIZE, 1);
    let (batch, _) = space::lazy_limits();
    let ticks_in = |mode, batch: usize| {
        let _in_mode = ModeGuard::set(mode);
        let before = tsc::read();
        for first in (0..nr_pages).step_by(batch) {
            SHOOTDOWNS.initiate(&Cpu, (first..nr_pages.min(first + batch)).filter_map(page));
        }
        (tsc::read() - before) / nr_pages as u64
    };
    let ticks = (ticks_in(Mode::Naive, 1), ticks_in(Mode::Coalescing, batch));
    // SAFETY: the range is this function's own.
    unsafe { space::unmap(range) };
    Ok(ticks)
}
