//! Memory that is in use because it is to be full.
//!
//! What is filled is taken in long runs, so that it takes little of the harness's own memory.

use alloc::vec::Vec;

use mm::frame::FrameRange;
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::machine::Machine;

use super::plan::Stop;
use crate::machine::{Cpu, HEAP};

/// Runs that fill memory, at most.
const MAX_RUNS: usize = 256;
/// Frames that stay free however full memory is to be: for those that are held, and for page magazines.
const LEAST_FREE: u64 = 192;

/// Having this means: its runs are in use. Dropped, they are free again.
pub(super) struct Filling {
    runs: Vec<FrameRange>,
}

impl Filling {
    /// Without a run.
    ///
    /// # Errors
    ///
    /// [`Stop::OutOfMemory`].
    pub(super) fn new() -> Result<Self, Stop> {
        let mut runs = Vec::new();
        runs.try_reserve_exact(MAX_RUNS).map_err(|_| Stop::OutOfMemory)?;
        Ok(Self { runs })
    }

    /// Takes runs until `permille` of all frames are in use, or as close as the runs in memory allow.
    pub(super) fn fill_to(&mut self, permille: u64) {
        let nr_managed = HEAP.frames().nr_managed();
        let nr_used = (nr_managed * permille).div_ceil(1000).min(nr_managed.saturating_sub(LEAST_FREE));
        let mut nr_left = nr_used.saturating_sub(nr_used_now()) as usize;
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

    /// The same, but for `nr_pages` adjacent frames that stay free together; false, with nothing taken, where there are
    /// none to begin with.
    pub(super) fn fill_around(&mut self, nr_pages: usize, permille: u64) -> bool {
        let Ok(hole) = HEAP.frames().alloc_run(RunRequest::pages(nr_pages), Kind::Owned) else { return false };
        self.fill_to(permille);
        free(hole);
        true
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self) {
        self.runs.drain(..).for_each(free);
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.clear();
    }
}

fn free(run: FrameRange) {
    // SAFETY: taken above, and nobody has used it.
    unsafe { HEAP.frames().free_run(run, Kind::Owned) }.unwrap_or_else(Cpu::report);
}

fn nr_used_now() -> u64 {
    HEAP.frames().nr_managed() - HEAP.frames().nr_free()
}

/// Thousandths of all frames that are in use or in page magazines.
pub(super) fn permille_now() -> u64 {
    nr_used_now() * 1000 / HEAP.frames().nr_managed().max(1)
}
