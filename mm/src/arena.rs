//! Kernel address space: an arena that hands out ranges of virtual pages, each with a guard page behind it that is never
//! mapped. After Bonwick and Adams, "Magazines and Vmem" (USENIX 2001), section 4.
//!
//! The arena has spans, which are cut into segments, free or handed out; each has a boundary tag. Free segments are also
//! in a list by their size, those handed out in a hash table by their first page.
//!
//! ```text
//!   page       0   1   2   3   4   5   6   7   8   9
//!   use        g   A   A   g   B   g   .   .   .   .      g guard, . free
//!   tags      span ├─── A ───┤─ B ──┤────── free ──────     A and B in the hash table, the rest in free list 2
//! ```
//!
//! To allocate is to look for a free list that is sure to fit, and to cut the range off its first segment's low end; to
//! free is to find the tag, and to merge with free neighbours. Neither depends on the number of segments; what does is
//! said where it is: a request with bounds, the other policies, a bad free, and what is printed for people.
//!
//! The tags and the table live in pages that the arena is given ([`Arena::give_page`]): 64 bytes for each segment and
//! some 8 for each range, however many addresses there are. The pages stay with the arena. An allocation takes at most two
//! tags, a free takes none.
//!
//! An address is reused as its segment's turn in its list comes, so a stale pointer meets a hole more often than a
//! stranger; but a range that is freed next to a large free segment becomes part of it, and is the next to go. [`Policy::Next`]
//! reuses an address as late as it can, at the price of a search.
//!
//! | file | what |
//! |---|---|
//! | [`range`] | what is handed out |
//! | [`request`] | what is asked for: alignment, phase, boundaries, bounds, policy |
//! | [`tag`], [`pages`] | boundary tags, and what they are made of |
//! | [`free_lists`], [`hash`] | segments by size; ranges by address |
//! | [`search`] | the policies |
//! | [`census`] | what is where, for people |
//! | [`shared`] | the arena of all CPUs: its lock, its pages, and before them |
//! | [`quantum`], [`states`] | magazines of short ranges for each CPU |
//!
//! Invariants (see [`Arena::check_invariants`]): segments cover each span but its first page, a guard, exactly; a range is
//! followed by its guard, in its own segment; no two neighbours are free; spans do not overlap, and nothing is merged
//! across two.
//!
//! Pure: `&mut self`; lock order: address-space arena. Called by: the kernel's map and unmap, through [`shared`]. A range is
//! freed only after its [`Unmapped`](crate::page_table::Unmapped) token was spent.

mod census;
mod free_lists;
mod hash;
mod invariants;
mod pages;
#[cfg(not(loom))]
mod quantum;
mod range;
mod request;
mod search;
#[cfg(not(loom))]
mod shared;
#[cfg(not(loom))]
mod states;
mod tag;
#[cfg(test)]
mod tests;
#[cfg(not(loom))]
mod views;

use core::ops::Range;
use core::ptr::NonNull;

use crate::error::{Error, Result};
use crate::frame::PAGE_SIZE;
use free_lists::FreeLists;
use hash::Hash;
use pages::Pages;
use request::Wanted;
use search::{Place, Rotor};
use tag::{TagRef, Tags, Use};

pub use census::{Counters, FreeSegments, FreeSpace};
pub use range::VirtRange;
pub use request::{Policy, Request};
#[cfg(not(loom))]
pub use shared::{Options, SharedArena};
#[cfg(not(loom))]
pub use views::{QuantumCounters, RangeState};

/// Pages behind each range that are never mapped, and before the first.
const GUARD: u64 = 1;

/// Tags that an allocation takes at most: of the range, and of what is left behind it.
const MAX_TAGS: usize = 2;

/// Kernel address space, of one owner. See the module.
#[derive(Debug)]
pub struct Arena {
    tags: Tags,
    free: FreeLists,
    hash: Hash,
    pages: Pages,
    /// The tag of the span with the lowest address.
    first: Option<TagRef>,
    /// From the lowest page of all spans to the highest.
    bounds: Range<u64>,
    rotor: Rotor,
    /// Pages in the ranges that are out, guards aside.
    nr_pages_in_use: u64,
    /// Pages of all spans.
    nr_pages: u64,
    counters: Counters,
}

impl Arena {
    /// An arena without addresses, and without memory for tags.
    pub const fn new() -> Self {
        Self {
            tags: Tags::new(),
            free: FreeLists::new(),
            hash: Hash::new(),
            pages: Pages::new(),
            first: None,
            bounds: 0..0,
            rotor: Rotor::new(),
            nr_pages_in_use: 0,
            nr_pages: 0,
            counters: Counters { nr_allocs: 0, nr_frees: 0, nr_failed: 0 },
        }
    }

    /// Gives the arena a page to keep tags in, or a part of its table.
    ///
    /// # Safety
    ///
    /// `page` points to [`PAGE_SIZE`] bytes, aligned to their number, that nobody else uses as long as the arena exists.
    pub unsafe fn give_page(&mut self, page: NonNull<u8>) {
        // SAFETY: as promised by the caller.
        unsafe { self.pages.give(page) };
        self.use_pages();
    }

