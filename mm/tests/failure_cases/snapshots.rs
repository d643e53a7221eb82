//! AF25: what a snapshot of all counters says, at rest and while others allocate.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mm::frame::PAGE_SIZE;
use mm::heap::Heap;
use mm::size_class;
use mm::statistics::CacheStatistics;

use crate::common::{Host, TestHeap, enter_bank, take_reports};
use crate::{alloc64, free64, layout};

/// The figures of every cache, by id.
pub(crate) struct Snapshot(Vec<(u16, CacheStatistics)>);

/// The figures that count events, with their names.
fn events(of: &CacheStatistics) -> [(&'static str, u64); 21] {
    [
        ("alloc", of.alloc),
        ("alloc_fail", of.alloc_fail),
        ("free", of.free),
        ("depot_alloc", of.depot_alloc),
        ("depot_free", of.depot_free),
        ("depot_contention", of.depot_contention),
        ("slab_alloc", of.slab_alloc),
        ("slab_free", of.slab_free),
        ("slab_create", of.slab_create),
        ("slab_destroy", of.slab_destroy),
        ("buf_max", of.buf_max),
        ("reap", of.reap),
        ("alloc_direct", of.alloc_direct),
        ("free_direct", of.free_direct),
        ("free_refused", of.free_refused),
        ("cpu_swaps", of.cpu_swaps),
        ("depot_visits", of.depot_visits),
        ("refills", of.refills),
        ("refill_slabs", of.refill_slabs),
        ("flushes", of.flushes),
        ("flush_slabs", of.flush_slabs),
    ]
}

impl Snapshot {
    pub(crate) fn take(heap: &Heap<Host>) -> Self {
        let of = |id| heap.cache_statistics(id).expect("a live cache");
        Self(heap.caches().map(|(id, _)| (id, of(id))).collect())
    }

    /// Panics if an event has been forgotten since `earlier`, or one has been counted below zero.
    pub(crate) fn check_after(&self, earlier: &Self) {
        for ((id, now), (_, then)) in self.0.iter().zip(&earlier.0) {
            for ((name, now), (_, then)) in events(now).into_iter().zip(events(then)) {
                assert!(now >= then, "cache {id}: {name} fell from {then} to {now}");
                assert!(now < 1 << 62, "cache {id}: {name} is {now}, which is less than nothing");
            }
            for now in [now.buf_constructed, now.buf_avail, now.buf_inuse, now.slabs_partial, now.full_magazines] {
                assert!(now < 1 << 62, "cache {id}: {now} is less than nothing");
            }
        }
    }

    /// Panics unless every sum is right, which it is only while nobody allocates.
    pub(crate) fn check_at_rest(&self) {
        for (id, of) in &self.0 {
            let sums = [
                ("objects with users", of.alloc - (of.free - of.free_refused), of.buf_inuse),
                ("objects", of.buf_inuse + of.buf_avail, of.buf_total),
                ("objects out of slabs", of.slab_alloc - of.slab_free, of.buf_inuse + of.buf_constructed),
                ("slabs", of.slab_create - of.slab_destroy, of.slabs),
                ("distance of objects", of.chunk_size, of.buf_size.next_multiple_of(of.align).max(16)),
            ];
            for (name, one, other) in sums {
                assert_eq!(one, other, "cache {id}: {name}: {of:?}");
            }
            let bounds = [
                ("objects at most", of.buf_total, of.buf_max),
                ("partial and empty slabs", of.slabs_partial + of.slabs_empty, of.slabs),
                ("slabs of a refill", of.refill_slabs, of.slab_alloc),
                ("slabs of a flush", of.flush_slabs, of.slab_free),
                ("flushed at all", u64::from(of.slab_free > 0), of.flush_slabs),
                ("bytes of objects", of.buf_total * of.chunk_size, of.slab_pages * PAGE_SIZE as u64),
                ("direct allocations", of.alloc_direct, of.alloc),
                ("direct frees", of.free_direct, of.free),
            ];
            for (name, less, more) in bounds {
                assert!(less <= more, "cache {id}: {name}: {less} over {more}: {of:?}");
            }
        }
    }

    /// Panics unless so many operations were counted at least.
    pub(crate) fn check_counts(&self, nr_ops: u64) {
        let counted: u64 = self.0.iter().map(|(_, of)| of.alloc + of.free).sum();
        assert!(counted >= nr_ops, "{counted} operations counted, expected {nr_ops}");
    }

    fn of(&self, id: u16) -> &CacheStatistics {
        &self.0.iter().find(|&&(other, _)| other == id).expect("a live cache").1
    }
}

fn id_64() -> u16 {
    size_class::index(64) as u16
}

#[test]
fn af25_a_snapshot_while_others_allocate_ends_and_no_counter_falls() {
    let test = TestHeap::new(2048);
    let banks = [test.bank(1), test.bank(2)];
    let heap = test.heap;
    let is_over = AtomicBool::new(false);
    let nr_rounds = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for bank in banks {
            let (is_over, nr_rounds) = (&is_over, &nr_rounds);
            scope.spawn(move || {
                enter_bank(bank);
                while !is_over.load(Ordering::Relaxed) {
                    let objects: Vec<_> = (0..100).map(|_| alloc64(heap)).collect();
                    objects.into_iter().for_each(|object| free64(heap, object));
                    nr_rounds.fetch_add(1, Ordering::Relaxed);
                }
                heap.drain_this_cpu();
            });
        }
        let mut last = Snapshot::take(heap);
        let nr_snapshots = if cfg!(miri) { 2 } else { 50 };
        // Others do run meanwhile.
        while nr_rounds.load(Ordering::Relaxed) < nr_snapshots {
            let account = heap.account();
            assert!(account.nr_free <= account.nr_managed && account.by_kind.iter().all(|&n| n >= 0), "{account:?}");
            let now = Snapshot::take(heap);
            now.check_after(&last);
            last = now;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let end = Snapshot::take(heap);
    end.check_at_rest();
    let nr_allocs = 100 * nr_rounds.load(Ordering::Relaxed);
    assert_eq!((end.of(id_64()).alloc, end.of(id_64()).free), (nr_allocs, nr_allocs));
    test.check_empty();
}

#[test]
fn af25_events_are_counted_one_by_one() {
    let test = TestHeap::new(512);
    let id = id_64();
    let objects: Vec<_> = (0..1000).map(|_| alloc64(test.heap)).collect();
    let full = *Snapshot::take(test.heap).of(id);
    assert_eq!((full.alloc, full.free, full.buf_inuse), (1000, 0, 1000));
    assert_eq!((full.buf_total, full.slabs), (1024, 16), "64 objects of 64 bytes to a page");
    assert_eq!(full.slabs_partial_and_full(), 16);
    // Each refill takes one new slab, or what a quarter of a magazine left of it.
    assert!(full.refill_slabs >= 16 && full.refill_slabs <= 2 * full.refills, "{full:?}");
    // One of each page: every slab is touched by one flush or by several.
    test.heap.reclaim();
    let before = *Snapshot::take(test.heap).of(id);
    for (i, &object) in objects.iter().enumerate().filter(|(i, _)| i % 64 == 0) {
        free64(test.heap, object);
        assert_eq!(Snapshot::take(test.heap).of(id).free, i as u64 / 64 + 1);
    }
    test.heap.reclaim();
    let after = *Snapshot::take(test.heap).of(id);
    assert_eq!((after.slab_free - before.slab_free, after.flush_slabs - before.flush_slabs), (16, 16));
    assert_eq!(after.flushes - before.flushes, 1, "one magazine with 16 rounds of 16 slabs");
    assert_eq!((after.slabs_partial, after.partial_slabs_per_million()), (after.slabs, 1_000_000));
    assert_eq!(after.reap - before.reap, 1);
    // Neighbours: a whole magazine of them lies in two slabs at most.
    let rest: Vec<_> = objects.iter().enumerate().filter(|(i, _)| i % 64 != 0).map(|(_, &object)| object).collect();
    rest[..40].iter().for_each(|&object| free64(test.heap, object));
    test.heap.reclaim();
    let neighbours = *Snapshot::take(test.heap).of(id);
    assert_eq!(neighbours.slab_free - after.slab_free, 40);
    assert!((1..=2).contains(&(neighbours.flush_slabs - after.flush_slabs)), "{neighbours:?}");
    rest[40..].iter().for_each(|&object| free64(test.heap, object));
    test.check_empty();
    let end = *Snapshot::take(test.heap).of(id);
    assert_eq!((end.slabs, end.buf_total, end.buf_max), (0, 0, 1024));
    assert_eq!((end.slab_create, end.slab_destroy), (full.slab_create, full.slab_create));
}

#[test]
fn af25_a_refused_request_is_counted_once_and_a_refused_free_is_no_free() {
    let test = TestHeap::new(64);
    let id = size_class::index(4096) as u16;
    let mut objects = Vec::new();
    while let Ok(object) = test.heap.alloc(layout(4096, 8)) {
        objects.push(object);
    }
    assert_eq!(test.heap.alloc(layout(4096, 8)).ok(), None);
    let of = *Snapshot::take(test.heap).of(id);
    assert_eq!((of.alloc_fail, of.alloc), (2, objects.len() as u64));
    assert_eq!(of.buf_inuse, of.alloc);
    for object in objects {
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout(4096, 8)) }.expect("ours");
    }
    let object = alloc64(test.heap);
    free64(test.heap, object);
    free64(test.heap, object);
    test.heap.reclaim();
    assert_eq!(take_reports().len(), 1);
    let now = Snapshot::take(test.heap);
    now.check_at_rest();
    assert_eq!((now.of(id_64()).free, now.of(id_64()).free_refused), (2, 1));
    test.check_empty();
}

trait Full {
    fn slabs_partial_and_full(&self) -> u64;
}

impl Full for CacheStatistics {
    fn slabs_partial_and_full(&self) -> u64 {
        self.slabs - self.slabs_empty
    }
}
