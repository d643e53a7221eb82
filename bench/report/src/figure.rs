//! The quantity that a plot shows of a workload: throughput or cost, absolute or relative to one named cell.
//!
//! Invariant: of an emulated run nothing absolute is shown.

use plot::Unit;
use records::Meta;

use crate::people;
use crate::rows::{Cell, Workload};
use crate::stats::Quartiles;

/// What is shown.
#[derive(Clone, Debug)]
pub struct Figure {
    is_throughput: bool,
    clock_hz: f64,
    unit_name: String,
    /// Time of an operation and number of CPUs of what the others are held against, and its name.
    reference: Option<(f64, f64, String)>,
}

impl Figure {
    /// For a workload of a run: relative if the run is emulated, or has no clock that is known.
    pub fn of(meta: &Meta<'_>, workload: &Workload<'_>) -> Self {
        let (is_throughput, unit_name) = (workload.is_throughput(), workload.unit.to_owned());
        let is_relative = meta.is_emulated || meta.clock_hz == 0;
        let reference = is_relative.then(|| first_of_reference(workload)).flatten().map(|cell| {
            let (ticks, cpus) = (cell.ticks.median, cell.row.cpus.max(1));
            (ticks, cpus as f64, describe(cell, workload.scale))
        });
        Self { is_throughput, clock_hz: meta.clock_hz as f64, unit_name, reference }
    }

    /// Whether more is better.
    pub fn is_throughput(&self) -> bool {
        self.is_throughput
    }

    /// The figure of a cell.
    pub fn value(&self, cell: &Cell<'_>) -> Quartiles {
        let cpus = cell.row.cpus.max(1) as f64;
        cell.ticks.map(|ticks| match (&self.reference, self.is_throughput) {
            (Some((ticks_1, cpus_1, _)), true) => cpus / ticks * ticks_1 / cpus_1,
            (Some((ticks_1, ..)), false) => ticks / ticks_1,
            (None, true) => cpus * self.clock_hz / ticks,
            (None, false) => ticks / self.clock_hz * 1e9,
        })
    }

    /// How its values are shown.
    pub fn unit(&self) -> Unit {
        match (&self.reference, self.is_throughput) {
            (Some(_), _) => Unit::Times,
            (None, true) => Unit::Plain,
            (None, false) => Unit::Nanoseconds,
        }
    }

    /// What it is, in which unit, and which direction is better.
    pub fn label(&self) -> String {
        let unit = &self.unit_name;
        match (&self.reference, self.is_throughput) {
            (Some((.., name)), true) => {
                format!("{unit}s in a given time, all CPUs together, relative to {name} ↑ higher is better")
            }
            (Some((.., name)), false) => format!("time of one {unit}, relative to {name} ↓ lower is better"),
            (None, true) => format!("{unit}s per second, all CPUs together ↑ higher is better"),
            (None, false) => format!("time of one {unit} ↓ lower is better"),
        }
    }
}

/// The cell that the others are held against: of the reference, with the fewest CPUs and the least scale.
fn first_of_reference<'w, 'r>(workload: &'w Workload<'r>) -> Option<&'w Cell<'r>> {
    let reference = people::reference(workload.contenders().into_iter())?;
    let cells = workload.cells.iter().filter(|cell| cell.row.contender == reference);
    cells.min_by_key(|cell| (cell.row.cpus, cell.row.scale_value))
}

fn describe(cell: &Cell<'_>, scale: Option<&str>) -> String {
    let cpus = nr_cpus(cell.row.cpus);
    match (scale, cell.row.scale_value) {
        (Some(scale), Some(value)) => format!("{} on {cpus} at {}", cell.row.contender, scaled(scale, value)),
        _ => format!("{} on {cpus}", cell.row.contender),
    }
}

/// `1 CPU`, `2 CPUs`.
pub fn nr_cpus(cpus: u64) -> String {
    if cpus == 1 { "1 CPU".into() } else { format!("{cpus} CPUs") }
}

/// A value of a scale, for people.
pub fn scaled(scale: &str, value: u64) -> String {
    match scale {
        "bytes" => Unit::Bytes.show(value as f64),
        "pages" if value == 1 => "1 page".into(),
        "fill_per_mille" => format!("{} full", Unit::Percent.show(value as f64 / 1000.0)),
        _ => format!("{value} {scale}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::Throughput;

    fn row(contender: &'static str, cpus: u64, milliticks: u64, unit: &'static str) -> Throughput<'static> {
        Throughput {
            workload: "w".into(),
            contender: contender.into(),
            cpus,
            unit: unit.into(),
            milliticks_per_op: vec![milliticks].into(),
            ..Throughput::default()
        }
    }

    fn shown(is_emulated: bool, unit: &'static str) -> (Vec<f64>, String) {
        let rows = vec![row("talc", 1, 800_000, unit), row("heap", 1, 100_000, unit), row("heap", 2, 50_000, unit)];
        let meta = Meta { clock_hz: 1_000_000_000, is_emulated, ..Meta::default() };
        let recording = records::lines::Recording { meta, rows, ..Default::default() };
        let workloads = crate::rows::workloads(&recording);
        let figure = Figure::of(&recording.meta, &workloads[0]);
        (workloads[0].cells.iter().map(|cell| figure.value(cell).median).collect(), figure.label())
    }

    #[test]
    fn a_real_run_has_operations_a_second_or_nanoseconds() {
        assert_eq!(shown(false, "pair").0, [1.25e6, 1e7, 4e7]);
        assert_eq!(shown(false, "round trip").0, [800.0, 100.0, 50.0]);
    }

    #[test]
    fn an_emulated_run_is_relative_to_a_named_cell() {
        let (values, label) = shown(true, "pair");
        assert_eq!(values, [0.125, 1.0, 4.0]);
        assert!(label.contains("relative to heap on 1 CPU") && !label.contains("second"), "{label}");
        let (values, label) = shown(true, "round trip");
        assert_eq!(values, [8.0, 1.0, 0.5]);
        assert!(label.contains("relative to heap on 1 CPU") && label.contains("lower is better"), "{label}");
    }
}
