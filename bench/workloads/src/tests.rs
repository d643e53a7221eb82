//! The workloads with allocators that are known to be right, to be out of memory, and to be wrong: nothing is lost, what
//! is refused is told, and memory that is handed out twice is found.

extern crate std;

use alloc::vec::Vec;
use core::alloc::Layout;
use core::cell::{Cell, UnsafeCell};
use core::ptr;
use core::sync::atomic::AtomicPtr;
use std::alloc::{GlobalAlloc, System};
use std::thread_local;

use crate::Peer;
use crate::objects::{Faults, REFUSED, Slot};
use crate::rptest::{Letterbox, Post};
use crate::sizes::Random;
use crate::{bulk, rptest, sh6, sharing};

thread_local! {
    static NR_LEFT: Cell<usize> = const { Cell::new(0) };
    static NR_LIVE: Cell<isize> = const { Cell::new(0) };
    static SHARED: UnsafeCell<[u64; 1024]> = const { UnsafeCell::new([0; 1024]) };
}

/// Right, until so many have been allocated.
struct Limited;

impl Peer for Limited {
    const NAME: &'static str = "limited";

    fn alloc(layout: Layout) -> *mut u8 {
        let Some(nr_left) = NR_LEFT.get().checked_sub(1) else { return ptr::null_mut() };
        NR_LEFT.set(nr_left);
        NR_LIVE.set(NR_LIVE.get() + 1);
        // SAFETY: no layout of the workloads has size 0.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(object: *mut u8, layout: Layout) {
        if !object.is_null() {
            NR_LIVE.set(NR_LIVE.get() - 1);
            // SAFETY: as promised by the caller.
            unsafe { System.dealloc(object, layout) }
        }
    }
}

/// Hands out the same memory again and again.
struct Same;

impl Peer for Same {
    const NAME: &'static str = "same";

    fn alloc(_layout: Layout) -> *mut u8 {
        SHARED.with(|object| object.get().cast())
    }

    unsafe fn dealloc(_object: *mut u8, _layout: Layout) {}
}

/// Frees what `slots` holds; how many were damaged.
fn drain<P: Peer>(slots: Vec<Slot>) -> u64 {
    // SAFETY: objects of `P`, each once.
    slots.into_iter().map(|slot| u64::from(unsafe { slot.free::<P>() } != 0)).sum()
}

#[test]
fn a_batch_is_taken_and_given_back_whole() {
    NR_LEFT.set(bulk::BULK * 3 + 5);
    let mut objects = bulk::batch();
    for _ in 0..3 {
        assert_eq!((bulk::bulk::<Limited>(&mut objects), NR_LIVE.get()), (0, 0));
    }
    let refused = Faults { nr_bad: 0, nr_refused: bulk::BULK as u64 };
    assert_eq!(Faults::of(bulk::bulk::<Limited>(&mut objects)), refused, "five are left: all are refused");
    assert_eq!(NR_LIVE.get(), 0, "and the five are given back");
    assert_eq!(bulk::bulk::<Same>(&mut objects), bulk::BULK as u64 - 1, "all but the last, whose stamp is there");
}

#[test]
fn batches_overlap_and_nothing_is_lost() {
    NR_LEFT.set(10_000);
    let (mut slots, mut random) = (Vec::with_capacity(sh6::MAX_LIVE), Random::new(1, 0));
    assert_eq!(sh6::begin::<Limited>(&mut slots, &mut random), 0);
    let nr_between = NR_LIVE.get();
    let oldest_kept = slots[sh6::BATCH].size();
    for _ in 0..20 {
        // SAFETY: begun with `Limited`.
        assert_eq!(unsafe { sh6::step::<Limited>(&mut slots, &mut random) }, 0);
        assert_eq!((NR_LIVE.get(), slots.len()), (nr_between, sh6::MAX_LIVE - sh6::BATCH));
        assert_eq!(slots.capacity(), sh6::MAX_LIVE, "no more room than was promised");
    }
    assert_ne!(oldest_kept, slots[0].size(), "the first batch is long gone");
    NR_LEFT.set(sh6::BATCH + 3);
    // SAFETY: as above.
    let mut step = || unsafe { sh6::step::<Limited>(&mut slots, &mut random) };
    assert_eq!([step(), step(), step()], [0, REFUSED, REFUSED], "a refusal is told, and ends it");
    assert_eq!((drain::<Limited>(slots), NR_LIVE.get()), (0, 0));
}

