//! The command line.

use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
bandolier-bench [OPTIONS] [WORKLOAD..]: mm beside other allocators, on this host

  WORKLOAD        parts of names of the workloads to run; all without
  --quick         few repetitions: is everything in order, what is the drift
  --only NAMES    of the allocators, only ours, the bare harness and these (a,b,c)
  --threads N     only with N threads, 1 or 2
  --reps N        repetitions of every round (75; 9 with --quick)
  --all           also print every allocator's time
  --json FILE     also write records for `just report` to FILE, whose folder is made; - prints them behind the table
  --count         instructions of a pair, by valgrind, in place of times
  --frag          memory held over memory asked for, in place of times
  --recording F   with --frag: also play this recording of a kernel's allocator traffic
  --demand        with --frag: fail if ours misses a goal
  --list          names of workloads and allocators";

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) workloads: Vec<String>,
    pub(crate) allocators: Vec<String>,
    pub(crate) nr_threads: Option<usize>,
    pub(crate) nr_reps: usize,
    pub(crate) is_quick: bool,
    pub(crate) is_all: bool,
    pub(crate) is_count: bool,
    pub(crate) is_frag: bool,
    pub(crate) is_demand: bool,
    pub(crate) is_list: bool,
    pub(crate) is_help: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) recording: Option<PathBuf>,
    /// Print what that allocator holds in that workload over what it was asked for: a process of its own.
    pub(crate) probe: Option<(String, String)>,
    /// Play one round of that workload, that allocator, so many pairs, and print nothing: what valgrind watches.
    pub(crate) play: Option<(String, String, u64)>,
}

impl Options {
    /// # Errors
    ///
    /// What is wrong with the line, for people.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = words.into_iter();
        let mut nr_reps = None;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "--quick" => options.is_quick = true,
                "--all" => options.is_all = true,
                "--count" => options.is_count = true,
                "--frag" => options.is_frag = true,
                "--demand" => options.is_demand = true,
                "--recording" => options.recording = Some(value()?.into()),
                "--probe" => options.probe = Some((value()?, value()?)),
                "--list" => options.is_list = true,
                "--help" | "-h" => options.is_help = true,
                "--only" => options.allocators = value()?.split(',').map(str::to_owned).collect(),
                "--threads" => options.nr_threads = Some(number(&value()?, 1..=2)? as usize),
                "--reps" => nr_reps = Some(number(&value()?, 1..=100_000)? as usize),
                "--json" => options.json = Some(value()?.into()),
                "--play" => options.play = Some((value()?, value()?, number(&value()?, 1..=1 << 40)?)),
                _ if word.starts_with('-') => return Err(format!("unknown option {word}")),
                _ => options.workloads.push(word),
            }
        }
        options.nr_reps = nr_reps.unwrap_or(if options.is_quick { 9 } else { 75 });
        Ok(options)
    }

    pub(crate) fn wants_workload(&self, name: &str) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|part| name.contains(part.as_str()))
    }

    pub(crate) fn wants_peer(&self, name: &str) -> bool {
        self.allocators.is_empty() || self.allocators.iter().any(|wanted| wanted == name)
    }
}

fn number(word: &str, range: std::ops::RangeInclusive<u64>) -> Result<u64, String> {
    let number = word.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{word} is no number from {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn lines_are_understood() {
        let options = parse("pair64 lifo --quick --only glibc,talc --threads 2").expect("a good line");
        assert!(options.wants_workload("pair64c") && options.wants_workload("lifo1000"));
        assert!(!options.wants_workload("pair16"));
        assert!(options.wants_peer("talc") && !options.wants_peer("rlsf"));
        assert_eq!((options.nr_threads, options.nr_reps), (Some(2), 9));
        assert!(parse("").expect("a good line").wants_workload("anything"));
    }

    #[test]
    fn bad_lines_are_refused() {
        for line in ["--threads 3", "--threads", "--reps 0", "--reps x", "--what", "--play pair64 mm"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
