//! The depot of a cache: full and empty magazines that no CPU holds.
//!
//! What lies here over a whole interval without being needed is idle, and the rest is the depot's working set (Bonwick
//! and Adams, section 3.3): a stack's least length tells them apart.
//!
//! Invariants: a magazine in `full` has at least one round, one in `empty` has none; both belong to nobody else.
//! Called by: [`crate::cache`] when a CPU's own magazines do not help. Lock order: 1 (depot), interrupts off;
//! an exchange is a few pointer moves.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::error::Metadata;
use crate::lock::Lock;
use crate::machine::Machine;
use crate::magazine::{Inspector, Magazine};
use crate::magazine_size::MagazineSize;
use crate::size_class::MIN_CLASS_SIZE;

#[derive(Debug)]
struct Stack {
    top: Option<NonNull<Magazine>>,
    len: u32,
    /// The least length since the interval began: what nobody needed in it.
    least: u32,
}

impl Stack {
    const fn new() -> Self {
        Self { top: None, len: 0, least: 0 }
    }

    fn push(&mut self, mut magazine: NonNull<Magazine>) {
        // SAFETY: the caller hands the magazine over; it is the depot's from here.
        unsafe { magazine.as_mut().next = self.top };
        self.top = Some(magazine);
        self.len += 1;
    }

    /// The top magazine, if it holds; if not, all that is left is dropped.
    fn pop(&mut self, inspector: &impl Inspector, is_full: bool) -> Popped {
        let magazine = match self.top {
            None if self.len == 0 => return Popped::Nothing,
            Some(magazine) if self.len > 0 && inspector.holds(magazine, Some(is_full)) => magazine,
            top => {
                inspector.note(Metadata::Depot, top.map_or(0, |magazine| magazine.addr().get()));
                let nr_dropped = self.len;
                *self = Self::new();
                return Popped::Damage(nr_dropped);
            }
        };
        // SAFETY: magazines in the stack are the depot's, under its lock, and this one is a magazine as ever.
        self.top = unsafe { magazine.as_ref() }.next;
        self.len -= 1;
        self.least = self.least.min(self.len);
        Popped::Magazine(magazine)
    }

    /// Ends the interval; returns how many magazines nobody needed in it.
    fn end_interval(&mut self) -> u32 {
        core::mem::replace(&mut self.least, self.len)
    }
}

enum Popped {
    Magazine(NonNull<Magazine>),
    Nothing,
    /// So many magazines were dropped.
    Damage(u32),
}

#[derive(Debug)]
struct Lists {
    full: Stack,
    empty: Stack,
    /// Rounds in `full`.
    nr_rounds: u64,
    /// Times a CPU came here.
    nr_visits: u64,
    /// Magazines dropped, and rounds in them, because one was overwritten.
    nr_dropped: u64,
    nr_dropped_rounds: u64,
    /// Full magazines given to CPUs, and taken from them.
    nr_given: u64,
    nr_taken: u64,
    /// What magazines of this cache hold, decided by these visits.
    size: MagazineSize,
}

impl Lists {
    const fn new(size: MagazineSize) -> Self {
        Self {
            full: Stack::new(),
            empty: Stack::new(),
            nr_rounds: 0,
            nr_visits: 0,
            nr_given: 0,
            nr_taken: 0,
            nr_dropped: 0,
            nr_dropped_rounds: 0,
            size,
        }
    }

    fn pop_full(&mut self, inspector: &impl Inspector) -> Option<NonNull<Magazine>> {
        match self.full.pop(inspector, true) {
            Popped::Magazine(magazine) => {
                // SAFETY: the magazine came from the stack, under the lock.
                self.nr_rounds -= u64::from(unsafe { magazine.as_ref() }.nr_rounds);
                Some(magazine)
            }
            Popped::Nothing => None,
            Popped::Damage(nr_dropped) => {
                self.nr_dropped += u64::from(nr_dropped);
                self.nr_dropped_rounds += core::mem::take(&mut self.nr_rounds);
                None
            }
        }
    }

