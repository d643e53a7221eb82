//! What can go wrong before a machine runs: a setting that makes no sense, a file or tool that is not there.
//!
//! Each value says what was expected and, where there is a remedy, names it. What goes wrong inside the machine is
//! not an error of this crate but an [`crate::outcome::End`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a boot could not be prepared or started.
#[derive(Debug)]
pub enum Error {
    /// A setting has a value that cannot be used.
    Setting {
        /// The setting's name, as on the command line.
        name: String,
        /// The value given.
        value: String,
        /// What is accepted.
        expected: String,
    },
    /// A file that the boot needs does not exist.
    Missing {
        /// What it is and where it was looked for.
        what: String,
        /// How to get it.
        remedy: String,
    },
    /// A tool ran and failed.
    Tool {
        /// The command.
        command: String,
        /// What it printed, or why it could not be started.
        said: String,
    },
    /// The host's file system refused.
    Io {
        /// What was being done.
        doing: String,
        /// The host's reason.
        source: io::Error,
    },
}

impl Error {
    /// Wraps an I/O error that struck while doing `verb` to `path`.
    pub fn io(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing: format!("{verb} {}", path.display()), source }
    }

    /// A setting that cannot be used.
    pub fn setting(name: &str, value: &str, expected: &str) -> Self {
        Self::Setting { name: name.into(), value: value.into(), expected: expected.into() }
    }

    /// A file that is not there, with the way to get it.
    pub fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Missing { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { name, value, expected } => write!(f, "{name}={value}: expected {expected}"),
            Self::Missing { what, remedy } => write!(f, "{what} is missing: {remedy}"),
            Self::Tool { command, said } => write!(f, "{command}: {}", said.trim_end()),
            Self::Io { doing, source } => write!(f, "could not {doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {}

/// Reads a whole file; the error names it.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::io("read", path, source))
}

/// Writes a whole file; the error names it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(|source| Error::io("write", path, source))
}

/// Copies a file; the error names the source.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::copy(from, to).map(drop).map_err(|source| Error::io("copy", from, source))
}

/// Creates a folder and those above it; the error names it.
pub fn create_dir(path: PathBuf) -> Result<PathBuf, Error> {
    match std::fs::create_dir_all(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::io("create", &path, source)),
    }
}
