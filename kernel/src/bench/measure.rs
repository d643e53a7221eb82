//! A group of rows: one workload on so many CPUs, all contenders in turns, so that what drifts hits all alike.
//!
//! What is measured is bounded by operations. How many they are is asked for, or found before: rounds that are not measured
//! grow until a turn of all contenders takes about as long as it should, and the number is kept from then on, the same for
//! all of them.

use alloc::vec::Vec;

use arch::tsc;
use kernel::samples::more_ops;
use records::Throughput;

use super::contenders::{Contender, MAX_LINEUP};
use super::counts::Counts;
use super::plan::{Plan, Stop};
use super::round::{Harness, Round, Sample, Turn};
use super::workload::Game;
use crate::time;

/// Memory for the samples of a group.
pub(super) struct Series {
    /// Thousandths of a tick for an operation, by contender and repetition.
    values: [Vec<u64>; MAX_LINEUP],
}

impl Series {
    /// For so many repetitions; `None` if there is no memory.
    pub(super) fn new(nr_reps: usize) -> Option<Self> {
        let mut series = Self { values: [const { Vec::new() }; MAX_LINEUP] };
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
    game: Game,
    /// Operations of each CPU in a repetition.
    pub(super) nr_ops: u64,
    /// In the order of the line-up.
    cells: [Cell; MAX_LINEUP],
}

/// One turn of all contenders, repetition `rep` of them: another one begins each time, so that nobody always follows the same
/// neighbour's leftovers.
fn turn_of_all(
    game: &Game,
    contenders: &[&'static Contender],
    nr_ops: u64,
    rep: usize,
    turn: Turn<'_>,
    harness: &Harness,
    mut take: impl FnMut(usize, Sample),
) -> Result<(), Stop> {
    for place in 0..contenders.len() {
        let index = (place + rep) % contenders.len();
        take(index, Round::play(contenders[index], game, nr_ops, turn, harness).ok_or(Stop::Cancelled)?);
    }
    Ok(())
}

impl Group {
    /// Measures. `tell` is called between turns.
    ///
    /// # Errors
    ///
    /// That of `tell`, or that it was stopped.
    pub(super) fn measure(
        game: Game,
        contenders: &[&'static Contender],
        plan: &Plan<'_>,
        harness: &Harness,
        series: &mut Series,
        tell: &mut dyn FnMut() -> Result<(), Stop>,
    ) -> Result<Self, Stop> {
        let mut cells = [Cell::default(); MAX_LINEUP];
        let warm_up = Turn { seed: plan.seed, is_warm_up: true, samplers: None };
        let mut nr_ops = plan.nr_ops.unwrap_or(LEAST_OPS);
        if plan.nr_ops.is_none() {
            let mut turn = |nr_ops| {
                tell()?;
                let start = tsc::read();
                turn_of_all(&game, contenders, nr_ops, 0, warm_up, harness, |index, sample| {
                    cells[index].nr_bad += sample.nr_bad;
                })?;
                Ok::<u64, Stop>(tsc::read().wrapping_sub(start))
            };
            // So many steps at most: a number that does not grow the time is as good as any.
            for _ in 0..MAX_STEPS {
                // The better of two: code that runs for the first time is translated, and a host takes CPUs away.
                let ticks = turn(nr_ops)?.min(turn(nr_ops)?);
                let Some(frequency) = time::frequency() else { break };
                let spent_ns = frequency.nanoseconds(ticks);
                let Some(more) = more_ops(nr_ops, spent_ns, turn_ns(&game, plan), MOST_OPS) else { break };
                nr_ops = more;
            }
        }
        series.values.iter_mut().for_each(Vec::clear);
        for rep in 0..plan.nr_warm_ups + plan.nr_reps {
            tell()?;
            let is_warm_up = rep < plan.nr_warm_ups;
            let turn = Turn { seed: plan.seed.wrapping_add(rep as u64), is_warm_up, samplers: None };
            turn_of_all(&game, contenders, nr_ops, rep, turn, harness, |index, sample| {
                let cell = &mut cells[index];
                cell.nr_bad += sample.nr_bad;
                if !is_warm_up {
                    series.values[index].push(milliticks(&sample));
                    cell.nr_ops += sample.nr_pairs;
                    cell.counts += sample.counts;
                }
            })?;
        }
        Ok(Self { game, nr_ops, cells })
    }

    /// A row for each contender, in the order of the line-up; those behind its end are empty.
    pub(super) fn rows<'s>(
        &self,
        contenders: &[&'static Contender],
        series: &'s Series,
    ) -> [Throughput<'s>; MAX_LINEUP] {
        core::array::from_fn(|index| {
            let Some(contender) = contenders.get(index) else { return Throughput::default() };
            let Cell { nr_ops, counts, nr_bad } = self.cells[index];
            let of_ours = |count| contender.is_ours.then_some(count);
            Throughput {
                workload: self.game.workload.name.into(),
                contender: contender.name.into(),
                cpus: self.game.nr_cpus as u64,
                scale: self.game.size.map(|_| "bytes".into()),
                scale_value: self.game.size.map(|size| size as u64),
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

/// With which a search begins: a part of a round between two looks at the keyboard.
const LEAST_OPS: u64 = 256;
const MOST_OPS: u64 = 4_000_000;
const MAX_STEPS: usize = 6;

/// How long a turn of all contenders should take. A whole run then takes about a minute and a half on 8 CPUs; a row of one
/// size class less than others, as there are many.
fn turn_ns(game: &Game, plan: &Plan<'_>) -> u64 {
    let full = if game.size.is_some() { 16_000_000 } else { 64_000_000 };
    if plan.is_quick { full / 4 } else { full }
}
