//! Single frames, taken and given back while more and more of the machine's memory is in use: what that costs must not
//! depend on the fill.
//!
//! More frames at a time than a page magazine holds, so that the bitmap is searched. Every repetition goes
//! through all fills, so that drift hits all alike. What is filled is taken in long runs, and nobody else works.

use alloc::vec::Vec;

use arch::tsc;
use mm::frame::{Frame, FrameRange};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::machine::Machine;
use records::Throughput;

use super::Part;
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use crate::input;
use crate::machine::{self, Cpu, HEAP};

/// Frames held at a time: more than a page magazine holds.
const HELD: usize = 128;
/// Frames that stay free however full memory is to be: for those that are held, and for the magazine.
const LEAST_FREE: u64 = 192;
/// Runs that fill memory, at most.
const MAX_RUNS: usize = 256;
/// Frames taken and given back in a repetition, if nothing is said.
const DEFAULT_PAIRS: u64 = 10_240;
/// Thousandths of all frames in use; the first means as few as there are.
const FILLS: [u64; 4] = [0, 500, 990, 999];

/// The part.
pub(super) static PART: Part =
    Part { workloads: &[("frame", "single frames while memory is as empty as it gets, 50, 99 and 99.9 % full")], play };

/// What one fill came to.
#[derive(Debug, Default)]
struct Fill {
    /// Thousandths of all frames that are in use or in magazines.
    used_per_mille: u64,
    /// For each repetition, for a frame taken and given back.
    milliticks: Vec<u64>,
    nr_pairs: u64,
    /// Locks of the bitmap taken meanwhile.
    nr_locks: u64,
    nr_ipis: u64,
    /// Frames that were refused, or did not keep what was written to them.
    nr_bad: u64,
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
fn pairs(nr_pairs: u64) -> Result<(u64, u64), Stop> {
    let mut held = [Frame::new(0); HELD];
    let mut nr_bad = 0;
    let nr_batches = nr_pairs.div_ceil(HELD as u64);
    for _ in 0..nr_batches {
        if input::is_cancelled() {
            return Err(Stop::Cancelled);
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

fn play(plan: &Plan<'_>, reporter: &mut Reporter) -> Result<(), Stop> {
    let mut filling = Filling { runs: Vec::new() };
    filling.runs.try_reserve_exact(MAX_RUNS).map_err(|_| Stop::OutOfMemory)?;
    let mut fills: [Fill; FILLS.len()] = Default::default();
    for fill in &mut fills {
        fill.milliticks.try_reserve_exact(plan.nr_reps).map_err(|_| Stop::OutOfMemory)?;
    }
    reporter.heading(
        "Single frames, by how full memory is",
        "ticks for a frame taken and given back, on one CPU; lower is better; behind the name\n\
         thousandths in use; x first: time over that in memory as empty as it gets",
    );
    let nr_managed = HEAP.frames().nr_managed();
    for rep in 0..plan.nr_reps {
        reporter.progress(rep, plan.nr_reps, format_args!("single frames"))?;
        for (permille, fill) in FILLS.iter().zip(&mut fills) {
            filling.fill_to((nr_managed * permille).div_ceil(1000).min(nr_managed.saturating_sub(LEAST_FREE)));
            // The frames that are free at this fill are touched, and the code is translated.
            fill.nr_bad += pairs(2 * HELD as u64)?.1;
            fill.used_per_mille = nr_used_now() * 1000 / nr_managed.max(1);
            let (nr_locks, nr_ipis) = (HEAP.frames().nr_lock_acquisitions(), machine::nr_ipis());
            let start = tsc::read_serialised();
            let (nr_pairs, nr_bad) = pairs(plan.nr_ops.unwrap_or(DEFAULT_PAIRS))?;
            let ticks = tsc::read_serialised().wrapping_sub(start);
            fill.nr_locks += HEAP.frames().nr_lock_acquisitions() - nr_locks;
            fill.nr_ipis += machine::nr_ipis() - nr_ipis;
            fill.nr_pairs += nr_pairs;
            fill.nr_bad += nr_bad;
            fill.milliticks.push(ticks.saturating_mul(1000) / nr_pairs);
        }
        filling.clear();
    }
    reporter.rows(&fills.each_ref().map(|fill| Throughput {
        workload: "frame".into(),
        contender: "frames".into(),
        cpus: 1,
        scale: Some("fill_per_mille".into()),
        scale_value: Some(fill.used_per_mille),
        unit: "pair".into(),
        nr_ops: fill.nr_pairs,
        milliticks_per_op: fill.milliticks.as_slice().into(),
        nr_locks: Some(fill.nr_locks),
        nr_ipis: Some(fill.nr_ipis),
        nr_bad: fill.nr_bad,
        ..Throughput::default()
    }));
    Ok(())
}
