//! What both modes share: the register map, the local vector table, the timer, errors.
//!
//! The two register files have the same registers: number n is MSR 0x800 + n, or offset 16 n. A back-end is therefore a
//! read and a write by number, and everything that is no ICR is written once, here.

use super::{ErrorFlags, TimerDivide};
use crate::traps::vectors;

/// Registers by number (SDM vol. 3, "Local APIC Register Address Map").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Register {
    Id = 0x02,
    Version = 0x03,
    TaskPriority = 0x08,
    EndOfInterrupt = 0x0b,
    Spurious = 0x0f,
    /// The first of eight words of in-service bits.
    InService = 0x10,
    ErrorStatus = 0x28,
    LvtCorrectedMachineCheck = 0x2f,
    Icr = 0x30,
    /// xAPIC only: the upper half, with the destination.
    IcrHigh = 0x31,
    LvtTimer = 0x32,
    LvtThermal = 0x33,
    LvtPerformance = 0x34,
    LvtLint0 = 0x35,
    LvtLint1 = 0x36,
    LvtError = 0x37,
    TimerInitial = 0x38,
    TimerCurrent = 0x39,
    TimerDivide = 0x3e,
    /// x2APIC only.
    SelfIpi = 0x3f,
}

/// One register file. Reading and writing have the register's effect on this CPU's APIC, nothing more.
pub(super) trait Registers {
    fn read(&self, register: Register) -> u32 {
        self.read_nth(register, 0)
    }

    /// The register `n` after `register`, for those that are arrays.
    fn read_nth(&self, register: Register, n: u8) -> u32;

    fn write(&self, register: Register, value: u32);
}

const MASKED: u32 = 1 << 16;
const DELIVERY_NMI: u32 = 0b100 << 8;
const SOFTWARE_ENABLE: u32 = 1 << 8;

/// See [`super::LocalApic::init_this_cpu`].
pub(super) fn init(apic: &impl Registers) {
    // Enabled first: while the APIC is software-disabled (as other CPUs arrive) the hardware forces every mask bit on,
    // and would swallow LINT1's unmasking.
    apic.write(Register::Spurious, SOFTWARE_ENABLE | u32::from(vectors::SPURIOUS));
    stop_timer(apic);
    let highest_lvt = apic.read(Register::Version) >> 16 & 0xff;
    for (register, least_highest) in [
        (Register::LvtLint0, 0),
        (Register::LvtError, 3),
        (Register::LvtPerformance, 4),
        (Register::LvtThermal, 5),
        (Register::LvtCorrectedMachineCheck, 6),
    ] {
        // A register that is not there faults (x2APIC) or is an error (xAPIC).
        if highest_lvt >= least_highest {
            apic.write(register, MASKED);
        }
    }
    apic.write(Register::LvtLint1, DELIVERY_NMI);
    apic.write(Register::TaskPriority, 0);
    acknowledge_stale(apic);
    // Twice: the first write latches what happened so far, the second what latching left.
    take_errors(apic);
    take_errors(apic);
}

/// Ends interrupts that a former owner took and never ended; they would hold back all of lower priority.
fn acknowledge_stale(apic: &impl Registers) {
    let nr_in_service: u32 = (0..8).map(|n| apic.read_nth(Register::InService, n).count_ones()).sum();
    for _ in 0..nr_in_service {
        apic.write(Register::EndOfInterrupt, 0);
    }
}

/// The status register shows what it latched at the last write to it, so write first.
pub(super) fn take_errors(apic: &impl Registers) -> ErrorFlags {
    apic.write(Register::ErrorStatus, 0);
    ErrorFlags::from_bits_truncate(apic.read(Register::ErrorStatus) as u8)
}

pub(super) fn start_timer(apic: &impl Registers, vector: u8, count: u32, divide: TimerDivide) {
    // One-shot is mode 0. The count comes last: writing it is what starts the timer.
    apic.write(Register::LvtTimer, u32::from(vector));
    apic.write(Register::TimerDivide, divide as u32);
    apic.write(Register::TimerInitial, count);
}

