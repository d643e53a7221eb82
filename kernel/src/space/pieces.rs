//! Frames for a range with large leaves, on their way into the mapping: runs where there are any, single frames elsewhere,
//! linked through their own first words, so that collecting them takes no memory.

use mm::arena::VirtRange;
use mm::error::Result;
use mm::frame::FrameRange;
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::page_table::Level;

use crate::machine::HEAP;

/// Frames of ours that nothing maps yet, for ever lower parts of a range. Dropped, they go back.
pub(super) struct Pieces {
    last: Option<FrameRange>,
    kind: Kind,
}

impl Pieces {
    /// Takes frames for `range`: runs as long and as aligned as leaves up to `largest` want them, while there are any
    /// without a reclaim.
    ///
    /// # Errors
    ///
    /// [`mm::error::Error::OutOfMemory`]; nothing is taken then.
    pub(super) fn alloc(range: VirtRange, kind: Kind, largest: Level) -> Result<Self> {
        let mut pieces = Self { last: None, kind };
        let (mut page, end) = (range.page_numbers().start, range.page_numbers().end);
        let mut largest = largest;
        while page < end {
            let fits = |level: &Level| {
                *level <= largest && page.is_multiple_of(level.nr_pages()) && page + level.nr_pages() <= end
            };
            let level = [Level::L3, Level::L2].into_iter().find(fits).unwrap_or(Level::L1);
            let nr_pages = level.nr_pages();
            let run = if level == Level::L1 {
                FrameRange::new(HEAP.alloc_frame(kind)?, 1)
            } else {
                let request = RunRequest { nr_pages: nr_pages as usize, align_pages: nr_pages as usize, below: None };
                HEAP.frames().alloc_run(request, kind).ok()
            };
            match run {
                Some(run) => {
                    pieces.push(run);
                    page += nr_pages;
                }
                // None so long: do not ask again.
                None => largest = level.below().unwrap_or(Level::L1),
            }
        }
        Ok(pieces)
    }

    fn push(&mut self, run: FrameRange) {
        // SAFETY: the frames are ours, and seen through the direct map, page-aligned.
        unsafe { link_of(run).write(self.last) };
        self.last = Some(run);
    }

    /// The pieces with the range that each is for, from the end of `range` downwards.
    pub(super) fn places(&self, range: VirtRange) -> impl Iterator<Item = (VirtRange, FrameRange)> {
        let mut place = Place::at_the_end_of(range);
        let mut next = self.last;
        core::iter::from_fn(move || {
            let run = next?;
            // SAFETY: the frames are ours, and `push` has written the link.
            next = unsafe { link_of(run).read() };
            Some((place.before(run)?, run))
        })
    }

    /// Takes the piece for the end of what `place` has left.
    pub(super) fn pop(&mut self, place: &mut Place) -> Option<(VirtRange, FrameRange)> {
        let run = self.last?;
        // SAFETY: as above.
        self.last = unsafe { link_of(run).read() };
        Some((place.before(run)?, run))
    }
}

/// How far down a range has been filled.
pub(super) struct Place {
    end: u64,
}

impl Place {
    pub(super) fn at_the_end_of(range: VirtRange) -> Self {
        Self { end: range.page_numbers().end }
    }

    fn before(&mut self, run: FrameRange) -> Option<VirtRange> {
        self.end -= u64::from(run.nr_pages());
        VirtRange::new(self.end as usize * mm::frame::PAGE_SIZE, run.nr_pages() as usize)
    }
}

fn link_of(run: FrameRange) -> core::ptr::NonNull<Option<FrameRange>> {
    HEAP.frames().virt(run.start()).cast()
}

impl Drop for Pieces {
    fn drop(&mut self) {
        while let Some(run) = self.last {
            // SAFETY: the frames are ours, and `push` has written the link.
            self.last = unsafe { link_of(run).read() };
            // SAFETY: nobody but this chain has the frames.
            if let Err(error) = unsafe { HEAP.frames().free_run(run, self.kind) } {
                panic!("frames that were just allocated cannot be freed: {error}");
            }
        }
    }
}
