//! Keeps a run that is being printed: passes on what is no record, adds what only the host knows, and writes a file.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use records::lines::{ReadError, Recording, read};

use crate::machine::stamp;

/// What only the host knows of a run.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Where files go.
    pub folder: PathBuf,
    /// The command that makes the recording again; the run's own word if empty.
    pub command: String,
    /// Seconds of Unix time, now.
    pub unix_s: u64,
    /// CPUs that it can run at a time.
    pub nr_cpus: Option<u64>,
    /// Revision of the sources.
    pub revision: Option<String>,
}

/// Why nothing, or nothing good, was kept.
#[derive(Debug)]
pub enum RecordError {
    /// The input or the file.
    Io(PathBuf, io::Error),
    /// What came is no recording.
    Damaged(ReadError),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Damaged(error) => write!(f, "nothing was recorded: {error}"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Reads a run from `input` to its end, passing on to `output` what is no record, line by line as it comes. Returns the
/// file that was written, and whether each run in it came to its end and ended well: one that was stopped did not.
///
/// # Errors
///
/// [`RecordError`].
pub fn record(input: impl BufRead, mut output: impl Write, host: &Host) -> Result<(PathBuf, bool), RecordError> {
    let mut text = String::new();
    for line in input.split(b'\n') {
        let line = line.map_err(|error| RecordError::Io("standard input".into(), error))?;
        let line = String::from_utf8_lossy(&line);
        if line.contains("{\"kind\":\"bench-") {
            text.push_str(line.trim_end());
            text.push('\n');
        } else {
            // Nobody reading along is no reason not to record.
            let _ = writeln!(output, "{}", line.trim_end_matches('\r')).and_then(|()| output.flush());
        }
    }
    let mut runs = read(&text).map_err(RecordError::Damaged)?;
    runs.iter_mut().for_each(|run| complete(run, host));
    let meta = &runs[0].meta;
    let revision = meta.revision.as_deref().unwrap_or("unknown");
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let revision: String = revision.chars().map(plain).collect();
    let name = format!("{}-{revision}", stamp(meta.unix_s.unwrap_or(host.unix_s)));
    let mut written = String::new();
    // A string takes everything.
    runs.iter().for_each(|run| _ = run.write(&mut written));
    std::fs::create_dir_all(&host.folder).map_err(|error| RecordError::Io(host.folder.clone(), error))?;
    let path = write_new(&host.folder, &name, &written)?;
    let is_good = runs.iter().all(|run| run.end.as_ref().is_some_and(|end| end.is_pass && !end.is_stopped));
    Ok((path, is_good))
}

/// Writes a recording that is not there yet: another of the same second keeps its name, and this one gets a number.
fn write_new(folder: &Path, name: &str, text: &str) -> Result<PathBuf, RecordError> {
    let mut number = 1_u64;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let path = folder.join(format!("{name}{suffix}.jsonl"));
        match File::create_new(&path).and_then(|mut file| file.write_all(text.as_bytes())) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(RecordError::Io(path, error)),
        }
    }
}

/// Fills in what the run itself did not know.
fn complete(run: &mut Recording, host: &Host) {
    let meta = &mut run.meta;
    meta.unix_s = meta.unix_s.or(Some(host.unix_s));
    meta.revision = meta.revision.take().or_else(|| host.revision.clone().map(Into::into));
    if meta.is_emulated || meta.source == "kernel" && meta.platform != "bare metal" {
        meta.host_cpus = meta.host_cpus.or(host.nr_cpus);
    }
    if !host.command.is_empty() {
        meta.command = host.command.clone().into();
    }
}
