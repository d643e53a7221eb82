//! Reads recordings back, out of files that may hold other lines too: a serial log, several runs behind one another.
//!
//! A line is a record if it holds `{"kind":"bench-`, at its start or behind what a terminal put before it. One that
//! begins so and cannot be read is an error with its number: a recording that lost a line is no recording.

use std::fmt;
use std::string::{String, ToString};
use std::vec::Vec;

use serde::Deserialize;

use crate::record::Record;
use crate::{End, Latency, Meta, Remark, Throughput, VERSION, Waste};

/// How a record begins.
const START: &str = "{\"kind\":\"bench-";

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// What ran.
    pub meta: Meta<'static>,
    /// In the order in which they were measured, and so are the others.
    pub rows: Vec<Throughput<'static>>,
    /// Latencies.
    pub latencies: Vec<Latency<'static>>,
    /// Memory held.
    pub wastes: Vec<Waste<'static>>,
    /// What was said of the run.
    pub remarks: Vec<Remark<'static>>,
    /// How it ended; `None` if it was cut off.
    pub end: Option<End<'static>>,
    /// Records of kinds that this reader does not know.
    pub nr_unknown: usize,
}

/// Why a file cannot be read. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// There is no record in it.
    NoRecord,
    /// A record that is none.
    Damaged {
        /// Its line.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A record that belongs to no run: there is no `bench-meta` before it, or the run has ended.
    Stray {
        /// Its line.
        line: usize,
        /// Its kind.
        kind: String,
    },
    /// A version of the format that this reader does not know.
    Version {
        /// Its line.
        line: usize,
        /// The version.
        version: u64,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => write!(f, "there is no benchmark record in it (no line with {START})"),
            Self::Damaged { line, why } => write!(f, "line {line}: a damaged record: {why}"),
            Self::Stray { line, kind } => write!(f, "line {line}: a {kind} that belongs to no run"),
            Self::Version { line, version } => {
                write!(f, "line {line}: version {version} of the format, and only {VERSION} is known here")
            }
        }
    }
}

impl std::error::Error for ReadError {}

/// What every record has.
#[derive(Deserialize)]
struct Head {
    kind: String,
}

/// Reads all runs.
///
/// # Errors
///
/// [`ReadError`].
pub fn read(text: &str) -> Result<Vec<Recording>, ReadError> {
    let mut runs: Vec<Recording> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(start) = line.find(START) else { continue };
        read_line(&mut runs, index + 1, line[start..].trim_end())?;
    }
    if runs.is_empty() { Err(ReadError::NoRecord) } else { Ok(runs) }
}

fn read_line(runs: &mut Vec<Recording>, line: usize, json: &str) -> Result<(), ReadError> {
    let kind = parse::<Head>(line, json)?.kind;
    if kind == Meta::KIND {
        let meta: Meta<'static> = parse(line, json)?;
        if meta.version != VERSION {
            return Err(ReadError::Version { line, version: meta.version });
        }
        runs.push(Recording { meta, ..Recording::default() });
        return Ok(());
    }
    let Some(run) = runs.last_mut().filter(|run| run.end.is_none()) else {
        return Err(ReadError::Stray { line, kind });
    };
    match kind.as_str() {
        Throughput::KIND => run.rows.push(parse(line, json)?),
        Latency::KIND => run.latencies.push(parse(line, json)?),
        Waste::KIND => run.wastes.push(parse(line, json)?),
        Remark::KIND => run.remarks.push(parse(line, json)?),
        End::KIND => run.end = Some(parse(line, json)?),
        _ => run.nr_unknown += 1,
    }
    Ok(())
}

fn parse<'de, T: Deserialize<'de>>(line: usize, json: &'de str) -> Result<T, ReadError> {
    // The reader was given one line, which is not the first of the file.
    let why = |error: serde_json::Error| error.to_string().replace(" at line 1 column ", " at column ");
    serde_json::from_str(json).map_err(|error| ReadError::Damaged { line, why: why(error) })
}

impl Recording {
    /// Writes it as it would be read.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        self.meta.write(out)?;
        self.rows.iter().try_for_each(|row| row.write(out))?;
        self.latencies.iter().try_for_each(|row| row.write(out))?;
        self.wastes.iter().try_for_each(|row| row.write(out))?;
        self.remarks.iter().try_for_each(|row| row.write(out))?;
        self.end.iter().try_for_each(|end| end.write(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;

    fn run(text: &str, values: Vec<u64>) -> Recording {
        let meta = Meta { version: VERSION, program: text.to_string().into(), ..Meta::default() };
        let row = Throughput {
            workload: "pair64".into(),
            contender: text.to_string().into(),
            scale_value: values.first().copied(),
            milliticks_per_op: values.into(),
            ..Throughput::default()
        };
        let (latency, waste) = (Latency { max_ticks: u64::MAX, ..Latency::default() }, Waste::default());
        Recording {
            meta,
            rows: [row].into(),
            latencies: [latency].into(),
            wastes: [waste].into(),
            remarks: [Remark { text: text.to_string().into() }].into(),
            end: Some(End { is_pass: true, ..End::default() }),
            nr_unknown: 0,
        }
    }

    fn written(run: &Recording) -> String {
        let mut text = String::new();
        run.write(&mut text).expect("a string takes everything");
        text
    }

    #[test]
    fn runs_are_found_among_other_lines() {
        let one = written(&run("a", Vec::new()));
        let log = format!("> bench --json\r\n\x1b[0m{}other\n{{\"kind\":\"cache\"}}\n{one}", one.replace('\n', "\r\n"));
        assert_eq!(read(&log), Ok([run("a", Vec::new()), run("a", Vec::new())].into()));
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let text = written(&run("a", Vec::new()));
        let text = text.replacen("\"version\"", "\"colour\":\"red\",\"version\"", 1);
        let text = text.replacen(
            "{\"kind\":\"bench-end\"",
            "{\"kind\":\"bench-smell\",\"x\":[1]}\n{\"kind\":\"bench-end\"",
            1,
        );
        assert_eq!(read(&text), Ok([Recording { nr_unknown: 1, ..run("a", Vec::new()) }].into()));
    }

    #[test]
    fn damage_is_told_with_its_line() {
        assert_eq!(read("nothing\n"), Err(ReadError::NoRecord));
        let text = written(&run("a", Vec::new()));
        let row = text.lines().nth(1).expect("a row");
        assert!(matches!(read(row), Err(ReadError::Stray { line: 1, .. })));
        assert!(matches!(read(&format!("{text}{row}")), Err(ReadError::Stray { line: 7, .. })));
        let cut = text.replacen("\"nr_bad\":0}", "\"nr_b", 1);
        assert!(matches!(read(&cut), Err(ReadError::Damaged { line: 2, .. })));
        let missing = text.replacen("\"contender\":\"a\",", "", 1);
        assert!(matches!(read(&missing), Err(ReadError::Damaged { line: 2, why }) if why.contains("contender")));
        let other = text.replacen("\"version\":2", "\"version\":99", 1);
        assert_eq!(read(&other), Err(ReadError::Version { line: 1, version: 99 }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in any::<String>(), values in proptest::collection::vec(any::<u64>(), 0..5)) {
            let run = run(&text, values);
            prop_assert_eq!(read(&written(&run)), Ok([run].into()));
        }

        #[test]
        fn no_text_is_fatal(text in any::<String>(), at in any::<prop::sample::Index>()) {
            let whole = written(&run("a", [1].into()));
            let cut = at.index(whole.len());
            let _ = read(&format!("{}{text}", &whole[..cut]));
        }
    }
}
