//! A pyramid of summaries: level 0 holds bits, each level above one bit for each word below, "is it non-zero?".
//!
//! Invariants: level k has one bit for each word of level k - 1, set exactly if that word is non-zero; the topmost
//! level is one word; bits past the end of a level are clear; no word above word `top_hint` is non-zero.

use core::ops::Range;

/// Enough for [`MAX_BITS`].
const MAX_LEVELS: usize = 6;

pub(super) const MAX_BITS: usize = 1 << (6 * MAX_LEVELS);

/// Words in all levels together.
pub(super) const fn words_needed(nr_bits: usize) -> usize {
    let mut nr_words = words_of(nr_bits);
    let mut total = nr_words;
    while nr_words > 1 {
        nr_words = words_of(nr_words);
        total += nr_words;
    }
    total
}

/// Words that hold `nr_bits` bits; one even for none, so that there is always a top.
const fn words_of(nr_bits: usize) -> usize {
    if nr_bits == 0 { 1 } else { nr_bits.div_ceil(64) }
}

pub(super) struct Pyramid<'a> {
    levels: [&'a mut [u64]; MAX_LEVELS],
    nr_levels: usize,
    nr_bits: usize,
    /// Where the last set bit is, or was when it was last looked for: taking and giving back at the top, which is what
    /// a frame allocator does all day, needs no walk down the levels.
    top_hint: usize,
}

