//! What one round for one page costs, in ticks: instructions, where a tick is one (`accel=icount`).
//!
//! | figure | what is counted |
//! |---|---|
//! | initiator | all that the CPU executes that begins the round: `begin`, from its call to its return, plus `wait`, when all have acknowledged. No turn of a poll is in it: those depend on the others |
//! | handler | all that a target executes for it, from the interrupt gate's first instruction to `iretq` |
//! | elapsed | the whole round on the machine's one clock: initiator, all handlers one after the other, and one pass of the targets' own loops |

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arch::{irq, tsc};
use smp::PageRange;

use super::company::{self, Pace};
use crate::machine::{self, Cpu, SHOOTDOWNS};
use crate::space::{self, Attributes};
use crate::workers;

/// Rounds that are measured; the least counts. They differ only where the emulator changes CPUs on its own.
const NR_ROUNDS: usize = 16;

/// The costs of a round to all other CPUs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    /// Instructions of the initiator.
    pub initiator: u64,
    /// Instructions of the slowest target's handler.
    pub handler: u64,
    /// Instructions of all CPUs.
    pub elapsed: u64,
}

/// Measures; `None` without memory for a page, or without other CPUs.
pub(super) fn measure() -> Option<Costs> {
    if workers::others().is_empty() {
        return None;
    }
    let page = space::map(1, Attributes::READ_WRITE).ok()?;
    let range = PageRange::new(page.start(), 1)?;
    let (initiator, handler) = apart(range);
    let elapsed = together(range);
    // SAFETY: the page is this function's own.
    unsafe { space::unmap(page) };
    Some(Costs { initiator, handler, elapsed })
}

/// The whole round: the targets take their interrupts wherever they are.
fn together(range: PageRange) -> u64 {
    company::while_busy(&workers::others(), Pace::OneThread, || {
        let round = |_| {
            let before = tsc::read();
            let round = SHOOTDOWNS.begin(&Cpu, [range].into_iter());
            irq::pause();
            SHOOTDOWNS.wait(&Cpu, round);
            tsc::read() - before
        };
        (0..NR_ROUNDS).map(round).min().unwrap_or(0)
    })
}

/// Initiator and handler apart: the targets keep interrupts off, and let them in when the initiator is out of its half.
fn apart(range: PageRange) -> (u64, u64) {
    let (nr_asked, nr_ready, is_over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let slowest = [const { AtomicU64::new(0) }; NR_ROUNDS];
    let target = || {
        let guard = irq::InterruptGuard::new();
        let nothing = window_ticks();
        for (nth, slowest) in slowest.iter().enumerate() {
            nr_ready.fetch_add(1, Ordering::Relaxed);
            while nr_asked.load(Ordering::Relaxed) == nth && !is_over.load(Ordering::Relaxed) {
                irq::pause();
            }
            slowest.fetch_max(window_ticks().saturating_sub(nothing), Ordering::Relaxed);
        }
        drop(guard);
    };
    let others = workers::others();
    let least = workers::beside(&others, &target, || {
        let mut least = u64::MAX;
        for nth in 1..=NR_ROUNDS {
            machine::wait_until(|| nr_ready.load(Ordering::Relaxed) == nth * others.len(), || false);
            let nothing = ticks_of(|| ()).0;
            let (begin_ticks, round) = ticks_of(|| SHOOTDOWNS.begin(&Cpu, [range].into_iter()));
            nr_asked.store(nth, Ordering::Relaxed);
            let newest = SHOOTDOWNS.generation();
            machine::wait_until(|| others.iter().all(|cpu| SHOOTDOWNS.seen(cpu) == newest), || false);
            let (wait_ticks, ()) = ticks_of(|| SHOOTDOWNS.wait(&Cpu, round));
            least = least.min((begin_ticks + wait_ticks).saturating_sub(2 * nothing));
        }
        is_over.store(true, Ordering::Relaxed);
        least
    });
    company::wait_until_idle(&others);
    (least, slowest.iter().map(|ticks| ticks.load(Ordering::Relaxed)).min().unwrap_or(0))
}

fn ticks_of<R>(body: impl FnOnce() -> R) -> (u64, R) {
    let before = tsc::read();
    let result = body();
    (tsc::read() - before, result)
}

/// Ticks between letting interrupts in and keeping them out again, with all that is pending taken between.
fn window_ticks() -> u64 {
    let before = tsc::read();
    // SAFETY: the caller's guard keeps interrupts off for this file's purposes alone, and they are off again below.
    unsafe { irq::enable() };
    // `sti` lets interrupts in behind the next instruction, and that is a look at the clock: the second one counts.
    let _ = tsc::read();
    let after = tsc::read();
    irq::disable();
    after - before
}
