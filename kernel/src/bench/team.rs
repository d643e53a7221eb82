//! Operations that several CPUs repeat at the same time: what is too quick to be timed one by one.
//!
//! A CPU reads the clock twice in a repetition. Percentiles come from a pass of their own, in which the first CPU times
//! each operation and the others do the same without a clock: readers of the clock wait for one another under emulation.
//!
//! An operation that was found to be bad ends the measurement: there is a remark then, and no row.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel::histogram::Histogram;
use spin::mutex::SpinMutex;

use super::asked::Asked;
use super::barrier::Barrier;
use super::plan::Stop;
use super::solo::{Solo, Stopwatch, timed, timer_ticks};
use super::subject::{Subject, fail};
use crate::{input, time, workers};

/// Operations between two looks at the keyboard.
const CHUNK: u64 = 256;
/// Operations of a CPU while warming up, where nobody asked for a number: the first time.
const FIRST_WARM: u64 = 64;
/// Operations of a CPU in a repetition, at most, where nobody asked for a number.
const MOST_OPS: u64 = 1 << 20;
/// Operations that are timed one by one.
const NR_SAMPLES: u64 = 4000;

/// The operation, in two forms.
pub(super) trait Work: Sync {
    /// Does `nr_ops` on CPU number `number`, looking at contents if `is_checked`; returns how many were bad.
    fn operate(&self, number: usize, nr_ops: u64, is_checked: bool) -> u64;
    /// Does one on the first CPU, its parts timed; returns how many things were wrong.
    fn time(&self, stopwatch: &mut Stopwatch<'_>) -> u64;
}

/// One repetition: sums over its CPUs.
struct Sample {
    ticks: u64,
    nr_bad: u64,
    asked: Asked,
}

/// Whether the first CPU has ended what all do, for all to see.
#[derive(Default)]
struct Over(AtomicBool);

impl Over {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether to stop. The first CPU watches for all, and does no more than that: it is being timed.
    fn look(&self, number: usize) -> bool {
        if number == 0 && input::was_cancelled() {
            self.set();
        }
        self.is_set()
    }
}

impl Solo<'_> {
    /// Warms up, measures on the subject's number of CPUs, and hands out a row and percentiles; `asked` reads the counts.
    ///
    /// # Errors
    ///
    /// [`Stop::Cancelled`], without a row.
    pub(super) fn measure_team(
        &mut self,
        subject: &Subject,
        asked: impl Fn() -> Asked + Sync,
        work: &impl Work,
    ) -> Result<(), Stop> {
        let nr_cpus = subject.nr_cpus;
        let nr_reps = self.plan.nr_reps as u64;
        self.milliticks.clear();
        self.histograms.iter_mut().for_each(Histogram::clear);
        let limit_ticks = time::ticks(if self.plan.is_quick { subject.limit_ns / 4 } else { subject.limit_ns });
        let nr_asked = self.plan.nr_ops.map(|nr_ops| (nr_ops / subject.weight).max(1));
        let mut nr_ops = nr_asked.unwrap_or(FIRST_WARM);
        let mut nr_warm = 0_usize;
        loop {
            let sample = repeat(nr_cpus, nr_ops, nr_warm == 0, &asked, work)?;
            nr_warm += 1;
            if sample.nr_bad > 0 {
                fail(self.reporter, subject, nr_warm as u64, sample.nr_bad);
                return Ok(());
            }
            let is_warm = nr_warm >= self.plan.nr_warm_ups;
            // Of one CPU; they work at the same time.
            let ticks = sample.ticks / nr_cpus as u64;
            match nr_asked {
                Some(_) if is_warm => break,
                None if is_warm && (ticks >= limit_ticks / nr_reps / 2 || nr_ops >= MOST_OPS) => break,
                None => nr_ops = (nr_ops * 2).min(MOST_OPS),
                Some(_) => {}
            }
        }
        let mut counted = Asked::default();
        for rep in 0..nr_reps {
            let sample = repeat(nr_cpus, nr_ops, false, &asked, work)?;
            if sample.nr_bad > 0 {
                fail(self.reporter, subject, nr_warm as u64 + rep + 1, sample.nr_bad);
                return Ok(());
            }
            counted = if rep == 0 { sample.asked } else { counted.plus(sample.asked) };
            let milliticks = u128::from(sample.ticks) * 1000 / u128::from(nr_ops * nr_cpus as u64);
            self.milliticks.push(u64::try_from(milliticks).unwrap_or(u64::MAX));
        }
        let timer_ticks = timer_ticks();
        let nr_bad = self.sample(nr_cpus, nr_ops.min(NR_SAMPLES), work)?;
        if nr_bad > 0 {
            fail(self.reporter, subject, nr_ops, nr_bad);
            return Ok(());
        }
        self.hand_in(subject, nr_ops * nr_cpus as u64 * nr_reps, counted, timer_ticks);
        Ok(())
    }

