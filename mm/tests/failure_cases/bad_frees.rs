//! AF1 to AF10: frees of what is not to be freed. Those by address alone and those of frames are refused at once; those
//! with a layout when the object leaves the magazines, and then it is dropped.

use std::alloc::GlobalAlloc;
use std::ptr::NonNull;

use mm::cache::Settings;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::frame_table::Kind;
use mm::size_class;

use crate::common::{TestHeap, take_reports};
use crate::{alloc64, check_frames, free64, layout};

fn wild(addr: usize) -> NonNull<u8> {
    NonNull::new(std::ptr::without_provenance_mut(addr)).expect("not null")
}

fn double_free(object: NonNull<u8>) -> Error {
    Error::DoubleFree { addr: object.addr().get() }
}

/// Rounds of a magazine of 64-byte objects; frees of so many more bring a round behind the loaded magazine.
fn rounds64(test: &TestHeap) -> usize {
    let id = size_class::index(64) as u16;
    test.heap.caches().find(|(other, _)| *other == id).expect("live").1.magazine_rounds()
}

#[test]
fn af01_double_free_at_once() {
    let test = TestHeap::new(256);
    // Others, so that the magazine has room for both.
    let others = [(); 3].map(|()| alloc64(test.heap));
    let object = alloc64(test.heap);
    free64(test.heap, object);
    free64(test.heap, object);
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), [double_free(object)]);
    // SAFETY: all objects are in the slab by now: seen at once.
    assert_eq!(unsafe { test.heap.free(object) }, Err(double_free(object)));
    others.into_iter().for_each(|other| free64(test.heap, other));
    check_frames(&test);
}

#[test]
fn af01_double_free_of_a_large_object_and_of_a_frame_is_refused_at_once() {
    let test = TestHeap::new(256);
    let large = test.heap.alloc(layout(90_000, 8)).expect("memory");
    let frame = test.heap.alloc_frame(Kind::Owned).expect("memory");
    // SAFETY: the second frees are refused.
    unsafe {
        test.heap.dealloc(large, layout(90_000, 8)).expect("ours");
        assert_eq!(test.heap.dealloc(large, layout(90_000, 8)), Err(double_free(large)));
        test.heap.frames().free(frame, Kind::Owned).expect("ours");
        let addr = frame.addr() as usize;
        assert_eq!(test.heap.frames().free(frame, Kind::Owned), Err(Error::DoubleFree { addr }));
    }
    test.check_empty();
}

#[test]
fn af02_double_free_with_other_frees_between() {
    let test = TestHeap::new(512);
    let objects: Vec<_> = (0..3 * rounds64(&test)).map(|_| alloc64(test.heap)).collect();
    objects.iter().for_each(|&object| free64(test.heap, object));
    free64(test.heap, objects[1]);
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), [double_free(objects[1])]);
    check_frames(&test);
}

#[test]
fn af03_double_free_after_reuse_by_another_owner() {
    let test = TestHeap::new(256);
    let mine = alloc64(test.heap);
    free64(test.heap, mine);
    let theirs = alloc64(test.heap);
    assert_eq!(mine, theirs, "the magazine is a stack");
    free64(test.heap, mine);
    free64(test.heap, theirs);
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), [double_free(mine)]);
    check_frames(&test);
}

#[test]
fn af04_same_pointer_across_loaded_and_previous_magazine() {
    let test = TestHeap::new(512);
    let n = rounds64(&test);
    let objects: Vec<_> = (0..3 * n).map(|_| alloc64(test.heap)).collect();
    test.heap.drain_this_cpu();
    // It lies at the bottom of the first magazine, and above the middle of the second.
    objects[..n + n / 2].iter().for_each(|&object| free64(test.heap, object));
    free64(test.heap, objects[0]);
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), [double_free(objects[0])]);
    objects[n + n / 2..].iter().for_each(|&object| free64(test.heap, object));
    check_frames(&test);
    assert_eq!(take_reports(), []);
}

#[test]
fn af04_same_pointer_on_two_cpus() {
    let test = TestHeap::new(512);
    let object = alloc64(test.heap);
    free64(test.heap, object);
    test.enter_cpu(1);
    free64(test.heap, object);
    test.enter_cpu(0);
    test.park_other_cpus();
    test.heap.reclaim();
    assert_eq!(take_reports(), [double_free(object)]);
    check_frames(&test);
}

