//! Workloads in which every thread frees what it allocated.
//!
//! An object that is checked carries a stamp from its allocation to its free. The pointer goes through `black_box`
//! otherwise, so no pair can be left out by the compiler.

use std::alloc::Layout;
use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::peers::Peer;
use crate::round::{Round, Sample};
use crate::workload::{MIX, MIX_ALIGN, SMALL, TINY};

/// What an object that is handed to `free` was allocated as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    object: *mut u8,
    size: usize,
}

impl Slot {
    /// A new object of size number `mix`, stamped.
    #[inline(always)]
    pub(crate) fn alloc<P: Peer>(mix: usize) -> Self {
        let size = MIX[mix].size();
        let object = P::alloc(Self::layout(size));
        stamp_object(object, size as u8);
        Self { object, size }
    }

    /// The layout of the mix with this size: the alignment is known where the allocation is written, as it mostly is.
    #[inline(always)]
    fn layout(size: usize) -> Layout {
        // SAFETY: the size and alignment of a layout of the mix.
        unsafe { Layout::from_size_align_unchecked(size, MIX_ALIGN) }
    }

    /// Frees the object; not 0 if it was damaged.
    #[inline(always)]
    pub(crate) fn free<P: Peer>(self) -> u64 {
        let damage = u64::from(read_stamp(self.object) ^ self.size as u8);
        // SAFETY: made by `alloc` with this layout; a slot is freed once, when it is replaced or at the end.
        unsafe { P::dealloc(self.object, Self::layout(self.size)) };
        damage
    }
}

/// Marks a fresh object as its owner's.
#[inline(always)]
pub(crate) fn stamp_object(object: *mut u8, stamp: u8) {
    assert!(!object.is_null(), "out of memory");
    // SAFETY: a live object of at least one byte, the caller's own; atomic, as the bare harness hands out one object twice.
    unsafe { AtomicU8::from_ptr(object) }.store(stamp, Ordering::Relaxed);
}

/// The mark of an object that is about to be freed.
#[inline(always)]
pub(crate) fn read_stamp(object: *mut u8) -> u8 {
    // SAFETY: a live object of at least one byte, the caller's own, stamped; atomic as above.
    unsafe { AtomicU8::from_ptr(object) }.load(Ordering::Relaxed)
}

/// Numbers without a pattern, the same on every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(thread: usize) -> Self {
        Self(0x2545_f491_4f6c_dd1d ^ (thread as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The upper half is good; two instructions with constants that fit into them, as the harness counts in the result.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d).wrapping_add(0x1405_7b7f);
        self.0
    }
}

#[inline(always)]
fn one_pair<P: Peer, const CHECK: bool>(layout: Layout, i: u64, nr_damaged: &mut u64) {
    let object = black_box(P::alloc(layout));
    if CHECK {
        assert!(object.addr().is_multiple_of(layout.align()), "{object:p} is not a multiple of {}", layout.align());
        stamp_object(object, i as u8);
        *nr_damaged += u64::from(read_stamp(object) != i as u8);
    }
    // SAFETY: just allocated with this layout, and nobody else has seen it.
    unsafe { P::dealloc(object, layout) };
}

pub(crate) fn pair<P: Peer, const CHECK: bool>(round: &Round, layout: Layout) -> Sample {
    let mut nr_damaged = 0;
    let sample = round.timed(|| {
        for i in 0..round.nr_pairs {
            // Opaque in every turn: what follows from the layout is not worked out once for the whole loop.
            one_pair::<P, CHECK>(black_box(layout), i, &mut nr_damaged);
        }
        round.nr_pairs
    });
    round.demand_intact(nr_damaged);
    sample
}

pub(crate) fn pair_constant<P: Peer, const CHECK: bool>(round: &Round) -> Sample {
    let mut nr_damaged = 0;
    let sample = round.timed(|| {
        for i in 0..round.nr_pairs {
            one_pair::<P, CHECK>(SMALL, i, &mut nr_damaged);
        }
        round.nr_pairs
    });
    round.demand_intact(nr_damaged);
    sample
}

pub(crate) fn pair_mix<P: Peer, const CHECK: bool>(round: &Round) -> Sample {
    let mut nr_damaged = 0;
    let sample = round.timed(|| {
        for i in 0..round.nr_pairs {
            one_pair::<P, CHECK>(MIX[i as usize % MIX.len()], i, &mut nr_damaged);
        }
        round.nr_pairs
    });
    round.demand_intact(nr_damaged);
    sample
}

