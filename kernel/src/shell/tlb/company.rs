//! What the other CPUs do while this one's shootdowns are measured.
//!
//! They go round a loop and take interrupts where they come; they do not look after requests by themselves, since what
//! is measured is the interrupt.
//!
//! Context: the shell, on the first CPU, interrupts on.

use core::sync::atomic::{AtomicBool, Ordering};

use arch::irq;
use smp::CpuSet;
use smp::shootdown::Presence;

use crate::machine::{self, SHOOTDOWNS};
use crate::time::Deadline;
use crate::workers;

/// Waits until `cpus` have halted, or for a second; whether they have.
pub(super) fn wait_until_idle(cpus: &CpuSet) -> bool {
    let deadline = Deadline::after_ns(1_000_000_000);
    let are_idle = || cpus.iter().all(|cpu| SHOOTDOWNS.presence(cpu) == Presence::Idle);
    machine::wait_until(are_idle, || deadline.has_passed())
}

/// Looks between two pauses of a busy CPU.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// One. On one emulated thread a pause hands the turn to the next CPU: nobody burns the instructions of a
    /// measurement.
    OneThread = 1,
    /// Many. On several threads a pause takes the lock that an interrupt needs, and starves it.
    Threads = 5000,
}

/// Runs `body` while `cpus` are kept from halting, with interrupts on.
pub(super) fn while_busy<R>(cpus: &CpuSet, pace: Pace, body: impl FnOnce() -> R) -> R {
    let is_over = AtomicBool::new(false);
    let spin = || {
        while (0..pace as usize).all(|_| !is_over.load(Ordering::Relaxed)) {
            irq::pause();
        }
    };
    let result = workers::beside(cpus, &spin, || {
        let result = body();
        is_over.store(true, Ordering::Relaxed);
        result
    });
    // A job that has ended is on its way to `hlt`; the next measurement wants it there, or busy again.
    wait_until_idle(cpus);
    result
}
