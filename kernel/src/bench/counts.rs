//! Exact counts beside the times: what a contender asked of its locks and, if it is ours, of its magazines.

use core::ops::{Add, AddAssign, Sub};

use mm::lock::Lock;

use crate::machine::{self, Cpu, HEAP};

/// Counts since boot, or the difference of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Locks taken. Of ours: visits to depots and slabs, and the frame bitmap's.
    pub(super) nr_locks: u64,
    /// Locks found held by another CPU when they were taken: of all that are counted above.
    pub(super) nr_waits: u64,
    /// Allocations and frees that our heap counted.
    pub(super) nr_heap_ops: u64,
    /// Visits of our heap to its depots.
    pub(super) nr_depot_visits: u64,
    /// Visits of our heap to its slabs.
    pub(super) nr_slab_visits: u64,
    /// Interrupts sent to other CPUs, by anybody.
    pub(super) nr_ipis: u64,
}

impl Counts {
    /// Of our heap, all size classes and CPUs.
    pub(super) fn of_heap() -> Self {
        let mut counts = Self {
            nr_locks: HEAP.frames().nr_lock_acquisitions(),
            nr_waits: HEAP.frames().nr_lock_contentions(),
            nr_ipis: machine::nr_ipis(),
            ..Self::default()
        };
        for (id, cache) in HEAP.caches() {
            // A direct free takes the lock of the slabs twice: it looks at the object first.
            counts.nr_locks += cache.direct_counters().1;
            let cache = HEAP.cache_account(id);
            counts.nr_heap_ops += cache.nr_allocs + cache.nr_frees;
            counts.nr_depot_visits += cache.nr_depot_visits;
            counts.nr_slab_visits += cache.nr_slab_visits;
            counts.nr_waits += cache.nr_waits;
        }
        counts.nr_locks += counts.nr_depot_visits + counts.nr_slab_visits;
        counts
    }

    /// Of one lock.
    pub(super) fn of_lock<T>(lock: &Lock<T, Cpu>) -> Self {
        Self {
            nr_locks: lock.nr_acquired(),
            nr_waits: lock.nr_contended(),
            nr_ipis: machine::nr_ipis(),
            ..Self::default()
        }
    }

    fn each(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            nr_locks: f(self.nr_locks, other.nr_locks),
            nr_waits: f(self.nr_waits, other.nr_waits),
            nr_heap_ops: f(self.nr_heap_ops, other.nr_heap_ops),
            nr_depot_visits: f(self.nr_depot_visits, other.nr_depot_visits),
            nr_slab_visits: f(self.nr_slab_visits, other.nr_slab_visits),
            nr_ipis: f(self.nr_ipis, other.nr_ipis),
        }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.each(other, u64::wrapping_add)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.each(other, u64::wrapping_sub)
    }
}
