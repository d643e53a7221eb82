//! What is kept of a run that is printed.

mod common;

use common::{Folder, kernel, tiny, written};
use records::lines::{Recording, read};
use report::record::{Host, RecordError, record};

/// Its recordings go into a folder in `folder` that is not there yet.
fn host(folder: &Folder) -> Host {
    Host {
        folder: folder.0.join("new"),
        command: "just cpus=8 bench".into(),
        unix_s: 951_782_399,
        nr_cpus: Some(4),
        revision: Some("feed/..".into()),
    }
}

/// What is in the file, what was passed on, the file's name, and whether all was well.
fn kept(input: &str) -> (Vec<Recording>, String, String, bool) {
    let folder = Folder::new("record");
    let (host, mut passed) = (host(&folder), Vec::new());
    let (path, is_good) = record(input.as_bytes(), &mut passed, &host).expect("a recording");
    let text = std::fs::read_to_string(&path).expect("it was written");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    (read(&text).expect("records"), String::from_utf8_lossy(&passed).into_owned(), name, is_good)
}

#[test]
fn records_are_kept_and_other_lines_passed_on() {
    let mut run = kernel(1, 0.1);
    (run.meta.unix_s, run.meta.revision, run.meta.host_cpus) = (None, None, None);
    let log =
        format!("bandolier: entry\r\n> bench --json\r\n{}bandolier> quit\r\n", written(&run).replace('\n', "\r\n"));
    let (runs, passed, name, is_good) = kept(&log);
    assert_eq!(passed, "bandolier: entry\n> bench --json\nbandolier> quit\n");
    assert_eq!((name.as_str(), is_good), ("20000228-235959-feed___.jsonl", true));
    let meta = &runs[0].meta;
    assert_eq!((meta.unix_s, meta.host_cpus, meta.revision.as_deref()), (Some(951_782_399), Some(4), Some("feed/..")));
    assert_eq!(meta.command, "just cpus=8 bench");
    assert_eq!(runs[0].rows, run.rows);
}

#[test]
fn runs_of_the_same_second_do_not_overwrite_one_another() {
    let folder = Folder::new("second");
    let host = host(&folder);
    let keep = || record(written(&tiny()).as_bytes(), std::io::sink(), &host).expect("a recording").0;
    let paths = [keep(), keep(), keep()];
    assert!(paths.iter().all(|path| path.is_file()) && paths[0] != paths[1], "{paths:?}");
    assert!(paths[2].display().to_string().ends_with("-3.jsonl"), "{paths:?}");
}

#[test]
fn what_the_run_knows_is_not_overwritten() {
    let (runs, ..) = kept(&written(&tiny()));
    let (meta, own) = (&runs[0].meta, tiny().meta);
    assert_eq!((&meta.unix_s, &meta.revision, &meta.host_cpus), (&own.unix_s, &own.revision, &own.host_cpus));
}

#[test]
fn a_run_that_did_not_end_well_is_kept_and_said() {
    let (runs, _, _, is_good) = kept(&written(&Recording { end: None, ..tiny() }));
    assert!(!is_good && runs[0].end.is_none());
    let mut failed = tiny();
    failed.end.as_mut().expect("an end").is_pass = false;
    assert!(!kept(&written(&failed)).3);
    // What there was until it was stopped was well, and is not all.
    let mut stopped = tiny();
    let end = stopped.end.as_mut().expect("an end");
    (end.is_pass, end.is_stopped) = (true, true);
    let (runs, _, _, is_good) = kept(&written(&stopped));
    assert!(!is_good && runs[0].rows == stopped.rows && runs[0].end == stopped.end);
}

#[test]
fn no_recording_leaves_no_file() {
    let folder = Folder::new("nothing");
    let host = host(&folder);
    let result = record("boot\npanic\n".as_bytes(), std::io::sink(), &host);
    assert!(matches!(result, Err(RecordError::Damaged(_))) && !host.folder.exists());
}
