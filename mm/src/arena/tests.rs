//! The arena by itself: what it hands out, what it takes back, what it refuses.

mod constraints;
mod memory;
mod model;

use std::alloc::{Layout, alloc, dealloc};
use std::vec;
use std::vec::Vec;

use super::*;

/// An address as the kernel would choose one, aligned to 512 GiB.
const BASE: usize = 0xffff_c000_0000_0000;

/// An arena whose pages go back to the host when it is dropped, with every invariant looked at.
struct TestArena {
    arena: Arena,
    given: Vec<NonNull<u8>>,
}

impl TestArena {
    fn empty() -> Self {
        Self { arena: Arena::new(), given: Vec::new() }
    }

    fn new(base: usize, nr_pages: usize) -> Self {
        let mut arena = Self::empty();
        arena.refill();
        arena.add_span(VirtRange::new(base, nr_pages).unwrap()).unwrap();
        arena
    }

    fn give(&mut self) {
        // SAFETY: the layout has a size; the page lives until the arena is dropped, which is before it is freed.
        unsafe {
            let page = NonNull::new(alloc(page_layout())).expect("the host has memory");
            page.write_bytes(0xa5, PAGE_SIZE);
            self.arena.give_page(page);
            self.given.push(page);
        }
    }

    fn refill(&mut self) {
        while self.arena.nr_pages_wanted() > 0 {
            self.give();
        }
    }

    fn take(&mut self, nr_pages: usize) -> Result<VirtRange> {
        self.refill();
        self.arena.alloc(nr_pages, Policy::Instant)
    }

    fn take_next(&mut self, nr_pages: usize) -> Result<VirtRange> {
        self.refill();
        self.arena.alloc(nr_pages, Policy::Next)
    }

    fn take_as(&mut self, request: Request) -> Result<VirtRange> {
        self.refill();
        self.arena.alloc_constrained(&request)
    }
}

impl Drop for TestArena {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.arena.check_invariants();
        }
        self.arena = Arena::new();
        for page in self.given.drain(..) {
            // SAFETY: from `alloc` with the same layout, and the arena is no more.
            unsafe { dealloc(page.as_ptr(), page_layout()) };
        }
    }
}

impl core::ops::Deref for TestArena {
    type Target = Arena;

    fn deref(&self) -> &Arena {
        &self.arena
    }
}

impl core::ops::DerefMut for TestArena {
    fn deref_mut(&mut self) -> &mut Arena {
        &mut self.arena
    }
}

fn page_layout() -> Layout {
    Layout::from_size_align(PAGE_SIZE, PAGE_SIZE).expect("a sane layout")
}

fn page(number: usize) -> usize {
    BASE + number * PAGE_SIZE
}

fn bytes(nr_pages: usize) -> usize {
    nr_pages.saturating_mul(PAGE_SIZE)
}

#[test]
fn ranges_are_canonical_by_construction() {
    let low_end = 0x8000_0000_0000;
    assert!(VirtRange::new(0, low_end / PAGE_SIZE).is_some());
    assert!(VirtRange::new(0, low_end / PAGE_SIZE + 1).is_none(), "into the hole");
    assert!(VirtRange::new(low_end, 1).is_none());
    assert!(VirtRange::new(0xffff_7fff_ffff_f000, 1).is_none());
    assert!(VirtRange::new(0xffff_7fff_ffff_f000, 2).is_none());
    let top = VirtRange::new(usize::MAX & !0xfff, 1).unwrap();
    assert_eq!(top.page_numbers(), (1 << 52) - 1..1 << 52);
    assert!(top.contains(usize::MAX) && !top.contains(0) && !top.contains(usize::MAX - 4096));
    assert!(VirtRange::new(usize::MAX & !0xfff, 2).is_none());
    assert!(VirtRange::new(0xffff_8000_0000_0000, usize::MAX).is_none());
    assert!(VirtRange::new(0x1000, 0).is_none());
    assert!(VirtRange::new(0x1001, 1).is_none());
}

#[test]
fn a_guard_stands_before_between_and_behind() {
    let mut arena = TestArena::new(BASE, 100);
    let first = arena.take(2).unwrap();
    let second = arena.take(1).unwrap();
    assert_eq!((first.start(), first.nr_pages()), (page(1), 2));
    assert_eq!((second.start(), second.nr_pages()), (page(4), 1));
    assert_eq!((arena.size_of(page(1)), arena.size_of(page(2)), arena.size_of(page(3))), (Some(2), None, None));
    assert_eq!(arena.range_around(page(3) - 1), Some(first));
    assert_eq!(arena.range_around(page(3)), None, "a guard");
    assert_eq!(arena.range_around(page(0)), None);
    assert_eq!(arena.range_around(page(9)), None, "free");
    assert_eq!(arena.range_around(usize::MAX), None);
    assert_eq!((arena.nr_ranges(), arena.nr_pages_in_use()), (2, 3));
    assert!(arena.ranges().eq([first, second]));
    assert!(arena.ranges_behind(first).eq([second]));
}

