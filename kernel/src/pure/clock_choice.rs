//! Which clock's word is taken for the rate of the TSC, where two disagree.
//!
//! CPUID tells a rate exactly or not at all, except where it lies: a hypervisor that passes the host's leaves through and
//! scales the TSC, a firmware that overclocks the crystal, a prototype's CPU. A measurement is only good to a tenth of a percent, but
//! of this machine, now. So CPUID's word is kept as long as an independent clock does not contradict it, and what is
//! beyond the noise of both is measured: it is what an hour of benchmarks would otherwise be wrong by.
//!
//! Called by: the kernel's clock, at boot.

/// What `tsc=` on the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What CPUID, or the hypervisor through it, tells.
    Cpuid,
    /// Measured against the ACPI PM timer.
    PmTimer,
    /// Measured against the HPET.
    Hpet,
    /// Measured against the PIT.
    Pit,
}

impl Wanted {
    /// What there is, for a complaint.
    pub const KNOWN: &'static str = "cpuid, pm, hpet, pit";

    /// Reads the word behind `tsc=`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "cpuid" => Some(Self::Cpuid),
            "pm" => Some(Self::PmTimer),
            "hpet" => Some(Self::Hpet),
            "pit" => Some(Self::Pit),
            _ => None,
        }
    }
}

/// Two rates agree within this part: a hundredth. Ten times the noise of a measurement, three times the farthest that
/// CPUID's base frequency, rounded for the box, is known to lie beside the TSC's (2.6 GHz for 2.592).
const TOLERANCE: u64 = 100;

/// Whether two rates can be the same.
pub fn agree(one_hz: u64, other_hz: u64) -> bool {
    one_hz.abs_diff(other_hz) <= one_hz.min(other_hz) / TOLERANCE
}

/// How far `hz` lies from `reference_hz`, in millionths of the latter; saturates.
pub fn parts_per_million(hz: u64, reference_hz: u64) -> i64 {
    let difference = (i128::from(hz) - i128::from(reference_hz)) * 1_000_000;
    difference.checked_div(i128::from(reference_hz)).map_or(0, |ppm| ppm.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

/// Whom to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// The rate that was told: the clock agrees.
    Told,
    /// The rate that was told: the first clock disagrees, but the second stands by it.
    ToldByTwo,
    /// The first clock's measurement.
    Measured,
}

/// Whom to believe of `told_hz` and a first clock's `measured_hz`; `second` measures with another clock, if there is one,
/// and is asked only if those two disagree.
pub fn believe(told_hz: u64, measured_hz: u64, second: impl FnOnce() -> Option<u64>) -> Belief {
    if agree(told_hz, measured_hz) {
        return Belief::Told;
    }
    match second() {
        Some(second_hz) if agree(told_hz, second_hz) => Belief::ToldByTwo,
        _ => Belief::Measured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GHZ: u64 = 1_000_000_000;

    #[test]
    fn words_of_the_command_line() {
        assert_eq!(Wanted::parse("hpet"), Some(Wanted::Hpet));
        assert!(Wanted::KNOWN.split(", ").all(|word| Wanted::parse(word).is_some()));
        assert_eq!(Wanted::parse("sundial"), None);
    }

    #[test]
    fn a_rounded_base_frequency_is_no_lie() {
        assert_eq!(believe(2_600_000_000, 2_592_000_000, || panic!("nobody else is asked")), Belief::Told);
        assert!(agree(GHZ, GHZ + GHZ / 100) && !agree(GHZ, GHZ + GHZ / 50) && !agree(GHZ + GHZ / 50, GHZ));
    }

    #[test]
    fn a_rate_that_no_clock_confirms_gives_way() {
        assert_eq!(believe(3 * GHZ, 2 * GHZ, || None), Belief::Measured);
        assert_eq!(believe(3 * GHZ, 2 * GHZ, || Some(2 * GHZ)), Belief::Measured);
        assert_eq!(believe(3 * GHZ, 2 * GHZ, || Some(4 * GHZ)), Belief::Measured, "three rates: the first clock's");
    }

    #[test]
    fn one_clock_that_is_off_does_not_outvote_two() {
        assert_eq!(believe(3 * GHZ, 2 * GHZ, || Some(3 * GHZ + 1)), Belief::ToldByTwo);
    }

    #[test]
    fn distances_are_signed_and_never_overflow() {
        assert_eq!(parts_per_million(GHZ + 1000, GHZ), 1);
        assert_eq!(parts_per_million(GHZ - 2000, GHZ), -2);
        assert_eq!(parts_per_million(u64::MAX, 0), 0);
        assert_eq!(parts_per_million(u64::MAX, 1), i64::MAX);
    }
}
