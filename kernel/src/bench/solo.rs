//! Operations of the first CPU, each timed by itself: what takes microseconds, and others may have a part in.
//!
//! One pass gives both the row and the percentiles: a repetition's figure is the mean of its operations. Two readings of
//! the clock are part of every operation; what they cost is in the latency record. Only this CPU reads the clock, which
//! under emulation takes a lock of the emulator's.
//!
//! A repetition has as many operations as were asked for, less those by which its operation is slower than an
//! allocation; where nobody asked, as many as fit into some time, found while warming up and kept to then. One round of
//! interrupts to CPUs that wait for a core of the host may take twenty milliseconds.
//!
//! An operation that was found to be bad ends the measurement: there is a remark then, and no row.

use alloc::vec::Vec;

use arch::tsc;
use kernel::histogram::Histogram;
use records::{Latency, Throughput};

use super::asked::Asked;
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use super::subject::{Subject, fail};
use crate::{input, time};

/// Operations that a subject tells apart, at most.
const MAX_OPERATIONS: usize = 2;
/// Operations to warm up, at least: the first translates the code, under emulation.
const LEAST_WARM: u64 = 3;
/// Operations to warm up, at most, and those of a repetition, where nobody asked for a number.
const MOST_WARM: u64 = 1000;
const MOST_OPS: u64 = 10_000;
/// Readings of the clock that its cost is the median of.
const NR_READINGS: usize = 101;

/// Times parts of an operation.
pub(super) struct Stopwatch<'a> {
    histograms: &'a mut [Histogram],
    /// Whether single times are kept.
    is_counted: bool,
    /// Of this operation, so far.
    ticks: u64,
}

impl<'a> Stopwatch<'a> {
    /// With a histogram for each operation; without samples for them unless `is_counted`.
    pub(super) fn new(histograms: &'a mut [Histogram], is_counted: bool) -> Self {
        Self { histograms, is_counted, ticks: 0 }
    }

    /// Does `part`, number `operation` of the subject's operations, on the clock.
    pub(super) fn time<R>(&mut self, operation: usize, part: impl FnOnce() -> R) -> R {
        let (result, ticks) = timed(part);
        self.ticks += ticks;
        if self.is_counted {
            self.histograms[operation].record(ticks);
        }
        result
    }

    /// Does `part` on the clock, without percentiles of its own.
    pub(super) fn time_only<R>(&mut self, part: impl FnOnce() -> R) -> R {
        let (result, ticks) = timed(part);
        self.ticks += ticks;
        result
    }
}

/// Does `part`, and says how many ticks that took, the clock's own included.
#[inline(always)]
pub(super) fn timed<R>(part: impl FnOnce() -> R) -> (R, u64) {
    let start = tsc::read_serialised();
    let result = part();
    (result, tsc::read_serialised().wrapping_sub(start))
}

/// What two readings with nothing between them take, here and now: the median of many.
pub(super) fn timer_ticks() -> u64 {
    let mut readings = [0; NR_READINGS];
    for reading in &mut readings {
        *reading = timed(|| ()).1;
    }
    readings.sort_unstable();
    readings[NR_READINGS / 2]
}

/// What measures, with memory for the samples.
pub(super) struct Solo<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) reporter: &'a mut Reporter,
    pub(super) histograms: Vec<Histogram>,
    pub(super) milliticks: Vec<u64>,
    /// Percentiles that follow when all rows of a section are there.
    latencies: Vec<Latency<'static>>,
}

/// Percentiles that wait for the end of a section, at most.
const MAX_WAITING: usize = 128;

impl<'a> Solo<'a> {
    /// For measurements by `plan`.
    ///
    /// # Errors
    ///
    /// [`Stop::OutOfMemory`].
    pub(super) fn new(plan: &'a Plan<'a>, reporter: &'a mut Reporter) -> Result<Self, Stop> {
        let (mut histograms, mut milliticks) = (Vec::new(), Vec::new());
        histograms.try_reserve_exact(MAX_OPERATIONS).map_err(|_| Stop::OutOfMemory)?;
        histograms.resize_with(MAX_OPERATIONS, Histogram::new);
        milliticks.try_reserve_exact(plan.nr_reps).map_err(|_| Stop::OutOfMemory)?;
        let mut latencies = Vec::new();
        latencies.try_reserve_exact(MAX_WAITING).map_err(|_| Stop::OutOfMemory)?;
        Ok(Self { plan, reporter, histograms, milliticks, latencies })
    }

