//! The frames that a test of memory holds: all that are free from an address on, but for a reserve.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, Ordering};

use mm::error::Result;
use mm::frame::{Frame, FrameRange};
use mm::frame_table::Kind;

use super::bad::BadFrames;
use crate::machine::HEAP;
use crate::workers;

/// Frames of a chunk at most, 4 MiB: what one CPU does without asking for more work.
const CHUNK_PAGES: u32 = 1024;

/// Frames that stay free while the others are held, of `nr_free`: what the kernel lives on meanwhile.
pub(super) fn reserve(nr_free: u64) -> u64 {
    // 4 MiB, and more than a page magazine for each CPU.
    let wanted = 1024 + 128 * workers::nr_available() as u64;
    wanted.min(nr_free / 4)
}

/// Adjacent frames of a test.
pub(super) struct Chunk {
    range: FrameRange,
    /// See the constants.
    badness: AtomicU8,
}

const GOOD: u8 = 0;
/// Some frames, each remembered.
const SOME_BAD: u8 = 1;
const ALL_BAD: u8 = 2;

impl Chunk {
    /// Its frames.
    pub(super) fn range(&self) -> FrameRange {
        self.range
    }

    /// Something in it is bad: a frame that is remembered, or one that found no room.
    pub(super) fn note_bad(&self, is_all: bool) {
        self.badness.fetch_max(if is_all { ALL_BAD } else { SOME_BAD }, Ordering::Relaxed);
    }
}

/// See the module.
pub(super) struct Holdings {
    chunks: Vec<Chunk>,
    end: Frame,
}

impl Holdings {
    /// Takes the free frames from `from` on, in rising order, until only `nr_left` are free in all, or there is no memory for
    /// the list.
    pub(super) fn take(from: Frame, nr_left: u64) -> Self {
        let mut held = Self { chunks: Vec::new(), end: from };
        loop {
            if held.chunks.len() == held.chunks.capacity() {
                let nr_more = held.chunks.len().max(256);
                if held.chunks.try_reserve_exact(nr_more).is_err() {
                    return held;
                }
                // What lies in page magazines is free as well, and the list just had some brought there.
                HEAP.reclaim();
            }
            let nr_takable = HEAP.frames().nr_free().saturating_sub(nr_left);
            let nr_pages = nr_takable.min(u64::from(CHUNK_PAGES)) as u32;
            let Some(range) = HEAP.frames().take_from(held.end, nr_pages, Kind::Owned) else { return held };
            held.end = Frame::new(u32::try_from(range.end_number()).unwrap_or(u32::MAX));
            held.chunks.push(Chunk { range, badness: AtomicU8::new(GOOD) });
        }
    }

    /// Behind the last frame taken.
    pub(super) fn end(&self) -> Frame {
        self.end
    }

    /// How many frames.
    pub(super) fn nr_frames(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.range.nr_pages())).sum()
    }

    /// The frames, in rising order.
    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Gives all back but what is bad. Returns how many frames are out of use for good.
    ///
    /// # Errors
    ///
    /// The first refusal; the others are given back all the same.
    pub(super) fn give_back(self, bad: &BadFrames) -> Result<u64> {
        let mut result = Ok(0);
        for chunk in self.chunks {
            let is_bad = |frame| match chunk.badness.load(Ordering::Relaxed) {
                GOOD => false,
                SOME_BAD => bad.contains(frame),
                _ => true,
            };
            // SAFETY: nobody uses the frames any more: all CPUs have ended their part.
            let retired = unsafe { HEAP.frames().retire(chunk.range, Kind::Owned, is_bad) };
            result = result.and_then(|sum| retired.map(|nr_bad| sum + nr_bad));
        }
        result
    }
}
