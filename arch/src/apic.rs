//! The local APIC: interrupts between CPUs, end of interrupt, the timer.
//!
//! Two back-ends behind one copyable handle: [`X2Apic`] (registers are MSRs, 32-bit ids) and [`XApic`] (registers in
//! memory, 8-bit ids). Which one is decided by what IA32_APIC_BASE says, never by CPUID alone: a bootloader or firmware
//! that left the APIC in xAPIC mode may have had a reason (DMAR's x2APIC opt-out), and modes never change after boot.
//!
//! Of the `x2apic` crate this uses what is right: its register enumerations (timer divider, error flags) and, in
//! [`crate::ioapic`], its I/O APIC. Not its `LocalApic`, which picks the mode by CPUID, starts the timer and unmasks
//! LINT0/1 in `enable`, puts the xAPIC destination in the wrong bits, has no cluster destination and no fence.
//!
//! Invariants: a [`LocalApic`] talks to the APIC of whichever CPU runs the call; one value serves all CPUs.
//! Sending publishes nothing by itself: write the request first, then send (the fence between is here).
//! Context: any, NMI included for `send_nmi`; xAPIC sends run with interrupts off inside.
//! Called by: boot, the kernel's IPI glue, the trap handler (EOI).

pub mod icr;
mod lvt;
mod timer;
mod x;
mod x2;

pub use icr::{cluster_of, logical_id};
pub use x::XApic;
pub use x2::X2Apic;
pub use x2apic::lapic::{ErrorFlags, TimerDivide};

use crate::cpu;
use crate::msr;
use crate::tsc::{CalibrationError, Frequency};
use core::fmt;
use icr::Command;

/// IA32_APIC_BASE bits (SDM vol. 3, "Local APIC Status and Location" and "Detecting and Enabling x2APIC Mode").
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_BSP: u64 = 1 << 8;
const BASE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The mode an APIC is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Globally off: no interrupts between CPUs.
    Disabled,
    /// Registers in memory, 8-bit ids.
    XApic,
    /// Registers in MSRs, 32-bit ids.
    X2Apic,
}

impl Mode {
    const fn from_base(base: u64) -> Self {
        match (base & BASE_ENABLE != 0, base & BASE_X2APIC != 0) {
            (false, _) => Self::Disabled,
            (true, false) => Self::XApic,
            (true, true) => Self::X2Apic,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Disabled => "disabled",
            Self::XApic => "xAPIC",
            Self::X2Apic => "x2APIC",
        })
    }
}

fn base_register() -> u64 {
    // SAFETY: IA32_APIC_BASE exists on every 64-bit CPU, and reading it has no effect.
    unsafe { msr::read(msr::APIC_BASE) }
}

/// The mode this CPU's APIC is in.
pub fn mode() -> Mode {
    Mode::from_base(base_register())
}

/// The physical address of the xAPIC registers, for the kernel to map uncached.
pub fn base_phys() -> u64 {
    base_register() & BASE_ADDRESS
}

/// Is this the CPU that the firmware started first?
pub fn is_bootstrap_cpu() -> bool {
    base_register() & BASE_BSP != 0
}

/// The APIC is not in the mode that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongMode {
    /// The mode it is in.
    pub actual: Mode,
}

impl fmt::Display for WrongMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the local APIC is in the mode {}", self.actual)
    }
}

/// An interrupt was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// xAPIC has eight bits for an id, and 255 means everybody.
    DestinationTooWide {
        /// The APIC id asked for.
        apic_id: u32,
    },
    /// The one before has been "delivery pending" for the whole bound: a CPU does not accept, or the bus is broken.
    DeliveryPending {
        /// Turns of the poll.
        nr_polls: u32,
    },
    /// Cluster destinations exist in x2APIC mode only.
    NoClusters,
}

/// The local APIC of whichever CPU runs the call.
#[derive(Clone, Copy, Debug)]
pub enum LocalApic {
    /// In x2APIC mode.
    X2(X2Apic),
    /// In xAPIC mode.
    X(XApic),
}

