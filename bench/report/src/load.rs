//! Files in, runs out.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use records::lines::{ReadError, Recording, read};

/// A run, and where it came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The file's name, with a number behind it if it is not the only run in it.
    pub origin: String,
    /// The file's path as it was given.
    pub path: PathBuf,
    /// What it holds.
    pub recording: Recording,
}

/// A file that cannot be used.
#[derive(Debug)]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub enum Why {
    /// The host does not give it.
    Io(io::Error),
    /// It is no recording.
    Damaged(ReadError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Io(error) => write!(f, "{}: {error}", self.path.display()),
            Why::Damaged(error) => write!(f, "{}: {error}", self.path.display()),
        }
    }
}

impl std::error::Error for LoadError {}

/// Reads all runs of a file. What is not UTF-8 in the lines between the records is passed over.
///
/// # Errors
///
/// [`LoadError`].
pub fn load(path: &Path) -> Result<Vec<Run>, LoadError> {
    let error = |why| LoadError { path: path.to_owned(), why };
    let bytes = fs::read(path).map_err(|io| error(Why::Io(io)))?;
    let recordings = read(&String::from_utf8_lossy(&bytes)).map_err(|damage| error(Why::Damaged(damage)))?;
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let nr = recordings.len();
    let origin = |i: usize| if nr == 1 { name.clone() } else { format!("{name}, run {} of {nr}", i + 1) };
    Ok(recordings
        .into_iter()
        .enumerate()
        .map(|(i, recording)| Run { origin: origin(i), path: path.to_owned(), recording })
        .collect())
}

/// Runs of files that have the same name get their paths before it.
pub fn tell_apart(runs: &mut [Run]) {
    let shared =
        |run: &Run| runs.iter().any(|other| other.path != run.path && other.path.file_name() == run.path.file_name());
    let shared: Vec<bool> = runs.iter().map(shared).collect();
    for (run, _) in runs.iter_mut().zip(shared).filter(|(_, is_shared)| *is_shared) {
        if let Some(folder) = run.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            run.origin = format!("{}/{}", folder.display(), run.origin);
        }
    }
}
