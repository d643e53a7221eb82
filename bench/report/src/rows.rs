//! A run's rows by workload, each with the quartiles of its repetitions.

use std::collections::HashSet;

use records::Throughput;
use records::lines::Recording;

use crate::stats::Quartiles;

/// A row, and the time of a CPU for one operation.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'r> {
    /// The record.
    pub row: &'r Throughput<'static>,
    /// In ticks.
    pub ticks: Quartiles,
}

/// The rows of a workload that vary in the same thing.
#[derive(Clone, Debug)]
pub struct Workload<'r> {
    /// Its name.
    pub name: &'r str,
    /// What an operation is.
    pub unit: &'r str,
    /// What varies beside the number of CPUs.
    pub scale: Option<&'r str>,
    /// Its cells in recorded order, one for each contender, number of CPUs and scale value: the last that was recorded.
    pub cells: Vec<Cell<'r>>,
}

/// All workloads in recorded order. Rows without a repetition, or one that took no time, are left out.
pub fn workloads(recording: &Recording) -> Vec<Workload<'_>> {
    let mut workloads: Vec<Workload<'_>> = Vec::new();
    for row in &recording.rows {
        let Some(ticks) = quartiles(recording, row) else { continue };
        let (name, unit, scale) = (row.workload.as_ref(), row.unit.as_ref(), row.scale.as_deref());
        let place = workloads.iter().position(|it| (it.name, it.unit, it.scale) == (name, unit, scale));
        let place = place.unwrap_or_else(|| {
            workloads.push(Workload { name, unit, scale, cells: Vec::new() });
            workloads.len() - 1
        });
        let cells = &mut workloads[place].cells;
        let is_same = |cell: &Cell<'_>| key(cell.row) == key(row);
        match cells.iter_mut().find(|cell| is_same(cell)) {
            Some(cell) => *cell = Cell { row, ticks },
            None => cells.push(Cell { row, ticks }),
        }
    }
    workloads
}

/// How many rows have neither a time nor a count of instructions, and so are on no plot.
pub fn nr_left_out(recording: &Recording) -> usize {
    let is_timed = |row: &Throughput<'_>| quartiles(recording, row).is_some();
    recording.rows.iter().filter(|row| !is_timed(row) && row.milli_instructions_per_op.is_none()).count()
}

/// How many rows stand in a recording again: of them the last is shown.
pub fn nr_again(recording: &Recording) -> usize {
    let place = |row: &Throughput<'static>| {
        let (scale, is_timed) = (row.scale.clone(), row.milliticks_per_op.is_empty());
        (row.workload.clone(), row.unit.clone(), row.contender.clone(), row.cpus, scale, row.scale_value, is_timed)
    };
    recording.rows.len() - recording.rows.iter().map(place).collect::<HashSet<_>>().len()
}

fn key<'r>(row: &'r Throughput<'static>) -> (&'r str, u64, Option<u64>) {
    (&row.contender, row.cpus, row.scale_value)
}

/// Quartiles in ticks.
pub fn quartiles(recording: &Recording, row: &Throughput<'_>) -> Option<Quartiles> {
    let ticks: Vec<f64> = row.milliticks_per_op.iter().map(|&milli| milli as f64 / 1000.0).collect();
    let quartiles = match *ticks.as_slice() {
        [low, median, high] if recording.meta.is_summary => Quartiles { low, median, high },
        _ => Quartiles::of(&ticks)?,
    };
    (quartiles.median > 0.0).then_some(quartiles)
}

impl<'r> Workload<'r> {
    /// Contenders in recorded order.
    pub fn contenders(&self) -> Vec<&'r str> {
        unique(self.cells.iter().map(|cell| cell.row.contender.as_ref()))
    }

    /// Numbers of CPUs, ascending.
    pub fn cpus(&self) -> Vec<u64> {
        let mut cpus = unique(self.cells.iter().map(|cell| cell.row.cpus));
        cpus.sort_unstable();
        cpus
    }

    /// Values of the scale, ascending.
    pub fn scale_values(&self) -> Vec<u64> {
        let mut values = unique(self.cells.iter().filter_map(|cell| cell.row.scale_value));
        values.sort_unstable();
        values
    }

    /// One cell.
    pub fn cell(&self, contender: &str, cpus: u64, scale_value: Option<u64>) -> Option<&Cell<'r>> {
        self.cells.iter().find(|cell| key(cell.row) == (contender, cpus, scale_value))
    }

    /// Whether more of its operations are better, rather than less time for each: so it is with allocations and frees, which
    /// are counted in pairs or, in a trace, one by one. A round or a mapping is a single operation that others wait for.
    pub fn is_throughput(&self) -> bool {
        matches!(self.unit, "pair" | "event")
    }
}

/// What occurs, once each, in order.
pub fn unique<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut kept, value| {
        if !kept.contains(&value) {
            kept.push(value);
        }
        kept
    })
}
