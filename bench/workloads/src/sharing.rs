//! False sharing: CPUs that write to objects of their own, of less than a cache line each.
//!
//! `cache-thrash` and `cache-scratch` are Hoard's (Berger and others, 2000), played ever since. In the first, each thread
//! allocates a small object, writes to it many times and frees it, again and again: an allocator that gives two threads
//! parts of one line makes them pull it to and fro (active false sharing). In the second, each thread begins with an object
//! that one thread allocated for all, side by side, and frees it: an allocator that hands it out again to whoever freed it
//! does the same to threads that had no part in it (passive). Here an object has 8 bytes and is written twenty times; unlike
//! the original, what was written is looked at.

use core::hint::black_box;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::Peer;
use crate::objects::{REFUSED, stamp};
use crate::sizes::TINY;

/// Allocates a tiny object, counts in it, frees it; again and again. Returns how many were damaged, and by
/// [`REFUSED`] how many refused.
#[inline(always)]
pub fn thrash<P: Peer>(nr_pairs: u64) -> u64 {
    const NR_WRITES: u64 = 20;
    let mut nr_bad = 0;
    for i in 0..nr_pairs {
        let object = black_box(P::alloc(TINY)).cast::<u64>();
        if object.is_null() {
            nr_bad += REFUSED;
            continue;
        }
        // SAFETY: a live object of 8 bytes at a multiple of 8, this thread's own.
        unsafe { object.write_volatile(i) };
        for _ in 0..NR_WRITES {
            // SAFETY: as above, and written.
            unsafe { object.write_volatile(object.read_volatile().wrapping_add(1)) };
        }
        // SAFETY: as above, and written.
        nr_bad += u64::from(unsafe { object.read_volatile() } != i.wrapping_add(NR_WRITES));
        // SAFETY: allocated above with this layout.
        unsafe { P::dealloc(object.cast(), TINY) };
    }
    nr_bad
}

/// Puts an object into each of `places`, in one cache line as far as the allocator ever does that: the best run among as
/// many as there is room for in `scratch`, which is no shorter. Returns by [`REFUSED`] how many were refused; their
/// places are null.
pub fn place_neighbours<P: Peer>(places: &[AtomicPtr<u8>], scratch: &mut [*mut u8]) -> u64 {
    for object in scratch.iter_mut() {
        *object = P::alloc(TINY);
        // SAFETY: null or just allocated.
        unsafe { stamp(*object, 0) };
    }
    scratch.sort_unstable();
    let line = |object: *mut u8| object.addr() / 64;
    let is_shared = |pair: &[*mut u8]| !pair[0].is_null() && line(pair[0]) == line(pair[1]);
    let first = scratch.windows(2).position(is_shared).unwrap_or(0).min(scratch.len() - places.len());
    let (before, rest) = scratch.split_at(first);
    let (taken, after) = rest.split_at(places.len());
    for (place, &object) in places.iter().zip(taken) {
        place.store(object, Ordering::Release);
    }
    for &object in before.iter().chain(after) {
        // SAFETY: allocated above with this layout, and not handed out; null where it was refused.
        unsafe { P::dealloc(object, TINY) };
    }
    taken.iter().filter(|object| object.is_null()).count() as u64 * REFUSED
}

/// Frees the object that lies in `place`.
///
/// # Safety
///
/// It was put there by [`place_neighbours`] with the same `P`, and nobody else takes it.
pub unsafe fn free_neighbour<P: Peer>(place: &AtomicPtr<u8>) {
    let object = place.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if !object.is_null() {
        // SAFETY: by the caller's promise.
        unsafe { P::dealloc(object, TINY) };
    }
}