#[test]
fn an_arena_can_be_filled_to_the_last_guard() {
    let mut arena = TestArena::new(BASE, 100);
    assert_eq!(arena.take(99), Err(Error::OutOfMemory { bytes: bytes(99) }));
    assert_eq!(arena.free_space().largest_pages, 98);
    assert_eq!(arena.take(98), Ok(VirtRange::new(page(1), 98).unwrap()));
    assert_eq!(arena.free_space().largest_pages, 0);
    assert_eq!(arena.size_of(page(1)), Some(98));
    assert_eq!(arena.take(1), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
    assert_eq!(arena.free(page(1), 98), Ok(()));
    assert_eq!((arena.nr_ranges(), arena.nr_pages_in_use()), (0, 0));
    for nr_pages in [1, 2] {
        let mut tiny = TestArena::new(BASE, nr_pages);
        assert!(tiny.take(1).is_err(), "no room for a page and two guards");
    }
}

/// Instant fit prefers the list above, but what only the list below has is not refused.
#[test]
fn what_fits_is_found_though_its_list_is_not_sure_to_fit() {
    let mut arena = TestArena::new(BASE, 8);
    // Seven pages are free: in the list of 4 to 7.
    assert_eq!(arena.take(6).map(VirtRange::start), Ok(page(1)));
    arena.free(page(1), 6).unwrap();
    assert_eq!(arena.take(4).map(VirtRange::start), Ok(page(1)));
}

#[test]
fn an_arena_at_the_top_of_the_address_space_does_not_wrap() {
    let base = usize::MAX - 16 * PAGE_SIZE + 1;
    for policy in [Policy::Instant, Policy::Best, Policy::Next] {
        let mut arena = TestArena::new(base, 16);
        assert!(arena.arena.alloc(15, policy).is_err(), "its guard would be past the top");
        let range = arena.arena.alloc(14, policy).unwrap();
        assert_eq!(range.page_numbers().end, (1 << 52) - 1);
        assert_eq!(arena.range_around(usize::MAX), None);
        assert_eq!(arena.range_around(usize::MAX - PAGE_SIZE), Some(range));
        assert_eq!(arena.free(range.start(), 14), Ok(()));
    }
}

#[test]
fn freed_neighbours_become_one_whatever_the_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut arena = TestArena::new(BASE, 100);
        let ranges: Vec<_> = (1..=3).map(|nr_pages| arena.take(nr_pages).unwrap()).collect();
        let last = arena.take(5).unwrap();
        for i in order {
            arena.free(ranges[i].start(), ranges[i].nr_pages()).unwrap();
            arena.check_invariants();
        }
        // 2 + 3 + 4 pages with the guards, before the last range; 8 with the guard are sure to be found there.
        assert_eq!(arena.take(7).map(VirtRange::start), Ok(page(1)), "freed in the order {order:?}");
        arena.free(last.start(), 5).unwrap();
    }
}

#[test]
fn a_segment_waits_for_its_turn_in_its_list() {
    let mut arena = TestArena::new(BASE, 1000);
    let ranges: Vec<_> = (0..20).map(|_| arena.take(3).unwrap()).collect();
    // Every other one, so that none merge.
    let freed: Vec<_> = ranges.iter().step_by(2).map(|range| range.start()).collect();
    freed.iter().for_each(|&addr| arena.free(addr, 3).unwrap());
    let again: Vec<_> = (0..freed.len()).map(|_| arena.take(3).unwrap().start()).collect();
    assert_eq!(again, freed, "the address that was freed first comes first");
}

#[test]
fn next_fit_reuses_an_address_as_late_as_its_reach_allows() {
    let mut arena = TestArena::new(BASE, 1 << 16);
    let mut seen = Vec::new();
    for _ in 0..250 {
        let range = arena.take_next(1).unwrap();
        assert!(!seen.contains(&range.start()), "{:#x} again after {}", range.start(), seen.len());
        seen.push(range.start());
        arena.free(range.start(), 1).unwrap();
    }
    for _ in 0..if cfg!(miri) { 600 } else { 10_000 } {
        let range = arena.take_next(1).unwrap();
        assert!(range.start() < page(512), "one page at a time stays inside one leaf table: {range:x?}");
        arena.free(range.start(), 1).unwrap();
    }
}

