//! Control registers: one value on all CPUs.
//!
//! [`init_this_cpu`] does not edit what the bootloader left, it replaces it: CR0 and CR4 get a whole value computed
//! from the features, so that equal CPUs end in equal states. [`ControlState::read`] takes the snapshot by which the
//! kernel checks that they did.
//!
//! What we choose, and why:
//! - CR0.WP: read-only pages bind the kernel too. CR0.NE: no floating-point errors by the legacy interrupt.
//! - CR0.EM set, CR4.OSFXSR and OSXSAVE clear: the kernel is built soft-float and saves no vector state, so a vector or
//!   x87 instruction that slipped in should trap at once (#UD, #NM), not corrupt quietly. (Fences, PAUSE and MOVNTI are
//!   exempt: Intel SDM vol. 3, "Control Registers", CR0.EM.)
//! - CR4.PGE and PCIDE clear: there is one address space, so they would gain nothing; and without them a CR3 reload
//!   flushes everything, which is what makes `tlb::flush_all` one instruction.
//! - CR4.MCE: a machine check reaches our handler on its own stack, where it would else shut the machine down.
//! - PAT: the layout of the Limine protocol, whatever booted us: `paging::MemoryType` means the same everywhere.
//!
//! Called by: boot on each CPU, before its own page tables are loaded (they use NX).

use crate::cpu::Features;
use crate::{msr, tlb};
use core::fmt;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::EferFlags;

/// PAT entries 0 to 7: WB, WT, UC-, UC, WP, WC, UC, UC. (Limine protocol, "x86-64 machine state at entry".)
pub const PAT_LAYOUT: u64 = 0x0000_0105_0007_0406;

/// IA32_APIC_BASE bit 8: set on the bootstrap CPU alone, so no matter of parity.
const APIC_BASE_BSP: u64 = 1 << 8;

/// Sets CR0, CR4, EFER and the PAT of this CPU.
///
/// Context: boot of each CPU, interrupts off. Flushes the TLB.
///
/// # Safety
/// - `features` were read on this CPU or on one equal to it.
/// - The code, stack and data in use survive CR0.WP, SMEP and SMAP: no writes through read-only mappings, no pages of
///   the kernel marked as the user's.
/// - No floating-point or vector state is in use.
pub unsafe fn init_this_cpu(features: &Features) {
    tlb::remember_invpcid(features.invpcid);
    let cr4 = wanted_cr4(features, Cr4::read());
    // SAFETY: paging stays as it is (PG, PAE and LA57 are kept), no write is forbidden that the caller still makes, and
    // floating-point state is not in use: all the caller's promise. The features exist by their proofs.
    unsafe {
        Cr0::write(Cr0Flags::PROTECTED_MODE_ENABLE | Cr0Flags::PAGING | CR0_ALWAYS);
        Cr4::write_raw(cr4.bits());
    }
    // SAFETY: EFER exists on every CPU in long mode; LME and LMA are kept, and NXE is set only where CPUID has it.
    unsafe {
        let efer = EferFlags::from_bits_retain(msr::read(msr::EFER));
        msr::write(msr::EFER, wanted_efer(features, efer).bits());
    }
    // SAFETY: the PAT exists on every 64-bit CPU, and each byte of the layout is a valid memory type.
    unsafe {
        if msr::read(msr::PAT) != PAT_LAYOUT {
            // SDM vol. 3, "Programming the PAT": caches and TLB must forget what they knew under the old types.
            core::arch::asm!("wbinvd", options(nostack, preserves_flags));
            msr::write(msr::PAT, PAT_LAYOUT);
            core::arch::asm!("wbinvd", options(nostack, preserves_flags));
        }
    }
    tlb::flush_all();
}

const CR0_ALWAYS: Cr0Flags = Cr0Flags::WRITE_PROTECT
    .union(Cr0Flags::NUMERIC_ERROR)
    .union(Cr0Flags::EXTENSION_TYPE)
    .union(Cr0Flags::EMULATE_COPROCESSOR);

fn wanted_cr4(features: &Features, now: Cr4Flags) -> Cr4Flags {
    // LA57 cannot change in long mode, so the bootloader's choice stays.
    let mut cr4 = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | (now & Cr4Flags::L5_PAGING);
    cr4.set(Cr4Flags::MACHINE_CHECK_EXCEPTION, features.machine_check.is_some());
    cr4.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, features.smep.is_some());
    cr4.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, features.smap.is_some());
    cr4.set(Cr4Flags::USER_MODE_INSTRUCTION_PREVENTION, features.umip.is_some());
    cr4
}