    /// Warms up, measures, and hands out a row and its percentiles. `operate` does one operation, the timed parts of it by
    /// way of the stopwatch, and returns how many things were wrong with it; `asked` reads the counts.
    ///
    /// # Errors
    ///
    /// [`Stop`], without a row; also what `operate` ends with.
    pub(super) fn measure(
        &mut self,
        subject: &Subject,
        asked: impl Fn() -> Asked,
        mut operate: impl FnMut(&mut Stopwatch<'_>) -> Result<u64, Stop>,
    ) -> Result<(), Stop> {
        self.milliticks.clear();
        self.histograms.iter_mut().for_each(Histogram::clear);
        let mut one = |histograms: &mut [Histogram], is_counted| {
            if input::is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let mut stopwatch = Stopwatch::new(histograms, is_counted);
            let nr_bad = operate(&mut stopwatch)?;
            Ok((stopwatch.ticks, nr_bad))
        };
        let nr_reps = self.plan.nr_reps as u64;
        let limit_ticks = time::ticks(if self.plan.is_quick { subject.limit_ns / 4 } else { subject.limit_ns });
        let nr_asked = self.plan.nr_ops.map(|nr_ops| (nr_ops / subject.weight).max(1));
        let (mut nr_warm, mut warm_ticks) = (0, 0);
        let is_warm = |nr_warm, warm_ticks| match nr_asked {
            Some(nr_ops) => nr_warm >= nr_ops * self.plan.nr_warm_ups as u64,
            None => nr_warm >= MOST_WARM || warm_ticks >= limit_ticks / 8,
        };
        while nr_warm < LEAST_WARM || !is_warm(nr_warm, warm_ticks) {
            let (ticks, nr_bad) = one(&mut self.histograms, false)?;
            if nr_bad > 0 {
                fail(self.reporter, subject, nr_warm + 1, nr_bad);
                return Ok(());
            }
            // Without the first.
            warm_ticks += if nr_warm > 0 { ticks } else { 0 };
            nr_warm += 1;
        }
        let ticks_each = (warm_ticks / (nr_warm - 1)).max(1);
        let nr_ops = nr_asked.unwrap_or((limit_ticks / ticks_each / nr_reps).clamp(1, MOST_OPS));

        let timer_ticks = timer_ticks();
        let before = asked();
        for rep in 0..nr_reps {
            let mut rep_ticks = 0;
            for op in 0..nr_ops {
                let (ticks, nr_bad) = one(&mut self.histograms, true)?;
                if nr_bad > 0 {
                    fail(self.reporter, subject, nr_warm + rep * nr_ops + op + 1, nr_bad);
                    return Ok(());
                }
                rep_ticks += ticks;
            }
            let milliticks = u128::from(rep_ticks) * 1000 / u128::from(nr_ops);
            self.milliticks.push(u64::try_from(milliticks).unwrap_or(u64::MAX));
        }
        self.hand_in(subject, nr_ops * nr_reps, asked().since(before), timer_ticks);
        Ok(())
    }

    /// Hands in a row of what was measured, and the percentiles of what was counted.
    pub(super) fn hand_in(&mut self, subject: &Subject, nr_ops: u64, asked: Asked, timer_ticks: u64) {
        let milliticks_per_op = self.milliticks.as_slice().into();
        self.reporter.rows(&[asked.beside(Throughput { nr_ops, milliticks_per_op, ..subject.row() })]);
        self.hand_in_percentiles(subject, timer_ticks);
    }

    fn hand_in_percentiles(&mut self, subject: &Subject, timer_ticks: u64) {
        // There are as many again for each of a scale.
        if subject.scale.is_some() && !self.plan.cpus.wants_latency(subject.nr_cpus) {
            return;
        }
        for (operation, histogram) in subject.operations.iter().zip(&self.histograms) {
            if self.latencies.len() == MAX_WAITING {
                self.latencies.drain(..).for_each(|latency| self.reporter.latency(&latency));
            }
            self.latencies.push(subject.latency(operation, histogram, timer_ticks));
        }
    }

    /// A section begins: percentiles of the one before are handed in first.
    pub(super) fn heading(&mut self, title: &str, notes: &str) {
        self.latencies.drain(..).for_each(|latency| self.reporter.latency(&latency));
        self.reporter.heading(title, notes);
    }

    /// Times `nr_ops` operations for percentiles alone, after a few to warm up; returns how many were bad.
    ///
    /// # Errors
    ///
    /// [`Stop::Cancelled`].
    pub(super) fn sample_alone(
        &mut self,
        subject: &Subject,
        nr_ops: u64,
        mut operate: impl FnMut(&mut Stopwatch<'_>) -> u64,
    ) -> Result<u64, Stop> {
        self.histograms.iter_mut().for_each(Histogram::clear);
        let timer_ticks = timer_ticks();
        let mut nr_bad = 0;
        for op in 0..LEAST_WARM + nr_ops {
            if input::is_cancelled() {
                return Err(Stop::Cancelled);
            }
            nr_bad += operate(&mut Stopwatch::new(&mut self.histograms, op >= LEAST_WARM));
        }
        if nr_bad == 0 {
            self.hand_in_percentiles(subject, timer_ticks);
        }
        Ok(nr_bad)
    }
}

impl Drop for Solo<'_> {
    fn drop(&mut self) {
        // Also where it was stopped: what was measured until then counts.
        self.latencies.drain(..).for_each(|latency| self.reporter.latency(&latency));
    }
}
