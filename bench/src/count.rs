//! Instructions for a pair, by valgrind's callgrind: this program runs itself twice, with different numbers of pairs,
//! and the difference is exactly what the further pairs took, harness included.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, process};

use crate::options::Options;
use crate::peers::ALLOCATORS;
use crate::record::Recorder;
use crate::workload::WORKLOADS;

/// Whole batches of every workload, after as many for warming up: 1000 and 64 divide them.
const FEW: u64 = 64_000;
const MANY: u64 = 2 * FEW;

/// Left out unless asked for by name: their searches take minutes under valgrind.
const TOO_SLOW: &[&str] = &["linked_list", "buddy"];

/// Prints the table.
///
/// # Errors
///
/// What keeps this program from running itself, or from writing the records.
pub(crate) fn print(options: &Options) -> Result<(), String> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("instructions are not counted: valgrind is not installed");
        return Ok(());
    }
    let mut recorder = Recorder::begin(0);
    let counted = |name: &str| options.wants_workload(name);
    let columns: Vec<_> = WORKLOADS.iter().filter(|it| it.goal_instructions.is_some() && counted(it.name)).collect();
    let row = |name: &str, cells: Vec<String>| println!("| {name} | {} |", cells.join(" | "));
    row("instructions of a pair", columns.iter().map(|it| it.name.to_owned()).collect());
    println!("|---|{}", "---|".repeat(columns.len()));
    for (i, allocator) in ALLOCATORS.iter().enumerate() {
        let is_fast = !TOO_SLOW.contains(&allocator.name);
        let is_named = !options.allocators.is_empty() && options.wants_peer(allocator.name);
        // Ours and the bare harness are always there.
        let is_wanted = i < 2 || is_named || options.allocators.is_empty() && is_fast;
        if is_wanted {
            let mut cells = Vec::new();
            for workload in &columns {
                let count = count(workload.name, allocator.name)?;
                if let Some(count) = count {
                    recorder.instructions(workload.name, allocator.name, count, MANY - FEW);
                }
                cells.push(count.map_or("-".into(), |n| format!("{n:.1}")));
            }
            row(allocator.name, cells);
        }
    }
    row("goal of ours", columns.iter().map(|it| it.goal_instructions.map_or("-".into(), |n| n.to_string())).collect());
    options.json.as_ref().map_or(Ok(()), |path| recorder.finish(path))
}

/// `None` if the allocator does not run under valgrind.
fn count(workload: &str, allocator: &str) -> Result<Option<f64>, String> {
    let (Some(few), Some(many)) = (total(workload, allocator, FEW)?, total(workload, allocator, MANY)?) else {
        return Ok(None);
    };
    Ok(Some((many as f64 - few as f64) / (MANY - FEW) as f64))
}

fn total(workload: &str, allocator: &str, nr_pairs: u64) -> Result<Option<u64>, String> {
    let this = env::current_exe().map_err(|error| format!("this program does not find itself: {error}"))?;
    let out = env::temp_dir().join(format!("bandolier-bench-{}.callgrind", process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(this)
        .args(["--play", workload, allocator, &nr_pairs.to_string()])
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("valgrind does not start: {error}"))?;
    let total = if status.success() { read_total(&out) } else { None };
    // Nothing depends on it: it is a leftover in a directory for leftovers.
    let _ = fs::remove_file(&out);
    Ok(total)
}

fn read_total(path: &Path) -> Option<u64> {
    total_in(&fs::read_to_string(path).ok()?)
}

/// The instructions of the whole run: the first number of the `summary` line, or of `totals`.
fn total_in(text: &str) -> Option<u64> {
    let numbers = text.lines().find_map(|line| line.strip_prefix("summary:").or(line.strip_prefix("totals:")))?;
    numbers.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_profile_is_found() {
        assert_eq!(total_in("version: 1\nevents: Ir\nsummary: 1234\n\nfn=(1) f\n1 5\n"), Some(1234));
        assert_eq!(total_in("fn=(1) f\n1 5\ntotals: 77 1\n"), Some(77));
        assert_eq!(total_in("summary:\n"), None);
        assert_eq!(total_in(""), None);
    }
}
