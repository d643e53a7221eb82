//! `debug=` on the kernel command line: which caches are debugged and how.
//!
//! ```text
//!   debug=slab                             all checks on all caches
//!   debug=slab:poison,redzone              these checks on all caches
//!   debug=slab:audit@64,192,mycache        on the classes that serve 64 and 192 bytes, and the cache of that name
//!   debug=guard:100                        about one in 100 visits behind the magazines gets an object on a guarded page
//!   debug=go-on                            what the checks find is printed and does not end the machine
//! ```
//!
//! May be given several times: a cache has the checks that any of the words gives it; of several intervals the last
//! counts.
//!
//! Called by: boot, before the heap is opened, and again to complain of what cannot be understood.

use core::fmt;

/// The checks of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Free memory is filled and verified.
    pub poison: bool,
    /// The bytes around objects are filled and verified.
    pub redzone: bool,
    /// Call sites are kept.
    pub audit: bool,
}

impl Checks {
    /// All of them.
    pub const ALL: Self = Self { poison: true, redzone: true, audit: true };

    /// These and those.
    pub fn with(self, other: Self) -> Self {
        Self {
            poison: self.poison || other.poison,
            redzone: self.redzone || other.redzone,
            audit: self.audit || other.audit,
        }
    }
}

/// A word behind `debug=`, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugOption<'a> {
    /// Checks of slab caches.
    Slab(SlabRule<'a>),
    /// One visit in so many behind the magazines gets a guarded object.
    Guard(u32),
    /// A finding does not end the machine.
    GoOn,
}

/// Checks, and the caches that have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabRule<'a> {
    /// The checks.
    pub checks: Checks,
    /// Names and sizes, separated by commas; every cache if there are none.
    targets: Option<&'a str>,
}

/// A cache that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The size class that serves so many bytes, and caches for objects of exactly that size.
    Size(usize),
    /// The cache of that name.
    Name(&'a str),
}

/// What is wrong with a word behind `debug=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongDebugOption<'a> {
    /// Nothing is called that.
    Mode(&'a str),
    /// No check is called that.
    Check(&'a str),
    /// Neither a size of a slab object nor a name.
    Target(&'a str),
    /// Not a number from 1 to 4294967295.
    Interval(&'a str),
}

impl fmt::Display for WrongDebugOption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode(word) => {
                write!(
                    f,
                    "`{word}` is not known; there is: slab[:poison,redzone,audit][@size or name,..], guard:N, go-on"
                )
            }
            Self::Check(word) => write!(f, "`{word}` is no check of a slab cache; there is: poison, redzone, audit"),
            Self::Target(word) => write!(f, "`{word}` is neither a size from 1 to {LARGEST} nor a cache's name"),
            Self::Interval(word) => write!(f, "guard: `{word}` is not a number from 1 on"),
        }
    }
}

/// The largest object of a slab.
const LARGEST: usize = mm::size_class::MAX_CLASS_SIZE;

impl<'a> DebugOption<'a> {
    /// Takes `value`, what stands behind `debug=`, apart.
    ///
    /// # Errors
    ///
    /// The part that cannot be understood.
    pub fn parse(value: &'a str) -> Result<Self, WrongDebugOption<'a>> {
        let (rule, targets) = match value.split_once('@') {
            Some((rule, targets)) => (rule, Some(targets)),
            None => (value, None),
        };
        let (mode, argument) = match rule.split_once(':') {
            Some((mode, argument)) => (mode, Some(argument)),
            None => (rule, None),
        };
        match (mode, argument, targets) {
            ("go-on", None, None) => Ok(Self::GoOn),
            ("guard", Some(interval), None) => match interval.parse() {
                Ok(interval) if interval > 0 => Ok(Self::Guard(interval)),
                _ => Err(WrongDebugOption::Interval(interval)),
            },
            ("slab", checks, targets) => {
                let checks = checks.map_or(Ok(Checks::ALL), parse_checks)?;
                if let Some(wrong) =
                    targets.and_then(|targets| targets.split(',').find(|word| Target::new(word).is_none()))
                {
                    return Err(WrongDebugOption::Target(wrong));
                }
                Ok(Self::Slab(SlabRule { checks, targets }))
            }
            _ => Err(WrongDebugOption::Mode(value)),
        }
    }
}

fn parse_checks(words: &str) -> Result<Checks, WrongDebugOption<'_>> {
    words.split(',').try_fold(Checks::default(), |checks, word| match word {
        "poison" => Ok(Checks { poison: true, ..checks }),
        "redzone" => Ok(Checks { redzone: true, ..checks }),
        "audit" => Ok(Checks { audit: true, ..checks }),
        _ => Err(WrongDebugOption::Check(word)),
    })
}

