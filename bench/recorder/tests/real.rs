//! Records this machine for real, with the program itself. Needs root and a kernel with tracefs; where these are not
//! to be had each test says that it skips.
//!
//! Where no tracefs is mounted, a test starts itself once more in a mount namespace of its own and mounts it there: nothing
//! of the system's is changed, and nothing is left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use trace::Trace;
use trace::check::{ObjectState, Summary};

const PROGRAM: &str = env!("CARGO_BIN_EXE_bandolier-trace");
const MOUNTED: &str = "BANDOLIER_TEST_TRACEFS";
/// The status with which a namespace without tracefs ends.
const NO_TRACEFS: i32 = 77;

/// A folder of this test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("bandolier-real-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the folder").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs `test` with the folder of a tracefs, if there is a way to one.
fn with_tracefs(name: &str, test: fn(&Path)) {
    let mounts = fs::read_to_string("/proc/mounts").expect("every Linux has it");
    let mounted = mounts.lines().find(|line| line.split(' ').nth(2) == Some("tracefs"));
    let mounted = mounted.and_then(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|of_process| std::os::unix::fs::MetadataExt::uid(&of_process) == 0);
    match std::env::var_os(MOUNTED).map(PathBuf::from).or(mounted) {
        _ if !is_root => eprintln!("{name}: skipped, only root may record"),
        Some(tracefs) => test(&tracefs),
        None => {
            let folder = Folder::new(&format!("mount-{name}"));
            let script = format!("mount -t tracefs nodev \"$1\" || exit {NO_TRACEFS}; shift; exec \"$@\"");
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", &script, "sh"]).arg(&folder.0).env(MOUNTED, &folder.0);
            command.arg(std::env::current_exe().expect("a test")).args([name, "--exact", "--nocapture"]);
            // Its output would be counted as that of a test of its own.
            match command.output() {
                Ok(output) if output.status.code() == Some(NO_TRACEFS) => {
                    eprintln!("{name}: skipped, there is no tracefs");
                }
                Ok(output) => {
                    let text = String::from_utf8_lossy(&output.stdout);
                    assert!(output.status.success(), "in a namespace of its own:\n{text}{}", said(&output));
                }
                Err(error) => eprintln!("{name}: skipped, unshare: {error}"),
            }
        }
    }
}

fn record(tracefs: &Path, out: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("record").arg("--tracefs").arg(tracefs).arg(out).args(words);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn summary(path: &Path) -> Summary {
    let bytes = fs::read(path).expect("a recording");
    let trace = Trace::parse(&bytes).expect("a good header");
    let mut scratch = vec![ObjectState::NEW; trace.header().nr_objects as usize];
    *trace.validate(&mut scratch).expect("a good recording").summary()
}

/// The instance of the recorder with this number, which has made one.
fn instance(tracefs: &Path, pid: u32) -> PathBuf {
    let entries = fs::read_dir(tracefs.join("instances")).expect("every tracefs has it").flatten();
    let is_its = |name: &str| name.starts_with(&format!("bandolier-{pid}-"));
    let mut found = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_its));
    found.next().expect("an instance of the recorder").path()
}

fn within(seconds: u64, what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(seconds), "{what} not within {seconds} s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A recorder of a command that says its process number and then sleeps.
fn sleeping(tracefs: &Path, out: &Path) -> (Child, String) {
    let mut command = record(tracefs, out, &["--", "sh", "-c", "echo $$; exec sleep 60"]);
    let mut recorder = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    let mut pid = String::new();
    BufReader::new(recorder.stdout.take().expect("a pipe")).read_line(&mut pid).expect("a line");
    (recorder, pid.trim().to_owned())
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().is_ok_and(|status| status.success()), "kill {name} {pid}");
}

#[test]
fn a_command_is_recorded_and_its_exit_status_passed_on() {
    with_tracefs("a_command_is_recorded_and_its_exit_status_passed_on", |tracefs| {
        let folder = Folder::new("command");
        let out = folder.0.join("a.kmt");
        let script = "i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i+1)); done; echo \"$1\"; exit 3";
        let output = record(tracefs, &out, &["--", "sh", "-c", script, "sh", "a  b"]).output().expect("the program");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"a  b\n"[..]), "{}", said(&output));
        let summary = summary(&out);
        // Starting a program takes some hundred objects and some dozen pages, on any kernel.
        assert!(summary.nr_objects - summary.nr_page_runs > 20 * 20, "{summary:?}");
        assert!(summary.nr_page_runs > 20 * 5, "{summary:?}");
        assert!(said(&output).contains("lost no events"), "{}", said(&output));
        // The kernel's count of what was read and ours were the same, or it would say so.
        assert!(!said(&output).contains("were found"), "{}", said(&output));
        assert_eq!(folder.names(), ["a.kmt"]);
    });
}

