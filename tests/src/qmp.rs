//! QEMU's machine protocol, as far as a test of the screen needs it: keys in, screenshots out.
//!
//! One JSON object a line in both directions; a command is answered by an object with `return` or `error`, and events
//! may stand between (QEMU's manual, "QEMU Machine Protocol"). Every wait has an end.

use crate::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may take to open its socket, or to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a running QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

fn broken(what: impl Into<String>, said: impl ToString) -> Error {
    Error::Tool { command: format!("QEMU's machine protocol, {}", what.into()), said: said.to_string() }
}

impl Qmp {
    /// Connects to the socket that QEMU opens when it starts.
    pub fn connect(socket: &Path) -> Result<Self, Error> {
        let until = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > until => return Err(broken("connecting", error)),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        let ready = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.try_clone());
        let lines = BufReader::new(ready.map_err(|error| broken("connecting", error))?);
        let mut qmp = Self { stream, lines };
        qmp.line()?;
        qmp.execute("qmp_capabilities", "{}")?;
        Ok(qmp)
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => Err(broken("reading", "QEMU has ended")),
            Ok(_) => Ok(line),
            Err(error) => Err(broken("reading", error)),
        }
    }

    /// Has a command carried out.
    fn execute(&mut self, command: &str, arguments: &str) -> Result<(), Error> {
        let line = format!("{{\"execute\": \"{command}\", \"arguments\": {arguments}}}\n");
        self.stream.write_all(line.as_bytes()).map_err(|error| broken(command, error))?;
        loop {
            let answer = self.line()?;
            if answer.starts_with("{\"return\"") {
                return Ok(());
            }
            if answer.starts_with("{\"error\"") {
                return Err(broken(command, answer));
            }
        }
    }

    /// Presses keys together, given by QEMU's names (`shift pgup`), and lets them go.
    pub fn press(&mut self, keys: &str) -> Result<(), Error> {
        let keys: Vec<String> =
            keys.split_whitespace().map(|key| format!("{{\"type\": \"qcode\", \"data\": \"{key}\"}}")).collect();
        self.execute("send-key", &format!("{{\"keys\": [{}], \"hold-time\": 10}}", keys.join(", ")))?;
        // Keys are held, and let go, by QEMU's clock; the next may not come before.
        thread::sleep(Duration::from_millis(25));
        Ok(())
    }

    /// Types text on a US keyboard.
    pub fn type_text(&mut self, text: &str) -> Result<(), Error> {
        text.chars().try_for_each(|character| {
            let keys = keys_of(character).ok_or_else(|| broken("typing", format!("no key for {character:?}")))?;
            self.press(&keys)
        })
    }

    /// Writes what the screen shows to a file, as PPM.
    pub fn screenshot(&mut self, file: &Path) -> Result<(), Error> {
        self.execute("screendump", &format!("{{\"filename\": \"{}\"}}", file.display()))
    }

    /// Ends QEMU.
    pub fn quit(&mut self) -> Result<(), Error> {
        self.execute("quit", "{}")
    }
}

/// The keys of a character on a US keyboard, by QEMU's names.
fn keys_of(character: char) -> Option<String> {
    let name = match character {
        'a'..='z' | '0'..='9' => return Some(character.to_string()),
        'A'..='Z' => return Some(format!("shift {}", character.to_ascii_lowercase())),
        ' ' => "spc",
        '-' => "minus",
        '=' => "equal",
        ',' => "comma",
        '.' => "dot",
        '/' => "slash",
        ';' => "semicolon",
        '\n' => "ret",
        '\t' => "tab",
        _ => return None,
    };
    Some(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_keys() {
        assert_eq!(keys_of('a').as_deref(), Some("a"));
        assert_eq!(keys_of('M').as_deref(), Some("shift m"));
        assert_eq!(keys_of('\n').as_deref(), Some("ret"));
        assert_eq!(keys_of('ä'), None);
    }
}
