//! What is where in the arena, for people: the ranges by address, free space by size, counts.
//!
//! All of it goes through segments one by one, but what says otherwise. Called by: the kernel's `vmmap`, and tests.

use super::free_lists::{NR_LISTS, list_of};
use super::tag::{TagRef, Use};
use super::{Arena, GUARD, VirtRange};
use crate::frame::PAGE_SIZE;

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Ranges handed out.
    pub nr_allocs: u64,
    /// Ranges taken back.
    pub nr_frees: u64,
    /// Requests refused because no free segment had a place.
    pub nr_failed: u64,
}

/// Free segments of at least a power of two pages, and below the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeSegments {
    /// How many.
    pub nr_segments: u64,
    /// Their pages together.
    pub nr_pages: u64,
}

/// Free space by the power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// By the exponent.
    pub by_power: [FreeSegments; NR_LISTS],
    /// Pages of the largest range that there is room for.
    pub largest_pages: u64,
}

impl Arena {
    fn tags_from(&self, first: Option<TagRef>) -> impl Iterator<Item = TagRef> {
        core::iter::successors(first, |&tag| self.tags[tag].next)
    }

    /// The segment in which a page lies.
    pub(super) fn segment_of(&self, page: u64) -> Option<TagRef> {
        let has_page = |&tag: &TagRef| {
            let tag = &self.tags[tag];
            tag.kind != Use::Span && (tag.start..tag.end).contains(&page)
        };
        self.tags_from(self.first).find(has_page)
    }

    fn range_of(&self, tag: TagRef) -> Option<VirtRange> {
        let tag = &self.tags[tag];
        let nr_pages = (tag.end - tag.start).checked_sub(GUARD)?;
        (tag.kind == Use::Allocated).then(|| VirtRange::inside_span(tag.start, nr_pages as usize))
    }

    /// The range in which `addr` lies, wherever in it; `None` in guards and free pages.
    pub fn range_around(&self, addr: usize) -> Option<VirtRange> {
        self.range_of(self.segment_of((addr / PAGE_SIZE) as u64)?).filter(|range| range.contains(addr))
    }

    /// The ranges that are out, in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = VirtRange> {
        self.tags_from(self.first).filter_map(|tag| self.range_of(tag))
    }

    /// The ranges that are out behind `range`, in ascending order. At once, if that is still out.
    pub fn ranges_behind(&self, range: VirtRange) -> impl Iterator<Item = VirtRange> {
        let page = range.page_numbers().start;
        let first = self.hash.find(&self.tags, page).or(self.first);
        self.tags_from(first).filter_map(|tag| self.range_of(tag)).filter(move |other| other.start() > range.start())
    }

    /// The spans, in ascending order.
    pub fn spans(&self) -> impl Iterator<Item = VirtRange> {
        self.tags_from(self.first)
            .map(|tag| &self.tags[tag])
            .filter(|tag| tag.kind == Use::Span)
            .filter_map(|tag| VirtRange::new(tag.start as usize * PAGE_SIZE, (tag.end - tag.start) as usize))
    }

    /// Free space by size: goes through the free segments only.
    pub fn free_space(&self) -> FreeSpace {
        let mut space = FreeSpace { by_power: [FreeSegments::default(); NR_LISTS], largest_pages: 0 };
        for list in 0..NR_LISTS {
            for tag in self.free.iter(&self.tags, list) {
                let nr_pages = self.tags[tag].end - self.tags[tag].start;
                let same = &mut space.by_power[list_of(nr_pages)];
                same.nr_segments += 1;
                same.nr_pages += nr_pages;
                space.largest_pages = space.largest_pages.max(nr_pages.saturating_sub(GUARD));
            }
        }
        space
    }

    /// What happened so far. At once.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
