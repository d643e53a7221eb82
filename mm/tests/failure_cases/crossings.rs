//! Requests that meet another one half-way: a destructor that allocates while its CPU serves a reclaim, an interrupt that
//! makes a cache while one is being made, frees that go back and forth between slabs.

use std::cell::Cell;
use std::ptr::NonNull;

use mm::cache::Settings;
use mm::error::{Error, Result};
use mm::frame_table::Kind;
use mm::heap::{CacheHandle, Heap};

use crate::common::{Host, TestHeap, on_interrupt, take_reports};
use crate::{alloc64, free64, layout};

thread_local! {
    static HEAP: Cell<Option<&'static Heap<Host>>> = const { Cell::new(None) };
    static MADE: Cell<Option<Result<CacheHandle>>> = const { Cell::new(None) };
}

fn heap() -> &'static Heap<Host> {
    HEAP.get().expect("the test has set it")
}

/// The CPU that reclaims waits for the one whose destructor runs: that one must not wait for the reclaim.
#[test]
fn a_destructor_may_allocate_on_a_cpu_that_serves_a_reclaim() {
    let test = TestHeap::new(8192);
    HEAP.set(Some(test.heap));
    let destroy = |_: NonNull<u8>| {
        let object = heap().alloc(layout(2000, 8)).expect("memory");
        // SAFETY: not used.
        unsafe { heap().dealloc(object, layout(2000, 8)) }.expect("ours");
    };
    test.enter_cpu(1);
    let settings = Settings { destructor: Some(destroy), ..Settings::new("destroyed", 64, 8) };
    let cache = test.heap.create_cache(settings).expect("a place");
    let object = test.heap.cache_alloc(&cache).expect("memory");
    // SAFETY: not used.
    unsafe { test.heap.cache_free(&cache, object) }.expect("ours");
    test.enter_cpu(0);
    // So many that the next miss asks for idle memory back.
    let frames: Vec<_> = (0..3000).map(|_| test.heap.frames().alloc(Kind::Owned).expect("memory")).collect();
    test.park_other_cpus();
    test.heap.reclaim();
    for frame in frames {
        // SAFETY: not used.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
    test.heap.destroy_cache(cache).expect("nothing is out");
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn an_interrupt_in_the_middle_of_making_a_cache_makes_none_in_its_place() {
    let test = TestHeap::new(512);
    HEAP.set(Some(test.heap));
    on_interrupt(Some(|| {
        if MADE.take().map(|made| MADE.set(Some(made))).is_none() {
            MADE.set(Some(heap().create_cache(Settings::new("interrupt", 64, 8))));
        }
    }));
    let ours = test.heap.create_cache(Settings::new("interrupted", 128, 8)).expect("a place");
    on_interrupt(None);
    match MADE.take().expect("an interrupt came") {
        Ok(theirs) => {
            assert_ne!(theirs.id(), ours.id());
            test.heap.destroy_cache(theirs).expect("nothing is out");
        }
        Err(error) => assert!(matches!(error, Error::Busy { .. }), "{error}"),
    }
    test.heap.destroy_cache(ours).expect("nothing is out");
    test.check_empty();
}

#[test]
fn frees_that_alternate_between_the_highest_slab_and_the_lowest_go_back_to_each() {
    let test = TestHeap::new(512);
    let mut objects: Vec<_> = (0..2000).map(|_| alloc64(test.heap)).collect();
    objects.sort_unstable();
    let (low, high) = objects.split_at(1000);
    for (&low, &high) in low.iter().zip(high.iter().rev()) {
        free64(test.heap, high);
        free64(test.heap, low);
    }
    test.check_empty();
    assert_eq!(take_reports(), []);
}
