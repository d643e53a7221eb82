//! `ipi`: the round trip of an empty cross-call: an interrupt to each target, the function run there, all acknowledged.
//!
//! Contenders are what the targets do: `halted` ones have to wake up, `busy` ones are interrupted in work of their own.
//! A round trip ends when the caller has seen the last target out of its set, which it polls by plain loads.

use core::sync::atomic::{AtomicUsize, Ordering};

use smp::CpuSet;

use super::asked::Asked;
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use super::solo::Solo;
use super::subject::Subject;
use super::{Part, company};
use crate::machine::{CALLS, Cpu};

/// Operations asked for, to one round trip.
const WEIGHT: u64 = 64;
/// Time for all repetitions of a row.
const LIMIT_NS: u64 = 500_000_000;

/// The part.
pub(super) static PART: Part =
    Part { workloads: &[("ipi", "the round trip of an interrupt to other CPUs, halted ones and busy ones")], play };

fn play(plan: &Plan<'_>, reporter: &mut Reporter) -> Result<(), Stop> {
    let mut solo = Solo::new(plan, reporter)?;
    solo.heading(
        "Interrupts to other CPUs and back",
        "ticks for an empty call of all CPUs but this one, acknowledged by each; lower is better",
    );
    if plan.cpus.most() == 1 {
        solo.reporter.remark(format_args!("ipi: nobody to interrupt on 1 CPU"));
    }
    let sweep = plan.cpus.numbers();
    for (done, &nr_cpus) in sweep.iter().enumerate() {
        solo.reporter.progress(done, sweep.len(), format_args!("ipi on {nr_cpus}"))?;
        measure(&mut solo, nr_cpus)?;
    }
    Ok(())
}

/// Measures calls of the first `nr_cpus - 1` other CPUs.
fn measure(solo: &mut Solo<'_>, nr_cpus: usize) -> Result<(), Stop> {
    let targets = company::others(nr_cpus);
    if targets.is_empty() {
        return Ok(());
    }
    let subject = |contender| Subject {
        faults: "calls that did not run",
        weight: WEIGHT,
        limit_ns: LIMIT_NS,
        ..Subject::of("ipi", contender, targets.len() + 1, "round trip", &["call"])
    };
    solo.measure(&subject("halted"), Asked::of_interrupts, |stopwatch| {
        if !company::wait_until_halted(&targets) {
            return Err(Stop::Cancelled);
        }
        stopwatch.time(0, || call(&targets))
    })?;
    company::while_busy(&targets, || {
        solo.measure(&subject("busy"), Asked::of_interrupts, |stopwatch| stopwatch.time(0, || call(&targets)))
    })
}

/// Calls all of `targets`; returns how many of them did not run what they were asked to, once.
fn call(targets: &CpuSet) -> Result<u64, Stop> {
    let nr_ran = AtomicUsize::new(0);
    let called = CALLS.call(&Cpu, targets, &|_| _ = nr_ran.fetch_add(1, Ordering::Relaxed));
    let nr_missing = nr_ran.into_inner().abs_diff(targets.len()) as u64;
    Ok(nr_missing + u64::from(called.is_err()))
}
