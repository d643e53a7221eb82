//! The plots of a workload: over CPUs, over what else varies, or of the contenders beside one another.

use plot::{Axis, Band, Dot, DotChart, Head, Kind, LineChart, Point, Row, Series, Unit};
use records::{Meta, Throughput};

use crate::figure::{Figure, nr_cpus, scaled};
use crate::html::{Chart, Plot, Table, slug};
use crate::machine;
use crate::people::{Colours, is_ours, reference};
use crate::rows::{Cell, Workload};
use crate::sentences;
use crate::stats::Quartiles;

/// Values that far apart are shown on a logarithmic axis.
const WIDE_RANGE: f64 = 12.0;

/// All plots of a workload.
pub fn plots(meta: &Meta<'_>, workload: &Workload<'_>, colours: &mut Colours) -> Vec<Plot> {
    let (cpus, scales) = (workload.cpus(), workload.scale_values());
    let most = machine::most_cpus(meta, &cpus);
    let mut plots = Vec::new();
    if scales.len() > 1 {
        let mut at = vec![cpus.first().copied().unwrap_or(1), most];
        at.dedup();
        plots.extend(at.into_iter().map(|cpus| over_scale(meta, workload, cpus, colours)));
    }
    if cpus.len() > 1 && (scales.len() < 2 || cpus.len() > 2) {
        plots.push(over_cpus(meta, workload, most, colours));
    }
    if plots.is_empty() {
        plots.push(beside(meta, workload, colours));
    }
    // The counts of all cells once, under the first.
    let counts = counts(workload);
    if let (Some(first), false) = (plots.first_mut(), counts.rows.is_empty()) {
        first.more.push(("Counts for each operation, and every cell".into(), counts));
    }
    plots
}

fn plot(meta: &Meta<'_>, name: &str, title: String, subtitle: String, mut chart: Chart, table: Table) -> Plot {
    let watermark = machine::watermark(meta).to_owned();
    let head = Head { watermark, ..Head::titled(title.clone()) };
    match &mut chart {
        Chart::Lines(chart) => chart.head = head,
        Chart::Dots(chart) => chart.head = head,
        Chart::Columns(chart) => chart.head = head,
    }
    Plot { slug: slug(name), title, subtitle, remarks: Vec::new(), chart, table, more: Vec::new() }
}

fn point(x: f64, value: Quartiles) -> Point {
    Point { x, y: value.median, spread: (value.low, value.high) }
}

/// Whether values call for a logarithmic axis.
fn is_wide(values: impl Iterator<Item = f64>) -> bool {
    let (low, high) =
        values.filter(|value| *value > 0.0).fold((f64::INFINITY, 0.0_f64), |(a, b), v| (a.min(v), b.max(v)));
    high > low * WIDE_RANGE
}

fn axis(figure: &Figure, is_log: bool) -> Axis {
    let label = figure.label() + if is_log { " (logarithmic)" } else { "" };
    Axis { is_log, ..Axis::linear(label, figure.unit()) }
}

fn series(workload: &Workload<'_>, colours: &mut Colours, of: impl Fn(&Cell<'_>) -> Option<Point>) -> Vec<Series> {
    let mut all = Vec::new();
    for name in workload.contenders() {
        let cells = workload.cells.iter().filter(|cell| cell.row.contender == name);
        let mut points: Vec<Point> = cells.filter_map(&of).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        if !points.is_empty() {
            all.push(Series { is_ours: is_ours(name), ..Series::numbered(name, points, colours.number(name)) });
        }
    }
    all
}

fn over_cpus(meta: &Meta<'_>, workload: &Workload<'_>, most: u64, colours: &mut Colours) -> Plot {
    let figure = Figure::of(meta, workload);
    let (cpus, scale_value) = (workload.cpus(), workload.scale_values().last().copied());
    let shown = |cell: &&Cell<'_>| cell.row.scale_value == scale_value;
    let mut series =
        series(workload, colours, |cell| shown(&cell).then(|| point(cell.row.cpus as f64, figure.value(cell))));
    let is_log = is_wide(workload.cells.iter().filter(shown).map(|cell| figure.value(cell).median));
    let mut y = axis(&figure, is_log);
    if figure.is_throughput()
        && let Some(ideal) = ideal(workload, &figure, scale_value, &cpus)
    {
        // A linear axis that reached the ideal would squeeze everything else.
        y.include.extend(ideal.points.iter().map(|point| point.y).filter(|_| is_log));
        series.push(ideal);
    }
    let ticks: Vec<f64> = cpus.iter().map(|&cpus| cpus as f64).collect();
    let x = Axis { is_log, ..Axis::linear("CPUs", Unit::Whole).ticked(&ticks) };
    let bands = machine::bands(meta, &cpus, is_log);
    let bands = bands.into_iter().map(|(from, name)| Band { from, to: f64::INFINITY, name }).collect();
    let chart = Chart::Lines(LineChart { x, y, series, bands, ..LineChart::default() });

    let title = sentences::over_cpus(workload, &figure, most);
    let at =
        workload.scale.zip(scale_value).map_or(String::new(), |(scale, value)| format!(", {}", scaled(scale, value)));
    let subtitle =
        format!("{}{at}; medians, whiskers over the middle half of {}", workload.name, machine::repetitions(meta));
    let columns: Vec<_> = cpus.iter().map(|&cpus| (nr_cpus(cpus), cpus, scale_value)).collect();
    let mut plot = plot(meta, workload.name, title, subtitle, chart, values(workload, &figure, &columns));
    plot.remarks.extend(machine::oversubscription(meta, &cpus));
    if figure.is_throughput() && is_beyond_ideal(workload, scale_value, most) {
        plot.remarks.push(
            "More than ideal is no finding: the runs on few CPUs were disturbed, or their caches held less.".into(),
        );
    }
    plot
}

