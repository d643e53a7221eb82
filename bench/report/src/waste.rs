//! Memory held: for each byte in use, against the bytes in use; or where the program goes to and fro, look by look beside
//! what is in use.

use plot::number::digits;
use plot::{Axis, Head, LineChart, Point, Series, Unit};
use records::{Meta, Waste};

use crate::html::{Chart, Plot, Table, slug};
use crate::people::{Colours, is_ours, is_peer, reference};
use crate::rows::unique;

/// Ratios that far apart are shown on a logarithmic axis.
const WIDE_RANGE: f64 = 8.0;

/// A plot for each workload.
pub fn plots(meta: &Meta<'_>, wastes: &[Waste<'static>], colours: &mut Colours) -> Vec<Plot> {
    let names = unique(wastes.iter().map(|row| row.workload.as_ref()));
    names.into_iter().map(|name| plot(meta, name, wastes, colours)).collect()
}

fn ratio(row: &Waste<'_>) -> f64 {
    row.held_bytes as f64 / row.live_bytes as f64
}

fn plot(meta: &Meta<'_>, name: &str, wastes: &[Waste<'static>], colours: &mut Colours) -> Plot {
    let rows: Vec<&Waste<'static>> = wastes.iter().filter(|row| row.workload == name).collect();
    let contenders = unique(rows.iter().map(|row| row.contender.as_ref()));
    let is_to_and_fro = contenders.iter().any(|&contender| nr_turns(&rows, contender) > 1);
    let title = if is_to_and_fro { sentence_of_peaks(name, &rows) } else { sentence(name, &rows) };
    let chart = match is_to_and_fro {
        true => over_looks(&title, &rows, &contenders, colours),
        false => over_live(&title, &rows, &contenders, colours),
    };
    let mut table = Table {
        head: ["contender", "in use", "held", "held for each in use"].map(str::to_owned).into(),
        nr_names: 1,
        ..Table::default()
    };
    for row in &rows {
        if is_ours(&row.contender) {
            table.strong.push(table.rows.len());
        }
        let ratio = if row.live_bytes > 0 { digits(ratio(row)) } else { "-".into() };
        let bytes = |bytes: u64| Unit::Bytes.show(bytes as f64);
        table.push(vec![row.contender.to_string(), bytes(row.live_bytes), bytes(row.held_bytes), ratio]);
    }
    let mut remarks = Vec::new();
    if !is_to_and_fro {
        remarks.push("Points are joined in the order in which the program came to them.".to_owned());
    }
    if meta.source == "native" {
        remarks.push("What mm holds are its frames that are not free; what a peer holds is what has become resident since its start.".into());
    }
    Plot {
        slug: slug(&format!("waste {name}")),
        title,
        subtitle: format!("memory held over memory in use, {name}"),
        remarks,
        chart: Chart::Lines(chart),
        table,
        more: Vec::new(),
    }
}

