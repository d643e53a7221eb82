//! What ran and where, and what keeps its numbers from meaning more: caveats, bands, the watermark.

use plot::Unit;
use records::lines::Recording;
use records::{Meta, Throughput};

use crate::figure::nr_cpus;
use crate::html::Table;
use crate::rows;
use crate::stats::sum;

/// Written behind the data of a run whose times mean little.
pub fn watermark(meta: &Meta<'_>) -> &'static str {
    match (meta.is_emulated, meta.profile == "debug") {
        (true, _) => "emulated: relative only",
        (false, true) => "debug build",
        (false, false) => "",
    }
}

/// CPUs that can run at the same time, where the recording tells.
fn most_at_a_time(meta: &Meta<'_>) -> Option<u64> {
    meta.host_cpus.filter(|&cpus| cpus > 0)
}

/// The largest number of CPUs that did not have to share the host's; the least if all had.
pub fn most_cpus(meta: &Meta<'_>, cpus: &[u64]) -> u64 {
    let limit = most_at_a_time(meta).unwrap_or(u64::MAX);
    let within = cpus.iter().copied().filter(|&cpus| cpus <= limit).max();
    within.or(cpus.first().copied()).unwrap_or(1)
}

/// Regions that are set apart, each with where it begins and its name. `is_log` is that of the axis.
pub fn bands(meta: &Meta<'_>, cpus: &[u64], is_log: bool) -> Vec<(f64, String)> {
    let start = |limit: u64| {
        let below = cpus.iter().copied().filter(|&cpus| cpus <= limit).max();
        let above = cpus.iter().copied().find(|&cpus| cpus > limit)? as f64;
        let below = below.map_or(above * 0.9, |below| below as f64);
        Some(if is_log { (below * above).sqrt() } else { (below + above) / 2.0 })
    };
    let mut bands = Vec::new();
    if let Some((limit, from)) = most_at_a_time(meta).and_then(|limit| Some((limit, start(limit)?))) {
        bands.push((from, format!("oversubscribed: the host has {}", nr_cpus(limit))));
    } else if let (Some(cores), Some(2..)) = (meta.nr_cores, meta.threads_per_core)
        && let Some(from) = start(cores)
    {
        bands.push((from, format!("CPUs share {cores} cores")));
    }
    bands
}

/// Said beside a plot that goes beyond what the host can run at a time.
pub fn oversubscription(meta: &Meta<'_>, cpus: &[u64]) -> Option<String> {
    let limit = most_at_a_time(meta)?;
    cpus.iter().any(|&cpus| cpus > limit).then(|| {
        format!(
            "Past {} the run measures how the host's scheduler takes turns, not how the CPUs share memory.",
            nr_cpus(limit)
        )
    })
}

/// What a median is the middle of.
pub fn repetitions(meta: &Meta<'_>) -> String {
    match (meta.nr_reps, meta.is_summary) {
        (0, _) => "the repetitions".into(),
        (1, _) => "one repetition".into(),
        (nr, false) => format!("up to {nr} repetitions"),
        (nr, true) => format!("up to {nr} repetitions (only the quartiles were kept)"),
    }
}

/// What is loud: a run that failed, was cut off, or is not what was shipped.
pub fn alarms(recording: &Recording) -> Vec<String> {
    let (meta, mut alarms) = (&recording.meta, Vec::new());
    match &recording.end {
        None => alarms
            .push("This recording is cut off: it has no end, and what came after its last row is not here.".into()),
        Some(end) => {
            let why = end.why.as_deref().map_or(String::new(), |why| format!(" {why}"));
            if end.is_stopped {
                alarms.push(format!("The run was stopped, and holds what there was until then.{why}"));
            } else if !end.is_pass {
                alarms.push(format!("The run FAILED.{why}"));
            }
            if end.nr_rows != recording.rows.len() as u64 {
                alarms.push(format!("The run wrote {} rows, and {} are here.", end.nr_rows, recording.rows.len()));
            }
        }
    }
    let nr_bad = sum(recording.rows.iter().map(|row| row.nr_bad));
    let nr_bad = nr_bad.max(recording.end.as_ref().map_or(0, |end| end.nr_bad));
    if nr_bad > 0 {
        let whose: Vec<String> = recording
            .rows
            .iter()
            .filter(|row| row.nr_bad > 0)
            .map(|row| format!("{} by {} on {} ({})", row.workload, row.contender, nr_cpus(row.cpus), row.nr_bad))
            .collect();
        let whose = if whose.is_empty() { String::new() } else { format!(": {}", whose.join(", ")) };
        alarms.push(format!("{nr_bad} objects, frames or pages were damaged or misaligned{whose}. No number of such a row is worth anything."));
    }
    if meta.profile == "debug" {
        alarms.push("A debug build: its times say nothing about what is shipped.".into());
    }
    alarms
}

/// What keeps the numbers of a run from meaning more.
pub fn caveats(recording: &Recording) -> Vec<String> {
    let (meta, mut caveats) = (&recording.meta, Vec::new());
    if meta.is_emulated {
        caveats.push(format!(
            "Emulated by {}: times are shown relative to a contender of this run and mean nothing beyond it. \
             Ratios are distorted too, as an emulator makes a memory access dear and a locked one cheap. Counts are exact.",
            meta.platform
        ));
    }
    match meta.source.as_ref() {
        "native" => caveats.push(
            "Native: mm as a program on a host, beside allocators made for programs. It is not the kernel.".into(),
        ),
        "kernel" if !meta.is_emulated && meta.platform != "bare metal" => {
            caveats.push(format!("In a virtual machine ({}): the host takes CPUs away when it likes.", meta.platform));
        }
        _ => {}
    }
    if !meta.is_clock_invariant && !meta.is_emulated && meta.clock == "tsc" {
        caveats.push("The clock's rate may change with the CPU's: ticks are not seconds for certain.".into());
    }
    if let Some(check) = meta.clock_check_hz.filter(|check| check.abs_diff(meta.clock_hz) > meta.clock_hz / 100) {
        let other = meta.clock_check_source.as_deref().unwrap_or("another clock");
        caveats.push(format!(
            "The clock's rate is doubtful: {} Hz by {}, {check} Hz by {other}.",
            meta.clock_hz, meta.clock_source
        ));
    }
    if let Some(rate) = meta.actual_rate_per_mille.filter(|rate| rate.abs_diff(1000) > 20) {
        caveats.push(format!(
            "Under load the CPU ran at {} of its nominal rate.",
            Unit::Percent.show(rate as f64 / 1000.0)
        ));
    }
    if meta.threads_per_core.is_some_and(|threads| threads > 1) {
        caveats.push("Some CPUs are threads of one core and share its caches and units.".into());
    }
    if meta.nr_reps < 5 {
        caveats.push(format!("Only {} measured: the spread says little.", repetitions(meta)));
    }
    if meta.revision.as_deref().is_some_and(|revision| revision.ends_with("-dirty")) {
        caveats.push("Built from sources that were changed and not committed: the revision does not name them.".into());
    }
    if recording.nr_unknown > 0 {
        caveats
            .push(format!("{} records of kinds that this version does not know are not shown.", recording.nr_unknown));
    }
    if let Some(nr_refused @ 1..) = recording.end.as_ref().and_then(|end| end.nr_refused) {
        caveats
            .push(format!("Too little memory: {nr_refused} requests were refused, and who made them has no figure."));
    }
    caveats.extend(who_waited(recording));
    match rows::nr_again(recording) {
        0 => {}
        1 => caveats.push("1 row is there again: the last is shown.".into()),
        nr => caveats.push(format!("{nr} rows are there again: of each the last is shown.")),
    }
    match rows::nr_left_out(recording) {
        0 => {}
        1 => caveats.push("1 row has no time and is not plotted.".into()),
        nr => caveats.push(format!("{nr} rows have no time and are not plotted.")),
    }
    caveats
}

/// Rows in which some CPU took at least twice as long as the CPUs did on average: the worst three, and how many there are.
fn who_waited(recording: &Recording) -> Option<String> {
    let mut waits: Vec<(f64, &Throughput<'_>)> = recording
        .rows
        .iter()
        .filter_map(|row| {
            let mean = sum(row.milliticks_per_op.iter().copied()) as f64 / row.milliticks_per_op.len() as f64;
            let times = row.longest_milliticks_per_op? as f64 / mean;
            (times.is_finite() && times >= 2.0).then_some((times, row))
        })
        .collect();
    waits.sort_by(|a, b| b.0.total_cmp(&a.0));
    let worst: Vec<String> = waits
        .iter()
        .take(3)
        .map(|(times, row)| format!("{} by {} on {} ({times:.1}×)", row.workload, row.contender, nr_cpus(row.cpus)))
        .collect();
    let rows = if waits.len() == 1 { "1 row".into() } else { format!("{} rows", waits.len()) };
    let more = if waits.len() > worst.len() { ", and others" } else { "" };
    (!worst.is_empty()).then(|| {
        format!(
            "In {rows} one CPU took at least twice the mean time, so that the rest ended early: {}{more}.",
            worst.join(", ")
        )
    })
}

/// What ran and where, as a table of two columns.
pub fn table(meta: &Meta<'_>) -> Table {
    let known = |value: Option<String>| value.unwrap_or_else(|| "not known".into());
    let number = |value: Option<u64>| known(value.map(|value| value.to_string()));
    let mut table = Table { head: vec!["machine and settings".into(), String::new()], nr_names: 2, ..Table::default() };
    let mut push = |name: &str, value: String| table.push(vec![name.into(), value]);
    push("source", format!("{}, {}", meta.source, meta.program));
    push("revision", format!("{}, {} build", known(meta.revision.as_deref().map(str::to_owned)), meta.profile));
    push("made", known(meta.unix_s.map(date)));
    push("CPU", meta.cpu.to_string());
    push("platform", format!("{}{}", meta.platform, if meta.is_emulated { ", emulated" } else { "" }));
    push(
        "CPUs",
        format!(
            "{}; cores {}, threads of a core {}, of the host {}",
            meta.nr_cpus,
            number(meta.nr_cores),
            number(meta.threads_per_core),
            number(meta.host_cpus)
        ),
    );
    push("memory", Unit::Bytes.show(meta.memory_bytes as f64));
    if let Some(apic) = &meta.apic {
        push("APIC", apic.to_string());
    }
    if let Some(loader) = &meta.loader {
        push("loader", loader.to_string());
    }
    push(
        "clock",
        format!(
            "{}, {} kHz by {}; read twice: {} ticks",
            meta.clock,
            meta.clock_hz / 1000,
            meta.clock_source,
            meta.timer_ticks
        ),
    );
    if let Some(warp) = meta.max_warp_ticks {
        push("clocks apart", format!("{warp} ticks at most"));
    }
    push(
        "settings",
        format!(
            "{} operations of each CPU in a repetition, {} repetitions after {} to warm up, seed {}",
            meta.nr_ops.map_or("as many as fit".into(), |nr| nr.to_string()),
            meta.nr_reps,
            meta.nr_warm_ups,
            meta.seed
        ),
    );
    table
}

/// Seconds of Unix time as a date and a time of day, UTC.
pub fn date(unix_s: u64) -> String {
    let ([year, month, day], second) = (civil(unix_s), unix_s % 86_400);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)
}

/// The same for the name of a file: names in order are times in order.
pub fn stamp(unix_s: u64) -> String {
    let ([year, month, day], second) = (civil(unix_s), unix_s % 86_400);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day (the civil calendar from days, after Hinnant, 2013).
fn civil(unix_s: u64) -> [u64; 3] {
    let days = unix_s / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    [year_of_era + era * 400 + u64::from(month <= 2), month, day]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_735_689_600), "2025-01-01 00:00 UTC");
        assert_eq!(stamp(951_782_399), "20000228-235959");
        assert!(!date(u64::MAX).is_empty());
    }

    #[test]
    fn the_band_begins_behind_the_last_number_that_fits() {
        let meta = Meta { host_cpus: Some(2), ..Meta::default() };
        assert_eq!(bands(&meta, &[1, 2, 3, 4], false)[0].0, 2.5);
        assert_eq!(bands(&meta, &[1, 2, 8], true)[0].0, 4.0);
        assert!(bands(&meta, &[1, 2], false).is_empty());
        assert!(bands(&Meta::default(), &[1, 64], false).is_empty());
        let threads = Meta { nr_cores: Some(4), threads_per_core: Some(2), ..Meta::default() };
        assert_eq!(bands(&threads, &[4, 8], false), [(6.0, "CPUs share 4 cores".into())]);
        assert_eq!(most_cpus(&meta, &[1, 2, 4]), 2);
        assert_eq!(most_cpus(&meta, &[4, 8]), 4, "the least, where all are beyond");
    }
}
