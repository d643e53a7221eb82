//! When to ask for idle memory back before it is needed: each time the frames that are taken have grown by a quarter since
//! the last time.
//!
//! Magazines and depots of a cache that nobody uses any more hold memory that no other cache can have, and each round
//! in them may keep a whole slab. A clock would tell which caches idle (Bonwick and Adams, section 3.4); this crate has
//! none, and growth tells as well: while memory in use does not grow, what idles harms nobody. As the bound grows with
//! what the last reclaim left, reclaims are few: a logarithm of the growth, and none in a steady state.
//!
//! Growth does not tell where memory is taken to the last frame: what other CPUs' magazines hold then is idle, perhaps, and
//! a CPU that comes to a new size finds an object for each request and no page for a magazine. It would go to the slabs with
//! every operation for as long as that lasts. So operations that did without a magazine for want of memory are counted, and
//! when they were many, what all CPUs hold is asked for. Where that leaves memory scarce all the same, they have to be twice
//! as many the next time.
//!
//! Called by: [`crate::heap`], whenever a magazine was not enough; [`crate::cache`], when there was none. No lock.

use core::sync::atomic::{AtomicU64, Ordering};

/// Frames below which nobody asks: 8 MiB, or this part of all.
const LEAST: u64 = 2048;
const LEAST_PART: u64 = 64;

/// Operations without a magazine before all CPUs are asked, at first and at most. A reclaim costs about as much as a thousand
/// operations save that find a magazine again.
const FIRST_PATIENCE: u64 = 1024;
const MOST_PATIENCE: u64 = 1 << 20;
/// Memory is scarce after a reclaim if less than this part of it is free.
const SCARCE_PART: u64 = 8;

/// Watches how many frames are taken.
#[derive(Debug)]
pub struct Growth {
    /// The number of taken frames beyond which is asked; the largest number while somebody is at it, and 0 when too many
    /// operations did without a magazine.
    bound: AtomicU64,
    /// Operations without a magazine, since they were last too many.
    nr_missed: AtomicU64,
    /// So many are too many.
    patience: AtomicU64,
}

/// Having this means: frames have grown past the bound, and nobody else is told so until [`Growth::settle`].
#[must_use]
#[derive(Debug)]
pub(crate) struct Grown {
    bound: u64,
}

impl Grown {
    /// Whether CPUs go without magazines for want of memory: what the others hold is wanted, too.
    pub(crate) fn wants_all(&self) -> bool {
        self.bound == 0
    }
}

impl Growth {
    /// Nothing has grown yet.
    pub(crate) const fn new() -> Self {
        Self { bound: AtomicU64::new(LEAST), nr_missed: AtomicU64::new(0), patience: AtomicU64::new(FIRST_PATIENCE) }
    }

    /// Counts an operation that did without a magazine as there was no memory for one.
    #[cold]
    pub(crate) fn count_miss(&self) {
        let nr_missed = self.nr_missed.fetch_add(1, Ordering::Relaxed) + 1;
        if nr_missed >= self.patience.load(Ordering::Relaxed) {
            // Whoever is at it already begins the count anew when he has settled.
            let is_idle = |bound| (bound != u64::MAX).then_some(0);
            let _ = self.bound.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_idle);
        }
    }

    /// Whether `nr_taken` frames are past the bound: on the way of every allocation that misses its magazine.
    #[inline(always)]
    pub(crate) fn is_past(&self, nr_taken: u64) -> bool {
        nr_taken > self.bound.load(Ordering::Relaxed)
    }

    /// Tells one CPU at a time that `nr_taken` frames are past the bound.
    pub(crate) fn look(&self, nr_taken: u64) -> Option<Grown> {
        let bound = self.bound.load(Ordering::Relaxed);
        if nr_taken <= bound {
            return None;
        }
        let won = self.bound.compare_exchange(bound, u64::MAX, Ordering::Relaxed, Ordering::Relaxed);
        won.is_ok().then_some(Grown { bound })
    }

    /// Leaves the bound as it was: somebody else reclaims.
    pub(crate) fn put_off(&self, grown: Grown) {
        self.bound.store(grown.bound, Ordering::Relaxed);
    }

    /// Sets the next bound, by what is taken after the reclaim and how many frames there are.
    pub(crate) fn settle(&self, grown: Grown, nr_taken: u64, nr_managed: u64) {
        if grown.wants_all() {
            let is_scarce = nr_managed.saturating_sub(nr_taken) < nr_managed / SCARCE_PART;
            let patience = self.patience.load(Ordering::Relaxed);
            let patience = if is_scarce { (2 * patience).min(MOST_PATIENCE) } else { FIRST_PATIENCE };
            self.patience.store(patience, Ordering::Relaxed);
            self.nr_missed.store(0, Ordering::Relaxed);
        }
        let bound = (nr_taken + nr_taken / 4).max(nr_managed / LEAST_PART).max(LEAST);
        self.bound.store(bound, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_once_for_each_quarter_of_growth_and_never_for_little() {
        let growth = Growth::new();
        assert!(growth.look(LEAST).is_none());
        let mut nr_asked = 0;
        for nr_taken in 0..1_000_000 {
            if let Some(grown) = growth.look(nr_taken) {
                assert!(growth.look(u64::MAX - 1).is_none(), "two are told at once");
                growth.settle(grown, nr_taken, 1 << 20);
                nr_asked += 1;
            }
        }
        // A million is 2^14 and a little times 1.25^18, and 2^14 is a 64th of all.
        assert_eq!(nr_asked, 20);
    }

    #[test]
    fn a_reclaim_that_brought_much_back_lowers_the_bound() {
        let growth = Growth::new();
        let grown = growth.look(100_000).expect("past the least");
        growth.settle(grown, 90_000, 1 << 20);
        assert!(growth.look(110_000).is_none());
        let grown = growth.look(120_000).expect("a quarter more");
        growth.settle(grown, 20_000, 1 << 20);
        assert!(growth.look(25_000).is_none());
        assert!(growth.look(25_001).is_some());
    }

    #[test]
    fn operations_without_a_magazine_ask_all_and_less_often_where_that_did_not_help() {
        const NR_MANAGED: u64 = 1 << 20;
        let growth = Growth::new();
        let ask = |nr_taken_after| {
            let mut nr_missed = 0;
            while !growth.is_past(1) {
                growth.count_miss();
                nr_missed += 1;
            }
            let grown = growth.look(1).expect("past the bound");
            assert!(grown.wants_all());
            // Nobody else is told so meanwhile, whatever is missed.
            (0..2 * MOST_PATIENCE).for_each(|_| growth.count_miss());
            assert!(!growth.is_past(NR_MANAGED));
            growth.settle(grown, nr_taken_after, NR_MANAGED);
            nr_missed
        };
        assert_eq!([ask(NR_MANAGED), ask(NR_MANAGED), ask(NR_MANAGED)], [1024, 2048, 4096]);
        assert_eq!([ask(NR_MANAGED / 2), ask(NR_MANAGED)], [8192, 1024]);
        (0..20).for_each(|_| assert!(ask(NR_MANAGED) <= MOST_PATIENCE));
        assert_eq!(ask(NR_MANAGED), MOST_PATIENCE);
        let grown = growth.look(2 * NR_MANAGED).expect("growth alone");
        assert!(!grown.wants_all());
    }
}
