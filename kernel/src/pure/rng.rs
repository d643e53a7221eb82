//! Random numbers that can be repeated: SplitMix64.
//!
//! Guy Steele, Doug Lea, Christine Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014; the mixing
//! constants are those of Sebastiano Vigna's public-domain `splitmix64.c` (variant 13 of David Stafford's mixers).
//! One 64-bit word of state, a handful of instructions, and any seed is a good one, so a failing run is told by one
//! number. Not for secrets.
//!
//! Called by: stress and benchmarks, each CPU with a stream of its own.

use core::ops::RangeInclusive;

/// 2^64 divided by the golden ratio, made odd: the step of the counter.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator. Equal seeds give equal numbers, on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The generator of `seed`.
    pub const fn new(seed: u64) -> SplitMix64 {
        SplitMix64 { state: seed }
    }

    /// Stream `index` of `seed`: what CPU `index` draws from in a run that is named by one seed. Streams start at
    /// scattered places of the same cycle of 2^64 numbers; that two of them meet within a run is not to be expected.
    pub const fn stream(seed: u64, index: u64) -> SplitMix64 {
        SplitMix64 { state: mix(seed.wrapping_add(GAMMA.wrapping_mul(index.wrapping_add(1)))) }
    }

    /// The next 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// A number below `bound`, each equally likely (Daniel Lemire: Fast Random Integer Generation in an Interval,
    /// ACM TOMACS 2019: multiply and shift, with the few biased draws rejected). A bound of 0 gives 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        loop {
            let product = self.next_u64() as u128 * bound as u128;
            let low = product as u64;
            // The division is needed once in 2^64 / bound draws.
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number in `range`, both ends included. An empty range gives its start.
    pub const fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let (start, end) = (*range.start(), *range.end());
        if end < start {
            return start;
        }
        match (end - start).checked_add(1) {
            Some(count) => start + self.below(count),
            None => self.next_u64(),
        }
    }

    /// True `times` times out of `of`.
    pub const fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// One of `items`; none if there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Puts `items` in an order drawn from all orders (Fisher and Yates, from the end).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn draws_the_published_numbers() {
        let mut rng = SplitMix64::new(1_234_567);
        let drawn: [u64; 5] = core::array::from_fn(|_| rng.next_u64());
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let firsts: std::collections::BTreeSet<u64> =
            (0..256).map(|cpu| SplitMix64::stream(7, cpu).next_u64()).collect();
        assert_eq!(firsts.len(), 256);
        assert_eq!(SplitMix64::stream(7, 3), SplitMix64::stream(7, 3));
        assert_ne!(SplitMix64::stream(7, 3), SplitMix64::stream(8, 3));
        assert_ne!(SplitMix64::stream(7, 0), SplitMix64::new(7));
    }

    #[test]
    fn small_bounds_are_hit_evenly() {
        let mut rng = SplitMix64::new(1);
        let mut hits = [0u32; 6];
        (0..60_000).for_each(|_| hits[rng.below(6) as usize] += 1);
        assert!(hits.iter().all(|&count| count.abs_diff(10_000) < 500), "{hits:?}");
    }

    #[test]
    fn a_bound_that_divides_badly_is_not_biased() {
        // Two thirds of 2^64: without rejection every other number would be twice as likely, at the low end the even.
        let bound = u64::MAX / 3 * 2;
        let mut rng = SplitMix64::new(2);
        let low: Vec<u64> = (0..100_000).map(|_| rng.below(bound)).filter(|drawn| *drawn < bound / 10).collect();
        let nr_even = low.iter().filter(|drawn| drawn.is_multiple_of(2)).count();
        assert!(nr_even.abs_diff(low.len() / 2) < 500, "{nr_even} of {}", low.len());
    }

    #[test]
    fn shuffles_reach_every_order() {
        let mut rng = SplitMix64::new(3);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            rng.shuffle(&mut items);
            *seen.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(seen.len(), 24);
        assert!(seen.values().all(|&count| count.abs_diff(1000) < 200), "{seen:?}");
    }

    #[test]
    fn degenerate_ranges_are_answered() {
        let mut rng = SplitMix64::new(4);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        #[expect(clippy::reversed_empty_ranges, reason = "that is the case in question")]
        let empty = 9..=3;
        assert_eq!(rng.within(&empty), 9);
        assert_eq!(rng.pick::<u8>(&[]), None);
        assert!(!rng.chance(0, 1));
        assert!(rng.chance(1, 1));
    }

    proptest! {
        #[test]
        fn stays_in_range(seed in any::<u64>(), a in any::<u64>(), b in any::<u64>()) {
            let range = a.min(b)..=a.max(b);
            let mut rng = SplitMix64::new(seed);
            for _ in 0..50 {
                prop_assert!(range.contains(&rng.within(&range)));
            }
            prop_assert!(rng.below(a.max(1)) < a.max(1));
        }
    }
}
