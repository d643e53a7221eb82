//! The arithmetic: medians, and ratios taken round by round.

/// The middle value, or the mean of the two middle ones; `None` without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The median of `ours[i] / theirs[i]`: the two of a pair were measured right after one another, so what slows both
/// for a while cancels. Values without a partner are left out.
pub(crate) fn paired_ratio(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    median(&ratios)
}

/// How many pairs fill `target_ns`, when `nr_pairs` took `taken_ns`. At least one.
pub(crate) fn scale_pairs(nr_pairs: u64, taken_ns: u64, target_ns: u64) -> u64 {
    let scaled = u128::from(nr_pairs) * u128::from(target_ns) / u128::from(taken_ns.max(1));
    // A round that was far too short to be timed must not make one that takes for ever.
    scaled.clamp(1, u128::from(nr_pairs) * 1000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 100.0, 1.0, 2.0]), Some(3.0));
    }

    #[test]
    fn one_bad_round_does_not_move_a_paired_ratio() {
        // The machine is slower in the second round, and ours is hit alone in the third.
        assert_eq!(paired_ratio(&[1.0, 10.0, 50.0], &[2.0, 20.0, 2.0]), Some(0.5));
        assert_eq!(paired_ratio(&[1.0, 8.0], &[2.0]), Some(0.5));
        assert_eq!(paired_ratio(&[], &[2.0]), None);
    }

    #[test]
    fn rounds_are_scaled_to_their_target() {
        assert_eq!(scale_pairs(1000, 3_000, 1_500_000), 500_000);
        assert_eq!(scale_pairs(1000, 15_000_000, 1_500_000), 100);
        assert_eq!(scale_pairs(1000, 0, 1_500_000), 1_000_000, "bounded");
        assert_eq!(scale_pairs(2, u64::MAX, 1), 1);
    }
}
