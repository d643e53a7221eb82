//! An NMI between `sti` and `hlt`, with an interrupt pending: the one moment at which an NMI could cost a wake-up.
//!
//! Nobody can aim at one instruction of another CPU. So a CPU brings it about by itself: it turns interrupts off, sends
//! itself an interrupt, which stays pending, and then an NMI. The handler of that NMI sends another, which waits until the
//! first has returned, and has the first return to the `hlt`, interrupts on. There the second comes first (Intel SDM
//! volume 3, "Priority Among Concurrent Events"), and then what was pending: a handler of NMIs that goes back to the `hlt`
//! halts for nothing.
//!
//! Called by: `tlb-test`; [`on_nmi`] by the handler of NMIs.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arch::irq;
use arch::traps::TrapFrame;
use smp::CpuSet;

use super::company::a_target;
use super::verdict::{Failure, Figures, Run, expect};
use crate::per_cpu::{self, PerCpu};
use crate::time::Deadline;
use crate::{crash, machine, traps, workers};

/// No CPU.
const NONE: usize = usize::MAX;
/// How long a CPU may take to come out of its halt: far beyond what it does.
const LOST_NS: u64 = 2_000_000_000;
/// Turns of a loop in which an NMI of a CPU to itself arrives, where that takes time: a few microseconds.
const NR_TURNS: u32 = 10_000;

/// The CPU that has asked for it.
static ASKED_BY: AtomicUsize = AtomicUsize::new(NONE);

/// If this CPU has asked for it, makes what is described above of an NMI. Whether it has.
///
/// Context: the handler of an NMI, which is about to return. Takes no lock.
pub fn on_nmi(me: &PerCpu, frame: &mut TrapFrame) -> bool {
    if ASKED_BY.load(Ordering::Relaxed) != me.cpu.index() {
        return false;
    }
    ask_myself(me);
    (0..NR_TURNS).for_each(|turn| _ = black_box(turn));
    // SAFETY: `halt_between` asked for it where it holds nothing, on a stack of its own, with its traps loaded; this handler
    // has another stack.
    unsafe { irq::halt_on_return(frame) };
    ASKED_BY.store(NONE, Ordering::Release);
    true
}

/// Sends this CPU an NMI that is a question where it is.
fn ask_myself(me: &PerCpu) {
    me.nr_nmi_questions.fetch_add(1, Ordering::AcqRel);
    if let Some(apic) = machine::apic() {
        // The id is its own, which every mode can name.
        let _ = apic.send_nmi(me.apic_id());
    }
}

/// Halts once, as described above. Context: a job, interrupts on.
fn halt_between() {
    let me = per_cpu::this();
    irq::disable();
    if let Some(apic) = machine::apic() {
        let _ = apic.send(me.apic_id(), traps::WAKE);
    }
    ASKED_BY.store(me.cpu.index(), Ordering::Release);
    ask_myself(&me);
    // The NMI comes here, at once or soon, and its handler has this CPU halt here.
    while ASKED_BY.load(Ordering::Acquire) != NONE {}
    // SAFETY: they were on before, and nothing is held.
    unsafe { irq::enable() };
}

/// A CPU halts `nr_ops` times; each time an NMI comes between `sti` and `hlt`, and it goes on all the same. Nobody sends it
/// anything that would end a halt.
pub(super) fn halt(run: &Run) -> Result<Figures, Failure> {
    let target = CpuSet::of(a_target()?);
    let nr_done = AtomicU64::new(0);
    let before = crash::nr_before_halt();
    let job = || {
        for _ in 0..run.nr_ops {
            halt_between();
            nr_done.fetch_add(1, Ordering::Release);
            if run.is_over() {
                break;
            }
        }
    };
    workers::beside(&target, &job, || {
        let mut seen = 0;
        let mut deadline = Deadline::after_ns(LOST_NS);
        let is_done = || nr_done.load(Ordering::Acquire) == run.nr_ops;
        while !is_done() && !run.is_over() {
            run.watch();
            let nr_now = nr_done.load(Ordering::Acquire);
            if nr_now != seen {
                (seen, deadline) = (nr_now, Deadline::after_ns(LOST_NS));
            }
            if deadline.has_passed() {
                run.fail(Failure::Missing { what: "a CPU with an interrupt pending, which an NMI sent to sleep," });
            }
        }
        if !is_done() {
            machine::wake_others(&target);
        }
    });
    let nr_between = crash::nr_before_halt() - before;
    let result = run.result(Figures::of([("NMIs between sti and hlt", nr_between)]))?;
    expect("NMIs between sti and hlt", nr_between, (run.nr_ops, run.nr_ops))?;
    Ok(result)
}