/// How often what is in use changes from growing to shrinking or back.
fn nr_turns(rows: &[&Waste<'static>], contender: &str) -> usize {
    let live: Vec<u64> = rows.iter().filter(|row| row.contender == contender).map(|row| row.live_bytes).collect();
    let steps: Vec<_> = live.windows(2).map(|pair| pair[1].cmp(&pair[0])).filter(|step| step.is_ne()).collect();
    steps.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// Against what is in use.
fn over_live(title: &str, rows: &[&Waste<'static>], contenders: &[&str], colours: &mut Colours) -> LineChart {
    // With nothing in use there is no ratio; the table has it.
    let plotted = || rows.iter().filter(|row| row.live_bytes > 0);
    let series = contenders.iter().map(|&contender| {
        let points = plotted().filter(|row| row.contender == contender);
        let points = points.map(|row| Point::at(row.live_bytes as f64, ratio(row))).collect();
        Series { is_ours: is_ours(contender), ..Series::numbered(contender, points, colours.number(contender)) }
    });
    let mut series: Vec<Series> = series.collect();
    let bounds = |of: fn(&Waste<'_>) -> f64| {
        plotted()
            .map(|row| of(row))
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((least, most), (low, high)) = (bounds(|row| row.live_bytes as f64), bounds(ratio));
    if least <= most {
        series.push(Series::guide("no waste", vec![Point::at(least, 1.0), Point::at(most.max(least * 1.001), 1.0)]));
    }
    let logarithmic = |is_log: bool| if is_log { " (logarithmic)" } else { "" };
    let (is_log_x, is_log_y) = (most > least * WIDE_RANGE, high > low.min(1.0) * WIDE_RANGE);
    LineChart {
        head: Head::titled(title),
        x: Axis { is_log: is_log_x, ..Axis::linear(format!("bytes in use{}", logarithmic(is_log_x)), Unit::Bytes) },
        y: Axis {
            is_log: is_log_y,
            ..Axis::linear(
                format!("bytes held for each byte in use{} ↓ lower is better", logarithmic(is_log_y)),
                Unit::Plain,
            )
        }
        .including(&[1.0]),
        series,
        ..LineChart::default()
    }
}

/// Look by look.
fn over_looks(title: &str, rows: &[&Waste<'static>], contenders: &[&str], colours: &mut Colours) -> LineChart {
    let points = |contender: &str, bytes: fn(&Waste<'_>) -> u64| -> Vec<Point> {
        let own = rows.iter().filter(|row| row.contender == contender).enumerate();
        own.map(|(number, row)| Point::at((number + 1) as f64, bytes(row) as f64)).collect()
    };
    let mut series: Vec<Series> = contenders
        .iter()
        .map(|&name| {
            let held = points(name, |row| row.held_bytes);
            Series { is_ours: is_ours(name), ..Series::numbered(name, held, colours.number(name)) }
        })
        .collect();
    let live = reference(contenders.iter().copied()).map(|name| points(name, |row| row.live_bytes));
    series.push(Series::guide("in use", live.unwrap_or_default()));
    LineChart {
        head: Head::titled(title),
        x: Axis::linear("looks, in order", Unit::Whole),
        y: Axis::linear("bytes held, and in use (dashed) ↓ lower is better", Unit::Bytes),
        series,
        ..LineChart::default()
    }
}

/// What is held at most, over what is in use at most.
fn sentence_of_peaks(name: &str, rows: &[&Waste<'static>]) -> String {
    let contenders = unique(rows.iter().map(|row| row.contender.as_ref()));
    let peak = |contender: &str| {
        let own = || rows.iter().filter(|row| row.contender == contender);
        let (live, held) = (own().map(|row| row.live_bytes).max()?, own().map(|row| row.held_bytes).max()?);
        Some((held as f64 / live.max(1) as f64, held))
    };
    let first = reference(contenders.iter().copied());
    let Some((first, (ratio, held))) = first.and_then(|name| Some((name, peak(name)?))) else { return name.to_owned() };
    let peers = contenders.iter().filter(|name| is_ours(first) && is_peer(name));
    let best = peers.filter_map(|name| Some((*name, peak(name)?.0))).min_by(|a, b| a.1.total_cmp(&b.1));
    let own = format!(
        "{name}: {first} holds {} at most, {} times the most in use",
        Unit::Bytes.show(held as f64),
        digits(ratio)
    );
    best.map_or(own.clone(), |(name, best)| format!("{own}; the best peer, {name}, {} times", digits(best)))
}

/// What is held where most is in use.
fn sentence(name: &str, rows: &[&Waste<'static>]) -> String {
    let most_of = |contender: &str| {
        let own = rows.iter().filter(|row| row.contender == contender && row.live_bytes > 0);
        own.max_by_key(|row| row.live_bytes).copied()
    };
    let contenders = unique(rows.iter().map(|row| row.contender.as_ref()));
    let Some(first) = reference(contenders.iter().copied()).and_then(most_of) else { return name.to_owned() };
    let peers =
        contenders.iter().copied().filter(|name| is_ours(&first.contender) && is_peer(name)).filter_map(most_of);
    let best = peers.min_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let own = format!(
        "{name}: with {} in use {} holds {} bytes for each",
        Unit::Bytes.show(first.live_bytes as f64),
        first.contender,
        digits(ratio(first))
    );
    match best {
        Some(best) if best.live_bytes == first.live_bytes => {
            format!("{own}, {}, the best peer, {}", best.contender, digits(ratio(best)))
        }
        Some(best) => format!(
            "{own}, {}, the best peer, {} with {}",
            best.contender,
            digits(ratio(best)),
            Unit::Bytes.show(best.live_bytes as f64)
        ),
        None => own,
    }
}
