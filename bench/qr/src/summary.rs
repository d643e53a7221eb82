//! A recording as it travels: whatever was repeated as its three quartiles, and `is_summary` in its first record.
//!
//! Invariant: a summary of a summary is the same again.
//!
//! Called by: the kernel, for each record of a run.

use alloc::borrow::Cow;

use records::{Meta, Throughput};

/// The quartiles of `values`, which it sorts: as the kernel's tables have them. A quarter of the values is below the first
/// and above the last; the middle one is the lower of two. Nothing of nothing.
pub fn quartiles(values: &mut [u64]) -> Option<[u64; 3]> {
    values.sort_unstable();
    let last = values.len().checked_sub(1)?;
    Some([values[last / 4], values[last / 2], values[last - last / 4]])
}

/// `meta`, of a summary.
pub fn meta<'a>(meta: &Meta<'a>) -> Meta<'a> {
    Meta { is_summary: true, ..meta.clone() }
}

/// `row` with its `quartiles` instead of all repetitions; nothing where there were none.
pub fn row<'a>(row: &'a Throughput<'_>, quartiles: &'a [u64]) -> Throughput<'a> {
    Throughput {
        workload: Cow::Borrowed(&*row.workload),
        contender: Cow::Borrowed(&*row.contender),
        scale: row.scale.as_deref().map(Cow::Borrowed),
        unit: Cow::Borrowed(&*row.unit),
        milliticks_per_op: Cow::Borrowed(quartiles),
        ..*row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    #[test]
    fn quartiles_are_those_of_the_tables() {
        assert_eq!(quartiles(&mut []), None);
        assert_eq!(quartiles(&mut [7]), Some([7; 3]));
        assert_eq!(quartiles(&mut [9, 1, 5, 3, 7]), Some([3, 5, 7]));
        assert_eq!(quartiles(&mut [4, 100, 1, 2]), Some([1, 2, 100]));
    }

    #[test]
    fn a_row_keeps_all_but_its_repetitions() {
        let whole = Throughput {
            workload: "pair64".into(),
            scale: Some("pages".into()),
            scale_value: Some(64),
            milliticks_per_op: (1..10).collect(),
            nr_locks: Some(3),
            nr_bad: 1,
            ..Throughput::default()
        };
        let short = row(&whole, &[1, 2, 3]);
        assert_eq!(short, Throughput { milliticks_per_op: vec![1, 2, 3].into(), ..whole.clone() });
        assert!(meta(&Meta::default()).is_summary);
    }

    proptest! {
        #[test]
        fn a_summary_of_a_summary_is_the_same(mut values in proptest::collection::vec(any::<u64>(), 1..40)) {
            let once = quartiles(&mut values).expect("there are values");
            prop_assert!(once.is_sorted() && once.iter().all(|value| values.contains(value)));
            prop_assert_eq!(quartiles(&mut once.clone()), Some(once));
        }
    }
}