fn wanted_efer(features: &Features, now: EferFlags) -> EferFlags {
    let mut efer = now & (EferFlags::LONG_MODE_ENABLE | EferFlags::LONG_MODE_ACTIVE);
    efer.set(EferFlags::NO_EXECUTE_ENABLE, features.no_execute.is_some());
    efer
}

/// A register that [`disturb_this_cpu`] can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the manuals' names")]
pub enum Register {
    Cr0,
    Cr4,
    Efer,
    Pat,
    Mtrr,
}

/// Changes one bit that changes nothing for this kernel, so that the comparison of CPUs can be seen to fail: CR0.AM and
/// EFER.SCE, which bind or serve user code; CR4.DE, for I/O breakpoints; the last PAT entry, uncached to write-combining,
/// which no mapping uses; the base of the last variable MTRR, if that range is off.
///
/// Context: boot of a CPU, after [`init_this_cpu`], interrupts off.
pub fn disturb_this_cpu(features: &Features, register: Register) {
    /// IA32_MTRR_PHYSMASKn bit 11: the range is on. And a bit of a base that every CPU has.
    const MTRR_ON: u64 = 1 << 11;
    const MTRR_BASE_BIT: u64 = 1 << 20;
    const PAT_7: u64 = 0x0100_0000_0000_0000;
    match register {
        // SAFETY: alignment is checked in user code only.
        Register::Cr0 => unsafe { Cr0::write(Cr0::read() ^ Cr0Flags::ALIGNMENT_MASK) },
        // SAFETY: it changes what a breakpoint on ports does, and nobody sets one.
        Register::Cr4 => unsafe { Cr4::write(Cr4::read() ^ Cr4Flags::DEBUGGING_EXTENSIONS) },
        // SAFETY: the register exists in long mode; the bit lets user code, which there is none of, call.
        Register::Efer => unsafe {
            msr::write(msr::EFER, msr::read(msr::EFER) ^ EferFlags::SYSTEM_CALL_EXTENSIONS.bits())
        },
        // SAFETY: 0 and 1 are valid types, and no mapping of the kernel uses the last entry.
        Register::Pat => unsafe { msr::write(msr::PAT, msr::read(msr::PAT) ^ PAT_7) },
        Register::Mtrr => {
            let Some(_) = features.mtrr else { return };
            // SAFETY: the proof says that the register exists.
            let nr_ranges = unsafe { msr::read(msr::MTRR_CAP) } as u32 & 0xff;
            let Some(last) = nr_ranges.checked_sub(1).map(|last| MTRR_VARIABLE + 2 * last) else { return };
            // SAFETY: both registers of the last range exist, and the base of a range that is off describes nothing.
            unsafe {
                if msr::read(last + 1) & MTRR_ON == 0 {
                    msr::write(last, msr::read(last) ^ MTRR_BASE_BIT);
                }
            }
        }
    }
}

/// A snapshot of the registers that must be equal on all CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlState {
    /// CR0.
    pub cr0: u64,
    /// CR4.
    pub cr4: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_PAT.
    pub pat: u64,
    /// IA32_APIC_BASE without the bit that marks the bootstrap CPU.
    pub apic_base: u64,
    /// IA32_MTRR_DEF_TYPE, 0 where there are no MTRRs.
    pub mtrr_def_type: u64,
    /// A digest of the fixed and variable MTRRs, 0 where there are none. Equal digests: equal registers, but for
    /// chance.
    pub mtrr_digest: u64,
}

impl ControlState {
    /// Reads the registers of the CPU we run on.
    pub fn read(features: &Features) -> Self {
        let (mtrr_def_type, mtrr_digest) = match features.mtrr {
            Some(_) => read_mtrrs(),
            None => (0, 0),
        };
        Self {
            cr0: Cr0::read_raw(),
            cr4: Cr4::read_raw(),
            // SAFETY: these three registers exist on every 64-bit CPU with an APIC, and reading them has no effect.
            efer: unsafe { msr::read(msr::EFER) },
            // SAFETY: as above.
            pat: unsafe { msr::read(msr::PAT) },
            // SAFETY: as above.
            apic_base: unsafe { msr::read(msr::APIC_BASE) } & !APIC_BASE_BSP,
            mtrr_def_type,
            mtrr_digest,
        }
    }

