//! What is measured beside allocators, as its records name it.
//!
//! Called by: [`super::solo`], [`super::team`], and the parts that measure by them.

use core::fmt;

use kernel::histogram::Histogram;
use records::{Latency, Throughput};
use workloads::objects::Faults;

use super::reporter::Reporter;

/// Time for all repetitions of a row, where its subject says nothing else.
const LIMIT_NS: u64 = 100_000_000;

/// What is measured, as its records name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) workload: &'static str,
    pub(super) contender: &'static str,
    pub(super) nr_cpus: usize,
    pub(super) scale: Option<(&'static str, u64)>,
    /// What one operation is.
    pub(super) unit: &'static str,
    /// The parts of an operation that get percentiles of their own.
    pub(super) operations: &'static [&'static str],
    /// What its operations count that is not as it should be.
    pub(super) faults: &'static str,
    /// How many allocations one operation counts for, where a number of operations was asked for.
    pub(super) weight: u64,
    /// Time for all repetitions, where it was not.
    pub(super) limit_ns: u64,
}

impl Subject {
    /// One without a scale, as quick as an allocation.
    pub(super) const fn of(
        workload: &'static str,
        contender: &'static str,
        nr_cpus: usize,
        unit: &'static str,
        operations: &'static [&'static str],
    ) -> Self {
        Self {
            workload,
            contender,
            nr_cpus,
            scale: None,
            unit,
            operations,
            faults: "bad frames",
            weight: 1,
            limit_ns: LIMIT_NS,
        }
    }

    /// A row that has its names, and nothing else yet.
    pub(super) fn row<'r>(&self) -> Throughput<'r> {
        Throughput {
            workload: self.workload.into(),
            contender: self.contender.into(),
            cpus: self.nr_cpus as u64,
            scale: self.scale.map(|(name, _)| name.into()),
            scale_value: self.scale.map(|(_, value)| value),
            unit: self.unit.into(),
            ..Throughput::default()
        }
    }

    /// The percentiles of `operation`.
    pub(super) fn latency(&self, operation: &'static str, histogram: &Histogram, timer_ticks: u64) -> Latency<'static> {
        Latency {
            scale: self.scale.map(|(name, _)| name.into()),
            scale_value: self.scale.map(|(_, value)| value),
            ..latency_of((self.workload, self.contender, self.nr_cpus), operation, histogram, timer_ticks)
        }
    }
}

/// The percentiles of `operation` in `histogram`, of that workload, contender and number of CPUs, without a scale.
pub(super) fn latency_of<'n>(
    (workload, contender, nr_cpus): (&'n str, &'static str, usize),
    operation: &'static str,
    histogram: &Histogram,
    timer_ticks: u64,
) -> Latency<'n> {
    Latency {
        workload: workload.into(),
        contender: contender.into(),
        cpus: nr_cpus as u64,
        scale: None,
        scale_value: None,
        operation: operation.into(),
        nr_samples: histogram.count(),
        p50_ticks: histogram.quantile(1, 2),
        p99_ticks: histogram.quantile(99, 100),
        p999_ticks: histogram.quantile(999, 1000),
        max_ticks: histogram.max(),
        timer_ticks,
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.workload)?;
        if let Some((name, value)) = self.scale {
            write!(f, " of {value} {name}")?;
        }
        let s = if self.nr_cpus == 1 { "" } else { "s" };
        write!(f, ", {}, on {} CPU{s}", self.contender, self.nr_cpus)
    }
}

/// Tells what was wrong at step `nr_ops` of `subject`, a count as [`Faults::of`] takes apart, and that there is no row for that.
pub(super) fn fail(reporter: &mut Reporter, subject: &Subject, nr_ops: u64, count: u64) {
    let Faults { nr_bad, nr_refused } = Faults::of(count);
    if nr_refused > 0 {
        let what = format_args!("{subject}: no figures: too little memory, {nr_refused} refused, at step {nr_ops}");
        reporter.refuse(what, nr_refused);
    }
    if nr_bad > 0 {
        reporter.fail(format_args!("{subject}: no figures: {}: {nr_bad}, at step {nr_ops}", subject.faults), nr_bad);
    }
}
