//! Boundary tags: one for each span, free segment and range that is out; and the store of tags that are none of these.
//!
//! A tag lies outside the addresses it speaks of, in pages that the arena was given: nothing is ever written to an
//! address that is handed out, which need not even be mapped (Bonwick and Adams, section 4.2).
//!
//! Invariants: a tag is in the store, or in the list by address; there it is a span's, a free one, which a free list
//! names as well, or an allocated one, which the hash table names as well. Called by: the rest of [`super`], under the
//! arena's owner.

use core::ops::{Index, IndexMut};
use core::ptr::NonNull;

use super::pages::Pages;
use crate::frame::PAGE_SIZE;

/// What a tag speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Use {
    /// Nothing: it lies in the store.
    Spare,
    /// All pages of a span; the tags of its segments follow in the list.
    Span,
    /// Free pages.
    Free,
    /// A range that is out, and its guard.
    Allocated,
}

/// A boundary tag. All numbers are page numbers.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Tag {
    pub(super) start: u64,
    /// One past the last page, guard included.
    pub(super) end: u64,
    /// Neighbours by address.
    pub(super) prev: Option<TagRef>,
    pub(super) next: Option<TagRef>,
    /// Next in the free list, the chain of the hash table, or the store.
    pub(super) link: Option<TagRef>,
    /// The one before in the free list.
    pub(super) back: Option<TagRef>,
    pub(super) kind: Use,
}

const _: () = assert!(size_of::<Tag>() == 64, "a tag is one cache line");

/// Tags in a page.
const PER_PAGE: usize = PAGE_SIZE / size_of::<Tag>();

/// The name of a tag. Only the store that made it follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TagRef(NonNull<Tag>);

// SAFETY: a name alone is no access: that takes the store.
unsafe impl Send for TagRef {}

impl TagRef {
    pub(super) const fn as_ptr(self) -> NonNull<u8> {
        self.0.cast()
    }

    /// Of what [`TagRef::as_ptr`] returned.
    pub(super) const fn from_ptr(ptr: NonNull<u8>) -> Self {
        Self(ptr.cast())
    }
}

/// All tags of an arena. Having it is having them: `&mut` to it is `&mut` to each.
#[derive(Debug)]
pub(super) struct Tags {
    spare: Option<TagRef>,
    nr_spare: usize,
    nr_made: usize,
}

// SAFETY: it owns its tags, which hold names and numbers; which CPU does so does not matter.
unsafe impl Send for Tags {}

impl Tags {
    pub(super) const fn new() -> Self {
        Self { spare: None, nr_spare: 0, nr_made: 0 }
    }

    /// Tags to be had without a further page.
    pub(super) fn nr_spare(&self) -> usize {
        self.nr_spare
    }

    /// Tags that pages were made into, in use or not.
    pub(super) fn nr_made(&self) -> usize {
        self.nr_made
    }

    /// Makes a page into tags.
    pub(super) fn add_page(&mut self, pages: &mut Pages) -> bool {
        let Some(page) = pages.take() else { return false };
        for i in (0..PER_PAGE).rev() {
            let tag = Tag { start: 0, end: 0, prev: None, next: None, link: self.spare, back: None, kind: Use::Spare };
            // SAFETY: the page is this store's for good, aligned as pages are, and holds so many tags.
            let place = unsafe {
                let place = page.cast::<Tag>().add(i);
                place.write(tag);
                place
            };
            self.spare = Some(TagRef(place));
        }
        self.nr_spare += PER_PAGE;
        self.nr_made += PER_PAGE;
        true
    }

    /// A tag for the pages `start..end`.
    ///
    /// # Panics
    /// If there is none: the caller has looked at [`Tags::nr_spare`].
    #[inline]
    pub(super) fn take(&mut self, kind: Use, start: u64, end: u64) -> TagRef {
        let Some(tag) = self.spare else { panic!("no tag for pages {start:#x}..{end:#x}") };
        self.spare = self[tag].link;
        self.nr_spare -= 1;
        self[tag] = Tag { start, end, prev: None, next: None, link: None, back: None, kind };
        tag
    }

    /// Puts back a tag that is in no list.
    #[inline]
    pub(super) fn put(&mut self, tag: TagRef) {
        self[tag].kind = Use::Spare;
        self[tag].link = self.spare;
        self.spare = Some(tag);
        self.nr_spare += 1;
    }

    /// Links `tag` behind `prev` in the list by address.
    #[inline]
    pub(super) fn insert_behind(&mut self, prev: TagRef, tag: TagRef) {
        let next = self[prev].next;
        self[tag].prev = Some(prev);
        self[tag].next = next;
        self[prev].next = Some(tag);
        if let Some(next) = next {
            self[next].prev = Some(tag);
        }
    }

    /// Takes `tag` out of the list by address; it is not the first.
    #[inline]
    pub(super) fn unlink(&mut self, tag: TagRef) {
        let (prev, next) = (self[tag].prev, self[tag].next);
        if let Some(prev) = prev {
            self[prev].next = next;
        }
        if let Some(next) = next {
            self[next].prev = prev;
        }
    }
}

impl Index<TagRef> for Tags {
    type Output = Tag;

    #[inline]
    fn index(&self, tag: TagRef) -> &Tag {
        // SAFETY: names come from the store of this arena (they never leave it), whose tags stay for good; the store is
        // borrowed, and with it all its tags.
        unsafe { tag.0.as_ref() }
    }
}

impl IndexMut<TagRef> for Tags {
    #[inline]
    fn index_mut(&mut self, mut tag: TagRef) -> &mut Tag {
        // SAFETY: as above, and the store is borrowed mutably.
        unsafe { tag.0.as_mut() }
    }
}
