//! The command that runs while its kernel is recorded.
//!
//! It gets the terminal, and its exit status becomes ours. Ctrl-C at the terminal reaches it by itself; a signal sent to
//! the recorder alone is passed on to it; a second one ends it for good. In all cases the recording is then written.
//!
//! Called by: [`crate::record`].

use crate::error::{Error, IoExt};
use crate::signals;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus};

/// The command, while it runs.
#[derive(Debug)]
pub struct Command {
    child: Child,
    ended: OwnedFd,
    nr_signals: u32,
}

impl Command {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// It is not there, or is no program.
    pub fn start(words: &[OsString]) -> Result<Command, Error> {
        let (program, arguments) = words.split_first().ok_or_else(|| Error::Command {
            name: "no command".into(),
            source: std::io::ErrorKind::InvalidInput.into(),
        })?;
        let name = || program.to_string_lossy().into_owned();
        let child = std::process::Command::new(program).args(arguments).spawn();
        let mut child = child.map_err(|source| Error::Command { name: name(), source })?;
        match signals::process_fd(child.id()).doing("watch", Path::new(program)) {
            // One that came before the command did is for it, too.
            Ok(ended) => Ok(Command { child, ended, nr_signals: 0 }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Becomes readable when it ends.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// How it ended, if it has. Passes on the signals that came to us.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn poll(&mut self) -> Result<Option<ExitStatus>, Error> {
        let status = self.child.try_wait().doing("wait for", Path::new("the command"))?;
        let (nr_signals, signal) = signals::received();
        if status.is_none() && nr_signals != self.nr_signals {
            let is_first = self.nr_signals == 0 && nr_signals == 1;
            self.nr_signals = nr_signals;
            // It may have ended by now, which is what was wanted.
            let _ = match is_first {
                true if signal == libc::SIGINT && signals::is_in_foreground() => Ok(()),
                true => signals::send(self.child.id(), signal),
                false => self.child.kill(),
            };
        }
        Ok(status)
    }
}

impl Drop for Command {
    /// A recording that failed takes its command with it: nobody would wait for it.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The exit status as a shell has it: 128 and the signal's number for a command that one ended.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn run(words: &[&str]) -> ExitStatus {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let mut command = Command::start(&words).expect("a program");
        loop {
            signals::wait(&[command.ended()], Duration::from_secs(10)).expect("a wait");
            if let Some(status) = command.poll().expect("a child") {
                return status;
            }
        }
    }

    #[test]
    fn the_exit_status_is_a_shells() {
        assert_eq!(exit_code(run(&["true"])), 0);
        assert_eq!(exit_code(run(&["sh", "-c", "exit 42"])), 42);
        assert_eq!(exit_code(run(&["sh", "-c", "kill -TERM $$"])), 143);
    }

    #[test]
    fn what_cannot_be_started_is_said_as_a_shell_does() {
        let error = |name: &str| Command::start(&[name.into()]).expect_err("no program").exit_code();
        assert_eq!(error("/nonexistent/program"), 127);
        assert_eq!(error("/etc/passwd"), 126);
        assert!(Command::start(&[]).is_err());
    }
}
