//! Why there is no recording.
//!
//! Produced by: every part that asks the machine for something; printed by the program.

use crate::format::FormatError;
use crate::page::PageFault;
use std::path::{Path, PathBuf};
use std::{fmt, io};
use trace::Kind;
use trace::fault::Damaged;

/// Why there is no recording.
#[derive(Debug)]
pub enum Error {
    /// No tracefs is mounted, or not there.
    NoTracefs {
        /// Where it was looked for.
        at: Option<PathBuf>,
    },
    /// Only root may.
    NotPermitted {
        /// What.
        path: PathBuf,
    },
    /// The kernel has no such events.
    EventsMissing {
        /// Which.
        names: Vec<&'static str>,
    },
    /// Where the recording should go there is something already.
    Exists {
        /// What.
        path: PathBuf,
    },
    /// Where the recording should go there is something that must not be replaced by a file: a folder, a device, a link.
    NoFile {
        /// What.
        path: PathBuf,
    },
    /// The kernel describes its events in a way that is not understood.
    Format(FormatError),
    /// The kernel's ring buffer is not as it describes it.
    Page {
        /// Of which CPU.
        cpu: u16,
        /// What is wrong.
        fault: PageFault,
    },
    /// The command could not be started.
    Command {
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing of a kind was seen.
    NoneSeen {
        /// Which.
        kind: Kind,
        /// Events that there were.
        nr_records: u64,
    },
    /// The finished recording breaks a rule of the format; nothing was written.
    Refused(Damaged),
    /// The file is no good recording.
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and at which event.
        what: Damaged,
    },
    /// A file or a call failed.
    Io {
        /// What was being done.
        doing: String,
        /// To what.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

impl Error {
    /// The exit status: 126 and 127 as a shell has them for its commands, 125 for all that is the recorder's own.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Error::Command { .. } => 126,
            _ => 125,
        }
    }
}

impl From<FormatError> for Error {
    fn from(error: FormatError) -> Error {
        Error::Format(error)
    }
}

/// Says what failed.
pub(crate) trait IoExt<T> {
    fn doing(self, doing: &str, path: &Path) -> Result<T, Error>;
}

impl<T> IoExt<T> for io::Result<T> {
    fn doing(self, doing: &str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => Error::NotPermitted { path: path.into() },
            _ => Error::Io { doing: doing.into(), path: path.into(), source },
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoTracefs { at: None } => f.write_str(
                "no tracefs is mounted; as root: mount -t tracefs nodev /sys/kernel/tracing\n\
                 (where that fails, the kernel was built without CONFIG_FTRACE)",
            ),
            Error::NoTracefs { at: Some(path) } => write!(f, "{} is no tracefs: it has no `instances`", path.display()),
            Error::NotPermitted { path } => {
                write!(
                    f,
                    "{}: not permitted; recording the kernel's events needs root and a kernel that is not locked down",
                    path.display()
                )
            }
            Error::EventsMissing { names } => {
                write!(f, "this kernel does not have the events kmem/{}", names.join(", kmem/"))
            }
            Error::Exists { path } => write!(f, "{} exists; --force replaces it", path.display()),
            Error::NoFile { path } => write!(f, "{} is there and is no plain file: it is not replaced", path.display()),
            Error::Format(error) => write!(f, "this kernel's events: {error}"),
            Error::Page { cpu, fault } => write!(f, "CPU {cpu}: {fault}"),
            Error::Command { name, source } => write!(f, "{name}: {source}"),
            Error::NoneSeen { kind, nr_records } => {
                write!(f, "no {kind} was allocated while the command ran ({nr_records} events): nothing to replay")
            }
            Error::Refused(damaged) => write!(f, "the recording breaks its own rules and was not written: {damaged}"),
            Error::Damaged { path, what } => write!(f, "{}: {what}", path.display()),
            Error::Io { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for Error {}
