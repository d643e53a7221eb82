//! Latency recording: each slow operation counts once, for the deepest layer it came to, and hits are sampled.
//!
//! The test machine's clock ticks when it is read, so that durations are exact: they count readings.

mod common;

use std::alloc::Layout;
use std::ptr::NonNull;

use common::{Host, TestHeap};
use mm::heap::Heap;
use mm::histogram::Histogram;
use mm::latency::{Operation, Path, Scope};
use mm::size_class;

fn histogram(heap: &Heap<Host>, scope: Scope, operation: Operation, path: Path) -> Histogram {
    let mut histogram = Histogram::new();
    heap.add_latency_to(scope, operation, path, &mut histogram);
    histogram
}

/// Samples by operation and path.
fn counts(heap: &Heap<Host>, scope: Scope) -> [[u64; 5]; 2] {
    Operation::ALL.map(|operation| Path::ALL.map(|path| histogram(heap, scope, operation, path).count()))
}

fn added(one: [[u64; 5]; 2], other: [[u64; 5]; 2]) -> [[u64; 5]; 2] {
    let mut sum = one;
    for (sum, other) in sum.iter_mut().flatten().zip(other.iter().flatten()) {
        *sum += other;
    }
    sum
}

/// What the layers' own counters say: how often each was asked, the deepest last.
fn depths(heap: &Heap<Host>, id: u16) -> [u64; 4] {
    let of = heap.cache_statistics(id).expect("live");
    let magazines = heap.supply().magazine_counters();
    let (visits, slabs) =
        magazines.fold((0, 0), |sum, (_, of)| (sum.0 + of.nr_visits, sum.1 + of.nr_created + of.nr_destroyed));
    [of.cpu_swaps, of.depot_visits, of.refills + of.flushes + visits, of.slab_create + of.slab_destroy + slabs]
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a valid layout")
}

fn free(heap: &Heap<Host>, object: NonNull<u8>, size: usize) {
    // SAFETY: the tests use no object after its free.
    unsafe { heap.dealloc(object, layout(size)) }.expect("ours");
}

#[test]
fn every_slow_operation_counts_for_the_deepest_layer_that_it_came_to() {
    let test = TestHeap::new(2048);
    let (heap, size) = (test.heap, 512);
    let id = size_class::index(size) as u16;
    heap.record_latency().expect("memory");
    let mut model = [[0; 5]; 2];
    let mut live: Vec<NonNull<u8>> = Vec::new();
    let mut random = 88_172_645_463_325_252_u64;
    // Long rises and falls, so that every layer is needed.
    for op in 0..if cfg!(miri) { 300 } else { 60_000 } {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let rises = (op / 4000) % 2 == 0;
        let before = depths(heap, id);
        let operation = if live.is_empty() || (random % 100 < 85) == rises {
            live.push(heap.alloc(layout(size)).expect("memory"));
            Operation::Alloc
        } else {
            free(heap, live.pop().expect("not empty"), size);
            Operation::Free
        };
        let after = depths(heap, id);
        if let Some(deepest) = (0..4).rev().find(|&i| after[i] != before[i]) {
            model[operation as usize][deepest + 1] += 1;
        }
    }
    let found = counts(heap, Scope::Cache(id));
    for (operation, (found, model)) in found.iter().zip(&model).enumerate() {
        assert_eq!(found[1..], model[1..], "operation {operation}");
        if !cfg!(miri) {
            assert!(model[1..].iter().all(|&count| count > 0), "a layer is not reached: {model:?}");
        }
        // Each one that brought a magazine ended with a hit on it.
        let nr_slow: u64 = found[1..].iter().sum();
        assert_eq!(found[0], nr_slow, "operation {operation}");
    }
    live.into_iter().for_each(|object| free(heap, object, size));
    test.check();
}

#[test]
fn durations_are_those_of_the_clock() {
    let test = TestHeap::new(512);
    let heap = test.heap;
    assert_eq!(heap.clock_cost(), 1);
    heap.record_latency().expect("memory");
    let object = heap.alloc(layout(64)).expect("memory");
    let of = |operation, path| histogram(heap, Scope::Heap, operation, path);
    // It made a slab. Readings: at its start, around the hit, and at its end.
    let (whole, hit) = (of(Operation::Alloc, Path::Frame), of(Operation::Alloc, Path::Hit));
    assert_eq!((whole.count(), whole.max(), hit.count(), hit.max()), (1, 3, 1, 1));
    free(heap, object, 64);
    assert_eq!(counts(heap, Scope::Heap)[1], [0; 5], "a hit has no clock");
    let large = heap.alloc(layout(100_000)).expect("memory");
    free(heap, large, 100_000);
    assert_eq!(counts(heap, Scope::Heap), [[1, 0, 0, 0, 2], [0, 0, 0, 0, 1]]);
    assert_eq!(of(Operation::Free, Path::Frame).max(), 1);
}

