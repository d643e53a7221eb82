//! The table for people.

use crate::measure::Row;

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
