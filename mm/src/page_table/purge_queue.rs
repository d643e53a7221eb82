//! What was unmapped and waits for a shootdown: bounded queues that need no allocation, emptied all together.
//!
//! ```text
//!   queue of CPU 0   filling ▓▓▓▓░░░░   leaving ········
//!   queue of CPU 1   filling ▓░░░░░░░   leaving ········      put: into the filling half of one's own queue
//!   ...
//!                    ── purge: every queue's halves change places ──
//!                    filling ░░░░░░░░   leaving ▓▓▓▓····      one round for all that leaves; then each is released
//!                    filling ▓▓░░░░░░   leaving ▓···          meanwhile others put
//! ```
//!
//! A queue for each CPU (CPUs far apart share one, see [`NR_QUEUES`]) rather than one for all: to put is then a lock that
//! nobody else wants, and some twenty instructions under it. Whoever fills its queue empties everybody's: the round costs
//! the same, and the others' ranges are free the sooner. So rounds are shared by operations, and by CPUs.
//!
//! Invariants:
//! - The filling half of a queue is touched only under the queue's lock; the leaving half only by the purger; halves
//!   change places only by the purger with the lock held. There is one purger at a time.
//! - What leaves was put, and so unmapped, before its round began. The proof that [`release`] takes checks it again.
//! - At rest the leaving halves are empty. At most [`MAX_WAITING`] of each queue wait, and as many again leave.
//! - No lock is held while the round is waited for, nor while something is released.
//! - Whoever purges waits for answers to its round and for nobody else; and so do handlers that interrupt it, as long as
//!   they wait for no reclaim: [`Machine::is_purging`]. So a purge ends whatever else is waited for.
//!
//! Generic over what waits, which in the kernel is an [`Unmapped`] token with what its frames are accounted for as.
//!
//! Called by: the kernel's lazy unmapping. Lock order: a queue's lock is taken alone, nothing is taken under it.
//!
//! [`release`]: super::Unmapped::release
//! [`Unmapped`]: super::Unmapped

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use crate::lock::Lock;
use crate::machine::{Awaited, Machine};

/// Queues there are; CPU `i` has number `i % NR_QUEUES`.
pub const NR_QUEUES: usize = 16;

/// Places in a queue.
pub const MAX_WAITING: usize = 128;

/// Pages in a queue that make a purge due, unless it is set otherwise: 16 MiB.
pub const DEFAULT_MAX_PAGES: usize = 4096;

/// What can wait in a [`PurgeQueue`].
pub trait Waits {
    /// Pages that become free with it.
    fn nr_pages(&self) -> usize;
}

/// What came of a [`PurgeQueue::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It waits.
    Waits,
    /// It waits, and so much waits with it that it is time for a purge.
    PurgeIsDue,
}

/// What a purge made free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many things that waited.
    pub nr_ranges: usize,
    /// Their pages.
    pub nr_pages: usize,
}

/// Somebody is purging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purging {
    /// The number that they gave.
    pub purger: usize,
}

type Half<W> = UnsafeCell<[Option<W>; MAX_WAITING]>;

struct Queue<W, M> {
    filling: Lock<Filling, M>,
    halves: [Half<W>; 2],
    /// Places of the leaving half that hold something. The purger's.
    nr_leaving: AtomicUsize,
}

/// The state of the filling half.
struct Filling {
    /// Which half it is.
    half: usize,
    len: usize,
    nr_pages: usize,
}

impl<W, M: Machine> Queue<W, M> {
    const fn new() -> Self {
        Self {
            filling: Lock::new(Filling { half: 0, len: 0, nr_pages: 0 }),
            halves: [const { UnsafeCell::new([const { None }; MAX_WAITING]) }; 2],
            nr_leaving: AtomicUsize::new(0),
        }
    }
}

/// Who purges: holding one means that nobody else does.
struct Purger<'a> {
    purger: &'a AtomicUsize,
}

impl Drop for Purger<'_> {
    fn drop(&mut self) {
        // Release: the next purger finds the leaving halves empty.
        self.purger.store(NOBODY, Ordering::Release);
    }
}

const NOBODY: usize = usize::MAX;

/// See the module.
pub struct PurgeQueue<W, M> {
    queues: [CachePadded<Queue<W, M>>; NR_QUEUES],
    /// The number that the purger gave, or [`NOBODY`].
    purger: AtomicUsize,
    /// Purges begun, those that had nothing to do included. Written by the purger only.
    nr_begun: AtomicUsize,
    max_ranges: AtomicUsize,
    max_pages: AtomicUsize,
    nr_purges: AtomicUsize,
}

// SAFETY: what waits goes from the CPU that puts it to the one that purges, so it must be Send. The halves are not shared:
// a filling one is used under its lock, a leaving one by the purger alone, which `purger` lets be one at a time.
unsafe impl<W: Send, M> Sync for PurgeQueue<W, M> {}

impl<W: Waits, M: Machine> PurgeQueue<W, M> {
    /// Empty queues.
    pub const fn new() -> Self {
        Self {
            queues: [const { CachePadded::new(Queue::new()) }; NR_QUEUES],
            purger: AtomicUsize::new(NOBODY),
            nr_begun: AtomicUsize::new(0),
            max_ranges: AtomicUsize::new(MAX_WAITING),
            max_pages: AtomicUsize::new(DEFAULT_MAX_PAGES),
            nr_purges: AtomicUsize::new(0),
        }
    }

