//! The table for people, and records for programs.

use std::fmt::Write as _;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::measure::{ROUND_NS, Row};

/// The head of the table.
pub(crate) const HEAD: &str = "\
| workload | threads | ours ns | harness ns | best peer | ns | ratio | goal | |
|---|---|---|---|---|---|---|---|---|";

/// A row of the table.
pub(crate) fn line(row: &Row) -> String {
    let harness = row.cells.iter().find(|cell| cell.allocator.name == "null").map_or(f64::NAN, |cell| cell.median_ns());
    let (name, ns) = row.best_peer().map_or(("-", f64::NAN), |cell| (cell.allocator.name, cell.median_ns()));
    let (ratio, goal) = (row.ratio().unwrap_or(f64::NAN), row.goal());
    // Not a number is not met.
    let verdict = if ratio <= goal { "met" } else { "missed" };
    let (workload, nr_threads) = (row.workload.name, row.nr_threads);
    let ours = row.ours().median_ns();
    format!(
        "| {workload} | {nr_threads} | {ours:.2} | {harness:.2} | {name} | {ns:.2} | {ratio:.2} | {goal:.2} | {verdict} |"
    )
}

/// The head of the table of those behind one lock.
pub(crate) const LOCKED_HEAD: &str = "\
| workload | threads | ours ns | best locked | ns | times ours | goal |
|---|---|---|---|---|---|---|";

/// What the best allocator behind one lock shall take at least, in times of ours.
const LOCKED_GOALS: [(&str, [f64; 2]); 2] = [("pair64", [7.0, 30.0]), ("pairmix", [3.0, 15.0])];

/// A row of that table, of a workload with a goal.
pub(crate) fn locked_line(row: &Row) -> Option<String> {
    let (workload, goals) = LOCKED_GOALS.iter().find(|(name, _)| *name == row.workload.name)?;
    let ((best, ratio), nr_threads) = (row.best_locked()?, row.nr_threads);
    let (ours, name, ns, goal) = (row.ours().median_ns(), best.allocator.name, best.median_ns(), goals[nr_threads - 1]);
    Some(format!("| {workload} | {nr_threads} | {ours:.2} | {name} | {ns:.2} | {ratio:.1} | {goal:.0} |"))
}

/// The times of all, fastest first, on one line. `!` marks who could not be measured in peace more often than not, `*`
/// who got fewer repetitions.
pub(crate) fn line_of_all(row: &Row) -> String {
    let mut cells: Vec<_> = row.cells.iter().collect();
    cells.sort_by(|a, b| a.median_ns().total_cmp(&b.median_ns()));
    let nr_reps = row.ours().ns.len();
    let times = cells.iter().map(|cell| {
        let disturbed = if cell.nr_disturbed * 2 > cell.ns.len() { "!" } else { "" };
        let fewer = if cell.ns.len() < nr_reps { "*" } else { "" };
        format!("{} {:.2}{disturbed}{fewer}", cell.allocator.name, cell.median_ns())
    });
    format!("  {} {}T: {}", row.workload.name, row.nr_threads, times.collect::<Vec<_>>().join(", "))
}

/// One record a line: what the host is, then each allocator of each row.
pub(crate) fn json(rows: &[Row], nr_reps: usize, is_quick: bool) -> String {
    let mut out = String::new();
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let nr_cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let _ = writeln!(
        out,
        r#"{{"record":"meta","version":{},"unix_s":{unix_s},"cpu":{},"nr_cpus":{nr_cpus},"kernel":{},"unit":"ns of a thread's CPU time for an alloc and a free","round_ns":{ROUND_NS},"nr_reps":{nr_reps},"quick":{is_quick}}}"#,
        quoted(env!("CARGO_PKG_VERSION")),
        quoted(&cpu_model()),
        quoted(fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()),
    );
    for row in rows {
        let (workload, nr_threads) = (quoted(row.workload.name), row.nr_threads);
        for cell in &row.cells {
            let (name, ns) = (quoted(cell.allocator.name), cell.median_ns());
            let low = cell.ns.iter().copied().fold(f64::INFINITY, f64::min);
            let high = cell.ns.iter().copied().fold(0.0, f64::max);
            let (nr_reps, nr_disturbed) = (cell.ns.len(), cell.nr_disturbed);
            let _ = writeln!(
                out,
                r#"{{"record":"cell","workload":{workload},"threads":{nr_threads},"allocator":{name},"ns":{ns:.3},"min_ns":{low:.3},"max_ns":{high:.3},"nr_reps":{nr_reps},"nr_disturbed":{nr_disturbed}}}"#
            );
        }
        if let (Some(best), Some(ratio)) = (row.best_peer(), row.ratio()) {
            let (best, goal) = (quoted(best.allocator.name), row.goal());
            let _ = writeln!(
                out,
                r#"{{"record":"row","workload":{workload},"threads":{nr_threads},"best_peer":{best},"ratio":{ratio:.3},"goal":{goal:.2}}}"#
            );
        }
    }
    out
}

fn cpu_model() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or("unknown", |(_, model)| model.trim()).to_owned()
}

/// `text` as JSON has it.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_text_has_no_bare_quote_or_control_character() {
        assert_eq!(quoted("a \"b\"\\\n"), r#""a \"b\"\\\u000a""#);
    }
}
