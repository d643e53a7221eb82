//! The whole stack, from the heap to the frame bitmap, on a machine of the host's memory.

mod common;

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::TrySendError;

use common::{TestHeap, take_findings, take_reports, with_guard_pool};
use mm::bank::MAX_CACHES;
use mm::cache::Settings;
use mm::debug::{DebugFlags, DebugRules};
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::frame_table::Kind;
use mm::size_class::{MAX_CLASS_SIZE, NR_CLASSES};
use proptest::prelude::*;

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
    for _ in NR_CLASSES..MAX_CACHES {
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

#[test]
fn threads_as_cpus_lose_nothing_when_objects_are_freed_elsewhere() {
    // Room for all that can be on its way at once: a thread that the host lets wait frees nothing meanwhile.
    let test = TestHeap::new(if cfg!(miri) { 2048 } else { 40_000 });
    pass_objects_on(&test, if cfg!(miri) { 30 } else { 20_000 });
}

#[test]
fn threads_as_cpus_are_right_in_the_eyes_of_every_debug_check_and_of_a_walk_beside_them() {
    let test = TestHeap::with_rules(if cfg!(miri) { 2048 } else { 40_000 }, &ALL_CHECKS);
    pass_objects_on(&test, if cfg!(miri) { 10 } else { 4000 });
    assert_eq!(take_findings(), []);
}

/// Four threads allocate `rounds` objects each, and each frees what the one before it allocated; a fifth checks them all.
fn pass_objects_on(test: &TestHeap, rounds: usize) {
    let nr_cpus = 4;
    let banks: Vec<_> = (0..nr_cpus).map(|cpu| test.bank(cpu)).collect();
    let heap = test.heap;
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..nr_cpus).map(|_| std::sync::mpsc::sync_channel::<(usize, usize)>(500)).unzip();
    std::thread::scope(|scope| {
        for (cpu, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(cpu + 1) % nr_cpus].clone();
            let bank = banks[cpu];
            scope.spawn(move || {
                common::enter_bank(bank);
                let free = |(addr, size): (usize, usize)| {
                    let object = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(addr)).expect("not null");
                    verify(object, size.min(64), size);
                    // SAFETY: sent by its only owner, not used any more.
                    unsafe { heap.dealloc(object, layout(size, 8)) }.expect("ours");
                };
                let mut random = cpu as u64 + 1;
                for _ in 0..rounds {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let size = 16 + (random >> 40) as usize % 1500;
                    let object = heap.alloc(layout(size, 8)).expect("memory");
                    stamp(object, size.min(64), size);
                    // Not more than so many on the way: a thread that does not run must not hold up all memory.
                    while let Err(error) = next.try_send((object.as_ptr().expose_provenance(), size)) {
                        assert!(matches!(error, TrySendError::Full(_)), "the next CPU listens");
                        receiver.try_iter().for_each(free);
                        std::thread::yield_now();
                    }
                    receiver.try_iter().for_each(free);
                }
                drop(next);
                receiver.iter().for_each(free);
                assert_eq!(take_reports(), []);
                assert_eq!(take_findings(), []);
            });
        }
        drop(senders);
        test.enter_cpu(nr_cpus);
        for _ in 0..20 {
            assert_eq!(heap.check_debugged(), 0);
        }
    });
    // The threads have ended: their magazines can be drained from here.
    for bank in banks {
        common::enter_bank(bank);
        heap.drain_this_cpu();
    }
    test.check_empty();
}