#[test]
fn the_reach_of_next_fit_follows_what_is_in_use_and_is_no_limit() {
    let mut arena = TestArena::new(BASE, 1 << 16);
    let nr_ranges = if cfg!(miri) { 160 } else { 1000 };
    let mut ranges: Vec<VirtRange> = (0..nr_ranges).map(|_| arena.take_next(3).unwrap()).collect();
    for turn in 0..5 * nr_ranges {
        let old = core::mem::replace(&mut ranges[turn * 7 % nr_ranges], VirtRange::new(BASE, 1).unwrap());
        arena.free(old.start(), 3).unwrap();
        ranges[turn * 7 % nr_ranges] = arena.take_next(3).unwrap();
    }
    let highest = ranges.iter().map(|range| range.start()).max().unwrap();
    // Four pages each are in use with the guard, and as many as twice that are gone through before it begins anew.
    assert!(highest < page(25 * nr_ranges / 2), "{highest:#x}");
    ranges.into_iter().for_each(|range| arena.free(range.start(), 3).unwrap());
    assert_eq!(arena.take_next(60_000).map(VirtRange::nr_pages), Ok(60_000));
}

#[test]
fn best_fit_takes_the_smallest_that_fits() {
    let mut arena = TestArena::new(BASE, 1000);
    let sizes = [7, 4, 6, 5, 30];
    let ranges: Vec<_> = sizes.iter().map(|&size| (arena.take(size).unwrap(), arena.take(1).unwrap())).collect();
    ranges.iter().for_each(|(range, _)| arena.free(range.start(), range.nr_pages()).unwrap());
    let mut best =
        |nr_pages| arena.take_as(Request { policy: Policy::Best, ..Request::pages(nr_pages) }).unwrap().start();
    assert_eq!(best(5), ranges[3].0.start());
    assert_eq!(best(5), ranges[2].0.start(), "then the next larger one");
    assert_eq!(best(8), ranges[4].0.start(), "from the list above");
    assert_eq!(best(4), ranges[1].0.start());
}

#[test]
fn bad_frees_are_errors_with_the_values_and_change_nothing() {
    let mut arena = TestArena::new(BASE, 100);
    assert_eq!(Arena::new().free(page(1), 1), Err(Error::Foreign { addr: page(1) }), "no table yet");
    let range = arena.take(5).unwrap();
    assert_eq!(arena.take(0), Err(Error::BadRequest { value: 0 }));
    for nr_pages in [100, usize::MAX / PAGE_SIZE, usize::MAX - 1, usize::MAX] {
        assert_eq!(arena.take(nr_pages), Err(Error::OutOfMemory { bytes: bytes(nr_pages) }));
    }
    for addr in [0, 1, page(0), page(2), page(6), page(1) + 8, page(100), BASE - PAGE_SIZE, usize::MAX] {
        assert_eq!(arena.free(addr, 5), Err(Error::Foreign { addr }));
    }
    assert_eq!(arena.free(page(50), 5), Err(Error::DoubleFree { addr: page(50) }));
    for nr_pages in [0, 4, 6, usize::MAX] {
        let given = bytes(nr_pages);
        assert_eq!(arena.free(range.start(), nr_pages), Err(Error::WrongSize { addr: range.start(), given }));
    }
    assert_eq!(arena.nr_pages_in_use(), 5);
    assert_eq!(arena.free(range.start(), 5), Ok(()));
    assert_eq!(arena.free(range.start(), 5), Err(Error::DoubleFree { addr: range.start() }));
}

#[test]
fn spans_are_kept_apart() {
    let mut arena = TestArena::new(page(100), 10);
    let mut add = |first: usize, nr_pages| {
        arena.refill();
        arena.add_span(VirtRange::new(page(first), nr_pages).unwrap())
    };
    assert_eq!(add(110, 10), Ok(()), "next to it");
    assert_eq!(add(50, 1), Ok(()), "a guard alone");
    assert_eq!(add(0, 20), Ok(()));
    for (first, nr_pages, taken) in [(100, 10, 100), (109, 1, 100), (90, 11, 100), (115, 50, 110), (5, 500, 0)] {
        assert_eq!(add(first, nr_pages), Err(Error::InUse { addr: page(taken) }), "{first} {nr_pages}");
    }
    assert_eq!(arena.nr_pages(), 41);
    assert!(arena.spans().map(|span| span.start()).eq([page(0), page(50), page(100), page(110)]));
    assert_eq!(arena.take(9), Ok(VirtRange::new(page(1), 9).unwrap()));
    // All of both neighbours, then one free: it is not merged across.
    let full = [arena.take(8).unwrap(), arena.take(8).unwrap()];
    assert_eq!(full.map(VirtRange::start), [page(101), page(111)]);
    full.iter().for_each(|range| arena.free(range.start(), 8).unwrap());
    assert_eq!(arena.free_space().largest_pages, 8);
    arena.check_invariants();
    let mut listed = vec![];
    listed.extend(arena.ranges());
    assert_eq!(listed, [VirtRange::new(page(1), 9).unwrap()]);
}
