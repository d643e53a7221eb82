//! What a cache does when the loaded magazine does not help: this CPU's other magazines, the depot, the slabs, in that
//! order, until the pop or push of the hit path succeeds (Bonwick and Adams, section 3.1).
//!
//! A CPU for which there is no magazine takes from the slabs and gives to them, and asks for one the next time again. As there
//! is an object for every request then, nobody would reclaim; so these are counted, see [`crate::growth`].
//!
//! The CPU's magazines are held all the while, so an interrupt here goes to the slabs. Called by: [`crate::heap`].

use core::ptr::NonNull;

use super::{Cache, GROW_PART};
use crate::depot::Trade;
use crate::error::{Error, Result};
use crate::latency::{self, Operation, Path, Stopwatch};
use crate::machine::Machine;
use crate::magazine::Magazine;
use crate::supply::Supply;

impl<M: Machine> Cache<M> {
    /// An empty magazine of the size of the day.
    fn new_magazine(&self, supply: &Supply<M>) -> Option<NonNull<Magazine>> {
        supply.magazine(self.depot.rounds())
    }

    /// `magazine`, unless it has been outgrown: then it goes back to the supply.
    fn unless_outgrown(&self, supply: &Supply<M>, magazine: NonNull<Magazine>) -> Option<NonNull<Magazine>> {
        // SAFETY: the caller owns the magazine.
        if unsafe { magazine.as_ref() }.capacity as usize >= self.depot.rounds() {
            return Some(magazine);
        }
        // SAFETY: an empty magazine of the supply's, which its owner hands over.
        unsafe { supply.free_magazine(magazine) };
        None
    }

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
        loop {
            if let Some(object) = Stopwatch::time_hit(&watch, || held.pop()) {
                return Ok(object);
            }
            self.count_dropped(supply, held.vet(supply));
            if held.reload_full() {
                latency::reach::<M>(Path::Swap);
                continue;
            }
            let empty = held.take_previous().and_then(|empty| self.unless_outgrown(supply, empty));
            let traded = self.depot.trade_empty(empty, supply);
            supply.frames.incidents.report();
            match traded {
                Ok(full) => {
                    latency::reach::<M>(Path::Depot);
                    held.insert(full);
                    continue;
                }
                Err(Some(empty)) => held.put_previous(empty),
                Err(None) => {}
            }
            if held.is_unloaded() {
                let Some(empty) = self.new_magazine(supply) else {
                    supply.growth.count_miss();
                    break;
                };
                held.insert(empty);
            }
            if held.fill(|objects| self.produce(supply, objects, objects.len().div_ceil(GROW_PART))) == 0 {
                break;
            }
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
    #[cold]
    #[inline(never)]
    pub(crate) fn free_slow(&self, supply: &Supply<M>, object: NonNull<u8>, size: usize) -> Result<()> {
        let plan = self.plan();
        let watch = supply.latency.start::<M>(Operation::Free, Some(self.id));
        if let Some(layout) = &plan.debug {
            return self.free_debugged(supply, layout, object, size);
        }
        if supply.guards.contains(object) {
            return self.free_guarded_directly(supply, object);
        }
        let Some(held) = M::bank().caches[usize::from(self.id)].try_hold::<M>() else {
            return self.free_direct(supply, object);
        };
        while !Stopwatch::time_hit(&watch, || held.push(object)) {
            self.count_dropped(supply, held.vet(supply));
            if held.reload_empty(plan.rack) {
                latency::reach::<M>(Path::Swap);
                continue;
            }
            if !held.has_rack_place(plan.rack)
                && let Some(full) = held.take_previous()
            {
                latency::reach::<M>(Path::Depot);
                // SAFETY: this CPU's until it is traded; it has just been looked at.
                let nr_rounds = unsafe { full.as_ref() }.nr_rounds;
                let traded = self.depot.trade_full(full, nr_rounds, plan.depot_limit, supply);
                supply.frames.incidents.report();
                match traded {
                    Trade::Empty(empty) => {
                        if let Some(empty) = self.unless_outgrown(supply, empty) {
                            held.insert(empty);
                            continue;
                        }
                    }
                    Trade::Stored => {}
                    Trade::Refused(mut full) => {
                        self.consume_magazine(supply, &mut full);
                        held.insert(full);
                        continue;
                    }
                }
            }
            match self.new_magazine(supply) {
                Some(empty) => held.insert_empty(empty, plan.rack),
                // No memory for a magazine: a free must not fail for that.
                None if held.is_unloaded() => {
                    drop(held);
                    supply.growth.count_miss();
                    return self.free_direct(supply, object);
                }
                None => held.spill(|rounds| self.consume_rounds(supply, rounds)),
            }
        }
        Ok(())
    }
}
