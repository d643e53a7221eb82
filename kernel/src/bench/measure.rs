//! A group of rows: one workload on so many CPUs, all contenders in turns, so that what drifts hits all alike.

use alloc::vec::Vec;

use kernel::samples::{Summary, paired_ratio_milli};

use super::contenders::{CONTENDERS, HEAP_INDEX, NR_CONTENDERS};
use super::counts::Counts;
use super::round::{Harness, Round, Sample, Turn};
use super::workload::Workload;

/// Rounds of each contender that are not measured: code is translated, caches and magazines fill.
const NR_WARM_UPS: u64 = 2;

/// How everything is played.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Pairs of each CPU in a round.
    pub(super) nr_pairs: u64,
    /// Measured rounds of each contender.
    pub(super) nr_reps: usize,
    pub(super) seed: u64,
}

/// Memory for the samples of a group.
pub(super) struct Series {
    /// Thousandths of a tick for a pair, by contender and repetition.
    values: [Vec<u64>; NR_CONTENDERS],
    scratch: Vec<u64>,
}

impl Series {
    /// For so many repetitions; `None` if there is no memory.
    pub(super) fn new(nr_reps: usize) -> Option<Self> {
        let mut series = Self { values: [const { Vec::new() }; NR_CONTENDERS], scratch: Vec::new() };
        for values in series.values.iter_mut().chain([&mut series.scratch]) {
            values.try_reserve_exact(nr_reps).ok()?;
        }
        series.scratch.resize(nr_reps, 0);
        Some(series)
    }
}

/// What one contender came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Thousandths of a tick for a pair.
    pub(super) ticks_milli: Summary,
    /// Its time over that of our heap, in thousandths; round by round.
    pub(super) to_heap_milli: u64,
    /// Its time over that of the best locked peer, in thousandths; round by round.
    pub(super) to_best_milli: u64,
    /// Pairs of all measured rounds.
    pub(super) nr_pairs: u64,
    /// In the measured rounds, without what goes before and after.
    pub(super) counts: Counts,
    /// Bad objects in all rounds.
    pub(super) nr_bad: u64,
}

/// A group of rows.
pub(super) struct Group {
    pub(super) workload: &'static Workload,
    pub(super) nr_cpus: usize,
    /// In the order of the list of contenders.
    pub(super) cells: [Cell; NR_CONTENDERS],
    /// The locked peer with the lowest median.
    pub(super) best: usize,
}

impl Group {
    /// Measures; `None` if it was stopped.
    pub(super) fn measure(
        workload: &'static Workload,
        nr_cpus: usize,
        plan: Plan,
        harness: &Harness,
        series: &mut Series,
    ) -> Option<Self> {
        let play = |index: usize, rep: u64| {
            let turn = Turn { seed: plan.seed.wrapping_add(rep), is_warm_up: rep < NR_WARM_UPS };
            Round::play(&CONTENDERS[index], workload.shape, nr_cpus, plan.nr_pairs, turn, harness)
        };
        let mut nr_bad = [0; NR_CONTENDERS];
        let mut nr_pairs = [0; NR_CONTENDERS];
        let mut counts = [Counts::default(); NR_CONTENDERS];
        series.values.iter_mut().for_each(Vec::clear);
        for rep in 0..NR_WARM_UPS {
            for (index, nr_bad) in nr_bad.iter_mut().enumerate() {
                *nr_bad += play(index, rep)?.nr_bad;
            }
        }
        for rep in 0..plan.nr_reps {
            for turn in 0..NR_CONTENDERS {
                // Another one begins each time, so that nobody always follows the same neighbour's leftovers.
                let index = (turn + rep) % NR_CONTENDERS;
                let sample = play(index, NR_WARM_UPS + rep as u64)?;
                series.values[index].push(ticks_milli(&sample));
                nr_bad[index] += sample.nr_bad;
                nr_pairs[index] += sample.nr_pairs;
                counts[index] += sample.counts;
            }
        }
        let Series { values, scratch } = series;
        let mut summarise = |index: usize| {
            let scratch = &mut scratch[..plan.nr_reps];
            scratch.copy_from_slice(&values[index]);
            Summary::of(scratch).unwrap_or_else(|| panic!("{} repetitions of {index}", plan.nr_reps))
        };
        let summaries: [Summary; NR_CONTENDERS] = core::array::from_fn(&mut summarise);
        let peers = (0..NR_CONTENDERS).filter(|&index| CONTENDERS[index].is_locked_peer);
        let best = peers.min_by_key(|&index| summaries[index].median).unwrap_or(HEAP_INDEX);
        let mut ratio = |a: usize, b: usize| paired_ratio_milli(&values[a], &values[b], scratch).unwrap_or(0);
        let cells = core::array::from_fn(|index| Cell {
            ticks_milli: summaries[index],
            to_heap_milli: ratio(index, HEAP_INDEX),
            to_best_milli: ratio(index, best),
            nr_pairs: nr_pairs[index],
            counts: counts[index],
            nr_bad: nr_bad[index],
        });
        Some(Self { workload, nr_cpus, cells, best })
    }

    /// Bad objects of all contenders.
    pub(super) fn nr_bad(&self) -> u64 {
        self.cells.iter().map(|cell| cell.nr_bad).sum()
    }

    /// How many times as fast as the best locked peer our heap is, in thousandths.
    pub(super) fn advantage_milli(&self) -> u64 {
        self.cells[self.best].to_heap_milli
    }
}

/// Thousandths of a tick for a pair. CPUs work at the same time, so this is the time of one CPU for one of its own.
fn ticks_milli(sample: &Sample) -> u64 {
    let milli = u128::from(sample.ticks) * 1000 / u128::from(sample.nr_pairs.max(1));
    u64::try_from(milli).unwrap_or(u64::MAX)
}
