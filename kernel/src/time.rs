//! Time: the TSC, its frequency, and what follows from it.
//!
//! Before the frequency is known, times print as "?" and deadlines are counted in turns of a loop.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use arch::tsc::{self, Frequency};
use spin::Once;

/// The first rate, and the one that was settled on: see [`crate::clock`].
static FREQUENCIES: [Once<Frequency>; 2] = [const { Once::new() }; 2];
static ENTRY_TICKS: AtomicU64 = AtomicU64::new(0);

/// Notes when the kernel was entered. First thing.
pub fn note_entry() {
    ENTRY_TICKS.store(tsc::read(), Ordering::Relaxed);
}

/// Ticks from the kernel's entry to the moment at which all CPUs were online; 0 before it.
static TICKS_TO_ONLINE: AtomicU64 = AtomicU64::new(0);

/// Notes that all CPUs are online that will be.
pub fn note_all_online() {
    TICKS_TO_ONLINE.store(tsc::read() - ENTRY_TICKS.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// How long that took, in ticks of the TSC.
pub fn ticks_to_online() -> u64 {
    TICKS_TO_ONLINE.load(Ordering::Relaxed)
}

/// Makes the frequency known: a first one, then the one that is settled on. Later calls change nothing.
pub fn set_frequency(frequency: Frequency) {
    let place = FREQUENCIES.iter().find(|place| !place.is_completed());
    place.inspect(|place| _ = place.call_once(|| frequency));
}

/// The frequency, once it is known.
pub fn frequency() -> Option<Frequency> {
    FREQUENCIES.iter().rev().find_map(Once::get).copied()
}

/// Nanoseconds since the kernel was entered; 0 while the frequency is not known.
pub fn now_ns() -> u64 {
    let ticks = tsc::read().saturating_sub(ENTRY_TICKS.load(Ordering::Relaxed));
    frequency().map_or(0, |frequency| frequency.nanoseconds(ticks))
}

/// `duration_ns` in TSC ticks; `u64::MAX` while the frequency is not known.
pub fn ticks(duration_ns: u64) -> u64 {
    frequency().map_or(u64::MAX, |frequency| frequency.ticks(duration_ns))
}

/// A deadline that is `duration_ns` away. Passes never while the frequency is unknown.
#[derive(Clone, Copy)]
pub struct Deadline {
    start: u64,
    ticks: u64,
}

impl Deadline {
    /// From now on.
    pub fn after_ns(duration_ns: u64) -> Self {
        Self { start: tsc::read(), ticks: ticks(duration_ns) }
    }

    /// Whether it has passed.
    pub fn has_passed(&self) -> bool {
        tsc::read().wrapping_sub(self.start) >= self.ticks
    }
}

/// Prints seconds since the kernel was entered, to the microsecond.
pub struct SinceEntry(Option<u64>);

impl SinceEntry {
    /// Now.
    pub fn now() -> Self {
        Self(frequency().map(|_| now_ns()))
    }
}

impl fmt::Display for SinceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ns) => write!(f, "{:3}.{:06}", ns / 1_000_000_000, ns / 1_000 % 1_000_000),
            None => f.write_str("  ?       "),
        }
    }
}
