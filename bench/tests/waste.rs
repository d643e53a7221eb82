//! The goals of memory held over memory asked for, by the program's own verdict: each workload is a process of its own,
//! the same on every run.

use std::path::Path;
use std::process::Command;

#[test]
fn memory_held_stays_within_the_goals() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/fork-exec-small.kmt");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bandolier-bench"));
    command.args(["--frag", "--demand", "--only", "mm", "--recording"]).arg(recording);
    let output = command.output().expect("the program starts");
    let (table, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{table}");
    assert!(output.status.success(), "{table}{error}");
    assert_eq!(table.lines().count(), 5, "the head, its rule, ours, the goals, the verdicts: {table}");
}
