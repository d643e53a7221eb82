//! The judgement of each row.

use std::fmt;

use plot::Unit;
use plot::number::digits;
use records::{Throughput, Waste};

use super::times::{Key, key, reference, samples};
use super::{MOST_SHOWN, Options, Verdict};
use crate::charts::COUNTS;
use crate::figure::{nr_cpus, scaled};
use crate::load::Run;
use crate::rows::unique;
use crate::stats::{Quartiles, holm, least_probability, rank_test, sum};

/// Rows are called different if that happens by chance in fewer cases, over all of them together.
const LEVEL: f64 = 0.01;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Slower, or more of what is better few.
    Up,
    /// Faster, or fewer.
    Down,
    /// No more than repetitions differ by themselves; of a count, nothing.
    Noise,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// Workload, CPUs, scale; of a count also which.
    pub name: String,
    /// Who.
    pub contender: String,
    /// In A, for people.
    pub before: String,
    /// In B, for people.
    pub after: String,
    /// B over A.
    pub ratio: f64,
    /// What happened.
    pub change: Change,
    /// In words.
    pub verdict: &'static str,
    /// Past threshold and noise.
    pub is_worse: bool,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match (self.ratio - 1.0) * 100.0 {
            change if change.is_finite() => format!("{change:+.1} %"),
            _ => "from none".into(),
        };
        let (mark, Self { name, contender, before, after, verdict, .. }) =
            (if self.is_worse { "WORSE: " } else { "" }, self);
        write!(f, "{name:<34} {contender:<14} {before:>12} {after:>12} {change:>9}  {mark}{verdict}")
    }
}

/// How a difference is told from noise.
enum Evidence {
    /// By the probability of the rank test.
    Probability(f64),
    /// By whether the values lie apart.
    Apart(bool),
}

struct Timed {
    line: Line,
    before: Vec<f64>,
    after: Vec<f64>,
    /// Quartiles are all that one of them is.
    is_summary: bool,
}

impl Timed {
    /// The evidence that can convince among `nr_rows` rows: with so few repetitions that even the most extreme order of
    /// them is not rare enough, no rank test can, and that the values lie apart must do.
    fn evidence(&self, nr_rows: usize) -> Evidence {
        let (before, after) = (&self.before, &self.after);
        let has_power = least_probability(before.len(), after.len()) * nr_rows as f64 <= LEVEL;
        match (self.is_summary, has_power) {
            (true, _) => Evidence::Apart(lie_apart(&halves(before), &halves(after))),
            (false, true) => Evidence::Probability(rank_test(before, after)),
            (false, false) => Evidence::Apart(lie_apart(&range(before), &range(after))),
        }
    }
}

pub(super) fn judge(a: &[Run], b: &[Run], options: &Options, verdict: &mut Verdict) {
    let reference = reference(a, b, options);
    if let (Some(name), false) = (reference, options.is_counts) {
        verdict.method =
            format!("times are relative to {name} in the same run: what changes {name} alone shows in all others");
    }
    let (keys_a, keys_b) = (keys(a), keys(b));
    let (mut timed, mut nr_unjudged) = (Vec::new(), 0);
    for &key in keys_a.iter().filter(|key| keys_b.contains(key)) {
        verdict.lines.extend(counts(a, b, key, options));
        if options.is_counts {
            continue;
        }
        match time(a, b, key, reference) {
            Some(row) => timed.push(row),
            None => nr_unjudged += 1,
        }
    }
    conclude(timed, options, verdict);
    verdict.lines.extend(wastes(a, b, options));
    verdict.lines.sort_by(|x, y| y.is_worse.cmp(&x.is_worse).then_with(|| y.ratio.total_cmp(&x.ratio)));

    let only = |keys: &[Key<'_>], others: &[Key<'_>]| {
        keys.iter().filter(|key| !others.contains(key)).map(name_of).collect::<Vec<_>>()
    };
    for (side, only) in [("A", only(&keys_a, &keys_b)), ("B", only(&keys_b, &keys_a))] {
        if !only.is_empty() {
            let nr_shown = if options.is_all { only.len() } else { only.len().min(MOST_SHOWN) };
            let more = match only.len() - nr_shown {
                0 => String::new(),
                nr => format!(", and {nr} more, which --all names"),
            };
            verdict.remarks.push(format!("only in {side}: {}{more}", only[..nr_shown].join("; ")));
        }
    }
    if nr_unjudged > 0 {
        let rows = if nr_unjudged == 1 { "1 row has".into() } else { format!("{nr_unjudged} rows have") };
        verdict
            .remarks
            .push(format!("{rows} no time that can be judged: no repetition, or nothing to hold them against"));
    }
}