    fn pop_empty(&mut self, inspector: &impl Inspector) -> Option<NonNull<Magazine>> {
        match self.empty.pop(inspector, false) {
            Popped::Magazine(magazine) => Some(magazine),
            Popped::Nothing => None,
            Popped::Damage(nr_dropped) => {
                self.nr_dropped += u64::from(nr_dropped);
                None
            }
        }
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

/// Magazines that nobody needed in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    pub(crate) nr_full: u32,
    pub(crate) nr_empty: u32,
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
    /// Full magazines that CPUs got here.
    pub nr_given: u64,
    /// Full magazines that CPUs left here.
    pub nr_taken: u64,
    /// Times the lock was found held.
    pub nr_contended: u64,
    /// Magazines given up because one was overwritten.
    pub nr_dropped: u64,
    /// Rounds in them: objects that are lost.
    pub nr_dropped_rounds: u64,
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
        inspector: &impl Inspector,
    ) -> Result<NonNull<Magazine>, Option<NonNull<Magazine>>> {
        if self.nr_full.load(Ordering::Relaxed) == 0 {
            return Err(empty);
        }
        let mut lists = self.lists.lock();
        self.count_visit(&mut lists);
        let Some(full) = lists.pop_full(inspector) else {
            self.publish(&lists);
            return Err(empty);
        };
        lists.nr_given += 1;
        if let Some(empty) = empty {
            lists.empty.push(empty);
        }
        self.publish(&lists);
        Ok(full)
    }

    /// An empty magazine for a full one. At most `limit` full ones are kept.
    pub(crate) fn trade_full(&self, full: NonNull<Magazine>, limit: u32, inspector: &impl Inspector) -> Trade {
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
        lists.nr_taken += 1;
        let empty = lists.pop_empty(inspector);
        self.publish(&lists);
        empty.map_or(Trade::Stored, Trade::Empty)
    }

    /// Takes any magazine out, full ones first: for a reap.
    pub(crate) fn take_any(&self, inspector: &impl Inspector) -> Option<NonNull<Magazine>> {
        let mut lists = self.lists.lock();
        let magazine = lists.pop_full(inspector).or_else(|| lists.pop_empty(inspector));
        self.publish(&lists);
        magazine
    }

    /// Ends the interval that began with the last call; returns how many full and how many empty magazines nobody needed
    /// in it.
    pub(crate) fn end_interval(&self) -> Idle {
        let mut lists = self.lists.lock();
        Idle { nr_full: lists.full.end_interval(), nr_empty: lists.empty.end_interval() }
    }

    /// Takes one of the magazines that `idle` still counts, if it is there.
    pub(crate) fn take_idle(&self, idle: &mut Idle, inspector: &impl Inspector) -> Option<NonNull<Magazine>> {
        let mut lists = self.lists.lock();
        let magazine = if idle.nr_full > 0 {
            idle.nr_full -= 1;
            lists.pop_full(inspector)
        } else if idle.nr_empty > 0 {
            idle.nr_empty -= 1;
            lists.pop_empty(inspector)
        } else {
            None
        };
        self.publish(&lists);
        magazine
    }

    /// Counts magazines that a CPU has given up, and the rounds in them.
    pub(crate) fn count_dropped(&self, nr_magazines: u32, nr_rounds: u32) {
        let mut lists = self.lists.lock();
        lists.nr_dropped += u64::from(nr_magazines);
        lists.nr_dropped_rounds += u64::from(nr_rounds);
    }

    /// What it holds now.
    pub fn counters(&self) -> DepotCounters {
        let lists = self.lists.lock();
        DepotCounters {
            nr_full: u64::from(lists.full.len),
            nr_empty: u64::from(lists.empty.len),
            nr_rounds: lists.nr_rounds,
            nr_visits: lists.nr_visits,
            nr_given: lists.nr_given,
            nr_taken: lists.nr_taken,
            nr_contended: self.lists.nr_contended(),
            nr_dropped: lists.nr_dropped,
            nr_dropped_rounds: lists.nr_dropped_rounds,
        }
    }
}
