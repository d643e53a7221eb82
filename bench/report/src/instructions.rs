//! Instructions of an operation, where they were counted: exact, on any machine, and so not watermarked.

use plot::{Axis, Dot, DotChart, Head, Kind, Row, Unit};
use records::Throughput;
use records::lines::Recording;

use plot::number::digits;

use crate::figure::{nr_cpus, scaled};
use crate::html::{Chart, Plot, Table, slug};
use crate::people::{Colours, HARNESS, is_ours, is_peer, reference};
use crate::rows::unique;

/// The plot; `None` where nothing was counted.
pub fn plot(recording: &Recording, colours: &mut Colours) -> Option<Plot> {
    let counted: Vec<&Throughput<'_>> =
        recording.rows.iter().filter(|row| row.milli_instructions_per_op.is_some()).collect();
    let contenders = unique(counted.iter().map(|row| row.contender.as_ref()));
    let ours = reference(contenders.iter().copied())?;
    let places = unique(counted.iter().map(|row| place(row)));
    let count = |name: &str, contender: &str| {
        let row = counted.iter().rfind(|row| row.contender == contender && place(row) == name)?;
        Some(row.milli_instructions_per_op? as f64 / 1000.0)
    };

    let kinds = contenders.iter().map(|name| Kind::numbered(*name, colours.number(name))).collect();
    let row = |name: &String| {
        let dots =
            contenders.iter().enumerate().filter_map(|(kind, contender)| Some(Dot::at(kind, count(name, contender)?)));
        Row { name: name.clone(), is_ours: false, dots: dots.collect() }
    };
    let mut table = Table { head: vec!["contender".into()], nr_names: 1, ..Table::default() };
    table.head.extend(places.iter().cloned());
    for contender in &contenders {
        if is_ours(contender) {
            table.strong.push(table.rows.len());
        }
        let cells = places.iter().map(|name| count(name, contender).map_or("-".into(), |count| format!("{count:.1}")));
        table.push(std::iter::once((*contender).to_owned()).chain(cells).collect());
    }

    let best = |name: &str| {
        let peers = contenders.iter().filter(|contender| is_peer(contender)).filter_map(|peer| count(name, peer));
        peers.min_by(f64::total_cmp)
    };
    let contests = places.iter().filter_map(|name| Some((count(name, ours)?, best(name)?)));
    let contests: Vec<(f64, f64)> = contests.filter(|_| is_ours(ours)).collect();
    let nr_fewer = contests.iter().filter(|(own, best)| own < best).count();
    let title = match (contests.len(), places.first().and_then(|name| Some((name, count(name, ours)?)))) {
        (0, Some((name, count))) => format!("{ours} takes {} instructions for an operation of {name}", digits(count)),
        (0, None) => "Instructions of an operation".into(),
        (nr, _) => format!("{ours} takes fewer instructions than any peer in {nr_fewer} of {nr} workloads"),
    };
    let chart = DotChart {
        head: Head::titled(title.clone()),
        x: Axis::log("instructions of one operation (logarithmic) ← lower is better", Unit::Plain),
        kinds,
        rows: places.iter().map(row).collect(),
        ..DotChart::default()
    };
    let mut remarks = vec!["Counts are exact; fewer instructions are not always less time.".to_owned()];
    if contenders.contains(&HARNESS) {
        remarks.push(format!("{HARNESS} is the bare harness, part of every count here and subtracted from none."));
    }
    Some(Plot {
        slug: slug("instructions"),
        title,
        subtitle: "instructions of one operation, harness included".into(),
        remarks,
        chart: Chart::Dots(chart),
        table,
        more: Vec::new(),
    })
}

/// What a row is of, beside its contender.
fn place(row: &Throughput<'_>) -> String {
    let scale = row.scale.as_deref().zip(row.scale_value).map(|(scale, value)| format!(" {}", scaled(scale, value)));
    let cpus = if row.cpus == 1 { String::new() } else { format!(", {}", nr_cpus(row.cpus)) };
    format!("{}{}{cpus}", row.workload, scale.unwrap_or_default())
}