fn keys(runs: &[Run]) -> Vec<Key<'_>> {
    unique(runs.iter().flat_map(|run| &run.recording.rows).map(key))
}

fn name_of(key: &Key<'_>) -> String {
    format!("{} by {}", place_of(key), key.1)
}

fn place_of(&(workload, _, cpus, scale, value): &Key<'_>) -> String {
    match scale.zip(value) {
        Some((scale, value)) => format!("{workload} {}, {}", scaled(scale, value), nr_cpus(cpus)),
        None => format!("{workload}, {}", nr_cpus(cpus)),
    }
}

/// The samples of a row in all runs of a side, and its quartiles if it kept only these.
fn pooled(runs: &[Run], wanted: Key<'_>, reference: Option<&str>) -> Option<(Vec<f64>, bool)> {
    let mut all = Vec::new();
    for run in runs {
        for row in run.recording.rows.iter().filter(|row| key(row) == wanted) {
            all.extend(samples(&run.recording, row, reference)?);
        }
    }
    (!all.is_empty()).then(|| (all, runs.iter().any(|run| run.recording.meta.is_summary)))
}

fn time(a: &[Run], b: &[Run], key: Key<'_>, reference: Option<&str>) -> Option<Timed> {
    let ((before, is_summary_a), (after, is_summary_b)) = (pooled(a, key, reference)?, pooled(b, key, reference)?);
    let (quartiles_a, quartiles_b) = (Quartiles::of(&before)?, Quartiles::of(&after)?);
    let unit = if reference.is_some() { Unit::Times } else { Unit::Nanoseconds };
    let line = Line {
        name: place_of(&key),
        contender: key.1.to_owned(),
        before: unit.show(quartiles_a.median),
        after: unit.show(quartiles_b.median),
        ratio: quartiles_b.median / quartiles_a.median,
        change: Change::Noise,
        verdict: "within noise",
        is_worse: false,
    };
    let is_summary = is_summary_a || is_summary_b;
    line.ratio.is_finite().then_some(Timed { line, before, after, is_summary })
}

fn range(values: &[f64]) -> Quartiles {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
    Quartiles { low, median: low, high }
}

/// Whether the space between two ranges is wider than either of them. Ranges that only have nothing in common are too
/// frequent: of five values on each side in 8 of 1000 pairs from one source. With such a space between them it is 3 in
/// 100 000 for normal and exponential noise and 2 in 10 000 for uniform noise (100 000 pairs drawn); half of these are
/// slower, and only those past the threshold count.
fn lie_apart(a: &Quartiles, b: &Quartiles) -> bool {
    let space = (a.low - b.high).max(b.low - a.high);
    space > (a.high - a.low).max(b.high - b.low)
}

/// The middle half, of values that are quartiles already or at least come from such.
fn halves(values: &[f64]) -> Quartiles {
    if values.len() == 3 { range(values) } else { Quartiles::of(values).unwrap_or(range(values)) }
}

fn conclude(timed: Vec<Timed>, options: &Options, verdict: &mut Verdict) {
    let nr_rows = timed.len();
    let judged: Vec<(Line, Evidence)> = timed
        .into_iter()
        .map(|row| {
            let evidence = row.evidence(nr_rows);
            (row.line, evidence)
        })
        .collect();
    let probability = |(_, evidence): &(Line, Evidence)| match evidence {
        Evidence::Probability(p) => Some(*p),
        Evidence::Apart(_) => None,
    };
    let mut tested = holm(&judged.iter().filter_map(probability).collect::<Vec<_>>(), LEVEL).into_iter();
    for (mut line, evidence) in judged {
        let is_real = match evidence {
            Evidence::Probability(_) => tested.next().unwrap_or(false),
            Evidence::Apart(is_apart) => is_apart,
        };
        if is_real {
            let is_past = line.ratio > 1.0 + options.threshold;
            (line.change, line.verdict) = match (line.ratio > 1.0, is_past) {
                (true, true) => (Change::Up, "slower"),
                (true, false) => (Change::Up, "slower, below the threshold"),
                (false, _) => (Change::Down, "faster"),
            };
            line.is_worse = is_past;
        }
        verdict.lines.push(line);
    }
}

