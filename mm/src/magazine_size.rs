//! How many rounds a cache's magazines have: few for large objects, more where CPUs meet at the depot.
//!
//! Bonwick and Adams, section 3.4: a CPU that finds the depot's lock held is what a larger magazine would have spared it,
//! so the share of such visits decides. A larger magazine halves the visits; growth stops by itself. What idles shrinks:
//! a reap, be it at an interval ([`crate::heap::Heap::reap_idle`]) or for lack of memory, that finds no such visit since the
//! last one of either takes a step back.
//!
//! Pure: called by [`crate::cache`] with the depot's counters.

use crate::magazine::SIZES;

/// Bytes that one magazine may hold at first, and at most.
const FIRST_BYTES: usize = 64 * 1024;
const MOST_BYTES: usize = 256 * 1024;

/// Depot visits between two looks.
const WINDOW: u64 = 64;
/// A look that finds this many of them contended lets the magazines grow.
const CONTENDED: u64 = 8;

/// Index into [`SIZES`] of the largest magazine of objects of `object_size` that holds at most `nr_bytes`.
const fn fitting(object_size: usize, nr_bytes: usize) -> usize {
    let mut index = SIZES.len() - 1;
    while index > 0 && SIZES[index] * object_size > nr_bytes {
        index -= 1;
    }
    index
}

/// The size of one cache's magazines, and what it was decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MagazineSize {
    /// Indices into [`SIZES`].
    now: usize,
    first: usize,
    most: usize,
    /// The depot's counters at the last look.
    seen_visits: u64,
    seen_contended: u64,
    /// The depot's contended visits at the last reap.
    reaped_contended: u64,
}

impl MagazineSize {
    /// For objects of `object_size` bytes.
    pub const fn new(object_size: usize) -> Self {
        let first = fitting(object_size, FIRST_BYTES);
        // The largest size is for those who need it: no cache begins there.
        let first = if first == SIZES.len() - 1 { first - 1 } else { first };
        Self {
            now: first,
            first,
            most: fitting(object_size, MOST_BYTES),
            seen_visits: 0,
            seen_contended: 0,
            reaped_contended: 0,
        }
    }

    /// Rounds in a magazine.
    pub const fn rounds(&self) -> usize {
        SIZES[self.now]
    }

    /// Looks at the depot's counters after a visit; true if the magazines have grown.
    pub fn after_visit(&mut self, nr_visits: u64, nr_contended: u64) -> bool {
        if nr_visits.wrapping_sub(self.seen_visits) < WINDOW {
            return false;
        }
        let grows = nr_contended.wrapping_sub(self.seen_contended) >= CONTENDED && self.now < self.most;
        self.now += usize::from(grows);
        (self.seen_visits, self.seen_contended) = (nr_visits, nr_contended);
        grows
    }

    /// Looks at them at a reap.
    pub fn after_reap(&mut self, nr_contended: u64) {
        if nr_contended == self.reaped_contended && self.now > self.first {
            self.now -= 1;
        }
        self.reaped_contended = nr_contended;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_objects_get_small_magazines() {
        assert_eq!(MagazineSize::new(16).rounds(), 62);
        assert_eq!(MagazineSize::new(1024).rounds(), 62);
        assert_eq!(MagazineSize::new(4096).rounds(), 14);
        assert_eq!(MagazineSize::new(32 * 1024).rounds(), 2);
        for size in 16..=32 * 1024 {
            let rounds = MagazineSize::new(size).rounds();
            assert!(rounds <= 2 || rounds * size <= FIRST_BYTES);
        }
    }

    #[test]
    fn contention_grows_to_the_limit_and_no_further() {
        let mut size = MagazineSize::new(4096);
        let (mut visits, mut contended) = (0, 0);
        let mut rounds = vec![size.rounds()];
        for _ in 0..10 {
            visits += WINDOW;
            contended += CONTENDED;
            if size.after_visit(visits, contended) {
                rounds.push(size.rounds());
            }
        }
        assert_eq!(rounds, [14, 30, 62]);
        assert!(size.rounds() * 4096 <= MOST_BYTES);
    }

    #[test]
    fn a_lock_that_is_seldom_held_changes_nothing() {
        let mut size = MagazineSize::new(64);
        for window in 1..100 {
            assert!(!size.after_visit(window * WINDOW, window * (CONTENDED - 1)));
        }
        assert_eq!(size.rounds(), 62);
    }

    #[test]
    fn idleness_shrinks_to_where_it_began() {
        let mut size = MagazineSize::new(64);
        assert!(size.after_visit(WINDOW, WINDOW));
        assert_eq!(size.rounds(), 126);
        size.after_reap(WINDOW); // contended since the last reap
        assert_eq!(size.rounds(), 126);
        size.after_reap(WINDOW);
        assert_eq!(size.rounds(), 62);
        size.after_reap(WINDOW);
        assert_eq!(size.rounds(), 62);
    }
}
