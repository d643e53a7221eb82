//! Quartiles of repetitions: values that were measured, none between them, so that a summary that keeps three of them
//! says what the whole recording says.
//!
//! The rule, for all programs here: of the values in their order the first quartile is at a quarter of the last place,
//! rounded down; the median at half of it, which is the lower of two middle values; the third as far from the end as the
//! first is from the beginning.
//!
//! Invariant: the quartiles of the quartiles are the same again.

/// The places of the three quartiles among `nr_values` in ascending order; `None` if there are no values.
pub fn places(nr_values: usize) -> Option<[usize; 3]> {
    let last = nr_values.checked_sub(1)?;
    Some([last / 4, last / 2, last - last / 4])
}

/// The quartiles of `values`, which it sorts; `None` if there are none.
pub fn of(values: &mut [u64]) -> Option<[u64; 3]> {
    values.sort_unstable();
    Some(places(values.len())?.map(|place| values[place]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quartiles_are_values_in_their_places() {
        assert_eq!(of(&mut []), None);
        assert_eq!(of(&mut [7]), Some([7; 3]));
        assert_eq!(of(&mut [8, 2]), Some([2, 2, 8]));
        assert_eq!(of(&mut [9, 1, 5, 3, 7]), Some([3, 5, 7]));
        assert_eq!(of(&mut [4, 100, 1, 2]), Some([1, 2, 100]));
        assert_eq!(places(10), Some([2, 4, 7]));
    }

    proptest! {
        #[test]
        fn the_quartiles_of_quartiles_are_the_same(mut values in proptest::collection::vec(any::<u64>(), 1..40)) {
            let once = of(&mut values).expect("there are values");
            prop_assert!(once.is_sorted() && once.iter().all(|value| values.contains(value)));
            prop_assert_eq!(of(&mut once.clone()), Some(once));
        }

        #[test]
        fn a_quarter_is_below_and_a_quarter_above(nr_values in 1..10_000_usize) {
            let [low, middle, high] = places(nr_values).expect("there are values");
            // As many before the first as behind the last, and the middle between them.
            prop_assert_eq!(low, nr_values - 1 - high);
            prop_assert!(low <= middle && middle <= high && low == (nr_values - 1) / 4);
        }
    }
}
