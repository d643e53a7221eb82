//! A cache's side of guarded objects: they count as out of its slabs, and are constructed and destroyed one by one.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::Cache;
use crate::debug::{Damage, Fault, Finding, Moment, Track};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::supply::Supply;

impl<M: Machine> Cache<M> {
    /// Its guarded objects, with users and in magazines.
    pub fn nr_guarded(&self) -> u64 {
        self.nr_guarded.load(Ordering::Relaxed)
    }

    /// An object on a page of its own, if one is due and can be had.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_guarded(&self, supply: &Supply<M>, size: usize) -> Option<NonNull<u8>> {
        let settings = self.settings();
        let object = supply.guards.alloc(self.id, self.object_size(), size.min(settings.size))?;
        if settings.constructor.is_some_and(|construct| construct(object).is_err()) {
            if let Ok((number, _)) = supply.guards.begin_free(self.id, object) {
                supply.guards.finish_free(number, Track::here::<M>(true));
            }
            return None;
        }
        self.nr_guarded.fetch_add(1, Ordering::Relaxed);
        self.nr_direct_allocs.fetch_add(1, Ordering::Relaxed);
        Some(object)
    }

    /// Frees an object of the pool of guarded ones, past the magazines.
    ///
    /// # Errors
    ///
    /// As [`Cache::free_guarded`].
    #[cold]
    #[inline(never)]
    pub(crate) fn free_guarded_directly(&self, supply: &Supply<M>, object: NonNull<u8>) -> Result<()> {
        self.free_guarded(supply, object)?;
        self.nr_direct_frees.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Frees an object of the pool of guarded ones. Bytes that were written beside it are reported; it is freed all the
    /// same, since its page is nobody else's.
    ///
    /// # Errors
    ///
    /// A bad free, which has been reported; nothing has changed.
    pub(super) fn free_guarded(&self, supply: &Supply<M>, object: NonNull<u8>) -> Result<()> {
        let by = Track::here::<M>(true);
        let (number, damage) = supply.guards.begin_free(self.id, object).inspect_err(|&error| {
            self.report_guarded(supply, Fault::BadFree, error, None, object, by);
        })?;
        if let Some(damage) = damage {
            let fault = if damage.offset < 0 { Fault::Underrun } else { Fault::Overrun };
            let error = Error::Corrupted { addr: object.addr().get() };
            self.report_guarded(supply, fault, error, Some(damage), object, by);
        }
        if let Some(destroy) = self.settings().destructor {
            destroy(object);
        }
        supply.guards.finish_free(number, by);
        self.nr_guarded.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    fn report_guarded(
        &self,
        supply: &Supply<M>,
        fault: Fault,
        error: Error,
        damage: Option<Damage>,
        object: NonNull<u8>,
        found: Track,
    ) {
        let addr = object.addr().get();
        let known = supply.guards.explain(addr);
        self.debug.count_finding();
        M::report_finding(&Finding {
            fault,
            moment: Moment::Free,
            error,
            addr,
            cache: self.settings().name,
            id: self.id,
            object_size: self.object_size(),
            requested: known.map(|known| known.requested),
            damage,
            found,
            allocated: known.and_then(|known| known.allocated),
            freed: known.and_then(|known| known.freed),
        });
    }
}
