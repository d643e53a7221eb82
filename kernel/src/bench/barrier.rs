//! Where the CPUs of a round meet: all have come before any goes on.
//!
//! A waiter looks for some microseconds and then halts, and the last to come wakes those who do. Where there are more
//! virtual CPUs than the host can run, a waiter that keeps looking takes the time of those it waits for: with eight on two
//! cores a meeting took 30 ms, and takes a tenth of one so. Interrupts that wake are not counted as a contender's.
//!
//! Called by: [`super::round`]. Context: the shell's and the workers' threads, interrupts on, no lock held.

use core::sync::atomic::{AtomicUsize, Ordering};

use smp::CpuSet;

use crate::{idle, machine, workers};

/// A meeting place of the first so many CPUs.
pub(super) struct Barrier {
    nr_cpus: usize,
    cpus: CpuSet,
    nr_arrived: AtomicUsize,
    /// Waiters that halt or are about to.
    nr_asleep: AtomicUsize,
}

impl Barrier {
    /// For the CPUs that [`workers::run`] has play with so many.
    pub(super) fn new(nr_cpus: usize) -> Self {
        let mut cpus = CpuSet::EMPTY;
        workers::online().take(nr_cpus).for_each(|cpu| {
            cpus.insert(cpu);
        });
        Self { nr_cpus, cpus, nr_arrived: AtomicUsize::new(0), nr_asleep: AtomicUsize::new(0) }
    }

    /// Returns when every CPU has called it once more than it had returned.
    pub(super) fn meet(&self) {
        /// Looks before a halt: what an arrival on another core takes at most.
        const NR_LOOKS: usize = 2000;
        // SeqCst, here and below: either the last to come sees who sleeps, or who is about to sleep sees the last to come.
        let ticket = self.nr_arrived.fetch_add(1, Ordering::SeqCst);
        let all = (ticket / self.nr_cpus + 1) * self.nr_cpus;
        if ticket + 1 == all {
            if self.nr_asleep.load(Ordering::SeqCst) > 0 {
                machine::wake_others(&self.cpus);
            }
            return;
        }
        let is_due = || self.nr_arrived.load(Ordering::SeqCst) >= all;
        if (0..NR_LOOKS).any(|_| is_due()) {
            return;
        }
        self.nr_asleep.fetch_add(1, Ordering::SeqCst);
        while !is_due() {
            idle::wait_unless(is_due);
        }
        self.nr_asleep.fetch_sub(1, Ordering::SeqCst);
    }
}
