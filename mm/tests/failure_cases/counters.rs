//! AF22 to AF26: what holds for hours, and what the counters say meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use mm::size_class;

use crate::common::{TestHeap, enter_bank, take_reports};
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
    let nr_ops: u64 = if cfg!(miri) { 300 } else { 200_000 };
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
        if op % 2000 == 0 {
            test.check();
        }
    }
    for (object, size) in live {
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout(size, 8)) }.expect("ours");
    }
    test.park_other_cpus();
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn af25_a_snapshot_while_others_allocate_ends() {
    let test = TestHeap::new(2048);
    let banks = [test.bank(1), test.bank(2)];
    let heap = test.heap;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for bank in banks {
            let is_over = &is_over;
            scope.spawn(move || {
                enter_bank(bank);
                while !is_over.load(Ordering::Relaxed) {
                    let objects: Vec<_> = (0..100).map(|_| alloc64(heap)).collect();
                    objects.into_iter().for_each(|object| free64(heap, object));
                }
                heap.drain_this_cpu();
            });
        }
        for _ in 0..if cfg!(miri) { 2 } else { 50 } {
            let account = heap.account();
            assert!(account.nr_free <= account.nr_managed && account.by_kind.iter().all(|&n| n >= 0), "{account:?}");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    test.check_empty();
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
