//! What each CPU counts about shootdowns.
//!
//! A counter is written by its own CPU alone, with interrupts off, by a plain load and store: no locked instruction, no
//! line shared. Anybody may read it, at any time, and gets a value that was true a moment ago.

use core::ops::{Add, Sub};

use crate::sync::Ordering;
use crate::sync::unordered::AtomicU64;

/// A number that one CPU counts and all may read.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `n`. Only on the counter's own CPU, with interrupts off.
    pub(super) fn add(&self, n: usize) {
        self.0.store(self.get().wrapping_add(n as u64), Ordering::Relaxed);
    }

    /// Raises the value to `n`, if it is less. Only on the counter's own CPU, with interrupts off.
    pub(super) fn raise_to(&self, n: u64) {
        if n > self.get() {
            self.0.store(n, Ordering::Relaxed);
        }
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $merge:ident,)*) => {
        /// The counters of one CPU.
        #[derive(Debug)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
        }

        impl Counters {
            pub(super) const fn new() -> Self {
                Self { $($name: Counter::new(),)* }
            }

            /// The values, each read at its own moment.
            pub fn values(&self) -> CounterValues {
                CounterValues { $($name: self.$name.get(),)* }
            }
        }

        /// The values of one CPU's counters, or of several CPUs' together.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CounterValues {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// Of two CPUs together: sums, and the longer of the longest waits.
        impl Add for CounterValues {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self { $($name: counters!(@add $merge self.$name, other.$name),)* }
            }
        }

        /// What happened since `earlier`. The longest wait stays: it is not a sum.
        impl Sub for CounterValues {
            type Output = Self;
            fn sub(self, earlier: Self) -> Self {
                Self { $($name: counters!(@sub $merge self.$name, earlier.$name),)* }
            }
        }
    };
    (@add sum $a:expr, $b:expr) => { $a.wrapping_add($b) };
    (@add max $a:expr, $b:expr) => { if $a > $b { $a } else { $b } };
    (@sub sum $a:expr, $b:expr) => { $a.wrapping_sub($b) };
    (@sub max $a:expr, $b:expr) => { $a };
}

counters! {
    /// Writes to the interrupt command register, as [`send_ipi`](crate::Hardware::send_ipi) reports them.
    ipis_sent: sum,
    /// CPUs that were sent an interrupt: at least as many as writes, and more where one write reaches several.
    interrupted: sum,
    /// Shootdown interrupts handled.
    ipis_taken: sum,
    /// Rounds begun.
    shootdowns: sum,
    /// Rounds, of those, that the hardware ran.
    broadcasts: sum,
    /// Times this CPU found itself behind and flushed.
    flushes: sum,
    /// Pages flushed one by one.
    pages_flushed: sum,
    /// Flushes of everything.
    full_flushes: sum,
    /// CPUs that needed no interrupt because they were idle.
    idle_skips: sum,
    /// CPUs that needed no interrupt because one was on its way already, or because they had caught up by themselves.
    coalesced: sum,
    /// Rounds that had to wait for another CPU.
    waits: sum,
    /// The longest of these waits, in ticks of [`now_ticks`](crate::Hardware::now_ticks).
    longest_wait_ticks: max,
    /// Requests that this CPU served itself, in a wait loop, before their interrupt came.
    self_serviced: sum,
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn sums_are_summed_and_the_longest_wait_is_not() {
        let (a, b) = (Counters::new(), Counters::new());
        a.ipis_sent.add(3);
        b.ipis_sent.add(4);
        a.longest_wait_ticks.raise_to(10);
        a.longest_wait_ticks.raise_to(7);
        b.longest_wait_ticks.raise_to(5);
        let both = a.values() + b.values();
        assert_eq!((both.ipis_sent, both.longest_wait_ticks), (7, 10));
        let since = both - a.values();
        assert_eq!((since.ipis_sent, since.longest_wait_ticks), (4, 10));
    }
}
