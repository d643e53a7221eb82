//! One boot for the person or program that asked for it.
//!
//! - At a terminal the serial line is the terminal: Ctrl-C goes to the guest, Ctrl-A x ends QEMU. No time limit.
//! - Without one, `cmd` runs as a script that ends the machine, and the exit status is 0 only for its success.
//! - Without one and without `cmd`, lines of standard input are typed at the prompt, one for each prompt. Where it has none
//!   and ends (`/dev/null`, closed, an empty file) the demonstration runs. A pipe may be slow: its first line is waited for,
//!   and where none comes in half a minute, as from somebody who holds a pipe and never writes, the demonstration is typed
//!   instead, and behind it whatever has come in the meantime.
//!
//! Where no module is asked for, the small recording is loaded.

use crate::error::Error;
use crate::outcome::End;
use crate::qemu::{Console, Launch};
use crate::session::{Session, WaitError, spawn_bound};
use crate::settings::{Boot, Settings};
use crate::{host, kernel};
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long a first line on a standard input that is not a terminal is waited for before it counts as idle.
const FIRST_LINE_WITHIN: Duration = Duration::from_secs(30);
/// How long it is waited for in silence.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// Boots, and returns how it ended.
pub fn run(mut settings: Settings) -> Result<End, Error> {
    if settings.modules.is_empty() {
        // So that there is something to replay.
        settings.modules = Settings::parse([&*format!("modules={}", kernel::DEMONSTRATION_MODULE)])?.modules;
    }
    settings.say_host_cpus();
    if io::stdin().is_terminal() {
        return at_terminal(&settings);
    }
    if settings.cmd.is_empty() {
        let lines = lines_of_stdin();
        let limit = FIRST_LINE_WITHIN.as_secs();
        let waits = || say(&format!("waiting for commands on standard input, {limit} s at most"));
        match first_of(&lines, [SILENT_FOR, FIRST_LINE_WITHIN - SILENT_FOR], waits) {
            First::Line(line) => return typed(&settings, vec![line], &lines, false),
            First::Ended => say("no terminal and no input: running the demonstration"),
            First::Idle => {
                say("nothing came: running the demonstration, and then what has come by its end");
                return typed(&settings, demonstration(), &lines, true);
            }
        }
        settings.cmd = kernel::DEMONSTRATION.into();
    }
    settings.end_with_quit();
    script(&settings)
}

/// Prints a line. That nobody reads the output any more must not change how the boot ends.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn prepare(settings: &Settings, console: Console) -> Result<Launch, Error> {
    let launch = Launch::prepare(settings, console)?;
    for remark in &launch.remarks {
        say(remark);
    }
    Ok(launch)
}

/// Boots the image in a window. The serial line is in the terminal that it was started from.
pub fn in_window(mut settings: Settings) -> Result<End, Error> {
    /// Fits a window on most desktops.
    const SIZE: &str = "1280x800";
    host::has_display()?;
    if settings.boot == Boot::Direct {
        // The direct loader sets no screen up.
        settings.boot = Boot::Iso;
    }
    if settings.screen.is_empty() {
        settings.screen = SIZE.into();
    }
    if settings.modules.is_empty() {
        settings.modules = Settings::parse([&*format!("modules={}", kernel::DEMONSTRATION_MODULE)])?.modules;
    }
    let launch = prepare(&settings, Console::Window)?;
    say("the console is the window, and COM1 here; `quit` ends it, or closing the window");
    let mut child = spawn_bound(Command::new(&launch.program).args(&launch.arguments))?;
    let end = child.wait().map_or(End::Killed, End::from_status);
    Ok(if end == End::Reset { End::Success } else { end })
}

fn at_terminal(settings: &Settings) -> Result<End, Error> {
    let launch = prepare(settings, Console::Terminal)?;
    say("the console is COM1; `quit` or Ctrl-A x ends it");
    let mut child = spawn_bound(Command::new(&launch.program).args(&launch.arguments))?;
    let end = child.wait().map_or(End::Killed, End::from_status);
    // Without -no-reboot QEMU has status 0 only when the person ended it.
    Ok(if end == End::Reset { End::Success } else { end })
}

fn script(settings: &Settings) -> Result<End, Error> {
    let session = Session::start(prepare(settings, Console::Pipe)?, settings.timeout, true)?;
    Ok(conclude(session))
}

