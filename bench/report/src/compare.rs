//! Two recordings, row by row: is the second worse than the first, beyond what repetitions differ by themselves?
//!
//! A **time** is worse if it is both past the threshold and beyond the noise. Past the threshold: the ratio of the medians.
//! Beyond the noise: the rank test says that repetitions this different come from the same source in less than one case of
//! a hundred, over all rows together (Holm's correction: with five hundred rows a test of one in a hundred alone would
//! raise five false alarms). Few repetitions cannot say so even if all of one side are above all of the other: of 5 and 5 that
//! happens by chance in 2 of 252 cases, which is enough for one row and not for two; 10 and 10 are enough for 923 rows. Where
//! the rarest order is not rare enough for the number of rows, the space between the two ranges must be wider than either of
//! them; of a recording that kept only quartiles, between the middle halves. Several runs in one file are pooled,
//! which is how the difference between runs gets into the noise: repetitions within one boot do not know it.
//!
//! Of an **emulated** run no time is compared as such: each is divided by that of a reference contender on the same
//! workload in the same run, repetition by repetition, as they took turns; where that contender did not play, or is the
//! row itself, by its time for `pair64` on one CPU, or for its first row if that was not played.
//!
//! **Counts** (locks, interrupts, visits, instructions) are compared exactly on one CPU with the same number of
//! operations, and by the threshold where CPUs meet by chance; memory held by the threshold. Latencies are not judged:
//! a percentile has no repetitions.

mod comparable;
mod judge;
mod times;

use std::fmt;

pub use comparable::differences;
pub use judge::{Change, Line};

use crate::load::Run;
use crate::terminal::line;

/// What the caller wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What is no more than that is not worse, as a part of the whole.
    pub threshold: f64,
    /// Whom times of emulated runs are divided by.
    pub reference: Option<String>,
    /// Judge counts alone.
    pub is_counts: bool,
    /// Compare although machine or settings differ.
    pub is_forced: bool,
    /// Show all: rows that do not differ, every reason, every row that only one side has.
    pub is_all: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { threshold: 0.05, reference: None, is_counts: false, is_forced: false, is_all: false }
    }
}

impl Options {
    /// Reads the words behind `compare`: two files, and options in any order.
    ///
    /// # Errors
    ///
    /// What is wrong with them, for people.
    pub fn parse<'w>(words: &[&'w str]) -> Result<([&'w str; 2], Self), String> {
        let (mut options, mut files, mut words) = (Self::default(), Vec::new(), words.iter().copied());
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word {
                "--threshold" => {
                    let value = value()?;
                    let percent =
                        value.trim_end_matches('%').parse().ok().filter(|percent| (0.0..=1000.0).contains(percent));
                    let percent: f64 = percent.ok_or(format!("{value} is no percentage from 0 to 1000"))?;
                    options.threshold = percent / 100.0;
                }
                "--reference" => options.reference = Some(value()?.to_owned()),
                "--counts" => options.is_counts = true,
                "--force" => options.is_forced = true,
                "--all" => options.is_all = true,
                _ if word.starts_with('-') => return Err(format!("unknown option {word}")),
                _ => files.push(word),
            }
        }
        match *files {
            [a, b] => Ok(([a, b], options)),
            _ => Err(format!("two recordings are compared, not {}", files.len())),
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Why the two are not comparable.
    pub differences: Vec<String>,
    /// They were compared all the same, or there was nothing against it.
    pub is_compared: bool,
    /// What was compared, the worst first.
    pub lines: Vec<Line>,
    /// What was not, and why.
    pub remarks: Vec<String>,
    /// What was asked for.
    threshold: f64,
    /// How times were made comparable.
    method: String,
    /// Show all of it.
    is_all: bool,
}

/// Of reasons and names in a row so many are shown, the most important first, and the rest is counted.
const MOST_SHOWN: usize = 3;

/// Compares `b` with `a`.
pub fn compare(a: &[Run], b: &[Run], options: &Options) -> Verdict {
    let differences = comparable::all(a, b);
    let mut verdict =
        Verdict { threshold: options.threshold, is_all: options.is_all, differences, ..Verdict::default() };
    if !verdict.differences.is_empty() && !options.is_forced {
        return verdict;
    }
    judge::judge(a, b, options, &mut verdict);
    verdict.is_compared = !verdict.lines.is_empty();
    if !verdict.is_compared {
        verdict.differences.push("they have no row in common that can be judged".into());
    }
    verdict
}

impl Verdict {
    /// How many rows are worse, past threshold and noise.
    pub fn nr_worse(&self) -> usize {
        self.lines.iter().filter(|line| line.is_worse).count()
    }

    /// 0: not worse, 1: worse, 2: not compared.
    pub fn exit_code(&self) -> u8 {
        match (self.is_compared, self.nr_worse()) {
            (false, _) => 2,
            (true, 0) => 0,
            (true, _) => 1,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nr_reasons = if self.is_all { self.differences.len() } else { self.differences.len().min(MOST_SHOWN) };
        for difference in &self.differences[..nr_reasons] {
            writeln!(f, "not comparable: {}", line(difference))?;
        }
        match self.differences.len() - nr_reasons {
            0 => {}
            1 => writeln!(f, "not comparable: 1 more reason, which --all names")?,
            nr => writeln!(f, "not comparable: {nr} more reasons, which --all names")?,
        }
        if !self.is_compared {
            return writeln!(f, "bench-compare: refused; --force compares them all the same");
        }
        if !self.method.is_empty() {
            writeln!(f, "{}", line(&self.method))?;
        }
        self.write_rows(f)?;
        for remark in &self.remarks {
            writeln!(f, "{}", line(remark))?;
        }
        let nr = |change: Change| self.lines.iter().filter(|line| line.change == change).count();
        writeln!(
            f,
            "bench-compare: {}: {} worse past {} % and noise; {} slower or more at all, {} faster or fewer, {} within noise",
            if self.nr_worse() == 0 { "PASS" } else { "FAIL" },
            self.nr_worse(),
            plot::number::digits(self.threshold * 100.0),
            nr(Change::Up),
            nr(Change::Down),
            nr(Change::Noise),
        )
    }
}

impl Verdict {
    /// The rows that differ, and how many do not; or all of them.
    fn write_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_shown = |line: &&Line| self.is_all || line.change != Change::Noise;
        let shown: Vec<&Line> = self.lines.iter().filter(is_shown).collect();
        if !shown.is_empty() {
            writeln!(f, "{:<34} {:<14} {:>12} {:>12} {:>9}  verdict", "workload", "contender", "A", "B", "change")?;
        }
        for row in &shown {
            writeln!(f, "{}", line(&row.to_string()))?;
        }
        let nr_rows = |nr: usize| if nr == 1 { "1 row".to_owned() } else { format!("{nr} rows") };
        match (shown.len(), self.lines.len() - shown.len()) {
            (_, 0) => Ok(()),
            (0, nr) if self.lines.iter().all(|line| line.ratio == 1.0) => {
                writeln!(f, "no difference: {} with the same figures", nr_rows(nr))
            }
            (0, nr) => writeln!(f, "no difference beyond the noise in {}, which --all shows", nr_rows(nr)),
            (_, nr) => writeln!(f, "no difference beyond the noise in {} more, which --all shows", nr_rows(nr)),
        }
    }
}
