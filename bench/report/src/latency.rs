//! Percentiles of single operations: a row for each contender and operation, the clock's own cost marked.

use plot::number::digits;
use plot::{Axis, Dot, DotChart, Head, Kind, Row, Unit};
use records::{Latency, Meta};

use crate::figure::{nr_cpus, scaled};
use crate::html::{Chart, Plot, Table, slug};
use crate::machine;
use crate::people::{is_ours, is_peer, reference};
use crate::rows::unique;

const PERCENTILES: [&str; 4] = ["p50", "p99", "p99.9", "max"];

/// Samples that each of them needs: the one in a thousand of two hundred is only the longest under another name.
const NEEDED: [u64; 4] = [2, 100, 1000, 1];

/// The percentiles, where there are enough samples for them.
fn values(row: &Latency<'_>) -> [Option<u64>; 4] {
    let ticks = [row.p50_ticks, row.p99_ticks, row.p999_ticks, row.max_ticks];
    std::array::from_fn(|i| (row.nr_samples >= NEEDED[i]).then_some(ticks[i]))
}

/// A plot for each workload and number of CPUs up to what runs at a time; the rest is in the tables.
pub fn plots(meta: &Meta<'_>, latencies: &[Latency<'static>]) -> Vec<Plot> {
    let mut plots = Vec::new();
    for name in unique(latencies.iter().map(|row| row.workload.as_ref())) {
        let all: Vec<&Latency<'_>> = latencies.iter().filter(|row| row.workload == name).collect();
        let mut cpus = unique(all.iter().map(|row| row.cpus));
        cpus.sort_unstable();
        let mut shown = vec![cpus.first().copied().unwrap_or(1), machine::most_cpus(meta, &cpus)];
        shown.dedup();
        for (i, &cpus) in shown.iter().enumerate() {
            let here: Vec<&Latency<'_>> = all.iter().copied().filter(|row| row.cpus == cpus).collect();
            let mut plot = plot(meta, name, cpus, &here);
            let rest: Vec<&Latency<'_>> = all.iter().copied().filter(|row| !shown.contains(&row.cpus)).collect();
            if i == 0 && !rest.is_empty() {
                plot.more.push(("With other numbers of CPUs".into(), Scale::of(meta, &here).table(&rest)));
            }
            plots.push(plot);
        }
    }
    plots
}

/// How times are shown.
struct Scale {
    /// Ticks of what is shown as 1.
    ticks: f64,
    unit: Unit,
    label: String,
}

impl Scale {
    /// Nanoseconds; of an emulated run, times the median of the reference's first operation.
    fn of(meta: &Meta<'_>, rows: &[&Latency<'static>]) -> Self {
        if !meta.is_emulated && meta.clock_hz > 0 {
            let label = "time of one operation, clock included (logarithmic) ← lower is better".into();
            return Self { ticks: meta.clock_hz as f64 / 1e9, unit: Unit::Nanoseconds, label };
        }
        let first = reference_row(rows);
        let name = first.map_or(String::new(), title_of);
        let on = first.map_or(String::new(), |row| nr_cpus(row.cpus));
        let ticks = first.map_or(1.0, |row| row.p50_ticks.max(1) as f64);
        Self {
            ticks,
            unit: Unit::Times,
            label: format!(
                "time, clock included, relative to the median of {name} on {on} (logarithmic) ← lower is better"
            ),
        }
    }

    fn value(&self, ticks: u64) -> f64 {
        ticks as f64 / self.ticks
    }

    fn table(&self, rows: &[&Latency<'static>]) -> Table {
        let head = ["contender", "operation", "CPUs", "samples", "p50", "p99", "p99.9", "max", "clock's part"];
        let mut table = Table { head: head.map(str::to_owned).into(), nr_names: 2, ..Table::default() };
        for row in rows {
            if is_ours(&row.contender) {
                table.strong.push(table.rows.len());
            }
            let mut line = vec![row.contender.to_string(), operation_of(row), row.cpus.to_string()];
            line.push(Unit::Plain.show(row.nr_samples as f64));
            line.extend(values(row).map(|ticks| ticks.map_or("-".into(), |ticks| self.unit.show(self.value(ticks)))));
            line.push(self.unit.show(self.value(row.timer_ticks)));
            table.push(line);
        }
        table
    }
}

