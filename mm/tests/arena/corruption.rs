//! Magazines of ranges that were overwritten: what stands in them and is no range is reported, and never handed out.
//!
//! The wild writes go where a range's address lies in a magazine, as those of a driver gone astray would.

use std::collections::BTreeSet;
use std::ptr::NonNull;

use mm::error::{Error, Metadata};

use super::*;

/// Pages of the ranges, and rounds in their magazines: enough ranges for both of a CPU's and one in the depot.
const NR_PAGES: usize = 3;
const ROUNDS: usize = 14;
const NR_RANGES: usize = 3 * ROUNDS;

/// Where in the memory of magazines `addr` stands: the one place.
fn entry_of(test: &TestHeap, addr: usize) -> NonNull<usize> {
    let mut found = Vec::new();
    test.heap.frames().table().for_each(|frame, descriptor| {
        if descriptor.kind() == Kind::Slab {
            let words = test.heap.frames().virt(frame).cast::<usize>();
            for at in 0..PAGE_SIZE / size_of::<usize>() {
                // SAFETY: the words of a frame of the test's, on its only thread.
                let (word, value) = unsafe { (words.add(at), words.add(at).read()) };
                if value == addr {
                    found.push(word);
                }
            }
        }
    });
    assert_eq!(found.len(), 1, "{addr:#x} in magazines");
    found[0]
}

/// What a test does after its wild write, with the ranges that there were before it.
type Then = fn(&TestHeap, &SharedArena<Host>, &[VirtRange]);

/// Has `wild` stand in the place of each of `NR_RANGES` ranges in turn, whichever magazine it lies in.
fn after_each_wild_write(wild: impl Fn(&SharedArena<Host>) -> usize, then: Then) {
    for nth in (0..NR_RANGES).step_by(if cfg!(miri) { NR_RANGES - 1 } else { 1 }) {
        let test = TestHeap::new(MEMORY);
        let arena = new_arena(&test, 1 << 18, Options::default());
        let kept = arena.alloc(NR_PAGES).expect("addresses");
        let ranges: Vec<_> = (0..NR_RANGES).map(|_| arena.alloc(NR_PAGES).expect("addresses")).collect();
        ranges.iter().for_each(|&range| free(&arena, range));
        let cached = arena.quantum_counters().nth(NR_PAGES - 1).expect("a quantum cache").nr_cached;
        let wild = wild(&arena);
        // SAFETY: an entry of a magazine, and nobody else runs.
        unsafe { entry_of(&test, ranges[nth].start()).write(wild) };

        then(&test, &arena, &ranges);
        assert_eq!(take_reports(), [Error::Corrupt { what: Metadata::Range, addr: wild }], "once, for range {nth}");
        // All others go back, and are counted; the one whose entry is lost stays out of use.
        arena.reclaim();
        assert_eq!((take_reports(), arena.sizes().0), (vec![], 2), "range {nth}, and the one that is kept");
        let lost = ranges[nth];
        assert_eq!((arena.size_of(lost.start()), arena.free(lost.start(), NR_PAGES).is_err()), (None, true));
        let counters = arena.quantum_counters().nth(NR_PAGES - 1).expect("a quantum cache");
        assert_eq!((counters.nr_allocs - counters.nr_frees, counters.nr_cached), (1, 0), "of {cached}: {counters:?}");
        assert_eq!(counters.nr_fetched - counters.nr_returned, 2, "{counters:?}");
        free(&arena, kept);
        arena.check_invariants();
    }
}

fn takes_all(_test: &TestHeap, arena: &SharedArena<Host>, ranges: &[VirtRange]) {
    let again: Vec<_> = ranges.iter().map(|_| arena.alloc(NR_PAGES).expect("addresses")).collect();
    let starts: BTreeSet<_> = again.iter().map(|range| range.start()).collect();
    assert_eq!(starts.len(), again.len(), "each is handed out once");
    assert!(again.iter().all(|range| arena.size_of(range.start()) == Some(NR_PAGES)), "and is a range of the arena");
    again.into_iter().for_each(|range| free(arena, range));
}

fn gives_all_back(_test: &TestHeap, arena: &SharedArena<Host>, _ranges: &[VirtRange]) {
    arena.reclaim();
}

/// Where no range is. Miri, for which each takes long, gets one of them.
const NOWHERE: &[usize] = match cfg!(miri) {
    true => &[BASE + 0x3_0000 * PAGE_SIZE],
    false => &[0x8, BASE - PAGE_SIZE, BASE + 0x3_0000 * PAGE_SIZE, usize::MAX & !(PAGE_SIZE - 1)],
};

#[test]
fn what_is_no_range_and_comes_to_be_handed_out_is_reported_once_and_dropped() {
    for &wild in NOWHERE {
        after_each_wild_write(|_| wild, takes_all);
    }
}

#[test]
fn what_is_no_range_and_goes_back_to_the_arena_is_reported_once_and_dropped() {
    for &wild in NOWHERE {
        after_each_wild_write(|_| wild, gives_all_back);
    }
}

#[test]
fn a_range_that_is_out_is_not_handed_out_again_by_an_entry_that_names_it() {
    // The one range that somebody has.
    let taken = |arena: &SharedArena<Host>| {
        let mut buffer = [RangeState { range: span(1), is_cached: false }; 2 * NR_RANGES];
        let nr_ranges = arena.ranges_behind(None, &mut buffer);
        let out = buffer[..nr_ranges].iter().find(|state| !state.is_cached).expect("one is kept");
        out.range.start()
    };
    after_each_wild_write(taken, takes_all);
    after_each_wild_write(taken, gives_all_back);
}
