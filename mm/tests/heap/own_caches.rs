//! Caches of one's own: in bulk, grown ahead, with constructors, and at the limit of how many there may be.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use mm::bank::MAX_CACHES;
use mm::cache::Settings;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::heap::NR_PLACES;
use mm::size_class::{MAX_CLASS_SIZE, NR_CLASSES};

use crate::common::{TestHeap, take_reports};
use crate::{stamp, verify};

#[test]
fn bulk_takes_and_gives_whole_magazines() {
    let test = TestHeap::new(512);
    let cache = test.heap.create_cache(Settings::new("bulk", 48, 8)).expect("room for a cache");
    for n in [0, 1, 2, 61, 62, 63, 124, 125, 700] {
        let mut objects = vec![NonNull::dangling(); n];
        test.heap.cache_alloc_bulk(&cache, &mut objects).expect("memory");
        for (seed, &object) in objects.iter().enumerate() {
            stamp(object, 48, seed);
        }
        for (seed, &object) in objects.iter().enumerate() {
            verify(object, 48, seed);
        }
        test.check();
        // SAFETY: not used any more.
        unsafe { test.heap.cache_free_bulk(&cache, &objects) }.expect("ours");
        test.check();
    }
    let mut too_many = vec![NonNull::dangling(); 512 * PAGE_SIZE / 48];
    assert!(matches!(test.heap.cache_alloc_bulk(&cache, &mut too_many), Err(Error::OutOfMemory { .. })));
    test.heap.destroy_cache(cache).expect("nothing is out");
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn a_cache_that_was_grown_allocates_without_frames_until_it_is_reaped() {
    let test = TestHeap::new(256);
    let cache = test.heap.create_cache(Settings::new("grown", 100, 8)).expect("room for a cache");
    test.heap.cache_grow(&cache, 500).expect("memory");
    let (_, grown) = test.heap.caches().find(|(id, _)| *id == cache.id()).expect("live");
    let nr_pages = grown.slab_counters().nr_pages;
    assert!(grown.slab_counters().nr_objects >= 500);
    let objects: Vec<_> = (0..400).map(|_| test.heap.cache_alloc(&cache).expect("grown")).collect();
    assert_eq!(grown.slab_counters().nr_pages, nr_pages);
    for object in objects {
        // SAFETY: not used any more.
        unsafe { test.heap.cache_free(&cache, object) }.expect("ours");
    }
    assert!(matches!(test.heap.cache_grow(&cache, 1 << 20), Err(Error::OutOfMemory { .. })));
    test.heap.cache_reap(&cache);
    assert_eq!(grown.slab_counters().nr_pages, 0);
    test.heap.destroy_cache(cache).expect("nothing out");
    test.check_empty();
}

static NR_BUILT: AtomicUsize = AtomicUsize::new(0);
static NR_RUINED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn construction_survives_a_free_and_is_undone_at_the_slab() {
    let test = TestHeap::new(512);
    let settings = Settings {
        constructor: Some(|object| {
            NR_BUILT.fetch_add(1, Ordering::Relaxed);
            // SAFETY: an object of 48 bytes.
            unsafe { object.cast::<u64>().write(0x0b1ec7) };
            Ok(())
        }),
        destructor: Some(|object| {
            NR_RUINED.fetch_add(1, Ordering::Relaxed);
            // SAFETY: as above.
            assert_eq!(unsafe { object.cast::<u64>().read() }, 0x0b1ec7);
        }),
        ..Settings::new("constructed", 48, 8)
    };
    let cache = test.heap.create_cache(settings).expect("room for a cache");
    for _ in 0..1000 {
        let object = test.heap.cache_alloc(&cache).expect("memory");
        // SAFETY: constructed; then not used any more.
        unsafe {
            assert_eq!(object.cast::<u64>().read(), 0x0b1ec7);
            test.heap.cache_free(&cache, object).expect("ours");
        }
    }
    assert!(NR_BUILT.load(Ordering::Relaxed) <= 62, "constructed again: {NR_BUILT:?}");
    let out = test.heap.cache_alloc(&cache).expect("memory");
    let (cache, error) = test.heap.destroy_cache(cache).expect_err("an object is out");
    assert_eq!(error, Error::Busy { nr_objects: 1 });
    // SAFETY: not used any more.
    unsafe { test.heap.cache_free(&cache, out) }.expect("ours");
    test.heap.destroy_cache(cache).expect("all objects are back");
    assert_eq!(NR_BUILT.load(Ordering::Relaxed), NR_RUINED.load(Ordering::Relaxed));
    test.check_empty();
}

#[test]
fn a_constructor_that_refuses_fails_the_allocation_and_loses_nothing() {
    let test = TestHeap::new(256);
    let refuse =
        Settings { constructor: Some(|_| Err(Error::OutOfMemory { bytes: 1 })), ..Settings::new("refuses", 48, 8) };
    let cache = test.heap.create_cache(refuse).expect("room for a cache");
    assert_eq!(test.heap.cache_alloc(&cache), Err(Error::OutOfMemory { bytes: 48 }));
    test.check();
    test.heap.destroy_cache(cache).expect("none was ever out");
    test.check_empty();
}

#[test]
fn caches_end_at_the_limit_and_absurd_settings_are_refused() {
    let test = TestHeap::new(256);
    let mut handles = Vec::new();
    for _ in NR_CLASSES + NR_PLACES..MAX_CACHES {
        handles.push(test.heap.create_cache(Settings::new("one of many", 32, 8)).expect("room"));
    }
    assert!(matches!(test.heap.create_cache(Settings::new("one more", 32, 8)), Err(Error::OutOfMemory { .. })));
    test.heap.destroy_cache(handles.pop().expect("made above")).expect("nothing out");
    for (size, align, bad) in [
        (0, 8, 0),
        (MAX_CLASS_SIZE + 1, 8, MAX_CLASS_SIZE + 1),
        (8, 3, 3),
        (8, 8192, 8192),
        (usize::MAX, 8, usize::MAX),
    ] {
        let refused = test.heap.create_cache(Settings::new("absurd", size, align));
        assert_eq!(refused.map(|_| ()), Err(Error::BadRequest { value: bad }));
    }
    for handle in handles {
        test.heap.destroy_cache(handle).expect("nothing out");
    }
    test.check_empty();
}