#[test]
fn af04_same_pointer_in_a_magazine_of_the_depot() {
    let test = TestHeap::new(2048);
    let n = rounds64(&test);
    // More than the rack and the two magazines before it hold.
    let objects: Vec<_> = (0..(mm::cpu_cache::RACK + 6) * n).map(|_| alloc64(test.heap)).collect();
    objects.iter().for_each(|&object| free64(test.heap, object));
    let id = size_class::index(64) as u16;
    assert!(test.heap.cache_account(id).nr_in_depot > 0, "the rack holds all {}", objects.len());
    free64(test.heap, objects[0]);
    test.heap.reclaim();
    assert_eq!(take_reports(), [double_free(objects[0])]);
    check_frames(&test);
}

#[test]
fn af04_the_destructor_runs_once_for_an_object_freed_twice() {
    thread_local! { static NR_RUINED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) }; }
    let test = TestHeap::new(256);
    let settings = Settings {
        constructor: Some(|object| {
            // SAFETY: an object of 48 bytes.
            unsafe { object.write(1) };
            Ok(())
        }),
        destructor: Some(|object| {
            // SAFETY: as above.
            let is_built = unsafe { object.replace(0) } == 1;
            NR_RUINED.set(NR_RUINED.get() + usize::from(!is_built));
        }),
        ..Settings::new("built", 48, 8)
    };
    let cache = test.heap.create_cache(settings).expect("room for a cache");
    // Others, so that the magazine has room for both.
    let [object, _, _] = [(); 3].map(|()| test.heap.cache_alloc(&cache).expect("memory"));
    // SAFETY: the second is the mistake under test.
    unsafe {
        test.heap.cache_free(&cache, object).expect("ours");
        test.heap.cache_free(&cache, object).expect("seen only later");
    }
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), [double_free(object)]);
    assert_eq!(NR_RUINED.get(), 0, "destroyed without having been built again");
}

#[test]
fn af01_the_account_adds_up_again_after_a_report() {
    let test = TestHeap::new(256);
    let object = alloc64(test.heap);
    free64(test.heap, object);
    free64(test.heap, object);
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), [double_free(object)]);
    let live = alloc64(test.heap);
    test.check();
    free64(test.heap, live);
    test.check_empty();
}

#[test]
fn af05_interior_pointer() {
    let test = TestHeap::new(256);
    let small = alloc64(test.heap);
    let slab = test.heap.alloc(layout(9000, 8)).expect("memory");
    let large = test.heap.malloc(90_000).expect("memory");
    for (object, offset) in [(small, 8), (small, 32), (slab, 4096), (slab, 8192), (large, 64), (large, PAGE_SIZE)] {
        // SAFETY: inside the object; the free is refused.
        unsafe {
            let inside = object.add(offset);
            assert_eq!(test.heap.free(inside), Err(Error::Foreign { addr: inside.addr().get() }), "{offset} inside");
        }
    }
    // SAFETY: inside the object.
    let inside = unsafe { small.add(16) };
    free64(test.heap, inside);
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), [Error::Foreign { addr: inside.addr().get() }]);
    free64(test.heap, small);
    // SAFETY: not used any more.
    unsafe {
        test.heap.dealloc(slab, layout(9000, 8)).expect("ours");
        test.heap.free(large).expect("ours");
    }
    check_frames(&test);
}

#[test]
fn af06_misaligned_pointer() {
    let test = TestHeap::new(256);
    let object = alloc64(test.heap);
    for offset in 1..8 {
        // SAFETY: inside the object.
        let odd = unsafe { object.add(offset) };
        // SAFETY: refused.
        assert_eq!(unsafe { test.heap.free(odd) }, Err(Error::Foreign { addr: odd.addr().get() }));
        free64(test.heap, odd);
    }
    test.heap.drain_this_cpu();
    assert_eq!(take_reports().len(), 7);
    free64(test.heap, object);
    check_frames(&test);
}

