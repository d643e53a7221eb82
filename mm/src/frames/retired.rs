//! Frames by address, for who walks over all free memory; and bad ones taken out of use for good.
//!
//! A retired frame stays managed and in use, as [`Kind::Retired`]: no allocation finds it, and a free of it is refused.

use core::sync::atomic::Ordering;

use super::Frames;
use crate::error::{Error, Result};
use crate::frame::{Frame, FrameRange};
use crate::frame_table::Kind;
use crate::machine::Machine;

impl<M: Machine> Frames<M> {
    /// Takes the first free frame at or above `from`, and those that are free behind it, `max_pages` at most, contents
    /// undefined, to be used as `kind`. `None` if none is free from there on; frames in page magazines are not.
    ///
    /// Context: any but an NMI. Interrupts are off for a time that grows with `max_pages`.
    pub fn take_from(&self, from: Frame, max_pages: u32, kind: Kind) -> Option<FrameRange> {
        let range = self.with_bitmap(|bitmap| {
            let range = bitmap.take_from(from.number(), max_pages)?;
            self.table.make_range_ready(range);
            Some(range)
        })?;
        self.begin_use(range, kind);
        Some(range)
    }

    /// Gives back a run, as [`free_run`](Self::free_run), but for the frames that are bad: those are never handed out
    /// again. Returns how many.
    ///
    /// # Errors
    ///
    /// As [`free_run`](Self::free_run); nothing is freed or retired then.
    ///
    /// # Safety
    ///
    /// Nothing uses the frames any more, through any mapping.
    pub unsafe fn retire(&self, range: FrameRange, kind: Kind, is_bad: impl Fn(Frame) -> bool) -> Result<u64> {
        self.check_run(range.start(), range.nr_pages(), kind)?;
        if !self.table.of(range.start()).end_use(kind) {
            return Err(Error::DoubleFree { addr: range.start().addr() as usize });
        }
        let mut nr_retired = 0;
        let mut good: Option<FrameRange> = None;
        let mut result = Ok(());
        for frame in range.iter() {
            let is_bad = is_bad(frame);
            self.table.of(frame).set_head(if is_bad { Kind::Retired } else { Kind::Free }, u32::from(is_bad));
            if is_bad {
                nr_retired += 1;
                result = result.and(self.put_if_any(good.take()));
            } else {
                let start = good.map_or(frame, FrameRange::start);
                good = FrameRange::new(start, frame.number() - start.number() + 1);
            }
        }
        result = result.and(self.put_if_any(good));
        self.by_kind[kind as usize].fetch_sub(i64::from(range.nr_pages()), Ordering::Relaxed);
        self.by_kind[Kind::Retired as usize].fetch_add(nr_retired as i64, Ordering::Relaxed);
        result.map(|()| nr_retired)
    }

    fn put_if_any(&self, range: Option<FrameRange>) -> Result<()> {
        range.map_or(Ok(()), |range| self.with_bitmap(|bitmap| bitmap.put_run(range)))
    }
}
