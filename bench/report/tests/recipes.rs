//! The script behind the recipes, in a copy of its folder, with a `cargo` that builds nothing and a machine that is a script:
//! where files go, from which folder paths count, and what Ctrl-C leaves.

mod common;

use common::{Folder, native, tiny, written};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Sources, a build folder elsewhere, and a folder to stand in; all with blanks in their names.
struct Place {
    folder: Folder,
}

impl Place {
    fn new(name: &str) -> Self {
        let place = Self { folder: Folder::new(name) };
        let tools = place.at("the sources/tools");
        fs::create_dir_all(&tools).expect("a folder");
        fs::create_dir_all(place.at("the build/debug")).expect("a folder");
        fs::create_dir_all(place.at("here")).expect("a folder");
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools");
        for script in ["bench.sh", "lib.sh"] {
            fs::copy(own.join(script), tools.join(script)).expect("a script of the project");
        }
        place.program("bin/cargo", "exit 0\n");
        symlink(env!("CARGO_BIN_EXE_bandolier-report"), place.at("the build/debug/bandolier-report")).expect("a link");
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.0.join(path)
    }

    fn program(&self, path: &str, script: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
        fs::write(&path, format!("#!/bin/sh\n{script}")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it may be run");
    }

    /// The script with these words, from `here`. Interrupts do what they do at a terminal, even if the tests were
    /// started by something that ignores them: a shell cannot take that back.
    fn script(&self, words: &[&str]) -> Command {
        let mut command = Command::new("env");
        let path = format!("{}:{}", self.at("bin").display(), std::env::var("PATH").unwrap_or_default());
        command.args(["--default-signal=INT", "sh"]).arg(self.at("the sources/tools/bench.sh")).args(words);
        command.env("PATH", path).env("CARGO_TARGET_DIR", self.at("the build")).current_dir(self.at("here"));
        command
    }

    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.script(words).output().expect("a shell");
        (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
    }

    /// What is in the folder of recordings, whose name is one of the sources.
    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.at("the sources/target/bench")).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

#[test]
fn paths_count_from_where_the_caller_stands_and_the_page_lies_in_the_sources() {
    let place = Place::new("paths");
    let (code, said) = place.run(&["report"]);
    assert!(code == Some(1) && said.contains("there is no recording in") && place.kept().is_empty(), "{said}");
    fs::write(place.at("here/my run.jsonl"), written(&native(1, 0.05))).expect("a recording");
    let (code, said) = place.run(&["report", "my run.jsonl"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(place.at("the sources/target/bench/report.html").is_file(), "{said}");
    assert!(!place.at("the build/bench").exists() && !place.at("here/target").exists());
    let (code, said) = place.run(&["compare", "my run.jsonl", "../here/my run.jsonl"]);
    assert!(code == Some(0) && said.contains("PASS"), "{said}");
    let (code, said) = place.run(&["compare", "my run.jsonl", "none.jsonl"]);
    assert!(code == Some(2) && said.starts_with("none.jsonl: "), "{said}");
}

#[test]
fn a_run_is_recorded_in_the_sources_and_its_status_is_that_of_the_run() {
    let place = Place::new("recorded");
    place.program("the build/debug/bandolier-run", &format!("cat <<'END'\nboot\n{}END\n", written(&tiny())));
    let (code, said) = place.run(&["record", "just bench"]);
    assert!(code == Some(0) && said.starts_with("boot\nrecorded: "), "{code:?} {said}");
    assert_eq!(place.kept().len(), 1);
    place.program("the build/debug/bandolier-run", "echo panic\nexit 2\n");
    let (code, said) = place.run(&["record", "just bench"]);
    assert!(code == Some(2) && said.contains("nothing was recorded"), "{code:?} {said}");
}

#[test]
fn an_interrupt_ends_the_machine_and_what_came_until_then_is_kept() {
    let text = written(&tiny());
    let rows: String =
        text.lines().filter(|line| !line.contains("bench-end")).map(|line| format!("{line}\n")).collect();
    let place = Place::new("interrupted");
    // Ends when it is interrupted, as QEMU does, and by itself only long after the test would have failed.
    place.program(
        "the build/debug/bandolier-run",
        &format!("cat <<'END'\n{rows}it runs\nEND\ntrap 'kill $!; exit 1' INT\nsleep 60 &\nwait\n"),
    );
    let mut script = place.script(&["record", "just bench"]);
    let mut script = script.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell");
    let mut stdout = BufReader::new(script.stdout.take().expect("it is a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "it runs\n");
    // The terminal sends it to the whole group in the foreground.
    let group = format!("-{}", script.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().expect("kill").success());
    let rest: String = stdout.lines().map(|line| line.expect("a line") + "\n").collect();
    let output = script.wait_with_output().expect("it ends");
    let said = rest + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("recorded: ") && said.contains("was stopped"), "{said}");
    let kept = place.kept();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let runs = report::load::load(&kept[0]).expect("a recording");
    assert!(runs.len() == 1 && runs[0].recording.rows == tiny().rows && runs[0].recording.end.is_none());
}
