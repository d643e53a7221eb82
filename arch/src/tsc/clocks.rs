//! The clocks that a PC has beside the TSC: ACPI's power-management timer, the HPET, and channel 2 of the PIT.
//!
//! Each is driven by the same crystal on most boards, and by a device of its own in a virtual machine; what they share is
//! that none of them is the TSC, so that a word of CPUID about the TSC can be held against them.
//! Called by: boot and the shell's `clock`, on the first CPU.

use core::fmt;
use core::ptr::NonNull;

use super::{ReferenceClock, Source};
use crate::port;

/// The ACPI power-management timer (ACPI 6.5, "Power Management Timer").
#[derive(Debug)]
pub struct PmTimer {
    port: u16,
}

impl PmTimer {
    /// The timer at `port`.
    ///
    /// # Safety
    /// `port` is what the FADT says.
    pub const unsafe fn new(port: u16) -> Self {
        Self { port }
    }
}

impl ReferenceClock for PmTimer {
    /// All have 24 bits; the upper eight of those with 32 are left out.
    const MASK: u32 = 0x00ff_ffff;
    const SOURCE: Source = Source::PmTimer;

    fn hz(&self) -> u64 {
        3_579_545
    }

    fn now(&mut self) -> u32 {
        // SAFETY: the timer's port; a read changes nothing.
        unsafe { port::read_u32(self.port) & Self::MASK }
    }
}

const PIT_CHANNEL_2: u16 = 0x42;
const PIT_COMMAND: u16 = 0x43;
/// Channel 2, low byte then high byte, mode 0 (counts down once, then on from 0xFFFF), binary.
const PIT_START: u8 = 0xb0;
/// Latch channel 2.
const PIT_LATCH: u8 = 0x80;
const SPEAKER: u16 = 0x61;
const SPEAKER_GATE: u8 = 1;
const SPEAKER_ON: u8 = 2;

/// Channel 2 of the programmable interval timer, the one that no interrupt hangs on.
#[derive(Debug)]
pub struct Pit(());

impl Pit {
    /// Starts the channel, with the speaker off.
    ///
    /// # Safety
    /// Nobody else uses channel 2 (the PC speaker) or port 0x61.
    pub unsafe fn start() -> Self {
        // SAFETY: the PIT's documented sequence, on ports that the caller gives us.
        unsafe {
            let speaker = port::read_u8(SPEAKER);
            port::write_u8(SPEAKER, speaker & !SPEAKER_ON | SPEAKER_GATE);
            port::write_u8(PIT_COMMAND, PIT_START);
            port::write_u8(PIT_CHANNEL_2, 0xff);
            port::write_u8(PIT_CHANNEL_2, 0xff);
        }
        Self(())
    }
}

/// It wraps after 55 ms, eleven intervals.
impl ReferenceClock for Pit {
    const MASK: u32 = 0xffff;
    const SOURCE: Source = Source::Pit;

    fn hz(&self) -> u64 {
        1_193_182
    }

    fn now(&mut self) -> u32 {
        // SAFETY: latching and reading channel 2, which `start` gave us.
        let count = unsafe {
            port::write_u8(PIT_COMMAND, PIT_LATCH);
            u16::from_le_bytes([port::read_u8(PIT_CHANNEL_2), port::read_u8(PIT_CHANNEL_2)])
        };
        // It counts down.
        u32::from(!count)
    }
}

/// General capabilities: bits 32 to 63 are the counter's period in femtoseconds. (IA-PC HPET 1.0a, 2.3.4.)
const HPET_CAPABILITIES: usize = 0x00;
/// General configuration; bit 0 lets the main counter run. (2.3.5.)
const HPET_CONFIGURATION: usize = 0x10;
const HPET_ENABLE: u32 = 1;
/// Main counter; its lower 32 bits are there on every HPET. (2.3.7.)
const HPET_COUNTER: usize = 0xf0;
/// Bytes of the registers that are used here.
pub const HPET_BYTES: usize = HPET_COUNTER + 8;
/// The longest period that the specification allows, 100 ns; 0 is reserved. (2.3.4.)
const HPET_LONGEST_FS: u32 = 100_000_000;
/// A counter of more than 1 GHz is a broken table: none is known that reaches a fifth of that.
const HPET_SHORTEST_FS: u32 = 1_000_000;
const FS_PER_S: u64 = 1_000_000_000_000_000;

