//! What caches live on: frames, and the memory that magazines are made of.
//!
//! Magazines come from slabs of their own without magazines before them, so getting one never needs one.
//! Called by: [`crate::cache`]. Calls: [`crate::slab`], [`crate::frames`].

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use crate::bank::MAX_CACHES;
use crate::error::{Error, Metadata};
use crate::frame::PAGE_SIZE;
use crate::frames::Frames;
use crate::geometry::Geometry;
use crate::growth::Growth;
use crate::guarded::Guards;
use crate::latency::Latency;
use crate::machine::Machine;
use crate::magazine::{Magazine, Notes, SIZES};
use crate::slab::{SlabCounters, Slabs};

/// Frames and magazines for the caches above.
#[derive(Debug)]
pub struct Supply<M> {
    /// The frames.
    pub frames: Frames<M>,
    /// Whether so many frames have been taken that it is time to ask for idle ones.
    pub(crate) growth: Growth,
    pub(crate) latency: Latency,
    magazines: [Slabs<M>; SIZES.len()],
    /// Objects on pages of their own.
    pub guards: Guards<M>,
}

impl<M: Machine> Supply<M> {
    /// Nothing yet.
    pub const fn new() -> Self {
        const fn slabs<M: Machine>(i: usize) -> Slabs<M> {
            let bytes = Magazine::bytes(SIZES[i]);
            assert!(Geometry::new(bytes, bytes).nr_pages == 1, "a magazine is found by its offset in a page");
            Slabs::with_geometry((MAX_CACHES + i) as u16, Geometry::new(bytes, bytes))
        }
        Self {
            frames: Frames::new(),
            growth: Growth::new(),
            latency: Latency::new(),
            magazines: [slabs(0), slabs(1), slabs(2), slabs(3), slabs(4), slabs(5)],
            guards: Guards::new(),
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

    /// Takes an empty magazine back. One that is none of ours is reported, and kept from harm's way.
    ///
    /// # Safety
    ///
    /// It came from [`Supply::magazine`], and nobody else has it.
    pub(crate) unsafe fn free_magazine(&self, magazine: NonNull<Magazine>) {
        // SAFETY: the caller owns it.
        unsafe { Magazine::unseal(magazine) };
        match self.capacity_of(magazine) {
            Some(capacity) => self.slabs_for(capacity).free_batch(&self.frames, &[magazine.cast()], M::report),
            None => M::report(Error::Corrupt { what: Metadata::Magazine, addr: magazine.addr().get() }),
        }
    }

    /// Rounds of the live magazine at that address, by the frame table: its header need not be true.
    fn capacity_of(&self, magazine: NonNull<Magazine>) -> Option<usize> {
        self.capacity_at(magazine).or_else(|| {
            // The magazine's slab may be what was overwritten; then it is quarantined now, and the magazine as good as ever.
            let is_out = |slabs: &Slabs<M>| slabs.check_quietly(&self.frames, magazine.cast()).is_ok();
            SIZES.iter().zip(&self.magazines).find(|(_, slabs)| is_out(slabs)).map(|(&size, _)| size)
        })
    }

    fn capacity_at(&self, magazine: NonNull<Magazine>) -> Option<usize> {
        let frame = self.frames.frame_of(magazine.cast())?;
        let slab = self.frames.table().get(frame)?;
        let capacity = *SIZES.get(usize::from(slab.cache.load(Relaxed)).checked_sub(MAX_CACHES)?)?;
        let offset = magazine.addr().get() % PAGE_SIZE;
        let is_one = slab.is_slab_with(frame, frame)
            && offset.is_multiple_of(Magazine::bytes(capacity))
            && slab.is_out(offset / Magazine::bytes(capacity)) == Some(true);
        is_one.then_some(capacity)
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
            slabs.reap(&self.frames, |_| {});
        }
    }

    /// Gives back slabs that no magazine needed since the last call; returns how many pages.
    pub(crate) fn reap_idle(&self) -> u64 {
        self.magazines.iter().map(|slabs| slabs.reap_idle(&self.frames, drop)).sum()
    }

    /// Size in rounds and counters of each kind of magazine.
    pub fn magazine_counters(&self) -> impl Iterator<Item = (usize, SlabCounters)> {
        SIZES.iter().zip(&self.magazines).map(|(&size, slabs)| (size, slabs.counters()))
    }
}

impl<M: Machine> Notes for Supply<M> {
    fn note(&self, what: Metadata, addr: usize) {
        self.frames.incidents.note(Error::Corrupt { what, addr });
    }
}

impl<M: Machine> Default for Supply<M> {
    fn default() -> Self {
        Self::new()
    }
}
