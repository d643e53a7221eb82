//! Interrupts and faults while the loader runs: a fault becomes a message, an interrupt is acknowledged and forgotten.
//!
//! Interrupts matter in one way only: they end a `hlt`. So one handler serves every vector. A non-maskable interrupt is
//! ignored: a processor that is parked must not reset the machine because somebody knocks.
//!
//! Called by: `boot` and `park`. The kernel gets no table at all (`handover`).

use core::arch::{asm, global_asm};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::fail;

global_asm!(
    r#"
    .text
    .global trap_entries, trap_interrupt, trap_ignore
    .balign 16
trap_entries:
    .set vector, 0
    .rept 32
    .balign 16
    pushq $vector
    jmp 1f
    .set vector, vector + 1
    .endr
1:  movq %rsp, %rdi
    movq %cr2, %rsi
    andq $-16, %rsp
    call {fault}
    ud2

    # Acknowledge: by MSR in x2APIC mode, by memory otherwise.
trap_interrupt:
    pushq %rax
    pushq %rcx
    pushq %rdx
    movq {mmio}(%rip), %rax
    testq %rax, %rax
    jz 2f
    movl $0, 0xb0(%rax)
    jmp 3f
2:  movl $0x80b, %ecx
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
3:  popq %rdx
    popq %rcx
    popq %rax
trap_ignore:
    iretq
"#,
    fault = sym fault,
    mmio = sym APIC_MMIO,
    options(att_syntax)
);

unsafe extern "C" {
    static trap_entries: u8;
    static trap_interrupt: u8;
    static trap_ignore: u8;
}

/// Address of the local APIC's registers, or 0 in x2APIC mode. Set by `apic` before interrupts are first let in.
pub(super) static APIC_MMIO: AtomicU64 = AtomicU64::new(0);

const NMI: usize = 2;
const CODE_SELECTOR: u64 = 0x28;
/// Present interrupt gate.
const GATE: u64 = 0x8e00;

/// 256 gates of two words. Written by `init` alone, before anything loads it; atomics, so that it may be shared.
static TABLE: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

/// Fills the table.
pub(super) fn init() {
    for vector in 0..256 {
        let handler = match vector {
            NMI => (&raw const trap_ignore) as u64,
            0..32 => (&raw const trap_entries) as u64 + vector as u64 * 16,
            _ => (&raw const trap_interrupt) as u64,
        };
        let low = handler & 0xffff | CODE_SELECTOR << 16 | GATE << 32 | (handler & 0xffff_0000) << 32;
        TABLE[2 * vector].store(low, Ordering::Relaxed);
        TABLE[2 * vector + 1].store(handler >> 32, Ordering::Relaxed);
    }
}

/// Loads the table.
pub(super) fn init_this_cpu() {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer { limit: size_of_val(&TABLE) as u16 - 1, base: TABLE.as_ptr() as u64 };
    // SAFETY: the table is filled, lives as long as the loader, and its handlers keep what they interrupt intact.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) };
}

struct Fault {
    vector: u64,
    error: Option<u64>,
    rip: u64,
    cr2: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault {} at {:#x}", self.vector, self.rip)?;
        match self.error {
            Some(error) => write!(f, ", error {error:#x}, cr2 {:#x}", self.cr2),
            None => Ok(()),
        }
    }
}

/// Ends the boot. `frame`: vector, then an error code for some vectors, then RIP.
extern "C" fn fault(frame: *const u64, cr2: u64) -> ! {
    // SAFETY: the stub pushed the vector below what the processor pushed; three words are there in any case.
    let [vector, second, third] = unsafe { frame.cast::<[u64; 3]>().read() };
    let has_error = matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30);
    let (error, rip) = if has_error { (Some(second), third) } else { (None, second) };
    fail::refuse(&Fault { vector, error, rip, cr2 })
}
