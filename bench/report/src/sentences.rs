//! What a chart's title says: the finding, in one sentence, win or loss.
//!
//! What is compared is ours with the best of its peers; where there are no peers, one cell with another. Medians whose
//! middle halves overlap are called equal.

use plot::number::digits;

use crate::figure::{Figure, nr_cpus, scaled};
use crate::people::{HARNESS, is_ours, is_peer, reference};
use crate::rows::{Cell, Workload};

/// Of one number of CPUs and one value of the scale.
pub fn at(workload: &Workload<'_>, figure: &Figure, cpus: u64, scale_value: Option<u64>) -> String {
    let place = match (workload.scale, scale_value) {
        (Some(scale), Some(value)) => format!("on {} at {}", nr_cpus(cpus), scaled(scale, value)),
        _ => format!("on {}", nr_cpus(cpus)),
    };
    match contest(workload, cpus, scale_value) {
        Some((ours, best)) => {
            let verdict = versus(workload.unit, figure.is_throughput(), ours, best, &place);
            format!("{}: {verdict}", workload.name)
        }
        None => between_contenders(workload, figure, cpus, scale_value, &place),
    }
}

/// Of all numbers of CPUs up to `most`: how ours grows, and how it stands at `most`.
pub fn over_cpus(workload: &Workload<'_>, figure: &Figure, most: u64) -> String {
    let name = reference(workload.contenders().into_iter()).unwrap_or_default();
    let scale_value = workload.scale_values().last().copied();
    let of =
        |cell: &&Cell<'_>| cell.row.contender == name && cell.row.scale_value == scale_value && cell.row.cpus <= most;
    let first = workload.cells.iter().filter(of).min_by_key(|cell| cell.row.cpus);
    let last = workload.cells.iter().filter(of).max_by_key(|cell| cell.row.cpus);
    let (Some(first), Some(last)) = (first, last) else { return at(workload, figure, most, scale_value) };
    let (from, to) = (first.row.cpus, last.row.cpus);
    if from == to && !figure.is_throughput() {
        return against(workload, first, most);
    }
    if from == to {
        return at(workload, figure, to, scale_value);
    }
    let growth = figure.value(last).median / figure.value(first).median;
    match (figure.is_throughput(), contest(workload, to, scale_value)) {
        (true, Some((ours, best))) => {
            let verdict = versus(workload.unit, true, ours, best, &format!("on {}", nr_cpus(to)));
            format!("{}: {verdict}; {}", workload.name, grown(name, growth, from, to))
        }
        (true, None) => format!("{}: {}", workload.name, grown(name, growth, from, to)),
        (false, _) => {
            let times = if growth >= 1.0 { growth } else { 1.0 / growth };
            let word = if growth >= 1.0 { "times as long" } else { "times as fast" };
            format!(
                "{}: one {} takes {} {word} on {} as on {} ({name})",
                workload.name,
                workload.unit,
                digits(times),
                nr_cpus(to),
                nr_cpus(from)
            )
            .replace("takes 1 times as long", "takes as long")
        }
    }
}

/// Over the scale, at one number of CPUs: what the reference takes at the largest value against the smallest.
pub fn over_scale(workload: &Workload<'_>, figure: &Figure, cpus: u64) -> String {
    let here = workload.cells.iter().filter(|cell| cell.row.cpus == cpus).map(|cell| cell.row.contender.as_ref());
    let name = reference(here).unwrap_or_default();
    let cells = || workload.cells.iter().filter(|cell| cell.row.contender == name && cell.row.cpus == cpus);
    let (least, most) =
        (cells().min_by_key(|cell| cell.row.scale_value), cells().max_by_key(|cell| cell.row.scale_value));
    let contests: Vec<_> =
        workload.scale_values().into_iter().filter_map(|value| contest(workload, cpus, Some(value))).collect();
    if !contests.is_empty() {
        let ratios = || contests.iter().map(|(ours, best)| best.ticks.median / ours.ticks.median);
        let (low, high) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
        let verb = if figure.is_throughput() { format!("the {}s", workload.unit) } else { "the speed".into() };
        return format!(
            "{}: {name} has {} to {} times {verb} of the best peer on {}",
            workload.name,
            digits(low),
            digits(high),
            nr_cpus(cpus)
        );
    }
    let (Some(least), Some(most), Some(scale)) = (least, most, workload.scale) else { return workload.name.to_owned() };
    let (Some(from), Some(to)) = (least.row.scale_value, most.row.scale_value) else { return workload.name.to_owned() };
    let times = digits(most.ticks.median / least.ticks.median);
    format!(
        "{}: one {} takes {times} times as long at {} as at {} ({name}, {})",
        workload.name,
        workload.unit,
        scaled(scale, to),
        scaled(scale, from),
        nr_cpus(cpus)
    )
}

