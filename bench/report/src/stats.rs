//! The arithmetic: quartiles, and the rank test by which two sets of repetitions differ or do not.

/// The middle of some values, and of their halves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    /// A quarter is below.
    pub low: f64,
    /// Half is below.
    pub median: f64,
    /// A quarter is above.
    pub high: f64,
}

impl Quartiles {
    /// Of values in any order, by the rule of all recordings ([`records::quartiles`]); `None` without any.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let [low, median, high] = records::quartiles::places(sorted.len())?.map(|place| sorted[place]);
        Some(Self { low, median, high })
    }

    /// With `change` applied to each, in order again if that reverses it.
    #[must_use]
    pub fn map(self, change: impl Fn(f64) -> f64) -> Self {
        let (low, median, high) = (change(self.low), change(self.median), change(self.high));
        Self { low: low.min(high), median, high: low.max(high) }
    }

    /// Whether the middle halves have values in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// Width of the middle half over the median.
    pub fn relative_spread(&self) -> f64 {
        (self.high - self.low) / self.median
    }
}

/// The sum of what a recording says, or the most there is: a file may hold any numbers.
pub fn sum(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().fold(0, u64::saturating_add)
}

/// The probability that values as different as these come from the same source: the two-sided rank test of Wilcoxon
/// (1945) and of Mann and Whitney (1947), exact by counting all orders. 1 where one side is empty. Of more than
/// [`MOST_ORDERED`] pairs an upper bound, by the sum's normal distribution, whose tails are below exp(-z²/2).
///
/// Values that are equal count as half above each other; the sum is rounded towards no difference.
pub fn rank_test(a: &[f64], b: &[f64]) -> f64 {
    let (nr_a, nr_b) = (a.len(), b.len());
    if nr_a == 0 || nr_b == 0 {
        return 1.0;
    }
    let above = a.iter().flat_map(|x| b.iter().map(move |y| if x > y { 2 } else { usize::from(x == y) }));
    let doubled: usize = above.sum();
    // The smaller of both sums, as they are equally likely.
    let smaller = doubled.min(2 * nr_a * nr_b - doubled).div_ceil(2);
    if nr_a * nr_b > MOST_ORDERED {
        let (a, b) = (nr_a as f64, nr_b as f64);
        let deviation = (a * b * (a + b + 1.0) / 12.0).sqrt();
        let z = ((a * b / 2.0 - smaller as f64 - 0.5) / deviation).max(0.0);
        return (-z * z / 2.0).exp();
    }
    let orders = orders(nr_a, nr_b);
    let all: f64 = orders.iter().sum();
    (2.0 * orders[..=smaller].iter().sum::<f64>() / all).min(1.0)
}

/// The least that [`rank_test`] can say of so many values on each side: two of all orders are the most extreme. More than
/// any level where a side is empty.
pub fn least_probability(nr_a: usize, nr_b: usize) -> f64 {
    let (few, many) = (nr_a.min(nr_b), nr_a.max(nr_b) as f64);
    if few == 0 {
        return 1.0;
    }
    // One over the binomial coefficient, factor by factor; it is small enough long before the last of many.
    (1..=few).fold(2.0, |rest, i| rest * i as f64 / (many + i as f64))
}

/// Counting the orders of more pairs would go beyond the whole numbers of a floating-point number.
pub const MOST_ORDERED: usize = 400;

/// For each sum, in how many orders of `nr_a` and `nr_b` values so many pairs have the first above the second: the
/// coefficients of a Gaussian binomial, one factor after another.
fn orders(nr_a: usize, nr_b: usize) -> Vec<f64> {
    let most = nr_a * nr_b;
    let mut counts = vec![0.0; most + 1];
    counts[0] = 1.0;
    for i in 1..=nr_a.min(nr_b) {
        let larger = nr_a.max(nr_b) + i;
        // Times (1 - q^larger), then divided by (1 - q^i).
        (larger..=most).rev().for_each(|sum| counts[sum] -= counts[sum - larger]);
        (i..=most).for_each(|sum| counts[sum] += counts[sum - i]);
    }
    counts
}

