//! A round: some CPUs doing the same thing with one contender, a given number of times, between two readings of the TSC
//! on each.
//!
//! Under emulation a reading takes a lock of the emulator's, so there is none for each operation; and a CPU that halts
//! costs nothing, so those that have no part in the round halt.

use alloc::vec::Vec;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use arch::tsc;
use spin::mutex::SpinMutex;
use workloads::handoff::{Mailbox, Ring};
use workloads::objects::{Faults, Slot};
use workloads::rptest::{self, Letterbox};
use workloads::sh6;

use super::barrier::Barrier;
use super::contenders::Contender;
use super::counts::Counts;
use super::latency::Samplers;
use super::workload::{Game, Shape};
use crate::{input, machine, workers};

/// Objects that `mstress` and `larson` keep alive on each CPU. Not more: with 8 CPUs a list of all free blocks takes seconds
/// to search through as often as a round does.
pub(super) const NR_LIVE: usize = 400;
/// Objects of a batch of `lifo` and `fifo`.
pub(super) const BATCH: usize = 1000;
/// Pairs between two looks at whether to stop.
pub(super) const CHUNK: u64 = 256;

/// What a CPU keeps its objects in. Made before anything is measured, and kept.
pub(super) struct Places {
    /// Room for what any workload keeps; empty between rounds.
    pub(super) slots: Vec<Slot>,
    /// As long as [`BATCH`].
    pub(super) batch: Vec<*mut u8>,
}

// SAFETY: pointers to objects that are no CPU's, and that are all freed between rounds.
unsafe impl Send for Places {}

impl Places {
    fn new() -> Option<Self> {
        let (mut slots, mut batch) = (Vec::new(), Vec::new());
        slots.try_reserve_exact(NR_LIVE.max(sh6::MAX_LIVE).max(rptest::NR_LIVE)).ok()?;
        batch.try_reserve_exact(BATCH).ok()?;
        batch.resize(BATCH, ptr::null_mut());
        Some(Self { slots, batch })
    }
}

/// Memory of the harness itself.
pub(super) struct Harness {
    /// One for each CPU, and one more, whose slots lie in the mailbox first.
    pub(super) places: Vec<SpinMutex<Places>>,
    /// Where CPUs exchange their slots; null between rounds.
    pub(super) mailbox: Mailbox,
    /// One for each two CPUs.
    pub(super) rings: Vec<Ring>,
    /// To each CPU from the one before; empty between rounds.
    pub(super) boxes: Vec<Letterbox>,
    /// An object for each CPU from the first; null between rounds.
    pub(super) handed: Vec<AtomicPtr<u8>>,
}

impl Harness {
    /// For rounds of up to `nr_cpus`; `None` if there is no memory.
    pub(super) fn new(nr_cpus: usize) -> Option<Self> {
        let (mut places, mut rings) = (Vec::new(), Vec::new());
        places.try_reserve_exact(nr_cpus + 1).ok()?;
        rings.try_reserve_exact(nr_cpus / 2).ok()?;
        for _ in 0..=nr_cpus {
            places.push(SpinMutex::new(Places::new()?));
        }
        rings.resize_with(nr_cpus / 2, Ring::new);
        let (mut boxes, mut handed) = (Vec::new(), Vec::new());
        boxes.try_reserve_exact(nr_cpus).ok()?;
        boxes.resize_with(nr_cpus, Letterbox::new);
        handed.try_reserve_exact(nr_cpus).ok()?;
        handed.resize_with(nr_cpus, || AtomicPtr::new(ptr::null_mut()));
        Some(Self { places, mailbox: Mailbox::new(ptr::null_mut()), rings, boxes, handed })
    }
}

/// What differs from round to round of a contender.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) seed: u64,
    /// Everything is looked at, also what the shape frees at once: other code than that which is measured.
    pub(super) is_checked: bool,
    /// Single operations are timed, which disturbs the whole.
    pub(super) samplers: Option<&'a Samplers>,
}

/// What all CPUs of a round share.
pub(super) struct Round<'a> {
    pub(super) shape: Shape,
    pub(super) nr_cpus: usize,
    pub(super) seed: u64,
    pub(super) harness: &'a Harness,
    /// Pairs for each CPU. Batches are played whole.
    pub(super) nr_pairs: u64,
    pub(super) is_checked: bool,
    samplers: Option<&'a Samplers>,
    counts: fn() -> Counts,
    barrier: Barrier,
    is_over: AtomicBool,
    nr_done: AtomicU64,
    ticks: AtomicU64,
    /// Ticks, and pairs, of the CPU that took longest.
    longest: SpinMutex<(u64, u64)>,
    nr_bad: AtomicU64,
    nr_refused: AtomicU64,
    counted: SpinMutex<Counts>,
}

