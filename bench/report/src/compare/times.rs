//! Times of rows in a form that can be compared: seconds, or times a reference of the same run.

use records::Throughput;
use records::lines::Recording;

use super::Options;
use crate::load::Run;
use crate::people::{is_ours, is_peer};
use crate::rows::unique;

/// What names a row: workload, contender, CPUs, scale and its value.
pub(super) type Key<'r> = (&'r str, &'r str, u64, Option<&'r str>, Option<u64>);

pub(super) fn key<'r>(row: &'r Throughput<'static>) -> Key<'r> {
    (&row.workload, &row.contender, row.cpus, row.scale.as_deref(), row.scale_value)
}

/// Whom times are divided by: the one that was asked for, or the peer that most rows of both sides have; `None` where
/// times can be compared as they are.
pub(super) fn reference<'r>(a: &'r [Run], b: &'r [Run], options: &'r Options) -> Option<&'r str> {
    let is_emulated = |runs: &[Run]| runs.iter().any(|run| run.recording.meta.is_emulated);
    if options.reference.is_none() && !is_emulated(a) && !is_emulated(b) {
        return None;
    }
    if let Some(name) = &options.reference {
        return Some(name);
    }
    let rows = || a.iter().chain(b).flat_map(|run| &run.recording.rows);
    let nr_rows = |name: &str| rows().filter(|row| row.contender == name).count();
    // A peer does not change with our source; where there is none, anybody else who is not what is being judged.
    let rank = |name: &&str| (is_peer(name), !is_ours(name), nr_rows(name));
    let names = unique(rows().map(|row| row.contender.as_ref()));
    // Of equals the first.
    names.into_iter().rev().max_by_key(rank)
}

/// The times of a row for each repetition: nanoseconds, or times the reference.
pub(super) fn samples(recording: &Recording, row: &Throughput<'static>, reference: Option<&str>) -> Option<Vec<f64>> {
    let own = || row.milliticks_per_op.iter().map(|&milli| milli as f64);
    let Some(name) = reference else {
        let hz = recording.meta.clock_hz;
        return (hz > 0).then(|| own().map(|milli| milli * 1e6 / hz as f64).collect());
    };
    let here = |other: &&Throughput<'static>| {
        (&other.workload, other.cpus, &other.scale, other.scale_value)
            == (&row.workload, row.cpus, &row.scale, row.scale_value)
    };
    let of_reference = || recording.rows.iter().filter(|other| other.contender == name);
    let beside = of_reference().find(here).filter(|_| row.contender != name);
    let anchor =
        of_reference().find(|other| other.workload == "pair64" && other.cpus == 1).or_else(|| of_reference().next());
    let other = beside.or_else(|| anchor.filter(|anchor| key(anchor) != key(row)))?;
    let median = crate::rows::quartiles(recording, other)?.median * 1000.0;
    let is_paired =
        beside.is_some() && !recording.meta.is_summary && other.milliticks_per_op.len() == row.milliticks_per_op.len();
    Some(match is_paired {
        true => own().zip(other.milliticks_per_op.iter()).map(|(own, &other)| own / (other as f64).max(1.0)).collect(),
        false => own().map(|own| own / median).collect(),
    })
}