#[derive(Clone, Debug)]
enum Op {
    Alloc { size: usize, shift: u32 },
    Free { which: usize },
    Realloc { which: usize, size: usize },
    Frame,
    Drain,
    Reclaim,
    Cpu { cpu: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let size = prop_oneof![4 => 0..600_usize, 2 => 0..40_000_usize, 1 => 0..300_000_usize];
    let op = prop_oneof![
        8 => (size.clone(), 0..14_u32).prop_map(|(size, shift)| Op::Alloc { size, shift }),
        7 => (0..1000_usize).prop_map(|which| Op::Free { which }),
        1 => (0..1000_usize, size).prop_map(|(which, size)| Op::Realloc { which, size }),
        1 => Just(Op::Frame),
        1 => Just(Op::Drain),
        1 => Just(Op::Reclaim),
        2 => (0..3_usize).prop_map(|cpu| Op::Cpu { cpu }),
    ];
    proptest::collection::vec(op, 1..if cfg!(miri) { 30 } else { 250 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 32 }, ..ProptestConfig::default() })]

    /// The model: which byte ranges are live, with which contents. Live ranges never overlap, keep their contents, and
    /// the account adds up after every step.
    #[test]
    fn the_stack_behaves_like_a_map_of_disjoint_ranges(ops in ops()) {
        follow_the_model(&TestHeap::new(1024), ops)?;
    }

    /// The same with every debug check on every cache, and none finds anything.
    #[test]
    fn the_stack_behaves_the_same_with_all_debug_checks(ops in ops()) {
        follow_the_model(&TestHeap::with_rules(4096, &ALL_CHECKS), ops)?;
        prop_assert_eq!(take_findings(), []);
    }

    /// And when every third visit behind the magazines gets a guarded object.
    #[test]
    fn the_stack_behaves_the_same_with_guarded_objects(ops in ops()) {
        let test = TestHeap::new(1024);
        with_guard_pool();
        test.heap.set_guard_interval(3);
        follow_the_model(&test, ops)?;
        prop_assert_eq!(take_findings(), []);
    }

    /// And with each of them alone.
    #[test]
    fn the_stack_behaves_the_same_with_one_debug_check(ops in ops(), which in 0..3_usize) {
        follow_the_model(&TestHeap::with_rules(4096, ONE_CHECK[which]), ops)?;
        prop_assert_eq!(take_findings(), []);
    }
}

static ALL_CHECKS: DebugRules = |_, _| DebugFlags::ALL;
static POISON: DebugRules = |_, _| DebugFlags::POISON;
static REDZONE: DebugRules = |_, _| DebugFlags::REDZONE;
static AUDIT: DebugRules = |_, _| DebugFlags::AUDIT;
const ONE_CHECK: [&DebugRules; 3] = [&POISON, &REDZONE, &AUDIT];

fn follow_the_model(test: &TestHeap, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut live: BTreeMap<usize, (NonNull<u8>, Layout, usize)> = BTreeMap::new();
    let mut frames = Vec::new();
    for (step, op) in ops.into_iter().enumerate() {
        match op {
            Op::Alloc { size, shift } => {
                let layout = layout(size, 1 << shift);
                if let Ok(object) = test.heap.alloc(layout) {
                    let start = object.addr().get();
                    prop_assert_eq!(start % layout.align(), 0);
                    let before = live.range(..start + size.max(1)).next_back();
                    prop_assert!(before.is_none_or(|(&at, (_, other, _))| at + other.size().max(1) <= start));
                    stamp(object, size, step);
                    live.insert(start, (object, layout, step));
                }
            }
            Op::Free { which } | Op::Realloc { which, .. } if live.is_empty() => {
                let _ = which;
            }
            Op::Free { which } => {
                let key = *live.keys().nth(which % live.len()).expect("in range");
                let (object, layout, seed) = live.remove(&key).expect("live");
                verify(object, layout.size(), seed);
                // SAFETY: removed from the model, not used any more.
                unsafe { test.heap.dealloc(object, layout) }.expect("ours");
            }
            Op::Realloc { which, size } => {
                let key = *live.keys().nth(which % live.len()).expect("in range");
                let (object, old, seed) = live[&key];
                if old.align() <= 16 {
                    // SAFETY: live; the old address is not used on success.
                    if let Ok(new) = unsafe { test.heap.realloc(object, size) } {
                        live.remove(&key);
                        verify(new, size.min(old.size()), seed);
                        stamp(new, size, step);
                        live.insert(new.addr().get(), (new, layout(size, 16), step));
                    }
                }
            }
            Op::Frame => {
                if let Ok(frame) = test.heap.alloc_frame(Kind::Owned) {
                    frames.push(frame);
                }
            }
            Op::Drain => test.heap.drain_this_cpu(),
            Op::Reclaim => test.heap.reclaim(),
            Op::Cpu { cpu } => test.enter_cpu(cpu),
        }
        test.check();
    }
    for (object, layout, seed) in live.into_values() {
        verify(object, layout.size(), seed);
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout) }.expect("ours");
    }
    for frame in frames {
        // SAFETY: not used any more.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
    for cpu in 0..3 {
        test.enter_cpu(cpu);
        test.heap.drain_this_cpu();
    }
    prop_assert_eq!(test.heap.check_debugged(), 0);
    test.check_empty();
    prop_assert_eq!(take_reports(), []);
    Ok(())
}