/// What a round came to: sums over its CPUs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) ticks: u64,
    pub(super) nr_pairs: u64,
    /// The time of the CPU that took longest, for so many pairs of its own.
    pub(super) longest: (u64, u64),
    /// What was wrong.
    pub(super) faults: Faults,
    /// Of the measured part alone.
    pub(super) counts: Counts,
}

impl<'a> Round<'a> {
    /// Plays a round of `game`, `nr_pairs` on each of its CPUs; `None` if it was stopped.
    pub(super) fn play(
        contender: &Contender,
        game: &Game,
        nr_pairs: u64,
        turn: Turn<'a>,
        harness: &'a Harness,
    ) -> Option<Sample> {
        let nr_cpus = game.nr_cpus;
        let part = if turn.samplers.is_some() { contender.play_timed } else { contender.play };
        let round = Round {
            shape: game.shape,
            nr_cpus,
            seed: turn.seed,
            harness,
            nr_pairs,
            is_checked: turn.is_checked,
            samplers: turn.samplers,
            counts: contender.counts,
            barrier: Barrier::new(nr_cpus),
            is_over: AtomicBool::new(false),
            nr_done: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            longest: SpinMutex::new((0, 0)),
            nr_bad: AtomicU64::new(0),
            nr_refused: AtomicU64::new(0),
            counted: SpinMutex::new(Counts::default()),
        };
        workers::run(nr_cpus, &|number| part(&round, number), || {});
        (!round.is_over.load(Ordering::Relaxed)).then(|| Sample {
            ticks: round.ticks.into_inner(),
            nr_pairs: round.nr_done.into_inner(),
            longest: round.longest.into_inner(),
            faults: Faults { nr_bad: round.nr_bad.into_inner(), nr_refused: round.nr_refused.into_inner() },
            counts: round.counted.into_inner(),
        })
    }

    /// Returns when every CPU of the round has called it once more than it had returned.
    pub(super) fn meet(&self) {
        self.barrier.meet();
    }

    /// Times `work`, which returns how many pairs it did and the count of what was wrong. All CPUs of the round call it
    /// once, when they are ready.
    pub(super) fn timed(&self, number: usize, work: impl FnOnce() -> (u64, u64)) {
        self.meet();
        if number == 0 {
            *self.counted.lock() = (self.counts)();
        }
        self.meet();
        let start = tsc::read_serialised();
        let (nr_pairs, faults) = match self.samplers {
            None => work(),
            Some(samplers) => samplers.with_sampler(number, work),
        };
        let ticks = tsc::read_serialised().wrapping_sub(start);
        self.meet();
        if number == 0 {
            let mut counted = self.counted.lock();
            *counted = (self.counts)() - *counted;
        }
        self.meet();
        self.ticks.fetch_add(ticks, Ordering::Relaxed);
        self.nr_done.fetch_add(nr_pairs, Ordering::Relaxed);
        {
            // Who does no pairs of its own, as half of `xmalloc`, waits for another, and counts for no time of its own.
            let mut longest = self.longest.lock();
            if nr_pairs > 0 {
                *longest = (*longest).max((ticks, nr_pairs));
            }
        }
        self.add_faults(faults);
    }

    /// Counts what was wrong, in the measured part or outside; see [`Faults::of`].
    pub(super) fn add_faults(&self, count: u64) {
        let Faults { nr_bad, nr_refused } = Faults::of(count);
        self.nr_bad.fetch_add(nr_bad, Ordering::Relaxed);
        self.nr_refused.fetch_add(nr_refused, Ordering::Relaxed);
    }

    /// Whether the round was stopped. The first CPU watches for all, and does no more than that: it is being timed.
    pub(super) fn is_over(&self, number: usize) -> bool {
        if number == 0 && input::was_cancelled() {
            self.is_over.store(true, Ordering::Relaxed);
        }
        self.is_over.load(Ordering::Relaxed)
    }

    /// The turns of this CPU in parts of `size`, until there are `nr_pairs` or the round is over.
    pub(super) fn chunks(&self, number: usize, size: u64) -> impl Iterator<Item = Range<u64>> {
        let mut next = 0;
        core::iter::from_fn(move || {
            (next < self.nr_pairs && !self.is_over(number)).then(|| {
                let start = next;
                next = next.saturating_add(size).min(self.nr_pairs);
                start..next
            })
        })
    }

    /// One turn of a wait for another CPU of the round; false if the round is over, or somebody was refused memory: what is
    /// waited for may never come then.
    pub(super) fn wait(&self, number: usize, nr_turns: &mut u32) -> bool {
        /// Looks between two pauses: see [`machine::wait_until`].
        const LOOKS: u32 = 200;
        *nr_turns = nr_turns.wrapping_add(1);
        if nr_turns.is_multiple_of(LOOKS) {
            machine::relax_and_serve();
            return !self.is_over(number) && self.nr_refused.load(Ordering::Relaxed) == 0;
        }
        true
    }
}
