//! What a reap gives back: at an interval what lay idle in it, for one cache what this cache holds, under pressure all.

mod common;

use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::NonNull;

use common::TestHeap;
use mm::cache::{Cache, Reaped, Settings};
use mm::frame::Frame;
use mm::frame_table::Kind;
use mm::heap::{CacheHandle, Heap};
use mm::size_class::{self, NR_CLASSES};

/// Large enough that a CPU has no rack: what does not fit two magazines goes to the depot.
const SIZE: usize = 1024;
const OBJECTS_PER_PAGE: u64 = 4;
const ROUNDS: usize = 62;

fn cache<'a>(test: &'a TestHeap, handle: &CacheHandle) -> &'a Cache<common::Host> {
    test.heap.caches().find(|(id, _)| *id == handle.id()).expect("live").1
}

fn alloc(test: &TestHeap, handle: &CacheHandle, nr_objects: usize) -> Vec<NonNull<u8>> {
    (0..nr_objects).map(|_| test.heap.cache_alloc(handle).expect("memory")).collect()
}

fn free(test: &TestHeap, handle: &CacheHandle, objects: Vec<NonNull<u8>>) {
    for object in objects {
        // SAFETY: not used any more.
        unsafe { test.heap.cache_free(handle, object) }.expect("ours");
    }
}

/// Full and empty magazines in the depot.
fn in_depot(cache: &Cache<common::Host>) -> (u64, u64) {
    let counters = cache.depot_counters();
    (counters.nr_full, counters.nr_empty)
}

#[test]
fn an_interval_without_traffic_makes_the_depot_idle_and_one_with_traffic_what_it_did_not_need() {
    let test = TestHeap::new(1024);
    let handle = test.heap.create_cache(Settings::new("spiky", SIZE, 8)).expect("room for a cache");
    let cache = cache(&test, &handle);
    assert_eq!(cache.magazine_rounds(), ROUNDS);
    let objects = alloc(&test, &handle, 10 * ROUNDS);
    free(&test, &handle, objects);
    // Ten magazines' worth and the rest of a slab: one full and one begun magazine are the CPU's.
    let nr_on_cpu = ROUNDS as u64 + OBJECTS_PER_PAGE;
    assert_eq!(in_depot(cache), (9, 0));
    // The depot was empty at some time in this interval.
    assert_eq!(test.heap.reap_idle(), Reaped::default());
    assert_eq!(in_depot(cache), (9, 0));
    // Needs what the CPU has, and four of the depot's.
    let objects = alloc(&test, &handle, 5 * ROUNDS);
    assert_eq!(in_depot(cache), (5, 4));
    free(&test, &handle, objects);
    assert_eq!(in_depot(cache), (9, 0));
    assert_eq!(test.heap.reap_idle(), Reaped { nr_magazines: 5, nr_pages: 0 });
    assert_eq!(in_depot(cache), (4, 0), "the working set stays");
    assert_eq!(cache.slab_counters().nr_out, nr_on_cpu + 4 * ROUNDS as u64);
    // The slabs were emptied when the last interval was over: now they have been empty for a whole one.
    let nr_empty = cache.slab_counters().nr_empty;
    assert_eq!(nr_empty, 20);
    assert_eq!(test.heap.reap_idle(), Reaped { nr_magazines: 4, nr_pages: nr_empty });
    let slabs = cache.slab_counters();
    assert_eq!((slabs.nr_slabs, slabs.nr_empty), (nr_on_cpu.div_ceil(OBJECTS_PER_PAGE), 0));
    // The page of the magazines that went.
    assert_eq!(test.heap.reap_idle(), Reaped { nr_magazines: 0, nr_pages: 1 });
    assert_eq!((cache.slab_counters().nr_empty, in_depot(cache)), (0, (0, 0)));
    assert_eq!(test.heap.cache_account(handle.id()).nr_in_magazines, nr_on_cpu, "a CPU's own are in use");
    assert_eq!(test.heap.reap_idle(), Reaped::default());
    test.check();
    // Under pressure all goes.
    test.heap.reclaim();
    assert_eq!(cache.slab_counters().nr_slabs, 0);
    test.heap.destroy_cache(handle).expect("nothing out");
    test.check_empty();
}

#[test]
fn empty_magazines_that_nobody_needs_are_idle_too() {
    let test = TestHeap::new(1024);
    let handle = test.heap.create_cache(Settings::new("consumed", SIZE, 8)).expect("room for a cache");
    let cache = cache(&test, &handle);
    test.enter_cpu(1);
    let objects = alloc(&test, &handle, 8 * ROUNDS);
    free(&test, &handle, objects);
    test.enter_cpu(0);
    // CPU 0 takes six full ones and leaves the empty ones, the first from its own hands.
    let objects = alloc(&test, &handle, 6 * ROUNDS);
    let (nr_full, nr_empty) = in_depot(cache);
    assert_eq!((nr_full, nr_empty), (0, 4));
    assert_eq!(test.heap.reap_idle(), Reaped::default());
    assert_eq!(test.heap.reap_idle().nr_magazines, 4);
    assert_eq!(in_depot(cache), (0, 0));
    free(&test, &handle, objects);
    test.park_other_cpus();
    test.heap.destroy_cache(handle).expect("nothing out");
    test.check_empty();
}

