//! A group of rows: one workload on so many CPUs, all contenders in turns, so that what drifts hits all alike.
//!
//! What is measured is bounded by operations. How many they are is asked for, or found before, for each contender by itself:
//! rounds that are not measured grow until one takes about as long as it should, and the number is kept from then on. So the
//! quick and the slow are timed for about as long, and everybody plays as much as the workload needs to be what it is; who
//! cannot in reasonable time is left out.

use alloc::vec::Vec;

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
    /// In all rounds.
    nr_bad: u64,
    nr_refused: u64,
    /// Ticks and pairs of the CPU that took longest, in all measured rounds.
    longest: (u64, u64),
}

impl Cell {
    /// Counts what was wrong in a round; false if memory was refused, and it does not count.
    fn accept(&mut self, sample: &Sample) -> bool {
        self.nr_bad += sample.faults.nr_bad;
        self.nr_refused += sample.faults.nr_refused;
        sample.faults.nr_refused == 0
    }
}

/// Why somebody has no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// So many requests were refused for want of memory.
    Refused(u64),
    /// The fewest operations that the workload may have take more than can be afforded.
    TooSlow,
}

/// A group of rows.
pub(super) struct Group {
    game: Game,
    /// Operations of each CPU in a repetition, in the order of the line-up; 0 of those that are left out, too late for some.
    pub(super) nr_ops: [u64; MAX_LINEUP],
    /// In the order of the line-up.
    cells: [Cell; MAX_LINEUP],
}

/// Finds out how many operations `contender` needs for a round of `wanted_ns` on each CPU; 0 if the fewest that the workload
/// may have take more than can be afforded, or if memory was refused. Adds to `cell` what was wrong.
fn find_ops(
    contender: &Contender,
    game: &Game,
    plan: &Plan<'_>,
    harness: &Harness,
    wanted_ns: u64,
    cell: &mut Cell,
) -> Result<u64, Stop> {
    let mut nr_ops = game.shape.least_ops();
    let Some(frequency) = time::frequency() else { return Ok(nr_ops) };
    let spent_ns = |nr_ops, is_checked, cell: &mut Cell| {
        let turn = Turn { seed: plan.seed, is_checked, samplers: None };
        let sample = Round::play(contender, game, nr_ops, turn, harness).ok_or(Stop::Cancelled)?;
        cell.accept(&sample);
        // Without what goes before and after: with many CPUs that may be most of it.
        Ok::<u64, Stop>(frequency.nanoseconds(sample.ticks / game.nr_cpus as u64))
    };
    spent_ns(nr_ops, true, cell)?;
    if cell.nr_refused > 0 {
        return Ok(0);
    }
    // So many steps at most: a number that does not grow the time is as good as any.
    for step in 0..MAX_STEPS {
        let mut best_ns = spent_ns(nr_ops, false, cell)?;
        // The better of two, unless it is far too short: code that runs for the first time is translated, and a host takes
        // CPUs away.
        if best_ns >= wanted_ns / 16 {
            best_ns = best_ns.min(spent_ns(nr_ops, false, cell)?);
        }
        if cell.nr_refused > 0 {
            return Ok(0);
        }
        if step == 0 && best_ns > affordable_ns(plan) {
            return Ok(0);
        }
        let Some(more) = more_ops(nr_ops, best_ns, wanted_ns, MOST_OPS) else { break };
        nr_ops = game.shape.whole(more);
    }
    Ok(nr_ops)
}

