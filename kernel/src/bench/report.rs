//! What is printed: rows as they come, for people, or one JSON object a line.

use kernel::figures::{Percent, Ratio};

use super::Outcome;
use super::contenders::{CONTENDERS, HEAP_INDEX};
use super::frames::FrameRow;
use super::measure::{Cell, Group, Plan};
use crate::baseline::Difference;
use crate::console::println;
use crate::{boot, input, time, workers};

/// Whom it is printed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A table.
    Table,
    /// JSON lines.
    Json,
}

/// The accelerator or hypervisor, and whether times mean anything beyond one run.
fn platform() -> (&'static str, bool) {
    let hypervisor = boot::features().and_then(|features| features.hypervisor.as_ref());
    let name = hypervisor.map_or("bare metal", |name| name.as_str().trim());
    (name, name.contains("TCG"))
}

fn cpu_model() -> &'static str {
    boot::features().map_or("", |features| features.brand.as_str().trim())
}

impl Form {
    /// What is measured, where, and how; and the heads of the columns.
    pub(super) fn head(self, plan: Plan) {
        let (platform, is_emulated) = platform();
        let hz = time::frequency().map_or(0, |frequency| frequency.hz);
        let Plan { nr_pairs, nr_reps, seed } = plan;
        match self {
            Self::Table => {
                println!("bench: on {platform}, {} CPUs, TSC {} kHz; seed {seed}", workers::nr_available(), hz / 1000);
                println!(
                    "bench: {nr_reps} rounds of {nr_pairs} pairs on each CPU, contenders in turns; medians, and the \
                     spread of the middle half"
                );
                if is_emulated {
                    println!("bench: emulated: times are relative only, within this run; counts are exact");
                }
                println!(
                    "{:<9} {:>4} {:<13} {:>7} {:>7} {:>8} {:>10} {:>8} {:>8} {:>8} {:>8}",
                    "workload",
                    "cpus",
                    "contender",
                    "x heap",
                    "x best",
                    "spread",
                    if is_emulated { "TCG ticks" } else { "ticks" },
                    "locks",
                    "waits",
                    "depot/k",
                    "hits"
                );
            }
            Self::Json => println!(
                "{{\"v\":1,\"kind\":\"bench-meta\",\"version\":\"{}\",\"platform\":\"{platform}\",\
                 \"relative_only\":{is_emulated},\"cpu\":\"{}\",\"cpus_online\":{},\"tsc_hz\":{hz},\"seed\":{seed},\
                 \"pairs_per_cpu\":{nr_pairs},\"reps\":{nr_reps}}}",
                env!("CARGO_PKG_VERSION"),
                cpu_model(),
                workers::nr_available(),
            ),
        }
    }

    /// How it ended.
    pub(super) fn end(self, outcome: &Outcome, is_pass: bool) {
        let Outcome { nr_rows, nr_bad, is_out_of_memory } = *outcome;
        let is_stopped = input::is_cancelled();
        match self {
            Self::Table => {
                let verdict = if is_pass { "PASS" } else { "FAIL" };
                let stopped = if is_stopped { " stopped" } else { "" };
                let memory = if is_out_of_memory { ": no memory for the contenders" } else { "" };
                println!("bench: {verdict} rows={nr_rows} bad={nr_bad}{stopped}{memory}");
            }
            Self::Json => println!(
                "{{\"v\":1,\"kind\":\"bench-end\",\"pass\":{is_pass},\"rows\":{nr_rows},\"bad\":{nr_bad},\
                 \"stopped\":{is_stopped},\"out_of_memory\":{is_out_of_memory}}}"
            ),
        }
    }

    /// What is not as it was.
    pub(super) fn complain(self, difference: &Difference) {
        match self {
            Self::Table => println!("bench: {difference}"),
            Self::Json => println!("{{\"v\":1,\"kind\":\"bench-difference\",\"what\":\"{difference}\"}}"),
        }
    }