#[test]
#[cfg_attr(miri, ignore)]
fn cpus_and_caches_add_up_to_the_heap() {
    let test = TestHeap::new(2048);
    let heap = test.heap;
    test.enter_cpu(2);
    heap.record_latency().expect("memory");
    let mut live = Vec::new();
    for op in 0..30_000_usize {
        test.enter_cpu(op % 3);
        if (op / 900) % 2 == 0 {
            let size = [40, 64, 500, 3000][op % 4];
            live.push((heap.alloc(layout(size)).expect("memory"), size));
        } else if let Some((object, size)) = live.pop() {
            free(heap, object, size);
        }
    }
    let all = counts(heap, Scope::Heap);
    assert!(all.iter().flatten().sum::<u64>() > 4);
    let by_cpu = (0..3).map(|cpu| counts(heap, Scope::Cpu(cpu)));
    assert_eq!(by_cpu.fold([[0; 5]; 2], added), all);
    let by_cache = heap.caches().map(|(id, _)| counts(heap, Scope::Cache(id)));
    assert_eq!(by_cache.fold([[0; 5]; 2], added), all);
    heap.reset_latency();
    assert_eq!(counts(heap, Scope::Heap), [[0; 5]; 2]);
}

#[test]
fn what_is_off_records_nothing_and_takes_no_memory() {
    let test = TestHeap::new(1024);
    let heap = test.heap;
    let work = || {
        let objects: Vec<_> = (0..300).map(|_| heap.alloc(layout(64)).expect("memory")).collect();
        objects.into_iter().for_each(|object| free(heap, object, 64));
    };
    work();
    assert_eq!((counts(heap, Scope::Heap), heap.nr_latency_frames()), ([[0; 5]; 2], 0));
    heap.record_latency().expect("memory");
    let nr_frames = heap.nr_latency_frames();
    let nr_recorders = heap.caches().count() as u64 + 1;
    assert_eq!(nr_frames, 5 * nr_recorders);
    heap.record_latency().expect("no further memory");
    assert_eq!(heap.nr_latency_frames(), nr_frames);
    heap.reclaim();
    work();
    let on = counts(heap, Scope::Heap);
    assert!(on.iter().flatten().sum::<u64>() > 0 && heap.is_recording_latency());
    heap.stop_recording_latency();
    heap.reclaim();
    work();
    assert_eq!((counts(heap, Scope::Heap), heap.is_recording_latency()), (on, false));
    test.check();
    let account = heap.account();
    assert_eq!(account.nr_used(mm::frame_table::Kind::Owned), nr_frames);
}

#[test]
fn without_memory_for_its_recorders_it_stays_off() {
    let test = TestHeap::new(64);
    assert!(test.heap.record_latency().is_err());
    assert_eq!((test.heap.is_recording_latency(), test.heap.nr_latency_frames()), (false, 0));
    test.check_empty();
    let object = test.heap.alloc(layout(64)).expect("memory");
    assert_eq!(counts(test.heap, Scope::Heap), [[0; 5]; 2]);
    free(test.heap, object, 64);
}

#[test]
fn a_constructor_that_allocates_is_timed_by_itself() {
    use std::cell::Cell;
    thread_local! {
        static HEAP: Cell<Option<&'static Heap<Host>>> = const { Cell::new(None) };
        static INNER: Cell<Option<NonNull<u8>>> = const { Cell::new(None) };
    }
    let test = TestHeap::new(1024);
    let heap = test.heap;
    HEAP.set(Some(heap));
    let settings = mm::cache::Settings {
        constructor: Some(|_| {
            if INNER.get().is_none() {
                INNER.set(Some(HEAP.get().expect("set").alloc(layout(128))?));
            }
            Ok(())
        }),
        ..mm::cache::Settings::new("nested", 2048, 8)
    };
    let cache = heap.create_cache(settings).expect("memory");
    // There are slabs for the outer one, while the inner one has to make its own.
    heap.cache_grow(&cache, 30).expect("memory");
    // And magazines of its size have a slab too.
    free(heap, heap.alloc(layout(2048)).expect("memory"), 2048);
    heap.record_latency().expect("memory");
    let object = heap.cache_alloc(&cache).expect("memory");
    let inner = counts(heap, Scope::Cache(size_class::index(128) as u16));
    assert_eq!((counts(heap, Scope::Cache(cache.id()))[0], inner[0]), ([1, 0, 0, 1, 0], [1, 0, 0, 0, 1]));
    // SAFETY: not used any more.
    unsafe { heap.cache_free(&cache, object) }.expect("ours");
    free(heap, INNER.take().expect("allocated"), 128);
    HEAP.set(None);
}