fn reference_row<'r>(rows: &[&'r Latency<'static>]) -> Option<&'r Latency<'static>> {
    let name = reference(rows.iter().map(|row| row.contender.as_ref()))?;
    rows.iter().copied().find(|row| row.contender == name)
}

fn operation_of(row: &Latency<'_>) -> String {
    match row.scale.as_deref().zip(row.scale_value) {
        Some((scale, value)) => format!("{}, {}", row.operation, scaled(scale, value)),
        None => row.operation.to_string(),
    }
}

fn title_of(row: &Latency<'_>) -> String {
    format!("{} {}", row.contender, operation_of(row))
}

fn plot(meta: &Meta<'_>, name: &str, cpus: u64, rows: &[&Latency<'static>]) -> Plot {
    let scale = Scale::of(meta, rows);
    let mut timers: Vec<u64> = rows.iter().map(|row| row.timer_ticks).collect();
    timers.sort_unstable();
    let timer = timers.get(timers.len() / 2).copied().filter(|&ticks| ticks > 0);
    let lines = rows.iter().map(|row| {
        let dots = values(row).into_iter().enumerate();
        let dots = dots.filter_map(|(kind, ticks)| Some(Dot::at(kind, scale.value(ticks?)))).collect();
        Row { name: title_of(row), is_ours: is_ours(&row.contender), dots }
    });
    let is_short = rows.iter().any(|row| row.nr_samples < NEEDED[2]);
    let title = sentence(name, cpus, rows);
    let chart = DotChart {
        head: Head { watermark: machine::watermark(meta).into(), ..Head::titled(title.clone()) },
        x: Axis::log(scale.label.clone(), scale.unit),
        // Ours and peers have colours; a percentile has a shape and a shade of its own.
        kinds: PERCENTILES.iter().enumerate().map(|(i, name)| Kind::numbered(*name, i)).collect(),
        rows: lines.collect(),
        guide: timer.map(|ticks| (scale.value(ticks), "the clock alone".into())),
        is_joined: true,
        ..DotChart::default()
    };
    let mut remarks = vec!["Two readings of the clock are part of every time.".to_owned()];
    if is_short {
        remarks.push(
            "A percentile for which there are too few samples is not shown: p99 wants 100, p99.9 wants 1000.".into(),
        );
    }
    remarks.extend(machine::oversubscription(meta, &[cpus]));
    let most = rows.iter().map(|row| row.nr_samples).max().unwrap_or(0);
    Plot {
        slug: slug(&format!("latency {name} {}", nr_cpus(cpus))),
        title,
        subtitle: format!(
            "percentiles of up to {} single operations of {name}, on {}",
            Unit::Plain.show(most as f64),
            nr_cpus(cpus)
        ),
        remarks,
        chart: Chart::Dots(chart),
        table: scale.table(rows),
        more: Vec::new(),
    }
}

/// How long the tail is, of the reference and of the peer whose tail is the shortest: of the highest percentile for which
/// the reference has the samples.
fn sentence(name: &str, cpus: u64, rows: &[&Latency<'static>]) -> String {
    let Some(first) = reference_row(rows) else { return name.to_owned() };
    let on = nr_cpus(cpus);
    let (part, place) = match first.nr_samples {
        nr if nr >= NEEDED[2] => ("one in a thousand", 2),
        nr if nr >= NEEDED[1] => ("one in a hundred", 1),
        _ => ("half", 0),
    };
    let tail = |row: &Latency<'_>| values(row)[place].unwrap_or(u64::MAX);
    let rivals = rows.iter().filter(|row| {
        let is_same = row.operation == first.operation && row.scale_value == first.scale_value;
        is_same && is_ours(&first.contender) && is_peer(&row.contender) && values(row)[place].is_some()
    });
    let times = |a: u64, b: u64| digits(a as f64 / b.max(1) as f64);
    let own = match place {
        0 => format!("{name} on {on}, {}, the median", title_of(first)),
        _ => {
            let ratio = times(tail(first), first.p50_ticks);
            format!("{name} on {on}, {}: {part} takes at least {ratio} times the median", title_of(first))
        }
    };
    match rivals.min_by_key(|row| tail(row)) {
        Some(rival) => {
            let ratio = times(tail(first), tail(rival));
            format!("{own}, which is {ratio} times the time of the best peer, {}", rival.contender)
        }
        None => own,
    }
}
