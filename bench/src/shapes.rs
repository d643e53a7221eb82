//! Workloads in which every thread frees what it allocated: the shared loops, timed.
//!
//! An object that is checked carries a stamp from its allocation to its free.

use std::alloc::Layout;
use std::hint::black_box;
use std::ptr;

use workloads::Peer;
use workloads::loops::{self, mixed, pairs, replace};
use workloads::objects::Slot;
use workloads::sizes::{MIX, Random, SMALL};
use workloads::{bulk, sh6, sharing};

use crate::round::{Round, Sample};

/// Times `work`, which returns how many pairs it did and how many objects were bad.
fn timed(round: &Round, work: impl FnOnce() -> (u64, u64)) -> Sample {
    let mut nr_bad = 0;
    let sample = round.timed(|| {
        let (nr_pairs, found_bad) = work();
        nr_bad = found_bad;
        nr_pairs
    });
    round.demand_intact(nr_bad);
    sample
}

pub(crate) fn pair<P: Peer, const CHECK: bool>(round: &Round, layout: Layout) -> Sample {
    // Opaque in every turn: what follows from the layout is not worked out once for the whole loop.
    timed(round, || (round.nr_pairs, pairs::<P, CHECK>(0..round.nr_pairs, |_| black_box(layout))))
}

pub(crate) fn pair_constant<P: Peer, const CHECK: bool>(round: &Round) -> Sample {
    timed(round, || (round.nr_pairs, pairs::<P, CHECK>(0..round.nr_pairs, |_| SMALL)))
}

pub(crate) fn pair_mix<P: Peer, const CHECK: bool>(round: &Round) -> Sample {
    timed(round, || (round.nr_pairs, pairs::<P, CHECK>(0..round.nr_pairs, mixed)))
}

pub(crate) fn thrash<P: Peer>(round: &Round) -> Sample {
    timed(round, || (round.nr_pairs, sharing::thrash::<P>(round.nr_pairs)))
}

pub(crate) fn batch<P: Peer, const CHECK: bool, const FIFO: bool, const N: usize>(
    round: &Round,
    layout: Layout,
) -> Sample {
    let mut objects = vec![ptr::null_mut::<u8>(); N];
    timed(round, || {
        let nr_batches = round.nr_pairs.div_ceil(N as u64);
        let nr_bad = (0..nr_batches).map(|_| loops::batch::<P, CHECK, FIFO>(&mut objects[..N], layout)).sum();
        (nr_batches * N as u64, nr_bad)
    })
}

pub(crate) fn mstress<P: Peer>(round: &Round, thread: usize) -> Sample {
    const NR_LIVE: usize = 10_000;
    let mut random = Random::new(0, thread);
    let mut slots: Vec<Slot> = (0..NR_LIVE).map(|i| Slot::alloc::<P>(i % MIX.len()).expect("memory")).collect();
    // SAFETY: filled above with objects of `P`.
    let sample = timed(round, || (round.nr_pairs, unsafe { replace::<P>(&mut slots, round.nr_pairs, &mut random) }));
    // SAFETY: objects of `P`, each freed once.
    round.demand_intact(slots.into_iter().map(|slot| u64::from(unsafe { slot.free::<P>() } != 0)).sum());
    sample
}

pub(crate) fn bulk<P: Peer>(round: &Round) -> Sample {
    let mut objects = bulk::batch();
    timed(round, || {
        let nr_batches = round.nr_pairs.div_ceil(bulk::BULK as u64);
        (nr_batches * bulk::BULK as u64, (0..nr_batches).map(|_| bulk::bulk::<P>(&mut objects)).sum())
    })
}

pub(crate) fn sh6<P: Peer>(round: &Round, thread: usize) -> Sample {
    let mut random = Random::new(0, thread);
    let mut slots = Vec::with_capacity(sh6::MAX_LIVE);
    round.demand_intact(sh6::begin::<P>(&mut slots, &mut random));
    let sample = timed(round, || {
        let nr_steps = round.nr_pairs.div_ceil(sh6::BATCH as u64);
        // SAFETY: filled above with objects of `P`.
        let nr_bad = (0..nr_steps).map(|_| unsafe { sh6::step::<P>(&mut slots, &mut random) }).sum();
        (nr_steps * sh6::BATCH as u64, nr_bad)
    });
    // SAFETY: objects of `P`, each freed once.
    round.demand_intact(slots.into_iter().map(|slot| u64::from(unsafe { slot.free::<P>() } != 0)).sum());
    sample
}
