//! Workloads in which a thread frees what another allocated.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::peers::Peer;
use crate::round::{Round, Sample, wait_a_little};
use crate::shapes::{Random, Slot, opaque, read_stamp, replace, stamp_object, thrash_pairs};
use crate::workload::{MIX, SMALL, TINY};

/// Places in the ring of `xmalloc`.
const RING: usize = 256;

/// Where the threads of a round hand things over.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// One set of slots, which no thread holds.
    mailbox: AtomicPtr<Vec<Slot>>,
    /// Objects on their way from the first thread to the second; null where there is room.
    ring: [AtomicPtr<u8>; RING],
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self { mailbox: AtomicPtr::new(ptr::null_mut()), ring: [const { AtomicPtr::new(ptr::null_mut()) }; RING] }
    }
}

/// Objects among which `scratch` looks for neighbours.
const NR_CANDIDATES: usize = 64;

/// The first thread allocates an object for each thread, in one cache line if the allocator ever does that. Each thread
/// frees its own, then allocates, writes and frees as `thrash` does: an allocator that hands the freed ones out again
/// to whoever freed them has two threads write to one cache line for ever.
pub(crate) fn scratch<P: Peer>(round: &Round, thread: usize) -> Sample {
    if thread == 0 {
        let mut objects: Vec<*mut u8> = (0..NR_CANDIDATES).map(|_| P::alloc(TINY)).collect();
        objects.iter().for_each(|&object| stamp_object(object, 0));
        objects.sort_unstable();
        let line = |object: *mut u8| object.addr() / 64;
        let is_shared = |pair: &[*mut u8]| line(pair[0]) == line(pair[1]);
        let first = objects.windows(2).position(is_shared).unwrap_or(0);
        for (place, object) in round.exchange.ring.iter().zip(objects.drain(first..first + round.nr_threads)) {
            place.store(object, Ordering::Release);
        }
        for object in objects {
            // SAFETY: allocated above with this layout, and not handed out.
            unsafe { P::dealloc(object, TINY) };
        }
    }
    round.wait();
    let object = round.exchange.ring[thread].load(Ordering::Acquire);
    // SAFETY: allocated for this thread, above, with this layout.
    unsafe { P::dealloc(object, TINY) };
    let mut nr_damaged = 0;
    let sample = round.timed(|| {
        nr_damaged = thrash_pairs::<P>(round.nr_pairs);
        round.nr_pairs
    });
    round.demand_intact(nr_damaged);
    sample
}

/// Replaces slots at random, and swaps the whole set with the one in the mailbox now and then: most of what a thread
/// frees was allocated by the other.
pub(crate) fn larson<P: Peer>(round: &Round, thread: usize) -> Sample {
    const NR_LIVE: usize = 1000;
    const PAIRS_PER_SWAP: u64 = 500;
    let fill = || Box::into_raw(Box::new((0..NR_LIVE).map(|i| Slot::alloc::<P>(i % MIX.len())).collect()));
    // SAFETY: called by the only one who has the slots, once; they come from `fill`.
    let drain = |slots: *mut Vec<Slot>| unsafe { Box::from_raw(slots) }.into_iter().map(Slot::free::<P>).sum::<u64>();
    let mailbox = &round.exchange.mailbox;
    let mut random = Random::new(thread);
    let mut slots = fill();
    if thread == 0 {
        mailbox.store(fill(), Ordering::Release);
    }
    let mut nr_damaged = 0;
    let sample = round.timed(|| {
        let mut nr_left = round.nr_pairs;
        while nr_left > 0 {
            let nr_now = nr_left.min(PAIRS_PER_SWAP);
            // SAFETY: this thread's own, or what it took out of the mailbox, where nobody else has it any more.
            nr_damaged += replace::<P>(unsafe { &mut *slots }, nr_now, &mut random);
            nr_left -= nr_now;
            slots = mailbox.swap(slots, Ordering::AcqRel);
        }
        round.nr_pairs
    });
    // All threads are past the end of the timed part: what a thread holds is its own, what lies in the mailbox nobody's.
    nr_damaged += drain(slots);
    if thread == 0 {
        nr_damaged += drain(mailbox.load(Ordering::Acquire));
    }
    round.demand_intact(nr_damaged);
    sample
}

/// With two threads: the first allocates and the second frees, through a ring. Both wait when they must, and the wait
/// counts, as it does in what this is a model of.
pub(crate) fn xmalloc<P: Peer>(round: &Round, thread: usize) -> Sample {
    let ring = &round.exchange.ring;
    let mut nr_damaged = 0;
    let sample = round.timed(|| {
        for i in 0..round.nr_pairs as usize {
            let place = &ring[i % RING];
            let mut nr_turns = 0;
            if thread == 0 {
                let object = P::alloc(opaque(SMALL));
                stamp_object(object, i as u8);
                while !place.load(Ordering::Acquire).is_null() {
                    wait_a_little(&mut nr_turns);
                }
                place.store(object, Ordering::Release);
            } else {
                let object = loop {
                    let object = place.load(Ordering::Acquire);
                    if !object.is_null() {
                        break object;
                    }
                    wait_a_little(&mut nr_turns);
                };
                place.store(ptr::null_mut(), Ordering::Release);
                nr_damaged += u64::from(read_stamp(object) != i as u8);
                // SAFETY: the producer allocated it with this layout and let go of it.
                unsafe { P::dealloc(object, opaque(SMALL)) };
            }
        }
        round.nr_pairs
    });
    round.demand_intact(nr_damaged);
    sample
}
