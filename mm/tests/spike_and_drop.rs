//! What stays of a spike: allocate a lot, free a random nine tenths, and go on with little traffic.
//!
//! Allocation from the fullest slabs lets the nearly empty ones drain. Exact counts, the same on every machine; with one
//! list of partial slabs, those that leave the full ones at its head, they are 818, 375, 179, 128 and 111 pages.

mod common;

use std::alloc::Layout;
use std::ptr::NonNull;

use common::TestHeap;
use mm::size_class;

const SIZE: usize = 256;
const OBJECTS_PER_PAGE: usize = 16;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % limit
    }
}

fn free_some(test: &TestHeap, live: &mut Vec<NonNull<u8>>, random: &mut Random, nr_objects: usize) {
    for _ in 0..nr_objects {
        let object = live.swap_remove(random.below(live.len()));
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout()) }.expect("ours");
    }
    // The rounds go back to the slabs, so that these decide what comes next.
    test.heap.drain_this_cpu();
}

fn layout() -> Layout {
    Layout::from_size_align(SIZE, 8).expect("a valid layout")
}

#[test]
#[cfg_attr(miri, ignore)]
fn steady_traffic_after_a_spike_drains_the_nearly_empty_slabs() {
    let test = TestHeap::new(4096);
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let nr_spike = 16_000;
    let nr_steady = nr_spike / 10;
    let mut live: Vec<_> = (0..nr_spike).map(|_| test.heap.alloc(layout()).expect("memory")).collect();
    free_some(&test, &mut live, &mut random, nr_spike - nr_steady);
    test.heap.reclaim();
    let nr_pages = || {
        let id = size_class::index(SIZE) as u16;
        let (_, cache) = test.heap.caches().find(|(other, _)| *other == id).expect("live");
        cache.slab_counters().nr_pages as usize
    };
    let mut pages = vec![nr_pages()];
    for round in 1..=40 {
        free_some(&test, &mut live, &mut random, 200);
        live.extend((0..200).map(|_| test.heap.alloc(layout()).expect("memory")));
        if round % 10 == 0 {
            test.heap.reclaim();
            pages.push(nr_pages());
        }
    }
    println!("pages after 0, 10, .. rounds: {pages:?}; {} would hold the objects", nr_steady / OBJECTS_PER_PAGE);
    assert!(pages[0] > 800, "the spike leaves objects in {} pages", pages[0]);
    let most = [820, 368, 172, 124, 110];
    assert!(pages.iter().zip(most).all(|(&nr_pages, most)| nr_pages <= most), "{pages:?}");
    free_some(&test, &mut live, &mut random, nr_steady);
    test.check_empty();
}