/// Counts down and tells nobody.
pub(super) fn start_masked_timer(apic: &impl Registers, count: u32, divide: TimerDivide) {
    apic.write(Register::LvtTimer, MASKED);
    apic.write(Register::TimerDivide, divide as u32);
    apic.write(Register::TimerInitial, count);
}

pub(super) fn stop_timer(apic: &impl Registers) {
    apic.write(Register::LvtTimer, MASKED);
    apic.write(Register::TimerInitial, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// An APIC that records its writes.
    struct Recorder {
        version: u32,
        in_service: [u32; 8],
        writes: RefCell<Vec<(Register, u32)>>,
    }

    impl Recorder {
        fn new(highest_lvt: u32, in_service: [u32; 8]) -> Self {
            Self { version: highest_lvt << 16 | 0x14, in_service, writes: RefCell::default() }
        }

        fn last(&self, register: Register) -> Option<u32> {
            self.writes.borrow().iter().rev().find(|w| w.0 == register).map(|w| w.1)
        }

        fn position(&self, register: Register) -> usize {
            self.writes.borrow().iter().position(|w| w.0 == register).expect("written")
        }
    }

    impl Registers for Recorder {
        fn read_nth(&self, register: Register, n: u8) -> u32 {
            match register {
                Register::Version => self.version,
                Register::InService => self.in_service[usize::from(n)],
                _ => 0,
            }
        }

        fn write(&self, register: Register, value: u32) {
            self.writes.borrow_mut().push((register, value));
        }
    }

    #[test]
    fn init_masks_everything_but_the_nmi_pin() {
        let apic = Recorder::new(6, [0; 8]);
        init(&apic);
        for register in [
            Register::LvtTimer,
            Register::LvtLint0,
            Register::LvtError,
            Register::LvtPerformance,
            Register::LvtThermal,
            Register::LvtCorrectedMachineCheck,
        ] {
            assert_eq!(apic.last(register), Some(0x10000), "{register:?}");
        }
        assert_eq!(apic.last(Register::LvtLint1), Some(0x400));
        assert_eq!(apic.last(Register::Spurious), Some(0x1ff));
        assert_eq!(apic.last(Register::TaskPriority), Some(0));
        assert_eq!(apic.last(Register::TimerInitial), Some(0));
    }

    #[test]
    fn the_apic_is_enabled_before_lint1_is_unmasked() {
        let apic = Recorder::new(5, [0; 8]);
        init(&apic);
        assert!(apic.position(Register::Spurious) < apic.position(Register::LvtLint1));
    }

    #[test]
    fn absent_entries_are_not_written() {
        let apic = Recorder::new(3, [0; 8]);
        init(&apic);
        assert_eq!(apic.last(Register::LvtPerformance), None);
        assert_eq!(apic.last(Register::LvtThermal), None);
        assert_eq!(apic.last(Register::LvtCorrectedMachineCheck), None);
        assert!(apic.last(Register::LvtError).is_some());
    }

    #[test]
    fn each_stale_interrupt_is_ended_once() {
        let apic = Recorder::new(5, [0, 0b101, 0, 0, 0, 0, 0, 1 << 31]);
        init(&apic);
        assert_eq!(apic.writes.borrow().iter().filter(|w| w.0 == Register::EndOfInterrupt).count(), 3);
    }

    #[test]
    fn the_count_that_starts_the_timer_comes_last() {
        let apic = Recorder::new(5, [0; 8]);
        start_timer(&apic, 0x40, 1000, TimerDivide::Div16);
        assert_eq!(
            *apic.writes.borrow(),
            [(Register::LvtTimer, 0x40), (Register::TimerDivide, 3), (Register::TimerInitial, 1000)]
        );
    }
}
