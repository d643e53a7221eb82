//! Runs one function on several CPUs at once: the first CPU inline, the others from their idle loops.
//!
//! Called by: `stress`, `replay`, `bench`, `memtest`, the clock. Context: the shell, interrupts on.

use core::sync::atomic::{AtomicUsize, Ordering};

use arch::irq;
use smp::{CpuId, CpuSet, MAX_CPUS};

use crate::machine::{self, Cpu, WORK};
use crate::per_cpu::{self, State};

/// CPUs that can work: how many are online.
pub fn nr_available() -> usize {
    online().count()
}

/// The CPUs that can work, this one first.
pub fn online() -> impl Iterator<Item = CpuId> {
    per_cpu::all().filter(|area| area.state() == State::Online).map(|area| area.cpu)
}

/// The CPUs that can work, without this one.
pub fn others() -> CpuSet {
    let me = per_cpu::this().cpu;
    online().filter(|&cpu| cpu != me).collect()
}

/// Runs `body` here once each of `cpus`, of which this is none, has begun `job`; returns when they have ended it, too. It is
/// for `body` to make them end.
pub fn beside<R>(cpus: &CpuSet, job: &(dyn Fn() + Sync), body: impl FnOnce() -> R) -> R {
    let nr_running = AtomicUsize::new(0);
    let counted = |_| {
        nr_running.fetch_add(1, Ordering::Release);
        job();
    };
    WORK.scope(&Cpu, |scope| {
        for cpu in cpus.iter() {
            if let Err(error) = scope.start(cpu, &counted) {
                panic!("cpu {cpu} does not take the job: {error:?}");
            }
        }
        machine::wait_until(|| nr_running.load(Ordering::Acquire) == cpus.len(), || false);
        body()
    })
}

/// Calls `work(i)` for i from 0 to `nr_workers`, each on a CPU of its own, and returns when all have returned. Number 0
/// runs here; when it has returned, `watch` is called after each interrupt of this CPU until the others have, too.
/// Fewer CPUs than asked for are an error of the caller.
pub fn run(nr_workers: usize, work: &(dyn Fn(usize) + Sync), watch: impl Fn()) {
    let mut number_of = [usize::MAX; MAX_CPUS];
    for (number, cpu) in online().take(nr_workers).enumerate() {
        number_of[cpu.index()] = number;
    }
    let job = |cpu: CpuId| work(number_of[cpu.index()]);
    WORK.scope(&Cpu, |scope| {
        for cpu in online().take(nr_workers).skip(1) {
            if let Err(error) = scope.start(cpu, &job) {
                panic!("cpu {cpu} does not take the job: {error:?}");
            }
        }
        work(0);
        // Halt while the others finish; each that does wakes this CPU.
        while !scope.running().is_empty() {
            crate::idle::wait_unless(|| scope.running().is_empty());
            watch();
        }
    });
    assert!(irq::are_enabled(), "interrupts stayed off");
}

/// Calls `work` on each of these CPUs, and returns when all have returned. If this CPU is one of them, its part runs here,
/// after the others have been told.
pub fn run_on(cpus: &[CpuId], work: &(dyn Fn(CpuId) + Sync)) {
    let me = per_cpu::this().cpu;
    WORK.scope(&Cpu, |scope| {
        for &cpu in cpus.iter().filter(|cpu| **cpu != me) {
            if let Err(error) = scope.start(cpu, work) {
                panic!("cpu {cpu} does not take the job: {error:?}");
            }
        }
        if cpus.contains(&me) {
            work(me);
        }
        while !scope.running().is_empty() {
            crate::idle::wait_unless(|| scope.running().is_empty());
        }
    });
    assert!(irq::are_enabled(), "interrupts stayed off");
}
