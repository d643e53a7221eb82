//! A storm: all CPUs begin rounds at once. Counts interrupts and flushes, in the naive way and in ours.

use smp::shootdown::{CounterValues, Mode};
use smp::{Barrier, PageRange};

use super::company;
use super::mode_guard::ModeGuard;
use super::problem::Problem;
use crate::machine::{Cpu, SHOOTDOWNS};
use crate::per_cpu;
use crate::space::{self, Attributes};
use crate::workers;

/// Rounds that each CPU begins.
pub(super) const NR_ROUNDS: usize = 20;

/// What a storm came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storm {
    /// Interrupts to CPUs; a broadcast is one for each of its targets.
    pub nr_interrupts: u64,
    /// Flushes, by all CPUs.
    pub nr_flushes: u64,
}

/// Storms in `mode`. Refused without memory for a page.
pub(super) fn run(mode: Mode) -> Result<Storm, Problem> {
    // Mapped throughout: what is counted are the rounds.
    let page = space::map(1, Attributes::READ_WRITE).map_err(|_| Problem::NoMemory { nr_pages: 1 })?;
    let range = PageRange::new(page.start(), 1).unwrap_or(PageRange::EMPTY);
    let others = workers::others();
    let start = Barrier::new(others.len() as u32 + 1);
    let end = Barrier::new(others.len() as u32 + 1);
    let rounds = || {
        start.wait(&Cpu);
        (0..NR_ROUNDS).for_each(|_| SHOOTDOWNS.initiate(&Cpu, [range].into_iter()));
        // Busy until the last is done: a storm of CPUs that go idle one by one is a smaller one.
        end.wait(&Cpu);
    };
    let in_mode = ModeGuard::set(mode);
    let before = counted();
    workers::beside(&others, &rounds, rounds);
    let done = counted() - before;
    drop(in_mode);
    company::wait_until_idle(&others);
    // SAFETY: the page is this function's own.
    unsafe { space::unmap(page) };
    Ok(Storm { nr_interrupts: done.interrupted, nr_flushes: done.flushes })
}

/// What all CPUs have counted.
pub(super) fn counted() -> CounterValues {
    let all = per_cpu::all().map(|area| SHOOTDOWNS.counters(area.cpu).values());
    all.fold(CounterValues::default(), |sum, one| sum + one)
}
