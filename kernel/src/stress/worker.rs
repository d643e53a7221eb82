//! What one CPU does under stress: operation after operation, each picked by the worker's own random numbers.

use core::sync::atomic::Ordering;

use kernel::figures::Count;
use kernel::rng::SplitMix64;

use super::blocks::{self, Block};
use super::pages::{self, Ranges};
use super::{Counts, Run, frames};
use crate::console::println;
use crate::machine::HEAP;
use crate::time::Deadline;

/// Blocks that a worker holds.
const NR_BLOCKS: usize = 128;
/// What the weights add up to.
const OF: u64 = 4096;

/// Operations, and how often each is picked. What makes CPUs wait for each other is rare: with more virtual CPUs than
/// real ones a single round of interrupts takes as long as ten thousand allocations.
const WEIGHTS: [(Operation, u64); 12] = [
    (Operation::Replace, 1738),
    (Operation::Free, 800),
    (Operation::Exchange, 700),
    (Operation::Resize, 160),
    (Operation::Probe, 500),
    (Operation::Ranges, 100),
    (Operation::Frames, 48),
    (Operation::Run, 30),
    (Operation::Burst, 16),
    (Operation::Call, 2),
    (Operation::Witness, 1),
    (Operation::Reap, 1),
];

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Allocate into a place, freeing what is there.
    Replace,
    /// Free what is in a place.
    Free,
    /// Trade a block with the other CPUs.
    Exchange,
    /// Resize a block.
    Resize,
    /// Look at another worker's page.
    Probe,
    /// Map or unmap ranges.
    Ranges,
    /// A batch of single frames.
    Frames,
    /// A run of frames.
    Run,
    /// Many objects of one size.
    Burst,
    /// A cross-call.
    Call,
    /// The stale-TLB detector at its sharpest.
    Witness,
    /// Give all unused memory back, on every CPU.
    Reap,
}

fn pick(random: &mut SplitMix64) -> Operation {
    let mut left = random.below(OF);
    for (operation, weight) in WEIGHTS {
        match left.checked_sub(weight) {
            Some(rest) => left = rest,
            None => return operation,
        }
    }
    panic!("the weights do not add up to {OF}")
}

/// Works until the operations are used up or the run is over.
pub(super) fn work(run: &Run, number: usize) {
    let mut places: [Option<Block>; NR_BLOCKS] = [const { None }; NR_BLOCKS];
    let mut ranges = Ranges::new(number);
    let mut progress = Progress::new();
    let mut nr_done = 0;
    // The first operations of every run are the ones that a lost shootdown cannot hide from.
    pages::witness(run);
    while nr_done < run.plan.nr_ops_each && !run.is_over(number, nr_done) {
        // Each operation has random numbers of its own: what an earlier one drew depends on what others did meanwhile.
        let mut random = SplitMix64::stream(run.plan.seed, (number as u64) << 48 | nr_done);
        let place = &mut places[random.below(NR_BLOCKS as u64) as usize];
        match pick(&mut random) {
            Operation::Replace => {
                if let Some(block) = place.take() {
                    block.free(run);
                }
                *place = Block::new(run, &mut random);
            }
            Operation::Free => {
                if let Some(block) = place.take() {
                    block.free(run);
                }
            }
            Operation::Exchange => {
                *place = run.exchange.swap(place.take(), &mut random);
                Counts::add(&run.counts.nr_remote_frees, u64::from(place.is_some()));
            }
            Operation::Resize => {
                if let Some(block) = place.take() {
                    *place = Some(block.resize(run, &mut random));
                }
            }
            Operation::Probe => pages::probe_one(run, &mut random),
            Operation::Ranges => ranges.step(run, &mut random),
            Operation::Frames => frames::batch(run, &mut random),
            Operation::Run => frames::run_of_frames(run, &mut random),
            Operation::Burst => blocks::burst(run, &mut random),
            Operation::Call => pages::call_some(run, &mut random),
            Operation::Witness => pages::witness(run),
            Operation::Reap => HEAP.reclaim(),
        }
        nr_done += 1;
        if number == 0 {
            progress.step(run, nr_done);
        }
    }
    ranges.clear(run);
    for block in places.into_iter().flatten() {
        block.free(run);
    }
    run.nr_ops.fetch_add(nr_done, Ordering::Relaxed);
    run.most_ops.fetch_max(nr_done, Ordering::Relaxed);
}

/// A line a second, and all memory taken once in a while: both by the first worker, for all.
struct Progress {
    next: Deadline,
    nr_seconds: u64,
}

/// Operations of the first worker between two exhaustions; the first comes early, so that a short run has one.
const EXHAUST_FIRST: u64 = 2_000;
const EXHAUST_EVERY: u64 = 50_000;

impl Progress {
    fn new() -> Self {
        Self { next: Deadline::after_ns(1_000_000_000), nr_seconds: 0 }
    }

    fn step(&mut self, run: &Run, nr_done: u64) {
        if nr_done % EXHAUST_EVERY == EXHAUST_FIRST {
            frames::exhaust(run);
        }
        if nr_done.is_multiple_of(64) && self.next.has_passed() {
            self.nr_seconds += 1;
            self.next = Deadline::after_ns(1_000_000_000);
            let nr_done = nr_done * run.plan.nr_workers;
            println!("stress: {} s, about {} operations", self.nr_seconds, Count(nr_done));
        }
    }
}
