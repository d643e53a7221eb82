//! Where the other processors start: one page below 1 MiB, from real mode straight to 64-bit mode.
//!
//! The page holds no pointers of its own but one, to the descriptor table, reached through CS; everything else is the
//! loader's own addresses, below 4 GiB and fixed. At `STRAY` waits a processor that nobody knows or that came too
//! late: it must not touch memory that the kernel may have reclaimed, so it stays in this page, which then stays
//! reserved.
//!
//! Called by: `mp`.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use loader::memory::PAGE;

use super::park::{SLOTS, parked};
use super::physical::slice_mut;

global_asm!(
    r#"
    .section .rodata
    .global trampoline_start, trampoline_end
    .balign 16
    .code16
trampoline_start:
    jmp 1f
    .balign 4
    .set STRAY, . - trampoline_start
2:  cli                         # the same bytes in 16, 32 and 64-bit mode
    hlt
    jmp 2b
1:  cli
    cld
    movl $0x20, %eax            # physical address extension, nothing else
    movl %eax, %cr4
    movl $boot_root, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx      # EFER: long mode, execute-disable (which the boot processor has seen)
    movl $0x900, %eax
    xorl %edx, %edx
    wrmsr
    lgdtl %cs:(3f - trampoline_start)
    movl $0x80010011, %eax      # paging, write protection, protected mode: all at once into long mode
    movl %eax, %cr0
    ljmpl $0x28, $trampoline_64
    .balign 4
3:  .word 7 * 8 - 1
    .long boot_gdt
trampoline_end:

    .text
    .code64
trampoline_64:
    movl $0x30, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    xorl %eax, %eax
    lldt %ax
    xorl %ebp, %ebp

    # Own APIC id: leaf 11 where it says something, else the 8 bits of leaf 1.
    xorl %eax, %eax
    cpuid
    cmpl $11, %eax
    jb 1f
    movl $11, %eax
    xorl %ecx, %ecx
    cpuid
    testl %ebx, %ebx
    jnz 2f
1:  movl $1, %eax
    cpuid
    movl %ebx, %edx
    shrl $24, %edx

    # Own slot: the list ends at one that starts with a zero stack.
2:  movq {slots}(%rip), %rdi
    testq %rdi, %rdi
    jz 4f
3:  movq 8(%rdi), %rsp
    testq %rsp, %rsp
    jz 4f
    cmpl %edx, (%rdi)
    je 5f
    addq $24, %rdi
    jmp 3b
5:  xorl %eax, %eax             # waiting (0) becomes started (1), or somebody was here before
    movl $1, %ecx
    lock cmpxchgl %ecx, 4(%rdi)
    jne 4f
    call {parked}
4:  lock incl {strays}(%rip)
    movq {page}(%rip), %rax
    addq $STRAY, %rax
    jmpq *%rax
"#,
    slots = sym SLOTS,
    parked = sym parked,
    strays = sym NR_STRAYS,
    page = sym PAGE_ADDRESS,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
}

/// Where the page is; set before anybody starts there.
static PAGE_ADDRESS: AtomicU64 = AtomicU64::new(0);

/// Processors that ended up at `STRAY`.
pub(super) static NR_STRAYS: AtomicU32 = AtomicU32::new(0);

/// Puts the trampoline into the page at `address`, below 1 MiB; returns the page's number for a start-up message.
///
/// # Safety
/// The page is the caller's alone, and stays as it is while a processor may start.
pub(super) unsafe fn install(address: u64) -> u64 {
    let start = &raw const trampoline_start;
    let length = (&raw const trampoline_end) as usize - start as usize;
    // SAFETY: the page is the caller's.
    let page = unsafe { slice_mut::<u8>(address, PAGE as usize) };
    // SAFETY: the two symbols enclose the trampoline's bytes in this image.
    page[..length].copy_from_slice(unsafe { core::slice::from_raw_parts(start, length) });
    PAGE_ADDRESS.store(address, Ordering::Release);
    address / PAGE
}
