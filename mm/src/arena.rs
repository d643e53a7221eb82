//! Kernel address space: ranges of virtual pages, each followed by a guard page that is never mapped.
//!
//! Two bitmaps over the pages of the arena, one saying which are free, the other where a range starts. Nothing else is
//! stored: a range ends one page, its guard, before the next page that is free or starts a range.
//!
//! ```text
//!   page     0   1   2   3   4   5   6   7   8   9
//!   use      g   A   A   g   B   g   .   .   C   C ...     g guard, . free
//!   free     0   0   0   0   0   0   1   1   0   0
//!   starts   0   1   0   0   1   0   0   0   1   0
//! ```
//!
//! Placement is next fit inside a reach: each search goes on where the last range ended and wraps at `reach`, which
//! grows (doubling) whenever more than half of it would be in use. An address is thus reused as late as the reach
//! allows, so that a stale pointer meets a hole rather than a stranger; and since page tables are never freed, the
//! reach keeps their number in proportion to what is in use. Address order alone would reuse at once, plain next fit
//! would spread tables over the whole arena.
//!
//! Invariants: page 0 is a guard; every range is followed by one; every page is free, in one range, or a guard.
//!
//! Pure: `&mut self`; lock order: address-space arena. Called by: the kernel's map and unmap. A range is freed only
//! after its [`Unmapped`](crate::page_table::Unmapped) token was spent.

#[cfg(test)]
mod tests;

use crate::bitmap::{Bitmap, Direction};
use crate::error::{Error, Result};
use crate::frame::PAGE_SIZE;

/// Least pages within which ranges rotate: the reach of one leaf table, 2 MiB.
const MIN_REACH: usize = 512;

/// First page number of the upper half of a 48-bit address space, and one past the last of the lower half.
const UPPER_HALF: u64 = 0xffff_8000_0000_0000 >> 12;
const LOWER_HALF_END: u64 = 1 << (47 - 12);

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
        let is_high = first >= UPPER_HALF && end <= 1 << 52;
        if is_low || is_high { Some(Self { start, nr_pages }) } else { None }
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

/// A stretch of kernel address space that hands out ranges of pages.
pub struct Arena<'a> {
    range: VirtRange,
    free: Bitmap<'a>,
    starts: Bitmap<'a>,
    /// Page at which the next search begins.
    next: usize,
    /// Ranges are placed below this page while they fit.
    reach: usize,
}

impl<'a> Arena<'a> {
    /// Words of storage for an arena of `nr_pages`.
    pub const fn words_needed(nr_pages: usize) -> usize {
        2 * Bitmap::words_needed(nr_pages)
    }

    /// An arena over `range`, all of it free but the first page. `storage` may hold anything.
    ///
    /// # Errors
    /// `BadRequest` with the length of `storage` if that is less than [`words_needed`](Self::words_needed).
    pub fn new(storage: &'a mut [u64], range: VirtRange) -> Result<Self> {
        let nr_words = storage.len();
        let words_each = Bitmap::words_needed(range.nr_pages());
        let (free, starts) = storage.split_at_mut_checked(words_each).ok_or(Error::BadRequest { value: nr_words })?;
        let mut free = Bitmap::new(free, range.nr_pages())?;
        let starts = Bitmap::new(starts, range.nr_pages())?;
        free.set_range(1..range.nr_pages());
        Ok(Self { range, free, starts, next: 0, reach: MIN_REACH.min(range.nr_pages()) })
    }

    /// Takes `nr_pages` pages whose first address is a multiple of `align_pages` pages, and the guard behind them.
    ///
    /// # Errors
    /// `BadRequest` for no pages, an alignment that is not a power of two, or one that the start of the arena does not
    /// have; `OutOfMemory` if nothing fits.
    pub fn alloc(&mut self, nr_pages: usize, align_pages: usize) -> Result<VirtRange> {
        if nr_pages == 0 {
            return Err(Error::BadRequest { value: nr_pages });
        }
        let first_page = self.range.start() / PAGE_SIZE;
        if !align_pages.is_power_of_two() || first_page & (align_pages - 1) != 0 {
            return Err(Error::BadRequest { value: align_pages });
        }
        let out_of_memory = Error::OutOfMemory { bytes: nr_pages.saturating_mul(PAGE_SIZE) };
        let with_guard = nr_pages.checked_add(1).ok_or(out_of_memory)?;
        // Kept only on success: a request that can never fit must not spread later ranges over the whole arena.
        let mut reach = self.reach;
        while reach < self.nr_pages() && self.nr_used() + with_guard.min(self.nr_pages()) > reach / 2 {
            reach = (reach * 2).min(self.nr_pages());
        }
        let page = loop {
            let ahead = self.free.find_run(with_guard, align_pages, self.next..reach, Direction::Upwards);
            let found = ahead.or_else(|| self.free.find_run(with_guard, align_pages, 0..reach, Direction::Upwards));
            match found {
                Some(page) => break page,
                None if reach == self.nr_pages() => return Err(out_of_memory),
                None => reach = (reach * 2).min(self.nr_pages()),
            }
        };
        self.reach = reach;
        self.free.clear_range(page..page + with_guard);
        self.starts.set(page);
        self.next = page + with_guard;
        VirtRange::new(self.addr_of(page), nr_pages).ok_or(out_of_memory)
    }

