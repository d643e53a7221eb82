//! What `just qemu-smp` does with each kind of standard input that is no terminal: lines are typed however slowly they
//! come, and only where there are none the demonstration runs.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::support::{Failure, Outcome, Passed, Test};

/// What says that there was no input.
const DEMONSTRATION: &str = "no terminal and no input: running the demonstration";

/// A boot by the shell: `"$0"` is the program.
const MACHINE: &str = r#""$0" run cpus=1 mem=64M timeout=60"#;

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let none = |name: &str, redirection: &'static str| {
        Test::new(format!("input::{name}-is-no-input"), move || {
            // Its first line will do: the demonstration itself takes ten seconds.
            let first = first_line(&format!("exec {MACHINE} {redirection}"))?;
            expect(first.trim_end() == DEMONSTRATION, DEMONSTRATION, first, redirection)
        })
    };
    vec![
        none("dev-null", "</dev/null"),
        none("a-closed-one", "<&-"),
        Test::new("input::a-file-is-typed", || {
            let typed =
                r#"file=$(mktemp) && printf 'version\nquit\n' >"$file" && exec 3<"$file" && rm "$file" && exec "#;
            types(&format!("{typed}{MACHINE} <&3"), false)
        }),
        // Longer than it is waited for in silence, and than a boot takes.
        Test::new("input::a-slow-pipe-is-typed", || {
            types(&format!("(sleep 2; printf 'version\\n'; sleep 1; printf 'quit\\n') | {MACHINE}"), true)
        }),
    ]
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_bandolier-run")]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn failed(what: &str, log: impl ToString, again: &str) -> Failure {
    Failure::new(what.into(), log.to_string(), format!("sh -c '{again}' target/debug/bandolier-run"))
}

fn expect(holds: bool, what: &str, log: String, script: &str) -> Outcome {
    if holds { Ok(Passed::Yes) } else { Err(failed(what, log, script)) }
}

/// The first line that it prints; then it is ended, and QEMU with it.
fn first_line(script: &str) -> Result<String, Failure> {
    let fails = |error: std::io::Error| failed("a shell that can be started", error, script);
    let mut child = shell(script).spawn().map_err(fails)?;
    let mut line = String::new();
    let read = child.stdout.take().map_or(Ok(0), |stdout| BufReader::new(stdout).read_line(&mut line));
    child.kill().and_then(|()| child.wait()).map_err(fails)?;
    read.map_err(fails)?;
    Ok(line)
}

/// `version` and `quit` are typed, and nothing else is; whether it says that it waits.
fn types(script: &str, waits: bool) -> Outcome {
    let fails = |error: std::io::Error| failed("a shell that can be started", error, script);
    let mut child = shell(script).spawn().map_err(fails)?;
    let mut log = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut log).map_err(fails)?;
    }
    let status = child.wait().map_err(fails)?;
    let is_typed = log.contains("bandolier> version") && log.contains("bandolier> quit") && status.success();
    let is_right = is_typed && !log.contains("demonstration") && log.contains("waiting for commands") == waits;
    expect(is_right, "the two commands to be typed, and no demonstration", log, script)
}