#[test]
fn af07_never_allocated_or_not_canonical() {
    let test = TestHeap::new(256);
    let object = alloc64(test.heap);
    let high = object.addr().get() | 1 << 63;
    for addr in [1, 16, 4096, 1 << 47, 0xdead_beef_dead_beef, high, usize::MAX - 7, usize::MAX] {
        let expected = Error::Foreign { addr };
        // SAFETY: refused.
        unsafe {
            assert_eq!(test.heap.free(wild(addr)), Err(expected));
            assert_eq!(test.heap.dealloc(wild(addr), layout(90_000, 8)), Err(expected));
            assert_eq!(test.heap.realloc(wild(addr), 5), Err(expected));
        }
        assert_eq!(test.heap.usable_size(wild(addr)), Err(expected));
        free64(test.heap, wild(addr));
        test.heap.drain_this_cpu();
        assert_eq!(take_reports(), [expected]);
    }
    free64(test.heap, object);
    check_frames(&test);
}

#[test]
fn af08_stack_static_and_metadata_addresses() {
    static STATIC: u64 = 0;
    let test = TestHeap::new(256);
    let local = 0_u64;
    let object = alloc64(test.heap);
    let table = NonNull::from(test.heap.frames().table()).cast();
    for addr in [NonNull::from(&local).cast(), NonNull::from(&STATIC).cast(), table] {
        let expected = Error::Foreign { addr: addr.addr().get() };
        // SAFETY: refused.
        assert_eq!(unsafe { test.heap.free(addr) }, Err(expected));
        free64(test.heap, addr);
        test.heap.drain_this_cpu();
        assert_eq!(take_reports(), [expected]);
    }
    free64(test.heap, object);
    check_frames(&test);
}

#[test]
fn af09_null_and_size_zero() {
    let test = TestHeap::new(256);
    // Null cannot be freed: `free` and `dealloc` take what is not null, and realloc of null is no allocation.
    // SAFETY: a null pointer is no memory.
    let grown = unsafe { GlobalAlloc::realloc(test.heap, std::ptr::null_mut(), layout(64, 8), 128) };
    assert!(grown.is_null());
    for align in [1, 8, 64, PAGE_SIZE, 2 * PAGE_SIZE] {
        let (a, b) = (test.heap.alloc(layout(0, align)), test.heap.alloc(layout(0, align)));
        let (a, b) = (a.expect("memory"), b.expect("memory"));
        assert!(a != b && a.addr().get().is_multiple_of(align) && b.addr().get().is_multiple_of(align));
        // SAFETY: not used any more.
        unsafe {
            test.heap.dealloc(a, layout(0, align)).expect("ours");
            test.heap.free(b).expect("ours");
        }
    }
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn af10_wrong_cache_size_or_alignment() {
    let test = TestHeap::new(512);
    let heap = test.heap;
    let owner = size_class::index(64) as u16;
    let object = alloc64(heap);
    let addr = object.addr().get();
    // Next class up, next down, far, and a size rounded up by its alignment.
    for (size, align) in [(65, 8), (56, 8), (4096, 8), (64, 128)] {
        let given = size_class::index_for(size, align).expect("a class") as u16;
        // SAFETY: the mistake under test; dropped when it is found.
        unsafe { heap.dealloc(object, layout(size, align)) }.expect("seen only later");
        heap.drain_this_cpu();
        assert_eq!(take_reports(), [Error::WrongCache { addr, owner, given }]);
    }
    let cache = heap.create_cache(Settings::new("of the same size", 64, 8)).expect("room for a cache");
    // SAFETY: as above.
    unsafe { heap.cache_free(&cache, object) }.expect("seen only later");
    heap.drain_this_cpu();
    assert_eq!(take_reports(), [Error::WrongCache { addr, owner, given: cache.id() }]);
    // SAFETY: refused: no large object starts in a slab.
    assert_eq!(unsafe { heap.dealloc(object, layout(90_000, 8)) }, Err(Error::Foreign { addr }));
    let large = heap.alloc(layout(90_000, 8)).expect("memory");
    let addr = large.addr().get();
    // SAFETY: refused, but for the last.
    unsafe {
        for given in [90_000 - PAGE_SIZE, 90_000 + PAGE_SIZE, 1 << 40] {
            assert_eq!(heap.dealloc(large, layout(given, 8)), Err(Error::WrongSize { addr, given }));
        }
        heap.dealloc(large, layout(90_000, 8)).expect("ours");
    }
    free64(heap, object);
    heap.destroy_cache(cache).expect("nothing out");
    check_frames(&test);
}