    /// The rows of a group, and who is how much ahead.
    pub(super) fn group(self, group: &Group) {
        for (contender, cell) in CONTENDERS.iter().zip(&group.cells) {
            match self {
                Self::Table => table_row(group, contender.name, cell),
                Self::Json => json_row(group, contender.name, cell),
            }
        }
        let (name, nr_cpus, best) = (group.workload.name, group.nr_cpus, CONTENDERS[group.best].name);
        let advantage = Ratio(group.advantage_milli(), 1000);
        match self {
            Self::Table => {
                println!(
                    "bench: {name} on {nr_cpus}: the heap is {advantage} times as fast as the best locked, {best}"
                );
            }
            Self::Json => println!(
                "{{\"v\":1,\"kind\":\"bench-best\",\"name\":\"{name}\",\"cpus\":{nr_cpus},\"best\":\"{best}\",\
                 \"advantage\":{advantage}}}"
            ),
        }
    }

    /// The rows of the frames.
    pub(super) fn frames(self, rows: &[FrameRow]) {
        let Some(emptiest) = rows.first() else { return };
        for row in rows {
            let fill = Percent(row.nr_used, row.nr_managed);
            let to_emptiest = Ratio(row.ticks_milli.median, emptiest.ticks_milli.median);
            let spread = Percent(row.ticks_milli.spread(), row.ticks_milli.median);
            let ticks = Ratio(row.ticks_milli.median, 1000);
            match self {
                Self::Table => println!(
                    "frame        1 filled {fill:<7} x emptiest {to_emptiest:>6}, spread {spread:>7}, ticks {ticks:>8}, \
                     locks {:.3}",
                    Ratio(row.nr_locks, row.nr_pairs)
                ),
                Self::Json => println!(
                    "{{\"v\":1,\"kind\":\"bench-frame\",\"used\":{},\"managed\":{},\"to_emptiest\":{to_emptiest},\
                     \"ticks_per_pair\":{ticks},\"q1\":{},\"q3\":{},\"pairs\":{},\"locks\":{}}}",
                    row.nr_used,
                    row.nr_managed,
                    Ratio(row.ticks_milli.first_quartile, 1000),
                    Ratio(row.ticks_milli.third_quartile, 1000),
                    row.nr_pairs,
                    row.nr_locks
                ),
            }
        }
    }
}

fn table_row(group: &Group, name: &str, cell: &Cell) {
    let counts = &cell.counts;
    let (nr_hits, nr_ops) = counts.hits();
    let is_heap = core::ptr::eq(cell, &group.cells[HEAP_INDEX]);
    println!(
        "{:<9} {:>4} {name:<13} {:>7} {:>7} {:>8} {:>10.1} {:>8.3} {:>8.3} {:>8.2} {:>8.3}",
        group.workload.name,
        group.nr_cpus,
        Ratio(cell.to_heap_milli, 1000),
        Ratio(cell.to_best_milli, 1000),
        Percent(cell.ticks_milli.spread(), cell.ticks_milli.median),
        Ratio(cell.ticks_milli.median, 1000),
        Ratio(counts.nr_locks, cell.nr_pairs),
        Ratio(counts.nr_waits, cell.nr_pairs),
        Ratio(counts.nr_depot_visits * 1000, cell.nr_pairs),
        Percent(nr_hits, if is_heap { nr_ops } else { 0 }),
    );
}

fn json_row(group: &Group, name: &str, cell: &Cell) {
    let counts = &cell.counts;
    println!(
        "{{\"v\":1,\"kind\":\"bench\",\"name\":\"{}\",\"alloc\":\"{name}\",\"cpus\":{},\"pairs\":{},\
         \"ticks_per_pair\":{:.3},\"q1\":{:.3},\"q3\":{:.3},\"to_heap\":{:.3},\"to_best\":{:.3},\"locks\":{},\
         \"waits\":{},\"heap_ops\":{},\"depot_visits\":{},\"slab_visits\":{},\"bad\":{}}}",
        group.workload.name,
        group.nr_cpus,
        cell.nr_pairs,
        Ratio(cell.ticks_milli.median, 1000),
        Ratio(cell.ticks_milli.first_quartile, 1000),
        Ratio(cell.ticks_milli.third_quartile, 1000),
        Ratio(cell.to_heap_milli, 1000),
        Ratio(cell.to_best_milli, 1000),
        counts.nr_locks,
        counts.nr_waits,
        counts.nr_heap_ops,
        counts.nr_depot_visits,
        counts.nr_slab_visits,
        cell.nr_bad
    );
}