/// Counts that changed, and damage that is new.
fn counts(a: &[Run], b: &[Run], wanted: Key<'_>, options: &Options) -> Vec<Line> {
    let rows = |runs: &[Run]| -> Vec<Throughput<'static>> {
        runs.iter().flat_map(|run| &run.recording.rows).filter(|row| key(row) == wanted).cloned().collect()
    };
    let (before, after) = (rows(a), rows(b));
    let known = |rows: &[Throughput<'static>], of: fn(&Throughput<'_>) -> Option<u64>| {
        rows.iter().map(of).collect::<Option<Vec<u64>>>().map(sum)
    };
    let nr_ops = |rows: &[Throughput<'static>]| sum(rows.iter().map(|row| row.nr_ops));
    // On one CPU, with as many operations, nothing is left to chance.
    let is_exact = wanted.2 == 1 && nr_ops(&before) == nr_ops(&after);
    // How often a lock was found held is a matter of time.
    let judged = COUNTS.iter().filter(|(name, _)| *name != "found held");
    let line = |name: &str, before: f64, after: f64, is_exact: bool| {
        let is_past = if is_exact { after > before } else { after > before * (1.0 + options.threshold) + 0.001 };
        let is_less = if is_exact { after < before } else { after < before * (1.0 - options.threshold) - 0.001 };
        let (change, verdict) = match (is_past, is_less) {
            (true, _) => (Change::Up, "more"),
            (_, true) => (Change::Down, "fewer"),
            _ => (Change::Noise, "the same"),
        };
        Line {
            name: format!("{}: {name}", place_of(&wanted)),
            contender: wanted.1.to_owned(),
            before: digits(before),
            after: digits(after),
            ratio: if before == after { 1.0 } else { after / before },
            change,
            verdict,
            is_worse: is_past,
        }
    };
    let mut lines = Vec::new();
    for (name, of) in judged {
        let (Some(x), Some(y)) = (known(&before, *of), known(&after, *of)) else { continue };
        let (ops_x, ops_y) = (nr_ops(&before).max(1) as f64, nr_ops(&after).max(1) as f64);
        lines.push(line(name, x as f64 / ops_x, y as f64 / ops_y, is_exact));
    }
    let nr_bad = |rows: &[Throughput<'static>]| sum(rows.iter().map(|row| row.nr_bad)) as f64;
    lines.push(line("bad", nr_bad(&before), nr_bad(&after), true));
    // Where times are judged, counts that stayed would only hide what changed.
    lines.retain(|line| line.change != Change::Noise || options.is_counts && !line.name.ends_with(": bad"));
    lines
}

/// Memory held, point by point in the order of the recordings.
fn wastes(a: &[Run], b: &[Run], options: &Options) -> Vec<Line> {
    let of = |runs: &[Run]| -> Vec<(Waste<'static>, usize)> {
        let Some(run) = runs.first() else { return Vec::new() };
        let wastes = &run.recording.wastes;
        let same = |x: &Waste<'_>, y: &Waste<'_>| x.workload == y.workload && x.contender == y.contender;
        let number = |i: usize| wastes[..i].iter().filter(|row| same(row, &wastes[i])).count();
        wastes.iter().enumerate().map(|(i, row)| (row.clone(), number(i))).collect()
    };
    let others = of(b);
    let mut lines = Vec::new();
    for (row, number) in of(a) {
        let same = |(other, n): &&(Waste<'_>, usize)| {
            *n == number
                && (&other.workload, &other.contender, other.live_bytes)
                    == (&row.workload, &row.contender, row.live_bytes)
        };
        let Some((other, _)) = others.iter().find(same) else { continue };
        let ratio = other.held_bytes as f64 / row.held_bytes.max(1) as f64;
        let is_worse = ratio > 1.0 + options.threshold;
        let (change, verdict) = match (is_worse, ratio < 1.0 - options.threshold) {
            (true, _) => (Change::Up, "holds more"),
            (_, true) => (Change::Down, "holds less"),
            _ => (Change::Noise, "holds as much"),
        };
        let bytes = |bytes: u64| Unit::Bytes.show(bytes as f64);
        lines.push(Line {
            name: format!("{} {number}: held", row.workload),
            contender: row.contender.to_string(),
            before: bytes(row.held_bytes),
            after: bytes(other.held_bytes),
            ratio,
            change,
            verdict,
            is_worse,
        });
    }
    lines
}
