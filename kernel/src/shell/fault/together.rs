//! Crashes that take several CPUs: all at once, among CPUs that do not listen, and for want of an answer.

use arch::irq;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use mm::cache::Settings;
use smp::{Barrier, CpuId, CpuSet};

use crate::console::println;
use crate::machine::{self, Cpu, HEAP, SHOOTDOWNS, WORK};
use crate::space::{self, Attributes};
use crate::workers::others;
use crate::{per_cpu, workers};

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
    compute_for_ever();
}

/// A loop and not a halt: an NMI must stop it.
fn compute_for_ever() {
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
    beside_deaf(deaf, &|| SHOOTDOWNS.initiate_all(&Cpu));
}

/// Keeps the interrupts of `deaf` off for ever, and has all other CPUs do `job` from then on.
fn beside_deaf(deaf: CpuId, job: &(dyn Fn() + Sync)) {
    let nr_deaf = AtomicUsize::new(0);
    let run = |cpu| {
        if cpu == deaf {
            return listen_to_nobody(&nr_deaf);
        }
        machine::wait_until(|| nr_deaf.load(Ordering::Acquire) > 0, || false);
        job();
    };
    with(&others(), &run, || run(per_cpu::this().cpu));
}

/// The last CPU keeps its interrupts off for ever. All others unmap lazily and purge: one waits for the last to flush, and the
/// rest for that one.
pub(super) fn endless_purge() {
    let Some(deaf) = others().iter().last().filter(|_| workers::nr_available() > 2) else {
        println!("fault: there are no three CPUs");
        return;
    };
    beside_deaf(deaf, &|| {
        if let Ok(mapped) = space::map(1, Attributes::READ_WRITE) {
            // SAFETY: nobody has seen the page.
            unsafe { space::unmap_lazily(mapped) };
        }
        space::purge();
    });
}

static NR_ENDLESS: AtomicUsize = AtomicUsize::new(0);

#[inline(never)]
fn destroy_for_ever(_object: NonNull<u8>) {
    NR_ENDLESS.fetch_add(1, Ordering::Release);
    compute_for_ever();
}

/// A CPU reclaims, and meets a destructor that does not return; this one waits for its turn.
pub(super) fn endless_reclaim() {
    let Some(endless) = others().first() else {
        println!("fault: there is no other CPU");
        return;
    };
    let job = |_| {
        let settings = Settings { destructor: Some(destroy_for_ever), ..Settings::new("endless", 64, 8) };
        let Ok(cache) = HEAP.create_cache(settings) else { return };
        if let Ok(object) = HEAP.cache_alloc(&cache) {
            // SAFETY: not used any more.
            let freed = unsafe { HEAP.cache_free(&cache, object) };
            assert!(freed.is_ok(), "{object:p}: {freed:?}");
        }
        HEAP.reclaim();
    };
    with(&CpuSet::of(endless), &job, || {
        machine::wait_until(|| NR_ENDLESS.load(Ordering::Acquire) > 0, || false);
        HEAP.reclaim();
    });
}