    /// Pages that it needs for the next allocation, or would like to have for its table.
    #[inline]
    pub fn nr_pages_wanted(&self) -> usize {
        let wanted = usize::from(self.tags.nr_spare() < MAX_TAGS) + self.hash.nr_pages_wanted();
        wanted.saturating_sub(self.pages.nr_waiting())
    }

    /// Whether the next allocation, or the next span, needs no further page.
    #[inline]
    pub fn has_tags(&self) -> bool {
        self.tags.nr_spare() >= MAX_TAGS && self.hash.is_ready()
    }

    /// Makes tags and buckets of pages that wait, as far as they are wanted.
    #[cold]
    fn use_pages(&mut self) {
        if self.tags.nr_spare() < MAX_TAGS {
            self.tags.add_page(&mut self.pages);
        }
        if self.hash.nr_pages_wanted() > 0 {
            self.hash.grow(&mut self.pages);
        }
    }

    #[inline]
    fn prepare(&mut self, error: Error) -> Result<()> {
        if self.tags.nr_spare() < MAX_TAGS || self.hash.nr_pages_wanted() > 0 {
            self.use_pages();
        }
        if self.has_tags() { Ok(()) } else { Err(error) }
    }

    /// Adds addresses: all of `span` is free then, but its first page, which is a guard.
    ///
    /// # Errors
    /// `InUse` with the start of a span that overlaps; `OutOfMemory` if there are no tags.
    pub fn add_span(&mut self, span: VirtRange) -> Result<()> {
        let Range { start, end } = span.page_numbers();
        let out_of_memory = Error::OutOfMemory { bytes: size_of::<tag::Tag>() };
        let mut before = None;
        let mut next = self.first;
        while let Some(tag) = next {
            let other = &self.tags[tag];
            if other.kind == Use::Span && other.start < end && start < other.end {
                return Err(Error::InUse { addr: other.start as usize * PAGE_SIZE });
            }
            if other.start > start {
                break;
            }
            before = next;
            next = other.next;
        }
        self.prepare(out_of_memory)?;
        let tag = self.tags.take(Use::Span, start, end);
        match before {
            Some(before) => self.tags.insert_behind(before, tag),
            None => {
                self.tags[tag].next = self.first;
                if let Some(first) = self.first {
                    self.tags[first].prev = Some(tag);
                }
                self.first = Some(tag);
            }
        }
        if end - start > GUARD {
            let segment = self.tags.take(Use::Free, start + GUARD, end);
            self.tags.insert_behind(tag, segment);
            self.free.insert(&mut self.tags, segment);
        }
        let is_only = self.nr_pages == 0;
        self.bounds = if is_only { start..end } else { self.bounds.start.min(start)..self.bounds.end.max(end) };
        self.nr_pages += end - start;
        Ok(())
    }

    /// Takes `nr_pages` pages, wherever they are, and the guard behind them.
    ///
    /// # Errors
    /// `BadRequest` for no pages; `OutOfMemory` if there is no such free segment, or no tag: see
    /// [`nr_pages_wanted`](Self::nr_pages_wanted).
    #[inline]
    pub fn alloc(&mut self, nr_pages: usize, policy: Policy) -> Result<VirtRange> {
        let wanted = Wanted::pages(nr_pages, policy)?;
        self.take(&wanted)
    }

