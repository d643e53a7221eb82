//! Caches of callers' own: made, grown, reaped, unmade.
//!
//! Lock order: `opening` is above all others, and not held while other CPUs are waited for.

use core::ptr::NonNull;

use super::Heap;
use crate::bank::MAX_CACHES;
use crate::cache::{Cache, Settings};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::size_class::NR_CLASSES;

/// A cache of a caller's own. Having it means: the cache is live, and destroying it is this owner's to do.
#[derive(Debug)]
pub struct CacheHandle {
    id: u16,
}

impl CacheHandle {
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
    /// [`MAX_CACHES`] caches exist.
    pub fn create_cache(&self, settings: Settings) -> Result<CacheHandle> {
        let _opening = self.opening.lock();
        let id = (NR_CLASSES..MAX_CACHES)
            .find(|&id| !self.caches[id].is_live())
            .ok_or(Error::OutOfMemory { bytes: size_of::<Cache<M>>() })?;
        self.caches[id].open(settings, settings.size)?;
        Ok(CacheHandle { id: id as u16 })
    }

    /// An object of `cache`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], also when the constructor refused.
    #[inline]
    pub fn cache_alloc(&self, cache: &CacheHandle) -> Result<NonNull<u8>> {
        self.alloc_from(usize::from(cache.id))
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
        self.free_to(usize::from(cache.id), object)
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

    /// Gives back what `cache` holds without use, on every CPU.
    pub fn cache_reap(&self, cache: &CacheHandle) {
        self.reclaim();
        self.caches[usize::from(cache.id)].reap(&self.supply);
    }

    /// Unmakes a cache of which no object is out.
    ///
    /// # Errors
    ///
    /// The handle again, and [`Error::Busy`] with the number of objects that are still out.
    pub fn destroy_cache(&self, handle: CacheHandle) -> core::result::Result<(), (CacheHandle, Error)> {
        let cache = &self.caches[usize::from(handle.id)];
        self.reclaim();
        let _opening = self.opening.lock();
        match cache.slab_counters().nr_out {
            0 => {
                cache.close();
                Ok(())
            }
            nr_out => Err((handle, Error::Busy { nr_objects: nr_out as usize })),
        }
    }
}
