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
use super::problem::Problem;
use crate::machine::{self, Cpu, SHOOTDOWNS};
use crate::space::{self, Attributes};
use crate::time::Deadline;
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

/// How long the targets may take to come, or to acknowledge: a hundred thousand times what they do. In instructions of all
/// CPUs, where those are counted.
const PATIENCE_NS: u64 = 100_000_000;

/// Measures; refused without memory for a page, and given up where a target does not acknowledge. There are other CPUs.
pub(super) fn measure() -> Result<Costs, Problem> {
    let page = space::map(1, Attributes::READ_WRITE).map_err(|_| Problem::NoMemory { nr_pages: 1 })?;
    let range = PageRange::new(page.start(), 1).unwrap_or(PageRange::EMPTY);
    let costs = apart(range).map(|(initiator, handler)| Costs { initiator, handler, elapsed: together(range) });
    // SAFETY: the page is this function's own.
    unsafe { space::unmap(page) };
    costs
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
fn apart(range: PageRange) -> Result<(u64, u64), Problem> {
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
        let least = (1..=NR_ROUNDS).try_fold(u64::MAX, |least, nth| {
            let is_there = || nr_ready.load(Ordering::Relaxed) == nth * others.len();
            in_time(is_there, "every CPU should have come to the round")?;
            let nothing = ticks_of(|| ()).0;
            let (begin_ticks, round) = ticks_of(|| SHOOTDOWNS.begin(&Cpu, [range].into_iter()));
            nr_asked.store(nth, Ordering::Relaxed);
            let newest = SHOOTDOWNS.generation();
            // A poll of its own: of the round's wait, no turn is to be measured.
            let have_seen = || others.iter().all(|cpu| SHOOTDOWNS.seen(cpu) == newest);
            let seen = in_time(have_seen, "every CPU should have taken the interrupt of a round and acknowledged it");
            let (wait_ticks, ()) = ticks_of(|| SHOOTDOWNS.wait(&Cpu, round));
            seen.map(|()| least.min((begin_ticks + wait_ticks).saturating_sub(2 * nothing)))
        });
        is_over.store(true, Ordering::Relaxed);
        least
    });
    company::wait_until_idle(&others);
    let handler = slowest.iter().map(|ticks| ticks.load(Ordering::Relaxed)).min().unwrap_or(0);
    least.map(|least| (least, handler))
}

/// Waits until `is_due`; an error if that takes too long.
fn in_time(is_due: impl Fn() -> bool, what: &'static str) -> Result<(), Problem> {
    let deadline = Deadline::after_ns(PATIENCE_NS);
    if machine::wait_until(is_due, || deadline.has_passed()) { Ok(()) } else { Err(Problem::Late { what }) }
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
