//! The depot of a cache: full and empty magazines that no CPU holds.
//!
//! What lies here over a whole interval without being needed is idle, and the rest is the depot's working set (Bonwick
//! and Adams, section 3.3): a stack's least length tells them apart.
//!
//! Invariants: a full magazine here is full to its capacity, an empty one has no round; both belong to nobody else. What
//! their headers say is looked at when they leave, with the lock open: they lie in memory that others can overwrite.
//! Called by: [`crate::magazine_layer`] when a CPU's own magazines do not help. Lock order: 1 (depot), interrupts off;
//! an exchange is a few pointer moves.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::error::Metadata;
use crate::lock::Lock;
use crate::machine::Machine;
use crate::magazine::{Magazine, Notes};
use crate::magazine_size::MagazineSize;
use crate::size_class::MIN_CLASS_SIZE;

/// Magazines that a depot holds at most, full and empty ones together: an exchange leaves their number as it is.
pub(crate) const MAX_MAGAZINES: usize = 64;

/// One stack or the other.
#[derive(Clone, Copy, Debug, Default)]
struct Stack {
    len: u32,
    /// The least length since the interval began: what nobody needed in it.
    least: u32,
}

impl Stack {
    /// Ends the interval; returns how many magazines nobody needed in it.
    fn end_interval(&mut self) -> u32 {
        core::mem::replace(&mut self.least, self.len)
    }
}

/// A magazine in the depot, and its rounds: not to be believed from the magazine's own header before that is looked at.
#[derive(Clone, Copy, Debug)]
struct Stored {
    magazine: NonNull<Magazine>,
    nr_rounds: u32,
}

#[derive(Debug)]
struct Lists {
    /// Full magazines from the front, empty ones from the back. Not linked through the magazines: nobody would notice a
    /// wild write there.
    places: [Option<Stored>; MAX_MAGAZINES],
    full: Stack,
    empty: Stack,
    /// Rounds in the full ones.
    nr_rounds: u64,
    /// Times a CPU came here.
    nr_visits: u64,
    /// Full magazines given to CPUs, and taken from them.
    nr_given: u64,
    nr_taken: u64,
    /// Magazines dropped, and rounds in them, because one was overwritten.
    nr_dropped: u64,
    nr_dropped_rounds: u64,
    /// What magazines of this cache hold, decided by these visits.
    size: MagazineSize,
}

impl Lists {
    const fn new(size: MagazineSize) -> Self {
        Self {
            places: [None; MAX_MAGAZINES],
            full: Stack { len: 0, least: 0 },
            empty: Stack { len: 0, least: 0 },
            nr_rounds: 0,
            nr_visits: 0,
            nr_given: 0,
            nr_taken: 0,
            nr_dropped: 0,
            nr_dropped_rounds: 0,
            size,
        }
    }

    fn has_room(&self) -> bool {
        ((self.full.len + self.empty.len) as usize) < MAX_MAGAZINES
    }

    /// Stores a full magazine, for which there is room.
    fn push_full(&mut self, magazine: NonNull<Magazine>, nr_rounds: u32) {
        self.places[self.full.len as usize % MAX_MAGAZINES] = Some(Stored { magazine, nr_rounds });
        self.full.len += 1;
        self.nr_rounds += u64::from(nr_rounds);
    }

    /// Stores an empty magazine, for which there is room.
    fn push_empty(&mut self, magazine: NonNull<Magazine>) {
        self.empty.len += 1;
        self.places[(MAX_MAGAZINES - self.empty.len as usize) % MAX_MAGAZINES] =
            Some(Stored { magazine, nr_rounds: 0 });
    }

    fn pop_full(&mut self) -> Option<Stored> {
        self.full.len = self.full.len.checked_sub(1)?;
        self.full.least = self.full.least.min(self.full.len);
        let stored = self.places[self.full.len as usize % MAX_MAGAZINES]?;
        self.nr_rounds -= u64::from(stored.nr_rounds);
        Some(stored)
    }

    fn pop_empty(&mut self) -> Option<Stored> {
        let len = self.empty.len;
        self.empty.len = len.checked_sub(1)?;
        self.empty.least = self.empty.least.min(self.empty.len);
        self.places[(MAX_MAGAZINES - len as usize) % MAX_MAGAZINES]
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
        self.rounds.store(lists.size.rounds() as u32, Ordering::Relaxed);
    }

