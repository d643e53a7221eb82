//! `just qr-decode FILES...`: pictures and texts in, recordings out.
//!
//! A file is a picture, or a text with parts in it: what a scanner's app shared, a serial log of `qr --text`, or one of
//! codes that were drawn with half blocks. Every recording is checked before it is written: its parts' checksums, that of
//! all together, that of its text, and that its records can be read.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, fs, io};

use records::lines::{self, Recording};

use crate::collect::{Collected, Collection, Fault};
use crate::part::{self, Found};
use crate::{blocks, photo};

/// What came of the files.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What to say, in lines.
    pub report: String,
    /// The recordings that were written.
    pub written: Vec<PathBuf>,
    /// Every run that any part was seen of is whole and was written, and there was one.
    pub is_complete: bool,
}

/// Reads `files`, each with its name, and writes the recordings in them into `folder` as `<run>.jsonl`.
///
/// # Errors
///
/// If the folder or a recording cannot be written. Whatever is wrong with a file is said in the report.
pub fn decode(files: &[(String, Vec<u8>)], folder: &Path) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut collection = Collection::new();
    let mut is_each_readable = true;
    for (name, bytes) in files {
        let (line, is_readable) = add_file(bytes, &mut collection);
        is_each_readable &= is_readable;
        say(&mut outcome, &format!("{name}: {line}"));
    }
    if collection.nr_refused() > 0 {
        say(&mut outcome, &format!("{} parts are of too many runs to collect at a time", collection.nr_refused()));
    }
    let runs = collection.finish();
    if runs.is_empty() {
        say(&mut outcome, "there is no part of a run in any of them");
    }
    let mut is_each_whole = !runs.is_empty();
    for run in &runs {
        let Collected { run: id, nr_parts, nr_seen, .. } = run;
        let said = match recording(run) {
            Ok((text, recording)) => {
                let path = folder.join(format!("{id:08X}.jsonl"));
                fs::create_dir_all(folder)?;
                fs::write(&path, text)?;
                let said = describe(&recording, &path);
                outcome.written.push(path);
                said
            }
            Err(why) => {
                is_each_whole = false;
                why
            }
        };
        say(&mut outcome, &format!("{id:08X}: {nr_seen} of {nr_parts} parts: {said}"));
    }
    // A file that cannot be read does not matter if everything is there without it.
    outcome.is_complete = is_each_whole && (is_each_readable || !outcome.written.is_empty());
    Ok(outcome)
}

fn say(outcome: &mut Outcome, line: &str) {
    outcome.report.push_str(line);
    outcome.report.push('\n');
}

/// Collects the parts in a file; what to say of it, and whether it could be read.
fn add_file(bytes: &[u8], collection: &mut Collection) -> (String, bool) {
    let (texts, mut said) = if photo::is_picture(bytes) {
        match photo::read(bytes) {
            Ok(seen) => {
                let mut said = format!("{} codes", seen.texts.len());
                if seen.nr_unread > 0 {
                    let _ = write!(said, " and {} that could not be read", seen.nr_unread);
                }
                (seen.texts, said)
            }
            Err(error) => return (error.to_string(), false),
        }
    } else {
        let mut texts = blocks::read(&String::from_utf8_lossy(bytes));
        texts.push(bytes.to_vec());
        (texts, String::from("text"))
    };
    let mut added = Vec::new();
    let mut nr_parts = 0;
    let damaged_before = collection.nr_damaged();
    for found in texts.iter().flat_map(|text| part::find(text)) {
        nr_parts += usize::from(matches!(found, Found::Whole { .. }));
        let id = match &found {
            Found::Whole { id, .. } => Some(*id),
            Found::Damaged { .. } => None,
        };
        if collection.add(found) {
            added.extend(id);
        }
    }
    let nr_damaged = collection.nr_damaged() - damaged_before;
    let _ = write!(said, ", {nr_parts} parts, {} of them new", added.len());
    for id in &added {
        let _ = write!(said, " {}/{}", id.number, id.nr_parts);
    }
    if nr_damaged > 0 {
        let _ = write!(said, ", {nr_damaged} damaged");
    }
    (said, true)
}

/// The recording in a run, as text and as it reads; else what to say instead.
fn recording(run: &Collected) -> Result<(&str, Recording), String> {
    let text = run.text.as_ref().map_err(|fault| match fault {
        Fault::Missing(_) => format!("{fault}; `qr --parts` shows a part again"),
        _ => fault.to_string(),
    })?;
    let text = str::from_utf8(text).map_err(|error| format!("it is no recording: {error}"))?;
    let mut runs = lines::read(text).map_err(|error| format!("it is no recording: {error}"))?;
    match (runs.pop(), runs.len()) {
        (Some(recording), 0) => Ok((text, recording)),
        _ => Err(String::from("it is no recording of one run")),
    }
}

fn describe(recording: &Recording, path: &Path) -> String {
    let end = match &recording.end {
        Some(end) if end.is_pass => "passed",
        Some(_) => "did not pass",
        None => "is cut off",
    };
    format!(
        "{} rows and {} latencies of a run that {end}, written to {}",
        recording.rows.len(),
        recording.latencies.len(),
        path.display()
    )
}
