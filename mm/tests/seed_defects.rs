//! The defects of a teaching kernel's allocators that this crate does away with, one test or more for each, by number.

mod common;
#[path = "seed_defects/sizes_and_tables.rs"]
mod sizes_and_tables;
#[path = "common/tables.rs"]
mod tables;

use std::alloc::{GlobalAlloc, Layout};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ptr::NonNull;

use common::{Host, TestHeap, take_reports};
use mm::arena::VirtRange;
use mm::bank::Bank;
use mm::cache::Settings;
use mm::error::Error;
use mm::frame::{Frame, FrameRange, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::heap::{CacheHandle, Heap};
use mm::lock::Lock;
use mm::machine::Machine;
use mm::page_table::{Attributes, Level, PageTable};
use mm::slab::SlabCounters;
use tables::{Bits, Flushed, HeapTables};

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a valid layout")
}

fn take_all(test: &TestHeap) -> Vec<Frame> {
    std::iter::from_fn(|| test.heap.alloc_frame(Kind::Owned).ok()).collect()
}

fn give_back(test: &TestHeap, frames: Vec<Frame>) {
    for frame in frames {
        // SAFETY: not used any more.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
}

fn slabs_of(heap: &Heap<Host>, cache: &CacheHandle) -> SlabCounters {
    heap.caches().find(|(id, _)| *id == cache.id()).expect("live").1.slab_counters()
}

/// The seed added nothing to the place where it looked, so a "run" was one free frame and its neighbours.
#[test]
fn ad01_runs_are_of_free_frames_only() {
    let test = TestHeap::new(512);
    let all: BTreeSet<u32> = take_all(&test).iter().map(|frame| frame.number()).collect();
    // Every fifth frame stays taken, and every eleventh.
    let is_kept = |number: &u32| number.is_multiple_of(5) || number.is_multiple_of(11);
    let (kept, freed): (BTreeSet<_>, BTreeSet<_>) = all.into_iter().partition(is_kept);
    give_back(&test, freed.iter().copied().map(Frame::new).collect());
    let mut runs = Vec::new();
    for nr_pages in [4, 3, 2, 1] {
        while let Ok(run) = test.heap.alloc_run(RunRequest::pages(nr_pages), Kind::Owned) {
            assert_eq!(run.nr_pages() as usize, nr_pages);
            runs.push(run);
        }
    }
    let in_runs: Vec<_> = runs.iter().flat_map(|run| run.iter().map(Frame::number)).collect();
    let distinct: BTreeSet<_> = in_runs.iter().copied().collect();
    assert_eq!((in_runs.len(), distinct), (freed.len(), freed), "each free frame in one run");
    for run in runs {
        // SAFETY: not used.
        unsafe { test.heap.frames().free_run(run, Kind::Owned) }.expect("ours");
    }
    give_back(&test, kept.into_iter().map(Frame::new).collect());
    test.check_empty();
}

/// The seed's count of used pages was off by 1024, and its test for "none left" was never true of an unsigned number.
#[test]
fn ad02_counts_are_exact_to_the_page() {
    let test = TestHeap::new(256);
    let nr_managed = test.heap.frames().nr_managed();
    let mut nr_used = 0;
    let mut runs = Vec::new();
    for nr_pages in [1, 7, 64, 2] {
        runs.push(test.heap.alloc_run(RunRequest::pages(nr_pages), Kind::Owned).expect("memory"));
        nr_used += nr_pages as u64;
        let account = test.heap.account();
        assert_eq!((account.nr_used(Kind::Owned), account.nr_free), (nr_used, nr_managed - nr_used));
    }
    let rest = take_all(&test);
    assert_eq!(nr_used + rest.len() as u64, nr_managed);
    assert_eq!(test.heap.account().nr_free, 0);
    assert_eq!(test.heap.frames().alloc(Kind::Owned), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
    give_back(&test, rest);
    for run in runs {
        // SAFETY: not used.
        unsafe { test.heap.frames().free_run(run, Kind::Owned) }.expect("ours");
    }
    test.check_empty();
}

/// The seed zeroed what it got without a look, a null pointer too.
#[test]
fn ad03_zeroed_memory_that_is_not_there_is_an_error() {
    let test = TestHeap::new(128);
    let all = take_all(&test);
    let (small, large) = (layout(100, 8), layout(100_000, 8));
    assert!(matches!(test.heap.alloc_zeroed(small), Err(Error::OutOfMemory { .. })));
    assert!(matches!(test.heap.alloc_zeroed(large), Err(Error::OutOfMemory { .. })));
    // SAFETY: the layouts have sizes.
    unsafe {
        assert!(GlobalAlloc::alloc_zeroed(test.heap, small).is_null());
        assert!(GlobalAlloc::alloc_zeroed(test.heap, large).is_null());
    }
    let frames = test.heap.frames();
    assert!(matches!(frames.alloc_zeroed(Kind::Owned), Err(Error::OutOfMemory { .. })));
    assert!(matches!(frames.alloc_run_zeroed(RunRequest::pages(2), Kind::Owned), Err(Error::OutOfMemory { .. })));
    give_back(&test, all);
    test.check_empty();
}

/// The seed freed any number it was given.
#[test]
fn ad04_only_frames_that_are_in_use_as_said_are_freed() {
    let test = TestHeap::new(256);
    let frames = test.heap.frames();
    let run = frames.alloc_run(RunRequest::pages(4), Kind::Owned).expect("memory");
    let addr = run.start().addr() as usize;
    let inside = Frame::new(run.start().number() + 1);
    let before = test.heap.account();
    // SAFETY: refused.
    unsafe {
        assert_eq!(frames.free(run.start(), Kind::Owned), Err(Error::WrongSize { addr, given: PAGE_SIZE }));
        assert_eq!(frames.free_run(run, Kind::Mapped), Err(Error::Foreign { addr }));
        assert!(frames.free(inside, Kind::Owned).is_err());
        assert!(frames.free(Frame::new(0), Kind::Owned).is_err());
        assert!(frames.free(Frame::new(u32::MAX), Kind::Owned).is_err());
        let past = FrameRange::new(run.start(), 4000).expect("not empty");
        assert!(frames.free_run(past, Kind::Owned).is_err());
    }
    assert_eq!(test.heap.account(), before);
    // SAFETY: not used; the second is refused.
    unsafe {
        frames.free_run(run, Kind::Owned).expect("ours");
        assert_eq!(frames.free_run(run, Kind::Owned), Err(Error::DoubleFree { addr }));
    }
    test.check_empty();
}

/// The seed looked at every frame from the first on, for every page.
#[test]
fn ad05_a_page_takes_as_many_visits_to_the_bitmap_when_memory_is_nearly_full() {
    let test = TestHeap::new(4096);
    let visits_for_1000_pairs = || {
        let before = test.heap.frames().nr_lock_acquisitions();
        for _ in 0..1000 {
            let frame = test.heap.alloc_frame(Kind::Owned).expect("memory");
            give_back(&test, vec![frame]);
        }
        test.heap.frames().nr_lock_acquisitions() - before
    };
    let when_empty = visits_for_1000_pairs();
    let mut all = take_all(&test);
    give_back(&test, all.drain(..2).collect());
    let when_full = visits_for_1000_pairs();
    assert!(when_empty.max(when_full) <= 2, "{when_empty} visits when empty, {when_full} when full");
    give_back(&test, all);
    test.check_empty();
}

/// The seed put an object into the first slab with room instead of its own, and gave pages with live objects back.
#[test]
fn ad06_an_object_goes_back_to_its_own_slab() {
    let test = TestHeap::new(512);
    let cache = test.heap.create_cache(Settings::new("a page", 512, 8)).expect("room for a cache");
    let mut by_page = std::collections::BTreeMap::<_, Vec<_>>::new();
    for _ in 0..80 {
        let object = test.heap.cache_alloc(&cache).expect("memory");
        // SAFETY: of 512 bytes.
        unsafe { object.write_bytes(0x3c, 512) };
        by_page.entry(object.addr().get() / PAGE_SIZE).or_default().push(object);
    }
    // Every other page is freed, the last first.
    let (freed, kept): (Vec<_>, Vec<_>) = by_page.into_iter().enumerate().partition(|(i, _)| i % 2 == 0);
    for object in freed.iter().rev().flat_map(|(_, (_, objects))| objects) {
        // SAFETY: not used any more.
        unsafe { test.heap.cache_free(&cache, *object) }.expect("ours");
    }
    test.heap.cache_reap(&cache);
    let slabs = slabs_of(test.heap, &cache);
    assert_eq!((slabs.nr_slabs as usize, slabs.nr_empty), (kept.len(), 0), "{slabs:?}");
    for page in take_all(&test) {
        // SAFETY: a free page, now ours.
        unsafe { test.heap.frames().virt(page).write_bytes(0xff, PAGE_SIZE) };
        give_back(&test, vec![page]);
    }
    for object in kept.iter().flat_map(|(_, (_, objects))| objects) {
        // SAFETY: live, of 512 bytes; then not used any more.
        unsafe {
            assert!(std::slice::from_raw_parts(object.as_ptr(), 512).iter().all(|&byte| byte == 0x3c));
            test.heap.cache_free(&cache, *object).expect("ours");
        }
    }
    test.heap.destroy_cache(cache).expect("nothing out");
    test.check_empty();
}

/// The seed lost every slab past the second, and a flag of it shrank slabs with each growth.
#[test]
fn ad07_and_ad08_many_slabs_are_kept_and_each_holds_as_many_objects() {
    let test = TestHeap::new(512);
    let cache = test.heap.create_cache(Settings::new("odd", 410, 1)).expect("room for a cache");
    let mut nr_objects_in_a_slab = None;
    for nr_objects in [10, 200, 500, 900] {
        test.heap.cache_grow(&cache, nr_objects).expect("memory");
        let slabs = slabs_of(test.heap, &cache);
        assert!(slabs.nr_objects >= nr_objects as u64);
        let in_one = slabs.nr_objects / slabs.nr_slabs;
        assert_eq!(*nr_objects_in_a_slab.get_or_insert(in_one), in_one, "{slabs:?}");
        assert_eq!(slabs.nr_objects % slabs.nr_slabs, 0, "{slabs:?}");
    }
    let nr_pages = slabs_of(test.heap, &cache).nr_pages;
    let objects: BTreeSet<_> = (0..900).map(|_| test.heap.cache_alloc(&cache).expect("grown")).collect();
    assert_eq!((objects.len(), slabs_of(test.heap, &cache).nr_pages), (900, nr_pages));
    for object in objects {
        // SAFETY: not used any more.
        unsafe { test.heap.cache_free(&cache, object) }.expect("ours");
    }
    test.heap.destroy_cache(cache).expect("nothing out");
    test.check_empty();
}

/// The seed called itself for ever when it had to grow and could not, and could not grow classes past a page.
#[test]
fn ad09_and_ad10_classes_grow_until_memory_is_out_and_then_say_so() {
    let test = TestHeap::new(256);
    for size in [16, 100, 512, 2000] {
        let mut objects: Vec<_> = std::iter::from_fn(|| test.heap.malloc(size).ok()).collect();
        assert!(objects.len() * size > 200 * PAGE_SIZE, "{} objects of {size}", objects.len());
        assert!(matches!(test.heap.malloc(size), Err(Error::OutOfMemory { .. })));
        objects.sort();
        let are_apart = |pair: &[NonNull<u8>]| pair[1].addr().get() - pair[0].addr().get() >= size;
        assert!(objects.windows(2).all(are_apart));
        for object in objects {
            // SAFETY: not used any more.
            unsafe { test.heap.free(object) }.expect("ours");
        }
        test.check_empty();
    }
}

/// The seed read the headers of slabs after it had freed their pages.
#[test]
fn ad11_pages_of_a_cache_that_went_are_anybodys() {
    let test = TestHeap::new(256);
    for round in 0..3 {
        let cache = test.heap.create_cache(Settings::new("comes and goes", 700, 8)).expect("room for a cache");
        let objects: Vec<_> = (0..100).map(|_| test.heap.cache_alloc(&cache).expect("memory")).collect();
        for object in objects {
            // SAFETY: not used any more.
            unsafe { test.heap.cache_free(&cache, object) }.expect("ours");
        }
        test.heap.cache_reap(&cache);
        let all = take_all(&test);
        assert_eq!(all.len() as u64, test.heap.frames().nr_managed(), "round {round}");
        for &frame in &all {
            // SAFETY: ours.
            unsafe { test.heap.frames().virt(frame).write_bytes(0xff, PAGE_SIZE) };
        }
        test.heap.cache_reap(&cache);
        test.heap.destroy_cache(cache).expect("nothing out");
        give_back(&test, all);
        test.check_empty();
    }
}

/// The seed destroyed half a cache whose objects were in use.
#[test]
fn ad12_a_cache_with_live_objects_refuses_to_go_and_goes_on_working() {
    let test = TestHeap::new(256);
    let cache = test.heap.create_cache(Settings::new("in use", 128, 8)).expect("room for a cache");
    let first = test.heap.cache_alloc(&cache).expect("memory");
    // SAFETY: of 128 bytes.
    unsafe { first.write_bytes(0x42, 128) };
    let (cache, error) = test.heap.destroy_cache(cache).expect_err("one is out");
    assert_eq!(error, Error::Busy { nr_objects: 1 });
    let second = test.heap.cache_alloc(&cache).expect("it still works");
    assert_ne!(first, second);
    test.check();
    // SAFETY: live; then not used any more.
    unsafe {
        assert!(std::slice::from_raw_parts(first.as_ptr(), 128).iter().all(|&byte| byte == 0x42));
        test.heap.cache_free(&cache, first).expect("ours");
        test.heap.cache_free(&cache, second).expect("ours");
    }
    test.heap.destroy_cache(cache).expect("nothing out");
    test.check_empty();
}
