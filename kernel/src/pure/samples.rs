//! Repeated measurements and what they come to: the median, and how far the middle half of them is spread.
//!
//! Two series that were measured in turns are compared turn by turn: what slows both for a while cancels.
//!
//! Called by: `bench`.

use records::quartiles;

/// What a series comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The middle value; of an even number, the lower of the two middle ones.
    pub median: u64,
    /// A quarter of the values are below.
    pub first_quartile: u64,
    /// A quarter of the values are above.
    pub third_quartile: u64,
}

impl Summary {
    /// Of `values`, which it sorts; `None` if there are none.
    pub fn of(values: &mut [u64]) -> Option<Self> {
        let [first_quartile, median, third_quartile] = quartiles::of(values)?;
        Some(Self { median, first_quartile, third_quartile })
    }

    /// The distance of the quartiles.
    pub fn spread(&self) -> u64 {
        self.third_quartile - self.first_quartile
    }

    /// Whether the middle halves of both have a value in common: then neither is ahead.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first_quartile <= other.third_quartile && other.first_quartile <= self.third_quartile
    }
}

/// The median of `a[i] / b[i]` in thousandths, with `scratch` for as many values; `None` if there are none. Where `b[i]`
/// is 0 the pair is left out.
pub fn paired_ratio_milli(a: &[u64], b: &[u64], scratch: &mut [u64]) -> Option<u64> {
    let mut nr_ratios = 0;
    for ((a, b), place) in a.iter().zip(b).filter(|(_, b)| **b > 0).zip(scratch.iter_mut()) {
        *place = u64::try_from(u128::from(*a) * 1000 / u128::from(*b)).unwrap_or(u64::MAX);
        nr_ratios += 1;
    }
    Summary::of(&mut scratch[..nr_ratios]).map(|summary| summary.median)
}

/// A larger number of operations where `nr_ops` took `spent_ns` and should take `wanted_ns`, at most `most`; `None` if they
/// are enough: half the time is.
///
/// Two digits, so that the number can be repeated by hand. At least twice as many, as the first operations are slower than
/// those that follow, and at most 16 times.
pub fn more_ops(nr_ops: u64, spent_ns: u64, wanted_ns: u64, most: u64) -> Option<u64> {
    if spent_ns >= wanted_ns / 2 || nr_ops >= most {
        return None;
    }
    let more = nr_ops.saturating_mul((wanted_ns / spent_ns.max(1)).clamp(2, 16)).clamp(1, most);
    let unit = 10_u64.pow(more.ilog10().saturating_sub(1));
    Some(more / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nobody_is_ahead_where_the_middle_halves_meet() {
        let summary =
            |first_quartile, third_quartile| Summary { median: first_quartile, first_quartile, third_quartile };
        for (one, other, expected) in [((1, 3), (4, 6), false), ((1, 4), (4, 6), true), ((1, 9), (4, 6), true)] {
            let (one, other) = (summary(one.0, one.1), summary(other.0, other.1));
            assert_eq!((one.overlaps(&other), other.overlaps(&one)), (expected, expected));
        }
    }

    #[test]
    fn the_middle_is_found_whatever_the_order() {
        assert_eq!(Summary::of(&mut []), None);
        assert_eq!(Summary::of(&mut [7]), Some(Summary { median: 7, first_quartile: 7, third_quartile: 7 }));
        let summary = Summary::of(&mut [9, 1, 5, 3, 7]).expect("there are values");
        assert_eq!((summary.first_quartile, summary.median, summary.third_quartile), (3, 5, 7));
        assert_eq!(summary.spread(), 4);
        assert_eq!(Summary::of(&mut [4, 100, 1, 2]).map(|summary| summary.median), Some(2));
    }

    #[test]
    fn one_bad_turn_does_not_move_a_ratio() {
        // The machine is slower in the second turn, and the first series is hit alone in the third.
        assert_eq!(paired_ratio_milli(&[10, 100, 500], &[20, 200, 20], &mut [0; 3]), Some(500));
        assert_eq!(paired_ratio_milli(&[10, 10], &[0, 5], &mut [0; 2]), Some(2000));
        assert_eq!(paired_ratio_milli(&[], &[1], &mut [0; 1]), None);
    }

    #[test]
    fn operations_grow_until_they_take_half_the_time() {
        assert_eq!(more_ops(256, 1_000_000, 64_000_000, 1 << 20), Some(4000));
        assert_eq!(more_ops(256, 16_000_000, 64_000_000, 1 << 20), Some(1000));
        assert_eq!(more_ops(256, 31_999_999, 64_000_000, 1 << 20), Some(510));
        assert_eq!(more_ops(256, 32_000_000, 64_000_000, 1 << 20), None);
        assert_eq!(more_ops(4000, 0, 64_000_000, 5000), Some(5000), "as many as allowed");
        assert_eq!(more_ops(5000, 0, 64_000_000, 5000), None, "and no more");
    }

    proptest! {
        #[test]
        fn numbers_of_operations_grow_and_stay_in_bounds(nr in any::<u64>(), spent in any::<u64>(), wanted in any::<u64>()) {
            const MOST: u64 = 4_000_000;
            if let Some(more) = more_ops(nr, spent, wanted, MOST) {
                prop_assert!(more <= MOST && more.to_string().trim_end_matches('0').len() <= 2);
                // Cut to two digits, a doubling may be a tenth less.
                prop_assert!(more >= nr || more == MOST);
            }
        }

        #[test]
        fn quartiles_are_in_order(mut values in proptest::collection::vec(any::<u64>(), 1..40)) {
            let summary = Summary::of(&mut values).expect("there are values");
            prop_assert!(summary.first_quartile <= summary.median && summary.median <= summary.third_quartile);
            prop_assert!(values.contains(&summary.median));
        }
    }
}