/// Ours, and the best of the peers.
pub fn contest<'w, 'r>(
    workload: &'w Workload<'r>,
    cpus: u64,
    scale_value: Option<u64>,
) -> Option<(&'w Cell<'r>, &'w Cell<'r>)> {
    let here = || workload.cells.iter().filter(|cell| cell.row.cpus == cpus && cell.row.scale_value == scale_value);
    let name = reference(workload.contenders().into_iter()).filter(|name| is_ours(name))?;
    let ours = here().find(|cell| cell.row.contender == name)?;
    let peers = here().filter(|cell| is_peer(&cell.row.contender));
    Some((ours, peers.min_by(|a, b| a.ticks.median.total_cmp(&b.ticks.median))?))
}

fn versus(unit: &str, is_throughput: bool, ours: &Cell<'_>, best: &Cell<'_>, place: &str) -> String {
    let (our_name, best_name) = (&ours.row.contender, &best.row.contender);
    let ratio = best.ticks.median / ours.ticks.median;
    let (winner, loser, times) =
        if ratio >= 1.0 { (our_name, best_name, ratio) } else { (best_name, our_name, 1.0 / ratio) };
    let times = digits(times);
    if ours.ticks.overlaps(&best.ticks) {
        return format!("{our_name} and {best_name}, the best peer, are equal within the spread {place}");
    }
    let loser = if ratio >= 1.0 { format!("{loser}, the best peer,") } else { loser.to_string() };
    match is_throughput {
        true => format!("{winner} does {times} times the {unit}s of {loser} {place}"),
        false => format!("{winner} is {times} times as fast as {loser} {place}"),
    }
}

/// Where the reference was measured with one number of CPUs only: the dearest with the most, against that.
fn against(workload: &Workload<'_>, first: &Cell<'_>, most: u64) -> String {
    let there = |cell: &&Cell<'_>| cell.row.cpus == most && cell.row.scale_value == first.row.scale_value;
    let dearest = workload.cells.iter().filter(there).max_by(|a, b| a.ticks.median.total_cmp(&b.ticks.median));
    let describe = |cell: &Cell<'_>| format!("{} on {}", cell.row.contender, nr_cpus(cell.row.cpus));
    let at = workload.scale.zip(first.row.scale_value);
    let at = at.map_or(String::new(), |(scale, value)| format!(" at {}", scaled(scale, value)));
    let (name, unit) = (workload.name, workload.unit);
    match dearest.filter(|cell| !std::ptr::eq(*cell, first)) {
        Some(cell) => {
            let times = digits(cell.ticks.median / first.ticks.median);
            format!(
                "{name}: one {unit}{at} takes {times} times as long with {} as with {}",
                describe(cell),
                describe(first)
            )
        }
        None => format!("{name}: one {unit}{at}, {}", describe(first)),
    }
}

/// Where there is no peer: the quickest and the slowest contender.
fn between_contenders(
    workload: &Workload<'_>,
    figure: &Figure,
    cpus: u64,
    scale_value: Option<u64>,
    place: &str,
) -> String {
    let here = || {
        let cells = workload.cells.iter().filter(|cell| cell.row.cpus == cpus && cell.row.scale_value == scale_value);
        cells.filter(|cell| cell.row.contender != HARNESS)
    };
    let by = |a: &&Cell<'_>, b: &&Cell<'_>| a.ticks.median.total_cmp(&b.ticks.median);
    let (Some(quick), Some(slow)) = (here().min_by(by), here().max_by(by)) else { return workload.name.to_owned() };
    let (name, unit) = (workload.name, workload.unit);
    if quick.row.contender == slow.row.contender {
        let value = figure.unit().show(figure.value(quick).median);
        return format!("{name}: {} {place}: {value}", quick.row.contender);
    }
    let times = digits(slow.ticks.median / quick.ticks.median);
    format!(
        "{name}: one {unit} takes {times} times as long with {} as with {} {place}",
        slow.row.contender, quick.row.contender
    )
}

/// How a throughput grew, beside what is ideal.
fn grown(name: &str, growth: f64, from: u64, to: u64) -> String {
    let (times, ideal) = (digits(growth), digits(to as f64 / from as f64));
    let from = if from == 1 { "one".into() } else { from.to_string() };
    format!("{name} on {} does {times} times what it does on {from} (ideal: {ideal})", nr_cpus(to))
}
