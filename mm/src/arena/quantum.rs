//! Quantum caches: magazines of ranges of one to eight pages, so that most are had and given back without the arena's
//! lock (Bonwick and Adams, section 4.4.4).
//!
//! They are the heap's magazines, CPU by CPU, with the arena in the place of slabs: see [`crate::magazine_layer`]. A
//! round is the address of a range. Nothing need be mapped there, and nothing is ever written there: what the allocator
//! knows of it lies in its tag, and in a byte beside ([`super::states`]).
//!
//! A magazine gives back last what it got first: such a range is reused at once. Who wants to meet stale pointers has no
//! quantum caches: see [`super::Options`].
//!
//! Lock order: depot, arena, frame bitmap, one after the other; the arena's lock is held for [`BATCH`] ranges at most.
//! Called by: [`super::shared`].

use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use super::VirtRange;
use super::shared::SharedArena;
use crate::depot::Depot;
use crate::error::{Error, Metadata};
use crate::frame::PAGE_SIZE;
use crate::machine::Machine;
use crate::magazine_layer::Source;
use crate::supply::Supply;

/// Ranges that come and go under one lock.
const BATCH: usize = 16;

/// New ranges are cut for this part of a magazine.
const GROW_PART: usize = 4;

/// What a page of a range weighs, in bytes, where magazines are measured by what they hold. Addresses cost tags and room in
/// the arena, but no memory.
const WEIGHT: usize = 1024;

/// Full magazines in a depot at most.
const DEPOT_LIMIT: u32 = 32;

/// What all CPUs share of the ranges of one size.
#[derive(Debug)]
pub(super) struct Quantum<M> {
    pub(super) depot: Depot<M>,
    /// Ranges that came from the arena, and that went back.
    pub(super) nr_fetched: AtomicU64,
    pub(super) nr_returned: AtomicU64,
    /// Of these, ranges that were freed past the magazines: by an interrupt that landed on their holder, and when there was
    /// no memory for a magazine.
    pub(super) nr_direct_frees: AtomicU64,
    /// Rounds that a CPU took out of its magazine, to hand them out, and that were no ranges.
    pub(super) nr_refused: AtomicU64,
}

impl<M: Machine> Quantum<M> {
    /// Of ranges of `index + 1` pages.
    pub(super) fn new(index: usize) -> Self {
        let depot = Depot::new();
        depot.set_object_size((index + 1) * WEIGHT);
        Self {
            depot,
            nr_fetched: AtomicU64::new(0),
            nr_returned: AtomicU64::new(0),
            nr_direct_frees: AtomicU64::new(0),
            nr_refused: AtomicU64::new(0),
        }
    }

    /// Drops a round that left a magazine to be handed out, and is no range that lies in one: the magazine was overwritten.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse(&self, round: NonNull<u8>) {
        self.nr_refused.fetch_add(1, Relaxed);
        M::report(overwritten(round.addr().get()));
    }
}

/// The ranges of one size as a source of rounds.
pub(super) struct Ranges<'a, M: Machine> {
    pub(super) arena: &'a SharedArena<M>,
    /// Their pages less one.
    pub(super) index: usize,
}

impl<M: Machine> Ranges<'_, M> {
    fn quantum(&self) -> &Quantum<M> {
        &self.arena.quanta[self.index]
    }

    fn nr_pages(&self) -> usize {
        self.index + 1
    }

    /// Gives ranges back that have left the magazines, and their bytes; reports what was none.
    fn put(&self, batch: &[Option<NonNull<u8>>]) {
        let mut errors = [None; BATCH];
        for (error, round) in errors.iter_mut().zip(batch) {
            let addr = round.map_or(0, |round| round.addr().get());
            if !self.arena.states.remove(addr, self.nr_pages()) {
                *error = Some(overwritten(addr));
            }
        }
        let mut arena = self.arena.arena.lock();
        for (error, round) in errors.iter_mut().zip(batch) {
            if let (None, Some(round)) = (&error, round) {
                *error = arena.free(round.addr().get(), self.nr_pages()).err();
            }
        }
        drop(arena);
        let nr_good = errors[..batch.len()].iter().filter(|error| error.is_none()).count();
        self.quantum().nr_returned.fetch_add(nr_good as u64, Relaxed);
        errors.into_iter().flatten().for_each(M::report);
    }
}

impl<M: Machine> Source<M> for Ranges<'_, M> {
    fn depot(&self) -> &Depot<M> {
        &self.quantum().depot
    }

    fn rack(&self) -> usize {
        0
    }

    fn depot_limit(&self) -> u32 {
        DEPOT_LIMIT
    }

    fn fetch(&self, _supply: &Supply<M>, rounds: &mut [NonNull<u8>]) -> usize {
        let mut ranges = [None; BATCH];
        let nr_wanted = rounds.len().div_ceil(GROW_PART).min(BATCH);
        // Without a reclaim: this CPU's magazines are held.
        self.arena.refill(|| self.arena.frames_alloc());
        {
            let mut arena = self.arena.arena.lock();
            for range in &mut ranges[..nr_wanted] {
                *range = arena.alloc(self.nr_pages(), self.arena.policy()).ok();
            }
        }
        let mut nr_fetched = 0;
        for range in ranges.into_iter().flatten() {
            match round_of(range).filter(|_| self.arena.states.add(range, self.arena)) {
                Some(round) => {
                    rounds[nr_fetched] = round;
                    nr_fetched += 1;
                }
                None => self.arena.give_back(range),
            }
        }
        self.quantum().nr_fetched.fetch_add(nr_fetched as u64, Relaxed);
        nr_fetched
    }

    fn give_back(&self, _supply: &Supply<M>, rounds: &[Option<NonNull<u8>>]) {
        rounds.chunks(BATCH).for_each(|batch| self.put(batch));
    }
}

/// What is reported of a magazine in which `addr` stood, and not a range. The range that was there before stays out of use.
fn overwritten(addr: usize) -> Error {
    Error::Corrupt { what: Metadata::Range, addr }
}

/// The round that stands for a range. There is none for address 0, where no arena has a range.
fn round_of(range: VirtRange) -> Option<NonNull<u8>> {
    round_at(range.start())
}

/// The round that stands for the range at `addr`.
#[inline]
pub(super) fn round_at(addr: usize) -> Option<NonNull<u8>> {
    NonNull::new(ptr::without_provenance_mut(addr))
}

/// The range that a round stands for.
#[inline]
pub(super) fn range_at(round: NonNull<u8>, nr_pages: usize) -> VirtRange {
    VirtRange::inside_span((round.addr().get() / PAGE_SIZE) as u64, nr_pages)
}
