//! The whole stack, from the heap to the frame bitmap, on a machine of the host's memory: what each call promises. Caches
//! of one's own, threads, and a naive model in files of their own.

mod common;

#[path = "heap/model.rs"]
mod model;
#[path = "heap/own_caches.rs"]
mod own_caches;
#[path = "heap/threads.rs"]
mod threads;

use std::alloc::Layout;
use std::ptr::NonNull;

use common::{TestHeap, take_reports};
use mm::debug::{DebugFlags, DebugRules};
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::frame_table::Kind;
use mm::size_class::MAX_CLASS_SIZE;

/// Every debug check on every cache.
static ALL_CHECKS: DebugRules = |_, _| DebugFlags::ALL;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a valid layout")
}

/// Fills an object with bytes that tell it from others.
fn stamp(object: NonNull<u8>, size: usize, seed: usize) {
    for i in 0..size {
        // SAFETY: the caller's object has `size` bytes.
        unsafe { object.add(i).write((seed.wrapping_mul(31) + i) as u8) };
    }
}

fn verify(object: NonNull<u8>, size: usize, seed: usize) {
    for i in 0..size {
        // SAFETY: as in `stamp`.
        assert_eq!(unsafe { object.add(i).read() }, (seed.wrapping_mul(31) + i) as u8, "byte {i} of {object:p}");
    }
}

#[test]
fn every_class_serves_aligned_distinct_objects_and_takes_them_back() {
    let test = TestHeap::new(4096);
    let step = if cfg!(miri) { 509 } else { 61 };
    for size in (0..=MAX_CLASS_SIZE).step_by(step) {
        let objects: Vec<_> = (0..5).map(|_| test.heap.alloc(layout(size, 8)).expect("memory")).collect();
        for (seed, &object) in objects.iter().enumerate() {
            assert_eq!(object.addr().get() % 8, 0);
            stamp(object, size, seed);
        }
        for (seed, &object) in objects.iter().enumerate() {
            verify(object, size, seed);
            // SAFETY: not used any more.
            unsafe { test.heap.dealloc(object, layout(size, 8)) }.expect("ours");
        }
    }
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn alignments_up_to_a_mebibyte_are_met() {
    let test = TestHeap::new(2048);
    for shift in 0..=20 {
        for size in [1, 24, 100, 4096, 5000, 70_000] {
            let layout = layout(size, 1 << shift);
            let object = test.heap.alloc(layout).expect("memory");
            assert_eq!(object.addr().get() % (1 << shift).min(1 << 16), 0, "{layout:?}");
            // SAFETY: not used any more.
            unsafe { test.heap.dealloc(object, layout) }.expect("ours");
        }
    }
    test.check_empty();
}

#[test]
fn absurd_sizes_and_alignments_are_errors() {
    let test = TestHeap::new(256);
    for shift in 12..63 {
        let size = 1_usize << shift;
        for size in [size, size - 1, size + 1, isize::MAX as usize - size] {
            if let Ok(layout) = Layout::from_size_align(size, 1)
                && size > 255 * PAGE_SIZE
            {
                assert_eq!(test.heap.alloc(layout), Err(Error::OutOfMemory { bytes: size }));
            }
        }
        if let Ok(layout) = Layout::from_size_align(1, size)
            && size > 1 << 20
        {
            assert_eq!(test.heap.alloc(layout), Err(Error::OutOfMemory { bytes: 1 }));
        }
    }
    for size in [usize::MAX, usize::MAX - 15, isize::MAX as usize + 1] {
        assert_eq!(test.heap.malloc(size), Err(Error::OutOfMemory { bytes: size }));
    }
    test.check_empty();
}

#[test]
fn zeroed_memory_is_zero_after_use() {
    let test = TestHeap::new(512);
    for size in [1, 64, 1000, 4096, 32 * 1024, 100_000] {
        let layout = layout(size, 8);
        let object = test.heap.alloc(layout).expect("memory");
        stamp(object, size, 7);
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout) }.expect("ours");
        let object = test.heap.alloc_zeroed(layout).expect("memory");
        // SAFETY: `size` bytes, all initialised by `alloc_zeroed`.
        assert!(unsafe { std::slice::from_raw_parts(object.as_ptr(), size) }.iter().all(|&byte| byte == 0));
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout) }.expect("ours");
    }
    test.check_empty();
}

#[test]
fn realloc_keeps_the_contents() {
    let test = TestHeap::new(1024);
    let mut object = test.heap.malloc(10).expect("memory");
    let mut size = 10;
    stamp(object, size, 3);
    for new in [20, 16, 400, 399, 5000, 40_000, 200_000, 199_000, 30_000, 8] {
        // SAFETY: live, and only the result is used after.
        object = unsafe { test.heap.realloc(object, new) }.expect("memory");
        verify(object, size.min(new), 3);
        assert!(test.heap.usable_size(object).expect("live") >= new);
        size = new;
        stamp(object, size, 3);
    }
    // SAFETY: not used any more.
    unsafe { test.heap.free(object) }.expect("ours");
    test.check_empty();
}

