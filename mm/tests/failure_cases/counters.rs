//! AF22 to AF26: what holds for hours, and what the counters say meanwhile.

use mm::size_class;

use crate::common::{TestHeap, take_reports};
use crate::snapshots::Snapshot;
use crate::{alloc64, check_frames, free64, layout};

#[test]
#[cfg_attr(miri, ignore)]
fn af22_producer_and_consumer_settle_at_a_bounded_number_of_pages() {
    let test = TestHeap::new(2048);
    let id = size_class::index(64) as u16;
    let mut most = [0; 2];
    for (half, most) in most.iter_mut().enumerate() {
        for round in 0..150 {
            test.enter_cpu(0);
            let objects: Vec<_> = (0..500).map(|_| alloc64(test.heap)).collect();
            test.enter_cpu(1);
            objects.into_iter().for_each(|object| free64(test.heap, object));
            *most = (*most).max(test.heap.account().nr_slab_pages);
            assert_eq!(test.heap.cache_account(id).nr_live, 0, "half {half}, round {round}");
        }
    }
    assert!(most[1] <= most[0], "still growing: {most:?} pages");
    test.park_other_cpus();
    test.check_empty();
}

#[test]
fn af24_writes_all_over_free_objects_reach_nothing_of_the_allocator() {
    let test = TestHeap::new(512);
    for size in [16, 64, 500, 4096, 9000] {
        let objects: Vec<_> = (0..60).map(|_| test.heap.alloc(layout(size, 8)).expect("memory")).collect();
        for &object in &objects {
            // SAFETY: not used any more.
            unsafe { test.heap.dealloc(object, layout(size, 8)) }.expect("ours");
        }
        for &object in &objects {
            // SAFETY: memory of the test heap, in a slab: the mistake under test is that it is free.
            unsafe { object.write_bytes(0xff, size) };
        }
        let mut again: Vec<_> = (0..60).map(|_| test.heap.alloc(layout(size, 8)).expect("memory")).collect();
        test.check();
        again.sort();
        again.dedup();
        assert_eq!(again.len(), 60);
        for object in again {
            // SAFETY: not used any more.
            unsafe { test.heap.dealloc(object, layout(size, 8)) }.expect("ours");
        }
    }
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn af25_sums_are_conserved_over_random_operations() {
    let test = TestHeap::new(2048);
    let nr_ops: u64 = match () {
        () if cfg!(miri) => 300,
        () if cfg!(debug_assertions) => 200_000,
        () => 10_000_000,
    };
    let mut last = Snapshot::take(test.heap);
    let mut live = Vec::new();
    let mut random = 88_172_645_463_325_252_u64;
    for op in 0..nr_ops {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        test.enter_cpu((random >> 60) as usize % 3);
        let size = 1 + (random >> 20) as usize % if random & 0xff == 0 { 60_000 } else { 900 };
        if live.len() < 1500 && random & 0x100 == 0 {
            live.extend(test.heap.alloc(layout(size, 8)).ok().map(|object| (object, size)));
        } else if !live.is_empty() {
            let (object, size) = live.swap_remove((random >> 32) as usize % live.len());
            // SAFETY: not used any more.
            unsafe { test.heap.dealloc(object, layout(size, 8)) }.expect("ours");
        }
        if op % (nr_ops / 100) == 0 {
            test.check();
            let now = Snapshot::take(test.heap);
            now.check_at_rest();
            now.check_after(&last);
            last = now;
        }
    }
    for (object, size) in live {
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout(size, 8)) }.expect("ours");
    }
    test.park_other_cpus();
    test.check_empty();
    last.check_counts(nr_ops * 4 / 5);
    assert_eq!(take_reports(), []);
}

#[test]
fn af26_objects_of_size_zero_are_distinct_and_zeroed_memory_hides_the_last_owner() {
    let test = TestHeap::new(512);
    let mut none: Vec<_> = (0..200).map(|_| test.heap.alloc(layout(0, 1)).expect("memory")).collect();
    none.sort();
    none.dedup();
    assert_eq!(none.len(), 200);
    for object in none {
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout(0, 1)) }.expect("ours");
    }
    for size in [1, 24, 1000, 4096, 32_768, 70_000] {
        let old = test.heap.alloc(layout(size, 8)).expect("memory");
        // SAFETY: of `size` bytes; then not used any more.
        unsafe {
            old.write_bytes(0xdd, size);
            test.heap.dealloc(old, layout(size, 8)).expect("ours");
        }
        let new = test.heap.alloc_zeroed(layout(size, 8)).expect("memory");
        assert_eq!(new, old, "the latest freed comes first, so this test sees used memory");
        // SAFETY: of `size` bytes, written; then not used any more.
        unsafe {
            assert!(std::slice::from_raw_parts(new.as_ptr(), size).iter().all(|&byte| byte == 0));
            test.heap.dealloc(new, layout(size, 8)).expect("ours");
        }
    }
    check_frames(&test);
}
