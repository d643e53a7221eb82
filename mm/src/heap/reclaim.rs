//! Before a request is refused: every CPU gives its magazines back, and empty slabs become frames.
//!
//! One CPU reclaims at a time; the others wait, serving its requests, and then find memory or do not.

use core::ptr;
use core::sync::atomic::Ordering;

use super::Heap;
use crate::error::{Error, Result};
use crate::machine::Machine;

impl<M: Machine> Heap<M> {
    /// Tries, and when memory is out reclaims and tries again.
    pub(super) fn or_reclaim<T>(&self, attempt: impl Fn() -> Result<T>) -> Result<T> {
        let before = self.nr_reclaims.load(Ordering::Acquire);
        match attempt() {
            Err(Error::OutOfMemory { .. }) => {
                self.reclaim_since(before);
                attempt()
            }
            other => other,
        }
    }

    /// Gives back all that this CPU's magazines hold. What an interrupt finds busy is skipped.
    pub fn drain_this_cpu(&self) {
        for (_, cache) in self.caches() {
            cache.drain_this_cpu(&self.supply);
        }
        self.supply.frames.drain_this_cpu();
    }

    /// Has every CPU give its magazines back, empties the depots, and returns empty slabs to the frames.
    ///
    /// Context: any but an NMI; no lock of this crate held. Waits for the other CPUs.
    pub fn reclaim(&self) {
        self.reclaim_since(self.nr_reclaims.load(Ordering::Acquire));
    }

    /// Reclaims, unless somebody has since `before` reclaims were counted.
    fn reclaim_since(&self, before: u64) {
        let me = ptr::from_ref(M::bank()).cast_mut();
        let mut nr_turns = 0;
        while let Err(holder) =
            self.reclaimer.compare_exchange(ptr::null_mut(), me, Ordering::Acquire, Ordering::Relaxed)
        {
            if holder == me {
                // An interrupt landed on the reclaimer: it cannot wait for what it interrupted.
                return;
            }
            M::relax(nr_turns);
            nr_turns = nr_turns.saturating_add(1);
        }
        if self.nr_reclaims.load(Ordering::Acquire) == before {
            self.drain_this_cpu();
            M::drain_other_cpus();
            for (_, cache) in self.caches() {
                cache.reap(&self.supply);
            }
            self.supply.reap();
            // What the reaping put into this CPU's page magazine.
            self.supply.frames.drain_this_cpu();
            self.nr_reclaims.fetch_add(1, Ordering::Release);
        }
        self.reclaimer.store(ptr::null_mut(), Ordering::Release);
    }

    /// Reclaims so far.
    pub fn nr_reclaims(&self) -> u64 {
        self.nr_reclaims.load(Ordering::Relaxed)
    }
}
