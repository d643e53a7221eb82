//! Single frames, taken and given back while more and more of the machine's memory is in use: what that costs must not
//! depend on the fill.
//!
//! More frames at a time than a page magazine holds, so that the bitmap is searched. Every repetition goes
//! through all fills, so that drift hits all alike. What is filled is taken in long runs, and nobody else works.

use alloc::vec::Vec;

use arch::tsc;
use kernel::samples::Summary;
use mm::frame::{Frame, FrameRange};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::machine::Machine;

use super::measure::Plan;
use crate::input;
use crate::machine::{Cpu, HEAP};

/// Frames held at a time: more than a page magazine holds.
const HELD: usize = 128;
/// Frames that stay free however full memory is to be: for those that are held, and for the magazine.
const LEAST_FREE: u64 = 192;
/// Runs that fill memory, at most.
const MAX_RUNS: usize = 256;
/// Thousandths of all frames in use; the first means as few as there are.
const FILLS: [u64; 4] = [0, 500, 990, 999];

/// What one fill came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameRow {
    /// Frames in use or in magazines, of so many.
    pub(super) nr_used: u64,
    pub(super) nr_managed: u64,
    /// Thousandths of a tick for a frame taken and given back.
    pub(super) ticks_milli: Summary,
    pub(super) nr_pairs: u64,
    /// Locks of the bitmap taken meanwhile.
    pub(super) nr_locks: u64,
    /// Frames that were refused, or did not keep what was written to them.
    pub(super) nr_bad: u64,
}

/// Memory that is in use because it is to be full.
struct Filling {
    runs: Vec<FrameRange>,
}

impl Filling {
    /// Takes runs until `nr_used` frames are in use, or as close as the runs in memory allow.
    fn fill_to(&mut self, nr_used: u64) {
        let nr_wanted = nr_used.saturating_sub(nr_used_now());
        let mut nr_left = nr_wanted as usize;
        let mut longest = usize::MAX;
        while nr_left > 0 && self.runs.len() < MAX_RUNS && longest > 0 {
            let nr_pages = (1 << nr_left.ilog2()).min(longest);
            match HEAP.frames().alloc_run(RunRequest::pages(nr_pages), Kind::Owned) {
                Ok(run) => {
                    self.runs.push(run);
                    nr_left -= nr_pages;
                }
                Err(_) => longest = nr_pages / 2,
            }
        }
    }

    fn clear(&mut self) {
        for run in self.runs.drain(..) {
            // SAFETY: taken by `fill_to`, and nobody has used it.
            unsafe { HEAP.frames().free_run(run, Kind::Owned) }.unwrap_or_else(Cpu::report);
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.clear();
    }
}

fn nr_used_now() -> u64 {
    HEAP.frames().nr_managed() - HEAP.frames().nr_free()
}

/// Takes `HELD` frames, writes to each, and gives them back; as often as there are `nr_pairs`. Returns how many pairs
/// that were, and how many frames were bad; or that it was stopped.
fn pairs(nr_pairs: u64) -> Result<(u64, u64), NoRows> {
    let mut held = [Frame::new(0); HELD];
    let mut nr_bad = 0;
    let nr_batches = nr_pairs.div_ceil(HELD as u64);
    for _ in 0..nr_batches {
        if input::is_cancelled() {
            return Err(NoRows::Stopped);
        }
        let mut nr_held = 0;
        while nr_held < HELD {
            let Ok(frame) = HEAP.frames().alloc(Kind::Owned) else {
                nr_bad += 1;
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
            // SAFETY: ours, and not used any more.
            nr_bad += u64::from(unsafe { HEAP.frames().free(frame, Kind::Owned) }.is_err());
        }
    }
    Ok((nr_batches * HELD as u64, nr_bad))
}

/// Why there are no rows.
pub(super) enum NoRows {
    /// No memory for what this itself needs.
    NoMemory,
    /// Stopped.
    Stopped,
}

/// Measures every fill.
pub(super) fn measure(plan: Plan) -> Result<[FrameRow; FILLS.len()], NoRows> {
    let mut filling = Filling { runs: Vec::new() };
    filling.runs.try_reserve_exact(MAX_RUNS).map_err(|_| NoRows::NoMemory)?;
    let mut samples = [const { Vec::new() }; FILLS.len()];
    for samples in &mut samples {
        samples.try_reserve_exact(plan.nr_reps).map_err(|_| NoRows::NoMemory)?;
    }
    let nr_managed = HEAP.frames().nr_managed();
    let empty = Summary { median: 0, first_quartile: 0, third_quartile: 0 };
    let mut rows =
        [FrameRow { nr_used: 0, nr_managed, ticks_milli: empty, nr_pairs: 0, nr_locks: 0, nr_bad: 0 }; FILLS.len()];
    for _ in 0..plan.nr_reps {
        for ((permille, row), samples) in FILLS.iter().zip(&mut rows).zip(&mut samples) {
            filling.fill_to((nr_managed * permille).div_ceil(1000).min(nr_managed.saturating_sub(LEAST_FREE)));
            // The frames that are free at this fill are touched, and the code is translated.
            row.nr_bad += pairs(2 * HELD as u64)?.1;
            row.nr_used = nr_used_now();
            let nr_locks = HEAP.frames().nr_lock_acquisitions();
            let start = tsc::read_serialised();
            let (nr_pairs, nr_bad) = pairs(plan.nr_pairs)?;
            let ticks = tsc::read_serialised().wrapping_sub(start);
            row.nr_locks += HEAP.frames().nr_lock_acquisitions() - nr_locks;
            row.nr_pairs += nr_pairs;
            row.nr_bad += nr_bad;
            samples.push(ticks.saturating_mul(1000) / nr_pairs);
        }
        filling.clear();
    }
    for (row, samples) in rows.iter_mut().zip(&mut samples) {
        row.ticks_milli = Summary::of(samples).unwrap_or(empty);
    }
    Ok(rows)
}
