//! Giving the frames of an unmapped range back, leaf by leaf, as they were taken: single, or in runs.
//!
//! Invariant: a run that was taken whole is mapped whole, in one range, in ascending order. So its first page tells how
//! long it is, and the pages that follow are its rest, whatever the size of the leaves. A run goes back when its first
//! page is met: its other entries are cleared already, and flushed by the same proof.

use mm::frame::{Frame, FrameRange};
use mm::frame_table::Kind;
use mm::page_table::Extent;

use crate::machine::HEAP;

/// Takes the extents of one range, in ascending order.
pub(super) struct Frees {
    kind: Kind,
    /// Pages to come of a run that went back already.
    nr_rest: u32,
}

impl Frees {
    /// For a range whose frames are accounted for as `kind`.
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, nr_rest: 0 }
    }

    /// Frees what `extent` is made of.
    #[inline]
    pub(super) fn add(&mut self, extent: Extent) {
        if extent.nr_pages == 1
            && self.nr_rest == 0
            && let Some(frame) = Frame::containing(extent.phys)
            // SAFETY: as in `free_from`. Refused if the frame is the first of a run.
            && unsafe { HEAP.frames().free(frame, self.kind) }.is_ok()
        {
            return;
        }
        self.add_run(extent);
    }

    /// As `add`, for what is no frame on its own.
    #[cold]
    #[inline(never)]
    fn add_run(&mut self, extent: Extent) {
        let frames = extent.frames().unwrap_or_else(|| panic!("{extent:x?} is no memory of ours"));
        let (mut number, end) = (u64::from(frames.start().number()), frames.end_number());
        while number < end {
            if self.nr_rest == 0 {
                self.nr_rest = self.free_from(Frame::new(number as u32));
            }
            let nr_pages = u64::from(self.nr_rest).min(end - number) as u32;
            self.nr_rest -= nr_pages;
            number += u64::from(nr_pages);
        }
    }

    /// Frees the frame or run that starts with `frame`; its length.
    fn free_from(&self, frame: Frame) -> u32 {
        let nr_pages = HEAP.frames().table().get(frame).and_then(|descriptor| descriptor.run_length()).unwrap_or(0);
        let freed = match FrameRange::new(frame, nr_pages) {
            // SAFETY: no page table names the frame, and no CPU remembers that one did.
            _ if nr_pages == 1 => unsafe { HEAP.frames().free(frame, self.kind) },
            // SAFETY: as above, for each frame of the run, by the module's invariant.
            Some(run) => unsafe { HEAP.frames().free_run(run, self.kind) },
            None => panic!("frame {:#x} was mapped, and is the first of nothing", frame.number()),
        };
        if let Err(error) = freed {
            panic!("frame {:#x} was mapped, and cannot be freed: {error}", frame.number());
        }
        nr_pages
    }
}
