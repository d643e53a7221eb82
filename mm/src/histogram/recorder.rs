//! A histogram that several CPUs may write at once: what a slow path records into.
//!
//! The buckets of [`Histogram`](super::Histogram) up to 2^32, in atomics of 32 bits that stop at their limit instead of
//! beginning anew. Relaxed: a reader sees each sample sooner or later, and none twice. Larger values count in the last
//! bucket; the maximum is exact whatever its size.
//!
//! Invariant: between resets every counter only grows. All zero bytes: a recorder without values.
//!
//! Called by: [`crate::latency`].

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};

use super::{Histogram, bucket_of};

/// Buckets: those of all values below 2^32.
const NR_BUCKETS: usize = bucket_of(u32::MAX as u64) + 1;

/// Counts by value. 1872 bytes.
#[derive(Debug)]
#[repr(C)]
pub struct Recorder {
    sum: AtomicU64,
    max: AtomicU64,
    buckets: [AtomicU32; NR_BUCKETS],
}

impl Recorder {
    /// A recorder without values.
    pub const fn new() -> Self {
        Self { sum: AtomicU64::new(0), max: AtomicU64::new(0), buckets: [const { AtomicU32::new(0) }; NR_BUCKETS] }
    }

    /// Counts `value` once.
    pub fn record(&self, value: u64) {
        let bucket = &self.buckets[bucket_of(value).min(NR_BUCKETS - 1)];
        // A full bucket stays full.
        let counted = bucket.fetch_update(Relaxed, Relaxed, |count| count.checked_add(1));
        if counted.is_ok() {
            self.sum.fetch_add(value, Relaxed);
        }
        self.max.fetch_max(value, Relaxed);
    }

    /// Adds what was recorded so far to `histogram`.
    pub fn add_to(&self, histogram: &mut Histogram) {
        for (into, bucket) in histogram.buckets.iter_mut().zip(&self.buckets) {
            let count = u64::from(bucket.load(Relaxed));
            *into += count;
            histogram.count += count;
        }
        histogram.sum += u128::from(self.sum.load(Relaxed));
        histogram.max = histogram.max.max(self.max.load(Relaxed));
    }

    /// Forgets all values; those that others record at this moment may stay.
    pub fn reset(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
        self.sum.store(0, Relaxed);
        self.max.store(0, Relaxed);
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(recorder: &Recorder) -> Histogram {
        let mut histogram = Histogram::new();
        recorder.add_to(&mut histogram);
        histogram
    }

    #[test]
    fn its_size_is_what_the_documentation_says() {
        assert_eq!(size_of::<Recorder>(), 1872);
    }

    #[test]
    fn a_full_bucket_stays_full() {
        let recorder = Recorder::new();
        recorder.buckets[3].store(u32::MAX - 1, Relaxed);
        (0..3).for_each(|_| recorder.record(3));
        assert_eq!(snapshot(&recorder).count(), u64::from(u32::MAX));
    }

    #[test]
    fn a_reset_forgets_everything() {
        let recorder = Recorder::new();
        recorder.record(1 << 40);
        recorder.reset();
        let empty = snapshot(&recorder);
        assert_eq!((empty.count(), empty.max(), empty.mean()), (0, 0, 0));
    }

    #[test]
    fn no_sample_of_several_threads_is_lost() {
        let recorder = Recorder::new();
        let nr_each: u64 = if cfg!(miri) { 50 } else { 300_000 };
        let start = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    start.wait();
                    (0..nr_each).for_each(|i| recorder.record(i % 7));
                });
            }
        });
        assert_eq!(snapshot(&recorder).count(), 3 * nr_each);
        assert_eq!(snapshot(&recorder).max(), 6);
    }

    proptest! {
        #[test]
        fn it_says_what_a_histogram_of_the_same_values_says(
            values in proptest::collection::vec(prop_oneof![any::<u32>(), 0..5000u32, 0..40u32], 0..200),
            part in 0..=1000u64,
        ) {
            let (recorder, mut model) = (Recorder::new(), Histogram::new());
            for &value in &values {
                recorder.record(u64::from(value));
                model.record(u64::from(value));
            }
            let found = snapshot(&recorder);
            prop_assert_eq!(found.quantile(part, 1000), model.quantile(part, 1000));
            prop_assert_eq!((found.count(), found.max(), found.mean()), (model.count(), model.max(), model.mean()));
        }

        #[test]
        fn values_beyond_its_range_stay_above_the_others_and_the_largest_is_exact(
            value in any::<u32>(),
            beyond in 1 << 32..=u64::MAX,
        ) {
            let recorder = Recorder::new();
            [beyond, value.into(), beyond].into_iter().for_each(|value| recorder.record(value));
            let found = snapshot(&recorder);
            prop_assert_eq!((found.count(), found.max()), (3, beyond));
            let least = found.quantile(1, 3);
            prop_assert!(least >= value.into() && least - u64::from(value) <= u64::from(value) / 16);
            prop_assert!(found.quantile(2, 3) >= u32::MAX.into());
        }
    }
}
