//! Memory held for each byte in use, against the bytes in use, in the order in which it was looked at.

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
    // With nothing in use there is no ratio; the table has it.
    let rows: Vec<&Waste<'_>> = wastes.iter().filter(|row| row.workload == name).collect();
    let plotted = || rows.iter().filter(|row| row.live_bytes > 0);
    let contenders = unique(rows.iter().map(|row| row.contender.as_ref()));
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
    let title = sentence(name, &rows);
    let chart = LineChart {
        head: Head::titled(title.clone()),
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
    let mut remarks = vec!["Points are joined in the order in which the program came to them: a line that turns back shows what is kept after memory was freed.".to_owned()];
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
