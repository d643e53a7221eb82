//! `map`: fresh pages mapped, each touched, and unmapped again, by the kernel's own interface.
//!
//! The row is all three; `map` and `unmap` have percentiles of their own. To map fills each page with zeroes; to touch is
//! to read a word, which must be 0, to write it, and to read it again when all are written; to unmap takes one round of
//! shootdowns for all pages. Contenders are what the other CPUs do meanwhile, `halted` or `busy`: see [`super::shootdown`].
//! `batched` is `busy` with mappings of one page each, which are unmapped together, in one round as well.
//!
//! Checked: fresh pages hold nothing of what was written to their frames before, what is written stays, the address
//! faults after the unmap, and an unmap took exactly one round, which every CPU that works has acknowledged.

use core::ptr;

use arch::probe;
use mm::frame::PAGE_SIZE;
use smp::CpuSet;

use super::asked::Asked;
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use super::solo::{Solo, Stopwatch};
use super::subject::Subject;
use super::{Part, company};
use crate::machine::SHOOTDOWNS;
use crate::space::{self, Attributes, Mapped};
use crate::{per_cpu, workers};

/// Pages of a mapping.
const NR_PAGES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Pages that are mapped one by one, and unmapped together.
const BATCHES: [usize; 2] = [8, space::MAX_BATCH];
/// Operations asked for, to one page mapped and unmapped.
const WEIGHT: u64 = 32;
/// Time for all repetitions of a row.
const LIMIT_NS: u64 = 250_000_000;
/// Places of the operations in the latency records.
const MAP: usize = 0;
const UNMAP: usize = 1;

/// The part.
pub(super) static PART: Part = Part {
    workloads: &[("map", "1 to 64 fresh pages mapped, touched and unmapped, all other CPUs halted or busy")],
    play,
};

fn play(plan: &Plan<'_>, reporter: &mut Reporter) -> Result<(), Stop> {
    let mut solo = Solo::new(plan, reporter)?;
    solo.heading(
        "Pages mapped, touched and unmapped",
        "ticks for all three; lower is better; behind the name pages of a mapping, unmapped in one round\n\
         halted: all others are; busy: all others of so many CPUs work, and have to be interrupted;\n\
         batched: busy, and the pages are mappings of their own, unmapped together",
    );
    let sweep = plan.cpus.numbers();
    measure_halted(&mut solo)?;
    for (done, &nr_cpus) in sweep.iter().enumerate() {
        solo.reporter.progress(done, sweep.len(), format_args!("map on {nr_cpus}"))?;
        measure(&mut solo, nr_cpus)?;
    }
    Ok(())
}

/// What is measured: not every length if it has to be quick.
fn lengths(plan: &Plan<'_>) -> impl Iterator<Item = usize> + use<> {
    NR_PAGES.into_iter().step_by(if plan.is_quick { NR_PAGES.len() - 1 } else { 1 })
}

/// Measures every length while all other CPUs are halted.
fn measure_halted(solo: &mut Solo<'_>) -> Result<(), Stop> {
    let others = company::others(workers::nr_available());
    for nr_pages in lengths(solo.plan) {
        solo.measure(&subject("halted", 1, nr_pages), asked, |stopwatch| {
            if !company::wait_until_halted(&others) {
                return Err(Stop::Cancelled);
            }
            map_touch_unmap(stopwatch, nr_pages, &CpuSet::EMPTY)
        })?;
    }
    Ok(())
}

/// Measures every length while `nr_cpus` CPUs work, this one among them.
fn measure(solo: &mut Solo<'_>, nr_cpus: usize) -> Result<(), Stop> {
    let busy = company::others(nr_cpus);
    if busy.is_empty() {
        return Ok(());
    }
    company::while_busy(&busy, || {
        for nr_pages in lengths(solo.plan) {
            let subject = subject("busy", busy.len() + 1, nr_pages);
            solo.measure(&subject, asked, |stopwatch| map_touch_unmap(stopwatch, nr_pages, &busy))?;
        }
        for &nr_pages in &BATCHES[usize::from(solo.plan.is_quick)..] {
            let subject = subject("batched", busy.len() + 1, nr_pages);
            solo.measure(&subject, asked, |stopwatch| map_touch_unmap_batch(stopwatch, nr_pages, &busy))?;
        }
        Ok(())
    })
}

