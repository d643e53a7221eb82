//! Bitmaps that answer "where is the next one?" in the same time at every fill.
//!
//! A set bit means "present" or "free". Above the bits stand summary levels, each 64 times narrower, in which a bit
//! says "the word below me is not zero"; beside them a second, 64 times smaller pyramid says which words are all ones:
//!
//! ```text
//!   summary 2                    1                        1 word
//!   summary 1        1   0   1   0   0   1 ...            1 bit for each word below: is it non-zero?
//!   bits          0110  0000 1111 0000 0000 1000 ...      64 bits to a word (4 drawn)
//!   full words       0   0   1   0   0   0 ...            1 bit for each word above: is it all ones?
//!   its summaries    ...
//! ```
//!
//! Single bits are found through the summaries: one word for each level, six levels for 2^36 bits. Runs of 127 bits
//! and more must contain a full word, and are found through the full words; shorter runs look at each non-zero word.
//! Everything lives in storage of the caller: [`Bitmap::words_needed`] words, a thirtieth more than the bits alone.
//!
//! Invariants (see [`Bitmap::check_invariants`]): a summary bit is set exactly if its word is non-zero, a full bit
//! exactly if its word is all ones, no bit at or past `nr_bits` is set, the count is exact.
//!
//! No lock: `&mut self` says who owns it. Called by: `frame_bitmap`.

mod pyramid;
mod search;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use core::ops::Range;
use pyramid::Pyramid;

pub use search::Direction;

/// Most bits a [`Bitmap`] can have: 2^36.
pub const MAX_BITS: usize = pyramid::MAX_BITS;

/// Bits with summaries above them, over storage of the caller. All bits start out clear.
pub struct Bitmap<'a> {
    bits: Pyramid<'a>,
    /// One bit for each word of `bits`: is the word all ones?
    full: Pyramid<'a>,
    count: usize,
}

impl<'a> Bitmap<'a> {
    /// Words of storage that `nr_bits` bits and their summaries take.
    pub const fn words_needed(nr_bits: usize) -> usize {
        pyramid::words_needed(nr_bits) + pyramid::words_needed(nr_bits.div_ceil(64))
    }

    /// A bitmap of `nr_bits` clear bits in `storage`, whatever that held before.
    ///
    /// # Errors
    /// `BadRequest` with `nr_bits` if there are more than [`MAX_BITS`], or with the length of `storage` if that is
    /// less than [`words_needed`](Self::words_needed).
    pub fn new(storage: &'a mut [u64], nr_bits: usize) -> Result<Self> {
        if nr_bits > MAX_BITS {
            return Err(Error::BadRequest { value: nr_bits });
        }
        if storage.len() < Self::words_needed(nr_bits) {
            return Err(Error::BadRequest { value: storage.len() });
        }
        let (bits, rest) = Pyramid::new(storage, nr_bits);
        let (full, _) = Pyramid::new(rest, nr_bits.div_ceil(64));
        Ok(Self { bits, full, count: 0 })
    }

    /// How many bits it has, set or clear.
    pub fn nr_bits(&self) -> usize {
        self.bits.nr_bits()
    }

    /// How many bits are set.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether bit `index` is set; bits past the end are not.
    pub fn get(&self, index: usize) -> bool {
        self.bits.word(index / 64) >> (index % 64) & 1 != 0
    }

    /// The 64 bits from `64 * index` on; past the end they are clear.
    pub fn word(&self, index: usize) -> u64 {
        self.bits.word(index)
    }

    /// Sets bit `index` and tells whether it was clear. Cost: one word, and the summaries if that was zero.
    ///
    /// # Panics
    /// If `index` is past the end.
    pub fn set(&mut self, index: usize) -> bool {
        self.assert_inside(&(index..index.saturating_add(1)));
        let was_clear = !self.get(index);
        if was_clear {
            self.store_word(index / 64, self.bits.word(index / 64) | 1 << (index % 64));
            self.count += 1;
        }
        was_clear
    }

    /// Sets the bits of `mask` in the 64 from `64 * word` on, if all are clear; tells whether. Cost: as of one bit.
    ///
    /// # Panics
    /// If one of them is past the end.
    pub fn set_clear_bits(&mut self, word: usize, mask: u64) -> bool {
        let end = 64 * word + 64 - mask.leading_zeros() as usize;
        self.assert_inside(&(64 * word..end));
        let old = self.bits.word(word);
        let were_clear = old & mask == 0;
        if were_clear {
            self.store_word(word, old | mask);
            self.count += mask.count_ones() as usize;
        }
        were_clear
    }

