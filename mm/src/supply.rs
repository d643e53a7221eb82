//! What caches live on: frames, and the memory that magazines are made of.
//!
//! Magazines come from slabs of their own without magazines before them, so getting one never needs one.
//! Called by: [`crate::cache`]. Calls: [`crate::slab`], [`crate::frames`].

use core::ptr::NonNull;

use crate::bank::MAX_CACHES;
use crate::frames::Frames;
use crate::geometry::Geometry;
use crate::growth::Growth;
use crate::machine::Machine;
use crate::magazine::{Magazine, SIZES};
use crate::slab::{SlabCounters, Slabs};

/// Frames and magazines for the caches above.
#[derive(Debug)]
pub struct Supply<M> {
    /// The frames.
    pub frames: Frames<M>,
    /// Whether so many frames have been taken that it is time to ask for idle ones.
    pub(crate) growth: Growth,
    magazines: [Slabs<M>; SIZES.len()],
}

impl<M: Machine> Supply<M> {
    /// Nothing yet.
    pub const fn new() -> Self {
        const fn slabs<M: Machine>(i: usize) -> Slabs<M> {
            let bytes = Magazine::bytes(SIZES[i]);
            Slabs::with_geometry((MAX_CACHES + i) as u16, Geometry::new(bytes, bytes))
        }
        Self {
            frames: Frames::new(),
            growth: Growth::new(),
            magazines: [slabs(0), slabs(1), slabs(2), slabs(3), slabs(4), slabs(5)],
        }
    }

    /// An empty magazine of `capacity` rounds, one of [`SIZES`]; `None` when memory is out.
    pub(crate) fn magazine(&self, capacity: usize) -> Option<NonNull<Magazine>> {
        let mut place = [NonNull::dangling()];
        if self.slabs_for(capacity).alloc_batch(&self.frames, &mut place, 1) == 0 {
            return None;
        }
        // SAFETY: the object is ours, has the bytes of such a magazine, and slabs align objects of a multiple of 16
        // bytes to 16.
        Some(unsafe { Magazine::create(place[0], capacity) })
    }

    /// Takes an empty magazine back.
    ///
    /// # Safety
    ///
    /// It came from [`Supply::magazine`], and nobody else has it.
    pub(crate) unsafe fn free_magazine(&self, magazine: NonNull<Magazine>) {
        // SAFETY: the caller owns it.
        let capacity = unsafe { magazine.as_ref() }.capacity as usize;
        self.slabs_for(capacity).free_batch(&self.frames, &[magazine.cast()], |error| {
            panic!("a magazine of {capacity} rounds cannot be freed: {error}")
        });
    }

    fn slabs_for(&self, capacity: usize) -> &Slabs<M> {
        match SIZES.iter().position(|&size| size == capacity) {
            Some(i) => &self.magazines[i],
            None => panic!("no magazine has {capacity} rounds"),
        }
    }

    /// Gives slabs without magazines in them back.
    pub(crate) fn reap(&self) {
        for slabs in &self.magazines {
            slabs.reap(&self.frames);
        }
    }

    /// Size in rounds and counters of each kind of magazine.
    pub fn magazine_counters(&self) -> impl Iterator<Item = (usize, SlabCounters)> {
        SIZES.iter().zip(&self.magazines).map(|(&size, slabs)| (size, slabs.counters()))
    }
}

impl<M: Machine> Default for Supply<M> {
    fn default() -> Self {
        Self::new()
    }
}
