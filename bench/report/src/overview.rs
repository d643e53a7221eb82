//! All workloads of a run on one plot: each contender's time over ours.

use plot::number::digits;
use plot::{Axis, Dot, DotChart, Head, Kind, Row, Unit};
use records::Meta;

use crate::figure::nr_cpus;
use crate::html::{Chart, Plot, Table, slug};
use crate::machine;
use crate::people::{Colours, HARNESS, is_peer, reference};
use crate::rows::{Workload, unique};
use crate::sentences::contest;

/// The plot for one number of CPUs; `None` where fewer than two workloads have somebody to be compared with.
pub fn plot(meta: &Meta<'_>, workloads: &[Workload<'_>], cpus: u64, colours: &mut Colours) -> Option<Plot> {
    let names = unique(workloads.iter().flat_map(Workload::contenders));
    let ours = reference(names.iter().copied()).filter(|name| crate::people::is_ours(name))?;
    // Each value of a scale is a workload of its own here.
    let mut lines = Vec::new();
    for workload in workloads {
        let scales = workload.scale_values().into_iter().map(Some);
        for scale_value in scales.chain(workload.scale.is_none().then_some(None)) {
            let Some(own) = workload.cell(ours, cpus, scale_value) else { continue };
            let of = |&name: &&str| Some(workload.cell(name, cpus, scale_value)?.ticks.median / own.ticks.median);
            let ratios: Vec<Option<f64>> = names.iter().map(of).collect();
            if ratios.iter().flatten().count() < 2 {
                continue;
            }
            let name = match scale_value.zip(workload.scale) {
                Some((value, scale)) => format!("{} {}", workload.name, crate::figure::scaled(scale, value)),
                None => workload.name.to_owned(),
            };
            lines.push((name, ratios, contest(workload, cpus, scale_value)));
        }
    }
    if lines.len() < 2 {
        return None;
    }

    // Who does not play here has no column.
    let is_here = |i: usize| lines.iter().any(|(_, ratios, _)| ratios[i].is_some());
    let here: Vec<usize> = (0..names.len()).filter(|&i| is_here(i)).collect();

    let (mut lost, mut unclear) = (Vec::new(), Vec::new());
    let mut nr_contests = 0;
    for (name, _, contest) in &lines {
        let Some((own, best)) = contest else { continue };
        nr_contests += 1;
        if best.ticks.median < own.ticks.median {
            let said = format!("{name} to {} ({}×)", best.row.contender, digits(own.ticks.median / best.ticks.median));
            if best.ticks.overlaps(&own.ticks) { unclear.push(said) } else { lost.push(said) }
        }
    }
    let on = nr_cpus(cpus);
    let title = match (nr_contests, lost.len()) {
        (0, _) => format!("All contenders beside {ours} on {on}"),
        (nr, 0) => format!("On {on} no peer is ahead of {ours} beyond the noise in any of {nr} workloads"),
        (nr, nr_lost) => format!("On {on} {ours} is behind its best peer in {nr_lost} of {nr} workloads"),
    };
    let kinds = names.iter().map(|name| Kind::numbered(*name, colours.number(name))).collect();
    let row = |(name, ratios, _): &(String, Vec<Option<f64>>, _)| Row {
        name: name.clone(),
        is_ours: false,
        dots: ratios.iter().enumerate().filter_map(|(kind, ratio)| Some(Dot::at(kind, (*ratio)?))).collect(),
    };
    let mut table = Table { head: vec!["workload".into()], nr_names: 1, ..Table::default() };
    table.head.extend(here.iter().map(|&i| names[i].to_owned()));
    for (name, ratios, _) in &lines {
        let cells = here.iter().map(|&i| ratios[i].map_or("-".into(), digits));
        table.push(std::iter::once(name.clone()).chain(cells).collect());
    }
    let head = Head { watermark: machine::watermark(meta).into(), ..Head::titled(title.clone()) };
    let label =
        format!("time of an operation, relative to {ours} in the same workload (logarithmic) ← faster · slower →");
    let chart = DotChart {
        head,
        x: Axis::log(label, Unit::Times),
        kinds,
        rows: lines.iter().map(row).collect(),
        guide: Some((1.0, format!("as fast as {ours}"))),
        ..DotChart::default()
    };
    let mut remarks = Vec::new();
    if !lost.is_empty() {
        remarks.push(format!("Behind: {}.", lost.join(", ")));
    }
    if !unclear.is_empty() {
        remarks.push(format!("Behind by the median, with middle halves that overlap: {}.", unclear.join(", ")));
    }
    if names.contains(&HARNESS) {
        remarks.push(format!("{HARNESS} is the bare harness, part of every time here and subtracted from none."));
    }
    if names.iter().any(|name| is_peer(name)) && meta.source == "kernel" {
        remarks.push("Each peer stands behind one lock, as kernels use it.".into());
    }
    remarks.extend(machine::oversubscription(meta, &[cpus]));
    Some(Plot {
        slug: slug(&format!("overview {on}")),
        title,
        subtitle: format!("medians of {}, on {on}", machine::repetitions(meta)),
        remarks,
        chart: Chart::Dots(chart),
        table,
        more: Vec::new(),
    })
}
