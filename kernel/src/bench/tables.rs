//! What people see: heads, and a line for each record, at most 100 columns wide.
//!
//! Called by: [`super::reporter`] alone.

use kernel::figures::{Bytes, Count, Percent, Ratio};
use kernel::fixed::Fixed;
use kernel::samples::Summary;
use records::{End, Latency, Meta, Throughput, Waste};

use crate::console::println;

/// Tables that differ in their columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Throughput,
    Latency,
    Waste,
}

/// What decides how much a time is worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    /// CPUs that the host can run at a time, where somebody says so.
    pub(super) host_cpus: Option<u64>,
    pub(super) is_emulated: bool,
}

impl Context {
    /// The number of CPUs, marked where the host cannot run so many at a time.
    fn cpus(self, cpus: u64) -> Fixed<8> {
        let mark = if self.host_cpus.is_some_and(|most| cpus > most) { "*" } else { "" };
        Fixed::of(format_args!("{cpus}{mark}"))
    }
}

/// A workload's name, with what was varied behind it.
fn name(workload: &str, scale_value: Option<u64>) -> Fixed<32> {
    // The heading says that these are replays, and there is little room.
    let workload = workload.strip_prefix("replay:").unwrap_or(workload);
    match scale_value {
        Some(value) => Fixed::of(format_args!("{workload} {value}")),
        None => Fixed::of(format_args!("{workload}")),
    }
}

pub(super) fn print_meta(meta: &Meta<'_>) {
    let revision = meta.revision.as_deref().unwrap_or("of unknown revision");
    println!(
        "bench: {} {revision} ({}), by {}",
        meta.program,
        meta.profile,
        meta.loader.as_deref().unwrap_or("an unknown loader")
    );
    println!(
        "bench: on {}, {} CPUs{}, {}, {}",
        meta.platform,
        meta.nr_cpus,
        cores(meta),
        Bytes(meta.memory_bytes),
        meta.apic.as_deref().unwrap_or("no local APIC")
    );
    match meta.host_cpus {
        Some(host_cpus) => {
            println!("bench: the host runs {host_cpus} CPUs at a time; with more (*) its scheduler is measured");
        }
        None if meta.is_emulated => {
            println!("bench: nobody said how many CPUs the host runs at a time (host-cpus=N on the command line)");
        }
        None => {}
    }
    println!(
        "bench: {}\nbench: TSC {} kHz by {}, {}; two readings take {} ticks",
        if meta.cpu.is_empty() { "a CPU without a name" } else { &meta.cpu },
        meta.clock_hz / 1000,
        meta.clock_source,
        if meta.is_clock_invariant { "invariant" } else { "not said to be invariant" },
        meta.timer_ticks
    );
    print_clock_checks(meta);
    println!(
        "bench: seed {}, {} repetitions after {} to warm up; again: {}",
        meta.seed, meta.nr_reps, meta.nr_warm_ups, meta.command
    );
    if meta.is_emulated {
        println!("bench: emulated: times are relative only, within this run; counts are exact");
    }
}

/// What there is to tell beside the clock's own rate: whether it can be believed, and what the CPU made of it.
fn print_clock_checks(meta: &Meta<'_>) {
    let second = match (meta.clock_check_hz, meta.clock_check_source.as_deref()) {
        (Some(hz), Some(source)) => Fixed::<48>::of(format_args!("{} kHz by {source}", hz / 1000)),
        _ => Fixed::of(format_args!("no second clock")),
    };
    let warp = match meta.max_warp_ticks {
        Some(ticks) => Fixed::<48>::of(format_args!("CPUs' clocks {ticks} ticks apart at most")),
        None => Fixed::of(format_args!("CPUs' clocks not compared")),
    };
    let rate = match meta.actual_rate_per_mille {
        Some(rate) => Fixed::<48>::of(format_args!("rate {:.1} of nominal", Percent(rate, 1000))),
        None => Fixed::of(format_args!("actual rate unknown")),
    };
    println!("bench: {}, {}, {}", second.as_str(), warp.as_str(), rate.as_str());
}

/// Cores, and threads of one, where the machine tells.
fn cores(meta: &Meta<'_>) -> Fixed<48> {
    match (meta.nr_cores, meta.threads_per_core) {
        (Some(cores), Some(1)) => Fixed::of(format_args!(" ({cores} cores, no SMT)")),
        (Some(cores), Some(threads)) => Fixed::of(format_args!(" ({cores} cores, {threads} threads each)")),
        (Some(cores), None) => Fixed::of(format_args!(" ({cores} cores)")),
        (None, _) => Fixed::of(format_args!("")),
    }
}

