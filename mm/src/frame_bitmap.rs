//! The frame allocator: which frames exist, and which of them are free.
//!
//! Two bitmaps over all frame numbers up to the end of memory. `free` has summaries, so that a search costs the same at
//! every fill; `managed` is plain words and says which frames are memory of ours at all, so that a frame that was never
//! handed out cannot be freed. Together an eighth and a thirtieth of a byte for each frame: 9 MiB for 128 GiB.
//!
//! Policy, so that scarce frames last and long runs survive:
//!
//! ```text
//!   0     1 MiB                  4 GiB                                  end
//!   |  3rd  |         2nd          |  runs: 1st choice -->               |
//!   |       |                      |                     <-- single frames
//! ```
//!
//! Single frames come from the top of memory downwards. Runs are placed at the lowest fitting place at or above 4 GiB,
//! then at or above 1 MiB, then anywhere; a request that must lie below an address skips the floors above it. What is
//! below 4 GiB (32-bit devices) and below 1 MiB (the real-mode start of other CPUs) is thus touched last, and single
//! frames, which scatter, keep away from where runs are cut.
//!
//! Invariants: free frames are managed; frame 0 is not; counts are exact. Every failed call leaves all as it was.
//!
//! Pure: `&mut self`, the lock around it (lock order: frame bitmap, the last but the console) is elsewhere.
//! Called by: the page magazines, for batches, and the kernel, for runs.

#[cfg(test)]
mod tests;

use crate::bitmap::{Bitmap, Direction};
use crate::error::{Error, Result};
use crate::frame::{Frame, FrameRange, PAGE_SIZE};
use core::ops::Range;

/// Where runs are searched from, in frame numbers: 4 GiB, 1 MiB, 0.
const FLOORS: [usize; 3] = [1 << 20, 1 << 8, 0];

/// A wish for adjacent frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRequest {
    /// How many.
    pub nr_pages: usize,
    /// The first frame's number is a multiple of this power of two.
    pub align_pages: usize,
    /// All of the run lies below this physical address.
    pub below: Option<u64>,
}

impl RunRequest {
    /// `nr_pages` adjacent frames, wherever they are.
    pub const fn pages(nr_pages: usize) -> Self {
        Self { nr_pages, align_pages: 1, below: None }
    }
}

/// All frames of the machine, over storage of the caller.
pub struct FrameBitmap<'a> {
    free: Bitmap<'a>,
    managed: &'a mut [u64],
    nr_managed: usize,
}

impl<'a> FrameBitmap<'a> {
    /// Words of storage for frames `0..nr_frames`.
    pub const fn words_needed(nr_frames: usize) -> usize {
        Bitmap::words_needed(nr_frames) + nr_frames.div_ceil(64)
    }

    /// An allocator that knows no frames yet and has room for the numbers `0..nr_frames`: see
    /// [`add_range`](Self::add_range). `storage` may hold anything.
    ///
    /// # Errors
    /// `BadRequest` if there are more than 2^32 frames or too few words of storage.
    pub fn new(storage: &'a mut [u64], nr_frames: usize) -> Result<Self> {
        if nr_frames as u64 > 1 << 32 {
            return Err(Error::BadRequest { value: nr_frames });
        }
        let nr_words = storage.len();
        let (managed, rest) =
            storage.split_at_mut_checked(nr_frames.div_ceil(64)).ok_or(Error::BadRequest { value: nr_words })?;
        let free = Bitmap::new(rest, nr_frames)?;
        managed.fill(0);
        Ok(Self { free, managed, nr_managed: 0 })
    }

    /// Adds free frames: those of the memory map at first, reclaimed ones later.
    ///
    /// # Errors
    /// With nothing changed: `Foreign` with the address if the range holds frame 0 or reaches past the numbers there is
    /// room for, `InUse` with the address of the first frame that is managed already.
    pub fn add_range(&mut self, range: FrameRange) -> Result<()> {
        let bits = bits_of(range);
        if bits.start == 0 || bits.end > self.free.nr_bits() {
            return Err(Error::Foreign { addr: range.start().addr() as usize });
        }
        if let Some(taken) = first_set(bits.clone(), |index| self.managed[index]) {
            return Err(Error::InUse { addr: taken * PAGE_SIZE });
        }
        for (index, mask) in words_of(bits.clone()) {
            self.managed[index] |= mask;
        }
        self.nr_managed += bits.len();
        self.free.set_range(bits);
        Ok(())
    }

