//! NMIs at any moment: while a CPU handles a shootdown, halts, is on its way into or out of idle.
//!
//! An NMI's handler touches nothing that is ever unmapped, so it may run on a CPU that has acknowledged in advance; and an
//! NMI that ends a halt lets the idle loop catch up. One that lands between `sti` and `hlt` must not cost a wake-up.

use core::sync::atomic::{AtomicU64, Ordering};

use super::verdict::{Failure, Figures, Run};
use super::window::Window;
use crate::machine::{self, Cpu, SHOOTDOWNS};
use crate::time::Deadline;
use crate::workers::others;
use crate::{crash, idle, per_cpu, workers};

/// How long a wake-up may take: far beyond what it does.
const LOST_NS: u64 = 5_000_000_000;

/// Questions of the second asker in each turn.
const NR_MORE: usize = 3;

/// The first CPU, and a second one if there are four, ask where the others are, who halt, wake up and look; at the same
/// time comes a round and a wake-up. Each question must be answered, and each wake-up arrive.
pub(super) fn nmi(run: &Run) -> Result<Figures, Failure> {
    let nr_workers = workers::nr_available();
    let nr_askers = if nr_workers < 4 { 1 } else { 2 };
    let asked = workers::online().nth(nr_askers).ok_or(Failure::Missing { what: "a CPU to ask" })?;
    let window = Window::new()?;
    let (turn, reached) = (AtomicU64::new(0), AtomicU64::new(0));
    let (nr_asked, nr_answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let others = others();
    let ask = || {
        nr_asked.fetch_add(1, Ordering::Relaxed);
        match crash::ask_where(asked) {
            Some(_) => _ = nr_answered.fetch_add(1, Ordering::Relaxed),
            None => run.fail(Failure::Missing { what: "the answer to an NMI" }),
        }
    };
    let lead = || {
        for now in 1..=run.nr_ops {
            run.watch();
            window.step(&Cpu);
            turn.store(now, Ordering::Release);
            machine::wake_others(&others);
            ask();
            let deadline = Deadline::after_ns(LOST_NS);
            let has_come = || reached.load(Ordering::Acquire) >= now;
            if !machine::wait_until(has_come, || run.is_over() || deadline.has_passed()) {
                run.fail(Failure::Missing { what: "a CPU that was woken" });
            }
            if run.is_over() {
                break;
            }
        }
        run.end();
        machine::wake_others(&others);
    };
    let before_halt = crash::nr_before_halt();
    let behind = SHOOTDOWNS.counters(asked).flushes.get();
    let work = |number: usize| {
        if number == 0 {
            return lead();
        }
        while !run.is_over() {
            let last = turn.load(Ordering::Acquire);
            if number < nr_askers {
                // Not without a pause: an NMI too many would end the halt of a CPU that has lost its wake-up.
                (0..NR_MORE).for_each(|_| ask());
                run.wait_until(|| turn.load(Ordering::Acquire) != last);
                continue;
            }
            run.note(window.read().map(drop));
            if per_cpu::this().cpu == asked {
                reached.store(last, Ordering::Release);
            }
            idle::wait_unless(|| run.is_over() || turn.load(Ordering::Acquire) != last);
        }
    };
    workers::run(nr_workers, &work, || machine::wake_others(&others));
    run.result(Figures::of([
        ("questions", nr_asked.into_inner()),
        ("answers", nr_answered.into_inner()),
        ("between sti and hlt", crash::nr_before_halt() - before_halt),
        ("times behind", SHOOTDOWNS.counters(asked).flushes.get() - behind),
    ]))
}
