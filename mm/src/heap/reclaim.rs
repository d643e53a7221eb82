//! Before a request is refused: every CPU gives its magazines back, those of address ranges too, and empty slabs become
//! frames.
//!
//! Without need, [`Heap::reap_idle`] gives back only what nobody has used for a while, and asks no other CPU for anything.
//!
//! One CPU reclaims at a time; the others wait, serving its requests, and then find memory or do not.
//!
//! What waits outside this crate ([`Machine::purge_unmapped`]) is given back before, while nobody is excluded. Only a handler
//! that has interrupted who reclaims may then wait for another CPU's purge while it holds others up; so a handler that has
//! interrupted a purge waits for nobody who reclaims ([`Machine::is_purging`]), or the two would wait for each other.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::Heap;
use crate::bank::Bank;
use crate::cache::Reaped;
use crate::error::{Error, Result};
use crate::machine::{Awaited, Machine};

/// A request to drain all caches, and not only one.
pub(super) const ALL_CACHES: u16 = u16::MAX;

/// Destructors free into caches that were drained before: go round again, but not for ever.
const MAX_ROUNDS: usize = 8;

/// Having this means: no other CPU reclaims, opens or closes a cache, or counts.
pub(crate) struct Exclusive<'a> {
    reclaimer: &'a AtomicPtr<Bank>,
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.reclaimer.store(ptr::null_mut(), Ordering::Release);
    }
}