    /// Frames that can be free: all that were added.
    pub fn nr_managed(&self) -> usize {
        self.nr_managed
    }

    /// Frames that are free now.
    pub fn nr_free(&self) -> usize {
        self.free.count()
    }

    /// Whether `frame` is one of ours, free or not.
    pub fn is_managed(&self, frame: Frame) -> bool {
        let number = frame.number() as usize;
        self.managed.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    /// Whether `frame` is free.
    pub fn is_free(&self, frame: Frame) -> bool {
        self.free.get(frame.number() as usize)
    }

    /// Takes the highest free frame.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn take_one(&mut self) -> Result<Frame> {
        let number = self.free.take_last().ok_or(Error::OutOfMemory { bytes: PAGE_SIZE })?;
        Ok(Frame::new(number as u32))
    }

    /// Fills the front of `frames` with the highest free frames, which need not be adjacent, and returns how many: fewer
    /// than asked for only if no more are free. Costs one search for each word of the bitmap that has some.
    pub fn take_batch(&mut self, frames: &mut [Frame]) -> usize {
        let mut slots = frames.iter_mut();
        self.free.take_last_each(slots.len(), |number| {
            if let Some(slot) = slots.next() {
                *slot = Frame::new(number as u32);
            }
        })
    }

    /// Takes adjacent frames.
    ///
    /// # Errors
    /// `BadRequest` for no pages or an alignment that is not a power of two; `OutOfMemory` if nothing fits.
    pub fn take_run(&mut self, request: RunRequest) -> Result<FrameRange> {
        let RunRequest { nr_pages, align_pages, below } = request;
        if nr_pages == 0 {
            return Err(Error::BadRequest { value: nr_pages });
        }
        if !align_pages.is_power_of_two() {
            return Err(Error::BadRequest { value: align_pages });
        }
        let out_of_memory = Error::OutOfMemory { bytes: nr_pages.saturating_mul(PAGE_SIZE) };
        let nr_frames = u32::try_from(nr_pages).map_err(|_| out_of_memory)?;
        let limit = below.map_or(u64::MAX, |addr| addr / PAGE_SIZE as u64).min(self.free.nr_bits() as u64) as usize;
        let mut ceiling = limit;
        for floor in FLOORS {
            // Above `ceiling` no run starts: looked at already. But one from below may reach across.
            let range = floor..ceiling.saturating_add(nr_pages - 1).min(limit);
            if let Some(start) = self.free.find_run(nr_pages, align_pages, range, Direction::Upwards) {
                self.free.clear_range(start..start + nr_pages);
                return FrameRange::new(Frame::new(start as u32), nr_frames).ok_or(out_of_memory);
            }
            ceiling = ceiling.min(floor);
        }
        Err(out_of_memory)
    }

    /// Takes exactly these frames, all of which must be free.
    ///
    /// # Errors
    /// With nothing changed: `Foreign` with the address of the first frame that is not ours, else `InUse` with the
    /// address of the first that is taken.
    pub fn claim_range(&mut self, range: FrameRange) -> Result<()> {
        let bits = bits_of(range);
        self.check_managed(&bits)?;
        match self.free.first_clear_in(bits.clone()) {
            Some(taken) => Err(Error::InUse { addr: taken * PAGE_SIZE }),
            None => {
                self.free.clear_range(bits);
                Ok(())
            }
        }
    }

    /// Frees one frame.
    ///
    /// # Errors
    /// With nothing changed: `Foreign` if it is not ours, `DoubleFree` if it is free.
    pub fn put_one(&mut self, frame: Frame) -> Result<()> {
        let addr = frame.addr() as usize;
        if !self.is_managed(frame) {
            return Err(Error::Foreign { addr });
        }
        if !self.free.set(frame.number() as usize) {
            return Err(Error::DoubleFree { addr });
        }
        Ok(())
    }

    /// Takes the first free frame at or above number `from` and those free behind it, `max_pages` at most: what somebody
    /// asks who wants each free frame once, in order. `None` if none is free from there on, or `max_pages` is 0.
    pub fn take_from(&mut self, from: u32, max_pages: u32) -> Option<FrameRange> {
        let start = self.free.first_set_at_or_after(from as usize)?;
        let end = start.saturating_add(max_pages as usize).min(self.free.nr_bits());
        let end = self.free.first_clear_in(start..end).unwrap_or(end);
        let range = FrameRange::new(Frame::new(start as u32), (end - start) as u32)?;
        self.free.clear_range(start..end);
        Some(range)
    }

