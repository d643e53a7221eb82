//! CPUs that wait for one another with interrupts off: as initiators, and for a lock.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use arch::irq::InterruptGuard;
use mm::lock::Lock;
use smp::Barrier;

use super::verdict::{Failure, Figures, Run};
use super::window::Window;
use crate::machine::{Cpu, SHOOTDOWNS};
use crate::{per_cpu, workers};

/// Requests that CPUs have served while they waited, all together.
fn nr_self_serviced() -> u64 {
    per_cpu::all().map(|area| SHOOTDOWNS.counters(area.cpu).self_serviced.get()).sum()
}

/// Looks at all windows after each round, so that this CPU remembers the others' translations when they change them.
const NR_LOOKS: usize = 20;

/// Every CPU begins round after round with interrupts off, and looks at the others' windows between.
pub(super) fn all_masked(run: &Run) -> Result<Figures, Failure> {
    let nr_workers = workers::nr_available();
    let mut windows = Vec::new();
    if windows.try_reserve_exact(nr_workers).is_err() {
        return Err(Failure::Missing { what: "memory for the case itself" });
    }
    for _ in 0..nr_workers {
        windows.push(Window::new()?);
    }
    let before = nr_self_serviced();
    let nr_ops_each = run.nr_ops.div_ceil(nr_workers as u64);
    let start = Barrier::new(nr_workers as u32);
    let work = |number: usize| {
        start.wait(&Cpu);
        for _ in 0..nr_ops_each {
            if number == 0 {
                run.watch();
            }
            if run.is_over() {
                return;
            }
            let _guard = InterruptGuard::new();
            windows[number].step(&Cpu);
            for _ in 0..NR_LOOKS {
                windows.iter().for_each(|window| run.note(window.read().map(drop)));
            }
        }
    };
    workers::run(nr_workers, &work, || run.watch());
    run.result(Figures::of([
        ("rounds", nr_ops_each * nr_workers as u64),
        ("requests served while waiting", nr_self_serviced() - before),
    ]))
}

/// The initiator holds a lock, and with it its interrupts off, when it begins a round; the others spin for that lock with
/// theirs off. Nothing ends but by their serving the round in the lock's slow path. (The kernel itself holds no lock
/// while it waits for CPUs; this is the second line of defence.)
pub(super) fn lock_holder(run: &Run) -> Result<Figures, Failure> {
    static LOCK: Lock<(), Cpu> = Lock::new(());
    let nr_workers = workers::nr_available();
    let window = Window::new()?;
    // Operations are handings over: where CPUs outnumber the host's cores each of them waits for the host's scheduler.
    let nr_turns = run.nr_ops.div_ceil(nr_workers as u64 - 1);
    let (turn, nr_waiting, nr_done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let before = nr_self_serviced();
    let work = |number: usize| {
        for now in 1..=nr_turns {
            if number == 0 {
                run.watch();
                if run.is_over() {
                    return;
                }
                let guard = LOCK.lock();
                // Release: the others begin to wait for a lock that is held.
                turn.store(now, Ordering::Release);
                let all = now * (nr_workers as u64 - 1);
                run.wait_until(|| nr_waiting.load(Ordering::Acquire) == all);
                window.step(&Cpu);
                drop(guard);
                // The lock is unfair: it could be this CPU's again before any of those who wait has had it.
                run.wait_until(|| nr_done.load(Ordering::Acquire) == all);
            } else {
                if !run.wait_until(|| turn.load(Ordering::Acquire) >= now) {
                    return;
                }
                let guard = InterruptGuard::new();
                nr_waiting.fetch_add(1, Ordering::Release);
                drop(LOCK.lock());
                drop(guard);
                nr_done.fetch_add(1, Ordering::Release);
                run.note(window.read().map(drop));
            }
        }
    };
    workers::run(nr_workers, &work, || run.watch());
    run.result(Figures::of([("rounds", nr_turns), ("requests served while waiting", nr_self_serviced() - before)]))
}