/// The high-precision event timer's main counter. Its comparators and interrupts are left alone.
#[derive(Debug)]
pub struct HpetCounter {
    base: NonNull<u8>,
    hz: u64,
}

/// The period in the capabilities is none that a HPET may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPeriod {
    /// What stands there.
    pub femtoseconds: u32,
}

impl fmt::Display for BadPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a period of {} fs is none that it may have", self.femtoseconds)
    }
}

impl HpetCounter {
    /// Lets the counter run, if the firmware did not.
    ///
    /// # Errors
    /// [`BadPeriod`]: all ones where nothing answers.
    ///
    /// # Safety
    /// At `base` the registers of a HPET are mapped, uncached, for as long as the value lives; nobody else stops it.
    pub unsafe fn start(base: NonNull<u8>) -> Result<Self, BadPeriod> {
        // SAFETY: registers inside the mapped block, aligned to their size; setting the enable bit alone only starts
        // what stands still.
        let femtoseconds = unsafe {
            let femtoseconds = base.add(HPET_CAPABILITIES + 4).cast::<u32>().read_volatile();
            let configuration = base.add(HPET_CONFIGURATION).cast::<u32>();
            if femtoseconds != u32::MAX && configuration.read_volatile() & HPET_ENABLE == 0 {
                configuration.write_volatile(configuration.read_volatile() | HPET_ENABLE);
            }
            femtoseconds
        };
        hpet_hz(femtoseconds).map(|hz| Self { base, hz })
    }
}

fn hpet_hz(femtoseconds: u32) -> Result<u64, BadPeriod> {
    match femtoseconds {
        HPET_SHORTEST_FS..=HPET_LONGEST_FS => Ok((FS_PER_S + u64::from(femtoseconds) / 2) / u64::from(femtoseconds)),
        _ => Err(BadPeriod { femtoseconds }),
    }
}

impl ReferenceClock for HpetCounter {
    const MASK: u32 = u32::MAX;
    const SOURCE: Source = Source::Hpet;

    fn hz(&self) -> u64 {
        self.hz
    }

    fn now(&mut self) -> u32 {
        // SAFETY: as promised to `start`; a read changes nothing.
        unsafe { self.base.add(HPET_COUNTER).cast::<u32>().read_volatile() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hpet_tells_its_rate_by_its_period() {
        // Three PIT crystals' rates, as chipsets report it, and QEMU's 100 MHz.
        assert_eq!(hpet_hz(69_841_279), Ok(14_318_180));
        assert_eq!(hpet_hz(10_000_000), Ok(100_000_000));
    }

    #[test]
    fn a_period_that_no_hpet_has_is_refused() {
        for femtoseconds in [0, 1, u32::MAX, HPET_LONGEST_FS + 1] {
            assert_eq!(hpet_hz(femtoseconds), Err(BadPeriod { femtoseconds }));
        }
    }

    #[test]
    fn registers_are_read_where_the_specification_puts_them() {
        let mut registers = [0u64; HPET_BYTES / 8];
        registers[0] = 69_841_279 << 32 | 0x8086_a201;
        registers[HPET_COUNTER / 8] = 0x1_2345_6789;
        let base = NonNull::from(&mut registers).cast();
        // SAFETY: an array as long as the block of registers, used by nothing else meanwhile.
        let mut counter = unsafe { HpetCounter::start(base) }.expect("a period");
        assert_eq!((counter.hz(), counter.now()), (14_318_180, 0x2345_6789));
        // SAFETY: as above.
        let configuration = unsafe { base.add(HPET_CONFIGURATION).cast::<u32>().read_volatile() };
        assert_eq!(configuration, HPET_ENABLE, "it was let run");
    }
}
