//! Where QEMU enters: the PVH note, and the way from 32-bit protected mode to 64-bit Rust.
//!
//! State at entry (Xen's PVH boot ABI): flat 32-bit segments, paging off, interrupts off, EBX = start info. The stub
//! builds page tables for the first 4 GiB in 2 MiB pages and enters them twice: at address 0 and at the start of the
//! higher-half direct map, so that code may later walk from one to the other without a change of tables. The device
//! window at the top of the 4 GiB is uncached.
//!
//! Also here: the global descriptor table, in the order that the Limine protocol lays down.

use core::arch::global_asm;

use super::boot_processor;

global_asm!(
    r#"
    .section .note.pvh, "a", @note
    .balign 4
    .long 4                     # size of the name
    .long 8                     # size of the entry address
    .long 18                    # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_entry

    .text
    .code32
    .global pvh_entry
pvh_entry:
    cli
    cld
    movl $boot_stack_top, %esp
    movl %ebx, %esi

    # Long mode, or a message. The rest of CPUID is looked at in Rust.
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb 7f
    movl $0x80000001, %eax
    cpuid
    btl $29, %edx
    jnc 7f

    # 2048 entries of 2 MiB: present, writable, large; from 0xfe000000 on also uncached.
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    shll $21, %eax
    cmpl $0xfe000000, %eax
    jb 2f
    orl $0x18, %eax
2:  orl $0x83, %eax
    movl %eax, boot_page_directories(,%ecx,8)
    incl %ecx
    cmpl $2048, %ecx
    jb 1b
    # Four page directories, one table of them, and a root that has it twice.
    xorl %ecx, %ecx
3:  movl %ecx, %eax
    shll $12, %eax
    addl $(boot_page_directories + 3), %eax
    movl %eax, boot_directory_pointers(,%ecx,8)
    incl %ecx
    cmpl $4, %ecx
    jb 3b
    movl $(boot_directory_pointers + 3), boot_root
    movl $(boot_directory_pointers + 3), boot_root + 256 * 8

    movl $0x20, %eax            # physical address extension, nothing else
    movl %eax, %cr4
    movl $boot_root, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx      # EFER: long mode enable
    movl $0x100, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x80010011, %eax      # paging, write protection, protected mode
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $0x28, $4f

    # No long mode: say so and leave, with what 32 bits have.
7:  movl $8f, %esi
5:  movw $0x3fd, %dx
6:  inb %dx, %al
    testb $0x20, %al
    jz 6b
    lodsb
    testb %al, %al
    jz 9f
    movw $0x3f8, %dx
    outb %al, %dx
    jmp 5b
9:  movb ${refused}, %al
    outb %al, $0xf4
    cli
    hlt
    jmp 9b
8:  .asciz "loader: this CPU has no 64-bit mode\n"

    .code64
4:  movl $0x30, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    xorl %eax, %eax
    lldt %ax
    movl $boot_stack_top, %esp
    xorl %ebp, %ebp
    movl %esi, %edi
    call {boot_processor}
    ud2

    .section .rodata
    .balign 16
    .global boot_gdt, boot_gdt_pointer
boot_gdt:
    .quad 0
    .quad 0x00009b000000ffff    # 0x08: 16-bit code
    .quad 0x000093000000ffff    # 0x10: 16-bit data
    .quad 0x00cf9b000000ffff    # 0x18: 32-bit code
    .quad 0x00cf93000000ffff    # 0x20: 32-bit data
    .quad 0x00209b0000000000    # 0x28: 64-bit code
    .quad 0x0000930000000000    # 0x30: 64-bit data
boot_gdt_pointer:
    .word 7 * 8 - 1
    .quad boot_gdt

    .bss
    .balign 4096
    .global boot_root
boot_root: .skip 4096
boot_directory_pointers: .skip 4096
boot_page_directories: .skip 4 * 4096
    .skip 65536
boot_stack_top:
"#,
    boot_processor = sym boot_processor,
    refused = const super::fail::REFUSED,
    options(att_syntax)
);