impl<'a> Pyramid<'a> {
    /// A pyramid of clear bits at the front of `storage`, and the storage behind it.
    pub(super) fn new(storage: &'a mut [u64], nr_bits: usize) -> (Self, &'a mut [u64]) {
        let mut levels: [&'a mut [u64]; MAX_LEVELS] = Default::default();
        let mut rest = storage;
        let mut nr_words = words_of(nr_bits);
        let mut nr_levels = 0;
        loop {
            let (level, behind) = rest.split_at_mut(nr_words);
            level.fill(0);
            levels[nr_levels] = level;
            nr_levels += 1;
            rest = behind;
            if nr_words == 1 {
                return (Self { levels, nr_levels, nr_bits, top_hint: 0 }, rest);
            }
            nr_words = words_of(nr_words);
        }
    }

    pub(super) fn nr_bits(&self) -> usize {
        self.nr_bits
    }

    /// Word `index` of the bits; zero past the end.
    pub(super) fn word(&self, index: usize) -> u64 {
        self.levels[0].get(index).copied().unwrap_or(0)
    }

    /// Replaces word `index` of the bits and returns what it was. The summaries change only if it goes to or from zero.
    pub(super) fn store(&mut self, index: usize, value: u64) -> u64 {
        let old = core::mem::replace(&mut self.levels[0][index], value);
        let mut index = index;
        if old == 0 && value != 0 {
            self.top_hint = self.top_hint.max(index);
            for level in &mut self.levels[1..self.nr_levels] {
                let word = &mut level[index / 64];
                let was = *word;
                *word |= 1 << (index % 64);
                if was != 0 {
                    break;
                }
                index /= 64;
            }
        } else if old != 0 && value == 0 {
            for level in &mut self.levels[1..self.nr_levels] {
                let word = &mut level[index / 64];
                *word &= !(1 << (index % 64));
                if *word != 0 {
                    break;
                }
                index /= 64;
            }
        }
        old
    }

    /// Sets the bits of `range`, which must not be empty, and returns how many were clear.
    pub(super) fn set_range(&mut self, range: Range<usize>) -> usize {
        let nr_changed = range.len() - count_ones(self.levels[0], range.clone());
        self.top_hint = self.top_hint.max((range.end - 1) / 64);
        let (mut start, mut end) = (range.start, range.end);
        for level in &mut self.levels[..self.nr_levels] {
            let (first, last) = (start / 64, (end - 1) / 64);
            apply(level, start..end, |word, mask| word | mask);
            (start, end) = (first, last + 1);
        }
        nr_changed
    }

    /// Clears the bits of `range`, which must not be empty, and returns how many were set.
    pub(super) fn clear_range(&mut self, range: Range<usize>) -> usize {
        let nr_changed = count_ones(self.levels[0], range.clone());
        let (mut start, mut end) = (range.start, range.end);
        for level in &mut self.levels[..self.nr_levels] {
            apply(level, start..end, |word, mask| word & !mask);
            let (first, last) = (start / 64, (end - 1) / 64);
            // Between the first and the last word all are zero now; those two may keep bits outside the range.
            start = if level[first] == 0 { first } else { first + 1 };
            end = if level[last] == 0 { last + 1 } else { last };
            if start >= end {
                break;
            }
        }
        nr_changed
    }

    /// The first set bit at or after `index`.
    pub(super) fn first_set(&self, index: usize) -> Option<usize> {
        self.first_from(0, index)
    }

    /// The last set bit before `index`.
    pub(super) fn last_set(&self, index: usize) -> Option<usize> {
        self.last_from(0, index.min(self.nr_bits))
    }

    /// The first non-zero word at or after word `index`.
    pub(super) fn first_word(&self, index: usize) -> Option<usize> {
        if self.word(index) != 0 {
            return Some(index);
        }
        self.first_from(1, index)
    }

    /// The last non-zero word before word `index`.
    pub(super) fn last_word(&self, index: usize) -> Option<usize> {
        let index = index.min(self.levels[0].len());
        if index > 0 && self.word(index - 1) != 0 {
            return Some(index - 1);
        }
        self.last_from(1, index)
    }

    /// The first set bit of all: straight down from the top.
    pub(super) fn first(&self) -> Option<usize> {
        let top = self.nr_levels - 1;
        let word = self.levels[top][0];
        (word != 0).then(|| self.descend(top, 0, word.trailing_zeros() as usize, |word| word.trailing_zeros() as usize))
    }

    /// The last set bit of all: at the hint, else straight down from the top.
    pub(super) fn last(&mut self) -> Option<usize> {
        let word = self.levels[0][self.top_hint];
        if word != 0 {
            return Some(self.top_hint * 64 + highest(word));
        }
        let top = self.nr_levels - 1;
        let word = self.levels[top][0];
        let last = (word != 0).then(|| self.descend(top, 0, highest(word), highest));
        self.top_hint = last.map_or(0, |last| last / 64);
        last
    }

    /// Up from `level` until a word has a set bit at or after `index`, then down again to `level`.
    fn first_from(&self, base: usize, mut index: usize) -> Option<usize> {
        for level in base..self.nr_levels {
            let word = self.levels[level].get(index / 64)? & (!0 << (index % 64));
            if word != 0 {
                let found = index / 64 * 64 + word.trailing_zeros() as usize;
                return Some(self.descend(level, base, found, |word| word.trailing_zeros() as usize));
            }
            index = index / 64 + 1;
        }
        None
    }

    /// Up from `level` until a word has a set bit before `end`, then down again to `level`.
    fn last_from(&self, base: usize, mut end: usize) -> Option<usize> {
        for level in base..self.nr_levels {
            let last = end.checked_sub(1)?;
            let word = self.levels[level][last / 64] & (!0 >> (63 - last % 64));
            if word != 0 {
                return Some(self.descend(level, base, last / 64 * 64 + highest(word), highest));
            }
            end = last / 64;
        }
        None
    }

    /// From bit `index` of level `from` down to level `to`, picking one set bit in each word on the way.
    fn descend(&self, from: usize, to: usize, mut index: usize, pick: impl Fn(u64) -> usize) -> usize {
        for level in (to..from).rev() {
            index = index * 64 + pick(self.levels[level][index]);
        }
        index
    }

    pub(super) fn check_invariants(&self) {
        for level in 1..self.nr_levels {
            for (index, word) in self.levels[level - 1].iter().enumerate() {
                let bit = self.levels[level][index / 64] >> (index % 64) & 1 != 0;
                assert_eq!(bit, *word != 0, "summary of word {index} at level {}, which is {word:#x}", level - 1);
            }
        }
        let mut nr_bits = self.nr_bits;
        for (level, words) in self.levels[..self.nr_levels].iter().enumerate() {
            let nr_past = words.len() * 64 - nr_bits;
            let past = words[words.len() - 1].leading_zeros() as usize;
            assert!(past >= nr_past.min(64), "level {level} has bits past its end: {:#x}", words[words.len() - 1]);
            nr_bits = words.len();
        }
        assert_eq!(self.levels[self.nr_levels - 1].len(), 1, "the top is one word");
        let above_hint = &self.levels[0][self.top_hint + 1..];
        assert!(above_hint.iter().all(|word| *word == 0), "set bits above word {}, the hint", self.top_hint);
    }
}

/// Position of the highest set bit of a word that is not zero.
fn highest(word: u64) -> usize {
    63 - word.leading_zeros() as usize
}

/// Replaces each word that `range` touches by `change(word, mask of the bits in range)`.
fn apply(words: &mut [u64], range: Range<usize>, change: impl Fn(u64, u64) -> u64) {
    let (first, last) = (range.start / 64, (range.end - 1) / 64);
    let (head, tail) = (!0 << (range.start % 64), !0 >> (63 - (range.end - 1) % 64));
    if first == last {
        words[first] = change(words[first], head & tail);
        return;
    }
    words[first] = change(words[first], head);
    for word in &mut words[first + 1..last] {
        *word = change(*word, !0);
    }
    words[last] = change(words[last], tail);
}

/// Set bits of `range`. Whole words of zeros or ones, the common case, are not counted bit by bit.
fn count_ones(words: &[u64], range: Range<usize>) -> usize {
    let (first, last) = (range.start / 64, (range.end - 1) / 64);
    let (head, tail) = (!0 << (range.start % 64), !0 >> (63 - (range.end - 1) % 64));
    let ones = |word: u64| match word {
        0 => 0,
        0xffff_ffff_ffff_ffff => 64,
        _ => word.count_ones() as usize,
    };
    if first == last {
        return ones(words[first] & head & tail);
    }
    let middle: usize = words[first + 1..last].iter().map(|&word| ones(word)).sum();
    ones(words[first] & head) + middle + ones(words[last] & tail)
}
