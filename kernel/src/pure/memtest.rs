//! Tests of memory by what is written and read back: which words, in which order, with which patterns.
//!
//! A test is a list of steps (in the literature, march elements: A. J. van de Goor, Testing Semiconductor Memories, 1991).
//! A step visits every word, upwards or downwards, reads it and compares, writes it anew, or both. What each test promises
//! to find, and the tests below prove on memory with faults built in:
//!
//! | test | stuck bits | address lines | coupled words | neighbouring bits |
//! |---|---|---|---|---|
//! | address | yes | yes | | |
//! | walking | yes | yes | yes | yes, within a byte |
//! | checkerboard | yes | yes | | yes |
//! | random | yes | yes | | almost surely |
//!
//! *address*: each word holds its own address, then the complement: two addresses that reach one cell show. *walking*: March
//! C- (M. Marinescu, Simple and Efficient Algorithms for Functional RAM Testing, ITC 1982) over eight backgrounds, a one walking
//! through each byte: it finds every fault in which a change of one bit disturbs a bit of another word, whichever of the two
//! comes first. *checkerboard*: neighbouring bits differ, in a word and from word to word. *random*: what no pattern
//! thought of; the seed repeats it.
//!
//! Where a step visits words is up to the caller ([`Step::sweep`] does one piece), and so is what makes a read come from
//! memory and not from a cache. All words must be done before the next step begins.
//!
//! Called by: the shell's `memtest`. No state.

use core::fmt;

/// Words by their number: a piece of memory.
pub trait Words {
    /// How many.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads one, from memory.
    fn read(&self, index: usize) -> u64;

    /// Writes one, to memory.
    fn write(&mut self, index: usize, value: u64);
}

/// A word that did not hold what was written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Physical address of the word.
    pub addr: u64,
    /// What had been written.
    pub expected: u64,
    /// What was read.
    pub found: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, expected, found } = self;
        write!(f, "{addr:#014x}: {expected:016x} was written, {found:016x} read, xor {:016x}", expected ^ found)
    }
}

/// What a word is to hold, as a function of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Its own address.
    Address,
    /// The same everywhere.
    Solid(u64),
    /// This in every other word, its complement between them.
    Alternate(u64),
    /// Random numbers of this seed.
    Random(u64),
}

impl Pattern {
    /// The value for the word at `addr`, inverted if `is_inverted`.
    fn value(self, addr: u64, is_inverted: bool) -> u64 {
        let value = match self {
            Self::Address => addr,
            Self::Solid(value) => value,
            Self::Alternate(value) if addr & 8 == 0 => value,
            Self::Alternate(value) => !value,
            Self::Random(seed) => mixed(seed ^ mixed(addr)),
        };
        if is_inverted { !value } else { value }
    }
}

/// SplitMix64's mixing function; see [`crate::rng`].
fn mixed(value: u64) -> u64 {
    crate::rng::SplitMix64::new(value).next_u64()
}

/// In which order a step visits words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By rising addresses.
    Up,
    /// By falling ones.
    Down,
}

/// One visit of every word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The order.
    pub order: Order,
    /// What is read is compared with the pattern (false) or with its complement (true).
    reads: Option<bool>,
    /// The pattern (false) or its complement (true) is written.
    writes: Option<bool>,
    pattern: Pattern,
}

impl Step {
    /// Whether it writes.
    pub fn is_writing(&self) -> bool {
        self.writes.is_some()
    }

    /// Does its part in the words of `memory`, the first of which lies at physical address `addr`. Calls `report` for each
    /// word that does not hold what it should.
    #[inline]
    pub fn sweep<W: Words>(&self, memory: &mut W, addr: u64, mut report: impl FnMut(Fault)) {
        match self.order {
            Order::Up => (0..memory.len()).for_each(|index| self.visit(memory, addr, index, &mut report)),
            Order::Down => (0..memory.len()).rev().for_each(|index| self.visit(memory, addr, index, &mut report)),
        }
    }

    #[inline(always)]
    fn visit<W: Words>(&self, memory: &mut W, start: u64, index: usize, report: &mut impl FnMut(Fault)) {
        let addr = start + 8 * index as u64;
        let value = self.pattern.value(addr, false);
        let as_is_or_not = |is_inverted: bool| if is_inverted { !value } else { value };
        if let Some(is_inverted) = self.reads {
            let (expected, found) = (as_is_or_not(is_inverted), memory.read(index));
            if expected != found {
                report(Fault { addr, expected, found });
            }
        }
        if let Some(is_inverted) = self.writes {
            memory.write(index, as_is_or_not(is_inverted));
        }
    }
}

/// The tests, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Own address and its complement.
    Address,
    /// March C- with walking ones.
    Walking,
    /// Checkerboard.
    Checkerboard,
    /// Random numbers, in both directions.
    Random,
}

impl Test {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Address, Self::Walking, Self::Checkerboard, Self::Random];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Walking => "walking",
            Self::Checkerboard => "checkerboard",
            Self::Random => "random",
        }
    }

    /// Its steps; `seed` is for the random ones.
    pub fn steps(self, seed: u64) -> impl Iterator<Item = Step> + Clone {
        use Order::{Down, Up};
        /// Order, what is read, what is written: the pattern is false, its complement true.
        type Element = (Order, Option<bool>, Option<bool>);
        const THERE_AND_BACK: &[Element] =
            &[(Up, None, Some(false)), (Up, Some(false), Some(true)), (Down, Some(true), None)];
        const BOTH_DIRECTIONS: &[Element] = &[
            (Up, None, Some(false)),
            (Up, Some(false), Some(true)),
            (Down, Some(true), Some(false)),
            (Down, Some(false), None),
        ];
        const MARCH_C_MINUS: &[Element] = &[
            (Up, None, Some(false)),
            (Up, Some(false), Some(true)),
            (Up, Some(true), Some(false)),
            (Down, Some(false), Some(true)),
            (Down, Some(true), Some(false)),
            (Down, Some(false), None),
        ];
        let (elements, nr_patterns) = match self {
            Self::Address | Self::Checkerboard => (THERE_AND_BACK, 1),
            Self::Walking => (MARCH_C_MINUS, 8),
            Self::Random => (BOTH_DIRECTIONS, 1),
        };
        (0..nr_patterns).flat_map(move |nth: u32| {
            let pattern = match self {
                Self::Address => Pattern::Address,
                Self::Walking => Pattern::Solid(0x0101_0101_0101_0101 << nth),
                Self::Checkerboard => Pattern::Alternate(0x5555_5555_5555_5555),
                Self::Random => Pattern::Random(seed),
            };
            elements.iter().map(move |&(order, reads, writes)| Step { order, reads, writes, pattern })
        })
    }
}

#[cfg(test)]
#[path = "memtest_tests.rs"]
mod tests;
