//! A row of the table: one workload with so many threads, all allocators in turns.

use std::time::{Duration, Instant};

use crate::peers::{Allocator, Kind, Null};
use crate::round::{Crew, Round, Sample};
use crate::stats::{median, paired_ratio, scale_pairs};
use crate::workload::Workload;

/// Length of a round: long against the reading of the clock, short against a time slice.
const ROUND_NS: u64 = 1_500_000;

/// Rounds that are not measured, the checked one among them.
pub(crate) const NR_WARM_UPS: u64 = 4;

/// A round that lost its CPU is played again so many times.
const MAX_RERUNS: usize = 4;

/// Who takes longer than this for all repetitions, setting up included, gets fewer of them: the list and the buddy
/// system can take a thousand times as long as the others.
const CELL_BUDGET: Duration = Duration::from_secs(2);
const MIN_REPS: usize = 3;

/// One allocator's part of a row.
pub(crate) struct Cell {
    pub(crate) allocator: Allocator,
    /// Nanoseconds for a pair, one value for each repetition.
    pub(crate) ns: Vec<f64>,
    /// Rounds that lost their CPU on every attempt; the attempt that lost it least is in `ns`.
    pub(crate) nr_disturbed: usize,
    /// Pairs of all threads in all that is in `ns`.
    pub(crate) nr_pairs_measured: u64,
    nr_pairs: u64,
    nr_reps: usize,
}

impl Cell {
    /// The median; a cell has at least one repetition.
    pub(crate) fn median_ns(&self) -> f64 {
        median(&self.ns).unwrap_or(f64::NAN)
    }
}

/// What was measured of one workload.
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) nr_threads: usize,
    /// In the order of the list of allocators.
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    /// Ours: the first of the list.
    pub(crate) fn ours(&self) -> &Cell {
        &self.cells[0]
    }

    pub(crate) fn best_peer(&self) -> Option<&Cell> {
        let peers = self.cells.iter().filter(|cell| cell.allocator.kind != Kind::Own);
        peers.min_by(|a, b| a.median_ns().total_cmp(&b.median_ns()))
    }

    /// The fastest of those behind one lock, and how many times our time it takes, round by round.
    pub(crate) fn best_locked(&self) -> Option<(&Cell, f64)> {
        let locked = self.cells.iter().filter(|cell| cell.allocator.kind == Kind::Locked);
        let best = locked.min_by(|a, b| a.median_ns().total_cmp(&b.median_ns()))?;
        Some((best, paired_ratio(&best.ns, &self.ours().ns)?))
    }

    /// Our time over that of the best peer, round by round.
    pub(crate) fn ratio(&self) -> Option<f64> {
        paired_ratio(&self.ours().ns, &self.best_peer()?.ns)
    }

    pub(crate) fn goal(&self) -> f64 {
        self.workload.goals[self.nr_threads - 1]
    }
}

fn play(crew: &Crew, cell: &Cell, workload: &Workload, nr_threads: usize, is_checked: bool) -> Sample {
    let is_real = cell.allocator.name != Null::NAME;
    crew.play(&cell.allocator, Round::new(workload.shape, cell.nr_pairs, nr_threads, is_checked, is_real))
}

/// Plays checked rounds to find faults and to warm up, then finds out how many pairs make a round.
fn prepare(crew: &Crew, cell: &mut Cell, workload: &Workload, nr_threads: usize, nr_reps: usize) {
    play(crew, cell, workload, nr_threads, true);
    let mut taken = Duration::ZERO;
    for _ in 1..NR_WARM_UPS {
        let start = Instant::now();
        let sample = play(crew, cell, workload, nr_threads, false);
        taken = start.elapsed();
        // Both sums are over the threads; a round is for each.
        let nr_threads = nr_threads as u64;
        // Batches are played whole; and where two threads share a pair, it is counted once.
        let nr_played = (sample.nr_pairs / nr_threads).max(cell.nr_pairs);
        cell.nr_pairs = scale_pairs(nr_played, sample.cpu_ns / nr_threads, ROUND_NS);
    }
    let affordable = CELL_BUDGET.as_nanos() / taken.as_nanos().max(1);
    cell.nr_reps = (affordable as usize).max(MIN_REPS).min(nr_reps);
}

/// One round that counts: of up to `MAX_RERUNS + 1` attempts the first that kept its CPU, else the least disturbed.
fn undisturbed(crew: &Crew, cell: &Cell, workload: &Workload, nr_threads: usize) -> Sample {
    let mut best = play(crew, cell, workload, nr_threads, false);
    for _ in 0..MAX_RERUNS {
        if best.nr_switches == 0 {
            break;
        }
        let again = play(crew, cell, workload, nr_threads, false);
        if again.nr_switches < best.nr_switches {
            best = again;
        }
    }
    best
}

/// Measures a row.
pub(crate) fn measure(
    crew: &Crew,
    workload: &Workload,
    nr_threads: usize,
    allocators: &[Allocator],
    nr_reps: usize,
) -> Row {
    let fresh =
        |&allocator| Cell { allocator, ns: Vec::new(), nr_disturbed: 0, nr_pairs_measured: 0, nr_pairs: 1000, nr_reps };
    let mut cells: Vec<Cell> = allocators.iter().map(fresh).collect();
    for cell in &mut cells {
        prepare(crew, cell, workload, nr_threads, nr_reps);
    }
    for rep in 0..nr_reps {
        for i in 0..cells.len() {
            // Another one begins each time, so that nobody always follows the same neighbour's leftovers.
            let turn = (i + rep) % allocators.len();
            let cell = &mut cells[turn];
            if rep >= cell.nr_reps {
                continue;
            }
            let sample = undisturbed(crew, cell, workload, nr_threads);
            cell.nr_disturbed += usize::from(sample.nr_switches > 0);
            cell.nr_pairs_measured += sample.nr_pairs;
            cell.ns.push(sample.cpu_ns as f64 / sample.nr_pairs as f64);
        }
    }
    Row { workload: *workload, nr_threads, cells }
}
