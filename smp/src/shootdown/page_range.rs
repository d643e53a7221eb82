//! A run of pages of kernel address space.

/// Bytes in a page.
pub const PAGE_SIZE: usize = 4096;

/// A run of pages.
///
/// Having a `PageRange` tells you that its start is page-aligned and that its last byte has an address: the range may
/// end exactly at the top of the address space, and never wraps. It may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    start: usize,
    nr_pages: usize,
}

impl PageRange {
    /// No pages.
    pub const EMPTY: Self = Self { start: 0, nr_pages: 0 };

    /// The `nr_pages` pages from `start` on. `None` if `start` is not page-aligned or the range passes the top of the
    /// address space.
    pub const fn new(start: usize, nr_pages: usize) -> Option<Self> {
        if !start.is_multiple_of(PAGE_SIZE) {
            return None;
        }
        // In pages, not bytes: a range that ends at the very top has an end that no address can express.
        let pages_to_top = usize::MAX / PAGE_SIZE - start / PAGE_SIZE + 1;
        if nr_pages <= pages_to_top { Some(Self { start, nr_pages }) } else { None }
    }

    /// As [`new`](Self::new), for parts that have been taken from a range.
    pub(super) const fn from_parts(start: usize, nr_pages: usize) -> Self {
        debug_assert!(Self::new(start, nr_pages).is_some());
        Self { start, nr_pages }
    }

    /// The address of the first page.
    pub const fn start(self) -> usize {
        self.start
    }

    /// The number of pages.
    pub const fn nr_pages(self) -> usize {
        self.nr_pages
    }

    /// Whether there is no page in it.
    pub const fn is_empty(self) -> bool {
        self.nr_pages == 0
    }

    /// The address of each page. Counts pages instead of comparing addresses, which would never end at the top.
    pub fn pages(self) -> impl Iterator<Item = usize> {
        (0..self.nr_pages).map(move |page| self.start + page * PAGE_SIZE)
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;

    const TOP_PAGE: usize = usize::MAX - (PAGE_SIZE - 1);

    #[test]
    fn a_range_may_touch_the_top_and_not_pass_it() {
        let range = PageRange::new(TOP_PAGE, 1).unwrap();
        assert!(range.pages().eq([TOP_PAGE]));
        assert_eq!(PageRange::new(TOP_PAGE, 2), None);
        assert!(PageRange::new(0, usize::MAX / PAGE_SIZE + 1).is_some());
        assert_eq!(PageRange::new(0, usize::MAX / PAGE_SIZE + 2), None);
        assert_eq!(PageRange::new(PAGE_SIZE, usize::MAX), None);
    }

    #[test]
    fn a_start_inside_a_page_is_refused() {
        assert_eq!(PageRange::new(1, 1), None);
        assert_eq!(PageRange::new(TOP_PAGE + 8, 1), None);
    }

    #[test]
    fn pages_are_counted_from_the_start() {
        let range = PageRange::new(0x7000, 3).unwrap();
        assert!(range.pages().eq([0x7000, 0x8000, 0x9000]));
        assert!(PageRange::new(0x7000, 0).unwrap().pages().next().is_none());
    }
}
