//! The last instructions: from the loader's world into the kernel's, on every processor alike.
//!
//! The code walks over to its own image in the direct map, which both sets of page tables have, changes the tables
//! there, and with that leaves the identity mapping behind. Everything that the protocol lays down for the moment of
//! entry is set here, or was set before and is listed in the README.
//!
//! Called by: `boot` and `park`, once on each processor.

use core::arch::asm;

use loader::protocol::HHDM;

/// Where to go, and with what.
pub(super) struct Handover {
    /// The kernel's entry point, or the address that it wants another processor at.
    pub(super) entry: u64,
    /// Top of the stack, physical.
    pub(super) stack_top: u64,
    /// Physical address of the root page table.
    pub(super) root: u64,
    /// RDI at entry: 0, or the processor's `MpInfo`.
    pub(super) argument: u64,
}

impl Handover {
    /// Leaves the loader.
    pub(super) fn enter(self) -> ! {
        // SAFETY:
        // - `root` maps this image at `HHDM` as the entry stub's tables do: it is reclaimable memory, which every
        //   revision covers, readable, writable and executable; `address_space` built it;
        // - the stack is reclaimable memory too, at least 64 KiB that are this processor's alone;
        // - nothing of the loader runs on this processor afterwards, so all registers may go.
        unsafe {
            asm!(
                // Over to the direct map.
                "lea rax, [rip + 2f]",
                "add rax, r8",
                "jmp rax",
                // Its own little tables: the descriptor table at its new address, and no interrupt table.
                ".balign 8",
                "3: .word 7 * 8 - 1",
                ".quad boot_gdt + {hhdm_value}",
                "4: .word 0",
                ".quad 0",
                "2:",
                "mov cr3, rcx",
                "lgdt [rip + 3b]",
                "lidt [rip + 4b]",
                "mov eax, 0x30",
                "mov ds, eax",
                "mov es, eax",
                "mov fs, eax",
                "mov gs, eax",
                // A return address of 0 on the new stack, and below it the frame that leads into the kernel.
                "mov rsp, rdx",
                "push 0",
                "mov rax, rsp",
                "push 0x30",
                "push rax",
                "push 2",
                "push 0x28",
                "push rsi",
                "xor eax, eax",
                "xor ebx, ebx",
                "xor ecx, ecx",
                "xor edx, edx",
                "xor esi, esi",
                "xor ebp, ebp",
                "xor r8d, r8d",
                "xor r9d, r9d",
                "xor r10d, r10d",
                "xor r11d, r11d",
                "xor r12d, r12d",
                "xor r13d, r13d",
                "xor r14d, r14d",
                "xor r15d, r15d",
                "iretq",
                in("r8") HHDM,
                hhdm_value = const HHDM as i64,
                in("rdi") self.argument,
                in("rsi") self.entry,
                in("rdx") self.stack_top + HHDM,
                in("rcx") self.root,
                options(noreturn)
            )
        }
    }
}