macro_rules! either {
    ($self:ident, $apic:ident => $call:expr) => {
        match $self {
            LocalApic::X2($apic) => $call,
            LocalApic::X($apic) => $call,
        }
    };
}

impl LocalApic {
    /// The handle for x2APIC mode. CPUID's proof is necessary; that the APIC is in the mode is checked here.
    ///
    /// # Errors
    /// The mode it is in, if another.
    pub fn new_x2apic(proof: cpu::X2Apic) -> Result<Self, WrongMode> {
        match mode() {
            Mode::X2Apic => Ok(Self::X2(X2Apic::in_use(proof))),
            actual => Err(WrongMode { actual }),
        }
    }

    /// The handle for xAPIC mode, with the registers at `base`.
    ///
    /// # Errors
    /// The mode it is in, if another: registers in memory are dead in x2APIC mode.
    ///
    /// # Safety
    /// `base` is where [`base_phys`] is mapped, uncached, 4 KiB, writable, for good, and in every CPU's page tables.
    pub unsafe fn new_xapic(base: *mut u32) -> Result<Self, WrongMode> {
        match mode() {
            // SAFETY: the mode is right, and the caller answers for the mapping.
            Mode::XApic => Ok(Self::X(unsafe { XApic::at(base) })),
            actual => Err(WrongMode { actual }),
        }
    }

    /// The mode of this handle.
    pub fn mode(&self) -> Mode {
        match self {
            Self::X2(_) => Mode::X2Apic,
            Self::X(_) => Mode::XApic,
        }
    }

    /// Puts this CPU's APIC into the kernel's state: software-enabled with spurious vector 0xFF, all priorities
    /// accepted, every local source masked but LINT1 (the NMI pin), timer stopped, stale interrupts acknowledged,
    /// errors cleared.
    ///
    /// Context: boot of each CPU, interrupts off, traps loaded.
    ///
    /// # Panics
    /// If this CPU's APIC is in another mode than the handle: CPUs differ, and IPIs would go astray.
    pub fn init_this_cpu(&self) {
        assert_eq!(mode(), self.mode(), "this CPU's local APIC is in another mode than the first one's");
        either!(self, apic => lvt::init(apic));
    }

    /// This CPU's APIC id, all 32 bits (8 in xAPIC mode).
    #[inline]
    pub fn id(&self) -> u32 {
        either!(self, apic => apic.id())
    }

    /// The version register: version in bits 0 to 7, highest LVT entry in 16 to 23.
    pub fn version(&self) -> u32 {
        either!(self, apic => lvt::Registers::read(apic, lvt::Register::Version))
    }

    /// Ends the interrupt in service. Once for each interrupt but the spurious one, never for an exception or NMI.
    #[inline]
    pub fn eoi(&self) {
        either!(self, apic => lvt::Registers::write(apic, lvt::Register::EndOfInterrupt, 0));
    }

    /// Reads and clears the error status.
    pub fn take_errors(&self) -> ErrorFlags {
        either!(self, apic => lvt::take_errors(apic))
    }

    /// Sends `vector` to the CPU with `apic_id`. Returns the number of ICR writes, one.
    ///
    /// An id that no CPU has is dropped by the hardware, without a sign.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was sent.
    #[inline]
    pub fn send(&self, apic_id: u32, vector: u8) -> Result<u32, SendError> {
        self.command(Command::fixed(vector), apic_id)
    }

    /// Sends an NMI to the CPU with `apic_id`. As [`LocalApic::send`].
    ///
    /// A CPU without an IDT (one still in a bootloader's hands) dies of it, and the machine with it.
    pub fn send_nmi(&self, apic_id: u32) -> Result<u32, SendError> {
        self.command(Command::NMI, apic_id)
    }

