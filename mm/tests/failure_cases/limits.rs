//! AF13 to AF21: absurd sizes, memory that is out or in the wrong place, objects under construction.

use std::alloc::GlobalAlloc;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use mm::cache::Settings;
use mm::error::Error;
use mm::frame::{Frame, FrameRange, PAGE_SIZE};
use mm::frame_bitmap::{FrameBitmap, RunRequest};
use mm::frame_table::Kind;
use mm::heap::{CacheHandle, Heap};
use mm::memory_map::{Region, RegionKind};

use crate::common::{Host, TestHeap, take_reports};
use crate::{alloc64, check_frames, free64, layout};

thread_local! {
    static HEAP: Cell<Option<&'static Heap<Host>>> = const { Cell::new(None) };
    static CACHE: RefCell<Option<CacheHandle>> = const { RefCell::new(None) };
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static NR_RUNS: Cell<usize> = const { Cell::new(0) };
    static KEPT: RefCell<Vec<NonNull<u8>>> = const { RefCell::new(Vec::new()) };
}

fn heap() -> &'static Heap<Host> {
    HEAP.get().expect("the test has set it")
}

/// Frees an object of the cache in `CACHE` that nobody uses any more.
fn free_own(object: NonNull<u8>) {
    CACHE.with_borrow(|cache| {
        let cache = cache.as_ref().expect("the test has made it");
        // SAFETY: not used any more, by this function's contract.
        unsafe { heap().cache_free(cache, object) }.expect("ours");
    });
}

/// Takes every free frame, so that nothing is left for others.
fn take_all(test: &TestHeap) -> Vec<Frame> {
    test.heap.reclaim();
    let mut all: Vec<_> = std::iter::from_fn(|| test.heap.frames().alloc(Kind::Owned).ok()).collect();
    all.sort();
    all
}

