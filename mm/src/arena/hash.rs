//! The hash table of ranges that are out, by first page: what a free is checked against.
//!
//! Chains go through the tags. The table grows by one bucket at a time, which splits one chain of those there are
//! (Litwin, "Linear hashing", 1980): no insertion waits for a table to be copied. The buckets lie in pages, found through
//! pages of pages, as page tables find pages; a table that cannot grow for want of a page has longer chains.
//!
//! ```text
//!   bucket 0x2345 ──► root[0x11] ──► page[0x145] ──► tag ──► tag      2^9 buckets with one level, 2^18 with two ...
//! ```
//!
//! Invariants: a tag is in the chain of its bucket exactly if it is allocated; at most one tag for each first page.
//! Called by: [`super`].

use core::ptr::NonNull;

use super::pages::Pages;
use super::tag::{TagRef, Tags};
use crate::frame::PAGE_SIZE;

/// Pointers in a page.
const FAN_OUT: usize = PAGE_SIZE / size_of::<Slot>();

/// A page of the next level, or in the last the first tag of a chain.
type Slot = Option<NonNull<u8>>;

/// The table.
#[derive(Debug)]
pub(super) struct Hash {
    root: Slot,
    nr_levels: u32,
    /// Buckets in use, and those that pages are there for.
    nr_buckets: usize,
    nr_backed: usize,
    nr_tags: usize,
}

// SAFETY: it owns its pages; which CPU does so does not matter.
unsafe impl Send for Hash {}

/// A page of empty slots.
fn empty_page(pages: &mut Pages) -> Slot {
    let page = pages.take()?;
    // SAFETY: the page is ours for good, and aligned; it holds so many slots.
    unsafe { page.cast::<[Slot; FAN_OUT]>().write([None; FAN_OUT]) };
    Some(page)
}

impl Hash {
    pub(super) const fn new() -> Self {
        Self { root: None, nr_levels: 0, nr_buckets: 0, nr_backed: 0, nr_tags: 0 }
    }

    /// Tags in the table.
    pub(super) fn nr_tags(&self) -> usize {
        self.nr_tags
    }

    /// Pages that it could use now, to go on growing; none while it has buckets enough.
    #[inline]
    pub(super) fn nr_pages_wanted(&self) -> usize {
        let is_short = self.nr_tags >= self.nr_buckets && self.nr_buckets == self.nr_backed;
        if is_short { self.nr_pages_to_grow() } else { 0 }
    }

    /// Pages that 512 further buckets take: their own, and those on the way to it that are not there yet.
    #[cold]
    fn nr_pages_to_grow(&self) -> usize {
        // With a page on each level below, the first bucket of the next one is a multiple of what such a page reaches.
        let is_new = |&level: &u32| self.nr_backed.is_multiple_of(FAN_OUT.pow(level));
        let nr_on_the_way = (2..=self.nr_levels).filter(is_new).count();
        let is_full = self.nr_levels > 0 && self.nr_backed == FAN_OUT.pow(self.nr_levels);
        // Full, the multiple of the root's own reach stands for the page below the new root.
        1 + if is_full { self.nr_levels as usize } else { nr_on_the_way }
    }

    /// Whether there is a bucket at all.
    pub(super) fn is_ready(&self) -> bool {
        self.nr_buckets > 0
    }

    /// The bucket of a first page: by as many bits of its hash as the buckets have, or one less where the table has not
    /// grown to.
    #[inline]
    fn bucket_of(&self, page: u64) -> usize {
        // The upper half of a product with 2^64 over the golden ratio depends on every bit of the page number.
        let hash = (page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 28) as usize;
        let mask = self.nr_buckets.next_power_of_two() - 1;
        let bucket = hash & mask;
        if bucket < self.nr_buckets { bucket } else { bucket & (mask >> 1) }
    }

    /// Where the chain of a bucket begins; the bucket has a page.
    #[inline]
    fn slot(&self, bucket: usize) -> NonNull<Slot> {
        let mut page = self.root;
        let mut level = self.nr_levels;
        loop {
            let Some(slots) = page else { panic!("bucket {bucket} of {} has no page", self.nr_backed) };
            level -= 1;
            // SAFETY: pages of the table hold FAN_OUT slots each, and the index is below that.
            let slot = unsafe { slots.cast::<Slot>().add(bucket >> (level * FAN_OUT.ilog2()) & (FAN_OUT - 1)) };
            if level == 0 {
                return slot;
            }
            // SAFETY: a slot that `empty_page` wrote, in a page of the table's own.
            page = unsafe { slot.read() };
        }
    }

    #[inline]
    fn first(&self, bucket: usize) -> Option<TagRef> {
        // SAFETY: the slot is the table's, written by `empty_page` and `set_first` alone.
        unsafe { self.slot(bucket).read() }.map(TagRef::from_ptr)
    }

    #[inline]
    fn set_first(&mut self, bucket: usize, tag: Option<TagRef>) {
        // SAFETY: the slot is the table's, which is borrowed mutably.
        unsafe { self.slot(bucket).write(tag.map(TagRef::as_ptr)) };
    }

