//! A running machine, and both directions of its serial line.
//!
//! A thread reads the line as it comes and stamps each piece with its time of arrival; the owner waits for text
//! ([`Session::wait_for`]), types ([`Session::send`]) and collects the end ([`Session::finish`]). Every wait has a
//! deadline, dropping the session ends QEMU, and the host's kernel ends it should this process die first.

use crate::error::Error;
use crate::outcome::End;
use crate::qemu::Launch;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Why a wait for text did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// The deadline passed first.
    TimedOut,
    /// The machine ended first.
    Ended,
}

/// Bytes that arrived together, and when.
struct Piece {
    at: Instant,
    bytes: Vec<u8>,
}

/// A machine that runs until it ends, its time is up, or the value is dropped.
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    pieces: Receiver<Piece>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    started: Instant,
    deadline: Instant,
    serial: Vec<u8>,
    /// What [`Session::wait_for`] has already consumed of `serial`.
    read: usize,
    last_at: Instant,
    // Declared last: the files go away after QEMU is gone.
    _launch: Launch,
}

/// What is left of a machine after its end.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub end: End,
    /// All that came over the serial line.
    pub serial: String,
    /// What QEMU itself said.
    pub qemu_said: String,
    /// From the start of QEMU to its end.
    pub took: Duration,
}

impl Session {
    /// Starts the machine. It is ended when `limit` has passed; with `echo`, the serial line is copied to standard
    /// output as it comes.
    pub fn start(launch: Launch, limit: Duration, echo: bool) -> Result<Self, Error> {
        let mut command = Command::new(&launch.program);
        command.args(&launch.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = spawn_bound(&mut command)?;
        let (sender, pieces) = channel();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        if let Some(stdout) = stdout {
            thread::spawn(move || pump(stdout, &sender, echo));
        }
        let stderr = stderr.map(|mut pipe| {
            thread::spawn(move || {
                let mut said = Vec::new();
                let _ = pipe.read_to_end(&mut said);
                said
            })
        });
        let deadline = started + limit;
        let (serial, read, last_at) = (Vec::new(), 0, started);
        Ok(Self { child, stdin, pieces, stderr, started, deadline, serial, read, last_at, _launch: launch })
    }

    /// Waits until `text` arrives after what was waited for before. Returns the time from the start of QEMU to the
    /// arrival of its last byte.
    pub fn wait_for(&mut self, text: &str, within: Duration) -> Result<Duration, WaitError> {
        self.wait_until(within, |serial| find(serial, text.as_bytes()).map(|at| at + text.len()))
    }

    /// Waits until `found` returns how many bytes of the unread text to consume.
    pub fn wait_until(
        &mut self,
        within: Duration,
        found: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Duration, WaitError> {
        let until = self.deadline.min(Instant::now() + within);
        loop {
            if let Some(len) = found(&self.serial[self.read..]) {
                self.read += len;
                return Ok(self.last_at - self.started);
            }
            self.receive(until)?;
        }
    }

    fn receive(&mut self, until: Instant) -> Result<(), WaitError> {
        match self.pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(piece) => {
                self.serial.extend_from_slice(&piece.bytes);
                self.last_at = piece.at;
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Err(WaitError::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(WaitError::Ended),
        }
    }

    /// Types into the guest's serial line. A machine that has ended takes no input; its end tells why.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
        }
    }

    /// Whether the time allowed to the machine has passed.
    pub fn is_over_time(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// All that came over the serial line so far.
    pub fn serial(&self) -> String {
        String::from_utf8_lossy(&self.serial).into_owned()
    }

    /// The text that no wait has consumed yet, as far as it has arrived.
    pub fn unread(&self) -> String {
        String::from_utf8_lossy(&self.serial[self.read..]).into_owned()
    }

    /// CPU time that QEMU has used so far, all its threads together.
    pub fn cpu_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // proc(5): fields 14 and 15 are user and system time in ticks of 1/100 s. The name, field 2, may hold spaces.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
    }

    /// Waits for the machine's own end, or ends it when its time is up.
    pub fn finish(mut self) -> Report {
        let timed_out = loop {
            match self.receive(self.deadline) {
                Ok(()) => {}
                Err(WaitError::Ended) => break false,
                Err(WaitError::TimedOut) => break true,
            }
        };
        if timed_out {
            let _ = self.child.kill();
        }
        let status = self.child.wait();
        let took = self.started.elapsed();
        let qemu_said = self.stderr.take().and_then(|t| t.join().ok()).unwrap_or_default();
        Report {
            end: if timed_out { End::TimedOut } else { status.map_or(End::Killed, End::from_status) },
            serial: self.serial(),
            qemu_said: String::from_utf8_lossy(&qemu_said).into_owned(),
            took,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Both fail harmlessly on a machine that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies the serial line into the channel until it closes, which QEMU does when it exits.
fn pump(mut stdout: impl Read, sender: &Sender<Piece>, echo: bool) {
    let mut buffer = [0; 4096];
    while let Ok(len) = stdout.read(&mut buffer) {
        if len == 0 {
            return;
        }
        let piece = Piece { at: Instant::now(), bytes: buffer[..len].to_vec() };
        if echo {
            let mut out = io::stdout().lock();
            let _ = out.write_all(&piece.bytes).and_then(|()| out.flush());
        }
        if sender.send(piece).is_err() {
            return;
        }
    }
}

/// Starts a program that the host's kernel ends when the thread that started it ends.
pub fn spawn_bound(command: &mut Command) -> Result<Child, Error> {
    const PR_SET_PDEATHSIG: i32 = 1;
    const SIGKILL: usize = 9;
    unsafe extern "C" {
        fn prctl(option: i32, ...) -> i32;
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let set = || {
        // SAFETY: prctl(2) with PR_SET_PDEATHSIG takes one unsigned long, a signal number, touches no memory of ours
        // and is async-signal-safe, so it may run between fork and exec.
        match unsafe { prctl(PR_SET_PDEATHSIG, SIGKILL) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure only makes one system call: it allocates nothing and takes no lock after fork.
    let command = unsafe { command.pre_exec(set) };
    command.spawn().map_err(|e| Error::missing(format!("{name} ({e})"), "run `just setup`"))
}

/// The place of the first occurrence of `needle`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_where_it_starts() {
        assert_eq!(find(b"abcabc", b"ca"), Some(2));
        assert_eq!(find(b"abc", b"x"), None);
        assert_eq!(find(b"", b"x"), None);
    }
}