    /// Frees frames in any order.
    ///
    /// # Errors
    /// With nothing changed, as [`put_one`](Self::put_one) for the first offender; a frame that comes twice is freed
    /// twice.
    pub fn put_batch(&mut self, frames: &[Frame]) -> Result<()> {
        let mut nr_done = 0;
        while let Some(frame) = frames.get(nr_done) {
            let nr_put = self.put_neighbours(&frames[nr_done..]);
            if nr_put == 0
                && let Err(error) = self.put_one(*frame)
            {
                // Each of these was taken when its turn came.
                for done in &frames[..nr_done] {
                    self.free.clear(done.number() as usize);
                }
                return Err(error);
            }
            nr_done += nr_put.max(1);
        }
        Ok(())
    }

    /// Frees the first of `frames` and those behind it that share its word, all at once; how many these are. 0, and nothing
    /// done, if one of them cannot be freed: then one by one they tell which.
    fn put_neighbours(&mut self, frames: &[Frame]) -> usize {
        let Some(first) = frames.first() else { return 0 };
        let word = first.number() / 64;
        let (mut mask, mut nr_frames) = (0, 0);
        for frame in frames.iter().take_while(|frame| frame.number() / 64 == word) {
            mask |= 1_u64 << (frame.number() % 64);
            nr_frames += 1;
        }
        let word = word as usize;
        let is_ours = self.managed.get(word).is_some_and(|managed| managed & mask == mask);
        // A frame that comes twice leaves the mask short of a bit.
        let is_good = is_ours && mask.count_ones() as usize == nr_frames && self.free.set_clear_bits(word, mask);
        if is_good { nr_frames } else { 0 }
    }

    /// Frees adjacent frames, which need not have been taken together.
    ///
    /// # Errors
    /// With nothing changed: `Foreign` with the address of the first frame that is not ours, else `DoubleFree` with the
    /// address of the first that is free.
    pub fn put_run(&mut self, range: FrameRange) -> Result<()> {
        let bits = bits_of(range);
        self.check_managed(&bits)?;
        match self.free.first_set_at_or_after(bits.start) {
            Some(free) if free < bits.end => Err(Error::DoubleFree { addr: free * PAGE_SIZE }),
            _ => {
                self.free.set_range(bits);
                Ok(())
            }
        }
    }

    /// Checks every invariant of the module, in time proportional to the frames. For tests.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        self.free.check_invariants();
        let mut nr_managed = 0;
        for (index, managed) in self.managed.iter().enumerate() {
            let free = self.free.word(index);
            assert_eq!(free & !managed, 0, "free frames of word {index} that are not managed");
            nr_managed += managed.count_ones() as usize;
        }
        assert_eq!(nr_managed, self.nr_managed, "managed frames and their count");
        assert!(!self.is_managed(Frame::new(0)), "frame 0 is managed");
    }

    fn check_managed(&self, bits: &Range<usize>) -> Result<()> {
        let nr_frames = self.free.nr_bits();
        let inside = bits.start.min(nr_frames)..bits.end.min(nr_frames);
        let past_end = (inside != *bits).then_some(bits.start.max(nr_frames));
        match first_set(inside, |index| !self.managed[index]).or(past_end) {
            Some(number) => Err(Error::Foreign { addr: number * PAGE_SIZE }),
            None => Ok(()),
        }
    }
}

fn bits_of(range: FrameRange) -> Range<usize> {
    range.start().number() as usize..range.end_number() as usize
}

/// The words that `bits` touches, each with the mask of its bits that are meant.
fn words_of(bits: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let Range { start, end } = bits;
    (start / 64..end.max(start).div_ceil(64)).filter(move |_| start < end).map(move |index| {
        let head = if index == start / 64 { !0 << (start % 64) } else { !0 };
        let tail = if index == (end - 1) / 64 { !0 >> (63 - (end - 1) % 64) } else { !0 };
        (index, head & tail)
    })
}

/// The first set bit among `bits` of a map given by its words.
fn first_set(bits: Range<usize>, word: impl Fn(usize) -> u64) -> Option<usize> {
    words_of(bits).find_map(|(index, mask)| match word(index) & mask {
        0 => None,
        hits => Some(index * 64 + hits.trailing_zeros() as usize),
    })
}
