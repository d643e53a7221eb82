//! The depot of a cache: full and empty magazines that no CPU holds.
//!
//! Invariants: a magazine in `full` has at least one round, one in `empty` has none; both belong to nobody else.
//! Called by: [`crate::cache`] when a CPU's own magazines do not help. Lock order: 1 (depot), interrupts off;
//! an exchange is a few pointer moves.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::lock::Lock;
use crate::machine::Machine;
use crate::magazine::Magazine;
use crate::magazine_size::MagazineSize;
use crate::size_class::MIN_CLASS_SIZE;

#[derive(Debug)]
struct Stack {
    top: Option<NonNull<Magazine>>,
    len: u32,
}

impl Stack {
    const fn new() -> Self {
        Self { top: None, len: 0 }
    }

    fn push(&mut self, mut magazine: NonNull<Magazine>) {
        // SAFETY: the caller hands the magazine over; it is the depot's from here.
        unsafe { magazine.as_mut().next = self.top };
        self.top = Some(magazine);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<NonNull<Magazine>> {
        let magazine = self.top?;
        // SAFETY: magazines in the stack are the depot's, under its lock.
        self.top = unsafe { magazine.as_ref() }.next;
        self.len -= 1;
        Some(magazine)
    }
}

#[derive(Debug)]
struct Lists {
    full: Stack,
    empty: Stack,
    /// Rounds in `full`.
    nr_rounds: u64,
    /// Times a CPU came here.
    nr_visits: u64,
    /// What magazines of this cache hold, decided by these visits.
    size: MagazineSize,
}

impl Lists {
    const fn new(size: MagazineSize) -> Self {
        Self { full: Stack::new(), empty: Stack::new(), nr_rounds: 0, nr_visits: 0, size }
    }
}

// SAFETY: the lists own their magazines; which CPU does so does not matter.
unsafe impl Send for Lists {}

/// Magazines that wait for a CPU. See the module.
#[derive(Debug)]
pub struct Depot<M> {
    lists: Lock<Lists, M>,
    /// Racy copies of the list lengths: a CPU peeks before it takes the lock for nothing.
    nr_full: AtomicU32,
    nr_empty: AtomicU32,
    /// A racy copy of the size, in rounds: what a new magazine is made with.
    rounds: AtomicU32,
}

/// What [`Depot::trade_full`] did with the magazine.
pub(crate) enum Trade {
    /// Stored; here is an empty one.
    Empty(NonNull<Magazine>),
    /// Stored, but there is no empty one.
    Stored,
    /// Not stored: the depot has as many full ones as it may have.
    Refused(NonNull<Magazine>),
}

/// What a depot holds, and how often it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DepotCounters {
    /// Full magazines.
    pub nr_full: u64,
    /// Empty magazines.
    pub nr_empty: u64,
    /// Rounds in the full ones.
    pub nr_rounds: u64,
    /// Visits: times the lock was taken to exchange a magazine.
    pub nr_visits: u64,
    /// Visits that found the lock held.
    pub nr_contended: u64,
}

impl<M: Machine> Default for Depot<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> Depot<M> {
    /// An empty depot.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        let lists = Lists::new(MagazineSize::new(MIN_CLASS_SIZE));
        Self {
            lists: Lock::new(lists),
            nr_full: AtomicU32::new(0),
            nr_empty: AtomicU32::new(0),
            rounds: AtomicU32::new(0),
        }
    }

    /// An empty depot.
    #[cfg(loom)]
    pub fn new() -> Self {
        let lists = Lists::new(MagazineSize::new(MIN_CLASS_SIZE));
        Self {
            lists: Lock::new(lists),
            nr_full: AtomicU32::new(0),
            nr_empty: AtomicU32::new(0),
            rounds: AtomicU32::new(0),
        }
    }

    /// Begins anew for objects of `object_size`. The depot is empty.
    pub(crate) fn set_object_size(&self, object_size: usize) {
        let mut lists = self.lists.lock();
        assert!(lists.full.len == 0 && lists.empty.len == 0, "magazines of another cache are left in a depot");
        lists.size = MagazineSize::new(object_size);
        self.publish(&lists);
    }

    /// Rounds that a new magazine is made with. A smaller one has been outgrown.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed) as usize
    }

    /// Counts a visit, and lets the magazines grow if too many found the lock held.
    fn count_visit(&self, lists: &mut Lists) {
        lists.nr_visits += 1;
        lists.size.after_visit(lists.nr_visits, self.lists.nr_contended());
    }

    /// A reap came by: what idles shrinks.
    pub(crate) fn after_reap(&self) {
        let mut lists = self.lists.lock();
        lists.size.after_reap(self.lists.nr_contended());
        self.publish(&lists);
    }

    fn publish(&self, lists: &Lists) {
        self.rounds.store(lists.size.rounds() as u32, Ordering::Relaxed);
        self.nr_full.store(lists.full.len, Ordering::Relaxed);
        self.nr_empty.store(lists.empty.len, Ordering::Relaxed);
    }

    /// A full magazine for an empty one (or for none); `Err` gives the empty one back.
    pub(crate) fn trade_empty(
        &self,
        empty: Option<NonNull<Magazine>>,
    ) -> Result<NonNull<Magazine>, Option<NonNull<Magazine>>> {
        if self.nr_full.load(Ordering::Relaxed) == 0 {
            return Err(empty);
        }
        let mut lists = self.lists.lock();
        self.count_visit(&mut lists);
        let Some(full) = lists.full.pop() else { return Err(empty) };
        // SAFETY: the magazine came from the list, under the lock.
        lists.nr_rounds -= u64::from(unsafe { full.as_ref() }.nr_rounds);
        if let Some(empty) = empty {
            lists.empty.push(empty);
        }
        self.publish(&lists);
        Ok(full)
    }

    /// An empty magazine for a full one. At most `limit` full ones are kept.
    pub(crate) fn trade_full(&self, full: NonNull<Magazine>, limit: u32) -> Trade {
        if self.nr_full.load(Ordering::Relaxed) >= limit {
            return Trade::Refused(full);
        }
        let mut lists = self.lists.lock();
        self.count_visit(&mut lists);
        if lists.full.len >= limit {
            return Trade::Refused(full);
        }
        // SAFETY: the caller hands the magazine over.
        lists.nr_rounds += u64::from(unsafe { full.as_ref() }.nr_rounds);
        lists.full.push(full);
        let empty = lists.empty.pop();
        self.publish(&lists);
        empty.map_or(Trade::Stored, Trade::Empty)
    }

    /// Takes any magazine out, full ones first: for a reap.
    pub(crate) fn take_any(&self) -> Option<NonNull<Magazine>> {
        let mut lists = self.lists.lock();
        let magazine = match lists.full.pop() {
            Some(full) => {
                // SAFETY: as in `trade_empty`.
                lists.nr_rounds -= u64::from(unsafe { full.as_ref() }.nr_rounds);
                Some(full)
            }
            None => lists.empty.pop(),
        };
        self.publish(&lists);
        magazine
    }

    /// What it holds now.
    pub fn counters(&self) -> DepotCounters {
        let lists = self.lists.lock();
        DepotCounters {
            nr_full: u64::from(lists.full.len),
            nr_empty: u64::from(lists.empty.len),
            nr_rounds: lists.nr_rounds,
            nr_visits: lists.nr_visits,
            nr_contended: self.lists.nr_contended(),
        }
    }
}
