//! The part of one CPU in a round, for each shape of workload. Whatever it allocates is freed when it returns, also
//! when the round is stopped.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr;
use core::sync::atomic::Ordering;

use workloads::bulk::BULK;
use workloads::handoff::{PAIRS_PER_SWAP, replace_and_swap};
use workloads::loops::{batch, mixed, opaque, pairs, replace};
use workloads::objects::{REFUSED, Slot};
use workloads::rptest::{self, Post};
use workloads::sizes::{MIX, Random, SMALL, layout};
use workloads::{Peer, sh6, sharing};

use super::round::{BATCH, CHUNK, NR_LIVE, Round};
use super::workload::Shape;

/// Objects of a batch where a CPU has nobody to hand them to: as many as a producer would be ahead.
const ALONE: usize = 128;

/// Plays the part of CPU number `number` with contender `P`.
pub(super) fn play<P: Peer>(round: &Round<'_>, number: usize) {
    match round.shape {
        Shape::Pair(size) => {
            let layout = layout(size, 8);
            play_pairs::<P>(round, number, |_| opaque(layout));
        }
        Shape::PairMix => {
            let first = round.seed.wrapping_add(number as u64);
            play_pairs::<P>(round, number, |turn| mixed(turn.wrapping_add(first)));
        }
        Shape::Lifo => batches::<P, false>(round, number, BATCH),
        Shape::Fifo => batches::<P, true>(round, number, BATCH),
        Shape::Bulk => bulk::<P>(round, number),
        Shape::Mstress => mstress::<P>(round, number),
        Shape::Sh6 => sh6::<P>(round, number),
        Shape::Rptest => rptest::<P>(round, number),
        Shape::Xmalloc => xmalloc::<P>(round, number),
        Shape::Larson => larson::<P>(round, number),
        Shape::Thrash => thrash::<P>(round, number),
        Shape::Scratch => scratch::<P>(round, number),
    }
}

fn sum(parts: impl Iterator<Item = (u64, u64)>) -> (u64, u64) {
    parts.fold((0, 0), |(nr_pairs, nr_bad), (more_pairs, more_bad)| (nr_pairs + more_pairs, nr_bad + more_bad))
}

/// Objects that are freed at once are looked at in the first round only, which is not measured: to write and read a stamp takes a third as long
/// as the heap does. All others are always looked at.
#[inline(always)]
fn play_pairs<P: Peer>(round: &Round<'_>, number: usize, layout_of: impl Fn(u64) -> Layout) {
    round.timed(number, || {
        sum(round.chunks(number, CHUNK).map(|turns| {
            let nr_turns = turns.end - turns.start;
            let nr_bad = if round.is_checked {
                pairs::<P, true>(turns, &layout_of)
            } else {
                pairs::<P, false>(turns, &layout_of)
            };
            (nr_turns, nr_bad)
        }))
    });
}

fn batches<P: Peer, const FIFO: bool>(round: &Round<'_>, number: usize, nr_objects: usize) {
    let mut places = round.harness.places[number].lock();
    let objects = &mut places.batch[..nr_objects];
    round.timed(number, || {
        sum(round
            .chunks(number, nr_objects as u64)
            .map(|_| (nr_objects as u64, batch::<P, true, FIFO>(&mut *objects, SMALL))))
    });
}

/// Fills `slots`, which is empty and has room, with live objects; returns by [`REFUSED`] how many were refused.
fn fill<P: Peer>(slots: &mut Vec<Slot>) -> u64 {
    slots.extend((0..NR_LIVE).filter_map(|i| Slot::alloc::<P>(i % MIX.len())));
    (NR_LIVE - slots.len()) as u64 * REFUSED
}

/// Frees what is in `slots`; returns how many objects were bad.
fn drain<P: Peer>(slots: &mut Vec<Slot>) -> u64 {
    // SAFETY: filled by `fill` and `replace` with objects of `P`; draining hands each out once.
    slots.drain(..).map(|slot| u64::from(unsafe { slot.free::<P>() } != 0)).sum()
}

fn mstress<P: Peer>(round: &Round<'_>, number: usize) {
    let mut places = round.harness.places[number].lock();
    let slots = &mut places.slots;
    let mut random = Random::new(round.seed, number);
    round.add_faults(fill::<P>(slots));
    round.timed(number, || {
        sum(round.chunks(number, CHUNK).map(|turns| {
            let nr_turns = turns.end - turns.start;
            // SAFETY: filled above with objects of `P`.
            (nr_turns, unsafe { replace::<P>(slots, nr_turns, &mut random) })
        }))
    });
    round.add_faults(drain::<P>(slots));
}

fn bulk<P: Peer>(round: &Round<'_>, number: usize) {
    let mut objects = workloads::bulk::batch();
    round.timed(number, || {
        sum(round.chunks(number, BULK as u64).map(|_| (BULK as u64, workloads::bulk::bulk::<P>(&mut objects))))
    });
}