    /// Times `nr_samples` operations of the first CPU while the others do the same; returns how many were bad.
    fn sample(&mut self, nr_cpus: usize, nr_samples: u64, work: &impl Work) -> Result<u64, Stop> {
        let over = Over::default();
        let nr_bad = AtomicU64::new(0);
        let histograms: SpinMutex<&mut [Histogram]> = SpinMutex::new(&mut self.histograms[..]);
        let barrier = Barrier::new(nr_cpus);
        let job = |number: usize| {
            barrier.meet();
            if number > 0 {
                while !over.is_set() {
                    nr_bad.fetch_add(work.operate(number, CHUNK, false), Ordering::Relaxed);
                }
                return;
            }
            let mut histograms = histograms.lock();
            for _ in 0..nr_samples {
                let mut stopwatch = Stopwatch::new(&mut histograms, true);
                nr_bad.fetch_add(work.time(&mut stopwatch), Ordering::Relaxed);
                if input::is_cancelled() {
                    break;
                }
            }
            over.set();
        };
        workers::run(nr_cpus, &job, || {});
        if input::is_cancelled() { Err(Stop::Cancelled) } else { Ok(nr_bad.into_inner()) }
    }
}

/// Each of `nr_cpus` CPUs does `nr_ops` between two readings of its clock, all at the same time.
fn repeat(
    nr_cpus: usize,
    nr_ops: u64,
    is_checked: bool,
    asked: &(impl Fn() -> Asked + Sync),
    work: &impl Work,
) -> Result<Sample, Stop> {
    let over = Over::default();
    let (ticks, nr_bad) = (AtomicU64::new(0), AtomicU64::new(0));
    let counted: SpinMutex<Asked> = SpinMutex::new(Asked::default());
    let barrier = Barrier::new(nr_cpus);
    let job = |number: usize| {
        barrier.meet();
        if number == 0 {
            *counted.lock() = asked();
        }
        barrier.meet();
        let (own_bad, own_ticks) = timed(|| {
            let (mut nr_left, mut own_bad) = (nr_ops, 0);
            while nr_left > 0 && !over.look(number) {
                let nr_now = nr_left.min(CHUNK);
                own_bad += work.operate(number, nr_now, is_checked);
                nr_left -= nr_now;
            }
            own_bad
        });
        barrier.meet();
        if number == 0 {
            let mut counted = counted.lock();
            *counted = asked().since(*counted);
        }
        // Who returns wakes the first CPU, and that is not to be counted.
        barrier.meet();
        ticks.fetch_add(own_ticks, Ordering::Relaxed);
        nr_bad.fetch_add(own_bad, Ordering::Relaxed);
    };
    workers::run(nr_cpus, &job, || {});
    if over.is_set() {
        return Err(Stop::Cancelled);
    }
    Ok(Sample { ticks: ticks.into_inner(), nr_bad: nr_bad.into_inner(), asked: counted.into_inner() })
}
