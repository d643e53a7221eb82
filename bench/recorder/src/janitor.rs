//! Removes the trace instance of a recorder that ended without doing so itself.
//!
//! A second process of the same program that waits for the end of its standard input, whose other end the recorder
//! holds: however that ends, by a panic that aborts or a signal that nobody can catch, the kernel closes it. It is in a
//! process group of its own, so that Ctrl-C at a terminal passes it by.
//!
//! Invariant: the pipe's write end is in no other process, since all that the recorder opens is closed in what it starts.
//!
//! Called by: [`crate::record`], and by the program as its hidden command.

use crate::error::{Error, IoExt};
use crate::instance;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// The program's command that this file is.
pub const COMMAND: &str = "janitor";

/// A process that waits for our end.
#[derive(Debug)]
pub struct Janitor {
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Janitor {
    /// Starts `program`, which is this program, to look after the instance in `dir`.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(program: &Path, dir: &Path) -> Result<Janitor, Error> {
        let mut command = Command::new(program);
        command.arg(COMMAND).arg(dir).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut child = command.spawn().doing("start", program)?;
        Ok(Janitor { lifeline: child.stdin.take(), child })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Janitor {
    /// Lets it go, after the instance is gone: it finds nothing to do.
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.child.wait();
    }
}

/// What that process does. Whether the instance is gone.
pub fn run(dir: &Path) -> bool {
    // Nobody writes; what counts is the end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    instance::remove(dir, Duration::from_secs(5))
}