#[test]
fn reaping_one_cache_drains_it_on_every_cpu_and_leaves_the_others_alone() {
    let test = TestHeap::new(1024);
    let reaped = test.heap.create_cache(Settings::new("reaped", SIZE, 8)).expect("room for a cache");
    let other = test.heap.create_cache(Settings::new("other", SIZE, 8)).expect("room for a cache");
    for cpu in [2, 1, 0] {
        test.enter_cpu(cpu);
        for handle in [&reaped, &other] {
            let objects = alloc(&test, handle, 4 * ROUNDS);
            free(&test, handle, objects);
        }
    }
    test.park_other_cpus();
    let before = (test.heap.cache_account(other.id()), cache(&test, &other).slab_counters());
    assert!(before.0.nr_in_magazines >= 3 * ROUNDS as u64 && before.0.nr_in_depot > 0, "{before:?}");
    assert!(test.heap.cache_account(reaped.id()).nr_in_magazines >= 3 * ROUNDS as u64);
    test.heap.cache_reap(&reaped);
    let sum = test.heap.cache_account(reaped.id());
    assert_eq!((sum.nr_out, sum.nr_in_magazines, sum.nr_in_depot), (0, 0, 0), "{sum:?}");
    assert_eq!(cache(&test, &reaped).slab_counters().nr_slabs, 0);
    assert_eq!((test.heap.cache_account(other.id()), cache(&test, &other).slab_counters()), before);
    // A request for one does not stay: the next one is for all.
    test.heap.reclaim();
    assert_eq!(cache(&test, &other).slab_counters().nr_slabs, 0);
    test.heap.destroy_cache(reaped).expect("nothing out");
    test.heap.destroy_cache(other).expect("nothing out");
    test.check_empty();
}

/// Takes an object of one size after another, the largest first, and frees them; then all frames that are left: CPU 1
/// has much of memory in its magazines then, and nothing is free. Returns the frames.
fn hoard(test: &TestHeap) -> Vec<Frame> {
    test.enter_cpu(1);
    let frames = test.heap.frames();
    for class in (size_class::index(1024) + 1..NR_CLASSES).rev() {
        if frames.nr_free() < 64 {
            break;
        }
        let layout = Layout::from_size_align(size_class::size(class), 8).expect("a valid layout");
        let object = test.heap.alloc(layout).expect("memory");
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout) }.expect("ours");
    }
    let mut rest = Vec::new();
    for cpu in [1, 0] {
        test.enter_cpu(cpu);
        rest.extend(std::iter::from_fn(|| frames.alloc(Kind::Owned).ok()));
    }
    rest
}

#[test]
#[cfg_attr(miri, ignore)]
fn a_cpu_without_memory_for_a_magazine_gets_one_before_long() {
    const NR_PAIRS: usize = 20_000;
    let layout = Layout::from_size_align(64, 8).expect("a valid layout");
    let id = size_class::index(64) as u16;
    let test = TestHeap::new(512);
    test.enter_cpu(1);
    test.enter_cpu(0);
    test.park_other_cpus();
    // A slab with room, and no magazine before it.
    let witness = test.heap.alloc_direct(layout).expect("memory");
    let rest = hoard(&test);
    assert_eq!(test.heap.frames().nr_free(), 0);
    let nr_reclaims = test.heap.nr_reclaims();
    for _ in 0..NR_PAIRS {
        let object = test.heap.alloc(layout).expect("the slab has room");
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout) }.expect("ours");
    }
    assert_eq!(test.heap.nr_reclaims() - nr_reclaims, 1, "one reclaim is enough");
    let nr_visits = test.heap.cache_account(id).nr_slab_visits;
    assert!(nr_visits < 2100, "{nr_visits} visits to slabs in {NR_PAIRS} pairs");
    // SAFETY: not used any more.
    unsafe { test.heap.dealloc_direct(witness, layout) }.expect("ours");
    for frame in rest {
        // SAFETY: as above.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
    test.check_empty();
}

thread_local! {
    static HEAP: Cell<Option<&'static Heap<common::Host>>> = const { Cell::new(None) };
    static NR_PURGES: Cell<u32> = const { Cell::new(0) };
}

fn count_purge_and_reclaim() {
    NR_PURGES.set(NR_PURGES.get() + 1);
    HEAP.get().expect("set by the test").reclaim();
}

/// Who waits for a purge may wait for a CPU on which an interrupt, in the midst of its own purge, wants to reclaim.
#[test]
fn a_purge_excludes_nobody_from_reclaiming() {
    let test = TestHeap::new(256);
    HEAP.set(Some(test.heap));
    test.on_purge(Some(count_purge_and_reclaim));
    test.heap.reclaim();
    assert_eq!((NR_PURGES.get(), test.heap.nr_reclaims()), (1, 2));
    let too_much = Layout::from_size_align(1 << 30, 8).expect("a sane size");
    assert!(test.heap.alloc(too_much).is_err());
    assert_eq!(
        (NR_PURGES.get(), test.heap.nr_reclaims()),
        (2, 3),
        "the reclaim in the purge serves the request as well"
    );
}

/// Whoever asked for the drain may be who a purge waits for.
#[test]
fn a_destructor_that_reclaims_while_its_cpu_is_drained_for_another_waits_for_no_purge() {
    fn reclaim(_object: NonNull<u8>) {
        HEAP.get().expect("set by the test").reclaim();
    }
    let test = TestHeap::new(256);
    HEAP.set(Some(test.heap));
    let settings = Settings { destructor: Some(reclaim), ..Settings::new("reclaiming", SIZE, 8) };
    let handle = test.heap.create_cache(settings).expect("room for a cache");
    let objects = alloc(&test, &handle, 1);
    free(&test, &handle, objects);
    test.on_purge(Some(|| NR_PURGES.set(NR_PURGES.get() + 1)));
    test.heap.serve_drain();
    assert_eq!((NR_PURGES.get(), test.heap.nr_reclaims() > 0), (0, true));
}
