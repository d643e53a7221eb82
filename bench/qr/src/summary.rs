//! A recording as it travels: whatever was repeated as its three quartiles, and `is_summary` in its first record.
//!
//! Invariant: a summary of a summary is the same again.
//!
//! Called by: the kernel, for each record of a run.

use alloc::borrow::Cow;

pub use records::quartiles::of as quartiles;
use records::{Meta, Throughput};

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
    use std::vec;

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
}
