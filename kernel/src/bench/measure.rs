//! A group of rows: one workload on so many CPUs, all contenders in turns, so that what drifts hits all alike.

use alloc::vec::Vec;

use records::Throughput;

use super::contenders::{CONTENDERS, NR_CONTENDERS};
use super::counts::Counts;
use super::plan::{Plan, Stop};
use super::round::{Harness, Round, Sample, Turn};
use super::workload::Workload;

/// Memory for the samples of a group.
pub(super) struct Series {
    /// Thousandths of a tick for an operation, by contender and repetition.
    values: [Vec<u64>; NR_CONTENDERS],
}

impl Series {
    /// For so many repetitions; `None` if there is no memory.
    pub(super) fn new(nr_reps: usize) -> Option<Self> {
        let mut series = Self { values: [const { Vec::new() }; NR_CONTENDERS] };
        for values in &mut series.values {
            values.try_reserve_exact(nr_reps).ok()?;
        }
        Some(series)
    }
}

/// What one contender came to.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    /// Of all measured rounds.
    nr_ops: u64,
    /// In the measured rounds, without what goes before and after.
    counts: Counts,
    /// Bad objects in all rounds.
    nr_bad: u64,
}

/// A group of rows.
pub(super) struct Group {
    pub(super) workload: &'static Workload,
    pub(super) nr_cpus: usize,
    /// In the order of the list of contenders.
    cells: [Cell; NR_CONTENDERS],
}

impl Group {
    /// Measures. `tell` is called between rounds.
    ///
    /// # Errors
    ///
    /// That of `tell`, or that it was stopped.
    pub(super) fn measure(
        workload: &'static Workload,
        nr_cpus: usize,
        plan: &Plan<'_>,
        harness: &Harness,
        series: &mut Series,
        tell: &mut dyn FnMut() -> Result<(), Stop>,
    ) -> Result<Self, Stop> {
        let nr_ops = plan.nr_ops.unwrap_or(10_000);
        let play = |index: usize, rep: usize| {
            let turn = Turn { seed: plan.seed.wrapping_add(rep as u64), is_warm_up: rep < plan.nr_warm_ups };
            Round::play(&CONTENDERS[index], workload.shape, nr_cpus, nr_ops, turn, harness).ok_or(Stop::Cancelled)
        };
        let mut cells = [Cell::default(); NR_CONTENDERS];
        series.values.iter_mut().for_each(Vec::clear);
        for rep in 0..plan.nr_warm_ups + plan.nr_reps {
            tell()?;
            for turn in 0..NR_CONTENDERS {
                // Another one begins each time, so that nobody always follows the same neighbour's leftovers.
                let index = (turn + rep) % NR_CONTENDERS;
                let sample = play(index, rep)?;
                let cell = &mut cells[index];
                cell.nr_bad += sample.nr_bad;
                if rep >= plan.nr_warm_ups {
                    series.values[index].push(milliticks(&sample));
                    cell.nr_ops += sample.nr_pairs;
                    cell.counts += sample.counts;
                }
            }
        }
        Ok(Self { workload, nr_cpus, cells })
    }

    /// A row for each contender, in the order of the list.
    pub(super) fn rows<'s>(&self, series: &'s Series) -> [Throughput<'s>; NR_CONTENDERS] {
        core::array::from_fn(|index| {
            let Cell { nr_ops, counts, nr_bad } = self.cells[index];
            let of_ours = |count| (!CONTENDERS[index].is_locked_peer).then_some(count);
            Throughput {
                workload: self.workload.name.into(),
                contender: CONTENDERS[index].name.into(),
                cpus: self.nr_cpus as u64,
                scale: None,
                scale_value: None,
                unit: "pair".into(),
                nr_ops,
                milliticks_per_op: series.values[index].as_slice().into(),
                nr_locks: Some(counts.nr_locks),
                nr_waits: Some(counts.nr_waits),
                nr_heap_ops: of_ours(counts.nr_heap_ops),
                nr_depot_visits: of_ours(counts.nr_depot_visits),
                nr_slab_visits: of_ours(counts.nr_slab_visits),
                nr_ipis: Some(counts.nr_ipis),
                milli_instructions_per_op: None,
                nr_bad,
            }
        })
    }
}

/// Thousandths of a tick for an operation. CPUs work at the same time, so this is the time of one CPU for one of its own.
fn milliticks(sample: &Sample) -> u64 {
    let milli = u128::from(sample.ticks) * 1000 / u128::from(sample.nr_pairs.max(1));
    u64::try_from(milli).unwrap_or(u64::MAX)
}