#[test]
fn free_by_pointer_alone_names_bad_addresses() {
    let test = TestHeap::new(512);
    let object = test.heap.malloc(100).expect("memory");
    let large = test.heap.malloc(100_000).expect("memory");
    let addr = |object: NonNull<u8>| object.addr().get();
    // SAFETY: the addresses are bad, or not used any more.
    unsafe {
        assert_eq!(test.heap.free(object.add(1)), Err(Error::Foreign { addr: addr(object) + 1 }), "misaligned");
        assert_eq!(test.heap.free(object.add(16)), Err(Error::Foreign { addr: addr(object) + 16 }), "interior");
        let inside = large.add(PAGE_SIZE);
        assert_eq!(test.heap.free(inside), Err(Error::Foreign { addr: addr(inside) }), "inside a run");
        let mut local = 0_u64;
        let stack = NonNull::from(&mut local).cast();
        assert_eq!(test.heap.free(stack), Err(Error::Foreign { addr: addr(stack) }), "the stack");
        for wild in [8_usize, 0xdead_beef_dead_beef, usize::MAX] {
            let wild = NonNull::new(std::ptr::without_provenance_mut(wild)).expect("not null");
            assert_eq!(test.heap.free(wild), Err(Error::Foreign { addr: addr(wild) }), "never allocated");
        }
        test.heap.free(object).expect("ours");
        test.heap.free(large).expect("ours");
        assert_eq!(test.heap.free(large), Err(Error::DoubleFree { addr: addr(large) }));
    }
    test.check_empty();
}

#[test]
fn a_double_free_is_reported_when_it_leaves_the_magazines() {
    let test = TestHeap::new(512);
    let layout = layout(64, 8);
    let object = test.heap.alloc(layout).expect("memory");
    // SAFETY: the second is the mistake under test; the memory is not used any more.
    unsafe {
        test.heap.dealloc(object, layout).expect("ours");
        test.heap.dealloc(object, layout).expect("seen only later");
    }
    assert_eq!(take_reports(), []);
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), [Error::DoubleFree { addr: object.addr().get() }]);
    assert_eq!(test.heap.account().difference(), 0);
}

#[test]
fn a_free_to_the_wrong_cache_is_reported_and_dropped() {
    let test = TestHeap::new(512);
    let object = test.heap.alloc(layout(64, 8)).expect("memory");
    // SAFETY: the wrong layout is the mistake under test.
    unsafe { test.heap.dealloc(object, layout(200, 8)) }.expect("seen only later");
    test.heap.drain_this_cpu();
    let reports = take_reports();
    assert!(matches!(reports[..], [Error::WrongCache { addr, .. }] if addr == object.addr().get()), "{reports:?}");
    // SAFETY: not used any more.
    unsafe { test.heap.dealloc(object, layout(64, 8)) }.expect("ours");
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), []);
}

#[test]
fn a_size_that_does_not_match_a_large_allocation_is_refused() {
    let test = TestHeap::new(512);
    let large = test.heap.alloc(layout(100_000, 8)).expect("memory");
    // SAFETY: refused, as the layout is wrong.
    let result = unsafe { test.heap.dealloc(large, layout(50_000, 8)) };
    assert_eq!(result, Err(Error::WrongSize { addr: large.addr().get(), given: 50_000 }));
    // SAFETY: not used any more.
    unsafe { test.heap.dealloc(large, layout(100_000, 8)) }.expect("ours");
    test.check_empty();
}

#[test]
fn memory_runs_out_cleanly_and_comes_back_whole() {
    let test = TestHeap::new(512);
    for size in [16, 500, 4096, 20_000, 50_000] {
        let layout = layout(size, 8);
        for _ in 0..3 {
            let mut objects = Vec::new();
            while let Ok(object) = test.heap.alloc(layout) {
                objects.push(object);
            }
            assert!(objects.len() * size > 300 * PAGE_SIZE, "only {} objects of {size}", objects.len());
            test.check();
            for object in objects {
                // SAFETY: not used any more.
                unsafe { test.heap.dealloc(object, layout) }.expect("ours");
            }
            test.check_empty();
        }
    }
    assert_eq!(take_reports(), []);
}