/// One turn of all contenders, repetition `rep` of them: another one begins each time, so that nobody always follows the same
/// neighbour's leftovers. For whom `take` says false it was the last.
fn turn_of_all(
    game: &Game,
    contenders: &[&'static Contender],
    nr_ops: &mut [u64; MAX_LINEUP],
    rep: usize,
    turn: Turn<'_>,
    harness: &Harness,
    mut take: impl FnMut(usize, Sample) -> bool,
) -> Result<(), Stop> {
    for place in 0..contenders.len() {
        let index = (place + rep) % contenders.len();
        if nr_ops[index] > 0 {
            let sample = Round::play(contenders[index], game, nr_ops[index], turn, harness).ok_or(Stop::Cancelled)?;
            if !take(index, sample) {
                nr_ops[index] = 0;
            }
        }
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
        let mut nr_ops = [plan.nr_ops.unwrap_or(0); MAX_LINEUP];
        if plan.nr_ops.is_none() {
            let wanted_ns = turn_ns(&game, plan) / contenders.len().max(1) as u64;
            for (index, contender) in contenders.iter().enumerate() {
                tell()?;
                nr_ops[index] = find_ops(contender, &game, plan, harness, wanted_ns, &mut cells[index])?;
            }
        }
        series.values.iter_mut().for_each(Vec::clear);
        for rep in 0..plan.nr_warm_ups + plan.nr_reps {
            tell()?;
            let is_warm_up = rep < plan.nr_warm_ups;
            // Who found a number was checked then; all other rounds run the code that is measured, so that it is warm.
            let is_checked = rep == 0 && is_warm_up && plan.nr_ops.is_some();
            let turn = Turn { seed: plan.seed.wrapping_add(rep as u64), is_checked, samplers: None };
            turn_of_all(&game, contenders, &mut nr_ops, rep, turn, harness, |index, sample| {
                let cell = &mut cells[index];
                if !cell.accept(&sample) {
                    return false;
                }
                if !is_warm_up {
                    cell.longest.0 += sample.longest.0;
                    cell.longest.1 += sample.longest.1;
                    series.values[index].push(milliticks(&sample));
                    cell.nr_ops += sample.nr_pairs;
                    cell.counts += sample.counts;
                }
                true
            })?;
        }
        Ok(Self { game, nr_ops, cells })
    }

    /// Why contender `index` of the line-up has no row; `None` if it has one.
    pub(super) fn absence(&self, index: usize) -> Option<Absence> {
        match (self.nr_ops[index], self.cells[index].nr_refused) {
            (1.., _) => None,
            (0, 0) => Some(Absence::TooSlow),
            (0, nr_refused) => Some(Absence::Refused(nr_refused)),
        }
    }

    /// Bad objects of contender `index` of the line-up.
    pub(super) fn nr_bad(&self, index: usize) -> u64 {
        self.cells[index].nr_bad
    }

    /// A row for each contender that was not left out, in the order of the line-up; those behind the last are empty.
    pub(super) fn rows<'s>(
        &self,
        contenders: &[&'static Contender],
        series: &'s Series,
    ) -> [Throughput<'s>; MAX_LINEUP] {
        let mut present = contenders.iter().enumerate().filter(|(index, _)| self.nr_ops[*index] > 0);
        core::array::from_fn(|_| {
            let Some((index, contender)) = present.next() else { return Throughput::default() };
            let Cell { nr_ops, counts, nr_bad, longest, .. } = self.cells[index];
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
                longest_milliticks_per_op: Some(per_pair(longest.0, longest.1)),
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
    per_pair(sample.ticks, sample.nr_pairs)
}

/// In thousandths.
fn per_pair(ticks: u64, nr_pairs: u64) -> u64 {
    let milli = u128::from(ticks) * 1000 / u128::from(nr_pairs.max(1));
    u64::try_from(milli).unwrap_or(u64::MAX)
}

const MOST_OPS: u64 = 4_000_000;
const MAX_STEPS: usize = 6;

/// How long a turn of all contenders should take, without what goes before and after each. A whole run then takes about a
/// minute and a half on 8 CPUs; a row of one size class less than others, as there are many.
fn turn_ns(game: &Game, plan: &Plan<'_>) -> u64 {
    let full = if game.size.is_some() { 10_000_000 } else { 32_000_000 };
    if plan.is_quick { full / 4 } else { full }
}

/// How long the shortest round of a contender may take: it is played some fifteen times.
pub(super) fn affordable_ns(plan: &Plan<'_>) -> u64 {
    if plan.is_quick { 80_000_000 } else { 160_000_000 }
}