/// Allocates a tiny object, counts in it, frees it; again and again. Returns how many objects had lost count.
#[inline(always)]
pub(crate) fn thrash_pairs<P: Peer>(nr_pairs: u64) -> u64 {
    const NR_WRITES: u64 = 20;
    let mut nr_damaged = 0;
    for i in 0..nr_pairs {
        let object = black_box(P::alloc(TINY)).cast::<u64>();
        assert!(!object.is_null(), "out of memory");
        // SAFETY: a live object of 8 bytes at a multiple of 8, this thread's own.
        unsafe { object.write_volatile(i) };
        for _ in 0..NR_WRITES {
            // SAFETY: as above, and written.
            unsafe { object.write_volatile(object.read_volatile().wrapping_add(1)) };
        }
        // SAFETY: as above, and written.
        nr_damaged += u64::from(unsafe { object.read_volatile() } != i.wrapping_add(NR_WRITES));
        // SAFETY: allocated above with this layout.
        unsafe { P::dealloc(object.cast(), TINY) };
    }
    nr_damaged
}

pub(crate) fn thrash<P: Peer>(round: &Round) -> Sample {
    let mut nr_damaged = 0;
    let sample = round.timed(|| {
        nr_damaged = thrash_pairs::<P>(round.nr_pairs);
        round.nr_pairs
    });
    round.demand_intact(nr_damaged);
    sample
}

/// `layout`, of which the compiler knows the alignment only.
#[inline(always)]
pub(crate) fn opaque(layout: Layout) -> Layout {
    // SAFETY: the size and alignment of a layout.
    unsafe { Layout::from_size_align_unchecked(black_box(layout.size()), layout.align()) }
}

pub(crate) fn batch<P: Peer, const CHECK: bool, const FIFO: bool, const N: usize>(
    round: &Round,
    layout: Layout,
) -> Sample {
    let mut objects = vec![std::ptr::null_mut::<u8>(); N];
    let mut nr_damaged = 0;
    let sample = round.timed(|| {
        let objects = &mut objects[..N];
        let free = |i: usize, object: *mut u8, nr_damaged: &mut u64| {
            if CHECK {
                *nr_damaged += u64::from(read_stamp(object) != i as u8);
            }
            // SAFETY: allocated below with this layout, and freed once.
            unsafe { P::dealloc(object, opaque(layout)) };
        };
        let nr_batches = round.nr_pairs.div_ceil(N as u64);
        for _ in 0..nr_batches {
            for (i, place) in objects.iter_mut().enumerate() {
                *place = P::alloc(opaque(layout));
                if CHECK {
                    stamp_object(*place, i as u8);
                }
            }
            black_box(&mut *objects);
            if FIFO {
                objects.iter().enumerate().for_each(|(i, &object)| free(i, object, &mut nr_damaged));
            } else {
                objects.iter().enumerate().rev().for_each(|(i, &object)| free(i, object, &mut nr_damaged));
            }
        }
        nr_batches * N as u64
    });
    round.demand_intact(nr_damaged);
    sample
}

/// Replaces `nr_pairs` of the slots at random; not 0 if an object was damaged.
#[inline(always)]
pub(crate) fn replace<P: Peer>(slots: &mut [Slot], nr_pairs: u64, random: &mut Random) -> u64 {
    let mut damage = 0;
    for _ in 0..nr_pairs {
        let number = random.next();
        // The high half of a product: a place below the length, without a division.
        let place = (((number >> 32) * slots.len() as u64) >> 32) as usize;
        let slot = &mut slots[place];
        damage |= slot.free::<P>();
        *slot = Slot::alloc::<P>((number >> 21) as usize % MIX.len());
    }
    damage
}

pub(crate) fn mstress<P: Peer>(round: &Round, thread: usize) -> Sample {
    const NR_LIVE: usize = 10_000;
    let mut random = Random::new(thread);
    let mut slots: Vec<Slot> = (0..NR_LIVE).map(|i| Slot::alloc::<P>(i % MIX.len())).collect();
    let mut nr_damaged = 0;
    let sample = round.timed(|| {
        nr_damaged = replace::<P>(&mut slots, round.nr_pairs, &mut random);
        round.nr_pairs
    });
    nr_damaged += slots.into_iter().map(Slot::free::<P>).sum::<u64>();
    round.demand_intact(nr_damaged);
    sample
}
