//! What a cache does when the loaded magazine does not help: the ways of debugged and guarded objects, and for all others
//! [`crate::magazine_layer`] with the slabs behind it. Called by: [`crate::heap`].

use core::ptr::NonNull;

use super::{Cache, GROW_PART};
use crate::depot::Depot;
use crate::error::{Error, Result};
use crate::latency::Operation;
use crate::machine::Machine;
use crate::magazine_layer::{Source, pop_slow, push_slow};
use crate::supply::Supply;

impl<M: Machine> Source<M> for Cache<M> {
    fn depot(&self) -> &Depot<M> {
        &self.depot
    }

    fn rack(&self) -> usize {
        self.plan().rack
    }

    fn depot_limit(&self) -> u32 {
        self.plan().depot_limit
    }

    fn fetch(&self, supply: &Supply<M>, rounds: &mut [NonNull<u8>]) -> usize {
        self.produce(supply, rounds, rounds.len().div_ceil(GROW_PART))
    }

    fn give_back(&self, supply: &Supply<M>, rounds: &[Option<NonNull<u8>>]) {
        self.consume_rounds(supply, rounds);
    }
}

impl<M: Machine> Cache<M> {
    /// An object, of which `size` bytes were asked for; this CPU's magazine is empty or busy.
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slow(&self, supply: &Supply<M>, size: usize) -> Result<NonNull<u8>> {
        if !self.is_live() {
            // A typed cache that nobody has opened.
            return Err(Error::BadRequest { value: usize::from(self.id) });
        }
        let watch = supply.latency.start::<M>(Operation::Alloc, Some(self.id));
        if let Some(layout) = &self.plan().debug {
            return self.alloc_debugged(supply, layout, size);
        }
        if supply.guards.is_on()
            && let Some(object) = self.alloc_guarded(supply, size)
        {
            return Ok(object);
        }
        let Some(held) = M::bank().caches[usize::from(self.id)].try_hold::<M>() else {
            return self.alloc_direct(supply, size);
        };
        if let Some(object) = pop_slow(self, supply, &held, &watch) {
            return Ok(object);
        }
        drop(held);
        self.alloc_direct(supply, size)
    }

    /// Takes `object` back, of which `size` bytes were asked for ([`UNKNOWN_SIZE`] if the caller does not say); this
    /// CPU's magazine is full or busy.
    ///
    /// # Errors
    ///
    /// What is wrong with the object, as far as it is looked at now: see [`Cache::free_direct`].
    ///
    /// [`UNKNOWN_SIZE`]: super::UNKNOWN_SIZE
    #[cold]
    #[inline(never)]
    pub(crate) fn free_slow(&self, supply: &Supply<M>, object: NonNull<u8>, size: usize) -> Result<()> {
        let watch = supply.latency.start::<M>(Operation::Free, Some(self.id));
        if let Some(layout) = &self.plan().debug {
            return self.free_debugged(supply, layout, object, size);
        }
        if supply.guards.contains(object) {
            return self.free_guarded_directly(supply, object);
        }
        let Some(held) = M::bank().caches[usize::from(self.id)].try_hold::<M>() else {
            return self.free_direct(supply, object);
        };
        if push_slow(self, supply, &held, &watch, object) {
            return Ok(());
        }
        drop(held);
        self.free_direct(supply, object)
    }
}
