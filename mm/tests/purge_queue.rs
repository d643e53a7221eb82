//! What waits for a purge: nothing is lost, nothing is released twice or before a round that was begun after it was put.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};

use common::{Host, TestHeap, enter_bank};
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
