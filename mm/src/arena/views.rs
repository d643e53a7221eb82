//! What people are shown of an arena: its ranges, its free space, its counters. Each is a picture of a moving thing.
//!
//! Called by: the shell's `vmmap` and `mem`, and tests.

use core::sync::atomic::Ordering::Relaxed;

use super::shared::SharedArena;
use super::{Counters, FreeSpace, VirtRange};
use crate::machine::Machine;

/// A range that is not free, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeState {
    /// The range.
    pub range: VirtRange,
    /// It lies in a magazine, and is nobody's.
    pub is_cached: bool,
}

/// What happened to the ranges of one size that has magazines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuantumCounters {
    /// Ranges handed out from magazines.
    pub nr_allocs: u64,
    /// Ranges taken back into magazines, or past them.
    pub nr_frees: u64,
    /// Ranges that lie in magazines now, those of the depot included.
    pub nr_cached: u64,
    /// Ranges cut from the arena for magazines.
    pub nr_fetched: u64,
    /// Ranges that went back to the arena.
    pub nr_returned: u64,
    /// Times the depot was visited.
    pub nr_depot_visits: u64,
}

impl<M: Machine> SharedArena<M> {
    /// Fills `buffer` with the ranges that are not free behind `last`, or from the lowest on, in ascending order; how many.
    /// To go through all of them, a buffer at a time: others come and go meanwhile.
    pub fn ranges_behind(&self, last: Option<VirtRange>, buffer: &mut [RangeState]) -> usize {
        let arena = self.arena.lock();
        let mut fill = |ranges: &mut dyn Iterator<Item = VirtRange>| {
            let places = buffer.iter_mut().zip(ranges);
            places.map(|(place, range)| *place = RangeState { range, is_cached: self.is_cached(range) }).count()
        };
        match last {
            Some(last) => fill(&mut arena.ranges_behind(last)),
            None => fill(&mut arena.ranges()),
        }
    }

    /// Asks `look` if `range` is one that is not free: with the lock held, so that it stays so meanwhile, and nobody is given
    /// the guards at its ends. For a few steps, which take no lock.
    pub fn look_at<R>(&self, range: VirtRange, look: impl FnOnce() -> R) -> Option<R> {
        let arena = self.arena.lock();
        (arena.size_of(range.start()) == Some(range.nr_pages())).then(look)
    }

    /// Free space by size. In time proportional to the free segments, with the lock held.
    pub fn free_space(&self) -> FreeSpace {
        self.arena.lock().free_space()
    }

    /// What happened to the arena itself, the traffic of magazines included.
    pub fn counters(&self) -> Counters {
        self.arena.lock().counters()
    }

    /// What happened to ranges of `index + 1` pages, for each size that has magazines. Of each CPU a recent value.
    pub fn quantum_counters(&self) -> impl Iterator<Item = QuantumCounters> {
        self.quanta[..self.nr_quanta].iter().enumerate().map(|(index, quantum)| {
            let depot = quantum.depot.counters();
            let mut sum = QuantumCounters {
                nr_frees: quantum.nr_direct_frees.load(Relaxed),
                nr_cached: depot.nr_rounds,
                nr_fetched: quantum.nr_fetched.load(Relaxed),
                nr_returned: quantum.nr_returned.load(Relaxed),
                nr_depot_visits: depot.nr_visits,
                ..QuantumCounters::default()
            };
            for (_, bank) in self.heap.banks() {
                let counters = bank.ranges[index].counters();
                sum.nr_allocs += counters.nr_allocs;
                sum.nr_frees += counters.nr_frees;
                sum.nr_cached += counters.nr_rounds;
            }
            // A magazine counts what leaves it, be it a range or not.
            sum.nr_allocs = sum.nr_allocs.saturating_sub(quantum.nr_refused.load(Relaxed));
            sum
        })
    }

    /// The spans, in ascending order, up to the length of `buffer`; how many.
    pub fn spans(&self, buffer: &mut [VirtRange]) -> usize {
        let arena = self.arena.lock();
        buffer.iter_mut().zip(arena.spans()).map(|(place, span)| *place = span).count()
    }

    /// Ranges that are not free, those in magazines included; their pages; pages of all spans.
    pub fn sizes(&self) -> (usize, usize, usize) {
        let arena = self.arena.lock();
        (arena.nr_ranges(), arena.nr_pages_in_use(), arena.nr_pages())
    }

    /// Frames that it has for tags, its table, and the bytes of quantum caches.
    pub fn nr_frames(&self) -> usize {
        self.arena.lock().nr_pages_given() + self.states.nr_pages()
    }

    /// Times the arena's lock was taken, and found held.
    pub fn lock_counts(&self) -> (u64, u64) {
        (self.arena.nr_acquired(), self.arena.nr_contended())
    }
}
