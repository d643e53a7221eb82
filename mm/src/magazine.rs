//! A magazine: an array of pointers to free objects of one cache ("rounds").
//!
//! Bonwick and Adams, "Magazines and Vmem" (USENIX 2001). An array and not a chain through the objects: a free object
//! holds nothing of the allocator, and a pop does not wait for a cold line.
//!
//! A magazine is owned by one CPU, or lies in a depot under its lock; while it is loaded in a CPU, the number of
//! rounds is kept there ([`crate::cpu_cache`]) and `nr_rounds` here is stale. A magazine that is not loaded is full or
//! empty, and its capacity is sealed, by which a wild write to its header is found out: see [`Magazine::holds`].

use core::ptr::NonNull;

use crate::error::Metadata;

/// Rounds that the largest magazine holds.
pub const MAX_ROUNDS: usize = 126;

/// Magazine sizes in rounds; with the header of two words each fills a power of two of bytes, so whole cache lines.
pub const SIZES: [usize; 6] = [2, 6, 14, 30, 62, MAX_ROUNDS];

/// The header; the rounds follow it in memory.
#[derive(Debug)]
#[repr(C)]
pub struct Magazine {
    /// The capacity and the magazine's address, mixed.
    seal: u64,
    /// Rounds in it, from the bottom of the array; stale while loaded.
    pub(crate) nr_rounds: u32,
    /// Rounds that fit.
    pub(crate) capacity: u32,
}

impl Magazine {
    /// Bytes of a magazine of `capacity` rounds.
    pub const fn bytes(capacity: usize) -> usize {
        size_of::<Self>() + capacity * size_of::<*mut u8>()
    }

    /// Makes the memory at `place` an empty magazine.
    ///
    /// # Safety
    ///
    /// `place` points to `bytes(capacity)` bytes, aligned for pointers, that are the caller's.
    pub(crate) unsafe fn create(place: NonNull<u8>, capacity: usize) -> NonNull<Self> {
        let magazine = place.cast::<Self>();
        // SAFETY: aligned and large enough by this function's contract.
        unsafe { magazine.write(Self { seal: seal_of(magazine, capacity), nr_rounds: 0, capacity: capacity as u32 }) };
        magazine
    }

    /// Whether the header may be believed, of a magazine that no CPU has loaded. Full or empty, if `is_full` says which.
    ///
    /// # Safety
    ///
    /// `this` was made by [`Magazine::create`] and is the caller's; its memory may have been overwritten since.
    #[inline]
    pub(crate) unsafe fn holds(this: NonNull<Self>, is_full: Option<bool>) -> bool {
        // SAFETY: a magazine of the caller's; integers, whatever was written there.
        let &Self { seal, nr_rounds, capacity } = unsafe { this.as_ref() };
        let is_right = match is_full {
            Some(true) => nr_rounds == capacity,
            Some(false) => nr_rounds == 0,
            None => nr_rounds == capacity || nr_rounds == 0,
        };
        is_right && seal == seal_of(this, capacity as usize)
    }

    /// Breaks the seal: the memory is no magazine any more.
    ///
    /// # Safety
    ///
    /// As for [`Magazine::holds`].
    pub(crate) unsafe fn unseal(mut this: NonNull<Self>) {
        // SAFETY: a magazine of the caller's.
        unsafe { this.as_mut().seal = 0 };
    }

    /// Where its rounds begin.
    ///
    /// # Safety
    ///
    /// `this` was made by [`Magazine::create`] and not freed.
    pub(crate) unsafe fn rounds(this: NonNull<Self>) -> NonNull<NonNull<u8>> {
        // SAFETY: the rounds follow the header, inside the allocation that `create` was given.
        unsafe { this.add(1).cast() }
    }
}

/// An odd factor mixes the address into all upper bits; no seal is 0.
fn seal_of(magazine: NonNull<Magazine>, capacity: usize) -> u64 {
    (magazine.addr().get() as u64 ^ (capacity as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// Keeps in mind to report what was found damaged. Implemented by [`crate::supply`].
pub(crate) trait Notes {
    /// Damage of that kind at `addr`. Locks may be held.
    fn note(&self, what: Metadata, addr: usize);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magazines_fill_whole_cache_lines_or_half_of_one() {
        for rounds in SIZES {
            assert!(Magazine::bytes(rounds).is_power_of_two());
        }
    }
}