fn subject(contender: &'static str, nr_cpus: usize, nr_pages: usize) -> Subject {
    Subject {
        scale: Some(("pages", nr_pages as u64)),
        faults: "pages, rounds or CPUs that are not as they should be",
        weight: WEIGHT * nr_pages as u64,
        limit_ns: LIMIT_NS,
        ..Subject::of("map", contender, nr_cpus, "map, touch, unmap", &["map", "unmap"])
    }
}

/// What is asked of the frames, with the locks of the addresses.
fn asked() -> Asked {
    let (nr_locks, nr_waits) = space::lock_counts();
    let of_frames = Asked::of_frames();
    of_frames.plus(Asked { nr_locks: Some(nr_locks), nr_waits: Some(nr_waits), ..Asked::NONE })
}

/// Returns how many pages were not what they should be, rounds were too many or too few, or `busy` CPUs did not
/// acknowledge.
fn map_touch_unmap(stopwatch: &mut Stopwatch<'_>, nr_pages: usize, busy: &CpuSet) -> Result<u64, Stop> {
    let mapped = stopwatch.time(MAP, || space::map(nr_pages, Attributes::READ_WRITE));
    let mapped = mapped.map_err(|_| Stop::OutOfMemory)?;
    let start = mapped.start();
    let mut nr_bad = stopwatch.time_only(|| touch(start, nr_pages));
    // SAFETY: the range is ours, and nobody else knows of it.
    nr_bad += in_one_round(busy, || stopwatch.time(UNMAP, || unsafe { space::unmap(mapped) }));
    nr_bad +=
        [0, nr_pages - 1].iter().filter(|&page| probe::read_u64(start + page * PAGE_SIZE).is_some()).count() as u64;
    Ok(nr_bad)
}

/// The same with `nr_pages` mappings of a page each, at most [`space::MAX_BATCH`], which are unmapped in one round.
fn map_touch_unmap_batch(stopwatch: &mut Stopwatch<'_>, nr_pages: usize, busy: &CpuSet) -> Result<u64, Stop> {
    let mut batch = [const { None }; space::MAX_BATCH];
    let batch = &mut batch[..nr_pages];
    stopwatch.time(MAP, || batch.fill_with(|| space::map(1, Attributes::READ_WRITE).ok()));
    let is_complete = batch.iter().all(Option::is_some);
    let touch_all = || batch.iter().flatten().map(|mapped| touch(mapped.start(), 1)).sum::<u64>();
    let mut nr_bad = stopwatch.time_only(touch_all);
    let start = batch[0].as_ref().map(Mapped::start);
    let mapped = batch.iter_mut().filter_map(Option::take);
    // SAFETY: the ranges are ours, and nobody else knows of them.
    let nr_off = in_one_round(busy, || stopwatch.time(UNMAP, || unsafe { space::unmap_batch(mapped) }));
    if !is_complete {
        return Err(Stop::OutOfMemory);
    }
    nr_bad += nr_off + u64::from(start.is_none_or(|start| probe::read_u64(start).is_some()));
    Ok(nr_bad)
}

/// Does `unmap`; returns by how many its rounds differ from one, and how many of `busy` have not acknowledged it.
fn in_one_round(busy: &CpuSet, unmap: impl FnOnce()) -> u64 {
    let counters = SHOOTDOWNS.counters(per_cpu::this().cpu);
    let nr_rounds = counters.shootdowns.get();
    unmap();
    counters.shootdowns.get().wrapping_sub(nr_rounds).abs_diff(1) + company::nr_behind(busy)
}

/// Touches every page; returns how many were not zero, or did not keep what was written.
fn touch(start: usize, nr_pages: usize) -> u64 {
    let words = || (0..nr_pages).map(|page| ptr::with_exposed_provenance_mut::<usize>(start + page * PAGE_SIZE));
    let mut nr_bad = 0;
    for word in words() {
        // SAFETY: the start of a page of the caller's, mapped readable and writable, and nobody else's.
        unsafe {
            nr_bad += u64::from(word.read_volatile() != 0);
            word.write_volatile(word.addr());
        }
    }
    for word in words() {
        // SAFETY: as above.
        nr_bad += u64::from(unsafe { word.read_volatile() } != word.addr());
    }
    nr_bad
}
