//! Runs of adjacent frames, straight from the bitmap and straight back.

use core::sync::atomic::Ordering;

use super::Frames;
use crate::error::{Error, Result};
use crate::frame::{FrameRange, PAGE_SIZE};
use crate::frame_bitmap::RunRequest;
use crate::frame_table::Kind;
use crate::machine::Machine;

impl<M: Machine> Frames<M> {
    /// Takes a run of adjacent frames, contents undefined, to be used as `kind`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if there is none; [`Error::BadRequest`] if there never can be.
    pub fn alloc_run(&self, request: RunRequest, kind: Kind) -> Result<FrameRange> {
        let range = self.with_bitmap(|bitmap| {
            let range = bitmap.take_run(request)?;
            self.table.make_range_ready(range);
            Ok(range)
        })?;
        self.begin_use(range, kind);
        Ok(range)
    }

    /// Describes and counts a run that was just taken.
    pub(super) fn begin_use(&self, range: FrameRange, kind: Kind) {
        for (offset, frame) in range.iter().enumerate().skip(1) {
            self.table.of(frame).set_tail(kind, offset as u32);
        }
        self.table.of(range.start()).set_head(kind, range.nr_pages());
        self.by_kind[kind as usize].fetch_add(i64::from(range.nr_pages()), Ordering::Relaxed);
    }

    /// Takes a run of adjacent frames full of zeroes.
    ///
    /// # Errors
    ///
    /// As [`Frames::alloc_run`].
    pub fn alloc_run_zeroed(&self, request: RunRequest, kind: Kind) -> Result<FrameRange> {
        let range = self.alloc_run(request, kind)?;
        // SAFETY: the frames are ours, adjacent, and covered by the direct map.
        unsafe { self.virt(range.start()).write_bytes(0, range.nr_pages() as usize * PAGE_SIZE) };
        Ok(range)
    }

    /// Gives back a run from `alloc_run`, whole, with the same `kind`.
    ///
    /// # Errors
    ///
    /// As [`Frames::free`]; [`Error::WrongSize`] if the run has another length.
    ///
    /// # Safety
    ///
    /// Nothing uses the frames any more, through any mapping.
    pub unsafe fn free_run(&self, range: FrameRange, kind: Kind) -> Result<()> {
        if range.nr_pages() == 1 {
            // SAFETY: as promised by the caller.
            return unsafe { self.free(range.start(), kind) };
        }
        self.check_run(range.start(), range.nr_pages(), kind)?;
        // Of two who free it at once, one may go on: the other must not write what a third has got meanwhile.
        if !self.table.of(range.start()).end_use(kind) {
            return Err(Error::DoubleFree { addr: range.start().addr() as usize });
        }
        for frame in range.iter() {
            self.table.of(frame).set_head(Kind::Free, 0);
        }
        self.with_bitmap(|bitmap| bitmap.put_run(range))?;
        self.by_kind[kind as usize].fetch_sub(i64::from(range.nr_pages()), Ordering::Relaxed);
        Ok(())
    }
}