fn give_back(test: &TestHeap, frames: impl IntoIterator<Item = Frame>) {
    for frame in frames {
        // SAFETY: never used.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
}

#[test]
fn af13_impossible_sizes_and_alignments() {
    let test = TestHeap::new(128);
    let object = test.heap.malloc(100).expect("memory");
    // SAFETY: of 100 bytes.
    unsafe { object.write_bytes(7, 100) };
    for size in [1 << 62, 1 << 63, (1 << 63) - 1, usize::MAX, usize::MAX - 15, usize::MAX - PAGE_SIZE + 1] {
        assert_eq!(test.heap.malloc(size), Err(Error::OutOfMemory { bytes: size }));
        // SAFETY: live; refused.
        assert_eq!(unsafe { test.heap.realloc(object, size) }, Err(Error::OutOfMemory { bytes: size }));
        // SAFETY: live, of that layout; refused.
        assert!(unsafe { GlobalAlloc::realloc(test.heap, object.as_ptr(), layout(100, 16), size) }.is_null());
        let run = test.heap.alloc_run(RunRequest::pages(size), Kind::Owned);
        assert!(matches!(run, Err(Error::OutOfMemory { .. })), "{run:?}");
    }
    for shift in 13..63 {
        match test.heap.alloc(layout(1, 1 << shift)) {
            // SAFETY: not used.
            Ok(object) => unsafe { test.heap.dealloc(object, layout(1, 1 << shift)) }.expect("ours"),
            Err(error) => assert_eq!(error, Error::OutOfMemory { bytes: 1 }),
        }
    }
    // SAFETY: live; then not used any more.
    unsafe {
        assert!(std::slice::from_raw_parts(object.as_ptr(), 100).iter().all(|&byte| byte == 7));
        test.heap.free(object).expect("ours");
    }
    test.check_empty();
}

#[test]
fn af15_a_constructor_that_fails_now_and_then_loses_nothing() {
    let test = TestHeap::new(256);
    let settings = Settings {
        constructor: Some(|_| {
            NR_RUNS.set(NR_RUNS.get() + 1);
            if NR_RUNS.get().is_multiple_of(3) { Err(Error::OutOfMemory { bytes: 1 }) } else { Ok(()) }
        }),
        ..Settings::new("fails every third time", 200, 8)
    };
    let cache = test.heap.create_cache(settings).expect("room for a cache");
    let mut objects: Vec<_> = (0..300).filter_map(|_| test.heap.cache_alloc(&cache).ok()).collect();
    assert!(objects.len() > 150, "only {} of 300", objects.len());
    test.check();
    objects.sort();
    objects.dedup();
    for object in objects {
        // SAFETY: not used any more.
        unsafe { test.heap.cache_free(&cache, object) }.expect("ours");
    }
    test.heap.destroy_cache(cache).expect("nothing out");
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn af15_a_constructor_may_allocate_from_its_own_cache_and_af17_while_it_is_busy() {
    let test = TestHeap::new(512);
    HEAP.set(Some(test.heap));
    let settings = Settings {
        constructor: Some(|_| {
            if DEPTH.get() < 3 {
                DEPTH.set(DEPTH.get() + 1);
                let own = CACHE.with_borrow(|cache| heap().cache_alloc(cache.as_ref().expect("made below")));
                DEPTH.set(DEPTH.get() - 1);
                KEPT.with_borrow_mut(|kept| kept.push(own.expect("memory")));
            }
            Ok(())
        }),
        // Frees into its own cache from within, one for each object that goes.
        destructor: Some(|_| {
            if let Some(own) = KEPT.with_borrow_mut(Vec::pop) {
                free_own(own);
            }
        }),
        ..Settings::new("made of its own", 200, 8)
    };
    CACHE.set(Some(test.heap.create_cache(settings).expect("room for a cache")));
    let object = CACHE.with_borrow(|cache| test.heap.cache_alloc(cache.as_ref().expect("just made"))).expect("memory");
    test.check();
    let nr_kept = KEPT.with_borrow(Vec::len);
    assert!(nr_kept > 0);
    free_own(object);
    while KEPT.with_borrow(|kept| !kept.is_empty()) {
        test.heap.reclaim();
        if let Some(own) = KEPT.with_borrow_mut(Vec::pop) {
            free_own(own);
        }
    }
    test.check();
    test.heap.destroy_cache(CACHE.take().expect("made")).expect("nothing out");
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn af16_destroy_with_live_objects_and_with_objects_in_magazines_of_other_cpus() {
    let test = TestHeap::new(512);
    let cache = test.heap.create_cache(Settings::new("shared", 300, 8)).expect("room for a cache");
    let objects: Vec<_> = (0..200).map(|_| test.heap.cache_alloc(&cache).expect("memory")).collect();
    let mut cache = cache;
    for nr_live in (1..=200).rev().step_by(40) {
        let (again, error) = test.heap.destroy_cache(cache).expect_err("objects are out");
        assert!(matches!(error, Error::Busy { nr_objects } if nr_objects >= nr_live.min(200)), "{error}");
        cache = again;
    }
    test.enter_cpu(1);
    for object in objects {
        // SAFETY: not used any more.
        unsafe { test.heap.cache_free(&cache, object) }.expect("ours");
    }
    test.enter_cpu(0);
    // Nobody drains CPU 1: its rounds keep the cache alive.
    let (cache, error) = test.heap.destroy_cache(cache).expect_err("rounds on CPU 1");
    assert!(matches!(error, Error::Busy { nr_objects } if nr_objects > 0), "{error}");
    test.park_other_cpus();
    test.heap.destroy_cache(cache).expect("all are back");
    test.check_empty();
}

#[test]
fn af19_memory_parked_in_the_magazines_of_a_cpu_that_waits() {
    let test = TestHeap::new(256);
    test.enter_cpu(1);
    let objects: Vec<_> = (0..2000).map(|_| alloc64(test.heap)).collect();
    objects.into_iter().for_each(|object| free64(test.heap, object));
    let frames: Vec<_> = (0..40).map(|_| test.heap.alloc_frame(Kind::Owned).expect("memory")).collect();
    give_back(&test, frames);
    test.enter_cpu(0);
    test.park_other_cpus();
    let all = std::iter::from_fn(|| test.heap.alloc_frame(Kind::Owned).ok()).collect::<Vec<_>>();
    assert_eq!(all.len() as u64, test.heap.frames().nr_managed(), "frames stay with CPU 1");
    give_back(&test, all);
    test.check_empty();
}

#[test]
fn af20_only_frames_that_are_not_adjacent_are_free() {
    let test = TestHeap::new(256);
    let (even, odd): (Vec<_>, Vec<_>) = take_all(&test).into_iter().partition(|frame| frame.number() % 2 == 0);
    give_back(&test, even);
    let frame = test.heap.alloc_frame(Kind::Owned).expect("a single one");
    let small = alloc64(test.heap);
    assert!(matches!(test.heap.alloc_run(RunRequest::pages(2), Kind::Owned), Err(Error::OutOfMemory { .. })));
    assert!(matches!(test.heap.malloc(5000), Err(Error::OutOfMemory { .. })));
    assert_eq!(test.heap.malloc(50_000), Err(Error::OutOfMemory { bytes: 50_000 }));
    // Objects up to a page: slabs of one page, where several are better.
    let page = test.heap.alloc(layout(4096, 4096)).expect("a page");
    let third = test.heap.malloc(1300).expect("a slab of one page");
    let aligned = RunRequest { nr_pages: 1, align_pages: 64, below: None };
    let at_64 = test.heap.alloc_run(aligned, Kind::Owned).expect("frame 64 or a multiple");
    assert_eq!(at_64.start().number() % 64, 0);
    test.check();
    free64(test.heap, small);
    // SAFETY: not used any more.
    unsafe {
        test.heap.free(page).expect("ours");
        test.heap.free(third).expect("ours");
        test.heap.frames().free_run(at_64, Kind::Owned).expect("ours");
    }
    give_back(&test, odd);
    give_back(&test, [frame]);
    test.check_empty();
}

#[test]
fn af20_limits_of_runs_holes_and_frames_that_are_not_ours() {
    let nr_pages = 256;
    let test = TestHeap::new(nr_pages);
    let frames = test.heap.frames();
    let below = RunRequest { nr_pages: 1, align_pages: 1, below: Some(128 * PAGE_SIZE as u64) };
    while let Ok(run) = frames.alloc_run(below, Kind::Owned) {
        assert!(run.end_number() <= 128);
    }
    assert!(frames.nr_free() > 100, "those above are left");
    assert_eq!(frames.alloc_run(RunRequest::pages(0), Kind::Owned), Err(Error::BadRequest { value: 0 }));
    let crooked = RunRequest { nr_pages: 1, align_pages: 3, below: None };
    assert_eq!(frames.alloc_run(crooked, Kind::Owned), Err(Error::BadRequest { value: 3 }));
    // The last bit, alone and as the end of a run, where the last word is not full.
    let mut words = vec![0; FrameBitmap::words_needed(130)];
    let mut bitmap = FrameBitmap::new(&mut words, 130).expect("room");
    bitmap.add_range(FrameRange::new(Frame::new(1), 129).expect("not empty")).expect("in range");
    let last = bitmap.take_one().expect("free");
    assert_eq!(last.number(), 129);
    bitmap.put_one(last).expect("taken");
    let whole = bitmap.take_run(RunRequest::pages(129)).expect("all are free");
    assert_eq!((whole.start().number(), whole.end_number()), (1, 130));
    bitmap.put_run(whole).expect("taken");
    assert_eq!(bitmap.take_run(RunRequest::pages(130)), Err(Error::OutOfMemory { bytes: 130 * PAGE_SIZE }));
    for bad in [0, nr_pages as u32, u32::MAX] {
        // SAFETY: refused.
        assert!(unsafe { frames.free(Frame::new(bad), Kind::Owned) }.is_err(), "frame {bad:#x}");
    }
    // Partly overlapping frees, in both directions, and over the end.
    let run = frames.alloc_run(RunRequest::pages(8), Kind::Owned).expect("memory");
    let start = run.start().number();
    for (first, nr_pages) in [(start, 4), (start, 9), (start - 1, 4), (start + 4, 8), (start + 7, 1)] {
        let range = FrameRange::new(Frame::new(first), nr_pages).expect("not empty");
        // SAFETY: refused.
        assert!(unsafe { frames.free_run(range, Kind::Owned) }.is_err(), "{range:?} of {run:?}");
    }
    // SAFETY: not used any more.
    unsafe { frames.free_run(run, Kind::Owned) }.expect("ours");
    check_frames(&test);
}

#[test]
fn af20_no_run_spans_a_hole_of_the_map() {
    let test = TestHeap::new(64);
    let other: Box<Heap<Host>> = crate::common::new_heap();
    let memory = test.heap.alloc_run(RunRequest::pages(40), Kind::Owned).expect("memory");
    let page = |n: u64| n * PAGE_SIZE as u64;
    let usable = |start, end| Region { start: page(start), end: page(end), kind: RegionKind::Usable };
    let map = [usable(1, 16), Region { start: page(16), end: page(18), kind: RegionKind::Reserved }, usable(18, 40)];
    let base = test.heap.frames().virt(memory.start()).as_ptr().expose_provenance();
    // SAFETY: 40 pages of ours, the first use.
    unsafe { other.frames().init(&map, &[], base) }.expect("room for the metadata");
    let mut nr_frames = other.frames().nr_free();
    while let Ok(run) = other.frames().alloc_run(RunRequest::pages(4), Kind::Owned) {
        assert!(run.end_number() <= 16 || run.start().number() >= 18, "{run:?}");
        nr_frames -= 4;
    }
    assert!(nr_frames < 8, "{nr_frames} left");
}

#[test]
fn af20_a_frame_that_was_never_handed_out_is_foreign() {
    let test = TestHeap::new(256);
    let all = take_all(&test);
    give_back(&test, all);
    // The metadata lie somewhere among the frames; none of their frames can be "free already".
    let nr_metadata = 255 - test.heap.frames().nr_managed();
    let is_foreign = |frame: Frame| {
        // SAFETY: refused, as nothing is in use.
        let refused = unsafe { test.heap.frames().free(frame, Kind::Owned) };
        refused == Err(Error::Foreign { addr: frame.addr() as usize })
    };
    let nr_foreign = (1..256).map(Frame::new).filter(|&frame| is_foreign(frame)).count() as u64;
    assert!(nr_foreign >= nr_metadata, "{nr_foreign} frames are foreign, and {nr_metadata} hold metadata");
}

#[test]
fn af21_running_out_while_reclaiming_ends_in_an_error() {
    let test = TestHeap::new(256);
    HEAP.set(Some(test.heap));
    // Objects whose destruction allocates, while the reclaim that destroys them is under way for lack of memory.
    let settings = Settings {
        destructor: Some(|_| {
            DEPTH.set(DEPTH.get() + 1);
            assert!(DEPTH.get() < 4, "a reclaim in a reclaim in a reclaim");
            if let Ok(object) = heap().malloc(20_000) {
                // SAFETY: not used.
                unsafe { heap().free(object) }.expect("ours");
            }
            DEPTH.set(DEPTH.get() - 1);
        }),
        ..Settings::new("allocates when it goes", 2000, 8)
    };
    let cache = test.heap.create_cache(settings).expect("room for a cache");
    let objects: Vec<_> = (0..100).map(|_| test.heap.cache_alloc(&cache).expect("memory")).collect();
    for object in objects {
        // SAFETY: not used any more.
        unsafe { test.heap.cache_free(&cache, object) }.expect("ours");
    }
    let mut frames = Vec::new();
    while let Ok(frame) = test.heap.alloc_frame(Kind::PageTable) {
        frames.push(frame);
    }
    assert!(frames.len() > 200);
    for frame in frames {
        // SAFETY: not used.
        unsafe { test.heap.frames().free(frame, Kind::PageTable) }.expect("ours");
    }
    test.heap.reclaim();
    test.heap.destroy_cache(cache).expect("nothing out");
    test.check_empty();
}
