//! A CPU's page magazine: free frames before the bitmap, refilled and spilled in batches of single, non-adjacent ones.
//!
//! Single frames, because adjacent ones are what a busy machine runs out of first. Half a magazine moves at a time, so
//! that a CPU at the edge does not run to the lock on every operation: at most one lock for [`BATCH`] frames.
//!
//! The same rules as in [`crate::cpu_cache`]: only the owning CPU, only while it holds the gate, no locked instructions,
//! all zero bytes are valid and empty.

use core::marker::PhantomData;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

use crate::frame::Frame;
use crate::frame_table::Kind;
use crate::gate::{Gate, HOLDER, OPERATION};
use crate::machine::Machine;

/// Frames it holds at most.
pub const CAPACITY: usize = 64;

/// Frames moved to or from the bitmap at once.
pub const BATCH: usize = CAPACITY / 2;

/// One CPU's free frames. See the module.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct PageMagazine {
    /// Counts the frames.
    gate: Gate,
    /// Times the bitmap was visited, for a batch.
    nr_visits: AtomicU64,
    /// Frames that this CPU handed out less those it took back, by what for; a CPU alone may go below zero.
    by_kind: [AtomicI64; Kind::COUNT],
    frames: [AtomicU32; CAPACITY],
}

/// Having this means: this CPU has entered the gate alone.
pub(crate) struct Held<'a> {
    magazine: &'a PageMagazine,
    not_send: PhantomData<*mut ()>,
}

/// Counters of a page magazine. Each has a single writer; a reader elsewhere sees a recent value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounters {
    /// Frames lying in it now.
    pub nr_frames: u64,
    /// Frames handed out.
    pub nr_allocs: u64,
    /// Frames taken back.
    pub nr_frees: u64,
    /// Visits to the bitmap.
    pub nr_visits: u64,
}

impl PageMagazine {
    /// Enters, unless an interrupt landed on a holder.
    pub(crate) fn try_hold<M: Machine>(&self) -> Option<Held<'_>> {
        self.gate.try_hold::<M>().then(|| Held { magazine: self, not_send: PhantomData })
    }

    /// Takes a frame, to be used as `kind`: the whole hit path. `None` if there is none, and if this is an interrupt that
    /// landed on a holder.
    #[inline]
    pub(crate) fn pop<M: Machine>(&self, kind: Kind) -> Option<Frame> {
        let word = self.gate.enter::<M>();
        let len = word.len_held_once();
        if len <= HOLDER as i64 {
            self.gate.retreat::<M>();
            return None;
        }
        // Never out of bounds; the compiler shall know it too.
        let frame = self.frames[(len as usize - HOLDER as usize - 1) % CAPACITY].load(Relaxed);
        self.count(kind, 1);
        self.gate.leave(word.0.wrapping_add(OPERATION - HOLDER - 1));
        Some(Frame::new(frame))
    }

    /// Takes back a frame that was used as `kind`: the whole hit path. False if the magazine is full, and if this is an
    /// interrupt that landed on a holder.
    #[inline]
    pub(crate) fn push<M: Machine>(&self, frame: Frame, kind: Kind) -> bool {
        let word = self.gate.enter::<M>();
        let len = word.len_and_holders();
        if len >= HOLDER + CAPACITY as u64 {
            self.gate.retreat::<M>();
            return false;
        }
        self.frames[(len - HOLDER) as usize % CAPACITY].store(frame.number(), Relaxed);
        self.count(kind, -1);
        self.gate.leave(word.0.wrapping_add(OPERATION - HOLDER + 1));
        true
    }

    /// By the holder.
    #[inline]
    fn count(&self, kind: Kind, change: i64) {
        let by_kind = &self.by_kind[kind as usize];
        by_kind.store(by_kind.load(Relaxed).wrapping_add(change), Relaxed);
    }

    /// What happened here so far.
    pub fn counters(&self) -> PageCounters {
        let word = self.gate.read();
        // allocations + frees, and allocations - frees.
        let nr_operations = word.nr_operations();
        let nr_more_allocs: i64 = (0..Kind::COUNT).map(|kind| self.share_of(kind)).sum();
        let nr_frees = (nr_operations as i64 - nr_more_allocs).max(0) as u64 / 2;
        PageCounters {
            nr_frames: word.len() as u64,
            nr_allocs: nr_operations - nr_frees.min(nr_operations),
            nr_frees,
            nr_visits: self.nr_visits.load(Relaxed),
        }
    }

    /// This CPU's share in the number of frames in use as the kind with this number; meaningful only as a sum over all CPUs.
    pub(crate) fn share_of(&self, kind: usize) -> i64 {
        self.by_kind[kind].load(Relaxed)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.magazine.gate.release();
    }
}

impl Held<'_> {
    fn len(&self) -> usize {
        self.magazine.gate.read().len()
    }

    /// Takes a frame, as [`PageMagazine::pop`] does.
    pub(crate) fn pop(&self, kind: Kind) -> Option<Frame> {
        let n = self.len().checked_sub(1)?;
        self.magazine.gate.set_len(n);
        self.magazine.gate.count(1);
        self.magazine.count(kind, 1);
        Some(Frame::new(self.magazine.frames[n].load(Relaxed)))
    }

    /// Takes a frame back, as [`PageMagazine::push`] does.
    pub(crate) fn push(&self, frame: Frame, kind: Kind) -> bool {
        let n = self.len();
        let has_room = n < CAPACITY;
        if has_room {
            self.magazine.frames[n].store(frame.number(), Relaxed);
            self.magazine.gate.set_len(n + 1);
            self.magazine.gate.count(1);
            self.magazine.count(kind, -1);
        }
        has_room
    }

    /// Fills the empty magazine with a batch from `take`, which writes frames and returns how many.
    pub(crate) fn refill(&self, take: impl FnOnce(&mut [Frame]) -> usize) -> usize {
        assert!(self.len() == 0, "refill of a page magazine with {} frames", self.len());
        let mut batch = [Frame::new(0); BATCH];
        let n = take(&mut batch);
        for (place, frame) in self.magazine.frames.iter().zip(&batch[..n]) {
            place.store(frame.number(), Relaxed);
        }
        self.magazine.gate.set_len(n);
        let visits = &self.magazine.nr_visits;
        visits.store(visits.load(Relaxed) + 1, Relaxed);
        n
    }

    /// Hands up to a batch of frames, the coldest first, to `put`; returns how many.
    pub(crate) fn spill(&self, put: impl FnOnce(&[Frame])) -> usize {
        let len = self.len();
        let n = len.min(BATCH);
        if n == 0 {
            return 0;
        }
        let mut batch = [Frame::new(0); BATCH];
        for (frame, place) in batch[..n].iter_mut().zip(&self.magazine.frames) {
            *frame = Frame::new(place.load(Relaxed));
        }
        for (place, later) in self.magazine.frames.iter().zip(&self.magazine.frames[n..len]) {
            place.store(later.load(Relaxed), Relaxed);
        }
        self.magazine.gate.set_len(len - n);
        let visits = &self.magazine.nr_visits;
        visits.store(visits.load(Relaxed) + 1, Relaxed);
        put(&batch[..n]);
        n
    }
}