#[test]
fn batches_of_memory_that_is_handed_out_twice_are_found() {
    let (mut slots, mut random) = (Vec::with_capacity(sh6::MAX_LIVE), Random::new(1, 0));
    sh6::begin::<Same>(&mut slots, &mut random);
    // SAFETY: begun with `Same`.
    assert_eq!(unsafe { sh6::step::<Same>(&mut slots, &mut random) }, 1);
}

#[test]
fn objects_travel_between_cpus_and_nothing_is_lost() {
    NR_LEFT.set(100_000);
    let boxes = [Letterbox::new(), Letterbox::new()];
    let mut randoms = [Random::new(1, 0), Random::new(1, 1)];
    let mut slots = [Vec::with_capacity(rptest::NR_LIVE), Vec::with_capacity(rptest::NR_LIVE)];
    let mut posts = [Post::new(&boxes[0], &boxes[1]), Post::new(&boxes[1], &boxes[0])];
    for (slots, random) in slots.iter_mut().zip(&mut randoms) {
        assert_eq!(rptest::begin::<Limited>(slots, random), 0);
    }
    let nr_live = NR_LIVE.get();
    let mut most = 0;
    for turn in 0..100 {
        // One of the two is often ahead: its letters fill the other's box, and then it frees by itself.
        let cpu = usize::from(turn % 10 > 7);
        // SAFETY: all objects are `Limited`'s.
        let bad = unsafe { rptest::churn::<Limited>(&mut slots[cpu], &mut posts[cpu], 50, &mut randoms[cpu]) };
        assert_eq!(bad, 0);
        most = most.max(NR_LIVE.get() - nr_live);
    }
    assert_eq!(most, 32, "a full box, and no more than that is under way");
    for letters in &boxes {
        // SAFETY: all objects are `Limited`'s.
        assert_eq!(unsafe { letters.empty::<Limited>() }, 0);
    }
    assert_eq!(NR_LIVE.get(), nr_live);
    assert_eq!((slots.map(drain::<Limited>), NR_LIVE.get()), ([0, 0], 0));
}

#[test]
fn a_refusal_on_the_way_is_told_and_leaves_live_objects_only() {
    NR_LEFT.set(rptest::NR_LIVE + 10);
    let (letters, mut random) = (Letterbox::new(), Random::new(3, 0));
    let mut slots = Vec::with_capacity(rptest::NR_LIVE);
    assert_eq!(rptest::begin::<Limited>(&mut slots, &mut random), 0);
    let mut post = Post::new(&letters, &letters);
    // SAFETY: all objects are `Limited`'s.
    assert_eq!(unsafe { rptest::churn::<Limited>(&mut slots, &mut post, 100, &mut random) }, REFUSED);
    assert_eq!(slots.len(), rptest::NR_LIVE - 1);
    // SAFETY: as above.
    assert_eq!(unsafe { letters.empty::<Limited>() } + drain::<Limited>(slots), 0);
    assert_eq!(NR_LIVE.get(), 0);
}

#[test]
fn neighbours_are_found_and_the_others_given_back() {
    NR_LEFT.set(1000);
    let places = [const { AtomicPtr::new(ptr::null_mut()) }; 2];
    assert_eq!(sharing::place_neighbours::<Limited>(&places, &mut [ptr::null_mut(); 64]), 0);
    assert_eq!(NR_LIVE.get(), 2);
    for place in &places {
        // SAFETY: put there just now.
        unsafe { sharing::free_neighbour::<Limited>(place) };
    }
    assert_eq!(NR_LIVE.get(), 0);
    NR_LEFT.set(1);
    assert_eq!(
        sharing::place_neighbours::<Limited>(&places, &mut [ptr::null_mut(); 64]),
        2 * REFUSED,
        "both are refused"
    );
    assert_eq!(NR_LIVE.get(), 0);
}

#[test]
fn a_tiny_object_that_is_refused_is_told() {
    NR_LEFT.set(100);
    assert_eq!((sharing::thrash::<Limited>(100), NR_LIVE.get()), (0, 0));
    assert_eq!(sharing::thrash::<Limited>(3), 3 * REFUSED);
}
