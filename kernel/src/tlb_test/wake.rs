//! A CPU that halts and runs, again and again, under a stream of rounds: as an idle CPU it has acknowledged them all in
//! advance, and catches up each time it wakes, before it touches anything.

use core::sync::atomic::{AtomicU64, Ordering};

use super::verdict::{Failure, Figures, Run};
use super::window::Window;
use crate::machine::{self, Cpu, SHOOTDOWNS};
use crate::{idle, per_cpu, workers};

/// The first CPU changes its window and wakes everybody, without waiting for anybody but the rounds; the others look, and
/// halt. The run is over when they have halted `nr_ops` times, together.
pub(super) fn wake(run: &Run) -> Result<Figures, Failure> {
    let nr_workers = workers::nr_available();
    let window = Window::new()?;
    let (turn, nr_done) = (AtomicU64::new(0), AtomicU64::new(0));
    let (nr_wakes, nr_behind, nr_skips) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let others = crate::workers::others();
    let nr_each = run.nr_ops.div_ceil(nr_workers as u64 - 1);
    let work = |number: usize| {
        let counters = SHOOTDOWNS.counters(per_cpu::this().cpu);
        let before = counters.values();
        if number == 0 {
            while nr_done.load(Ordering::Acquire) < nr_workers as u64 - 1 {
                run.watch();
                if run.is_over() {
                    return;
                }
                window.step(&Cpu);
                // Before the wake-up, so that whoever looks in between does not halt and miss it.
                turn.fetch_add(1, Ordering::Release);
                machine::wake_others(&others);
            }
            nr_skips.store(counters.values().idle_skips - before.idle_skips, Ordering::Relaxed);
            return;
        }
        for _ in 0..nr_each {
            let last = turn.load(Ordering::Acquire);
            idle::wait_unless(|| run.is_over() || turn.load(Ordering::Acquire) != last);
            run.note(window.read().map(drop));
            if run.is_over() {
                break;
            }
        }
        nr_wakes.fetch_add(nr_each, Ordering::Relaxed);
        nr_behind.fetch_add(counters.values().flushes - before.flushes, Ordering::Relaxed);
        nr_done.fetch_add(1, Ordering::Release);
    };
    workers::run(nr_workers, &work, || {
        run.watch();
        machine::wake_others(&others);
    });
    run.result(Figures::of([
        ("times halted or about to", nr_wakes.into_inner()),
        ("flushes", nr_behind.into_inner()),
        ("interrupts saved", nr_skips.into_inner()),
        ("rounds", window.newest()),
    ]))
}
