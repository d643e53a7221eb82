//! What the other CPUs do while this one's shootdowns are measured.
//!
//! They go round a loop and take interrupts where they come; they do not look after requests by themselves, since what
//! is measured is the interrupt.
//!
//! Context: the shell, on the first CPU, interrupts on.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arch::irq;
use smp::CpuSet;
use smp::shootdown::Presence;

use crate::machine::{self, Cpu, SHOOTDOWNS, WORK};
use crate::time::Deadline;
use crate::{per_cpu, workers};

/// All CPUs that can work, without this one.
pub(super) fn others() -> CpuSet {
    let me = per_cpu::this().cpu;
    workers::online().filter(|&cpu| cpu != me).collect()
}

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
    let result = while_working(cpus, &spin, || {
        let result = body();
        is_over.store(true, Ordering::Relaxed);
        result
    });
    // A job that has ended is on its way to `hlt`; the next measurement wants it there, or busy again.
    wait_until_idle(cpus);
    result
}

/// Runs `body` once all of `cpus` have begun `job`, and returns when they have ended it, too.
pub(super) fn while_working<R>(cpus: &CpuSet, job: &(dyn Fn() + Sync), body: impl FnOnce() -> R) -> R {
    let nr_running = AtomicUsize::new(0);
    let counted = |_| {
        nr_running.fetch_add(1, Ordering::Relaxed);
        job();
    };
    WORK.scope(&Cpu, |scope| {
        for cpu in cpus.iter() {
            if let Err(error) = scope.start(cpu, &counted) {
                panic!("cpu {cpu} does not take the job: {error:?}");
            }
        }
        machine::wait_until(|| nr_running.load(Ordering::Relaxed) == cpus.len(), || false);
        body()
    })
}
