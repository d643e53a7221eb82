//! Where the CPUs of a round meet: all have come before any goes on.
//!
//! A waiter looks for some microseconds and then halts, and the last to come wakes those who do. Where there are more
//! virtual CPUs than the host can run, a waiter that keeps looking takes the time of those it waits for: with eight on two
//! cores a meeting took 30 ms, and takes a tenth of one so. Who looks goes on at once, and may be timing something already:
//! only those that halt are woken. Interrupts that wake are not counted as a contender's.
//!
//! Called by: [`super::round`]. Context: the shell's and the workers' threads, interrupts on, no lock held.

use core::sync::atomic::{AtomicUsize, Ordering};

use smp::AtomicCpuSet;

use crate::{idle, machine, per_cpu};

/// A meeting place of so many CPUs.
pub(super) struct Barrier {
    nr_cpus: usize,
    nr_arrived: AtomicUsize,
    /// Waiters that halt or are about to.
    asleep: AtomicCpuSet,
}

impl Barrier {
    /// For so many CPUs.
    pub(super) fn new(nr_cpus: usize) -> Self {
        Self { nr_cpus, nr_arrived: AtomicUsize::new(0), asleep: AtomicCpuSet::new() }
    }

    /// Returns when every CPU has called it once more than it had returned.
    pub(super) fn meet(&self) {
        /// Looks before a halt: what an arrival on another core takes at most.
        const NR_LOOKS: usize = 2000;
        // SeqCst, here and below: either the last to come sees who sleeps, or who is about to sleep sees the last to come.
        let ticket = self.nr_arrived.fetch_add(1, Ordering::SeqCst);
        let all = (ticket / self.nr_cpus + 1) * self.nr_cpus;
        if ticket + 1 == all {
            // Who has gone on meanwhile, and halts at the next meeting, is woken for nothing, and harms nobody: that one is
            // not over before this CPU has come to it.
            machine::wake_others(&self.asleep.snapshot(Ordering::SeqCst));
            return;
        }
        let is_due = || self.nr_arrived.load(Ordering::SeqCst) >= all;
        if (0..NR_LOOKS).any(|_| is_due()) {
            return;
        }
        let me = per_cpu::this().cpu;
        self.asleep.insert(me, Ordering::SeqCst);
        while !is_due() {
            idle::wait_unless(is_due);
        }
        self.asleep.remove(me, Ordering::SeqCst);
    }
}
