//! Pages that the arena was given and has not used yet. They become tags, or part of the hash table, and stay that.
//!
//! Invariants: each page is the arena's for good; the first word of one that waits here names the next. Called by:
//! [`super::tag`], [`super::hash`].

use core::ptr::NonNull;

/// A stack of pages.
#[derive(Debug)]
pub(super) struct Pages {
    first: Option<NonNull<u8>>,
    nr_waiting: usize,
    nr_given: usize,
}

// SAFETY: it owns its pages; which CPU does so does not matter.
unsafe impl Send for Pages {}

impl Pages {
    pub(super) const fn new() -> Self {
        Self { first: None, nr_waiting: 0, nr_given: 0 }
    }

    /// Takes a page over.
    ///
    /// # Safety
    ///
    /// `page` points to a page, aligned to its size, that is nobody else's as long as the arena is.
    pub(super) unsafe fn give(&mut self, page: NonNull<u8>) {
        // SAFETY: ours by the caller's word, and aligned for more than a pointer.
        unsafe { page.cast::<Option<NonNull<u8>>>().write(self.first) };
        self.first = Some(page);
        self.nr_waiting += 1;
        self.nr_given += 1;
    }

    /// A page for good, contents undefined.
    pub(super) fn take(&mut self) -> Option<NonNull<u8>> {
        let page = self.first?;
        // SAFETY: `give` wrote the word, and the page is ours.
        self.first = unsafe { page.cast::<Option<NonNull<u8>>>().read() };
        self.nr_waiting -= 1;
        Some(page)
    }

    /// Pages that wait.
    pub(super) fn nr_waiting(&self) -> usize {
        self.nr_waiting
    }

    /// Pages that were ever given.
    pub(super) fn nr_given(&self) -> usize {
        self.nr_given
    }
}
