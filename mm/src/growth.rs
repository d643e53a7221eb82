//! When to ask for idle memory back before it is needed: each time the frames that are taken have grown by a quarter since
//! the last time.
//!
//! Magazines and depots of a cache that nobody uses any more hold memory that no other cache can have, and each round
//! in them may keep a whole slab. A clock would tell which caches idle (Bonwick and Adams, section 3.4); this crate has
//! none, and growth tells as well: while memory in use does not grow, what idles harms nobody. As the bound grows with
//! what the last reclaim left, reclaims are few: a logarithm of the growth, and none in a steady state.
//!
//! Called by: [`crate::heap`], whenever a magazine was not enough. No lock.

use core::sync::atomic::{AtomicU64, Ordering};

/// Frames below which nobody asks: 8 MiB, or this part of all.
const LEAST: u64 = 2048;
const LEAST_PART: u64 = 64;

/// Watches how many frames are taken.
#[derive(Debug)]
pub struct Growth {
    /// The number of taken frames beyond which is asked; the largest number while somebody is at it.
    bound: AtomicU64,
}

/// Having this means: frames have grown past the bound, and nobody else is told so until [`Growth::settle`].
#[must_use]
#[derive(Debug)]
pub(crate) struct Grown {
    bound: u64,
}

impl Growth {
    /// Nothing has grown yet.
    pub(crate) const fn new() -> Self {
        Self { bound: AtomicU64::new(LEAST) }
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
    pub(crate) fn settle(&self, _grown: Grown, nr_taken: u64, nr_managed: u64) {
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
}