/// Whether somebody grew by more than the number of CPUs did, beyond what is noise.
fn is_beyond_ideal(workload: &Workload<'_>, scale_value: Option<u64>, most: u64) -> bool {
    workload.contenders().into_iter().any(|name| {
        let cells =
            workload.cells.iter().filter(|cell| cell.row.contender == name && cell.row.scale_value == scale_value);
        let cells = || cells.clone().filter(|cell| cell.row.cpus <= most);
        let (first, last) = (cells().min_by_key(|cell| cell.row.cpus), cells().max_by_key(|cell| cell.row.cpus));
        // The time of a CPU for its own operation: ideally the same.
        first.zip(last).is_some_and(|(first, last)| last.ticks.median < first.ticks.median * 0.87)
    })
}

/// The line of a throughput that grows as the CPUs do, from the first of the reference.
fn ideal(workload: &Workload<'_>, figure: &Figure, scale_value: Option<u64>, cpus: &[u64]) -> Option<Series> {
    let name = reference(workload.contenders().into_iter())?;
    let cells = workload.cells.iter().filter(|cell| cell.row.contender == name && cell.row.scale_value == scale_value);
    let first = cells.min_by_key(|cell| cell.row.cpus)?;
    let (from, to) = (first.row.cpus as f64, *cpus.last()? as f64);
    let value = figure.value(first).median;
    Some(Series::guide("ideal", vec![Point::at(from, value), Point::at(to, value * to / from)]))
}

fn over_scale(meta: &Meta<'_>, workload: &Workload<'_>, cpus: u64, colours: &mut Colours) -> Plot {
    let figure = Figure::of(meta, workload);
    let (scale, scales) = (workload.scale.unwrap_or_default(), workload.scale_values());
    let place = |value: u64| match scale {
        // 99 and 99.9 % lie apart by what is still free.
        "fill_per_mille" => 1000_u64.saturating_sub(value) as f64 / 1000.0,
        _ => value as f64,
    };
    let series = series(workload, colours, |cell| {
        (cell.row.cpus == cpus)
            .then(|| cell.row.scale_value.map(|value| point(place(value), figure.value(cell))))
            .flatten()
    });
    let here = workload.cells.iter().filter(|cell| cell.row.cpus == cpus);
    let y = axis(&figure, is_wide(here.map(|cell| figure.value(cell).median)));
    let ticks: Vec<f64> = scales.iter().map(|&value| place(value)).collect();
    let x = match scale {
        "fill_per_mille" => Axis::log("memory still free (logarithmic)", Unit::Percent).ticked(&ticks),
        "bytes" => Axis::log("size, bytes (logarithmic)", Unit::Bytes),
        _ if is_wide(ticks.iter().copied()) => Axis::log(format!("{scale} (logarithmic)"), Unit::Whole).ticked(&ticks),
        _ => Axis::linear(scale, Unit::Whole).ticked(&ticks),
    };
    let title = sentences::over_scale(workload, &figure, cpus);
    let chart = Chart::Lines(LineChart { x, y, series, ..LineChart::default() });
    let subtitle = format!(
        "{} on {}; medians, whiskers over the middle half of {}",
        workload.name,
        nr_cpus(cpus),
        machine::repetitions(meta)
    );
    let columns: Vec<_> = scales.iter().map(|&value| (scaled(scale, value), cpus, Some(value))).collect();
    let name = format!("{} {scale} {}", workload.name, nr_cpus(cpus));
    let mut plot = plot(meta, &name, title, subtitle, chart, values(workload, &figure, &columns));
    plot.remarks.extend(machine::oversubscription(meta, &[cpus]));
    plot
}