/// Which of several tests, each with its probability, hold at `level` all together (Holm, 1979).
pub fn holm(probabilities: &[f64], level: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let mut holds = vec![false; probabilities.len()];
    for (rank, &index) in order.iter().enumerate() {
        if probabilities[index] * (order.len() - rank) as f64 > level {
            break;
        }
        holds[index] = true;
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quartiles_are_those_of_a_summary() {
        assert_eq!(Quartiles::of(&[]), None);
        assert_eq!(Quartiles::of(&[3.0]), Some(Quartiles { low: 3.0, median: 3.0, high: 3.0 }));
        assert_eq!(Quartiles::of(&[4.0, 1.0, 2.0, 3.0]), Some(Quartiles { low: 1.0, median: 2.0, high: 4.0 }));
        let reversed = Quartiles { low: 1.0, median: 2.0, high: 4.0 }.map(|value| 4.0 / value);
        assert_eq!(reversed, Quartiles { low: 1.0, median: 2.0, high: 4.0 });
    }

    #[test]
    fn ranks_are_counted_as_in_the_tables() {
        // Of the C(10, 5) = 252 orders two are as extreme as this one.
        let p = rank_test(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]);
        assert!((p - 2.0 / 252.0).abs() < 1e-12, "{p}");
        // The critical value of U for 10 and 10 values at 5 % is 23.
        let orders = orders(10, 10);
        let all: f64 = orders.iter().sum();
        assert_eq!(all, 184_756.0);
        let within = |u: usize| 2.0 * orders[..=u].iter().sum::<f64>() / all;
        assert!(within(23) <= 0.05 && within(24) > 0.05);
    }

    #[test]
    fn many_values_are_bounded_from_above() {
        let (a, b): (Vec<f64>, Vec<f64>) = (0..75).map(|i| (f64::from(i), f64::from(i) + 40.0)).unzip();
        assert!(rank_test(&a, &b) < 1e-6);
        assert!(rank_test(&a, &a) > 0.9);
        // On both sides of the border the bound is not below what is exact.
        let (a, b): (Vec<f64>, Vec<f64>) = (0..20).map(|i| (f64::from(i), f64::from(i) + 5.5)).unzip();
        let exact = rank_test(&a, &b);
        let more: Vec<f64> = b.iter().copied().chain([15.6]).collect();
        assert!(rank_test(&a, &more) >= exact * 0.5, "{exact}");
    }

    #[test]
    fn equal_values_are_no_difference() {
        assert_eq!(rank_test(&[5.0; 10], &[5.0; 10]), 1.0);
        assert_eq!(rank_test(&[], &[1.0]), 1.0);
        assert!(rank_test(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]) > 0.05, "three against three prove nothing");
    }

    #[test]
    fn the_least_probability_is_that_of_values_apart() {
        for (nr_a, nr_b) in [(1, 1), (2, 3), (5, 5), (10, 10), (20, 20), (3, 40)] {
            let (a, b) = (vec![1.0; nr_a], vec![2.0; nr_b]);
            let (least, found) = (least_probability(nr_a, nr_b), rank_test(&a, &b));
            assert!((least / found - 1.0).abs() < 1e-9, "{nr_a} and {nr_b}: {least} and {found}");
        }
        assert_eq!(least_probability(0, 9), 1.0);
    }

    #[test]
    fn many_tests_need_more_than_one() {
        assert_eq!(holm(&[0.001, 0.04, 0.5], 0.05), [true, false, false]);
        assert_eq!(holm(&[0.04], 0.05), [true]);
        assert_eq!(holm(&[0.02, 0.02, 0.02], 0.05), [false, false, false]);
        assert!(holm(&[], 0.05).is_empty());
    }

    proptest! {
        #[test]
        fn the_test_is_symmetric_and_a_probability(
            a in proptest::collection::vec(0.0..10.0_f64, 1..12), b in proptest::collection::vec(0.0..10.0_f64, 1..12),
        ) {
            let p = rank_test(&a, &b);
            prop_assert!(p > 0.0 && p <= 1.0);
            prop_assert!((p - rank_test(&b, &a)).abs() < 1e-12);
        }
    }
}