#[test]
fn memory_parked_in_another_cpus_magazines_is_found_before_out_of_memory() {
    let test = TestHeap::new(512);
    thread_local! { static THE_TEST: std::cell::Cell<Option<&'static mm::heap::Heap<common::Host>>> = const { std::cell::Cell::new(None) }; }
    // CPU 1 frees much into its own magazines, and halts.
    test.enter_cpu(1);
    let objects: Vec<_> = (0..400).map(|_| test.heap.alloc(layout(64, 8)).expect("memory")).collect();
    for object in objects {
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout(64, 8)) }.expect("ours");
    }
    let parked = test.bank(1);
    thread_local! { static PARKED: std::cell::Cell<Option<&'static mm::bank::Bank>> = const { std::cell::Cell::new(None) }; }
    PARKED.set(Some(parked));
    THE_TEST.set(Some(test.heap));
    test.enter_cpu(0);
    let count = |test: &TestHeap| {
        let mut frames = Vec::new();
        while let Ok(frame) = test.heap.alloc_frame(Kind::Owned) {
            frames.push(frame);
        }
        let n = frames.len();
        for frame in frames {
            // SAFETY: not used any more.
            unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
        }
        n
    };
    let without_drain = count(&test);
    test.on_drain(Some(|| {
        let me = <common::Host as mm::machine::Machine>::bank();
        common::enter_bank(PARKED.get().expect("set above"));
        THE_TEST.get().expect("set above").drain_this_cpu();
        common::enter_bank(me);
    }));
    let with_drain = count(&test);
    assert!(with_drain > without_drain, "{with_drain} frames with a drain, {without_drain} without");
    test.check_empty();
}

#[test]
fn depot_visits_are_at_most_one_per_magazine_on_the_boundary_pattern() {
    let test = TestHeap::new(2048);
    let layout = layout(64, 8);
    // Two allocations, two frees, right where a magazine ends: with one magazine this goes to the depot half the time.
    let mut held: Vec<_> = (0..62).map(|_| test.heap.alloc(layout).expect("memory")).collect();
    let id = mm::size_class::index(64) as u16;
    let before = test.heap.cache_account(id);
    for _ in 0..10_000 {
        held.push(test.heap.alloc(layout).expect("memory"));
        held.push(test.heap.alloc(layout).expect("memory"));
        for _ in 0..2 {
            // SAFETY: not used any more.
            unsafe { test.heap.dealloc(held.pop().expect("pushed"), layout) }.expect("ours");
        }
    }
    let after = test.heap.cache_account(id);
    let visits = after.nr_depot_visits + after.nr_slab_visits - before.nr_depot_visits - before.nr_slab_visits;
    assert!(visits * 62 <= 40_000, "{visits} visits behind the magazines in 40,000 operations");
    for object in held {
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout) }.expect("ours");
    }
    test.check_empty();
}

#[test]
fn frames_freed_wrongly_are_errors_with_their_address() {
    let test = TestHeap::new(256);
    let frames = test.heap.frames();
    let frame = frames.alloc(Kind::Owned).expect("memory");
    let addr = frame.addr() as usize;
    // SAFETY: refused, or not used any more.
    unsafe {
        assert_eq!(frames.free(frame, Kind::Mapped), Err(Error::Foreign { addr }));
        frames.free(frame, Kind::Owned).expect("ours");
        assert_eq!(frames.free(frame, Kind::Owned), Err(Error::DoubleFree { addr }));
        let far = mm::frame::Frame::new(u32::MAX);
        assert_eq!(frames.free(far, Kind::Owned), Err(Error::Foreign { addr: far.addr() as usize }));
    }
    let run = frames.alloc_run(mm::frame_bitmap::RunRequest::pages(8), Kind::Owned).expect("memory");
    let part = mm::frame::FrameRange::new(run.start(), 4).expect("not empty");
    let inside = mm::frame::FrameRange::new(mm::frame::Frame::new(run.start().number() + 4), 4).expect("not empty");
    // SAFETY: refused, or not used any more.
    unsafe {
        assert!(matches!(frames.free_run(part, Kind::Owned), Err(Error::WrongSize { .. })));
        assert!(matches!(frames.free_run(inside, Kind::Owned), Err(Error::WrongSize { .. })));
        frames.free_run(run, Kind::Owned).expect("ours");
    }
    test.check_empty();
}

#[test]
fn frame_lock_is_taken_at_most_once_in_sixteen_pages() {
    let test = TestHeap::new(2048);
    let frames = test.heap.frames();
    let before = frames.nr_lock_acquisitions();
    let taken: Vec<_> = (0..1024).map(|_| frames.alloc(Kind::Owned).expect("memory")).collect();
    for frame in taken {
        // SAFETY: not used any more.
        unsafe { frames.free(frame, Kind::Owned) }.expect("ours");
    }
    let locks = frames.nr_lock_acquisitions() - before;
    assert!(locks * 16 <= 2048, "{locks} locks for 2048 operations");
    test.check_empty();
}
