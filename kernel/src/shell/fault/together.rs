//! Crashes that take several CPUs: all at once, among CPUs that do not listen, and for want of an answer.

use arch::irq;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use smp::{Barrier, CpuId, CpuSet};

use crate::console::println;
use crate::machine::{self, Cpu, SHOOTDOWNS, WORK};
use crate::per_cpu;
use crate::workers::others;

/// Starts `job` on CPUs and does `body` here. Neither comes back.
fn with(cpus: &CpuSet, job: &(dyn Fn(CpuId) + Sync), body: impl FnOnce()) {
    WORK.scope(&Cpu, |scope| {
        let nr_refused = cpus.iter().filter(|&cpu| scope.start(cpu, job).is_err()).count();
        assert!(nr_refused == 0, "{nr_refused} idle CPUs did not take a job");
        body();
    });
}

/// Every CPU panics at the same moment: one report must come of it.
pub(super) fn all_panic() {
    let others = others();
    let meeting = Barrier::new(others.len() as u32 + 1);
    let panic_here = |cpu| {
        meeting.wait(&Cpu);
        panic!("asked for on cpu {cpu}, and on all others")
    };
    with(&others, &panic_here, || panic_here(per_cpu::this().cpu));
}

/// Keeps interrupts off for ever, and serves nobody.
#[inline(never)]
fn listen_to_nobody(has_begun: &AtomicUsize) {
    irq::disable();
    has_begun.fetch_add(1, Ordering::Release);
    // To ensure that this is a loop and not a halt: an NMI must stop it.
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    while !IS_OVER.load(Ordering::Relaxed) {
        irq::pause();
    }
}

/// This CPU panics while all others keep their interrupts off: only an NMI stops them.
pub(super) fn panic_among_deaf() {
    let (others, nr_deaf) = (others(), AtomicUsize::new(0));
    with(&others, &|_| listen_to_nobody(&nr_deaf), || {
        machine::wait_until(|| nr_deaf.load(Ordering::Acquire) == others.len(), || false);
        panic!("asked for among {} CPUs that do not listen", others.len())
    });
}

/// The last CPU keeps its interrupts off for ever, and all others wait for it to flush.
pub(super) fn deaf() {
    let Some(deaf) = others().iter().last() else {
        println!("fault: there is no other CPU");
        return;
    };
    let nr_deaf = AtomicUsize::new(0);
    let job = |cpu| {
        if cpu == deaf {
            return listen_to_nobody(&nr_deaf);
        }
        machine::wait_until(|| nr_deaf.load(Ordering::Acquire) > 0, || false);
        SHOOTDOWNS.initiate_all(&Cpu);
    };
    with(&others(), &job, || job(per_cpu::this().cpu));
}
