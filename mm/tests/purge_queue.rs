//! What waits for a purge: nothing is lost, nothing is released twice or before a round that was begun after it was put.

mod common;

use std::alloc::Layout;
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};

use common::{Host, TestHeap, enter_bank, on_drain, on_is_purging};
use mm::cache::Settings;
use mm::heap::Heap;
use mm::machine::{Awaited, Machine};
use mm::page_table::{DEFAULT_MAX_PAGES, MAX_WAITING, NR_QUEUES, PurgeQueue, Purged, Purging, Put, Waits};

/// Something of `nr_pages` pages that was unmapped when `since` was the newest round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    id: u64,
    nr_pages: usize,
    since: u64,
}

impl Waits for Item {
    fn nr_pages(&self) -> usize {
        self.nr_pages
    }
}

type Queue = PurgeQueue<Item, Host>;

fn item(id: u64, nr_pages: usize) -> Item {
    Item { id, nr_pages, since: 0 }
}

/// Purges; what was released, in order.
fn purge(queue: &Queue) -> (Purged, Vec<Item>) {
    let mut released = Vec::new();
    let purged = queue.try_purge(0, |_| (), |item, ()| released.push(item)).expect("nobody else purges");
    (purged, released)
}

fn nr_waiting(queue: &Queue) -> usize {
    let mut nr_waiting = 0;
    queue.for_each(|_| nr_waiting += 1);
    nr_waiting
}

#[test]
fn one_round_releases_what_all_cpus_have_put() {
    let _heap = TestHeap::new(64);
    let queue = Box::new(Queue::new());
    for cpu in 0..40 {
        assert_eq!(queue.put(cpu, item(cpu as u64, cpu + 1)), Ok(Put::Waits));
    }
    assert_eq!(nr_waiting(&queue), 40);
    let mut nr_rounds = 0;
    let mut released = Vec::new();
    let nr_pages = (1..=40).sum();
    let round = |purged| {
        nr_rounds += 1;
        assert_eq!(purged, Purged { nr_ranges: 40, nr_pages });
        "proof"
    };
    let purged = queue.try_purge(0, round, |item, &proof| {
        assert_eq!(proof, "proof");
        released.push(item.id);
    });
    assert_eq!(purged, Ok(Purged { nr_ranges: 40, nr_pages }));
    released.sort_unstable();
    assert!(released.into_iter().eq(0..40));
    assert_eq!((nr_rounds, queue.nr_purges(), nr_waiting(&queue)), (1, 1, 0));
    // Nothing waits any more: no round.
    assert_eq!(purge(&queue), (Purged::default(), vec![]));
    assert_eq!(queue.nr_purges(), 1);
}

#[test]
fn a_purge_is_due_at_the_limits_and_room_ends_behind_them() {
    let _heap = TestHeap::new(64);
    let queue = Box::new(Queue::new());
    assert_eq!(queue.limits(), (MAX_WAITING, DEFAULT_MAX_PAGES));
    for id in 1..MAX_WAITING as u64 {
        assert_eq!(queue.put(3, item(id, 1)), Ok(Put::Waits));
    }
    assert_eq!(queue.put(3, item(0, 1)), Ok(Put::PurgeIsDue));
    assert_eq!(queue.put(3 + NR_QUEUES, item(9, 1)), Err(item(9, 1)), "far apart, and the same queue");
    assert_eq!(queue.put(4, item(9, 1)), Ok(Put::Waits));
    assert_eq!(purge(&queue).0.nr_ranges, MAX_WAITING + 1);

    queue.set_limits(0, 100);
    assert_eq!(queue.limits(), (1, 100));
    assert_eq!(queue.put(0, item(1, 1)), Ok(Put::PurgeIsDue), "each is one too many");
    queue.set_limits(usize::MAX, 100);
    assert_eq!(queue.limits(), (MAX_WAITING, 100));
    purge(&queue);
    assert_eq!(queue.put(0, item(1, 99)), Ok(Put::Waits));
    assert_eq!(queue.put(0, item(2, 1)), Ok(Put::PurgeIsDue), "pages count, too");
    assert_eq!(queue.put(0, item(3, 1)), Ok(Put::PurgeIsDue), "and there is room all the same");
}