fn conclude(session: Session) -> End {
    let report = session.finish();
    if !report.serial.ends_with('\n') {
        say("");
    }
    if !report.qemu_said.is_empty() {
        say(report.qemu_said.trim_end());
    }
    report.end
}

/// The demonstration's commands, to be typed: without its end, as more may follow.
fn demonstration() -> Vec<String> {
    let commands = kernel::DEMONSTRATION.split(';').map(str::trim);
    commands.filter(|command| *command != "quit").map(str::to_string).collect()
}

/// What a standard input that is not a terminal begins with.
#[derive(Debug, PartialEq, Eq)]
enum First {
    /// A line.
    Line(String),
    /// Its end.
    Ended,
    /// Nothing, for as long as was waited. It may begin yet.
    Idle,
}

/// Waits for the first line, calling `between` once between the two times that it takes.
fn first_of(lines: &Receiver<String>, [before, after]: [Duration; 2], between: impl FnOnce()) -> First {
    let mut first = lines.recv_timeout(before);
    if first == Err(RecvTimeoutError::Timeout) {
        between();
        first = lines.recv_timeout(after);
    }
    match first {
        Ok(line) => First::Line(line),
        Err(RecvTimeoutError::Disconnected) => First::Ended,
        Err(RecvTimeoutError::Timeout) => First::Idle,
    }
}

/// Types lines at the prompt, each when the one before is done: those in `first`, then those of the input, then `quit`.
/// An input that `is_idle` is not waited for unless a line of it is there by then.
fn typed(settings: &Settings, first: Vec<String>, lines: &Receiver<String>, is_idle: bool) -> Result<End, Error> {
    let mut session = Session::start(prepare(settings, Console::Pipe)?, settings.timeout, true)?;
    let mut first = first.into_iter();
    let mut is_idle = is_idle;
    loop {
        let at_prompt = session.wait_until(settings.timeout, |serial| kernel::prompt(serial).map(|(len, _)| len));
        if at_prompt.is_err() {
            break;
        }
        let line = first.next().or_else(|| match std::mem::take(&mut is_idle) {
            true => lines.try_recv().ok(),
            false => next_line(lines, &mut session),
        });
        let Some(line) = line else {
            session.send(b"quit\n");
            break;
        };
        session.send(format!("{line}\n").as_bytes());
    }
    Ok(conclude(session))
}

/// The next line typed, or none when the input or the machine has ended.
fn next_line(lines: &Receiver<String>, session: &mut Session) -> Option<String> {
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => return Some(line),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                // Keeps reading the serial line meanwhile, and notices the machine's end and its time limit.
                if session.wait_until(Duration::ZERO, |_| None) == Err(WaitError::Ended) || session.is_over_time() {
                    return None;
                }
            }
        }
    }
}

/// Reads standard input on a thread of its own, which ends with the input or with the process.
fn lines_of_stdin() -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_slow_pipe_is_waited_for_and_that_is_said_once() {
        let (sender, lines) = channel();
        let mut nr_said = 0;
        let slow = thread::spawn(move || {
            thread::sleep(5 * SHORT);
            let _ = sender.send("smp".to_string());
        });
        assert_eq!(first_of(&lines, [SHORT, LONG], || nr_said += 1), First::Line("smp".into()));
        assert_eq!(nr_said, 1);
        assert!(slow.join().is_ok());
    }

    #[test]
    fn an_input_that_has_ended_is_not_waited_for() {
        let (sender, lines) = channel();
        drop(sender);
        assert_eq!(first_of(&lines, [LONG, LONG], || panic!("nothing to wait for")), First::Ended);
    }

    #[test]
    fn behind_a_demonstration_that_is_typed_there_may_be_more() {
        let commands = demonstration();
        assert!(commands.len() > 3 && commands.iter().all(|command| !command.is_empty() && command != "quit"));
    }

    #[test]
    fn a_pipe_that_is_held_open_is_idle_in_the_end() {
        let (sender, lines) = channel();
        assert_eq!(first_of(&lines, [SHORT, SHORT], || ()), First::Idle);
        assert!(sender.send("late".to_string()).is_ok(), "and what comes later is not lost");
        assert_eq!(lines.try_recv(), Ok("late".into()));
    }
}
