//! A histogram of 64-bit values with a bounded relative error, in integers.
//!
//! Values below 16 have a bucket each; above, every power of two is cut into 16 buckets, so a bucket is at most 1/16 as
//! wide as its values are large (the idea of Gil Tene's HdrHistogram). Recording is a shift and an addition, and
//! histograms of several CPUs add up to the histogram of all their values.
//!
//! Invariant: `count` is the sum of the buckets.
//!
//! Called by: the kernel's shell and measurements, with what [`Recorder`]s on slow paths have gathered.

mod recorder;

pub use recorder::Recorder;

const SUB_BITS: u32 = 4;
const SUB: usize = 1 << SUB_BITS;
const NR_BUCKETS: usize = (u64::BITS - SUB_BITS + 1) as usize * SUB;

/// Counts by value. About 8 KiB: keep it in a static or on the heap rather than on a small stack.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: [u64; NR_BUCKETS],
    count: u64,
    sum: u128,
    max: u64,
}

impl Histogram {
    /// A histogram without values.
    pub const fn new() -> Histogram {
        Histogram { buckets: [0; NR_BUCKETS], count: 0, sum: 0, max: 0 }
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        (self.count, self.sum, self.max) = (0, 0, 0);
    }

    /// Counts `value` once.
    pub fn record(&mut self, value: u64) {
        self.buckets[bucket_of(value)] += 1;
        self.count += 1;
        self.sum += u128::from(value);
        self.max = self.max.max(value);
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest value, exactly; 0 without values.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean, rounded down; 0 without values.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(u128::from(self.count)).map_or(0, |mean| mean as u64)
    }

    /// A value that at least `percent` of all values do not exceed, and at most 1/16 above the smallest such value.
    /// 0 without values.
    pub fn percentile(&self, percent: u64) -> u64 {
        self.quantile(percent, 100)
    }

    /// The same for the fraction `part / whole`: `quantile(999, 1000)` is the 99.9th percentile. A fraction above 1, or
    /// of nothing, is read as 1.
    pub fn quantile(&self, part: u64, whole: u64) -> u64 {
        let (part, whole) = if whole == 0 || part > whole { (1, 1) } else { (part, whole) };
        let wanted = (u128::from(self.count) * u128::from(part)).div_ceil(u128::from(whole)).max(1);
        let mut seen = 0u128;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += u128::from(count);
            if seen >= wanted {
                return last_of(bucket).min(self.max);
            }
        }
        self.max
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

/// The bucket that counts `value`.
const fn bucket_of(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    // The top SUB_BITS + 1 bits of the value are 1xxxx; the one is dropped.
    ((shift as usize + 1) << SUB_BITS) + ((value >> shift) as usize & (SUB - 1))
}

/// The largest value that `bucket` counts.
fn last_of(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let first = ((SUB + bucket % SUB) as u64) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_tile_all_values() {
        for bucket in 0..NR_BUCKETS {
            assert_eq!(bucket_of(last_of(bucket)), bucket);
            if let Some(next) = last_of(bucket).checked_add(1) {
                assert_eq!(bucket_of(next), bucket + 1);
            }
        }
        assert_eq!(last_of(NR_BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        let empty = Histogram::new();
        assert_eq!((empty.percentile(50), empty.max(), empty.mean(), empty.count()), (0, 0, 0, 0));
    }

    #[test]
    fn small_values_are_exact() {
        let mut histogram = Histogram::new();
        (1..=10).for_each(|value| histogram.record(value));
        assert_eq!([0, 10, 50, 51, 90, 100, 200].map(|percent| histogram.percentile(percent)), [1, 1, 5, 6, 9, 10, 10]);
        assert_eq!((histogram.mean(), histogram.quantile(1, 0)), (5, 10));
    }

    proptest! {
        #[test]
        fn quantiles_are_near_those_of_the_sorted_values(
            values in proptest::collection::vec(prop_oneof![any::<u64>(), 0..5000u64, 0..40u64], 1..200),
            split in any::<prop::sample::Index>(),
            part in 0..=1000u64,
        ) {
            let (mut all, mut other) = (Histogram::new(), Histogram::new());
            let (left, right) = values.split_at(split.index(values.len()));
            left.iter().for_each(|&value| all.record(value));
            right.iter().for_each(|&value| other.record(value));
            all.merge(&other);

            let mut sorted = values.clone();
            sorted.sort_unstable();
            let rank = (sorted.len() as u64 * part).div_ceil(1000).max(1) as usize;
            let exact = sorted[rank - 1];
            let found = all.quantile(part, 1000);
            prop_assert!(found >= exact && found - exact <= exact / 16, "{} for {}", found, exact);
            prop_assert_eq!(all.max(), sorted[sorted.len() - 1]);
            let sum: u128 = values.iter().map(|&value| u128::from(value)).sum();
            prop_assert_eq!(u128::from(all.mean()), sum / values.len() as u128);
        }
    }
}
