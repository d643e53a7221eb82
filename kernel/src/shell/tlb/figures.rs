//! `tlb figures`: what shootdowns cost here, beside the most that they may cost.
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
use super::{Out, rounds, storm};
use crate::console::println;
use crate::machine::{Cpu, SHOOTDOWNS};
use crate::shell::Status;
use crate::space::{self, Attributes, Mapped};
use crate::{per_cpu, time, workers};

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
    /// The most that it may be; none where it is told and not judged.
    most: Option<u64>,
}

impl Figure {
    fn holds(&self) -> bool {
        self.most.is_none_or(|most| self.value <= most)
    }
}

/// Measures and prints; fails if a figure is above what it may be.
pub(super) fn print(is_exact: bool, format: Format) -> Status {
    let Some(figures) = measure(is_exact) else {
        println!("tlb: no memory for {NR_PAGES} pages, or no other CPU");
        return Status::Failed;
    };
    let columns =
        [("figure", "figure"), ("measured", "measured"), ("naive", "naive"), ("at most", "most"), ("", "verdict")];
    let printed = report::table(&mut Out, format, "tlb_figure", columns, |row| {
        for figure in &figures {
            let shown = |n: Option<u64>| n.map_or(Cell::Text(&"-"), Cell::Id);
            let verdict = if figure.most.is_none() {
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
                shown(figure.most),
                Cell::Text(&verdict),
            ]);
        }
    });
    if printed.is_ok() && figures.iter().all(Figure::holds) { Status::Ok } else { Status::Failed }
}

fn measure(is_exact: bool) -> Option<Vec<Figure>> {
    let mut figures = Vec::new();
    figures.try_reserve(16).ok()?;
    let mut add = |name, value, naive, most| figures.push(Figure { name, value, naive, most });
    let others = workers::others();
    let (pace, nr_pages) = if is_exact { (Pace::OneThread, NR_PAGES) } else { (Pace::Threads, NR_PAGES_THREADS) };
    let some: CpuSet = others.iter().step_by(2).collect();
    company::wait_until_idle(&others);
    add("ICR writes, all others idle", writes_of_a_round()?, None, Some(0));
    let writes = company::while_busy(&others, pace, writes_of_a_round)?;
    add("ICR writes, all others busy", writes, None, Some(if is_xapic() { others.len() as u64 } else { 1 }));
    let writes = company::while_busy(&some, pace, writes_of_a_round)?;
    add("ICR writes, every second busy", writes, None, Some(nr_destinations(&some)));
    let (naive, ours) = (storm::run(Mode::Naive)?, storm::run(Mode::Coalescing)?);
    // Two or three CPUs seldom have anything to share.
    let is_storm = others.len() as u64 >= NR_TARGETS;
    let most = |naive: u64, percent: u64| is_storm.then_some(naive * percent / 100);
    let most_interrupts = most(naive.nr_interrupts, MOST_INTERRUPTS_PERCENT);
    add("storm: interrupts", ours.nr_interrupts, Some(naive.nr_interrupts), most_interrupts);
    let most_flushes = most(naive.nr_flushes, MOST_FLUSHES_PERCENT);
    add("storm: flushes", ours.nr_flushes, Some(naive.nr_flushes), most_flushes);
    let naive = company::while_busy(&others, pace, || unmap(nr_pages, Mode::Naive))?;
    let lazy = company::while_busy(&others, pace, || unmap(nr_pages, Mode::Coalescing))?;
    let (nr_ranges, _) = space::lazy_limits();
    let most = nr_pages.div_ceil(nr_ranges) as u64;
    add("unmap: rounds for single pages", lazy.nr_rounds, Some(naive.nr_rounds), Some(most));
    if is_exact {
        let pages = nr_pages as u64;
        let (naive, lazy) = (naive.nr_ticks / pages, lazy.nr_ticks / pages);
        // The figures are for seven targets.
        let is_comparable = others.len() as u64 == NR_TARGETS;
        let most = |naive: u64| is_comparable.then_some(naive / LEAST_GAIN);
        // All of it: tables, frames and addresses are in it, which cost the same in both ways.
        add("unmap: instructions per page", lazy, Some(naive), most(naive));
        let (naive, batched) = company::while_busy(&others, pace, || shootdown_ticks(nr_pages))?;
        add("unmap: of these, of shootdowns", batched, Some(naive), most(naive));
        let costs = rounds::measure()?;
        add("round: initiator's instructions", costs.initiator, None, is_comparable.then_some(MOST_INITIATOR));
        add("round: a handler's instructions", costs.handler, None, Some(MOST_HANDLER));
        add("round: instructions of all CPUs", costs.elapsed, None, None);
        add("boot: entry to all online", time::ticks_to_online(), None, None);
    }
    Some(figures)
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
fn writes_of_a_round() -> Option<u64> {
    let page = space::map(1, Attributes::READ_WRITE).ok()?;
    let before = storm::counted().ipis_sent;
    SHOOTDOWNS.initiate(&Cpu, PageRange::new(page.start(), 1).into_iter());
    let writes = storm::counted().ipis_sent - before;
    // SAFETY: the page is this function's own.
    unsafe { space::unmap(page) };
    Some(writes)
}

struct Unmapped {
    nr_ticks: u64,
    nr_rounds: u64,
}

/// Unmaps `nr_pages` single pages: each by a round of its own in the naive way, lazily otherwise, until all are free.
fn unmap(nr_pages: usize, mode: Mode) -> Option<Unmapped> {
    let mut ranges: Vec<Mapped> = Vec::new();
    ranges.try_reserve(nr_pages).ok()?;
    while ranges.len() < nr_pages
        && let Ok(range) = space::map(1, Attributes::READ_WRITE)
    {
        ranges.push(range);
    }
    let is_complete = ranges.len() == nr_pages;
    // What others have left there is not counted.
    space::purge();
    let settings = SHOOTDOWNS.settings();
    let mode_before = settings.mode();
    settings.set_mode(mode);
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
    settings.set_mode(mode_before);
    is_complete.then(|| Unmapped { nr_ticks, nr_rounds: storm::counted().shootdowns - nr_rounds })
}

/// Ticks for each of `nr_pages` pages that its shootdown takes, as a page by itself in the naive way, and as part of what a
/// purge takes out together.
fn shootdown_ticks(nr_pages: usize) -> Option<(u64, u64)> {
    let range = space::map(nr_pages, Attributes::READ_WRITE).ok()?;
    let page = |nth: usize| PageRange::new(range.start() + nth * PAGE_SIZE, 1);
    let (batch, _) = space::lazy_limits();
    let settings = SHOOTDOWNS.settings();
    let mode_before = settings.mode();
    let ticks_in = |mode, batch: usize| {
        settings.set_mode(mode);
        let before = tsc::read();
        for first in (0..nr_pages).step_by(batch) {
            SHOOTDOWNS.initiate(&Cpu, (first..nr_pages.min(first + batch)).filter_map(page));
        }
        (tsc::read() - before) / nr_pages as u64
    };
    let ticks = (ticks_in(Mode::Naive, 1), ticks_in(Mode::Coalescing, batch));
    settings.set_mode(mode_before);
    // SAFETY: the range is this function's own.
    unsafe { space::unmap(range) };
    Some(ticks)
}
