//! Counts that hold exactly: waste of every size, visits behind the magazines, locks for a frame, frames that come back.

mod common;

use std::alloc::Layout;
use std::collections::BTreeSet;
use std::ptr::NonNull;

use common::TestHeap;
use mm::account::CacheAccount;
use mm::frame::PAGE_SIZE;
use mm::frame_table::Kind;
use mm::size_class::{MAX_CLASS_SIZE, NR_CLASSES, index, size};

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a valid layout")
}

fn free(test: &TestHeap, object: NonNull<u8>, size: usize) {
    // SAFETY: not used any more.
    unsafe { test.heap.dealloc(object, layout(size)) }.expect("ours");
}

/// Rounding up to the class and the unused end of the slab together, of every size there is. Sizes up to 128 bytes are
/// counted in granules of 8, which every object is aligned to: there each granule has its own class.
#[test]
fn a_full_slab_of_any_size_wastes_at_most_an_eighth() {
    let test = TestHeap::new(1024);
    for size in 16..=MAX_CLASS_SIZE {
        if cfg!(miri) && !size.is_multiple_of(1021) {
            continue;
        }
        let object = test.heap.alloc(layout(size)).expect("memory");
        let class = index(size);
        let usable = test.heap.usable_size(object).expect("live");
        let (_, cache) = test.heap.caches().nth(class).expect("a class is a cache");
        assert_eq!(usable, cache.object_size(), "{size} bytes");
        let slabs = cache.slab_counters();
        let asked = if size <= 128 { size.next_multiple_of(8) } else { size } as u64;
        let (used, held) = (slabs.nr_objects * asked, slabs.nr_pages * PAGE_SIZE as u64);
        assert!(used * 8 >= held * 7, "{size} bytes: {used} of {held} bytes of slabs");
        free(&test, object, size);
        if size == mm::size_class::size(class) {
            // Slabs of a class that has been measured make room for the next ones.
            test.heap.reclaim();
        }
    }
    test.check_empty();
}

fn visits(account: &CacheAccount) -> u64 {
    account.nr_depot_visits + account.nr_slab_visits
}

/// Two allocations, two frees, at every place within two magazines: with one magazine this would leave it half the time.
/// For every length that magazines begin with.
#[test]
fn visits_behind_the_magazines_are_at_most_one_in_a_magazines_worth_wherever_the_edge_lies() {
    let mut lengths = BTreeSet::new();
    for class in 0..NR_CLASSES {
        let test = TestHeap::new(4096);
        let rounds = test.heap.caches().nth(class).expect("a class is a cache").1.magazine_rounds();
        if !lengths.insert(rounds) || cfg!(miri) && rounds > 14 {
            continue;
        }
        let size = size(class);
        for edge in 0..2 * rounds + 2 {
            let mut held: Vec<_> = (0..edge).map(|_| test.heap.alloc(layout(size)).expect("memory")).collect();
            let nr_turns = if cfg!(miri) { 10 } else { 500 };
            let before = test.heap.cache_account(class as u16);
            for _ in 0..nr_turns {
                held.extend((0..2).map(|_| test.heap.alloc(layout(size)).expect("memory")));
                for _ in 0..2 {
                    free(&test, held.pop().expect("just pushed"), size);
                }
            }
            let nr_visits = visits(&test.heap.cache_account(class as u16)) - visits(&before);
            let nr_operations = 4 * nr_turns;
            // The first time may find nothing there yet.
            let most = (nr_operations / rounds as u64).max(1);
            assert!(
                nr_visits <= most,
                "{nr_visits} visits in {nr_operations} operations, {rounds} rounds, edge {edge}"
            );
            held.into_iter().for_each(|object| free(&test, object, size));
        }
        test.check_empty();
    }
    assert!(lengths.len() >= 3, "only {lengths:?}");
}

#[test]
fn a_steady_state_visits_no_depot_no_slab_and_no_frame_lock() {
    let test = TestHeap::new(4096);
    for class in (0..NR_CLASSES).step_by(if cfg!(miri) { 39 } else { 3 }) {
        let size = size(class);
        let nr_live = test.heap.caches().nth(class).expect("a class is a cache").1.magazine_rounds();
        let turn = || {
            let objects: Vec<_> = (0..nr_live).map(|_| test.heap.alloc(layout(size)).expect("memory")).collect();
            objects.into_iter().for_each(|object| free(&test, object, size));
        };
        turn();
        turn();
        let (before, locks) = (test.heap.cache_account(class as u16), test.heap.frames().nr_lock_acquisitions());
        for _ in 0..20 {
            turn();
        }
        let after = test.heap.cache_account(class as u16);
        assert_eq!(visits(&after) - visits(&before), 0, "objects of {size} bytes");
        assert_eq!(after.nr_allocs - before.nr_allocs, 20 * nr_live as u64);
        assert_eq!(test.heap.frames().nr_lock_acquisitions(), locks);
    }
    test.check_empty();
}

#[test]
fn the_frame_lock_is_taken_at_most_once_in_sixteen_pages_at_the_edge_of_a_page_magazine_too() {
    let test = TestHeap::new(2048);
    let frames = test.heap.frames();
    for edge in [1, 31, 32, 33, 63, 64, 65] {
        let mut held: Vec<_> = (0..edge).map(|_| frames.alloc(Kind::Owned).expect("memory")).collect();
        let before = frames.nr_lock_acquisitions();
        for _ in 0..500 {
            held.extend((0..2).map(|_| frames.alloc(Kind::Owned).expect("memory")));
            for frame in held.drain(edge..) {
                // SAFETY: not used.
                unsafe { frames.free(frame, Kind::Owned) }.expect("ours");
            }
        }
        let nr_locks = frames.nr_lock_acquisitions() - before;
        assert!(nr_locks * 16 <= 2000, "{nr_locks} locks for 2000 operations at {edge}");
        for frame in held {
            // SAFETY: not used.
            unsafe { frames.free(frame, Kind::Owned) }.expect("ours");
        }
    }
    test.check_empty();
}

/// What the frames of idle caches are worth to others: memory in use does not grow by them for ever.
#[test]
fn memory_that_idles_is_given_back_when_other_sizes_want_it() {
    let test = TestHeap::new(if cfg!(miri) { 3072 } else { 16_384 });
    let nr_bytes = if cfg!(miri) { 1 << 20 } else { 12 << 20 };
    let mut most = 0;
    for size in [100, 200, 400, 800, 1600, 3200, 6400] {
        let objects: Vec<_> = (0..nr_bytes / size).map(|_| test.heap.alloc(layout(size)).expect("memory")).collect();
        let account = test.heap.account();
        most = most.max(account.nr_managed - account.nr_free);
        objects.into_iter().for_each(|object| free(&test, object, size));
    }
    // Seven sizes, each with its depot full, would hold twice the frames that one needs at a time.
    let needed = (nr_bytes / PAGE_SIZE) as u64;
    assert!(most * 4 <= needed.max(2048) * 6, "{most} frames for {needed}");
    test.check_empty();
}
