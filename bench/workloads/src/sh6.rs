//! Batches of mixed sizes whose lifetimes overlap: the shape of `sh6bench`.
//!
//! `sh6bench` is MicroQuill's benchmark of SmartHeap (1998), played ever since by whoever compares allocators (mimalloc-bench
//! among them): it allocates batches of small blocks and frees some of each while later ones are made, partly in the
//! order of allocation and partly in reverse. Here a batch is [`BATCH`] objects; half of it lives until the next batch is
//! there and is freed in order, the other half until the one after that and is freed in reverse. Unlike the original,
//! sizes are drawn from the mix of 16 to 1024 bytes instead of rising from 1 to 1000, every CPU plays alone, and each object
//! is stamped and looked at.

use alloc::vec::Vec;

use crate::Peer;
use crate::objects::{REFUSED, Slot};
use crate::sizes::{MIX, Random};

/// Objects of a batch, and pairs of [`step`].
pub const BATCH: usize = 128;
/// Half of the batch before the last, and the last.
const NR_KEPT: usize = BATCH / 2 + BATCH;
/// Slots that [`step`] has in use at most.
pub const MAX_LIVE: usize = NR_KEPT + BATCH;

fn push<P: Peer>(slots: &mut Vec<Slot>, nr_objects: usize, random: &mut Random) -> u64 {
    for _ in 0..nr_objects {
        let Some(slot) = Slot::alloc::<P>((random.draw() >> 21) as usize % MIX.len()) else { return REFUSED };
        slots.push(slot);
    }
    0
}

/// Fills `slots`, which is empty and has room for [`MAX_LIVE`], as they are between two steps. Returns [`REFUSED`] if an
/// object was.
pub fn begin<P: Peer>(slots: &mut Vec<Slot>, random: &mut Random) -> u64 {
    push::<P>(slots, NR_KEPT, random)
}

/// Allocates a batch, and frees as many older objects. Returns 1 if an object was damaged, or [`REFUSED`] if one was, which
/// ends it, and every later step.
///
/// # Safety
///
/// The slots were filled by [`begin`] with the same `P`, and by steps.
#[inline(always)]
pub unsafe fn step<P: Peer>(slots: &mut Vec<Slot>, random: &mut Random) -> u64 {
    if slots.len() != NR_KEPT || push::<P>(slots, BATCH, random) != 0 {
        return REFUSED;
    }
    let mut damage = 0;
    // SAFETY: objects of `P` by the caller's promise; each is freed once, as all of them are taken out below.
    let mut free = |slot: &Slot| damage |= unsafe { slot.free::<P>() };
    let (before, last) = slots[..BATCH].split_at(BATCH / 2);
    last.iter().for_each(&mut free);
    before.iter().rev().for_each(free);
    // One by one: a call to move them all is a string instruction in a kernel, and that is slow under emulation.
    for to in 0..NR_KEPT {
        slots[to] = slots[to + BATCH];
    }
    slots.truncate(NR_KEPT);
    u64::from(damage != 0)
}