    /// Gives back the range that starts at `addr` and has `nr_pages` pages, and its guard.
    ///
    /// # Errors
    /// With nothing changed: `Foreign` if no range starts there, `DoubleFree` if that page is free, `WrongSize` if the
    /// range there has another size.
    pub fn free(&mut self, addr: usize, nr_pages: usize) -> Result<()> {
        let page = self.page_of(addr).ok_or(Error::Foreign { addr })?;
        let Some(size) = self.pages_at(page) else {
            return Err(if self.free.get(page) { Error::DoubleFree { addr } } else { Error::Foreign { addr } });
        };
        if size != nr_pages {
            return Err(Error::WrongSize { addr, given: nr_pages.saturating_mul(PAGE_SIZE) });
        }
        self.starts.clear(page);
        self.free.set_range(page..page + size + 1);
        Ok(())
    }

    /// Pages of the range that starts at `addr`; `None` if none does.
    pub fn size_of(&self, addr: usize) -> Option<usize> {
        self.pages_at(self.page_of(addr)?)
    }

    /// The range in which `addr` lies, wherever in it; `None` in guards and free pages.
    pub fn range_around(&self, addr: usize) -> Option<VirtRange> {
        let page = addr.checked_sub(self.range.start())? / PAGE_SIZE;
        let start = self.starts.last_set_before(page.checked_add(1)?)?;
        let range = VirtRange::new(self.addr_of(start), self.pages_at(start)?)?;
        range.contains(addr).then_some(range)
    }

    /// The ranges that are out, in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = VirtRange> {
        let mut next = 0;
        core::iter::from_fn(move || {
            let page = self.starts.first_set_at_or_after(next)?;
            next = page + 1;
            VirtRange::new(self.addr_of(page), self.pages_at(page)?)
        })
    }

    /// All of the arena.
    pub fn range(&self) -> VirtRange {
        self.range
    }

    /// How many ranges are out.
    pub fn nr_ranges(&self) -> usize {
        self.starts.count()
    }

    /// Pages in the ranges that are out, guards not counted.
    pub fn nr_pages_in_use(&self) -> usize {
        // One guard for each range, and the arena's first page.
        self.nr_used() - self.nr_ranges() - 1
    }

    /// Checks every invariant of the module, in time proportional to the pages. For tests.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        self.free.check_invariants();
        self.starts.check_invariants();
        assert!(!self.free.get(0) && !self.starts.get(0), "page 0 is a guard");
        assert!(self.reach <= self.nr_pages(), "reach {} of {} pages", self.reach, self.nr_pages());
        let mut page = 1;
        while page < self.nr_pages() {
            let is_free = self.free.get(page);
            assert_ne!(is_free, self.starts.get(page), "page {page} is free, or starts a range");
            page += if is_free { 1 } else { self.pages_at(page).map_or(0, |size| size + 1).max(2) };
        }
        assert_eq!(page.max(1), self.nr_pages(), "the last range has its guard");
    }

    fn nr_pages(&self) -> usize {
        self.range.nr_pages()
    }

    /// Pages that are not free, guards included.
    fn nr_used(&self) -> usize {
        self.nr_pages() - self.free.count()
    }

    fn addr_of(&self, page: usize) -> usize {
        self.range.start() + page * PAGE_SIZE
    }

    /// The page that starts at `addr`.
    fn page_of(&self, addr: usize) -> Option<usize> {
        let offset = addr.checked_sub(self.range.start())?;
        (offset.is_multiple_of(PAGE_SIZE) && offset / PAGE_SIZE < self.nr_pages()).then_some(offset / PAGE_SIZE)
    }

    /// Pages of the range that starts at `page`, without its guard.
    fn pages_at(&self, page: usize) -> Option<usize> {
        if !self.starts.get(page) {
            return None;
        }
        let next_start = self.starts.first_set_at_or_after(page + 1).unwrap_or(self.nr_pages());
        let next_free = self.free.first_set_at_or_after(page + 1).unwrap_or(self.nr_pages());
        Some(next_start.min(next_free) - page - 1)
    }
}
