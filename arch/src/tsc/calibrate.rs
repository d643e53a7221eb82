//! Measuring the TSC against a clock of known rate.
//!
//! Two kinds of noise are kept out. Both ends of an interval are read the same way, the reference between two reads of
//! the TSC, several times, keeping the narrowest: so what a port read costs cancels, and a pause at a bad moment is
//! dropped. And an interval counts only when a second one agrees: a virtual machine that pauses for longer than the
//! reference's wrap (55 ms for the PIT) loses whole wraps, and the answer would be a hundred times too high; that has
//! been seen.
//!
//! Every wait is bounded, by turns: a clock that stands still is an error.

use super::{Frequency, Source};
use core::fmt;

/// A clock of known rate that wraps.
pub trait ReferenceClock {
    /// All ones below the bit at which the counter wraps.
    const MASK: u32;
    /// What the measurement is called.
    const SOURCE: Source;
    /// Ticks per second.
    fn hz(&self) -> u64;
    /// How long to measure, in ticks: less than a wrap. 5 ms unless the clock knows better.
    fn interval_ticks(&self) -> u32 {
        (self.hz() / 200) as u32
    }
    /// The counter, ascending modulo `MASK + 1`.
    fn now(&mut self) -> u32;
}

/// Why there is no frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalibrationError {
    /// The reference did not reach the end of the interval within the bound.
    ClockStandsStill {
        /// Where it was last.
        ticks: u32,
    },
    /// The TSC did not advance by more than the reference did, so it is no clock to measure with.
    TscTooSlow {
        /// By how much it advanced.
        nr_tsc_ticks: u64,
    },
    /// No two intervals agreed.
    Unsteady {
        /// The lowest rate measured.
        lowest_hz: u64,
        /// The highest.
        highest_hz: u64,
    },
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockStandsStill { ticks } => write!(f, "the clock stands still, at {ticks}"),
            Self::TscTooSlow { nr_tsc_ticks } => {
                write!(f, "the TSC is no faster than the clock: {nr_tsc_ticks} ticks meanwhile")
            }
            Self::Unsteady { lowest_hz, highest_hz } => {
                write!(f, "no two measurements agree: from {} to {} kHz", lowest_hz / 1000, highest_hz / 1000)
            }
        }
    }
}

/// Turns of waiting; a port read takes 100 ns to 1 us, so seconds. For a TSC that stands still.
const MAX_POLLS: u32 = 5_000_000;
/// Turns that are waited at least, tens of milliseconds, so that a machine that paused has had time since.
const MIN_POLLS: u32 = 100_000;
/// Ticks of the TSC after which nothing more is expected: half a second at 4 GHz, for an interval of 5 ms.
const PATIENCE_TICKS: u64 = 1 << 31;
const NR_SAMPLES: u32 = 5;
/// Intervals to try before giving up on two that agree.
const MAX_INTERVALS: u32 = 12;
/// Two rates agree if they differ by less than a 500th: some ten times what the reads of the ends can be off by.
const AGREEMENT: u64 = 500;

/// Measures the TSC (`tsc` reads it) against `clock`. Takes two intervals, 10 ms, on a quiet
/// machine.
///
/// Context: boot, interrupts off or on.
///
/// # Errors
/// [`CalibrationError`].
pub fn calibrate<C: ReferenceClock>(
    clock: &mut C,
    mut tsc: impl FnMut() -> u64,
) -> Result<Frequency, CalibrationError> {
    // Lost wraps make a rate too high, never too low, so the lowest so far is the one to be confirmed.
    let mut lowest = measure(clock, &mut tsc)?;
    let mut highest = lowest;
    for _ in 1..MAX_INTERVALS {
        let hz = measure(clock, &mut tsc)?;
        if hz.abs_diff(lowest) < lowest / AGREEMENT {
            return Ok(Frequency { hz: hz.midpoint(lowest), source: C::SOURCE });
        }
        lowest = lowest.min(hz);
        highest = highest.max(hz);
    }
    Err(CalibrationError::Unsteady { lowest_hz: lowest, highest_hz: highest })
}

/// One interval.
fn measure<C: ReferenceClock>(clock: &mut C, tsc: &mut impl FnMut() -> u64) -> Result<u64, CalibrationError> {
    let interval_ticks = clock.interval_ticks();
    let start = sample(clock, tsc);
    let mut elapsed = 0;
    for poll in 0..MAX_POLLS {
        elapsed = clock.now().wrapping_sub(start.reference) & C::MASK;
        if elapsed >= interval_ticks {
            break;
        }
        if poll >= MIN_POLLS && poll.is_multiple_of(1024) && tsc().wrapping_sub(start.tsc) > PATIENCE_TICKS {
            break;
        }
    }
    if elapsed < interval_ticks {
        return Err(CalibrationError::ClockStandsStill { ticks: elapsed });
    }
    let end = sample(clock, tsc);
    let nr_reference_ticks = u64::from(end.reference.wrapping_sub(start.reference) & C::MASK);
    rate(clock.hz(), end.tsc.wrapping_sub(start.tsc), nr_reference_ticks)
}

fn rate(reference_hz: u64, nr_tsc_ticks: u64, nr_reference_ticks: u64) -> Result<u64, CalibrationError> {
    // A step backwards shows as an absurdly large difference. No CPU ticks 2^48 times in a fraction of a second.
    if nr_tsc_ticks <= nr_reference_ticks || nr_tsc_ticks >> 48 != 0 || nr_reference_ticks == 0 {
        return Err(CalibrationError::TscTooSlow { nr_tsc_ticks });
    }
    let hz = u128::from(nr_tsc_ticks) * u128::from(reference_hz) / u128::from(nr_reference_ticks);
    Ok(hz as u64)
}