    /// The tag whose range starts at `page`.
    #[inline]
    pub(super) fn find(&self, tags: &Tags, page: u64) -> Option<TagRef> {
        if !self.is_ready() {
            return None;
        }
        let mut tag = self.first(self.bucket_of(page));
        while let Some(found) = tag.filter(|&tag| tags[tag].start != page) {
            tag = tags[found].link;
        }
        tag
    }

    /// Puts a tag in, of a range that is not in.
    #[inline]
    pub(super) fn insert(&mut self, tags: &mut Tags, tag: TagRef) {
        self.push(tags, tag);
        self.nr_tags += 1;
        if self.nr_tags > self.nr_buckets && self.nr_buckets < self.nr_backed {
            self.split(tags);
        }
    }

    #[inline]
    fn push(&mut self, tags: &mut Tags, tag: TagRef) {
        let slot = self.slot(self.bucket_of(tags[tag].start));
        // SAFETY: the slot is the table's, which is borrowed mutably; written by `empty_page` and as here alone.
        unsafe {
            tags[tag].link = slot.read().map(TagRef::from_ptr);
            slot.write(Some(tag.as_ptr()));
        }
    }

    /// Takes out the tag whose range starts at `page` and has `len` pages with its guard.
    ///
    /// # Errors
    /// Nothing has changed: the length of the range that is there, or `None` if there is none.
    #[inline]
    pub(super) fn remove(&mut self, tags: &mut Tags, page: u64, len: u64) -> Result<TagRef, Option<u64>> {
        if !self.is_ready() {
            return Err(None);
        }
        let slot = self.slot(self.bucket_of(page));
        let mut before: Option<TagRef> = None;
        // SAFETY: the slot is the table's, as in `first`.
        let mut next = unsafe { slot.read() }.map(TagRef::from_ptr);
        while let Some(tag) = next {
            next = tags[tag].link;
            if tags[tag].start != page {
                before = Some(tag);
                continue;
            }
            let found = tags[tag].end - page;
            if found != len {
                return Err(Some(found));
            }
            match before {
                Some(before) => tags[before].link = next,
                // SAFETY: the slot is the table's, which is borrowed mutably.
                None => unsafe { slot.write(next.map(TagRef::as_ptr)) },
            }
            self.nr_tags -= 1;
            return Ok(tag);
        }
        Err(None)
    }

    /// Makes one more bucket, out of the chain that has the tags of both now.
    #[cold]
    fn split(&mut self, tags: &mut Tags) {
        let new = self.nr_buckets;
        let old = new - (new + 1).next_power_of_two() / 2;
        let mut chain = self.first(old);
        self.set_first(old, None);
        self.nr_buckets += 1;
        while let Some(tag) = chain {
            chain = tags[tag].link;
            self.push(tags, tag);
        }
    }

    /// Takes a page for further buckets, and pages to find it by, if they wait. Otherwise the table stays as it is.
    #[cold]
    pub(super) fn grow(&mut self, pages: &mut Pages) {
        if pages.nr_waiting() < self.nr_pages_wanted() {
            return;
        }
        if self.nr_levels == 0 {
            self.root = empty_page(pages);
            self.nr_levels = 1;
            self.nr_backed = FAN_OUT;
            // All at once: there is nothing to split.
            self.nr_buckets = FAN_OUT;
            return;
        }
        if self.nr_backed == FAN_OUT.pow(self.nr_levels) {
            let below = self.root;
            self.root = empty_page(pages);
            self.nr_levels += 1;
            let Some(root) = self.root else { panic!("of {} pages none", pages.nr_waiting()) };
            // SAFETY: a page of slots, the table's own.
            unsafe { root.cast::<Slot>().write(below) };
        }
        let mut page = self.root;
        for level in (1..self.nr_levels).rev() {
            let Some(slots) = page else { panic!("no page of level {level}") };
            // SAFETY: as in `slot`.
            let slot = unsafe { slots.cast::<Slot>().add(self.nr_backed >> (level * FAN_OUT.ilog2()) & (FAN_OUT - 1)) };
            // SAFETY: as in `slot`; the table is borrowed mutably.
            unsafe {
                if slot.read().is_none() {
                    slot.write(empty_page(pages));
                }
                page = slot.read();
            }
        }
        self.nr_backed += FAN_OUT;
    }

    /// Checks that the chains hold each allocated tag once, `nr_allocated` in all.
    pub(super) fn check_invariants(&self, tags: &Tags, nr_allocated: usize) {
        let mut nr_seen = 0;
        for bucket in 0..self.nr_buckets {
            let mut tag = self.first(bucket);
            while let Some(found) = tag {
                assert_eq!(self.bucket_of(tags[found].start), bucket, "{:?} is in another's chain", tags[found]);
                assert_eq!(tags[found].kind, super::tag::Use::Allocated, "{:?} is in the table", tags[found]);
                nr_seen += 1;
                tag = tags[found].link;
            }
        }
        assert_eq!((nr_seen, nr_seen), (self.nr_tags, nr_allocated), "tags in chains, counted, and by address");
    }
}
