//! Memory type range registers: every processor gets those of the boot processor (Intel SDM, volume 3A, 12.11.5).
//!
//! Written only where they differ, which under QEMU is rarely: no cache is flushed for nothing.
//! Called by: `mp` (save), `park` (apply).

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu::{Cpu, read_msr, write_msr};

const CAPABILITIES: u32 = 0xfe;
const FIXED_SUPPORTED: u64 = 1 << 8;
const DEFAULT_TYPE: u32 = 0x2ff;
const ENABLE: u64 = 1 << 11;
/// The fixed-range registers: 64 KiB, 16 KiB and 4 KiB pieces of the first MiB.
const FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
/// Variable ranges a CPU may have; every known one has at most this many.
const MAX_VARIABLE: usize = 32;

static SAVED: [AtomicU64; FIXED.len() + 2 * MAX_VARIABLE + 1] =
    [const { AtomicU64::new(0) }; FIXED.len() + 2 * MAX_VARIABLE + 1];

/// The registers this CPU has: fixed, variable, and the default type last.
fn registers() -> impl Iterator<Item = u32> + Clone {
    // SAFETY: the register exists wherever CPUID says that there are MTRRs, which both callers ask first.
    let capabilities = unsafe { read_msr(CAPABILITIES) };
    let fixed: &[u32] = if capabilities & FIXED_SUPPORTED != 0 { &FIXED } else { &[] };
    let nr_variable = (capabilities & 0xff).min(MAX_VARIABLE as u64) as u32;
    fixed.iter().copied().chain(0x200..0x200 + 2 * nr_variable).chain([DEFAULT_TYPE])
}

/// Remembers the boot processor's registers.
pub(super) fn save(cpu: &Cpu) {
    if cpu.has_mtrrs {
        for (register, saved) in registers().zip(&SAVED) {
            // SAFETY: one of the registers that the CPU says it has.
            saved.store(unsafe { read_msr(register) }, Ordering::Relaxed);
        }
    }
}

/// Gives this processor the remembered registers. Pairs with the start-up message, which comes after `save`.
pub(super) fn apply(cpu: &Cpu) {
    // SAFETY: one of the registers that the CPU says it has.
    let current = |register| unsafe { read_msr(register) };
    let differs = |(register, saved): (u32, &AtomicU64)| current(register) != saved.load(Ordering::Relaxed);
    if !cpu.has_mtrrs || !registers().zip(&SAVED).any(differs) {
        return;
    }
    // The manual's order: caches off and empty, ranges off, change, ranges on, caches on. Interrupts are off anyway.
    // SAFETY:
    // - CR0 keeps everything but the cache bits, and gets them back below; cache contents are written back;
    // - the values are those that the boot processor runs with, so memory is seen as it sees it.
    unsafe {
        asm!("mov {0}, cr0", "or {0}, 0x40000000", "mov cr0, {0}", "wbinvd", out(reg) _, options(nostack));
        write_msr(DEFAULT_TYPE, current(DEFAULT_TYPE) & !ENABLE);
        for (register, saved) in registers().zip(&SAVED) {
            write_msr(register, saved.load(Ordering::Relaxed));
        }
        asm!(
            "wbinvd", "mov {0}, cr3", "mov cr3, {0}", "mov {0}, cr0", "and {0}, {1}", "mov cr0, {0}",
            out(reg) _, in(reg) !0x6000_0000_u64, options(nostack)
        );
    }
}
