//! How fast the local APIC's timer counts.
//!
//! CPUID does not say everywhere, so it is measured, with the machinery that measures the TSC and the roles exchanged:
//! the TSC's rate is known, the timer's is asked.

use super::{LocalApic, TimerDivide, lvt};
use crate::tsc::{self, CalibrationError, Frequency, ReferenceClock, Source};

/// Divided by 16, so that the timer is slower than the TSC on every machine (under icount both tick at 1 GHz).
const DIVISOR: u64 = 16;

/// How often the timer claims to tick in a second.
const CLAIMED_HZ: u64 = 1_000_000_000;

/// The timer as a clock of the rate that it claims.
struct TimerClock<'a>(&'a LocalApic);

impl ReferenceClock for TimerClock<'_> {
    const MASK: u32 = u32::MAX;
    /// Never shown: only the rate is used.
    const SOURCE: Source = Source::PmTimer;

    fn hz(&self) -> u64 {
        CLAIMED_HZ
    }

    /// 1 ms in QEMU, 40 ms where the timer runs at a 24 MHz crystal's pace.
    fn interval_ticks(&self) -> u32 {
        62_500
    }

    fn now(&mut self) -> u32 {
        // It counts down from all ones.
        !self.0.timer_remaining()
    }
}

/// See [`LocalApic::measure_timer_hz`].
pub(super) fn measure_hz(apic: &LocalApic, tsc: Frequency) -> Result<u64, CalibrationError> {
    match apic {
        LocalApic::X2(apic) => lvt::start_masked_timer(apic, u32::MAX, TimerDivide::Div16),
        LocalApic::X(apic) => lvt::start_masked_timer(apic, u32::MAX, TimerDivide::Div16),
    }
    let measured = tsc::calibrate(&mut TimerClock(apic), tsc::read_serialised);
    apic.stop_timer();
    measured.map(|apparent| undivided_hz(tsc.hz, apparent.hz))
}

/// If the TSC of `tsc_hz` seems to tick `apparent_hz` times in what the timer calls a second, this is the timer's rate
/// before its divider.
fn undivided_hz(tsc_hz: u64, apparent_hz: u64) -> u64 {
    let hz = u128::from(tsc_hz) * u128::from(CLAIMED_HZ) * u128::from(DIVISOR);
    hz.checked_div(u128::from(apparent_hz)).map_or(0, |hz| hz as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_from_the_apparent_one() {
        // A timer at 1 GHz, divided to 62.5 MHz, takes 16 s for what it calls a second: 16 * 2.6e9 TSC ticks.
        assert_eq!(undivided_hz(2_600_000_000, 16 * 2_600_000_000), 1_000_000_000);
        assert_eq!(undivided_hz(3_000_000_000, 3_000_000_000 * 1000 / 24 * 16), 24_000_000);
    }
}