    /// Rounds that a new magazine is made with. A smaller one has been outgrown.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed) as usize
    }

    /// Counts a visit, and lets the magazines grow if too many found the lock held.
    #[inline(always)]
    fn count_visit(&self, lists: &mut Lists) {
        lists.nr_visits += 1;
        if lists.size.after_visit(lists.nr_visits, self.lists.nr_contended()) {
            self.rounds.store(lists.size.rounds() as u32, Ordering::Relaxed);
        }
    }

    /// A reap came by: what idles shrinks.
    pub(crate) fn after_reap(&self) {
        let mut lists = self.lists.lock();
        lists.size.after_reap(self.lists.nr_contended());
        self.rounds.store(lists.size.rounds() as u32, Ordering::Relaxed);
    }

    fn publish(&self, lists: &Lists) {
        self.nr_full.store(lists.full.len, Ordering::Relaxed);
        self.nr_empty.store(lists.empty.len, Ordering::Relaxed);
    }

    /// A full magazine for an empty one (or for none); `Err` gives the empty one back.
    #[inline(always)]
    pub(crate) fn trade_empty(
        &self,
        empty: Option<NonNull<Magazine>>,
        notes: &impl Notes,
    ) -> Result<NonNull<Magazine>, Option<NonNull<Magazine>>> {
        let mut to_give = empty;
        while self.nr_full.load(Ordering::Relaxed) > 0 {
            let stored = {
                let mut lists = self.lists.lock();
                self.count_visit(&mut lists);
                let stored = lists.pop_full();
                if stored.is_some() {
                    lists.nr_given += 1;
                    if let Some(empty) = to_give.take() {
                        lists.push_empty(empty);
                    }
                }
                self.publish(&lists);
                stored
            };
            let Some(stored) = stored else { break };
            if self.is_sound(stored, true, notes) {
                return Ok(stored.magazine);
            }
        }
        Err(to_give)
    }

    /// An empty magazine for a full one of `nr_rounds`. At most `limit` full ones are kept.
    #[inline(always)]
    pub(crate) fn trade_full(&self, full: NonNull<Magazine>, nr_rounds: u32, limit: u32, notes: &impl Notes) -> Trade {
        if self.nr_full.load(Ordering::Relaxed) >= limit {
            return Trade::Refused(full);
        }
        let stored = {
            let mut lists = self.lists.lock();
            self.count_visit(&mut lists);
            let empty = lists.pop_empty();
            if lists.full.len >= limit || !lists.has_room() {
                if let Some(empty) = empty {
                    lists.push_empty(empty.magazine);
                }
                return Trade::Refused(full);
            }
            lists.push_full(full, nr_rounds);
            lists.nr_taken += 1;
            self.publish(&lists);
            empty
        };
        match stored {
            Some(empty) if self.is_sound(empty, false, notes) => Trade::Empty(empty.magazine),
            _ => Trade::Stored,
        }
    }

    /// Whether a magazine that was stored here is what it was then. If not, it is dropped. No lock is held.
    #[inline(always)]
    fn is_sound(&self, stored: Stored, is_full: bool, notes: &impl Notes) -> bool {
        let Stored { magazine, nr_rounds } = stored;
        // SAFETY: the magazine was handed over to the depot, and taken out of it by the caller.
        let is_sound = unsafe {
            Magazine::holds(magazine, Some(is_full)) && (!is_full || magazine.as_ref().nr_rounds == nr_rounds)
        };
        if !is_sound {
            notes.note(Metadata::Depot, magazine.addr().get());
            self.count_dropped(1, nr_rounds);
        }
        is_sound
    }

    /// Takes any magazine out, full ones first: for a reap.
    pub(crate) fn take_any(&self, notes: &impl Notes) -> Option<NonNull<Magazine>> {
        loop {
            let mut lists = self.lists.lock();
            let full = lists.pop_full();
            let is_full = full.is_some();
            let stored = full.or_else(|| lists.pop_empty());
            self.publish(&lists);
            drop(lists);
            let stored = stored?;
            if self.is_sound(stored, is_full, notes) {
                return Some(stored.magazine);
            }
        }
    }

    /// Ends the interval that began with the last call; returns how many full and how many empty magazines nobody needed
    /// in it.
    pub(crate) fn end_interval(&self) -> Idle {
        let mut lists = self.lists.lock();
        Idle { nr_full: lists.full.end_interval(), nr_empty: lists.empty.end_interval() }
    }

    /// Takes one of the magazines that `idle` still counts, if it is there.
    pub(crate) fn take_idle(&self, idle: &mut Idle, notes: &impl Notes) -> Option<NonNull<Magazine>> {
        loop {
            let is_full = idle.nr_full > 0;
            let mut lists = self.lists.lock();
            let stored = if is_full {
                idle.nr_full -= 1;
                lists.pop_full()
            } else {
                idle.nr_empty = idle.nr_empty.checked_sub(1)?;
                lists.pop_empty()
            };
            self.publish(&lists);
            drop(lists);
            if let Some(stored) = stored
                && self.is_sound(stored, is_full, notes)
            {
                return Some(stored.magazine);
            }
        }
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
