//! Frames: the 4 KiB units of physical memory, by number, and runs of adjacent ones.
//!
//! A frame number fits 32 bits, which is 16 TiB of physical memory; what lies above is never handed out.

/// Bytes in a frame, and in the smallest page.
pub const PAGE_SIZE: usize = 4096;

/// One past the highest physical address a [`Frame`] can name: 16 TiB.
pub const PHYS_LIMIT: u64 = (u32::MAX as u64 + 1) * PAGE_SIZE as u64;

/// A frame of physical memory, named by its number. Having one says nothing about who owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Frame(u32);

impl Frame {
    /// The frame with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The frame that contains physical address `addr`; `None` at or above [`PHYS_LIMIT`].
    pub const fn containing(addr: u64) -> Option<Self> {
        if addr < PHYS_LIMIT { Some(Self((addr / PAGE_SIZE as u64) as u32)) } else { None }
    }

    /// Its number: its physical address in pages.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Physical address of its first byte.
    pub const fn addr(self) -> u64 {
        self.0 as u64 * PAGE_SIZE as u64
    }
}

/// `nr_pages` adjacent frames from `start` on; never empty, never past the last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameRange {
    start: Frame,
    nr_pages: u32,
}

impl FrameRange {
    /// The frames `start..start + nr_pages`; `None` if empty or past the last frame number.
    pub const fn new(start: Frame, nr_pages: u32) -> Option<Self> {
        if nr_pages == 0 || start.0.checked_add(nr_pages - 1).is_none() {
            return None;
        }
        Some(Self { start, nr_pages })
    }

    /// Its first frame.
    pub const fn start(self) -> Frame {
        self.start
    }

    /// How many frames.
    pub const fn nr_pages(self) -> u32 {
        self.nr_pages
    }

    /// Number of the first frame behind it; may be 2^32.
    pub const fn end_number(self) -> u64 {
        self.start.0 as u64 + self.nr_pages as u64
    }

    /// Whether `frame` is one of these.
    pub const fn contains(self, frame: Frame) -> bool {
        frame.0 >= self.start.0 && (frame.0 as u64) < self.end_number()
    }

    /// The frames, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Frame> {
        (self.start.0..=self.start.0 + (self.nr_pages - 1)).map(Frame)
    }
}
