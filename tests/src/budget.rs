//! The budget of instructions: `mm/budget.txt`, which says what each path of the allocator costs, and why.
//!
//! One line is one path: `group.name  instructions  reason`. A path may grow by [`SLACK`] before a test fails; one that
//! got cheaper is noted, as the next one could use up the gain unseen. Two measure: `bench/budget` by single steps
//! (group `host`), and the test of the kernel's machine code (group `kernel`). With `BUDGET=renew` in the environment
//! they write what they measured, and keep the reasons: `just budget`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, fs};

/// Tenths of an instruction that a path may exceed its line by: two instructions.
pub const SLACK: u64 = 20;

/// What stands for the reason of a path that was added by a renewal. No test takes it for one.
const NO_REASON: &str = "?";

/// What a path costs, as somebody has just measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The path's name within its group.
    pub name: String,
    /// Tenths of an instruction: a cost per object need not be whole.
    pub tenths: u64,
}

impl Measured {
    /// `nr_instructions` for `nr_objects` together, rounded up.
    pub fn new(name: &str, nr_instructions: u64, nr_objects: u64) -> Self {
        Self { name: name.into(), tenths: (nr_instructions * 10).div_ceil(nr_objects) }
    }
}

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The table, with a row for each path: path, budget, measured, verdict, reason.
    pub table: String,
    /// Rows that fail.
    pub nr_failed: usize,
    /// Rows that do not.
    pub nr_passed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// With the group.
    name: String,
    tenths: u64,
    reason: String,
}

/// The file, line by line: comments stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Budget {
    lines: Vec<Result<Entry, String>>,
}

impl Budget {
    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for (i, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                lines.push(Err(line.to_owned()));
                continue;
            }
            let bad = || format!("line {}: not `group.name  instructions  reason`: {line}", i + 1);
            let (name, rest) = line.split_once(' ').ok_or_else(bad)?;
            let (number, reason) = rest.trim_start().split_once(' ').ok_or_else(bad)?;
            let tenths = parse_tenths(number).filter(|_| name.contains('.')).ok_or_else(bad)?;
            lines.push(Ok(Entry { name: name.into(), tenths, reason: reason.trim().into() }));
        }
        Ok(Self { lines })
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|line| line.as_ref().ok())
    }

    fn print(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let _ = match line {
                Ok(entry) => writeln!(text, "{:<30} {:>7}  {}", entry.name, in_tenths(entry.tenths), entry.reason),
                Err(comment) => writeln!(text, "{comment}"),
            };
        }
        text
    }

    /// Makes `measured` the budget of `group`. Paths that nobody measured any more go.
    fn renew(&mut self, group: &str, measured: &[Measured]) {
        let of = |name: &str| measured.iter().find(|it| qualified(group, &it.name) == name);
        self.lines.retain_mut(|line| match line {
            Ok(entry) if is_of(entry, group) => of(&entry.name).map(|it| entry.tenths = it.tenths).is_some(),
            _ => true,
        });
        for it in measured {
            let name = qualified(group, &it.name);
            if self.entries().all(|entry| entry.name != name) {
                self.lines.push(Ok(Entry { name, tenths: it.tenths, reason: NO_REASON.into() }));
            }
        }
    }

    fn compare(&self, group: &str, measured: &[Measured]) -> Outcome {
        let mut outcome = Outcome { table: String::new(), nr_failed: 0, nr_passed: 0 };
        let mut row = |name: &str, budget: &str, measured: &str, verdict: &str, reason: &str, passes: bool| {
            outcome.nr_failed += usize::from(!passes);
            outcome.nr_passed += usize::from(passes);
            let _ = writeln!(outcome.table, "{name:<30} {budget:>7} {measured:>8}  {verdict:<8} {reason}");
        };
        for it in measured {
            let name = qualified(group, &it.name);
            let now = in_tenths(it.tenths);
            let Some(entry) = self.entries().find(|entry| entry.name == name) else {
                row(&name, "-", &now, "UNKNOWN", "no line in the budget", false);
                continue;
            };
            let (verdict, passes) = match it.tenths {
                _ if entry.reason == NO_REASON => ("UNKNOWN", false),
                tenths if tenths > entry.tenths + SLACK => ("GROWN", false),
                tenths if tenths + SLACK < entry.tenths => ("cheaper", true),
                _ => ("ok", true),
            };
            row(&name, &in_tenths(entry.tenths), &now, verdict, &entry.reason, passes);
        }
        for entry in self.entries().filter(|entry| is_of(entry, group)) {
            if measured.iter().all(|it| qualified(group, &it.name) != entry.name) {
                row(&entry.name, &in_tenths(entry.tenths), "-", "GONE", "nobody measures it", false);
            }
        }
        outcome
    }
}

fn qualified(group: &str, name: &str) -> String {
    format!("{group}.{name}")
}

