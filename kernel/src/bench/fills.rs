//! Single frames, taken and given back while more and more of the machine's memory is in use: what that costs must not
//! depend on the fill.
//!
//! More frames at a time than a page magazine holds, so that the bitmap is searched. Every repetition goes
//! through all fills, so that drift hits all alike. Nobody else works.

use alloc::vec::Vec;
use core::cell::RefCell;

use mm::error::Result;
use mm::frame::Frame;
use mm::frame_table::Kind;
use records::Throughput;
use workloads::objects::{Faults, REFUSED};

use super::asked::Asked;
use super::filling::{Filling, permille_now};
use super::plan::Stop;
use super::solo::{Solo, timed};
use super::subject::{Subject, fail};
use crate::input;
use crate::machine::HEAP;

/// Frames held at a time: more than a page magazine holds.
const HELD: usize = 128;
/// Frames taken and given back in a repetition, if nothing is said.
const DEFAULT_PAIRS: u64 = 10_240;
/// Batches that are timed frame by frame.
const NR_SAMPLED: u64 = 32;
/// Thousandths of all frames in use; the first means as few as there are.
const FILLS: [u64; 4] = [0, 500, 990, 999];

/// What one fill came to.
#[derive(Debug, Default)]
struct Fill {
    /// Thousandths of all frames that are to be in use or in magazines, at least: one of [`FILLS`]. Rows go by that name,
    /// whatever the memory, so that two recordings have the same.
    permille: u64,
    /// The fewest that were, before any repetition.
    used_per_mille: u64,
    /// For each repetition, for a frame taken and given back.
    milliticks: Vec<u64>,
    nr_pairs: u64,
    asked: Asked,
    /// Frames that were refused, or did not keep what was written to them: see [`Faults::of`].
    faults: u64,
}

/// Takes `HELD` frames by `alloc`, writes to each, and gives them back by `free`, which must; returns the
/// count of what was wrong.
#[inline(always)]
fn batch(mut alloc: impl FnMut() -> Result<Frame>, mut free: impl FnMut(Frame) -> Result<()>) -> u64 {
    let mut held = [Frame::new(0); HELD];
    let mut nr_bad = 0;
    let mut nr_held = 0;
    while nr_held < HELD {
        let Ok(frame) = alloc() else {
            nr_bad += REFUSED;
            break;
        };
        // SAFETY: the frame is ours, and the direct map covers it.
        unsafe { HEAP.frames().virt(frame).cast::<u64>().write_volatile(frame.addr()) };
        held[nr_held] = frame;
        nr_held += 1;
    }
    for &frame in &held[..nr_held] {
        // SAFETY: as above.
        let found = unsafe { HEAP.frames().virt(frame).cast::<u64>().read_volatile() };
        nr_bad += u64::from(found != frame.addr());
        nr_bad += u64::from(free(frame).is_err());
    }
    nr_bad
}

fn alloc() -> Result<Frame> {
    HEAP.frames().alloc(Kind::Owned)
}

/// Frees what `batch` got from `alloc`, and does not use any more.
fn free(frame: Frame) -> Result<()> {
    // SAFETY: passed to `batch` only, which frees each frame once, and has read what it wants of it.
    unsafe { HEAP.frames().free(frame, Kind::Owned) }
}

/// Batches until there were `nr_pairs`. Returns how many pairs that were, and how many frames were bad; or that it was
/// stopped.
fn pairs(nr_pairs: u64) -> core::result::Result<(u64, u64), Stop> {
    let nr_batches = nr_pairs.div_ceil(HELD as u64);
    let mut nr_bad = 0;
    for _ in 0..nr_batches {
        if input::was_cancelled() {
            return Err(Stop::Cancelled);
        }
        nr_bad += batch(alloc, free);
    }
    Ok((nr_batches * HELD as u64, nr_bad))
}

/// Measures every fill, in turns.
///
/// # Errors
///
/// [`Stop`].
pub(super) fn measure(solo: &mut Solo<'_>) -> core::result::Result<(), Stop> {
    let plan = solo.plan;
    let mut filling = Filling::new()?;
    let mut fills: [Fill; FILLS.len()] = Default::default();
    for (&permille, fill) in FILLS.iter().zip(&mut fills) {
        (fill.permille, fill.used_per_mille) = (permille, u64::MAX);
        fill.milliticks.try_reserve_exact(plan.nr_reps).map_err(|_| Stop::OutOfMemory)?;
    }
    for rep in 0..plan.nr_reps {
        solo.reporter.progress(rep, plan.nr_reps, format_args!("single frames"))?;
        for (&permille, fill) in FILLS.iter().zip(&mut fills) {
            filling.fill_to(permille);
            // The frames that are free at this fill are touched, and the code is translated.
            fill.faults += pairs(2 * HELD as u64)?.1;
            fill.used_per_mille = fill.used_per_mille.min(permille_now());
            let before = Asked::of_frames();
            let (played, ticks) = timed(|| pairs(plan.nr_ops.unwrap_or(DEFAULT_PAIRS)));
            let (nr_pairs, faults) = played?;
            let asked = Asked::of_frames().since(before);
            fill.asked = if rep == 0 { asked } else { fill.asked.plus(asked) };
            fill.nr_pairs += nr_pairs;
            fill.faults += faults;
            fill.milliticks.push(ticks.saturating_mul(1000) / nr_pairs);
        }
        filling.clear();
    }
    let subject = |fill: &Fill| Subject {
        scale: Some(("fill_per_mille", fill.permille)),
        ..Subject::of("frame", "bitmap", 1, "pair", &["alloc", "free"])
    };
    let mut rows: [Throughput<'_>; FILLS.len()] = Default::default();
    let mut nr_rows = 0;
    for fill in &fills {
        let Faults { nr_bad, nr_refused } = Faults::of(fill.faults);
        if nr_refused > 0 {
            fail(solo.reporter, &subject(fill), fill.nr_pairs, fill.faults);
            continue;
        }
        rows[nr_rows] = Throughput {
            nr_ops: fill.nr_pairs,
            milliticks_per_op: fill.milliticks.as_slice().into(),
            nr_bad,
            ..fill.asked.beside(subject(fill).row())
        };
        nr_rows += 1;
    }
    solo.reporter.rows(&rows[..nr_rows]);
    // One less is what rounding and the frames that are held make of it.
    for fill in fills.iter().filter(|fill| fill.used_per_mille + 1 < fill.permille) {
        let Fill { permille, used_per_mille, .. } = fill;
        solo.reporter
            .remark(format_args!("frame: {permille} in 1000 frames were to be in use, and {used_per_mille} were"));
    }
    for (&permille, fill) in FILLS.iter().zip(&fills) {
        filling.fill_to(permille);
        let nr_bad = solo.sample_alone(&subject(fill), NR_SAMPLED, |stopwatch| {
            let stopwatch = RefCell::new(stopwatch);
            batch(|| stopwatch.borrow_mut().time(0, alloc), |frame| stopwatch.borrow_mut().time(1, || free(frame)))
        })?;
        if nr_bad > 0 {
            fail(solo.reporter, &subject(fill), NR_SAMPLED, nr_bad);
        }
        filling.clear();
    }
    Ok(())
}
