//! Caches of callers' own: made, grown, reaped, unmade.
//!
//! A cache is opened and closed while nobody reclaims or counts: both walk over all caches.

use core::ptr::NonNull;

use super::Heap;
use super::reclaim::Exclusive;
use crate::bank::MAX_CACHES;
use crate::cache::{Cache, Settings, UNKNOWN_SIZE};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::size_class::NR_CLASSES;

/// A cache of a caller's own. Having it means: the cache is live, and destroying it is this owner's to do.
#[derive(Debug)]
pub struct CacheHandle {
    id: u16,
}

/// Places that typed caches have by name; no other cache gets one.
pub const NR_PLACES: usize = 16;

impl CacheHandle {
    /// The cache in that place, which may be vacant: for those who own the place.
    #[inline(always)]
    pub(crate) fn at(place: usize) -> Self {
        debug_assert!(place < NR_PLACES, "place {place} of {NR_PLACES}");
        Self { id: (NR_CLASSES + place) as u16 }
    }

    /// Its id, by which [`Heap::caches`] knows it.
    pub fn id(&self) -> u16 {
        self.id
    }
}

impl<M: Machine> Heap<M> {
    /// Makes a cache.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] for a size or alignment that slabs cannot have; [`Error::OutOfMemory`] if
    /// [`MAX_CACHES`] caches exist; [`Error::Busy`] to an interrupt that landed on a reclaim, or on who makes another.
    pub fn create_cache(&self, settings: Settings) -> Result<CacheHandle> {
        let exclusive = self.exclude_others();
        let id = (NR_CLASSES + NR_PLACES..MAX_CACHES)
            .find(|&id| !self.caches[id].is_live())
            .ok_or(Error::OutOfMemory { bytes: size_of::<Cache<M>>() })?;
        self.open_cache(&exclusive, id, settings)
    }

    /// Makes the cache of a certain place.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] for a size or alignment that slabs cannot have; [`Error::InUse`] if the place is taken.
    pub(crate) fn create_cache_at(&self, place: usize, settings: Settings) -> Result<CacheHandle> {
        let exclusive = self.exclude_others();
        let id = NR_CLASSES + place;
        if self.caches[id].is_live() {
            return Err(Error::InUse { addr: id });
        }
        self.open_cache(&exclusive, id, settings)
    }

    fn open_cache(&self, exclusive: &Option<Exclusive<'_>>, id: usize, settings: Settings) -> Result<CacheHandle> {
        if exclusive.is_none() {
            // An interrupt that landed on another who opens one, in the middle of it.
            return Err(Error::Busy { nr_objects: 0 });
        }
        self.caches[id].open(settings, settings.size, self.debug_rules.flags_for(&settings))?;
        Ok(CacheHandle { id: id as u16 })
    }

    /// An object of `cache`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], also when the constructor refused.
    #[inline]
    pub fn cache_alloc(&self, cache: &CacheHandle) -> Result<NonNull<u8>> {
        let id = usize::from(cache.id);
        match Self::mine(id).pop::<M>() {
            Some(object) => Ok(object),
            None => self.alloc_slow(id, UNKNOWN_SIZE),
        }
    }

    /// Gives an object of `cache` back, in the state the constructor left it in.
    ///
    /// # Errors
    ///
    /// As [`Heap::dealloc`].
    ///
    /// # Safety
    ///
    /// Nobody uses the object any more.
    #[inline]
    pub unsafe fn cache_free(&self, cache: &CacheHandle, object: NonNull<u8>) -> Result<()> {
        self.free_to(usize::from(cache.id), object, UNKNOWN_SIZE)
    }

    /// Fills `objects` with objects of `cache`: a copy from this CPU's magazine, and another for each that it takes.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; nothing is allocated then, and what `objects` holds means nothing.
    pub fn cache_alloc_bulk(&self, cache: &CacheHandle, objects: &mut [NonNull<u8>]) -> Result<()> {
        let id = usize::from(cache.id);
        let mut n = 0;
        while n < objects.len() {
            n += Self::mine(id).try_hold::<M>().map_or(0, |held| held.pop_many(&mut objects[n..]));
            let Some(place) = objects.get_mut(n) else { break };
            // One by the long way brings a further magazine.
            match self.alloc_slow(id, UNKNOWN_SIZE) {
                Ok(object) => *place = object,
                Err(error) => {
                    // SAFETY: just allocated, and nobody has seen them.
                    unsafe { self.cache_free_bulk(cache, &objects[..n]) }?;
                    return Err(error);
                }
            }
            n += 1;
        }
        Ok(())
    }

    /// Gives `objects` of `cache` back.
    ///
    /// # Errors
    ///
    /// As [`Heap::dealloc`], of the first bad one; the others are freed all the same.
    ///
    /// # Safety
    ///
    /// Nobody uses the objects any more.
    pub unsafe fn cache_free_bulk(&self, cache: &CacheHandle, objects: &[NonNull<u8>]) -> Result<()> {
        let id = usize::from(cache.id);
        let mut rest = objects;
        let mut result = Ok(());
        while !rest.is_empty() {
            rest = &rest[Self::mine(id).try_hold::<M>().map_or(0, |held| held.push_many(rest))..];
            let Some((&object, tail)) = rest.split_first() else { break };
            // One by the long way brings room.
            result = result.and(self.caches[id].free_slow(&self.supply, object, UNKNOWN_SIZE));
            rest = tail;
        }
        result
    }

    /// Makes sure that the next `nr_objects` allocations of `cache` find a slab: takes so many and puts them back, past
    /// the magazines.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; the cache has grown as far as memory went.
    pub fn cache_grow(&self, cache: &CacheHandle, nr_objects: usize) -> Result<()> {
        self.or_reclaim(|| self.caches[usize::from(cache.id)].grow(&self.supply, nr_objects))
    }

    /// Gives back what this cache holds without use, on every CPU; other caches keep their magazines.
    ///
    /// Context: as [`Heap::reclaim`].
    pub fn cache_reap(&self, cache: &CacheHandle) {
        if let Some(exclusive) = self.exclude_others() {
            self.reclaim_one(&exclusive, cache.id);
        }
    }

    /// Unmakes a cache of which no object is out.
    ///
    /// # Errors
    ///
    /// The handle again, and [`Error::Busy`] with the number of objects that are still out, perhaps none: then this is a
    /// handler, or a destructor, that has interrupted a reclaim or holds one up; [`Error::BadRequest`] if it
    /// is none of a live cache.
    pub fn destroy_cache(&self, handle: CacheHandle) -> core::result::Result<(), (CacheHandle, Error)> {
        let cache = &self.caches[usize::from(handle.id)];
        // Not beside a reclaim, which goes through the cache: a handler that cannot wait for one leaves the cache alone.
        let Some(exclusive) = self.exclude_others() else {
            return Err((handle, Error::Busy { nr_objects: cache.slab_counters().nr_out as usize }));
        };
        if !cache.is_live() {
            let value = usize::from(handle.id);
            return Err((handle, Error::BadRequest { value }));
        }
        self.reclaim_alone(&exclusive);
        cache.settle(&self.supply);
        // Objects that are out keep slabs; so does a magazine that an interrupt found busy. A cache that goes leaves none.
        let slabs = cache.slab_counters();
        if slabs.nr_slabs > 0 || slabs.nr_quarantined_out > 0 || cache.nr_guarded() > 0 {
            let nr_objects = slabs.nr_out + slabs.nr_quarantined_out + cache.nr_guarded();
            return Err((handle, Error::Busy { nr_objects: nr_objects as usize }));
        }
        cache.close();
        Ok(())
    }
}
