//! Random sizes, random lifetimes, and frees by other CPUs: the shape of `rptest`.
//!
//! `rptest` is the benchmark that came with rpmalloc (Mattias Jansson), and is in mimalloc-bench: each thread keeps a table
//! of blocks of 16 to some thousand bytes, many more small ones than large, replaces them at random, and hands some to
//! other threads, which free them. Here sizes are spread evenly over the powers of two from 16 bytes to 8 KiB; every eighth
//! object that is replaced goes to the next CPU, which frees it as soon as it looks. Unlike the original, objects are handed
//! over one by one through a box of its own between each two CPUs, nobody ever waits, and each object is stamped and looked at.

use alloc::vec::Vec;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::Peer;
use crate::objects::{REFUSED, Slot};
use crate::sizes::{Random, log_size};

/// Objects that a CPU keeps.
pub const NR_LIVE: usize = 300;
/// Objects that can be on their way from one CPU to another.
const NR_PLACES: usize = 32;

/// Objects on their way from one CPU, the only one that posts here, to another, the only one that takes out.
#[derive(Debug)]
pub struct Letterbox {
    /// Null where there is room; the size is written before the object appears.
    places: [(AtomicPtr<u8>, AtomicUsize); NR_PLACES],
}

impl Letterbox {
    /// An empty one.
    pub const fn new() -> Self {
        Self { places: [const { (AtomicPtr::new(ptr::null_mut()), AtomicUsize::new(0)) }; NR_PLACES] }
    }

    /// Puts `slot` into place number `at`, modulo their number; false if it is not free.
    #[inline(always)]
    fn post(&self, at: usize, slot: Slot) -> bool {
        let (place, size) = &self.places[at % NR_PLACES];
        // Acquire: who emptied it has read the size.
        if !place.load(Ordering::Acquire).is_null() {
            return false;
        }
        let (object, nr_bytes) = slot.into_parts();
        size.store(nr_bytes, Ordering::Relaxed);
        place.store(object.as_ptr(), Ordering::Release);
        true
    }

    /// What lies in place number `at`.
    #[inline(always)]
    fn take(&self, at: usize) -> Option<Slot> {
        let (place, size) = &self.places[at % NR_PLACES];
        let object = NonNull::new(place.load(Ordering::Acquire))?;
        let slot = Slot::from_parts(object, size.load(Ordering::Relaxed));
        place.store(ptr::null_mut(), Ordering::Release);
        Some(slot)
    }

    /// Frees what lies here. Returns how many objects were damaged.
    ///
    /// # Safety
    ///
    /// What was posted here was allocated from `P`; nobody else uses the box any more.
    pub unsafe fn empty<P: Peer>(&self) -> u64 {
        // SAFETY: objects of `P` by the caller's promise, each taken out once.
        (0..NR_PLACES).filter_map(|at| self.take(at)).map(|slot| u64::from(unsafe { slot.free::<P>() } != 0)).sum()
    }
}

impl Default for Letterbox {
    fn default() -> Self {
        Self::new()
    }
}

/// One CPU's ways to the others. Fresh in every round, as are both boxes.
#[derive(Debug)]
pub struct Post<'b> {
    inbox: &'b Letterbox,
    outbox: &'b Letterbox,
    next_in: usize,
    next_out: usize,
}

impl<'b> Post<'b> {
    /// From the CPU before, and to the one after. Both may be the same.
    pub fn new(inbox: &'b Letterbox, outbox: &'b Letterbox) -> Self {
        Self { inbox, outbox, next_in: 0, next_out: 0 }
    }
}

/// Fills `slots`, which is empty and has room for [`NR_LIVE`]. Returns [`REFUSED`] if an object was refused.
pub fn begin<P: Peer>(slots: &mut Vec<Slot>, random: &mut Random) -> u64 {
    slots.extend((0..NR_LIVE).map_while(|_| Slot::of_size::<P>(log_size(random.draw()))));
    if slots.len() < NR_LIVE { REFUSED } else { 0 }
}

/// Replaces `nr_pairs` of `slots` at random; every eighth object goes to the next CPU if there is room, and what the one
/// before has sent is freed. Returns 1 if an object was damaged, and [`REFUSED`] if one was refused, which ends it, and leaves
/// a slot fewer.
///
/// # Safety
///
/// The slots hold objects of `P`, and so do both boxes.
#[inline(always)]
pub unsafe fn churn<P: Peer>(slots: &mut Vec<Slot>, post: &mut Post<'_>, nr_pairs: u64, random: &mut Random) -> u64 {
    let mut damage = 0;
    for _ in 0..nr_pairs {
        if slots.is_empty() {
            return REFUSED;
        }
        let number = random.draw();
        let place = (((number >> 32) * slots.len() as u64) >> 32) as usize;
        let old = slots[place];
        if number >> 29 & 7 == 0 && post.outbox.post(post.next_out, old) {
            post.next_out += 1;
        } else {
            // SAFETY: an object of `P` by the caller's promise, and replaced at once, or taken out below.
            damage |= unsafe { old.free::<P>() };
        }
        if let Some(slot) = post.inbox.take(post.next_in) {
            post.next_in += 1;
            // SAFETY: as above; who posted it has let go of it.
            damage |= unsafe { slot.free::<P>() };
        }
        let Some(new) = Slot::of_size::<P>(log_size(random.draw())) else {
            slots.swap_remove(place);
            return u64::from(damage != 0) + REFUSED;
        };
        slots[place] = new;
    }
    u64::from(damage != 0)
}
