//! Failure at every point where it can come: each operation runs on a heap with 0, 1, 2, .. free frames until it
//! succeeds. After each failure nothing has changed, and once memory is given back the same call succeeds.
//!
//! The number of frames that an operation needs in the end is a number to hold on to: asserted here where it is exact.

mod common;
#[path = "common/starved.rs"]
mod starved;
#[path = "common/tables.rs"]
mod tables;

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr::NonNull;

use mm::arena::VirtRange;
use mm::cache::Settings;
use mm::error::{Error, Result};
use mm::frame::{Frame, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::geometry::Geometry;
use mm::heap::CacheHandle;
use mm::page_magazine::BATCH;
use mm::page_table::{Attributes, Level, PageTable};
use mm::size_class::{MAX_CLASS_SIZE, NR_CLASSES, size};
use starved::{H, Starved, fail_until_it_succeeds};
use tables::{Bits, Flushed, HeapTables};

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a valid layout")
}

/// Takes an object of `size` bytes by `alloc` until there is memory for it; returns how many frames that takes.
fn frames_for(size: usize, alloc: impl Fn(H) -> Result<NonNull<u8>>) -> usize {
    fail_until_it_succeeds(
        |_| (),
        |heap, ()| {
            let object = alloc(heap)?;
            // SAFETY: of `size` bytes.
            unsafe { object.write_bytes(0x5a, size) };
            Ok(object)
        },
        // SAFETY: not used any more.
        |heap, (), object| unsafe { heap.free(object) }.expect("ours"),
        |_, ()| (),
    )
}

/// Fewest pages from which an object of this class can be had.
fn least_pages(class: usize) -> usize {
    let smallest = if size(class) <= 128 { size(class) } else { size(class - 1) + 1 };
    let geometry = Geometry::new(size(class), smallest);
    geometry.single_page().unwrap_or(geometry).nr_pages
}

#[test]
fn af14_every_size_class() {
    for class in (0..NR_CLASSES).step_by(if cfg!(miri) { 39 } else { 6 }) {
        let nr_frames = frames_for(size(class), |heap| heap.alloc(layout(size(class), 8)));
        let least = least_pages(class);
        // A magazine takes a page, and while adjacent ones are looked for a batch of single ones lies aside.
        assert!((least..=least + BATCH + 1).contains(&nr_frames), "class {class}: {nr_frames} frames, not {least}");
    }
}

#[test]
fn af14_every_size_class_is_served_as_long_as_its_slab_can_be_had() {
    for class in 0..NR_CLASSES {
        let nr_frames = frames_for(size(class), |heap| heap.alloc(layout(size(class), 8)));
        assert_eq!(nr_frames, least_pages(class), "class {class}");
    }
}

#[test]
fn af14_zeroed_memory() {
    for size in [1, 100, 4096, MAX_CLASS_SIZE + 1] {
        let nr_frames = frames_for(size, |heap| {
            let object = heap.alloc_zeroed(layout(size, 8))?;
            // SAFETY: zeroed, of `size` bytes.
            let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), size) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            Ok(object)
        });
        assert!(nr_frames >= size.div_ceil(PAGE_SIZE));
    }
}

#[test]
fn af14_memory_without_a_layout_and_memory_in_runs() {
    frames_for(33, |heap| heap.malloc(33));
    for nr_pages in [9, 34] {
        let size = nr_pages * PAGE_SIZE;
        assert_eq!(frames_for(size, |heap| heap.malloc(size)), nr_pages);
        let aligned = frames_for(size, |heap| heap.alloc(layout(size, 2 * PAGE_SIZE)));
        assert!((nr_pages..=nr_pages + 1).contains(&aligned));
    }
}

#[test]
fn af14_the_global_allocator_says_so_with_a_null_pointer() {
    for size in [24, 50_000] {
        frames_for(size, |heap| {
            // SAFETY: the layout has a size.
            let object = unsafe { GlobalAlloc::alloc(heap, layout(size, 8)) };
            NonNull::new(object).ok_or(Error::OutOfMemory { bytes: size })
        });
    }
}

