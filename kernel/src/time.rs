//! Time: the TSC, its frequency, and what follows from it.
//!
//! Before the frequency is known, times print as "?" and deadlines are counted in turns of a loop.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use arch::cpu::Features;
use arch::tsc::{self, CalibrationError, Frequency, Pit, PmTimer};
use spin::Once;

static FREQUENCY: Once<Frequency> = Once::new();
static ENTRY_TICKS: AtomicU64 = AtomicU64::new(0);

/// Notes when the kernel was entered. First thing.
pub fn note_entry() {
    ENTRY_TICKS.store(tsc::read(), Ordering::Relaxed);
}

/// Learns the frequency: from CPUID, else measured against the ACPI timer, else against the PIT.
///
/// # Errors
///
/// The last clock's, if no clock could tell.
pub fn init(features: &Features, pm_timer_port: Option<u16>) -> Result<Frequency, CalibrationError> {
    FREQUENCY
        .try_call_once(|| {
            if let Some(told) = features.tsc_frequency {
                return Ok(told);
            }
            if let Some(port) = pm_timer_port {
                // SAFETY: the port is what the FADT says.
                let mut clock = unsafe { PmTimer::new(port) };
                if let Ok(measured) = tsc::calibrate(&mut clock, tsc::read) {
                    return Ok(measured);
                }
            }
            // SAFETY: nobody else in this kernel touches channel 2 or the speaker.
            tsc::calibrate(&mut unsafe { Pit::start() }, tsc::read)
        })
        .copied()
}

/// The frequency, once it is known.
pub fn frequency() -> Option<Frequency> {
    FREQUENCY.get().copied()
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
