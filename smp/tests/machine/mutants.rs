//! Runs a model once more for each mutant, and asserts that it fails.
//!
//! In a process of its own: a model that fails may abort, and which mutant a run has is one setting of the process.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use smp::mutant::Mutant;

/// Longer than any model takes that finds its mutant.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Asserts that each model, a test of this binary, fails with its mutant.
pub(crate) fn assert_killed(table: &[(Mutant, &str)]) {
    let mut survivors = Vec::new();
    for &(mutant, model) in table {
        match fate(mutant, model) {
            Fate::Killed(how) => println!("{mutant:?}: killed by {model}: {how}"),
            Fate::Survived(how) => survivors.push(format!("{mutant:?} in {model}: {how}")),
        }
    }
    assert!(survivors.is_empty(), "mutants that no model noticed: {survivors:#?}");
}

enum Fate {
    Killed(String),
    Survived(&'static str),
}

fn fate(mutant: Mutant, model: &str) -> Fate {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", model, "--nocapture"])
        .env("SMP_MUTANT", format!("{mutant:?}"))
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Read on threads of their own: a child that fills a pipe would wait for ever.
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    let deadline = Instant::now() + TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return Fate::Survived("the model found nothing in time");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    assert!(stdout.contains("running 1 test"), "no test is called {model}:\n{stdout}");
    if status.success() {
        return Fate::Survived("the model passed");
    }
    let mut lines = stderr.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    Fate::Killed(lines.next().unwrap_or("aborted").trim().to_owned())
}

fn drain(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