    /// Lets `item` wait, in the queue of CPU `cpu`. Allocates nothing and waits for nobody but that queue's lock.
    ///
    /// # Errors
    /// The item, if the queue is full, as it may be while somebody else purges.
    #[inline]
    pub fn put(&self, cpu: usize, item: W) -> Result<Put, W> {
        let queue = &self.queues[cpu % NR_QUEUES];
        let nr_pages = item.nr_pages();
        let mut filling = queue.filling.lock();
        let (half, len) = (filling.half, filling.len);
        if len == MAX_WAITING {
            return Err(item);
        }
        // SAFETY: the filling half, under its lock; the reference ends before that does.
        let place = unsafe { &mut (*queue.halves[half].get())[len] };
        *place = Some(item);
        filling.len = len + 1;
        filling.nr_pages += nr_pages;
        let is_due = len + 1 >= self.max_ranges.load(Ordering::Relaxed)
            || filling.nr_pages >= self.max_pages.load(Ordering::Relaxed);
        Ok(if is_due { Put::PurgeIsDue } else { Put::Waits })
    }

    /// Takes all that waits; calls `round`, once, unless nothing does, which returns a proof that nobody uses it any more;
    /// and has each item released with that. `me` is this CPU's number.
    ///
    /// Context: as `round` and `release` need it. What is put meanwhile waits for the next purge.
    ///
    /// # Errors
    /// [`Purging`], with nothing done, if somebody is at it: perhaps whom the caller has interrupted.
    pub fn try_purge<P>(
        &self,
        me: usize,
        round: impl FnOnce(Purged) -> P,
        mut release: impl FnMut(W, &P),
    ) -> Result<Purged, Purging> {
        // Acquire: pairs with the purger before, who emptied the leaving halves.
        self.purger
            .compare_exchange(NOBODY, me, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|purger| Purging { purger })?;
        let _purger = Purger { purger: &self.purger };
        self.nr_begun.store(self.nr_begun.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        let mut purged = Purged::default();
        for queue in &self.queues {
            let mut filling = queue.filling.lock();
            purged.nr_ranges += filling.len;
            purged.nr_pages += filling.nr_pages;
            queue.nr_leaving.store(filling.len, Ordering::Relaxed);
            *filling = Filling { half: filling.half ^ 1, len: 0, nr_pages: 0 };
        }
        if purged.nr_ranges == 0 {
            return Ok(purged);
        }
        self.nr_purges.fetch_add(1, Ordering::Relaxed);
        let proof = round(purged);
        for queue in &self.queues {
            let nr_leaving = queue.nr_leaving.swap(0, Ordering::Relaxed);
            if nr_leaving == 0 {
                continue;
            }
            let leaving = queue.filling.lock().half ^ 1;
            // SAFETY: the leaving half is the purger's, which this is until `_purger` is dropped. Whoever puts meanwhile,
            // in a handler too, takes a reference into the other one.
            let leaving = unsafe { &mut *queue.halves[leaving].get() };
            leaving.iter_mut().take(nr_leaving).filter_map(Option::take).for_each(|item| release(item, &proof));
        }
        Ok(purged)
    }

    /// Has `attempt` do a [`try_purge`](Self::try_purge) once no other CPU is at it: what waited before the call is free then.
    /// `me` is this CPU's number.
    ///
    /// Two do without, since whom they would wait for may wait for them: a handler that has interrupted this CPU's own purge,
    /// and a destructor that runs while this CPU is drained for another, which may be a handler that has interrupted the
    /// purge.
    pub fn purge(&self, me: usize, attempt: impl Fn() -> Result<Purged, Purging>) -> Purged {
        loop {
            // Before the try: whose purge is found is this one or a later one.
            let nr_begun = self.nr_begun.load(Ordering::Acquire);
            match attempt() {
                Ok(purged) => return purged,
                Err(Purging { purger }) if purger == me => return Purged::default(),
                Err(_) if M::bank().is_serving.load(Ordering::Relaxed) => return Purged::default(),
                Err(Purging { purger }) => M::wait_for(Awaited::Purge, purger, || {
                    self.purger() != Some(purger) || self.nr_begun.load(Ordering::Relaxed) != nr_begun
                }),
            }
        }
    }

    /// Who purges: the number that they gave.
    pub fn purger(&self) -> Option<usize> {
        Some(self.purger.load(Ordering::Relaxed)).filter(|&purger| purger != NOBODY)
    }

    /// Calls `f` with each item that waits, under its queue's lock. What a purge is just making free is not among them.
    pub fn for_each(&self, mut f: impl FnMut(&W)) {
        for queue in &self.queues {
            let filling = queue.filling.lock();
            for i in 0..filling.len {
                // SAFETY: the filling half, under its lock.
                let place = unsafe { &(&(*queue.halves[filling.half].get()))[i] };
                place.iter().for_each(&mut f);
            }
        }
    }

    /// How many ranges, and how many pages, in one queue make a purge due.
    pub fn limits(&self) -> (usize, usize) {
        (self.max_ranges.load(Ordering::Relaxed), self.max_pages.load(Ordering::Relaxed))
    }

    /// Sets [`limits`](Self::limits); there is room for [`MAX_WAITING`] ranges, and one is the least.
    pub fn set_limits(&self, max_ranges: usize, max_pages: usize) {
        self.max_ranges.store(max_ranges.clamp(1, MAX_WAITING), Ordering::Relaxed);
        self.max_pages.store(max_pages.max(1), Ordering::Relaxed);
    }

    /// Purges that had something to do.
    pub fn nr_purges(&self) -> usize {
        self.nr_purges.load(Ordering::Relaxed)
    }
}

impl<W: Waits, M: Machine> Default for PurgeQueue<W, M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W, M> fmt::Debug for PurgeQueue<W, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurgeQueue").field("nr_purges", &self.nr_purges).finish_non_exhaustive()
    }
}
