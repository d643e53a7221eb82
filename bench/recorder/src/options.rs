//! The program's words.
//!
//! Called by: the program.

use crate::record::Request;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the program understands.
pub const USAGE: &str = "usage: bandolier-trace record [options] OUT [--] COMMAND [ARGUMENTS]
       bandolier-trace info [options] FILE

record: run COMMAND, record what this Linux kernel's allocators are asked for while it runs, and write it to OUT
  --buffer MIB          each CPU's ring buffer (default: 1/64 of the available memory for all, 1 to 32 each)
  --max-events N        stop recording after at most N events, while the command goes on (default: 20,000,000)
  --command-only        only what COMMAND's processes ask for; default: the whole machine
  --without-slab-pages  leave out the page runs in which objects were handed out
  --force               replace OUT if it exists
  --tracefs DIR         where tracefs is mounted (default: from /proc/mounts)
  exit status: COMMAND's own; 125 if there is no recording, 126 or 127 if COMMAND cannot be started

info: describe the recording FILE
  --json                one object on one line
  --plot OUT            the plot goes there: .svg, .png or .html (default: target/bench/NAME.svg)
  --no-plot             no plot";

/// The most events if nothing is said: 480 MB while recording, 160 MB and more as a file.
const DEFAULT_MAX_EVENTS: u64 = 20_000_000;

/// What to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Print the usage.
    Help,
    /// Record.
    Record(Request),
    /// Describe a recording.
    Info(InfoRequest),
    /// Look after an instance; see [`crate::janitor`].
    Janitor(PathBuf),
}

/// What to describe, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoRequest {
    /// The recording.
    pub file: PathBuf,
    /// One JSON object in place of text.
    pub is_json: bool,
    /// Where the plot goes.
    pub plot: Plot,
}

/// Where the plot goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plot {
    /// Where plots go.
    Default,
    /// To that file.
    To(PathBuf),
    /// There is none.
    None,
}

/// Understands the words behind the program's name.
///
/// # Errors
///
/// What is wrong, in words.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Task, String> {
    let mut words = words.into_iter();
    let command = words.next().ok_or("no command")?;
    match command.to_str() {
        Some("record") => record(words).map(Task::Record),
        Some("info") => info(words).map(Task::Info),
        Some(crate::janitor::COMMAND) => Ok(Task::Janitor(words.next().ok_or("no folder")?.into())),
        Some("help" | "--help" | "-h") => Ok(Task::Help),
        _ => Err(format!("no command `{}`", command.to_string_lossy())),
    }
}

fn record(mut words: impl Iterator<Item = OsString>) -> Result<Request, String> {
    let mut request = Request {
        out: PathBuf::new(),
        is_replaced: false,
        command: Vec::new(),
        buffer_mib: None,
        max_events: DEFAULT_MAX_EVENTS,
        is_command_only: false,
        is_without_slab_pages: false,
        tracefs: None,
    };
    let mut out = None;
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--") => break,
            Some("--force") => request.is_replaced = true,
            Some("--command-only") => request.is_command_only = true,
            Some("--without-slab-pages") => request.is_without_slab_pages = true,
            Some("--buffer") => request.buffer_mib = Some(number(&word, words.next(), 1 << 20)?),
            Some("--max-events") => request.max_events = number(&word, words.next(), u32::MAX.into())?,
            Some("--tracefs") => request.tracefs = Some(words.next().ok_or("--tracefs: no folder")?.into()),
            Some(option) if option.starts_with('-') => return Err(format!("record has no option `{option}`")),
            _ if out.is_none() => out = Some(word.into()),
            _ => {
                request.command.push(word);
                break;
            }
        }
    }
    request.command.extend(words);
    request.out = out.ok_or("record: no name for the recording")?;
    if request.command.is_empty() {
        return Err("record: no command to run".into());
    }
    Ok(request)
}

fn info(mut words: impl Iterator<Item = OsString>) -> Result<InfoRequest, String> {
    let (mut file, mut is_json, mut plot) = (None, false, Plot::Default);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--json") => is_json = true,
            Some("--no-plot") => plot = Plot::None,
            Some("--plot") => plot = Plot::To(words.next().ok_or("--plot: no file")?.into()),
            Some(option) if option.starts_with('-') => return Err(format!("info has no option `{option}`")),
            _ if file.is_none() => file = Some(word.into()),
            _ => return Err("info: one recording at a time".into()),
        }
    }
    Ok(InfoRequest { file: file.ok_or("info: no recording")?, is_json, plot })
}

/// A whole number from 1 to `max`; `20,000,000` and `20_000_000` are one.
fn number(option: &OsString, word: Option<OsString>, max: u64) -> Result<u64, String> {
    let option = option.to_string_lossy();
    let word = word.ok_or_else(|| format!("{option}: no number"))?.to_string_lossy().into_owned();
    let digits = word.replace([',', '_'], "");
    match digits.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(format!("{option}: `{word}` is no number from 1 to {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Task, String> {
        parse(words.iter().map(OsString::from))
    }

    fn request(words: &[&str]) -> Request {
        match parsed(words) {
            Ok(Task::Record(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_commands_own_words_are_left_alone() {
        for dashes in [&["--"][..], &[]] {
            let words = [&["record", "o.kmt", "--force"], dashes, &["sh", "-c", "a  b", "--", "--force"]].concat();
            let request = request(&words);
            assert_eq!(request.command, ["sh", "-c", "a  b", "--", "--force"]);
            assert_eq!((request.out, request.is_replaced), ("o.kmt".into(), true));
        }
        assert_eq!(request(&["record", "o", "--", "--odd"]).command, ["--odd"]);
    }

    #[test]
    fn options_have_their_values() {
        let request = request(&[
            "record",
            "--buffer",
            "8",
            "--max-events",
            "1,000",
            "--command-only",
            "--tracefs",
            "/t",
            "o",
            "x",
        ]);
        assert_eq!((request.buffer_mib, request.max_events, request.is_command_only), (Some(8), 1000, true));
        assert_eq!(request.tracefs, Some("/t".into()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |words: &[&str]| parsed(words).expect_err("wrong");
        assert_eq!(error(&[]), "no command");
        assert_eq!(error(&["play"]), "no command `play`");
        assert_eq!(error(&["record"]), "record: no name for the recording");
        assert_eq!(error(&["record", "o", "--"]), "record: no command to run");
        assert_eq!(error(&["record", "--bufer", "o", "x"]), "record has no option `--bufer`");
        assert_eq!(error(&["record", "--buffer", "0", "o", "x"]), "--buffer: `0` is no number from 1 to 1048576");
        assert_eq!(error(&["info", "a", "b"]), "info: one recording at a time");
        assert_eq!(error(&["info", "--plot"]), "--plot: no file");
    }

    #[test]
    fn info_has_a_plot_unless_told() {
        let info = |words: &[&str]| match parsed(words) {
            Ok(Task::Info(info)) => info,
            other => panic!("{other:?}"),
        };
        let wanted = InfoRequest { file: "a".into(), is_json: false, plot: Plot::Default };
        assert_eq!(info(&["info", "a"]), wanted);
        assert_eq!(info(&["info", "--json", "a", "--plot", "b.svg"]).plot, Plot::To("b.svg".into()));
        assert_eq!(info(&["info", "--no-plot", "a"]).plot, Plot::None);
    }
}