    /// Clears bit `index` and tells whether it was set. Cost: one word, and the summaries if that becomes zero.
    ///
    /// # Panics
    /// If `index` is past the end.
    pub fn clear(&mut self, index: usize) -> bool {
        self.assert_inside(&(index..index.saturating_add(1)));
        let was_set = self.get(index);
        if was_set {
            self.store_word(index / 64, self.bits.word(index / 64) & !(1 << (index % 64)));
            self.count -= 1;
        }
        was_set
    }

    /// Sets every bit of `range`, a word at a time, and returns how many were clear.
    ///
    /// # Panics
    /// If `range` reaches past the end.
    pub fn set_range(&mut self, range: Range<usize>) -> usize {
        self.assert_inside(&range);
        if range.is_empty() {
            return 0;
        }
        let nr_changed = self.bits.set_range(range.clone());
        let (first, last) = (range.start / 64, (range.end - 1) / 64);
        let full_from = if self.bits.word(first) == !0 { first } else { first + 1 };
        let full_to = if self.bits.word(last) == !0 { last + 1 } else { last };
        if full_from < full_to {
            self.full.set_range(full_from..full_to);
        }
        self.count += nr_changed;
        nr_changed
    }

    /// Clears every bit of `range`, a word at a time, and returns how many were set.
    ///
    /// # Panics
    /// If `range` reaches past the end.
    pub fn clear_range(&mut self, range: Range<usize>) -> usize {
        self.assert_inside(&range);
        if range.is_empty() {
            return 0;
        }
        let nr_changed = self.bits.clear_range(range.clone());
        self.full.clear_range(range.start / 64..(range.end - 1) / 64 + 1);
        self.count -= nr_changed;
        nr_changed
    }

    /// The first set bit at or after `index`. Cost: at most two words for each level.
    pub fn first_set_at_or_after(&self, index: usize) -> Option<usize> {
        self.bits.first_set(index)
    }

    /// The last set bit before `index` (itself excluded). Cost: at most two words for each level.
    pub fn last_set_before(&self, index: usize) -> Option<usize> {
        self.bits.last_set(index)
    }

    /// Clears the first set bit and returns it. Cost: one word for each level.
    pub fn take_first(&mut self) -> Option<usize> {
        let index = self.bits.first()?;
        self.clear(index);
        Some(index)
    }

    /// Clears the last set bit and returns it. Cost: one word for each level.
    pub fn take_last(&mut self) -> Option<usize> {
        let index = self.bits.last()?;
        self.clear(index);
        Some(index)
    }

    /// Clears the last `max` set bits (or all, if there are fewer), tells `sink` each in descending order, and returns
    /// how many. Cost: one search for each word that holds some of them.
    pub fn take_last_each(&mut self, max: usize, mut sink: impl FnMut(usize)) -> usize {
        let mut nr_taken = 0;
        while nr_taken < max {
            let Some(top) = self.bits.last() else { break };
            let mut word = self.bits.word(top / 64);
            while word != 0 && nr_taken < max {
                let bit = 63 - word.leading_zeros() as usize;
                word &= !(1 << bit);
                sink(top / 64 * 64 + bit);
                nr_taken += 1;
            }
            self.store_word(top / 64, word);
        }
        self.count -= nr_taken;
        nr_taken
    }

    /// Whether every bit of `range` is set; false if it reaches past the end.
    pub fn is_range_set(&self, range: Range<usize>) -> bool {
        range.end <= self.nr_bits() && self.first_clear_in(range).is_none()
    }

    /// Whether no bit of `range` is set.
    pub fn is_range_clear(&self, range: Range<usize>) -> bool {
        range.is_empty() || self.bits.first_set(range.start).is_none_or(|index| index >= range.end)
    }

    /// Checks every invariant of the module, in time proportional to the bits. For tests.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        self.bits.check_invariants();
        self.full.check_invariants();
        let mut count = 0;
        for word in 0..self.nr_bits().div_ceil(64) {
            let value = self.bits.word(word);
            count += value.count_ones() as usize;
            let is_full = self.full.word(word / 64) >> (word % 64) & 1 != 0;
            assert_eq!(is_full, value == !0, "full bit of word {word}, which is {value:#x}");
        }
        assert_eq!(count, self.count, "set bits and their count");
    }

    /// Replaces word `word`; the caller adjusts the count.
    fn store_word(&mut self, word: usize, value: u64) {
        let old = self.bits.store(word, value);
        if (old == !0) != (value == !0) {
            let full = self.full.word(word / 64);
            self.full.store(word / 64, full ^ 1 << (word % 64));
        }
    }

    fn assert_inside(&self, range: &Range<usize>) {
        assert!(range.end <= self.nr_bits(), "bits {range:?} of a bitmap of {}", self.nr_bits());
    }
}
