//! The arguments of a command: words in order, `key=value` pairs in any order, `--flags` anywhere.
//!
//! A command asks for what it knows and ends with [`Args::finish`], which refuses what nobody asked for. Errors say
//! what was expected and what was found instead.
//!
//! ```text
//! let mut args = Args::new("stress 5s seed=7")?;
//! let budget = args.budget()?;                       // a duration or a number of operations
//! let seed = args.number("seed", 0..=u64::MAX)?;
//! let cpus = args.number("cpus", 1..=8)?;
//! args.finish("[duration or ops] [seed=N] [cpus=N]")?;
//! ```
//!
//! Invariant: a word is handed out once at most; bit `i` of `used` says that word `i` was.

#[path = "args_options.rs"]
mod options;

use crate::suggest;
use crate::units::{self, DURATIONS, UnitError};
use crate::words::{key_value, split_name, words};
use core::fmt;
use core::ops::RangeInclusive;

/// Only so many words can be asked for; later ones are refused by `finish`.
const MAX_WORDS: usize = 128;
/// Only so many different keys and flags are remembered for suggestions.
const MAX_KEYS: usize = 8;

/// The words behind a command's name, those that were asked for so far, and the keys that exist.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    command: &'a str,
    text: &'a str,
    used: u128,
    keys: [&'static str; MAX_KEYS],
    nr_keys: usize,
    /// A flag that is there twice: [`finish`](Args::finish) refuses it.
    repeated: Option<&'static str>,
}

/// How long a command should work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Until this many nanoseconds have passed.
    TimeNs(u64),
    /// Until this many operations are done.
    Operations(u64),
}

/// Arguments that a command does not take, and what it takes instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgError<'a> {
    /// The command's name.
    pub command: &'a str,
    /// What is wrong.
    pub problem: Problem<'a>,
}

/// What is wrong with arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem<'a> {
    /// A word is missing.
    Missing {
        /// What it should be, with an article: "the name of a module".
        expected: &'static str,
    },
    /// The word behind an option is missing.
    NoValue {
        /// The option.
        key: &'static str,
        /// What should stand behind it, with an article.
        expected: &'static str,
    },
    /// A word is not what it should be.
    Invalid {
        /// The key that it belongs to, if it belongs to one.
        key: Option<&'static str>,
        /// What it should be.
        expected: &'static str,
        /// The word, or the value behind the key.
        got: &'a str,
        /// Why it is not.
        why: UnitError,
    },
    /// A number is out of range.
    OutOfRange {
        /// The key that it belongs to.
        key: &'static str,
        /// The number.
        got: u64,
        /// The least and the largest that may stand there.
        allowed: (u64, u64),
    },
    /// A key is given twice.
    Repeated {
        /// The key.
        key: &'static str,
    },
    /// A flag is given twice.
    RepeatedFlag {
        /// The flag, with its dashes if it has any.
        flag: &'static str,
    },
    /// A word that the command does not take.
    Unexpected {
        /// The word.
        word: &'a str,
        /// What was perhaps meant.
        nearest: Option<&'static str>,
        /// What the command takes; empty if that is nothing.
        usage: &'static str,
    },
}

impl<'a> Args<'a> {
    /// The arguments in `command`, whose first word is its name; nothing if it is blank.
    pub fn new(command: &'a str) -> Option<Args<'a>> {
        let (command, text) = split_name(command)?;
        Some(Args { command, text, used: 0, keys: [""; MAX_KEYS], nr_keys: 0, repeated: None })
    }

    /// The command's name.
    pub fn command(&self) -> &'a str {
        self.command
    }