    /// Makes the CPU with `apic_id` drop whatever it does and wait for a start-up message, which this kernel never sends.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was sent.
    ///
    /// # Safety
    /// The CPU runs nothing that anybody waits for, holds no lock, and is not the one that the firmware started first:
    /// that one would begin anew at the reset vector.
    pub unsafe fn send_init(&self, apic_id: u32) -> Result<u32, SendError> {
        self.command(Command::INIT, apic_id)
    }

    /// Sends `vector` to every CPU but this one, by one ICR write, also to those that the kernel never started. Those
    /// that wait for a start-up message drop it (Intel SDM volume 3, "Wait-for-SIPI"); others have no handler. Use it when all CPUs that could take it are online.
    #[inline]
    pub fn broadcast_all_but_self(&self, vector: u8) -> Result<u32, SendError> {
        self.command(Command::fixed(vector).all_but_self(), 0)
    }

    /// Sends an NMI to every CPU but this one. The warning of [`LocalApic::send_nmi`] holds for each of them.
    pub fn broadcast_nmi_all_but_self(&self) -> Result<u32, SendError> {
        self.command(Command::NMI.all_but_self(), 0)
    }

    /// Sends `vector` to the CPUs of one cluster: `logical_destination` is the union (bitwise or) of their
    /// [`logical_id`]s, which must have equal [`cluster_of`]. One ICR write for up to 16 CPUs.
    ///
    /// # Errors
    /// [`SendError::NoClusters`] in xAPIC mode.
    #[inline]
    pub fn send_cluster(&self, logical_destination: u32, vector: u8) -> Result<u32, SendError> {
        match self {
            Self::X2(apic) => apic.send(Command::fixed(vector).logical(), logical_destination),
            Self::X(_) => Err(SendError::NoClusters),
        }
    }

    /// Sends `vector` to this CPU. In x2APIC mode by the self-IPI register, so the count of ICR writes is 0.
    #[inline]
    pub fn send_self(&self, vector: u8) -> Result<u32, SendError> {
        match self {
            Self::X2(apic) => Ok(apic.send_self(vector)),
            Self::X(apic) => apic.send(Command::fixed(vector).to_self(), 0),
        }
    }

    #[inline]
    fn command(&self, command: Command, apic_id: u32) -> Result<u32, SendError> {
        either!(self, apic => apic.send(command, apic_id))
    }

    /// Starts the timer: one interrupt at `vector` after `count` ticks of the bus clock divided by `divide`.
    /// A count of 0 stops it. Restarting replaces what ran.
    pub fn start_timer(&self, vector: u8, count: u32, divide: TimerDivide) {
        either!(self, apic => lvt::start_timer(apic, vector, count, divide));
    }

    /// Stops the timer. An interrupt that it raised already may still be pending.
    pub fn stop_timer(&self) {
        either!(self, apic => lvt::stop_timer(apic));
    }

    /// Ticks until the timer fires, 0 if it is not running. Never written while running, so it is a clock to calibrate.
    #[inline]
    pub fn timer_remaining(&self) -> u32 {
        either!(self, apic => apic.timer_remaining())
    }

    /// The timer's ticks per second before the divider, measured against the TSC. Takes some milliseconds, and leaves
    /// the timer stopped.
    ///
    /// # Errors
    /// As [`crate::tsc::calibrate`].
    pub fn measure_timer_hz(&self, tsc: Frequency) -> Result<u64, CalibrationError> {
        timer::measure_hz(self, tsc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_read_from_two_bits() {
        // SDM vol. 3, table "x2APIC Operating Mode Configurations"; 0xfee00900 is a BSP as QEMU starts it.
        assert_eq!(Mode::from_base(0xfee0_0000), Mode::Disabled);
        assert_eq!(Mode::from_base(0xfee0_0900), Mode::XApic);
        assert_eq!(Mode::from_base(0xfee0_0d00), Mode::X2Apic);
        assert_eq!(Mode::from_base(0xfee0_0400), Mode::Disabled);
    }

    #[test]
    fn modes_print_as_the_manual_spells_them() {
        assert_eq!(format!("{:>8}|{}", Mode::X2Apic, Mode::XApic), "  x2APIC|xAPIC");
    }
}
