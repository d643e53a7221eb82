//! The local APIC in x2APIC mode: registers are MSRs, ids have 32 bits, the ICR is one write and never pending.

use super::SendError;
use super::icr::Command;
use super::lvt::{Register, Registers};
use crate::{cpu, irq, msr};
use core::arch::asm;

/// The first register's MSR (SDM vol. 3, "x2APIC Register Address Space").
const FIRST_MSR: u32 = 0x800;

/// A local APIC in x2APIC mode.
///
/// Having one tells you that CPUID offers the mode and that IA32_APIC_BASE said it is on.
#[derive(Clone, Copy, Debug)]
pub struct X2Apic(cpu::X2Apic);

impl X2Apic {
    /// The caller has seen that the mode is on.
    pub(super) const fn in_use(proof: cpu::X2Apic) -> Self {
        Self(proof)
    }

    /// This CPU's APIC id, which is the whole register.
    #[inline]
    pub fn id(&self) -> u32 {
        self.read(Register::Id)
    }

    /// This CPU's logical id as the hardware has it; equals `icr::logical_id(self.id())`.
    pub fn logical_id(&self) -> u32 {
        // SAFETY: the logical destination register exists in x2APIC mode, and reading it has no effect.
        unsafe { msr::read(FIRST_MSR + 0x0d) as u32 }
    }

    /// The RDMSR comes in the shadow of a load of SS, for QEMU's sake: with `-icount` it ends ("Bad icount read") when a
    /// clock is read inside a translation block, as RDMSR of this register does, and the shadow ends the block.
    pub(super) fn timer_remaining(&self) -> u32 {
        let remaining;
        // SAFETY: the mode is on, so the register exists, and reading it has no effect; SS gets the value it has.
        unsafe {
            asm!(
                "mov {ss:x}, ss",
                "mov ss, {ss:x}",
                "rdmsr",
                ss = out(reg) _,
                in("ecx") FIRST_MSR + Register::TimerCurrent as u32,
                out("eax") remaining,
                out("edx") _,
                options(nostack, preserves_flags),
            );
        }
        remaining
    }

    #[inline]
    pub(super) fn send(&self, command: Command, destination: u32) -> Result<u32, SendError> {
        irq::fence_before_msr();
        // SAFETY: the mode is on, so the register exists; `Command` makes no reserved bits.
        unsafe { msr::write(FIRST_MSR + Register::Icr as u32, command.for_x2apic(destination)) }
        Ok(1)
    }

    #[inline]
    pub(super) fn send_self(&self, vector: u8) -> u32 {
        irq::fence_before_msr();
        // SAFETY: the mode is on, so the register exists; it takes a vector.
        unsafe { msr::write(FIRST_MSR + Register::SelfIpi as u32, u64::from(vector)) }
        0
    }
}

impl Registers for X2Apic {
    #[inline]
    fn read_nth(&self, register: Register, n: u8) -> u32 {
        // SAFETY: the mode is on, and `lvt` reads only registers that exist in it.
        unsafe { msr::read(FIRST_MSR + register as u32 + u32::from(n)) as u32 }
    }

    #[inline]
    fn write(&self, register: Register, value: u32) {
        // SAFETY: the mode is on, and `lvt` writes only registers that exist in it, without reserved bits.
        unsafe { msr::write(FIRST_MSR + register as u32, u64::from(value)) }
    }
}