    /// Takes pages as `request` says, and the guard behind them.
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc); and `BadRequest` with a field that contradicts itself or another: an alignment or boundary
    /// that is no power of two, a phase that is not below the alignment, a range that must cross its boundary, a least
    /// address above the greatest.
    pub fn alloc_constrained(&mut self, request: &Request) -> Result<VirtRange> {
        let wanted = Wanted::new(request)?;
        self.take(&wanted)
    }

    #[inline]
    fn take(&mut self, wanted: &Wanted) -> Result<VirtRange> {
        self.prepare(wanted.out_of_memory())?;
        let Some(place) = self.find(wanted) else {
            self.counters.nr_failed += 1;
            return Err(wanted.out_of_memory());
        };
        let tag = self.cut(place, wanted.with_guard());
        self.hash.insert(&mut self.tags, tag);
        if wanted.policy == Policy::Next {
            self.rotor.advance(tag, place.page, place.page + wanted.with_guard());
        }
        self.counters.nr_allocs += 1;
        self.nr_pages_in_use += wanted.len;
        Ok(VirtRange::inside_span(place.page, wanted.len as usize))
    }

    /// Cuts `len` pages from a place in a free segment; what is left on either side is free.
    #[inline]
    fn cut(&mut self, Place { tag, page }: Place, len: u64) -> TagRef {
        let (start, end) = (self.tags[tag].start, self.tags[tag].end);
        let cut_end = page + len;
        let (has_left, has_right) = (page > start, cut_end < end);
        if !has_left && !has_right {
            self.free.remove(&mut self.tags, tag);
            self.tags[tag].kind = Use::Allocated;
            return tag;
        }
        let range = self.tags.take(Use::Allocated, page, cut_end);
        if !has_left {
            let Some(before) = self.tags[tag].prev else { panic!("{:?} is before its span", self.tags[tag]) };
            self.tags.insert_behind(before, range);
            self.free.resize(&mut self.tags, tag, cut_end, end);
            return range;
        }
        self.free.resize(&mut self.tags, tag, start, page);
        self.tags.insert_behind(tag, range);
        if has_right {
            let right = self.tags.take(Use::Free, cut_end, end);
            self.tags.insert_behind(range, right);
            self.free.insert(&mut self.tags, right);
        }
        range
    }

    /// Gives back the range that starts at `addr` and has `nr_pages` pages, and its guard.
    ///
    /// # Errors
    /// With nothing changed: `Foreign` if no range starts there, `DoubleFree` if that page is free, `WrongSize` if the
    /// range there has another size. Which of the first two it is takes a look at every segment.
    #[inline]
    pub fn free(&mut self, addr: usize, nr_pages: usize) -> Result<()> {
        let page = (addr / PAGE_SIZE) as u64;
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Error::Foreign { addr });
        }
        let len = (nr_pages as u64).saturating_add(GUARD);
        let tag = match self.hash.remove(&mut self.tags, page, len) {
            Ok(tag) => tag,
            Err(Some(_)) => return Err(Error::WrongSize { addr, given: nr_pages.saturating_mul(PAGE_SIZE) }),
            Err(None) => return Err(self.explain(addr)),
        };
        self.counters.nr_frees += 1;
        self.nr_pages_in_use -= nr_pages as u64;
        self.merge(tag);
        Ok(())
    }

    /// Makes a segment free that was not, together with its free neighbours.
    #[inline]
    fn merge(&mut self, tag: TagRef) {
        let (start, end) = (self.tags[tag].start, self.tags[tag].end);
        let is_free = |tag: &TagRef| self.tags[*tag].kind == Use::Free;
        let before = self.tags[tag].prev.filter(is_free);
        let behind = self.tags[tag].next.filter(is_free);
        match (before, behind) {
            (Some(before), Some(behind)) => {
                let start = self.tags[before].start;
                let end = self.tags[behind].end;
                self.drop_tag(tag, before);
                self.free.remove(&mut self.tags, behind);
                self.drop_tag(behind, before);
                self.free.resize(&mut self.tags, before, start, end);
            }
            (Some(before), None) => {
                let start = self.tags[before].start;
                self.drop_tag(tag, before);
                self.free.resize(&mut self.tags, before, start, end);
            }
            (None, Some(behind)) => {
                let end = self.tags[behind].end;
                self.drop_tag(tag, behind);
                self.free.resize(&mut self.tags, behind, start, end);
            }
            (None, None) => {
                self.tags[tag].kind = Use::Free;
                self.free.insert(&mut self.tags, tag);
            }
        }
    }

    /// Puts a tag back whose pages `heir` has now.
    #[inline]
    fn drop_tag(&mut self, tag: TagRef, heir: TagRef) {
        if self.rotor.tag == Some(tag) {
            self.rotor.tag = Some(heir);
        }
        self.tags.unlink(tag);
        self.tags.put(tag);
    }

    /// What is wrong with a free of `addr`, where no range starts.
    #[cold]
    fn explain(&self, addr: usize) -> Error {
        let is_free = self.segment_of((addr / PAGE_SIZE) as u64).is_some_and(|tag| self.tags[tag].kind == Use::Free);
        if is_free { Error::DoubleFree { addr } } else { Error::Foreign { addr } }
    }

    /// Pages of the range that starts at `addr`; `None` if none does.
    pub fn size_of(&self, addr: usize) -> Option<usize> {
        let page = addr.is_multiple_of(PAGE_SIZE).then_some((addr / PAGE_SIZE) as u64)?;
        let tag = self.hash.find(&self.tags, page)?;
        Some((self.tags[tag].end - page - GUARD) as usize)
    }

    /// How many ranges are out.
    pub fn nr_ranges(&self) -> usize {
        self.hash.nr_tags()
    }

    /// Pages in the ranges that are out, guards not counted.
    pub fn nr_pages_in_use(&self) -> usize {
        self.nr_pages_in_use as usize
    }

    /// Pages of all spans, in use or not.
    pub fn nr_pages(&self) -> usize {
        self.nr_pages as usize
    }

    /// Pages that it was given for tags and the table.
    pub fn nr_pages_given(&self) -> usize {
        self.pages.nr_given()
    }

    /// Pages that are not free, guards included but for the first page of a span.
    fn nr_taken(&self) -> u64 {
        self.nr_pages_in_use + self.hash.nr_tags() as u64 * GUARD
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}