impl<M: Machine> Heap<M> {
    /// Waits until nobody else reclaims. `None` if an interrupt landed on this CPU's own reclaim, or a destructor asks
    /// while this CPU serves another's, or an interrupt landed on this CPU's own purge, for which who reclaims may be waiting
    /// in a handler: none of them can wait for whom it holds up.
    pub(crate) fn exclude_others(&self) -> Option<Exclusive<'_>> {
        loop {
            // Before the try: whose turn is found is this one or a later one.
            let nr_turns = self.nr_exclusions.load(Ordering::Acquire);
            let holder = match self.try_exclude_others() {
                Ok(exclusive) => return Some(exclusive),
                Err(holder) => holder,
            };
            if ptr::eq(holder, M::bank()) || M::bank().is_serving.load(Ordering::Relaxed) || M::is_purging() {
                return None;
            }
            match self.banks().find(|&(_, bank)| ptr::eq(bank, holder)) {
                Some((cpu, _)) => M::wait_for(Awaited::Reclaim, cpu, || {
                    !ptr::eq(self.reclaimer.load(Ordering::Relaxed), holder)
                        || self.nr_exclusions.load(Ordering::Relaxed) != nr_turns
                }),
                None => M::relax(0),
            }
        }
    }

    /// As `exclude_others` without a wait; the error is who reclaims.
    fn try_exclude_others(&self) -> core::result::Result<Exclusive<'_>, *mut Bank> {
        let me = ptr::from_ref(M::bank()).cast_mut();
        self.reclaimer.compare_exchange(ptr::null_mut(), me, Ordering::Acquire, Ordering::Relaxed)?;
        self.nr_exclusions.store(self.nr_exclusions.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        Ok(Exclusive { reclaimer: &self.reclaimer })
    }

    /// Tries, and when memory is out reclaims and tries again.
    pub(super) fn or_reclaim<T>(&self, attempt: impl Fn() -> Result<T>) -> Result<T> {
        self.or_reclaim_then(&attempt, &attempt)
    }

    /// Tries, and when memory is out reclaims and does `last`. For what takes frames by the way: has idle memory given back
    /// when the taken frames have grown by enough.
    pub(super) fn or_reclaim_and<T>(&self, attempt: impl Fn() -> Result<T>, last: impl Fn() -> Result<T>) -> Result<T> {
        if self.supply.growth.is_past(self.frames().nr_taken()) {
            self.reclaim_idle();
        }
        self.or_reclaim_then(attempt, last)
    }

    /// Has idle memory given back, unless somebody is at it: what the depots, the slabs and this CPU hold. Other CPUs
    /// are left alone, and nobody waits; but where CPUs get no magazines for want of memory, all give theirs back.
    #[cold]
    #[inline(never)]
    fn reclaim_idle(&self) {
        let Some(grown) = self.supply.growth.look(self.frames().nr_taken()) else { return };
        if grown.wants_all() {
            self.purge_unmapped();
        }
        match self.try_exclude_others() {
            Ok(exclusive) => {
                if grown.wants_all() {
                    self.reclaim_alone(&exclusive);
                } else {
                    self.empty_what_is_here(&exclusive);
                }
                self.supply.growth.settle(grown, self.frames().nr_taken(), self.frames().nr_managed());
            }
            Err(_) => self.supply.growth.put_off(grown),
        }
    }

    #[inline]
    fn or_reclaim_then<T>(&self, attempt: impl Fn() -> Result<T>, last: impl Fn() -> Result<T>) -> Result<T> {
        match attempt() {
            Err(Error::OutOfMemory { .. }) => {
                self.reclaim_or_wait();
                last()
            }
            other => other,
        }
    }

    /// What comes between a request that found no memory and its last try: a reclaim, this CPU's or another's. Out of line,
    /// for the sake of the requests that find some.
    #[cold]
    #[inline(never)]
    fn reclaim_or_wait(&self) {
        // One that somebody begins from here on serves us too.
        let nr_begun = self.nr_reclaims_begun.load(Ordering::Acquire);
        self.purge_unmapped();
        if let Some(exclusive) = self.exclude_others()
            && self.nr_reclaims_begun.load(Ordering::Acquire) == nr_begun
        {
            self.reclaim_alone(&exclusive);
        }
    }

    /// Gives back all that this CPU's magazines hold. What an interrupt finds busy is skipped.
    pub fn drain_this_cpu(&self) {
        for (_, cache) in self.caches() {
            cache.drain_this_cpu(&self.supply);
        }
        self.supply.frames.drain_this_cpu();
    }

    /// Does what a CPU that called [`Machine::drain_other_cpus`] asks for: gives back what this CPU's magazines hold, of
    /// all caches or of one.
    pub fn serve_drain(&self) {
        let is_serving = &M::bank().is_serving;
        let outer = is_serving.load(Ordering::Relaxed);
        is_serving.store(true, Ordering::Relaxed);
        match self.caches.get(usize::from(self.drain_request.load(Ordering::Acquire))) {
            Some(cache) if cache.is_live() => {
                cache.drain_this_cpu(&self.supply);
            }
            _ => self.drain_this_cpu(),
        }
        is_serving.store(outer, Ordering::Relaxed);
    }

    /// Gives back what has lain idle since the last call: full and empty magazines of the depots, and empty slabs, down
    /// to the least number of each that there was in between (Bonwick and Adams, section 3.3). Magazines of which the CPUs
    /// have not met at the depot meanwhile become smaller.
    ///
    /// Call it at intervals, say every 15 seconds; the first call begins the first interval. No CPU is disturbed.
    /// Context: any but an NMI; no lock of this crate held.
    pub fn reap_idle(&self) -> Reaped {
        let mut sum = Reaped::default();
        let Some(_exclusive) = self.exclude_others() else { return sum };
        for (_, cache) in self.caches() {
            let reaped = cache.reap_idle(&self.supply);
            cache.shrink_if_idle();
            sum.nr_magazines += reaped.nr_magazines;
            sum.nr_pages += reaped.nr_pages;
        }
        sum.nr_pages += self.supply.reap_idle();
        sum
    }

    /// Has every CPU give back its magazines of the cache with this id, and empties its depot and slabs.
    pub(super) fn reclaim_one(&self, _exclusive: &Exclusive<'_>, id: u16) {
        let cache = &self.caches[usize::from(id)];
        self.drain_request.store(id, Ordering::Release);
        M::drain_other_cpus();
        self.drain_request.store(ALL_CACHES, Ordering::Release);
        for _ in 0..MAX_ROUNDS {
            let nr_out = cache.slab_counters().nr_out;
            cache.drain_this_cpu(&self.supply);
            cache.reap(&self.supply);
            if cache.slab_counters().nr_out == nr_out {
                break;
            }
        }
        self.supply.reap();
        cache.shrink_if_idle();
    }

    /// Has every CPU give its magazines back, empties the depots, and returns empty slabs to the frames.
    ///
    /// Context: any but an NMI; no lock of this crate held. Waits for the other CPUs.
    pub fn reclaim(&self) {
        self.purge_unmapped();
        if let Some(exclusive) = self.exclude_others() {
            self.reclaim_alone(&exclusive);
        }
    }

    /// Has frames given back that wait outside this crate. With nobody excluded: see the module. Not by a destructor while
    /// this CPU serves another's drain: whoever asked for that may be who a purge would wait for.
    fn purge_unmapped(&self) {
        if !M::bank().is_serving.load(Ordering::Relaxed) {
            M::purge_unmapped();
        }
    }

    pub(super) fn reclaim_alone(&self, exclusive: &Exclusive<'_>) {
        self.nr_reclaims_begun.fetch_add(1, Ordering::AcqRel);
        M::drain_other_cpus();
        self.empty_what_is_here(exclusive);
    }

    /// Empties this CPU's magazines, the depots and the slabs.
    fn empty_what_is_here(&self, _exclusive: &Exclusive<'_>) {
        // Before the slabs of magazines are looked at.
        M::reclaim_ranges();
        for _ in 0..MAX_ROUNDS {
            let before = self.supply.frames.nr_free();
            self.drain_this_cpu();
            for (_, cache) in self.caches() {
                cache.reap(&self.supply);
            }
            self.supply.reap();
            // What the reaping put into this CPU's page magazine.
            self.supply.frames.drain_this_cpu();
            if self.supply.frames.nr_free() == before {
                break;
            }
        }
        for (_, cache) in self.caches() {
            cache.shrink_if_idle();
        }
    }

    /// Reclaims so far.
    pub fn nr_reclaims(&self) -> u64 {
        self.nr_reclaims_begun.load(Ordering::Relaxed)
    }
}
