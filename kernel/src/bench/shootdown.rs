//! `shootdown`: one round for one page: announced, flushed everywhere, acknowledged by all.
//!
//! Contenders are what the other CPUs do. `halted`: all of them are; each has acknowledged in advance, and gets no
//! interrupt. `busy`: so many work at something of their own, and each is interrupted. `woken`: what a kernel does that
//! does not know who is halted: so many halted CPUs are woken by a cross-call, and flush the page.
//!
//! Checked after each round: every CPU that works has seen the newest generation, every other one was halted, and each
//! of them was counted. With `chaos=drop-ipi` that fails.

use core::sync::atomic::{AtomicU64, Ordering};

use arch::tlb;
use smp::{CpuSet, PageRange};

use super::asked::Asked;
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use super::solo::{Solo, Stopwatch};
use super::subject::Subject;
use super::{Part, company};
use crate::machine::{CALLS, Cpu, SHOOTDOWNS};
use crate::space::{self, Attributes, Mapped};
use crate::{per_cpu, workers};

/// Operations asked for, to one round.
const WEIGHT: u64 = 64;
/// Time for all repetitions of a row.
const LIMIT_NS: u64 = 500_000_000;

/// The part.
pub(super) static PART: Part = Part {
    workloads: &[("shootdown", "a round that makes all CPUs forget a page: halted, busy and woken ones")],
    play,
};

fn play(plan: &Plan<'_>, reporter: &mut Reporter) -> Result<(), Stop> {
    let mut solo = Solo::new(plan, reporter)?;
    solo.heading(
        "TLB shootdown",
        "ticks for a round that makes all CPUs forget one page; lower is better\n\
         halted: all others are, and need no interrupt; busy: all others of so many CPUs work;\n\
         woken: halted ones are woken by a call and flush, as where nobody knows who is halted",
    );
    let sweep = plan.cpus.numbers();
    measure_halted(&mut solo)?;
    for (done, &nr_cpus) in sweep.iter().enumerate() {
        solo.reporter.progress(done, sweep.len(), format_args!("shootdown on {nr_cpus}"))?;
        measure(&mut solo, nr_cpus)?;
    }
    Ok(())
}

/// A page whose translation everybody is told to forget. It stays mapped, so that nothing goes wrong if one does not.
struct Page(Option<Mapped>);

impl Page {
    fn map() -> Result<Self, Stop> {
        space::map(1, Attributes::READ_WRITE).map(|mapped| Self(Some(mapped))).map_err(|_| Stop::OutOfMemory)
    }

    fn addr(&self) -> usize {
        self.0.as_ref().map_or(0, Mapped::start)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(mapped) = self.0.take() {
            // SAFETY: the page is this one's own, and nobody reads it.
            unsafe { space::unmap(mapped) };
        }
    }
}

fn subject(contender: &'static str, nr_cpus: usize) -> Subject {
    Subject {
        faults: "CPUs that did not acknowledge",
        weight: WEIGHT,
        limit_ns: LIMIT_NS,
        ..Subject::of("shootdown", contender, nr_cpus, "round", &["round"])
    }
}

/// Measures rounds while all other CPUs are halted.
fn measure_halted(solo: &mut Solo<'_>) -> Result<(), Stop> {
    let page = Page::map()?;
    let others = company::others(workers::nr_available());
    solo.measure(&subject("halted", 1), Asked::of_interrupts, |stopwatch| {
        if !company::wait_until_halted(&others) {
            return Err(Stop::Cancelled);
        }
        Ok(round(stopwatch, &page, &CpuSet::EMPTY, &others))
    })
}

/// Measures rounds in which `nr_cpus` CPUs take part, this one among them: busy ones, then halted ones that are woken.
fn measure(solo: &mut Solo<'_>, nr_cpus: usize) -> Result<(), Stop> {
    let page = Page::map()?;
    let targets = company::others(nr_cpus);
    if targets.is_empty() {
        return Ok(());
    }
    let halted = company::others(workers::nr_available()).iter().filter(|&cpu| !targets.contains(cpu)).collect();
    company::while_busy(&targets, || {
        solo.measure(&subject("busy", targets.len() + 1), Asked::of_interrupts, |stopwatch| {
            if !company::wait_until_halted(&halted) {
                return Err(Stop::Cancelled);
            }
            Ok(round(stopwatch, &page, &targets, &halted))
        })
    })?;
    let addr = page.addr();
    solo.measure(&subject("woken", targets.len() + 1), Asked::of_interrupts, |stopwatch| {
        if !company::wait_until_halted(&targets) {
            return Err(Stop::Cancelled);
        }
        let nr_flushed = AtomicU64::new(0);
        let flush = |_| {
            tlb::flush_page(addr);
            nr_flushed.fetch_add(1, Ordering::Relaxed);
        };
        let called = stopwatch.time(0, || {
            tlb::flush_page(addr);
            CALLS.call(&Cpu, &targets, &flush)
        });
        Ok(nr_flushed.into_inner().abs_diff(targets.len() as u64) + u64::from(called.is_err()))
    })
}

/// One round; returns how many CPUs have not acknowledged it as they should: `busy` ones by flushing, `halted` ones by
/// having been passed over.
fn round(stopwatch: &mut Stopwatch<'_>, page: &Page, busy: &CpuSet, halted: &CpuSet) -> u64 {
    let counters = SHOOTDOWNS.counters(per_cpu::this().cpu);
    let nr_skipped = counters.idle_skips.get();
    stopwatch.time(0, || SHOOTDOWNS.initiate(&Cpu, PageRange::new(page.addr(), 1).into_iter()));
    let nr_skipped = counters.idle_skips.get().wrapping_sub(nr_skipped);
    company::nr_behind(busy) + nr_skipped.abs_diff(halted.len() as u64)
}
