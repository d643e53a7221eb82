//! How fast a CPU really runs: its actual ticks over its nominal ones.
//!
//! IA32_MPERF counts at the TSC's rate and IA32_APERF at the CPU's actual one, both only while the CPU is not idle, so
//! over a busy interval their quotient is the actual frequency over the nominal: above one with turbo, below it where
//! heat or power hold the CPU back. (Intel SDM vol. 3, "Hardware Feedback"; AMD64 APM vol. 2, "Performance Boost".)
//! Called by: the kernel's clock, on each CPU about itself.

use crate::cpu::RateCounters;
use crate::msr;

/// Both counters at one moment, on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSample {
    nominal: u64,
    actual: u64,
}

impl RateSample {
    /// This CPU's, now. Interrupts should be off: what comes between the two reads is counted by one of them alone.
    pub fn take(_proof: RateCounters) -> Self {
        // SAFETY: the proof says that both exist, and the kernel runs at privilege level 0. Reading changes nothing.
        unsafe { Self { nominal: msr::read(msr::MPERF), actual: msr::read(msr::APERF) } }
    }

    /// The rate since `earlier`, of the same CPU, in thousandths of the nominal one, rounded to the nearest; `None` if the
    /// nominal counter stood still, as one does that a hypervisor only pretends to have.
    pub fn per_mille_since(&self, earlier: &Self) -> Option<u64> {
        let nominal = u128::from(self.nominal.wrapping_sub(earlier.nominal));
        let actual = u128::from(self.actual.wrapping_sub(earlier.actual));
        (actual * 1000 + nominal / 2).checked_div(nominal).map(|rate| rate as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: RateSample = RateSample { nominal: 1000, actual: u64::MAX - 10 };

    #[test]
    fn a_rate_is_actual_over_nominal_across_a_wrap() {
        let later = RateSample { nominal: 3000, actual: EARLIER.actual.wrapping_add(2500) };
        assert_eq!(later.per_mille_since(&EARLIER), Some(1250));
    }

    #[test]
    fn counters_that_stand_still_are_no_rate() {
        assert_eq!(EARLIER.per_mille_since(&EARLIER), None);
    }
}
