//! What this CPU can do, and the control registers as the protocol wants them.
//!
//! Called by: `boot`, and `park` on every other processor.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, CpuidResult};

use super::fail::Refusal;

const EFER: u32 = 0xc000_0080;
const EFER_LONG_MODE: u64 = 1 << 8;
const EFER_NO_EXECUTE: u64 = 1 << 11;
const PAT: u32 = 0x277;
/// Entries 0 to 7: WB, WT, UC-, UC, WP, WC, then two that the protocol leaves open: UC.
const PAT_VALUE: u64 = 0x0000_0105_0007_0406;

/// Features of the boot processor; the others are taken to be like it.
///
/// Having a `Cpu` tells you: 64-bit mode and the execute-disable bit are there.
#[derive(Clone, Copy)]
pub(super) struct Cpu {
    /// Pages of 1 GiB.
    pub(super) has_gib_pages: bool,
    /// x2APIC mode.
    pub(super) has_x2apic: bool,
    /// A local APIC at all.
    pub(super) has_apic: bool,
    /// Memory type range registers.
    pub(super) has_mtrrs: bool,
    has_pat: bool,
}

#[allow(unused_unsafe, reason = "the intrinsic became safe after the oldest supported compiler")]
fn cpuid(leaf: u32) -> CpuidResult {
    // SAFETY: every 64-bit CPU has the instruction.
    unsafe { __cpuid(leaf) }
}

/// Looks at CPUID.
pub(super) fn detect() -> Result<Cpu, Refusal> {
    // The entry stub has already seen leaf 0x8000_0001.
    let extended = cpuid(0x8000_0001);
    let basic = cpuid(1);
    if extended.edx >> 20 & 1 == 0 {
        return Err(Refusal::NoExecuteDisable);
    }
    Ok(Cpu {
        has_gib_pages: extended.edx >> 26 & 1 != 0,
        has_x2apic: basic.ecx >> 21 & 1 != 0,
        has_apic: basic.edx >> 9 & 1 != 0,
        has_mtrrs: basic.edx >> 12 & 1 != 0,
        has_pat: basic.edx >> 16 & 1 != 0,
    })
}

impl Cpu {
    /// Turns on what the protocol promises; CR0 and CR4 are already right since the entry stub or the trampoline.
    pub(super) fn init_this_cpu(&self) {
        // SAFETY: the execute-disable bit exists (`detect`), long mode is on; no page has the bit set yet.
        unsafe { write_msr(EFER, EFER_LONG_MODE | EFER_NO_EXECUTE) };
        if self.has_pat {
            // SAFETY: the register exists. Entry 0 stays write-back, and nothing but entries 0 and 3 is in use here;
            // entry 3 stays uncached.
            unsafe { write_msr(PAT, PAT_VALUE) };
        }
    }
}

/// Reads a model-specific register.
///
/// # Safety
/// The register exists, and reading it has no effect that breaks memory safety.
pub(super) unsafe fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's.
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register. Everything in memory is written before, as seen by the compiler.
///
/// # Safety
/// The register exists, takes the value, and does not break memory safety by it.
pub(super) unsafe fn write_msr(register: u32, value: u64) {
    // SAFETY: the caller's.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack))
    };
}

/// The time stamp counter.
pub(super) fn ticks() -> u64 {
    // SAFETY: every 64-bit CPU has it, and ring 0 may always read it.
    unsafe { core::arch::x86_64::_rdtsc() }
}
