//! Exact counts beside what is measured of frames, mappings and interrupts.
//!
//! Called by: the parts that measure these. The counts of allocators are in [`super::counts`].

use records::Throughput;

use crate::machine::{self, HEAP};

/// What operations asked of others: counts since boot, or the difference of two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) nr_locks: Option<u64>,
    pub(super) nr_waits: Option<u64>,
    pub(super) nr_ipis: Option<u64>,
    /// Frames taken from page magazines and given to them.
    pub(super) nr_frames: Option<u64>,
    /// Visits of page magazines to the bitmap.
    pub(super) nr_visits: Option<u64>,
}

impl Asked {
    /// Nothing of anything.
    pub(super) const NONE: Self =
        Self { nr_locks: Some(0), nr_waits: Some(0), nr_ipis: Some(0), nr_frames: Some(0), nr_visits: Some(0) };

    /// Of the frames, as all CPUs counted it.
    pub(super) fn of_frames() -> Self {
        let frames = HEAP.frames();
        let magazines = HEAP.page_counters();
        Self {
            nr_locks: Some(frames.nr_lock_acquisitions()),
            nr_waits: Some(frames.nr_lock_contentions()),
            nr_ipis: Some(machine::nr_ipis()),
            nr_frames: Some(magazines.nr_allocs + magazines.nr_frees),
            nr_visits: Some(magazines.nr_visits),
        }
    }

    /// Interrupts alone.
    pub(super) fn of_interrupts() -> Self {
        Self { nr_ipis: Some(machine::nr_ipis()), ..Self::default() }
    }

    /// What was asked since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        self.each(earlier, u64::wrapping_sub)
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        self.each(other, u64::wrapping_add)
    }

    fn each(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        let both = |one: Option<u64>, other: Option<u64>| Some(f(one?, other?));
        Self {
            nr_locks: both(self.nr_locks, other.nr_locks),
            nr_waits: both(self.nr_waits, other.nr_waits),
            nr_ipis: both(self.nr_ipis, other.nr_ipis),
            nr_frames: both(self.nr_frames, other.nr_frames),
            nr_visits: both(self.nr_visits, other.nr_visits),
        }
    }

    /// `row` with these counts. A page magazine's visits to the bitmap are what a magazine's to a depot are.
    pub(super) fn beside<'r>(&self, row: Throughput<'r>) -> Throughput<'r> {
        Throughput {
            nr_locks: self.nr_locks,
            nr_waits: self.nr_waits,
            nr_ipis: self.nr_ipis,
            nr_heap_ops: self.nr_frames,
            nr_depot_visits: self.nr_visits,
            ..row
        }
    }
}
