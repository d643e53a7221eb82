//! The local APIC in xAPIC mode: registers in memory, 8-bit ids, and an ICR in two halves.
//!
//! The halves are the trap of this mode. The destination goes into the high half first, and writing the low half sends:
//! an interrupt between the two, whose handler sends an IPI of its own, would leave its destination behind. And the ICR
//! must not be written while it is pending. So a send runs with interrupts off, and polls first, a bounded number of
//! turns. (An NMI handler that sends can still come between; it does so only to end the machine.)

use super::SendError;
use super::icr::{Command, PENDING};
use super::lvt::{Register, Registers};
use crate::irq::{self, InterruptGuard};
use core::sync::atomic::{Ordering, compiler_fence};

/// Registers are 16 bytes apart.
const STRIDE: usize = 16;
/// More turns than any delivery takes; about a second of uncached reads.
const MAX_POLLS: u32 = 10_000_000;

/// A local APIC in xAPIC mode.
///
/// Having one tells you that its registers are mapped at the address inside, on all CPUs. Kept as a number, so that the
/// handle can be shared: each CPU reaches its own APIC through it.
#[derive(Clone, Copy, Debug)]
pub struct XApic {
    base: usize,
}

impl XApic {
    /// # Safety
    /// As `LocalApic::new_xapic`, and the mode is xAPIC.
    pub(super) unsafe fn at(base: *mut u32) -> Self {
        Self { base: base as usize }
    }

    /// This CPU's APIC id, in the top byte of its register.
    #[inline]
    pub fn id(&self) -> u32 {
        self.read(Register::Id) >> 24
    }

    pub(super) fn timer_remaining(&self) -> u32 {
        self.read(Register::TimerCurrent)
    }

    pub(super) fn send(&self, command: Command, destination: u32) -> Result<u32, SendError> {
        let (high, low) = command.for_xapic(destination)?;
        let _guard = InterruptGuard::new();
        let mut nr_polls = 0;
        while self.read(Register::Icr) & PENDING != 0 {
            nr_polls += 1;
            if nr_polls == MAX_POLLS {
                return Err(SendError::DeliveryPending { nr_polls });
            }
            irq::pause();
        }
        self.write(Register::IcrHigh, high);
        // What the interrupt announces must be visible before it. For the CPU an uncached store comes after all earlier
        // stores; for the compiler a volatile store holds back no plain ones, hence the fence.
        compiler_fence(Ordering::SeqCst);
        self.write(Register::Icr, low);
        Ok(1)
    }

    fn address(&self, register: Register, n: u8) -> *mut u32 {
        (self.base + (register as usize + usize::from(n)) * STRIDE) as *mut u32
    }
}

impl Registers for XApic {
    #[inline]
    fn read_nth(&self, register: Register, n: u8) -> u32 {
        // SAFETY: the registers are mapped at `base` for good, and are read as aligned 32-bit words.
        unsafe { self.address(register, n).read_volatile() }
    }

    #[inline]
    fn write(&self, register: Register, value: u32) {
        // SAFETY: as above; `lvt` and `send` write only registers that exist.
        unsafe { self.address(register, 0).write_volatile(value) }
    }
}
