//! Whether two recordings may be compared: machine, settings, and that both are whole.

use records::Meta;
use records::lines::Recording;

use crate::load::Run;
use crate::stats::sum;

/// Everything that speaks against comparing these runs, each difference named.
pub(super) fn all(a: &[Run], b: &[Run]) -> Vec<String> {
    let mut found = Vec::new();
    let Some(first) = a.first() else { return vec!["A holds no run".into()] };
    if b.is_empty() {
        return vec!["B holds no run".into()];
    }
    for (side, runs) in [("A", a), ("B", b)] {
        for run in runs {
            found.extend(faults(&run.recording).map(|fault| format!("{side} ({}) {fault}", run.origin)));
        }
    }
    for run in a.iter().skip(1).chain(b) {
        for difference in differences(&first.recording.meta, &run.recording.meta) {
            let said = if b.len() + a.len() == 2 {
                difference
            } else {
                format!("{} and {}: {difference}", first.origin, run.origin)
            };
            if !found.contains(&said) {
                found.push(said);
            }
        }
    }
    found
}

/// What makes a run one that nothing should be compared with.
fn faults(recording: &Recording) -> impl Iterator<Item = &'static str> {
    let end = recording.end.as_ref();
    let nr_bad = sum(recording.rows.iter().map(|row| row.nr_bad).chain(end.map(|end| end.nr_bad)));
    let faults = [
        (end.is_none(), "is cut off"),
        (end.is_some_and(|end| end.is_stopped), "was stopped before its end"),
        (end.is_some_and(|end| !end.is_pass && !end.is_stopped), "failed"),
        (nr_bad > 0, "has damaged objects"),
    ];
    faults.into_iter().filter_map(|(is_so, fault)| is_so.then_some(fault))
}

/// In what machine and settings differ, as far as it matters.
pub fn differences(a: &Meta<'_>, b: &Meta<'_>) -> Vec<String> {
    let text = |value: &Option<records::record::Text<'_>>| value.as_deref().unwrap_or("not known").to_owned();
    let number = |value: Option<u64>| value.map_or("not known".to_owned(), |value| value.to_string());
    let fields = [
        ("source", a.source.to_string(), b.source.to_string()),
        ("profile", a.profile.to_string(), b.profile.to_string()),
        ("cpu", a.cpu.to_string(), b.cpu.to_string()),
        ("platform", a.platform.to_string(), b.platform.to_string()),
        ("is_emulated", a.is_emulated.to_string(), b.is_emulated.to_string()),
        ("nr_cpus", a.nr_cpus.to_string(), b.nr_cpus.to_string()),
        ("nr_cores", number(a.nr_cores), number(b.nr_cores)),
        ("threads_per_core", number(a.threads_per_core), number(b.threads_per_core)),
        ("host_cpus", number(a.host_cpus), number(b.host_cpus)),
        ("apic", text(&a.apic), text(&b.apic)),
        ("clock", a.clock.to_string(), b.clock.to_string()),
        ("seed", a.seed.to_string(), b.seed.to_string()),
        ("nr_ops", number(a.nr_ops), number(b.nr_ops)),
        ("nr_warm_ups", a.nr_warm_ups.to_string(), b.nr_warm_ups.to_string()),
    ];
    let mut found: Vec<String> = fields
        .into_iter()
        .filter(|(_, a, b)| a != b)
        .map(|(name, a, b)| format!("{name} differs: {a} and {b}"))
        .collect();
    // What the kernel takes for itself varies with its size, and a calibration by some parts in a million.
    for (name, a, b, slack) in
        [("memory_bytes", a.memory_bytes, b.memory_bytes, 20), ("clock_hz", a.clock_hz, b.clock_hz, 50)]
    {
        if a.abs_diff(b) > a.max(b) / slack {
            found.push(format!("{name} differs: {a} and {b}"));
        }
    }
    found
}