#[test]
fn af14_growing_an_object_keeps_the_old_one_when_it_fails() {
    for (old, new) in [(100, 3000), (2000, 50_000), (50_000, 70_000)] {
        let op = fail_until_it_succeeds(
            |heap| {
                let object = heap.malloc(old).expect("memory");
                // SAFETY: of `old` bytes.
                unsafe { object.write_bytes(0x77, old) };
                Cell::new(object)
            },
            |heap, object| {
                // SAFETY: live; on success only the result is used.
                let result = unsafe { heap.realloc(object.get(), new) };
                let live = result.unwrap_or(object.get());
                // SAFETY: of `old` bytes or more, all written.
                let bytes = unsafe { std::slice::from_raw_parts(live.as_ptr(), old) };
                assert!(bytes.iter().all(|&byte| byte == 0x77), "contents lost from {old} to {new}");
                assert!(heap.usable_size(live).expect("live") >= if result.is_ok() { new } else { old });
                object.set(live);
                result.map(|_| ())
            },
            // Shrunk again: into a fresh small object, for which there is the old one's room.
            |heap, object, ()| {
                // SAFETY: live; only the result is used.
                object.set(unsafe { heap.realloc(object.get(), old) }.expect("room for less"));
            },
            |heap, object| {
                // SAFETY: not used any more.
                unsafe { heap.free(object.get()) }.expect("ours");
            },
        );
        assert!(op > 0, "{old} to {new}");
    }
}

/// Caches whose construction takes memory of its own, from the heap and from frames, and so can fail half way.
fn building_cache(heap: H, size: usize) -> CacheHandle {
    thread_local! { static HEAP: Cell<Option<H>> = const { Cell::new(None) }; }
    HEAP.set(Some(heap));
    let settings = Settings {
        constructor: Some(|object| {
            let part = HEAP.get().expect("set above").malloc(900)?;
            // SAFETY: an object of 64 bytes or more.
            unsafe { object.cast::<NonNull<u8>>().write(part) };
            Ok(())
        }),
        destructor: Some(|object| {
            // SAFETY: constructed above, and destroyed once.
            unsafe { HEAP.get().expect("set above").free(object.cast::<NonNull<u8>>().read()) }.expect("ours");
        }),
        ..Settings::new("built of two", size, 8)
    };
    heap.create_cache(settings).expect("room for a cache")
}

#[test]
fn af14_objects_whose_constructor_allocates() {
    for size in [64, 1500, 9000] {
        let op = fail_until_it_succeeds(
            |heap| building_cache(heap, size),
            |heap, cache| heap.cache_alloc(cache),
            // SAFETY: not used any more.
            |heap, cache, object| unsafe { heap.cache_free(cache, object) }.expect("ours"),
            |heap, cache| heap.destroy_cache(cache).expect("nothing out"),
        );
        assert!(op >= 2, "a page for the object, one for its part");
    }
}

#[test]
fn af14_one_reclaim_brings_back_what_destructors_free() {
    let test = common::TestHeap::new(256);
    let cache = building_cache(test.heap, 64);
    let object = test.heap.cache_alloc(&cache).expect("memory");
    // SAFETY: not used any more.
    unsafe { test.heap.cache_free(&cache, object) }.expect("ours");
    test.heap.reclaim();
    let account = test.heap.account();
    assert_eq!(account.nr_free, account.nr_managed, "{account:?}");
}

#[test]
fn af14_making_growing_and_unmaking_a_cache() {
    let op = fail_until_it_succeeds(
        |_| (),
        |heap, ()| {
            let cache = heap.create_cache(Settings::new("grown", 500, 8)).expect("takes no memory");
            match heap.cache_grow(&cache, 100) {
                Ok(()) => Ok(cache),
                Err(error) => {
                    heap.destroy_cache(cache).expect("nothing out");
                    Err(error)
                }
            }
        },
        |heap, (), cache| heap.destroy_cache(cache).expect("nothing out"),
        |_, ()| (),
    );
    let nr_objects = PAGE_SIZE / 504;
    assert_eq!(op, 100_usize.div_ceil(nr_objects), "pages of {nr_objects} objects");
}

