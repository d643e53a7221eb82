//! Repeated measurements and what they come to: the median, and how far the middle half of them is spread.
//!
//! Two series that were measured in turns are compared turn by turn: what slows both for a while cancels.
//!
//! Called by: `bench`.

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
        values.sort_unstable();
        let last = values.len().checked_sub(1)?;
        let at = |quarters: usize| values[last * quarters / 4];
        Some(Self { median: at(2), first_quartile: at(1), third_quartile: values[last - last / 4] })
    }

    /// The distance of the quartiles.
    pub fn spread(&self) -> u64 {
        self.third_quartile - self.first_quartile
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn quartiles_are_in_order(mut values in proptest::collection::vec(any::<u64>(), 1..40)) {
            let summary = Summary::of(&mut values).expect("there are values");
            prop_assert!(summary.first_quartile <= summary.median && summary.median <= summary.third_quartile);
            prop_assert!(values.contains(&summary.median));
        }
    }
}