    /// The registers in which `other` differs: name, this value, the other's.
    pub fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Difference> + 'a {
        self.fields()
            .into_iter()
            .zip(other.fields())
            .filter(|((_, ours), (_, theirs))| ours != theirs)
            .map(|((register, ours), (_, theirs))| Difference { register, ours, theirs })
    }

    fn fields(&self) -> [(&'static str, u64); 7] {
        [
            ("CR0", self.cr0),
            ("CR4", self.cr4),
            ("EFER", self.efer),
            ("PAT", self.pat),
            ("APIC_BASE", self.apic_base),
            ("MTRR_DEF_TYPE", self.mtrr_def_type),
            ("MTRR digest", self.mtrr_digest),
        ]
    }
}

/// One register in which two CPUs differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The register's name.
    pub register: &'static str,
    /// The value of the state that was asked.
    pub ours: u64,
    /// The value of the state it was compared with.
    pub theirs: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:#x} is not {:#x}", self.register, self.theirs, self.ours)
    }
}

/// SDM vol. 4, table 2-2: the fixed ranges' registers.
const MTRR_FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
const MTRR_VARIABLE: u32 = 0x200;

fn read_mtrrs() -> (u64, u64) {
    // SAFETY: the caller holds the `Mtrr` proof, so MTRR_CAP and MTRR_DEF_TYPE exist.
    let (cap, def_type) = unsafe { (msr::read(msr::MTRR_CAP), msr::read(msr::MTRR_DEF_TYPE)) };
    let mut digest = FNV_OFFSET;
    if cap & 1 << 8 != 0 {
        for register in MTRR_FIXED {
            // SAFETY: MTRR_CAP bit 8 says that the fixed ranges exist.
            digest = fnv(digest, unsafe { msr::read(register) });
        }
    }
    for register in 0..2 * (cap as u32 & 0xff) {
        // SAFETY: MTRR_CAP bits 0..8 count the variable ranges, each a base and a mask register.
        digest = fnv(digest, unsafe { msr::read(MTRR_VARIABLE + register) });
    }
    (def_type, digest)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(digest: u64, word: u64) -> u64 {
    word.to_le_bytes().iter().fold(digest, |d, &byte| (d ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: ControlState =
        ControlState { cr0: 1, cr4: 2, efer: 3, pat: 4, apic_base: 5, mtrr_def_type: 6, mtrr_digest: 7 };

    #[test]
    fn equal_states_have_no_differences() {
        assert_eq!(STATE.differences(&STATE).count(), 0);
    }

    #[test]
    fn each_differing_register_is_named() {
        let other = ControlState { pat: 0x40, apic_base: 0x50, ..STATE };
        let found: Vec<_> = STATE.differences(&other).map(|d| d.to_string()).collect();
        assert_eq!(found, ["PAT 0x40 is not 0x4", "APIC_BASE 0x50 is not 0x5"]);
        assert_ne!(STATE, other);
    }

    #[test]
    fn every_register_takes_part_in_the_comparison() {
        let other = ControlState { cr0: 0, cr4: 0, efer: 0, pat: 0, apic_base: 0, mtrr_def_type: 0, mtrr_digest: 0 };
        assert_eq!(STATE.differences(&other).count(), 7);
    }

    #[test]
    fn cr4_is_a_function_of_features_but_for_la57() {
        let features = Features::detect();
        let plain = wanted_cr4(&features, Cr4Flags::empty());
        let cluttered = wanted_cr4(&features, Cr4Flags::all());
        assert_eq!(plain | Cr4Flags::L5_PAGING, cluttered);
        assert!(!cluttered.intersects(Cr4Flags::PAGE_GLOBAL | Cr4Flags::PCID | Cr4Flags::OSFXSR));
    }

    #[test]
    fn efer_keeps_long_mode_and_drops_syscall() {
        let features = Features::detect();
        let efer = wanted_efer(&features, EferFlags::all());
        assert!(efer.contains(EferFlags::LONG_MODE_ACTIVE | EferFlags::LONG_MODE_ENABLE));
        assert!(!efer.contains(EferFlags::SYSTEM_CALL_EXTENSIONS));
        assert_eq!(efer.contains(EferFlags::NO_EXECUTE_ENABLE), features.no_execute.is_some());
    }

    #[test]
    fn the_digest_sees_order_and_value() {
        let a = fnv(fnv(FNV_OFFSET, 1), 2);
        assert_ne!(a, fnv(fnv(FNV_OFFSET, 2), 1));
        assert_ne!(a, fnv(fnv(FNV_OFFSET, 1), 3));
    }
}
