//! Workloads in which a thread frees what another allocated.

use std::ptr;
use std::sync::atomic::Ordering;

use workloads::Peer;
use workloads::handoff::{Mailbox, PAIRS_PER_SWAP, Ring, replace_and_swap};
use workloads::objects::Slot;
use workloads::rptest::{self, Letterbox, Post};
use workloads::sharing;
use workloads::sizes::{MIX, Random};

use crate::host::NR_CPUS;
use crate::round::{Round, Sample, wait_a_little};
use crate::shapes;

/// Where the threads of a round hand things over.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// One set of slots, which no thread holds.
    mailbox: Mailbox,
    /// Objects on their way from the first thread to the second.
    ring: Ring,
    /// The same to each thread from the one before.
    boxes: [Letterbox; NR_CPUS],
}

/// Objects among which `cache-scratch` looks for neighbours.
const NR_CANDIDATES: usize = 64;

/// The first thread allocates an object for each thread, side by side. Each thread frees its own, then does as in
/// `cache-thrash`.
pub(crate) fn scratch<P: Peer>(round: &Round, thread: usize) -> Sample {
    let places = &round.exchange.ring.places()[..round.nr_threads];
    if thread == 0 {
        round.demand_intact(sharing::place_neighbours::<P>(places, &mut [ptr::null_mut(); NR_CANDIDATES]));
    }
    round.wait();
    // SAFETY: put there for this thread, above, from the same `P`.
    unsafe { sharing::free_neighbour::<P>(&places[thread]) };
    shapes::thrash::<P>(round)
}

/// Replaces objects of random sizes, and hands every eighth to the next thread.
pub(crate) fn rptest<P: Peer>(round: &Round, thread: usize) -> Sample {
    let boxes = &round.exchange.boxes;
    let mut random = Random::new(0, thread);
    let mut slots = Vec::with_capacity(rptest::NR_LIVE);
    round.demand_intact(rptest::begin::<P>(&mut slots, &mut random));
    let mut post = Post::new(&boxes[thread], &boxes[(thread + 1) % round.nr_threads]);
    let mut nr_bad = 0;
    let sample = round.timed(|| {
        // SAFETY: filled above, and by the other threads, with objects of `P`.
        nr_bad = unsafe { rptest::churn::<P>(&mut slots, &mut post, round.nr_pairs, &mut random) };
        round.nr_pairs
    });
    // All threads are past the end of the timed part: nobody posts any more.
    // SAFETY: objects of `P`, and nobody else takes out of this box.
    nr_bad += unsafe { boxes[thread].empty::<P>() };
    // SAFETY: objects of `P`, each freed once.
    nr_bad += slots.into_iter().map(|slot| u64::from(unsafe { slot.free::<P>() } != 0)).sum::<u64>();
    round.demand_intact(nr_bad);
    sample
}

/// Replaces slots at random, and swaps the whole set with the one in the mailbox now and then.
pub(crate) fn larson<P: Peer>(round: &Round, thread: usize) -> Sample {
    const NR_LIVE: usize = 1000;
    let fill =
        || Box::into_raw(Box::new((0..NR_LIVE).map(|i| Slot::alloc::<P>(i % MIX.len()).expect("memory")).collect()));
    let drain = |slots: *mut Vec<Slot>| {
        // SAFETY: called by the only one who has the slots, once; they come from `fill`.
        let slots = unsafe { Box::from_raw(slots) };
        // SAFETY: objects of `P`, each freed once.
        slots.into_iter().map(|slot| u64::from(unsafe { slot.free::<P>() } != 0)).sum::<u64>()
    };
    let mailbox = &round.exchange.mailbox;
    let mut random = Random::new(0, thread);
    let mut slots = fill();
    if thread == 0 {
        mailbox.store(fill(), Ordering::Release);
    }
    let mut nr_bad = 0;
    let sample = round.timed(|| {
        let mut nr_left = round.nr_pairs;
        while nr_left > 0 {
            let nr_now = nr_left.min(PAIRS_PER_SWAP);
            // SAFETY: this thread's own, or what it took out of the mailbox, where nobody else has it any more.
            let (next, found_bad) = unsafe { replace_and_swap::<P>(slots, mailbox, nr_now, &mut random) };
            (slots, nr_bad, nr_left) = (next, nr_bad + found_bad, nr_left - nr_now);
        }
        round.nr_pairs
    });
    // All threads are past the end of the timed part: what a thread holds is its own, what lies in the mailbox nobody's.
    nr_bad += drain(slots);
    if thread == 0 {
        nr_bad += drain(mailbox.load(Ordering::Acquire));
    }
    round.demand_intact(nr_bad);
    sample
}

/// With two threads: the first allocates and the second frees, through a ring. Both wait when they must, and the wait
/// counts, as it does in what this is a model of.
pub(crate) fn xmalloc<P: Peer>(round: &Round, thread: usize) -> Sample {
    let wait = |nr_turns: &mut u32| {
        wait_a_little(nr_turns);
        true
    };
    let mut nr_bad = 0;
    let sample = round.timed(|| {
        let (nr_pairs, found_bad) = if thread == 0 {
            round.exchange.ring.produce::<P>(round.nr_pairs, wait)
        } else {
            // SAFETY: the first thread allocates from the same `P`, by `produce`.
            unsafe { round.exchange.ring.consume::<P>(round.nr_pairs, wait) }
        };
        nr_bad = found_bad;
        assert!(nr_pairs == round.nr_pairs, "out of memory");
        // Each of the two does half of every pair: they are counted once.
        if thread == 0 { 0 } else { nr_pairs }
    });
    round.demand_intact(nr_bad);
    sample
}
