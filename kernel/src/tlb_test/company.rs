//! What the other CPUs do while the first runs a case: they compute, halt, or keep their interrupts off.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arch::irq::InterruptGuard;
use smp::{CpuId, CpuSet};

use super::verdict::{Failure, Run};
use crate::machine::{CALLS, Cpu};
use crate::{per_cpu, workers};

/// All CPUs.
pub(super) fn everybody() -> CpuSet {
    workers::online().collect()
}

/// The first CPU that is not this one, if there is one.
pub(super) fn a_target() -> Result<CpuId, Failure> {
    workers::others().first().ok_or(Failure::Missing { what: "a second CPU" })
}

/// Has CPUs run a function in their interrupt handlers, and sees that each did, once, and nobody else.
pub(super) fn call(targets: &CpuSet, function: &(dyn Fn(CpuId) + Sync)) -> Result<(), Failure> {
    let nr_ran = AtomicUsize::new(0);
    let is_stray = AtomicBool::new(false);
    let counted = |cpu| {
        if !targets.contains(cpu) || cpu != per_cpu::this().cpu {
            is_stray.store(true, Ordering::Relaxed);
        }
        function(cpu);
        nr_ran.fetch_add(1, Ordering::Relaxed);
    };
    if CALLS.call(&Cpu, targets, &counted).is_err() {
        return Err(Failure::Request { what: "a cross-call to CPUs that are online was refused" });
    }
    if is_stray.into_inner() {
        return Err(Failure::Request { what: "a cross-call ran on a CPU that it was not for" });
    }
    let (ran, wanted) = (nr_ran.into_inner() as u64, targets.len() as u64);
    super::verdict::expect("runs of a cross-call", ran, (wanted, wanted))
}

/// Runs `body` while each of `cpus` does `job`, which ends when its argument is true. The body begins when all of them
/// have begun.
fn while_each<R>(cpus: &CpuSet, job: impl Fn(&AtomicBool) + Sync, body: impl FnOnce() -> R) -> R {
    let is_over = AtomicBool::new(false);
    workers::beside(cpus, &|| job(&is_over), || {
        let result = body();
        is_over.store(true, Ordering::Release);
        result
    })
}

/// Runs `body` while each of `cpus` computes, with interrupts on, and serves nobody but by its interrupts.
pub(super) fn while_busy<R>(cpus: &CpuSet, body: impl FnOnce() -> R) -> R {
    let toil = |is_over: &AtomicBool| while !is_over.load(Ordering::Acquire) {};
    while_each(cpus, toil, body)
}

/// Runs `body` while `cpu` keeps its interrupts off and serves nobody, until `body` says so by its argument, or ends. Then
/// the CPU executes a further `nr_instructions`, turns its interrupts on and looks at `after`.
pub(super) fn while_masked<R>(
    run: &Run,
    cpu: CpuId,
    nr_instructions: u64,
    after: impl Fn() + Sync,
    body: impl FnOnce(&dyn Fn()) -> R,
) -> R {
    let (is_masked, may_go_on) = (AtomicBool::new(false), AtomicBool::new(false));
    let job = |is_over: &AtomicBool| {
        let guard = InterruptGuard::new();
        is_masked.store(true, Ordering::Release);
        deaf(|| may_go_on.load(Ordering::Acquire) || is_over.load(Ordering::Acquire));
        spend(nr_instructions);
        drop(guard);
        after();
    };
    while_each(&CpuSet::of(cpu), job, || {
        run.wait_until(|| is_masked.load(Ordering::Acquire));
        body(&|| may_go_on.store(true, Ordering::Release))
    })
}

/// Waits, and serves nobody.
#[inline(never)]
pub(super) fn deaf(is_due: impl Fn() -> bool) {
    while !is_due() {}
}

/// Executes `nr_instructions` instructions or a few more.
fn spend(nr_instructions: u64) {
    // A store, a load, an addition, a comparison and a jump make at least four.
    for turn in 0..nr_instructions.div_ceil(4) {
        black_box(turn);
    }
}
