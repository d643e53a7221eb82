//! Model-specific registers, by number.
//!
//! The accessors are the `x86_64` crate's, which clobber memory: the compiler moves no load or store across them. They
//! are no fence for the processor; where an MSR write is not serialising (x2APIC's), the caller adds one.
//! Called by: `apic`, `control`, `gs`, `rate`.

use x86_64::registers::model_specific::Msr;

pub(crate) const APIC_BASE: u32 = 0x1b;
pub(crate) const MPERF: u32 = 0xe7;
pub(crate) const APERF: u32 = 0xe8;
pub(crate) const MTRR_CAP: u32 = 0xfe;
pub(crate) const MTRR_DEF_TYPE: u32 = 0x2ff;
pub(crate) const PAT: u32 = 0x277;
pub(crate) const EFER: u32 = 0xc000_0080;
pub(crate) const GS_BASE: u32 = 0xc000_0101;

/// Reads `msr`.
///
/// # Safety
/// The register exists on this CPU (else #GP), and we run at privilege level 0.
#[inline]
pub(crate) unsafe fn read(msr: u32) -> u64 {
    // SAFETY: existence and privilege are the caller's.
    unsafe { Msr::new(msr).read() }
}

/// Writes `msr`.
///
/// # Safety
/// As [`read`], and the value has no reserved bit set and means what the caller says it means: an MSR can change how
/// every following access behaves.
#[inline]
pub(crate) unsafe fn write(msr: u32, value: u64) {
    // SAFETY: as this function's own contract.
    unsafe { Msr::new(msr).write(value) }
}
