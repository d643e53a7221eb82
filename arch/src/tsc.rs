//! The time-stamp counter, and how fast it ticks.
//!
//! The frequency comes from the best source there is, in this order: the bootloader (the kernel asks it), CPUID
//! (`cpu::Features::tsc_frequency`), the ACPI PM timer, the HPET, the PIT; [`calibrate`] does the last three.
//! Under multi-threaded TCG a read takes a lock of QEMU's: never one per operation on several CPUs.

mod calibrate;
mod clocks;

pub use calibrate::{CalibrationError, ReferenceClock, calibrate};
pub use clocks::{BadPeriod, HPET_BYTES, HpetCounter, Pit, PmTimer};

use core::arch::asm;
use core::fmt;

/// Ticks per second of the TSC, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency {
    /// Ticks per second; not 0 (see [`Frequency::new`]).
    pub hz: u64,
    /// Who said so.
    pub source: Source,
}

/// Where a frequency came from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The bootloader.
    Bootloader,
    /// CPUID leaf 0x15 with the crystal's frequency.
    CpuidCrystal,
    /// CPUID leaf 0x16: rounded to a MHz, and nominal.
    CpuidBaseFrequency,
    /// The hypervisor's leaf 0x4000_0010.
    Hypervisor,
    /// Measured against the ACPI PM timer.
    PmTimer,
    /// Measured against the HPET.
    Hpet,
    /// Measured against channel 2 of the PIT.
    Pit,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bootloader => "bootloader",
            Self::CpuidCrystal => "CPUID crystal",
            Self::CpuidBaseFrequency => "CPUID base frequency",
            Self::Hypervisor => "hypervisor",
            Self::PmTimer => "ACPI PM timer",
            Self::Hpet => "HPET",
            Self::Pit => "PIT",
        })
    }
}

impl Frequency {
    /// `hz` by `source`, unless it is 0: what a bootloader or a CPUID leaf gives may be.
    pub const fn new(hz: u64, source: Source) -> Option<Self> {
        if hz == 0 { None } else { Some(Self { hz, source }) }
    }

    /// Nanoseconds that `nr_ticks` take, rounded down; saturates after 584 years.
    pub const fn nanoseconds(&self, nr_ticks: u64) -> u64 {
        match (nr_ticks as u128 * 1_000_000_000).checked_div(self.hz as u128) {
            Some(nanoseconds) => saturate(nanoseconds),
            None => u64::MAX,
        }
    }

    /// Ticks in `nanoseconds`, rounded down.
    pub const fn ticks(&self, nanoseconds: u64) -> u64 {
        saturate(nanoseconds as u128 * self.hz as u128 / 1_000_000_000)
    }
}

const fn saturate(value: u128) -> u64 {
    if value > u64::MAX as u128 { u64::MAX } else { value as u64 }
}

/// The counter, as soon as the CPU likes: earlier instructions may still run, later ones may have begun.
#[inline]
pub fn read() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: every 64-bit CPU has RDTSC, and we run where CR4.TSD does not matter. `nomem`, but not `pure`: two reads
    // differ.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) }
    u64::from(high) << 32 | u64::from(low)
}

/// The counter, between what came before and what comes after: for measuring a piece of code.
///
/// `lfence; rdtsc; lfence` rather than RDTSCP, which is not on every CPU and holds back only what came before.
#[inline]
pub fn read_serialised() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: as `read`; LFENCE is in every 64-bit CPU. Clobbers memory, so that measured accesses stay outside.
    unsafe { asm!("lfence", "rdtsc", "lfence", out("eax") low, out("edx") high, options(nostack, preserves_flags)) }
    u64::from(high) << 32 | u64::from(low)
}

/// Whether a tick is an instruction, as under QEMU's `-icount`: found out by a loop whose instructions are known.
///
/// Other CPUs' instructions are ticks, too, so they had better halt meanwhile; a few measurements may go wrong by them.
pub fn counts_instructions() -> bool {
    const NR_LOOKS: usize = 16;
    // Two lengths, so that what comes before and after the loop counts for nothing. Real cores take a cycle for a turn of
    // the longer one, at a clock of its own: that both figures agree more often than not takes more than chance.
    let is_exact = || loop_ticks(3000).wrapping_sub(loop_ticks(1000)) == 2 * (3000 - 1000);
    (0..NR_LOOKS).filter(|_| is_exact()).count() > NR_LOOKS / 2
}

/// Ticks that `nr_turns` of a loop of two instructions take, and a constant number more: not inlined, so that it is the same one.
#[inline(never)]
fn loop_ticks(nr_turns: u32) -> u64 {
    let before = read_serialised();
    // SAFETY: counts a register down, and touches nothing else but the flags.
    unsafe { asm!("2:", "dec {turns:e}", "jnz 2b", turns = inout(reg) nr_turns => _, options(nomem, nostack)) }
    read_serialised().wrapping_sub(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GHZ_2_6: Frequency = Frequency { hz: 2_600_000_000, source: Source::Pit };

    #[test]
    fn ticks_and_nanoseconds_convert_both_ways() {
        assert_eq!(GHZ_2_6.nanoseconds(2600), 1000);
        assert_eq!(GHZ_2_6.ticks(1000), 2600);
        assert_eq!(GHZ_2_6.nanoseconds(2_600_000_000 * 86_400 * 365), 86_400 * 365 * 1_000_000_000);
    }

    #[test]
    fn no_frequency_is_zero() {
        assert_eq!(Frequency::new(0, Source::Bootloader), None);
        assert_eq!(Frequency::new(2_600_000_000, Source::Pit), Some(GHZ_2_6));
    }

    #[test]
    fn conversions_saturate() {
        assert_eq!(GHZ_2_6.ticks(u64::MAX), u64::MAX);
        assert_eq!(Frequency { hz: 1, source: Source::Pit }.nanoseconds(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_clock_of_time_counts_no_instructions() {
        assert!(!counts_instructions());
    }

    #[test]
    fn the_counter_does_not_go_back() {
        let first = read_serialised();
        assert!(read_serialised() >= first);
    }
}