impl<'a> Target<'a> {
    fn new(word: &'a str) -> Option<Self> {
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word.parse().ok().filter(|size| (1..=LARGEST).contains(size)).map(Self::Size);
        }
        let is_name = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        is_name.then_some(Self::Name(word))
    }
}

impl<'a> SlabRule<'a> {
    /// The caches it names; `None` for all caches.
    pub fn targets(self) -> Option<impl Iterator<Item = Target<'a>>> {
        self.targets.map(|targets| targets.split(',').filter_map(Target::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slab(value: &str) -> (Checks, Option<Vec<Target<'_>>>) {
        match DebugOption::parse(value) {
            Ok(DebugOption::Slab(rule)) => (rule.checks, rule.targets().map(Iterator::collect)),
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn checks_and_caches_are_named() {
        let poison = Checks { poison: true, ..Checks::default() };
        assert_eq!(slab("slab"), (Checks::ALL, None));
        assert_eq!(slab("slab:poison"), (poison, None));
        assert_eq!(slab("slab:poison,redzone,audit"), (Checks::ALL, None));
        assert_eq!(slab("slab:poison,poison"), (poison, None));
        let targets = vec![Target::Size(64), Target::Size(32768), Target::Name("my-cache.2")];
        assert_eq!(slab("slab:poison@64,32768,my-cache.2"), (poison, Some(targets)));
        assert_eq!(slab("slab@64"), (Checks::ALL, Some(vec![Target::Size(64)])));
        assert_eq!(DebugOption::parse("guard:100"), Ok(DebugOption::Guard(100)));
        assert_eq!(DebugOption::parse("go-on"), Ok(DebugOption::GoOn));
    }

    #[test]
    fn the_word_that_is_wrong_is_named() {
        use WrongDebugOption::{Check, Interval, Mode, Target};
        for (value, wrong) in [
            ("", Mode("")),
            ("slub", Mode("slub")),
            ("slab2:poison", Mode("slab2:poison")),
            ("slab:", Check("")),
            ("slab:poisson", Check("poisson")),
            ("slab:poison,", Check("")),
            ("slab@", Target("")),
            ("slab:poison@64,,65", Target("")),
            ("slab:poison@0", Target("0")),
            ("slab:poison@32769", Target("32769")),
            ("slab:poison@64k", Target("64k")),
            ("slab@a b", Target("a b")),
            ("guard", Mode("guard")),
            ("guard:", Interval("")),
            ("guard:0", Interval("0")),
            ("guard:x", Interval("x")),
            ("guard:1@64", Mode("guard:1@64")),
            ("go-on:1", Mode("go-on:1")),
        ] {
            assert_eq!(DebugOption::parse(value), Err(wrong), "{value}");
            assert!(wrong.to_string().contains('`'), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_refused(value in "[a-z:@,0-9]{0,30}") {
            if let Err(wrong) = DebugOption::parse(&value) {
                prop_assert!(!wrong.to_string().is_empty());
            }
        }

        #[test]
        fn every_target_that_is_accepted_is_kept(words in proptest::collection::vec("[a-z1-9][a-z0-9]{0,3}", 1..5)) {
            let value = format!("slab:audit@{}", words.join(","));
            if let Ok(DebugOption::Slab(rule)) = DebugOption::parse(&value) {
                prop_assert_eq!(rule.targets().map(Iterator::count), Some(words.len()));
            }
        }
    }
}