/// One number of CPUs, nothing else varies: the contenders beside one another.
fn beside(meta: &Meta<'_>, workload: &Workload<'_>, colours: &mut Colours) -> Plot {
    let figure = Figure::of(meta, workload);
    let mut cells: Vec<&Cell<'_>> = workload.cells.iter().collect();
    cells.sort_by(|a, b| a.ticks.median.total_cmp(&b.ticks.median));
    let kinds =
        cells.iter().map(|cell| Kind::numbered(cell.row.contender.as_ref(), colours.number(&cell.row.contender)));
    let kinds = kinds.collect();
    let rows = cells.iter().enumerate().map(|(i, cell)| {
        let value = figure.value(cell);
        let dot = Dot { kind: i, value: value.median, spread: (value.low, value.high) };
        Row { name: cell.row.contender.to_string(), is_ours: is_ours(&cell.row.contender), dots: vec![dot] }
    });
    let rows = rows.collect();
    let x = axis(&figure, is_wide(cells.iter().map(|cell| figure.value(cell).median)));
    let first = cells.first().map(|cell| (cell.row.cpus, cell.row.scale_value));
    let (cpus, scale_value) = first.unwrap_or((1, None));
    let title = sentences::at(workload, &figure, cpus, scale_value);
    let chart = Chart::Dots(DotChart { x, kinds, rows, is_keyless: true, ..DotChart::default() });
    let subtitle = format!(
        "{} on {}; medians, bars over the middle half of {}",
        workload.name,
        nr_cpus(cpus),
        machine::repetitions(meta)
    );
    let columns = [(nr_cpus(cpus), cpus, scale_value)];
    plot(meta, workload.name, title, subtitle, chart, values(workload, &figure, &columns))
}

/// Medians with the middle half: contenders down, columns across.
fn values(workload: &Workload<'_>, figure: &Figure, columns: &[(String, u64, Option<u64>)]) -> Table {
    let head = std::iter::once("contender".to_owned()).chain(columns.iter().map(|column| column.0.clone())).collect();
    let mut table = Table { head, nr_names: 1, ..Table::default() };
    for name in workload.contenders() {
        let cells: Vec<_> = columns.iter().map(|&(_, cpus, scale)| workload.cell(name, cpus, scale)).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        if is_ours(name) {
            table.strong.push(table.rows.len());
        }
        let shown = cells.iter().map(|cell| cell.map_or("-".into(), |cell| show(figure, figure.value(cell))));
        table.push(std::iter::once(name.to_owned()).chain(shown).collect());
    }
    table
}

/// A median, and how far the middle half of the repetitions is from it: half its width.
fn show(figure: &Figure, value: Quartiles) -> String {
    let spread = value.relative_spread() * 50.0;
    let spread = if spread < 10.0 { format!("{spread:.1}") } else { format!("{spread:.0}") };
    format!("{} ±{spread} %", figure.unit().show(value.median))
}

/// A count that a row may have, and its name.
type Count = (&'static str, fn(&Throughput<'_>) -> Option<u64>);

/// Counts of a row, each divided by its operations.
pub const COUNTS: [Count; 6] = [
    ("locks", |row| row.nr_locks),
    ("found held", |row| row.nr_waits),
    ("depot visits", |row| row.nr_depot_visits),
    ("slab visits", |row| row.nr_slab_visits),
    ("IPIs", |row| row.nr_ipis),
    // In thousandths of one for each operation already.
    ("instructions", |row| Some(row.milli_instructions_per_op?.saturating_mul(row.nr_ops) / 1000)),
];

/// Every cell with its counts for each operation.
fn counts(workload: &Workload<'_>) -> Table {
    let is_known = |count: &&Count| workload.cells.iter().any(|cell| count.1(cell.row).is_some());
    let known: Vec<&Count> = COUNTS.iter().filter(is_known).collect();
    let mut head: Vec<String> = vec!["contender".into(), "CPUs".into()];
    head.extend(workload.scale.map(str::to_owned));
    head.extend(["operations".to_owned(), "spread".to_owned()]);
    head.extend(known.iter().map(|count| count.0.to_owned()));
    head.push("bad".into());
    let mut table = Table { head, nr_names: 1, ..Table::default() };
    for cell in &workload.cells {
        let row = cell.row;
        let mut line = vec![row.contender.to_string(), row.cpus.to_string()];
        line.extend(workload.scale.map(|_| row.scale_value.map_or("-".into(), |value| value.to_string())));
        line.push(Unit::Plain.show(row.nr_ops as f64));
        line.push(Unit::Percent.show(cell.ticks.relative_spread()));
        let share = |count: u64| match row.nr_ops {
            0 => "-".into(),
            nr_ops => format!("{:.4}", count as f64 / nr_ops as f64),
        };
        line.extend(known.iter().map(|count| count.1(row).map_or("-".into(), share)));
        line.push(row.nr_bad.to_string());
        table.push(line);
    }
    table
}