/// As if an interrupt handler unmapped, and ran short of memory, in the middle of a purge.
#[test]
fn what_comes_in_the_middle_of_a_purge_waits_for_the_next() {
    let _heap = TestHeap::new(64);
    let queue = Box::new(Queue::new());
    (0..5).for_each(|id| assert_eq!(queue.put(7, item(id, 1)), Ok(Put::Waits)));
    let round = |_| {
        assert_eq!(queue.put(7, item(100, 1)), Ok(Put::Waits), "the halves have changed places");
        assert_eq!(queue.try_purge(8, |_| (), |_, ()| ()), Err(Purging { purger: 7 }));
    };
    let mut released = Vec::new();
    let purged = queue.try_purge(7, round, |item, ()| {
        assert!(queue.put(7, Item { id: item.id + 200, ..item }).is_ok());
        released.push(item.id);
    });
    assert_eq!((purged.map(|purged| purged.nr_ranges), released), (Ok(5), vec![0, 1, 2, 3, 4]));
    let later: Vec<u64> = purge(&queue).1.into_iter().map(|item| item.id).collect();
    assert_eq!(later, [100, 200, 201, 202, 203, 204]);
}

/// What the two CPUs of the tests below share.
struct Tangle {
    heap: &'static Heap<Host>,
    queue: Queue,
    /// How far the CPUs have come.
    step: AtomicU64,
}

impl Tangle {
    fn reach(&self, step: u64) {
        self.step.store(step, Ordering::Release);
    }

    /// Waits for the other CPU to come so far; whether it did.
    fn wait_until(&self, step: u64) {
        Host::wait_for(Awaited::Purge, usize::MAX, || self.step.load(Ordering::Acquire) >= step);
    }

    fn purge(&self, cpu: usize, round: impl Fn()) -> Purged {
        self.queue.purge(cpu, || self.queue.try_purge(cpu, |_| round(), |_, ()| ()))
    }
}

thread_local! {
    static TANGLE: Cell<Option<&'static Tangle>> = const { Cell::new(None) };
}

fn tangle() -> &'static Tangle {
    TANGLE.get().expect("set on each thread")
}

/// Runs one CPU on each of two threads.
fn two_cpus(heap: &TestHeap, first: fn(&'static Tangle), second: fn(&'static Tangle)) {
    let owner = Box::into_raw(Box::new(Tangle { heap: heap.heap, queue: Queue::new(), step: AtomicU64::new(0) }));
    // SAFETY: made just now, and freed below, when both threads have ended.
    let tangle: &'static Tangle = unsafe { &*owner };
    let banks = [heap.bank(0), heap.bank(1)];
    std::thread::scope(|scope| {
        for (cpu, (bank, run)) in banks.into_iter().zip([first, second]).enumerate() {
            scope.spawn(move || {
                enter_bank(bank);
                TANGLE.set(Some(tangle));
                on_is_purging(Some(if cpu == 0 { || is_purging(0) } else { || is_purging(1) }));
                run(tangle);
            });
        }
    });
    // SAFETY: the scope has ended both threads, and nobody else has got the reference.
    drop(unsafe { Box::from_raw(owner) });
}

fn is_purging(cpu: usize) -> bool {
    tangle().queue.purger() == Some(cpu)
}

/// CPU 0 reclaims, and a handler that interrupts it waits for CPU 1's purge. A handler that interrupts that purge runs out
/// of memory: it must be refused, and not wait for CPU 0.
#[test]
fn a_handler_in_a_purge_does_not_wait_for_who_reclaims() {
    fn purge_in_a_handler() {
        tangle().reach(1);
        tangle().wait_until(2);
        assert_eq!(tangle().purge(0, || ()), Purged::default(), "CPU 1 has purged it all");
        tangle().reach(3);
    }
    let heap = TestHeap::new(256);
    let reclaims = |tangle: &'static Tangle| {
        on_drain(Some(purge_in_a_handler));
        tangle.heap.reclaim();
    };
    let purges = |tangle: &'static Tangle| {
        assert!(tangle.queue.put(1, item(1, 1)).is_ok());
        tangle.wait_until(1);
        let round = || {
            tangle.reach(2);
            let nr_reclaims = tangle.heap.nr_reclaims();
            let too_much = Layout::from_size_align(1 << 30, 8).expect("a sane size");
            assert!(tangle.heap.alloc(too_much).is_err());
            assert_eq!(tangle.heap.nr_reclaims(), nr_reclaims);
        };
        assert_eq!(tangle.purge(1, round).nr_ranges, 1);
        tangle.wait_until(3);
    };
    two_cpus(&heap, reclaims, purges);
    heap.check();
}