#[test]
fn lost_events_are_counted_and_the_rest_is_a_good_recording() {
    with_tracefs("lost_events_are_counted_and_the_rest_is_a_good_recording", |tracefs| {
        let folder = Folder::new("lost");
        let out = folder.0.join("a.kmt");
        // The recorder is stopped while the kernel goes on.
        let script = "kill -STOP $PPID; i=0; while [ $i -lt 400 ]; do /bin/true; i=$((i+1)); done; kill -CONT $PPID";
        let output = record(tracefs, &out, &["--buffer", "1", "sh", "-c", script]).output().expect("the program");
        assert!(output.status.success() && said(&output).contains("LOST"), "{}", said(&output));
        assert!(said(&output).contains("overwritten"), "{}", said(&output));
        assert!(summary(&out).nr_objects > 100);
    });
}

#[test]
fn recording_stops_at_the_most_events_and_the_command_goes_on() {
    with_tracefs("recording_stops_at_the_most_events_and_the_command_goes_on", |tracefs| {
        let folder = Folder::new("most");
        let out = folder.0.join("a.kmt");
        let script = "i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done; sleep 0.3; exit 4";
        let output =
            record(tracefs, &out, &["--max-events", "2000", "sh", "-c", script]).output().expect("the program");
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains("--max-events"), "{}", said(&output));
        // Frees that are made up come on top: at most one for each allocation.
        assert!((1..=4000).contains(&summary(&out).nr_events), "{:?}", summary(&out));
    });
}

#[test]
fn only_the_commands_own_traffic_is_less_than_the_machines() {
    with_tracefs("only_the_commands_own_traffic_is_less_than_the_machines", |tracefs| {
        let folder = Folder::new("own");
        let (all, own) = (folder.0.join("all.kmt"), folder.0.join("own.kmt"));
        // What a bystander does for a second.
        let bystander = "i=0; while [ $i -lt 2000 ]; do /bin/true; i=$((i+1)); done";
        for (out, option) in [(&all, "--force"), (&own, "--command-only")] {
            let mut bystander = Command::new("sh").args(["-c", bystander]).spawn().expect("sh");
            let output = record(tracefs, out, &[option, "sh", "-c", "/bin/true; sleep 0.5"]).output();
            assert!(output.is_ok_and(|output| output.status.success()));
            bystander.kill().and_then(|()| bystander.wait()).expect("our child");
        }
        let (all, own) = (summary(&all).nr_events, summary(&own).nr_events);
        assert!(own * 4 < all, "{own} of {all} events");
    });
}

#[test]
fn a_terminated_recorder_ends_its_command_and_writes_what_there_was() {
    with_tracefs("a_terminated_recorder_ends_its_command_and_writes_what_there_was", |tracefs| {
        let folder = Folder::new("term");
        let out = folder.0.join("a.kmt");
        let (recorder, _) = sleeping(tracefs, &out);
        let instance = instance(tracefs, recorder.id());
        assert!(instance.exists());
        signal("-TERM", &recorder.id().to_string());
        let output = recorder.wait_with_output().expect("our child");
        assert_eq!(output.status.code(), Some(128 + 15), "{}", said(&output));
        assert!(summary(&out).nr_objects > 0);
        assert!(!instance.exists());
    });
}

#[test]
fn a_killed_recorder_leaves_no_instance() {
    with_tracefs("a_killed_recorder_leaves_no_instance", |tracefs| {
        let folder = Folder::new("kill");
        let (mut recorder, command) = sleeping(tracefs, &folder.0.join("a.kmt"));
        let instance = instance(tracefs, recorder.id());
        assert!(instance.exists());
        signal("-KILL", &recorder.id().to_string());
        recorder.wait().expect("our child");
        within(10, "the instance is gone", || !instance.exists());
        signal("-KILL", &command);
        assert_eq!(folder.names(), [""; 0]);
    });
}

#[test]
fn what_cannot_be_recorded_is_refused_and_leaves_nothing() {
    with_tracefs("what_cannot_be_recorded_is_refused_and_leaves_nothing", |tracefs| {
        let folder = Folder::new("refused");
        let out = folder.0.join("a.kmt");
        let output = record(tracefs, &out, &["--", "/nonexistent/program"]).output().expect("the program");
        assert_eq!(output.status.code(), Some(127), "{}", said(&output));
        assert_eq!(folder.names(), [""; 0]);
        fs::write(&out, "precious").expect("room");
        let output = record(tracefs, &out, &["--", "sh", "-c", "echo ran"]).output().expect("the program");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(125), &b""[..]));
        assert!(said(&output).contains("--force"), "{}", said(&output));
        // A disk without room: a recording that does not fit leaves the name free. One page holds no recording.
        let full = folder.0.join("full");
        fs::create_dir(&full).expect("room");
        let mount = ["-t", "tmpfs", "-o", "size=4k", "nodev"];
        if Command::new("mount").args(mount).arg(&full).status().is_ok_and(|status| status.success()) {
            let output = record(tracefs, &full.join("a.kmt"), &["true"]).output();
            let left = fs::read_dir(&full).map(Iterator::count);
            let _ = Command::new("umount").arg(&full).status();
            let output = output.expect("the program");
            assert_eq!((output.status.code(), left.ok()), (Some(125), Some(0)), "{}", said(&output));
            assert!(said(&output).contains("cannot write"), "{}", said(&output));
        }
        let output = record(Path::new("/proc"), &folder.0.join("b.kmt"), &["true"]).output().expect("the program");
        assert!(output.status.code() == Some(125) && said(&output).contains("no tracefs"), "{}", said(&output));
    });
}