fn sh6<P: Peer>(round: &Round<'_>, number: usize) {
    let mut places = round.harness.places[number].lock();
    let slots = &mut places.slots;
    let mut random = Random::new(round.seed, number);
    round.add_faults(sh6::begin::<P>(slots, &mut random));
    round.timed(number, || {
        sum(round.chunks(number, sh6::BATCH as u64).map(|_| {
            // SAFETY: filled above with objects of `P`.
            (sh6::BATCH as u64, unsafe { sh6::step::<P>(slots, &mut random) })
        }))
    });
    round.add_faults(drain::<P>(slots));
}

fn rptest<P: Peer>(round: &Round<'_>, number: usize) {
    let boxes = &round.harness.boxes;
    let mut places = round.harness.places[number].lock();
    let slots = &mut places.slots;
    let mut random = Random::new(round.seed, number);
    round.add_faults(rptest::begin::<P>(slots, &mut random));
    let mut post = Post::new(&boxes[number], &boxes[(number + 1) % round.nr_cpus]);
    round.timed(number, || {
        sum(round.chunks(number, CHUNK).map(|turns| {
            let nr_turns = turns.end - turns.start;
            // SAFETY: filled above, and by the other CPUs, with objects of `P`.
            (nr_turns, unsafe { rptest::churn::<P>(slots, &mut post, nr_turns, &mut random) })
        }))
    });
    // All CPUs are past the measured part: nobody posts any more.
    // SAFETY: objects of `P`, and nobody else takes out of this box.
    round.add_faults(unsafe { boxes[number].empty::<P>() } + drain::<P>(slots));
}

fn thrash<P: Peer>(round: &Round<'_>, number: usize) {
    round.timed(number, || {
        sum(round.chunks(number, CHUNK).map(|turns| {
            let nr_turns = turns.end - turns.start;
            (nr_turns, sharing::thrash::<P>(nr_turns))
        }))
    });
}

/// The first CPU allocates an object for each, side by side; each frees its own, and goes on as `thrash`.
fn scratch<P: Peer>(round: &Round<'_>, number: usize) {
    let handed = &round.harness.handed[..round.nr_cpus];
    if number == 0 {
        let mut places = round.harness.places[0].lock();
        round.add_faults(sharing::place_neighbours::<P>(handed, &mut places.batch));
    }
    round.meet();
    // SAFETY: put there for this CPU, above, from the same `P`.
    unsafe { sharing::free_neighbour::<P>(&handed[number]) };
    thrash::<P>(round, number);
}

/// The CPUs with even numbers allocate, the next ones free. One without a partner does both.
fn xmalloc<P: Peer>(round: &Round<'_>, number: usize) {
    let Some(ring) = round.harness.rings.get(number / 2).filter(|_| number | 1 < round.nr_cpus) else {
        return batches::<P, true>(round, number, ALONE);
    };
    let wait = |nr_turns: &mut u32| round.wait(number, nr_turns);
    round.timed(number, || {
        if number.is_multiple_of(2) {
            // The other one of the two does the second half of every pair, and counts them.
            let (_, faults) = ring.produce::<P>(round.nr_pairs, wait);
            // At once: the other one waits for what was refused.
            round.add_faults(faults);
            (0, 0)
        } else {
            // SAFETY: the other CPU allocates from the same `P`, by `produce`.
            unsafe { ring.consume::<P>(round.nr_pairs, wait) }
        }
    });
    // Both have ended: nothing lies in the ring unless the round was stopped.
    if !number.is_multiple_of(2) {
        // SAFETY: filled by `produce` with the same `P`, and the producer is past it.
        unsafe { ring.empty::<P>() };
    }
}

fn larson<P: Peer>(round: &Round<'_>, number: usize) {
    let harness = round.harness;
    let mut places = harness.places[number].lock();
    let mut random = Random::new(round.seed, number);
    round.add_faults(fill::<P>(&mut places.slots));
    let mut slots = &raw mut places.slots;
    let mut spare = (number == 0).then(|| harness.places[harness.places.len() - 1].lock());
    if let Some(spare) = &mut spare {
        round.add_faults(fill::<P>(&mut spare.slots));
        harness.mailbox.store(&raw mut spare.slots, Ordering::Release);
    }
    round.timed(number, || {
        sum(round.chunks(number, PAIRS_PER_SWAP).map(|turns| {
            let nr_turns = turns.end - turns.start;
            // SAFETY: this CPU's own, or what it took out of the mailbox, where nobody else has it any more. All sets
            // are valid until the last meeting below, and full of objects of `P`.
            let (next, nr_bad) = unsafe { replace_and_swap::<P>(slots, &harness.mailbox, nr_turns, &mut random) };
            slots = next;
            (nr_turns, nr_bad)
        }))
    });
    // All CPUs are past the measured part: what a CPU holds is its own, what lies in the mailbox nobody's.
    // SAFETY: as above.
    round.add_faults(drain::<P>(unsafe { &mut *slots }));
    if number == 0 {
        let rest = harness.mailbox.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: as above; the first CPU put a set there, and a swap leaves another.
        round.add_faults(drain::<P>(unsafe { &mut *rest }));
    }
    // A set may be another CPU's: it lives until that one has been seen here.
    round.meet();
}
