//! The log: what the last generations asked for, so that a CPU that is a few behind can flush single pages.
//!
//! One word for each generation, in a ring:
//!
//! ```text
//!   63            42 41                         6 5        0
//!   | tag: 22 bits  | page number: 36 bits       | pages   |      pages 0 = everything
//!   generation / ring length        bits 12..48 of the start
//! ```
//!
//! A word is written after its generation was announced, by whoever announced it. So a reader may find a word of an
//! older generation, or, if it is slow, of a newer one. The tag tells, and any doubt means "flush everything": the log
//! can only ever save work. Since a word carries its own tag there is no torn entry, no reader that has to look twice,
//! and no order between entries: Relaxed is enough. Two words with a full tag would need the writers of one slot to take
//! turns, that is, a lock or one more shared read-modify-write for each round.
//!
//! The tag repeats after 2^28 generations. To mistake a word for another, 2^28 generations would have to pass between
//! an initiator's announcement and its very next stores. It runs those with interrupts off and is waited for by every
//! round meanwhile (one that is not waited for, since it is not online, asks for everything: a word without pages can
//! be mistaken for nothing). So none of those rounds could complete, and each of 512 CPUs would have to have announced
//! half a million generations without waiting for one.

use super::page_range::{PAGE_SIZE, PageRange};
use crate::mutant::{self, Mutant};
use crate::sync::{AtomicU64, Ordering};

/// Generations the ring holds. Two under loom, so that models see it overrun.
pub(super) const LOG_LEN: usize = if cfg!(loom) { 2 } else { 64 };

/// The most pages that one word can ask for singly.
pub(super) const MAX_PAGES: usize = (1 << PAGES_BITS) - 1;

const PAGES_BITS: u32 = 6;
const NUMBER_BITS: u32 = 36;
const TAG_SHIFT: u32 = PAGES_BITS + NUMBER_BITS;

// To ensure that a round of one page to a word and at most MAX_PAGES pages never laps itself.
const _: () = assert!(cfg!(loom) || MAX_PAGES < LOG_LEN);

#[derive(Debug)]
pub(super) struct Log {
    words: [AtomicU64; LOG_LEN],
}

impl Log {
    const_unless_loom! {
        pub(super) fn new() -> Self {
            Self { words: array_of!(AtomicU64::new(0); LOG_LEN) }
        }
    }

    /// Records that `generation` asks for `range`, or for everything.
    pub(super) fn write(&self, generation: u64, range: Option<PageRange>) {
        let request = range.and_then(encode).unwrap_or(0);
        self.word(generation).store(tag(generation) | request, Ordering::Relaxed);
    }

    /// What `generation` asks for. `None` for everything, and for a generation the log does not hold.
    pub(super) fn read(&self, generation: u64) -> Option<PageRange> {
        let word = self.word(generation).load(Ordering::Relaxed);
        let is_of_generation = word >> TAG_SHIFT << TAG_SHIFT == tag(generation);
        if is_of_generation || mutant::is(Mutant::LogTagIgnored) { decode(word) } else { None }
    }

    fn word(&self, generation: u64) -> &AtomicU64 {
        &self.words[(generation % LOG_LEN as u64) as usize]
    }
}

const fn tag(generation: u64) -> u64 {
    (generation / LOG_LEN as u64) << TAG_SHIFT
}

/// Packs a range, if it is small enough and lies in the 48 bits of address that four-level paging translates.
fn encode(range: PageRange) -> Option<u64> {
    if range.is_empty() || range.nr_pages() > MAX_PAGES {
        return None;
    }
    let number = (range.start() / PAGE_SIZE) as u64 & ((1 << NUMBER_BITS) - 1);
    let word = number << PAGES_BITS | range.nr_pages() as u64;
    // Sign-extended from bit 47, or the address does not come back.
    let unused_bits = u64::BITS - NUMBER_BITS - PAGE_SIZE.trailing_zeros();
    let is_canonical = ((range.start() as i64) << unused_bits >> unused_bits) as usize == range.start();
    is_canonical.then_some(word)
}

fn decode(word: u64) -> Option<PageRange> {
    let nr_pages = (word & MAX_PAGES as u64) as usize;
    if nr_pages == 0 {
        return None;
    }
    // Moved up to the top so that the arithmetic shift back down repeats the sign, bit 47 of the address.
    let unused_bits = 64 - NUMBER_BITS;
    let number = ((word >> PAGES_BITS << unused_bits) as i64) >> unused_bits;
    Some(PageRange::from_parts((number as usize).wrapping_mul(PAGE_SIZE), nr_pages))
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;

    fn range(start: usize, nr_pages: usize) -> PageRange {
        PageRange::new(start, nr_pages).unwrap()
    }

    #[test]
    fn ranges_come_back_as_they_went_in() {
        let log = Log::new();
        let starts = [0, 0x1000, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0xffff_ffff_8000_0000];
        for (generation, start) in starts.into_iter().enumerate() {
            for nr_pages in [1, 2, 31, 32, 33, MAX_PAGES] {
                log.write(generation as u64, Some(range(start, nr_pages)));
                assert_eq!(log.read(generation as u64), Some(range(start, nr_pages)));
            }
        }
    }

    #[test]
    fn the_last_page_of_the_address_space_fits() {
        let log = Log::new();
        let top = range(usize::MAX - 4095, 1);
        log.write(9, Some(top));
        assert_eq!(log.read(9), Some(top));
        let last_32 = range(usize::MAX - 32 * 4096 + 1, 32);
        log.write(9, Some(last_32));
        assert_eq!(log.read(9), Some(last_32));
    }

    #[test]
    fn what_does_not_fit_becomes_everything() {
        let log = Log::new();
        // Beyond 48 bits (five-level paging), too many pages, and everything itself.
        for request in
            [Some(range(0x0001_0000_0000_0000, 1)), Some(range(0xff00_0000_0000_0000, 1)), Some(range(0, 64)), None]
        {
            log.write(5, request);
            assert_eq!(log.read(5), None, "{request:x?}");
        }
    }

    #[test]
    fn a_word_of_another_generation_is_not_believed() {
        let log = Log::new();
        log.write(1, Some(range(0x1000, 1)));
        for later in [1 + LOG_LEN as u64, 1 + (LOG_LEN as u64) * ((1 << 22) - 1), 1_u64.wrapping_sub(LOG_LEN as u64)] {
            assert_eq!(log.read(later), None, "generation {later}");
        }
        // A slow writer that comes after its successor spoils the word, it does not forge it.
        log.write(1 + LOG_LEN as u64, Some(range(0x2000, 1)));
        log.write(1, Some(range(0x1000, 1)));
        assert_eq!(log.read(1 + LOG_LEN as u64), None);
    }

    #[test]
    fn an_empty_log_asks_for_everything() {
        let log = Log::new();
        for generation in [0, 1, 63, 64, u64::MAX] {
            assert_eq!(log.read(generation), None);
        }
    }

    #[test]
    fn generations_around_the_wrap_have_words_of_their_own() {
        let log = Log::new();
        let generations: [u64; 4] = [u64::MAX - 1, u64::MAX, 0, 1];
        for (i, generation) in generations.into_iter().enumerate() {
            log.write(generation, Some(range(i * 0x1000, 1)));
        }
        for (i, generation) in generations.into_iter().enumerate() {
            assert_eq!(log.read(generation), Some(range(i * 0x1000, 1)));
        }
    }
}