pub(super) fn print_heads(kind: Kind, context: Context) {
    let ticks = if context.is_emulated { "TCG ticks" } else { "ticks/op" };
    match kind {
        Kind::Throughput => println!(
            "{:<14} {:>4} {:<12} {ticks:>10} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8} {:>6}",
            "workload", "cpus", "contender", "spread", "x first", "locks", "waits", "depot/k", "hits", "IPIs"
        ),
        Kind::Latency => println!(
            "{:<14} {:>4} {:<12} {:<8} {:>8} {:>8} {:>9} {:>10} {:>11} {:>6}",
            "workload", "cpus", "contender", "of", "samples", "p50", "p99", "p99.9", "max", "clock"
        ),
        Kind::Waste => {
            println!("{:<14} {:<12} {:>12} {:>12} {:>10}", "workload", "contender", "live", "held", "held/live");
        }
    }
}

pub(super) fn print_row(row: &Throughput<'_>, summary: Option<Summary>, to_first_milli: Option<u64>, context: Context) {
    let none = Summary { median: 0, first_quartile: 0, third_quartile: 0 };
    let is_known = u64::from(summary.is_some()) * 1000;
    let summary = summary.unwrap_or(none);
    // What is not known divides by 0, and prints as a dash.
    let per_op = |count: Option<u64>, factor| match count {
        Some(count) => Ratio(count.saturating_mul(factor), row.nr_ops),
        None => Ratio(0, 0),
    };
    let nr_heap_ops = row.nr_heap_ops.unwrap_or(0);
    let nr_misses = row.nr_depot_visits.unwrap_or(0) + row.nr_slab_visits.unwrap_or(0);
    println!(
        "{:<14} {:>4} {:<12} {:>10.1} {:>7.0} {:>7} {:>7.3} {:>7.3} {:>7.2} {:>8.2} {:>6.3}",
        name(&row.workload, row.scale_value),
        context.cpus(row.cpus),
        row.contender,
        Ratio(summary.median, is_known),
        Percent(summary.spread(), summary.median),
        Ratio(to_first_milli.unwrap_or(0), if to_first_milli.is_some() { 1000 } else { 0 }),
        per_op(row.nr_locks, 1),
        per_op(row.nr_waits, 1),
        per_op(row.nr_depot_visits, 1000),
        Percent(nr_heap_ops.saturating_sub(nr_misses), nr_heap_ops),
        per_op(row.nr_ipis, 1),
    );
    if row.nr_bad > 0 {
        println!("bench: BAD: {} of these were damaged or misaligned", Count(row.nr_bad));
    }
}

pub(super) fn print_latency(latency: &Latency<'_>, context: Context) {
    // Of fewer samples than that one beyond the percentile is expected not even once: it were the longest, by another name.
    let tail = |ticks, least| -> Fixed<24> {
        if latency.nr_samples < least { Fixed::of(format_args!("-")) } else { Fixed::of(format_args!("{ticks}")) }
    };
    println!(
        "{:<14} {:>4} {:<12} {:<8} {:>8} {:>8} {:>9} {:>10} {:>11} {:>6}",
        name(&latency.workload, latency.scale_value),
        context.cpus(latency.cpus),
        latency.contender,
        latency.operation,
        latency.nr_samples,
        latency.p50_ticks,
        tail(latency.p99_ticks, 100),
        tail(latency.p999_ticks, 1000),
        latency.max_ticks,
        latency.timer_ticks,
    );
}

pub(super) fn print_waste(waste: &Waste<'_>) {
    println!(
        "{:<14} {:<12} {:>12} {:>12} {:>10.3}",
        waste.workload,
        waste.contender,
        Bytes(waste.live_bytes),
        Bytes(waste.held_bytes),
        Ratio(waste.held_bytes, waste.live_bytes),
    );
}

pub(super) fn print_end(end: &End<'_>) {
    let verdict = if end.is_pass { "PASS" } else { "FAIL" };
    let stopped = if end.is_stopped { " stopped" } else { "" };
    let (colon, why) = end.why.as_deref().map_or(("", ""), |why| (": ", why));
    println!("bench: {verdict} rows={} bad={}{stopped}{colon}{why}", end.nr_rows, end.nr_bad);
}
