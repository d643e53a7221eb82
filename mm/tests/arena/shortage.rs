//! Shortage of memory, or of addresses in one piece, while ranges lie in magazines.

use super::*;

/// Has so many ranges of each size that has magazines go back at once that depots hold some.
fn fill_depots(arena: &SharedArena<Host>) {
    for nr_pages in 1..=MAX_QUANTA {
        // Three magazines of this size are less: two that the CPU keeps, and one.
        let nr_ranges = 200 / nr_pages.next_power_of_two();
        let ranges: Vec<_> = (0..nr_ranges).map(|_| arena.alloc(nr_pages).expect("addresses")).collect();
        ranges.into_iter().for_each(|range| free(arena, range));
    }
    assert!(nr_cached(arena) > 500, "{} ranges", nr_cached(arena));
    assert!(arena.quantum_counters().all(|counters| counters.nr_depot_visits > 0));
}

fn nr_cached(arena: &SharedArena<Host>) -> u64 {
    arena.quantum_counters().map(|counters| counters.nr_cached).sum()
}

/// Magazines that are not in a slab.
fn nr_magazines(test: &TestHeap) -> u64 {
    test.heap.supply().magazine_counters().map(|(_, counters)| counters.nr_out).sum()
}

/// How many frames there are before a request for one is refused, with depots full of ranges; none is kept.
fn nr_frames_to_be_had(test: &TestHeap, arena: &SharedArena<Host>) -> usize {
    fill_depots(arena);
    let frames: Vec<_> = std::iter::from_fn(|| test.heap.alloc_frame(Kind::Owned).ok()).collect();
    for &frame in &frames {
        // SAFETY: not used.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
    frames.len()
}

#[test]
fn the_memory_of_magazines_of_ranges_is_had_before_a_request_for_memory_is_refused() {
    let test = TestHeap::new(if cfg!(miri) { 128 } else { 256 });
    with_static_arena(&test, 1 << 18, |arena| {
        let without = nr_frames_to_be_had(&test, arena);
        assert!(nr_cached(arena) > 500 && nr_magazines(&test) > 20, "nobody asked for them");
        test.on_reclaim_of_ranges(Some(|| ARENA.get().expect("set").reclaim_here()));
        let with = nr_frames_to_be_had(&test, arena);
        assert_eq!((nr_cached(arena), nr_magazines(&test)), (0, 0));
        assert!(with >= without + 4, "{with} frames, and without the magazines' {without}");
        arena.check_invariants();
    });
}

/// On one CPU, with nobody to be drained: what its own magazines and the depots hold.
#[test]
fn a_long_range_is_had_from_pieces_that_lie_in_magazines_and_depots() {
    const NR_PAGES: usize = 1 << 12;
    let test = TestHeap::new(MEMORY);
    let arena = new_arena(&test, NR_PAGES, Options::default());
    fill_depots(&arena);
    let largest = arena.free_space().largest_pages as usize;
    assert!(largest < NR_PAGES - 1000, "{largest} pages in one piece");
    let aligned = Request { align_pages: 2048, ..Request::pages(1024) };
    let range = arena.alloc_constrained(&aligned).expect("addresses");
    free(&arena, range);
    fill_depots(&arena);
    let all = arena.alloc(NR_PAGES - 2).expect("all pages but the guards");
    assert_eq!(arena.alloc(1), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
    free(&arena, all);
    check_empty(&test, &arena);
}