fn is_of(entry: &Entry, group: &str) -> bool {
    entry.name.split_once('.').is_some_and(|(of, _)| of == group)
}

fn in_tenths(tenths: u64) -> String {
    if tenths.is_multiple_of(10) { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}

fn parse_tenths(word: &str) -> Option<u64> {
    let (whole, tenth) = word.split_once('.').unwrap_or((word, "0"));
    let tenth = tenth.parse::<u64>().ok().filter(|&tenth| tenth < 10)?;
    whole.parse::<u64>().ok()?.checked_mul(10)?.checked_add(tenth)
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../mm/budget.txt")
}

/// Compares what was measured of `group`, all of it, with the budget; or, with `BUDGET=renew` in the environment, makes
/// it the budget.
///
/// # Errors
///
/// A budget that cannot be read, understood or written, for people.
pub fn settle(group: &str, measured: &[Measured]) -> Result<Outcome, String> {
    /// Tests of one process run at once.
    static SETTLING: Mutex<()> = Mutex::new(());
    let _turn = SETTLING.lock();
    let path = path();
    let say = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| say(&error))?;
    let mut budget = Budget::parse(&text).map_err(|what| say(&what))?;
    if env::var_os("BUDGET").is_some_and(|what| what == "renew") {
        let before = budget.clone();
        budget.renew(group, measured);
        fs::write(&path, budget.print()).map_err(|error| say(&error))?;
        // Against what it was: the table shows what has changed.
        let table = before.compare(group, measured).table;
        return Ok(Outcome { table: format!("{table}renewed: {}\n", path.display()), nr_failed: 0, nr_passed: 0 });
    }
    let mut outcome = budget.compare(group, measured);
    if outcome.table.contains(" cheaper ") {
        outcome.table.push_str("something got cheaper: `just budget` records it, before something else uses it up\n");
    }
    if outcome.nr_failed > 0 {
        let limit = SLACK / 10;
        let _ = writeln!(
            outcome.table,
            "a path may grow by {limit} instructions. Where more is meant: `just budget` renews mm/budget.txt; say why there"
        );
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# what\nhost.pop  12  because\nhost.bulk 3.5  of that\n\nkernel.pop 14 frame pointer\n";

    fn measured(pop: u64, bulk: u64) -> [Measured; 2] {
        [Measured::new("pop", pop, 1), Measured { name: "bulk".into(), tenths: bulk }]
    }

    #[test]
    fn growth_by_more_than_two_instructions_fails() {
        let budget = Budget::parse(TEXT).expect("a good file");
        let nr_failed = |pop, bulk| budget.compare("host", &measured(pop, bulk)).nr_failed;
        assert_eq!(nr_failed(12, 35), 0);
        assert_eq!(nr_failed(14, 55), 0);
        assert_eq!(nr_failed(15, 35), 1);
        assert_eq!(nr_failed(15, 56), 2);
        assert_eq!(nr_failed(2, 1), 0);
        assert!(budget.compare("host", &measured(9, 35)).table.contains("cheaper"));
    }

    #[test]
    fn a_path_without_a_line_and_a_line_without_a_path_fail() {
        let budget = Budget::parse(TEXT).expect("a good file");
        assert_eq!(budget.compare("host", &measured(12, 35)[..1]).nr_failed, 1);
        let further = [&measured(12, 35)[..], &[Measured::new("new", 5, 1)]].concat();
        assert_eq!(budget.compare("host", &further).nr_failed, 1);
        assert_eq!(budget.compare("kernel", &[Measured::new("pop", 14, 1)]).nr_failed, 0, "groups are apart");
    }

    #[test]
    fn a_renewal_keeps_reasons_comments_and_other_groups_and_leaves_new_ones_to_be_explained() {
        let mut budget = Budget::parse(TEXT).expect("a good file");
        let now = [Measured::new("pop", 20, 1), Measured::new("new", 5, 1)];
        budget.renew("host", &now);
        let text = budget.print();
        for part in ["# what\n", "because", "frame pointer", "host.new"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("bulk"), "{text}");
        let again = Budget::parse(&text).expect("what is printed is understood");
        assert_eq!(again, budget);
        assert_eq!(again.compare("host", &now).nr_failed, 1, "the new one has no reason yet");
    }

    #[test]
    fn costs_for_an_object_are_rounded_up_to_a_tenth() {
        assert_eq!(Measured::new("bulk", 100, 16).tenths, 63);
        assert_eq!((in_tenths(63), in_tenths(60)), ("6.3".into(), "6".into()));
        assert_eq!((parse_tenths("6.3"), parse_tenths("6")), (Some(63), Some(60)));
    }

    #[test]
    fn bad_lines_are_named() {
        for bad in ["pop 12 why", "host.pop twelve why", "host.pop 12", "host.pop 1.25 why"] {
            assert!(Budget::parse(bad).is_err_and(|error| error.contains("line 1")), "{bad}");
        }
    }
}
