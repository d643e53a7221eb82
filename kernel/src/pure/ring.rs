//! A ring of bytes between one producer and one consumer.
//!
//! The serial port's interrupt handler puts bytes in, the shell takes them out, and neither ever waits. A full ring
//! drops the new byte and counts it: type-ahead is bounded, and its loss is known.
//!
//! Invariants: `taken <= put <= taken + N`; slots `taken..put` hold bytes that were put and not yet taken. Only the
//! producer writes `put` and the slots, only the consumer writes `taken`. Two producers or two consumers at once would
//! lose or repeat bytes, nothing worse: every access is atomic.
//!
//! Context: `put` in an interrupt handler that does not nest; the others on one CPU at a time. No lock.

use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// A ring of `N` bytes; `N` is a power of two.
pub struct Ring<const N: usize> {
    slots: [AtomicU8; N],
    /// Bytes put so far, wrapping. Its release pairs with the acquire in `take`: the slot is written before.
    put: AtomicUsize,
    /// Bytes taken so far, wrapping. Its release pairs with the acquire in `put`: the slot was read before.
    taken: AtomicUsize,
    overruns: AtomicU64,
}

impl<const N: usize> Ring<N> {
    /// An empty ring.
    pub const fn new() -> Ring<N> {
        const { assert!(N.is_power_of_two()) };
        Ring {
            slots: [const { AtomicU8::new(0) }; N],
            put: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            overruns: AtomicU64::new(0),
        }
    }

    /// Puts a byte in and returns true; or counts an overrun and returns false, if the ring is full. Producer only.
    pub fn put(&self, byte: u8) -> bool {
        let put = self.put.load(Ordering::Relaxed);
        if put.wrapping_sub(self.taken.load(Ordering::Acquire)) >= N {
            // Load and store, not a read-modify-write: there is one producer.
            self.overruns.store(self.overruns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            return false;
        }
        self.slots[put % N].store(byte, Ordering::Relaxed);
        self.put.store(put.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes the oldest byte. Consumer only.
    pub fn take(&self) -> Option<u8> {
        let taken = self.taken.load(Ordering::Relaxed);
        if taken == self.put.load(Ordering::Acquire) {
            return None;
        }
        let byte = self.slots[taken % N].load(Ordering::Relaxed);
        self.taken.store(taken.wrapping_add(1), Ordering::Release);
        Some(byte)
    }

    /// Drops what was put so far, as Ctrl-C does with type-ahead. Consumer only.
    pub fn clear(&self) {
        self.taken.store(self.put.load(Ordering::Acquire), Ordering::Release);
    }

    /// How many bytes can be taken now; more may arrive at any time.
    pub fn len(&self) -> usize {
        let taken = self.taken.load(Ordering::Acquire);
        self.put.load(Ordering::Acquire).wrapping_sub(taken).min(N)
    }

    /// Whether there is nothing to take now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes were dropped since the start.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Ring<N> {
        Ring::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn two_threads_pass_every_byte_in_order() {
        const BYTES: usize = 200_000;
        static RING: Ring<64> = Ring::new();
        let producer = std::thread::spawn(|| {
            let mut overruns = 0;
            for i in 0..BYTES {
                while !RING.put((i % 251) as u8) {
                    overruns += 1;
                    std::thread::yield_now();
                }
            }
            overruns
        });
        for i in 0..BYTES {
            let byte = loop {
                match RING.take() {
                    Some(byte) => break byte,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(byte, (i % 251) as u8, "byte {i}");
        }
        assert_eq!(RING.take(), None);
        assert_eq!(RING.overruns(), producer.join().expect("the producer ends"));
    }

    #[test]
    fn counters_that_wrap_do_no_harm() {
        let ring = Ring::<4>::new();
        ring.put.store(usize::MAX - 1, Ordering::Relaxed);
        ring.taken.store(usize::MAX - 1, Ordering::Relaxed);
        assert_eq!((0..6).map(|byte| ring.put(byte)).filter(|&was_put| was_put).count(), 4);
        assert_eq!((ring.len(), ring.overruns()), (4, 2));
        assert_eq!(core::iter::from_fn(|| ring.take()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn behaves_like_a_bounded_queue(steps in proptest::collection::vec(0..10u8, 0..300)) {
            let ring = Ring::<8>::new();
            let (mut model, mut overruns) = (VecDeque::new(), 0);
            for (i, step) in steps.into_iter().enumerate() {
                match step {
                    0 => {
                        ring.clear();
                        model.clear();
                    }
                    1..=4 => prop_assert_eq!(ring.take(), model.pop_front()),
                    _ if model.len() == 8 => {
                        prop_assert!(!ring.put(i as u8));
                        overruns += 1;
                    }
                    _ => {
                        prop_assert!(ring.put(i as u8));
                        model.push_back(i as u8);
                    }
                }
                prop_assert_eq!((ring.len(), ring.is_empty()), (model.len(), model.is_empty()));
                prop_assert_eq!(ring.overruns(), overruns);
            }
        }
    }
}