/// CPU 1 purges, and a handler that interrupts that reclaims: CPU 0 is drained for it, and a destructor there purges. It must
/// not wait for CPU 1, which waits for the drain to end.
#[test]
fn a_destructor_in_a_drain_does_not_wait_for_who_purges() {
    fn purge(_object: NonNull<u8>) {
        tangle().reach(3);
        assert_eq!(tangle().purge(0, || ()), Purged::default(), "it is CPU 1's to purge");
        tangle().reach(4);
    }
    fn ask_for_a_drain() {
        tangle().reach(2);
        tangle().wait_until(4);
    }
    let heap = TestHeap::new(256);
    let is_drained = |tangle: &'static Tangle| {
        let settings = Settings { destructor: Some(purge), ..Settings::new("purging", 256, 8) };
        let handle = tangle.heap.create_cache(settings).expect("room for a cache");
        let object = tangle.heap.cache_alloc(&handle).expect("there is memory");
        // SAFETY: not used any more.
        unsafe { tangle.heap.cache_free(&handle, object) }.expect("it is out");
        tangle.reach(1);
        tangle.wait_until(2);
        tangle.heap.serve_drain();
        assert!(tangle.step.load(Ordering::Acquire) >= 4, "the destructor ran");
    };
    let purges = |tangle: &'static Tangle| {
        // CPU 0 has its cache by then, which it makes with everybody excluded from reclaiming.
        tangle.wait_until(1);
        assert!(tangle.queue.put(1, item(1, 1)).is_ok());
        on_drain(Some(ask_for_a_drain));
        assert_eq!(tangle.purge(1, || tangle.heap.reclaim()).nr_ranges, 1);
    };
    two_cpus(&heap, is_drained, purges);
}

/// CPUs put and purge at random: each item is released once, by a proof of a round that was begun after it was put.
#[test]
fn under_a_storm_everything_is_released_once_and_never_too_soon() {
    const NR_CPUS: u64 = 4;
    let nr_each = if cfg!(miri) { 40 } else { 20_000 };
    let heap = TestHeap::new(64);
    let queue = Box::new(Queue::new());
    queue.set_limits(MAX_WAITING / 2, DEFAULT_MAX_PAGES);
    let generation = AtomicU64::new(0);
    let released = Mutex::new(Vec::new());
    let release = |item: Item, begun: &u64| {
        assert!(*begun > item.since, "round {begun} was begun before {item:?} was put");
        released.lock().unwrap().push(item.id);
    };
    let round = |_| generation.fetch_add(1, Ordering::SeqCst) + 1;
    let banks: Vec<_> = (0..NR_CPUS).map(|cpu| heap.bank(cpu as usize)).collect();
    let (queue, barrier) = (&queue, Barrier::new(NR_CPUS as usize));
    std::thread::scope(|scope| {
        for (cpu, bank) in (0..NR_CPUS).zip(banks) {
            let (generation, barrier, round, release) = (&generation, &barrier, &round, &release);
            scope.spawn(move || {
                enter_bank(bank);
                barrier.wait();
                for n in 0..nr_each {
                    let item = Item { id: cpu * nr_each + n, nr_pages: 1, since: generation.load(Ordering::SeqCst) };
                    // CPUs 0 and 2 share a queue.
                    match queue.put(cpu as usize / 2 * NR_QUEUES + cpu as usize % 2, item) {
                        Ok(Put::Waits) => {}
                        Ok(Put::PurgeIsDue) => _ = queue.try_purge(cpu as usize, round, release),
                        Err(item) => release(item, &round(Purged::default())),
                    }
                }
            });
        }
    });
    queue.try_purge(0, round, release).expect("nobody else purges");
    let mut released = released.into_inner().unwrap();
    released.sort_unstable();
    assert!(released.into_iter().eq(0..NR_CPUS * nr_each));
    assert_eq!(nr_waiting(queue), 0);
}