/// A moment on both clocks.
struct Moment {
    reference: u32,
    tsc: u64,
}

fn sample<C: ReferenceClock>(clock: &mut C, tsc: &mut impl FnMut() -> u64) -> Moment {
    let mut best = Moment { reference: 0, tsc: 0 };
    let mut best_width = u64::MAX;
    for _ in 0..NR_SAMPLES {
        let before = tsc();
        let reference = clock.now();
        let width = tsc().wrapping_sub(before);
        if width < best_width {
            best_width = width;
            best = Moment { reference, tsc: before.wrapping_add(width / 2) };
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A machine whose TSC ticks `per_tick` times for each tick of a 1 MHz, 16-bit clock.
    struct Machine {
        now: Cell<u64>,
        per_tick: u64,
        /// TSC ticks that pass at each look at either clock.
        cost: u64,
        /// TSC ticks for which the machine pauses at the n-th look.
        pause: fn(u64) -> u64,
        nr_looks: Cell<u64>,
    }

    impl Machine {
        fn new(per_tick: u64, first: u64) -> Self {
            Self { now: Cell::new(first), per_tick, cost: 250, pause: |_| 0, nr_looks: Cell::new(0) }
        }

        fn look(&self) -> u64 {
            self.nr_looks.set(self.nr_looks.get() + 1);
            self.now.set(self.now.get() + self.cost + (self.pause)(self.nr_looks.get()));
            self.now.get()
        }
    }

    struct Clock<'a>(&'a Machine);

    impl ReferenceClock for Clock<'_> {
        const MASK: u32 = 0xffff;
        const SOURCE: Source = Source::PmTimer;

        fn hz(&self) -> u64 {
            1_000_000
        }

        fn interval_ticks(&self) -> u32 {
            20_000
        }

        fn now(&mut self) -> u32 {
            self.0.look().checked_div(self.0.per_tick).map_or(0, |now| now as u32 & Self::MASK)
        }
    }

    fn measured_hz(machine: &Machine) -> u64 {
        calibrate(&mut Clock(machine), || machine.look()).expect("a frequency").hz
    }

    #[test]
    fn the_rate_is_found_within_a_tick_of_the_reference() {
        for per_tick in [1000, 2600, 5000] {
            let hz = measured_hz(&Machine::new(per_tick, 12_345));
            let true_hz = per_tick * 1_000_000;
            assert!(hz.abs_diff(true_hz) < true_hz / 10_000, "{hz} for {true_hz}");
        }
    }

    #[test]
    fn a_wrap_of_the_reference_does_not_matter() {
        let hz = measured_hz(&Machine::new(1000, 60_000 * 1000));
        assert!(hz.abs_diff(1_000_000_000) < 100_000, "{hz}");
    }

    #[test]
    fn a_pause_at_an_end_of_the_interval_is_dropped() {
        // The 14th look is the reference's in the last sample of the start: 10 ms between the two clocks' readings.
        let machine = Machine { pause: |n| if n == 14 { 10_000_000 } else { 0 }, ..Machine::new(1000, 0) };
        let hz = measure(&mut Clock(&machine), &mut || machine.look()).expect("a rate");
        assert!(hz.abs_diff(1_000_000_000) < 1_000_000, "{hz}");
    }

    #[test]
    fn a_pause_longer_than_the_wrap_is_outvoted() {
        // One look, in the first interval's wait, takes 0.2 s: three wraps of this clock are lost.
        let paused = || Machine { pause: |n| if n == 100 { 200_000_000 } else { 0 }, ..Machine::new(1000, 0) };
        let machine = paused();
        let alone = measure(&mut Clock(&machine), &mut || machine.look()).expect("a rate");
        assert!(alone > 4_000_000_000, "{alone}: one interval alone must be fooled, or this shows nothing");
        let hz = measured_hz(&paused());
        assert!(hz.abs_diff(1_000_000_000) < 1_000_000, "{hz}");
    }

    #[test]
    fn a_machine_that_pauses_ever_longer_has_no_frequency() {
        let pause = |n: u64| if n.is_multiple_of(1000) { n * 70_000 } else { 0 };
        let machine = Machine { pause, ..Machine::new(1000, 0) };
        let found = calibrate(&mut Clock(&machine), || machine.look());
        assert!(matches!(found, Err(CalibrationError::Unsteady { .. })), "{found:?}");
    }

    #[test]
    fn a_dead_reference_ends_the_wait() {
        let machine = Machine::new(0, 0);
        let found = calibrate(&mut Clock(&machine), || machine.look());
        assert_eq!(found, Err(CalibrationError::ClockStandsStill { ticks: 0 }));
    }

    #[test]
    fn a_dead_tsc_is_an_error_and_not_zero_hertz() {
        let machine = Machine::new(1000, 0);
        assert_eq!(calibrate(&mut Clock(&machine), || 77), Err(CalibrationError::TscTooSlow { nr_tsc_ticks: 0 }));
    }

    #[test]
    fn a_tsc_that_stepped_back_is_an_error() {
        let back = 0u64.wrapping_sub(5);
        assert_eq!(rate(1_000_000, back, 20_000), Err(CalibrationError::TscTooSlow { nr_tsc_ticks: back }));
    }
}
