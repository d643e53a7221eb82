//! How far apart two CPUs' clocks are: each tells the other its time, in turns, through one word.
//!
//! ```text
//!   first    t0 = clock ──► word ──► sees t1, reads clock: gap = clock - t1 ──► t2 = clock ──► word ...
//!   second            sees t0, reads clock: gap = clock - t0 ──► t1 = clock ──► word ──► ...
//! ```
//!
//! A reading is sent before it is seen, and whoever sees it reads its own clock afterwards. So of synchronous clocks no
//! gap is ever negative: a negative one is a *warp*, time that went backwards from one CPU to the other, and proves that
//! the clocks are at least so far apart.
//!
//! That none was seen does not prove that the clocks agree: an offset smaller than the way of a cache line hides in it. But
//! it is bounded. If the second clock is ahead by `d`, then each gap of the second CPU is at least `d`, and each of the
//! first at least `-d`, since no message arrives before it was sent. Therefore `-least_first <= d <= least_second`, with no
//! assumption that both ways take equally long (cf. Mills, RFC 5905, section 8, whose round-trip delay bounds the offset
//! likewise). The more turns, the tighter.
//!
//! Invariant: one writer at a time, whose turn it is; the word's lowest bit says who wrote it. One word, so there is no
//! order between two accesses to get wrong.
//! Called by: the kernel's clock, on pairs of CPUs. No lock. Context: any but an NMI; waiters serve their CPU.

use crossbeam_utils::CachePadded;

use crate::hardware::Hardware;
use crate::poll::Poll;
use crate::sync::{AtomicU64, Ordering};

/// Who speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Begins each turn.
    First,
    /// Answers.
    Second,
}

impl Side {
    /// The lowest bit of what it writes.
    const fn mark(self) -> u64 {
        self as u64
    }
}

/// Where two CPUs tell each other the time, once.
#[derive(Debug)]
pub struct Exchange {
    /// The last reading, shifted left by one, and who wrote it.
    word: CachePadded<AtomicU64>,
}

/// Nothing has been said. It bears the second's mark, so the first begins.
const SILENCE: u64 = Side::Second.mark();
/// No more turns. It bears the first's mark: the second sees it, and answers nothing.
const HANG_UP: u64 = u64::MAX - 1;

impl Exchange {
    const_unless_loom! {
        /// For one pair of CPUs and one [`play`](Self::play) of each.
        pub fn new() -> Self {
            Self { word: CachePadded::new(AtomicU64::new(SILENCE)) }
        }
    }

    /// Takes `side`'s part until the first side's `goes_on` says no, which it is asked before each of its turns. Returns
    /// the least gap seen, or `None` if there was no turn.
    ///
    /// `clock` must read after all that came before it in the program and before what comes after (`lfence; rdtsc; lfence`);
    /// of its readings 63 bits count. The other CPU must take the other part, or this one waits for ever.
    pub fn play<H: Hardware>(
        &self,
        hw: &H,
        side: Side,
        mut clock: impl FnMut() -> u64,
        mut goes_on: impl FnMut() -> bool,
    ) -> Option<i64> {
        let mut least: Option<i64> = None;
        let mut is_opening = side == Side::First;
        loop {
            if !is_opening {
                let seen = self.wait_for_other(hw, side);
                if seen == HANG_UP {
                    return least;
                }
                let gap = clock().wrapping_sub(seen >> 1) as i64;
                least = Some(least.map_or(gap, |least| least.min(gap)));
            }
            is_opening = false;
            if side == Side::First && !goes_on() {
                self.word.store(HANG_UP, Ordering::Release);
                return least;
            }
            self.word.store(clock() << 1 | side.mark(), Ordering::Release);
        }
    }

    /// Waits for a word of the other side.
    fn wait_for_other<H: Hardware>(&self, hw: &H, side: Side) -> u64 {
        let mut pace = Poll::default();
        loop {
            // Acquire: what this CPU reads from here on is later than what the other did before it wrote.
            let word = self.word.load(Ordering::Acquire);
            if word & 1 != side.mark() {
                return word;
            }
            pace.step(hw);
        }
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known of the distance between two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// The first clock is ahead by no more than this many ticks (behind, if negative) ...
    pub first_ahead_at_most: i64,
    /// ... and the second by no more than this many.
    pub second_ahead_at_most: i64,
}

impl Skew {
    /// From the least gap that either side has seen.
    pub const fn from_gaps(least_of_first: i64, least_of_second: i64) -> Self {
        Self { first_ahead_at_most: least_of_first, second_ahead_at_most: least_of_second }
    }

    /// The farthest that time was seen to go backwards from one CPU to the other; 0 if it never was.
    pub const fn warp_ticks(&self) -> u64 {
        let least = if self.first_ahead_at_most < self.second_ahead_at_most {
            self.first_ahead_at_most
        } else {
            self.second_ahead_at_most
        };
        if least < 0 { least.unsigned_abs() } else { 0 }
    }

    /// The clocks are not farther apart than this.
    pub const fn bound_ticks(&self) -> u64 {
        let (first, second) = (self.first_ahead_at_most.unsigned_abs(), self.second_ahead_at_most.unsigned_abs());
        if first > second { first } else { second }
    }
}
