//! Loops in which a CPU frees what another allocated. Each returns how many objects were bad: see [`crate::objects`].

use alloc::vec::Vec;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::Peer;
use crate::loops::{opaque, replace};
use crate::objects::{REFUSED, Slot, check_and_free, stamp};
use crate::sizes::{Random, SMALL};

/// Places in a ring.
pub const NR_PLACES: usize = 256;

/// Objects on their way from one CPU to another; null where there is room.
#[derive(Debug)]
pub struct Ring {
    places: [AtomicPtr<u8>; NR_PLACES],
}

impl Ring {
    /// An empty ring.
    pub const fn new() -> Self {
        Self { places: [const { AtomicPtr::new(ptr::null_mut()) }; NR_PLACES] }
    }

    /// The first places, for whoever has something else to hand over.
    pub fn places(&self) -> &[AtomicPtr<u8>] {
        &self.places
    }

    /// Allocates `nr_objects` of 64 bytes, one after the other into the ring. `wait` is one turn of a wait for room, of
    /// which it is told how many there were; it may say false, and nothing more is done then; nor after a refusal. Returns how many objects
    /// went into the ring, and how many were bad. An object is a pair when it has been freed: who counts pairs counts
    /// those of `consume` alone.
    #[inline(always)]
    pub fn produce<P: Peer>(&self, nr_objects: u64, mut wait: impl FnMut(&mut u32) -> bool) -> (u64, u64) {
        for i in 0..nr_objects {
            let place = &self.places[i as usize % NR_PLACES];
            let object = P::alloc(opaque(SMALL));
            if object.is_null() {
                // The other CPU would wait for it.
                return (i, REFUSED);
            }
            // SAFETY: just allocated.
            unsafe { stamp(object, i as u8) };
            let mut nr_turns = 0;
            while !place.load(Ordering::Acquire).is_null() {
                if !wait(&mut nr_turns) {
                    // SAFETY: just allocated and stamped, and nobody else has seen it.
                    return (i, unsafe { check_and_free::<P>(object, i as u8, opaque(SMALL)) });
                }
            }
            place.store(object, Ordering::Release);
        }
        (nr_objects, 0)
    }

    /// Frees the `nr_objects` that the other CPU puts into the ring; `wait` and what is returned as in `produce`.
    ///
    /// # Safety
    ///
    /// Whoever fills the ring allocates from `P`, by `produce`.
    #[inline(always)]
    pub unsafe fn consume<P: Peer>(&self, nr_objects: u64, mut wait: impl FnMut(&mut u32) -> bool) -> (u64, u64) {
        let mut nr_bad = 0;
        for i in 0..nr_objects {
            let place = &self.places[i as usize % NR_PLACES];
            let mut nr_turns = 0;
            let object = loop {
                let object = place.load(Ordering::Acquire);
                if !object.is_null() {
                    break object;
                }
                if !wait(&mut nr_turns) {
                    return (i, nr_bad);
                }
            };
            place.store(ptr::null_mut(), Ordering::Release);
            // SAFETY: the producer allocated it with this layout, stamped it and let go of it.
            nr_bad += unsafe { check_and_free::<P>(object, i as u8, opaque(SMALL)) };
        }
        (nr_objects, nr_bad)
    }

    /// Frees what lies in the ring: something does if one of the two gave up.
    ///
    /// # Safety
    ///
    /// As for `consume`; nobody else uses the ring any more.
    pub unsafe fn empty<P: Peer>(&self) {
        for place in &self.places {
            let object = place.swap(ptr::null_mut(), Ordering::AcqRel);
            if !object.is_null() {
                // SAFETY: allocated by `produce` with this layout; nobody else has it.
                unsafe { P::dealloc(object, SMALL) };
            }
        }
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

/// A whole set of slots that no CPU holds, or null.
pub type Mailbox = AtomicPtr<Vec<Slot>>;

/// Replacements between two swaps with the mailbox.
pub const PAIRS_PER_SWAP: u64 = 500;

/// Replaces slots at random, then swaps the whole set with the one in the mailbox: most of what a CPU frees was
/// allocated by another. Returns the set that the caller holds from here on, and how many objects were bad.
///
/// # Safety
///
/// `slots` is this CPU's alone; it and what lies in the mailbox are valid, and their objects `P`'s.
#[inline(always)]
pub unsafe fn replace_and_swap<P: Peer>(
    slots: *mut Vec<Slot>,
    mailbox: &Mailbox,
    nr_pairs: u64,
    random: &mut Random,
) -> (*mut Vec<Slot>, u64) {
    // SAFETY: this CPU's own, with objects of `P`, by the caller's promise.
    let nr_bad = unsafe { replace::<P>(&mut *slots, nr_pairs, random) };
    // AcqRel: what the other wrote into the slots comes before what this one reads, and the same the other way.
    (mailbox.swap(slots, Ordering::AcqRel), nr_bad)
}