    /// Everything behind the command's name, as it was given.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Everything behind the command's name, which must be there; `expected` says what it is, with an article.
    pub fn rest(&self, expected: &'static str) -> Result<&'a str, ArgError<'a>> {
        Some(self.text.trim_ascii_end())
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.error(Problem::Missing { expected }))
    }

    /// The next word that is neither a pair nor a flag.
    pub fn word(&mut self) -> Option<&'a str> {
        self.claim(|word| key_value(word).is_none() && !word.starts_with("--"))
    }

    /// The next word, which must be there; `expected` says what it is, with an article.
    pub fn required(&mut self, expected: &'static str) -> Result<&'a str, ArgError<'a>> {
        self.word().ok_or_else(|| self.error(Problem::Missing { expected }))
    }

    /// The next word, read by `parse` (one of [`units`]); `expected` says what it is, with an article.
    pub fn parsed<T>(
        &mut self,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Result<T, UnitError>,
    ) -> Result<Option<T>, ArgError<'a>> {
        let Some(got) = self.word() else { return Ok(None) };
        parse(got).map(Some).map_err(|why| self.error(Problem::Invalid { key: None, expected, got, why }))
    }

    /// The next word as a duration (`5s`) or a number of operations (`100k`).
    pub fn budget(&mut self) -> Result<Option<Budget>, ArgError<'a>> {
        self.parsed("a duration (5s, 2m) or a number of operations (100k)", Budget::parse)
    }

    /// Whether `flag` (written with its dashes: `--json`) is there. One that is there twice is refused by
    /// [`finish`](Self::finish).
    pub fn flag(&mut self, flag: &'static str) -> bool {
        self.remember(flag);
        let is_set = self.claim(|word| word == flag).is_some();
        while self.claim(|word| word == flag).is_some() {
            self.repeated = Some(flag);
        }
        is_set
    }

    /// The value of `key`, if the pair is there.
    pub fn value(&mut self, key: &'static str) -> Result<Option<&'a str>, ArgError<'a>> {
        self.remember(key);
        let is_ours = |word: &str| key_value(word).is_some_and(|(found, _)| found == key);
        let value = self.claim(is_ours).and_then(key_value).map(|(_, value)| value);
        if self.claim(is_ours).is_some() {
            return Err(self.error(Problem::Repeated { key }));
        }
        Ok(value)
    }

    /// The value of `key`, read by `parse` (one of [`units`]); `expected` says what it is, with an article.
    pub fn parsed_value<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Result<T, UnitError>,
    ) -> Result<Option<T>, ArgError<'a>> {
        let Some(got) = self.value(key)? else { return Ok(None) };
        parse(got).map(Some).map_err(|why| self.error(Problem::Invalid { key: Some(key), expected, got, why }))
    }

    /// The number behind `key`, if the pair is there; it must be in `range`.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, ArgError<'a>> {
        match self.parsed_value(key, "a number (7, 0x1f)", units::number)? {
            Some(got) if !range.contains(&got) => {
                Err(self.error(Problem::OutOfRange { key, got, allowed: (*range.start(), *range.end()) }))
            }
            number => Ok(number),
        }
    }

    /// The size in bytes behind `key`, if the pair is there.
    pub fn size_bytes(&mut self, key: &'static str) -> Result<Option<u64>, ArgError<'a>> {
        self.parsed_value(key, "a size (4096, 4k, 2M)", units::size_bytes)
    }

    /// Refuses a word that was not asked for, and a flag that is there twice. `usage` shows what may stand behind the command's name, for the error.
    pub fn finish(self, usage: &'static str) -> Result<(), ArgError<'a>> {
        if let Some(flag) = self.repeated {
            return Err(self.error(Problem::RepeatedFlag { flag }));
        }
        let Some((_, word)) = words(self.text).enumerate().find(|(i, _)| !self.is_used(*i)) else { return Ok(()) };
        let name = word.split_once('=').map_or(word, |(key, _)| key);
        let nearest = suggest::closest(name, self.keys[..self.nr_keys].iter().copied());
        Err(self.error(Problem::Unexpected { word, nearest, usage }))
    }

    fn error(&self, problem: Problem<'a>) -> ArgError<'a> {
        ArgError { command: self.command, problem }
    }

    fn is_used(&self, word: usize) -> bool {
        word < MAX_WORDS && self.used & (1 << word) != 0
    }

    /// Hands out the first word not handed out yet that `is_wanted`.
    fn claim(&mut self, is_wanted: impl Fn(&str) -> bool) -> Option<&'a str> {
        let (i, word) =
            words(self.text).take(MAX_WORDS).enumerate().find(|(i, word)| !self.is_used(*i) && is_wanted(word))?;
        self.used |= 1 << i;
        Some(word)
    }

    fn remember(&mut self, key: &'static str) {
        if self.nr_keys < MAX_KEYS && !self.keys[..self.nr_keys].contains(&key) {
            self.keys[self.nr_keys] = key;
            self.nr_keys += 1;
        }
    }
}

impl Budget {
    /// Reads a duration or a number of operations.
    pub fn parse(text: &str) -> Result<Budget, UnitError> {
        match units::duration_ns(text) {
            Ok(ns) => Ok(Budget::TimeNs(ns)),
            Err(UnitError::UnknownUnit) => units::count(text).map(Budget::Operations),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Budget {
    /// In the form that `parse` reads, exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Budget::Operations(count) => write!(f, "{count}"),
            Budget::TimeNs(0) => f.write_str("0s"),
            Budget::TimeNs(ns) => {
                let (name, factor) =
                    DURATIONS.iter().rev().find(|(_, factor)| ns.is_multiple_of(*factor)).unwrap_or(&DURATIONS[0]);
                write!(f, "{}{name}", ns / factor)
            }
        }
    }
}

/// A key as it is typed: `seed=`, `--seed`.
struct Key(&'static str);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, if self.0.starts_with("--") { "" } else { "=" })
    }
}

impl fmt::Display for ArgError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.command)?;
        match &self.problem {
            Problem::Missing { expected } => write!(f, "expected {expected}"),
            Problem::NoValue { key, expected } => write!(f, "{} expected {expected}", Key(key)),
            Problem::Invalid { key, expected, got, why } => {
                if let Some(key) = key {
                    write!(f, "{} ", Key(key))?;
                }
                write!(f, "expected {expected}, got `{got}`")?;
                match why {
                    UnitError::NotANumber => Ok(()),
                    why => write!(f, " ({why})"),
                }
            }
            Problem::OutOfRange { key, got, allowed: (least, most) } => {
                write!(f, "{} expected a number from {least} to {most}, got {got}", Key(key))
            }
            Problem::Repeated { key } => write!(f, "{} is given twice", Key(key)),
            Problem::RepeatedFlag { flag } => write!(f, "{flag} is given twice"),
            Problem::Unexpected { word, nearest, usage } => {
                write!(f, "unexpected argument `{word}`")?;
                match nearest {
                    Some(flag) if flag.starts_with('-') => write!(f, "; did you mean `{flag}`?"),
                    Some(key) => write!(f, "; did you mean `{key}=`?"),
                    None if usage.is_empty() => write!(f, ", it takes none"),
                    None => write!(f, "; usage: {} {usage}", self.command),
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
