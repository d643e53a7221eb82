//! A range of virtual pages: what the arena hands out, and what page tables map. Called by: everybody.

use crate::frame::PAGE_SIZE;

/// First page number of the upper half of a 48-bit address space, and one past the last of the lower half.
const UPPER_HALF: u64 = 0xffff_8000_0000_0000 >> 12;
const LOWER_HALF_END: u64 = 1 << (47 - 12);

/// One past the last page number there is.
pub(super) const PAGE_NUMBERS_END: u64 = 1 << 52;

/// Adjacent virtual pages: page-aligned, never empty, canonical (bits 47 to 63 alike), in one half of the address space.
///
/// It may end at the top of the address space, so its end is a page number and not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VirtRange {
    start: usize,
    nr_pages: usize,
}

impl VirtRange {
    /// The pages `start..start + nr_pages * PAGE_SIZE`; `None` if they are not as the type demands.
    pub const fn new(start: usize, nr_pages: usize) -> Option<Self> {
        if !start.is_multiple_of(PAGE_SIZE) || nr_pages == 0 {
            return None;
        }
        let first = (start / PAGE_SIZE) as u64;
        let Some(end) = first.checked_add(nr_pages as u64) else { return None };
        let is_low = end <= LOWER_HALF_END;
        let is_high = first >= UPPER_HALF && end <= PAGE_NUMBERS_END;
        if is_low || is_high { Some(Self { start, nr_pages }) } else { None }
    }

    /// Pages that the arena knows to lie inside a span, which is such a range itself.
    #[inline]
    pub(super) const fn inside_span(first_page: u64, nr_pages: usize) -> Self {
        Self { start: first_page as usize * PAGE_SIZE, nr_pages }
    }

    /// Address of its first byte.
    pub const fn start(self) -> usize {
        self.start
    }

    /// How many pages.
    pub const fn nr_pages(self) -> usize {
        self.nr_pages
    }

    /// Its page numbers, addresses over [`PAGE_SIZE`]; the end may be 2^52.
    pub const fn page_numbers(self) -> core::ops::Range<u64> {
        let first = (self.start / PAGE_SIZE) as u64;
        first..first + self.nr_pages as u64
    }

    /// Whether `addr` lies inside.
    pub const fn contains(self, addr: usize) -> bool {
        addr >= self.start && (addr - self.start) / PAGE_SIZE < self.nr_pages
    }
}