#[test]
fn af14_frames_and_runs_of_frames() {
    let one = fail_until_it_succeeds(
        |_| (),
        |heap, ()| heap.alloc_frame(Kind::Owned),
        // SAFETY: not used.
        |heap, (), frame| unsafe { heap.frames().free(frame, Kind::Owned) }.expect("ours"),
        |_, ()| (),
    );
    assert_eq!(one, 1);
    for nr_pages in [1, 2, 40] {
        let run = fail_until_it_succeeds(
            |_| (),
            |heap, ()| heap.alloc_run(RunRequest::pages(nr_pages), Kind::Owned),
            // SAFETY: not used.
            |heap, (), run| unsafe { heap.frames().free_run(run, Kind::Owned) }.expect("ours"),
            |_, ()| (),
        );
        assert_eq!(run, nr_pages);
    }
}

#[test]
fn af14_page_tables_from_the_heap() {
    // Across a boundary of every level: with the root 7 tables.
    let pages = VirtRange::new(0xffff_a000_0000_0000 - PAGE_SIZE, 2).expect("canonical");
    let op = fail_until_it_succeeds(
        |_| (),
        |heap, ()| {
            let tables = HeapTables::new(heap);
            let result = PageTable::new(Bits, tables.clone()).and_then(|table| {
                let mapped = table.map_frames(pages, [5, 6].map(Frame::new).into_iter(), Attributes::READ_WRITE);
                assert_eq!(table.nr_tables(), tables.nr_taken(), "tables in the tree and tables taken");
                let nr_leaves = if mapped.is_ok() { 2 } else { 0 };
                assert_eq!(table.leaves(pages).count(), nr_leaves);
                mapped
            });
            if result.is_err() {
                tables.free_all();
            }
            result.map(|()| tables)
        },
        |_, (), tables| tables.free_all(),
        |_, ()| (),
    );
    assert_eq!(op, 7);
}

#[test]
fn af14_a_mapping_that_failed_goes_on_from_the_tables_it_has() {
    for nr_left in 0..6 {
        let mut starved = Starved::new();
        let tables = HeapTables::new(starved.test.heap);
        let table = PageTable::new(Bits, tables.clone()).expect("memory");
        let pages = VirtRange::new(0xffff_a000_0000_0000 - PAGE_SIZE, 2).expect("canonical");
        starved.starve(nr_left);
        let failed = table.map(pages, 0, Attributes::READ_ONLY, Level::L1);
        assert_eq!(failed, Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
        assert_eq!(tables.nr_taken(), 1 + nr_left);
        starved.test.check();
        starved.feed();
        table.map(pages, 0, Attributes::READ_ONLY, Level::L1).expect("memory again");
        // SAFETY: nothing is reached by these addresses.
        let token = unsafe { table.unmap(pages) }.expect("mapped");
        token.release(&Flushed(2), |extent| assert!(extent.phys < 2 * PAGE_SIZE as u64));
        assert_eq!(tables.nr_taken(), 7);
        tables.free_all();
        starved.finish();
    }
}

#[test]
fn af14_a_free_needs_no_memory() {
    for size in [16, 4096, 9000] {
        for nr_left in 0..3 {
            let mut starved = Starved::new();
            let heap = starved.test.heap;
            let nr_objects = 70.min(120 * PAGE_SIZE / size / 2);
            let objects: Vec<_> = (0..nr_objects).map(|_| heap.alloc(layout(size, 8)).expect("memory")).collect();
            starved.starve(nr_left);
            for object in objects {
                // SAFETY: not used any more.
                unsafe { heap.dealloc(object, layout(size, 8)) }.expect("a free never fails for lack of memory");
                starved.test.check();
            }
            starved.finish();
        }
    }
}
