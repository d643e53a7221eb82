//! The first instructions: of the first CPU, of every other, and on a new stack.
//!
//! What the Limine protocol hands over: long mode, IF and DF clear, a stack, for the first CPU a zero return address on
//! it, for others a pointer to their MP information in RDI, EFER.NXE set where it exists (so that other CPUs can load
//! tables with no-execute entries before anything else), and no IDT. FS and GS hold selectors of the bootloader's GDT:
//! they are nulled here, before GS gets a base, since loading a selector later would reset it.
//!
//! Called by: the bootloader; [`call_on_stack`] by boot.

use core::arch::naked_asm;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};

/// Defines the kernel's entry point as the symbol `$name`, which calls `$main`, an `extern "C" fn() -> !`.
///
/// `arch::first_cpu_entry!(_start => main);` with `ENTRY(_start)` in the linker script.
#[macro_export]
macro_rules! first_cpu_entry {
    ($name:ident => $main:path) => {
        /// The ELF entry point: the bootloader jumps here on the first CPU.
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name() -> ! {
            // To ensure that the stub calls what it thinks it calls.
            const _: extern "C" fn() -> ! = $main;
            ::core::arch::naked_asm!(
                "cli",
                "cld",
                "xor eax, eax",
                "mov fs, eax",
                "mov gs, eax",
                "xor ebp, ebp", // the end of every backtrace
                "and rsp, -16",
                "call {main}",
                "ud2",
                main = sym $main,
            )
        }
    };
}

/// What another CPU needs to leave the bootloader: filled in by the first CPU, read by [`other_cpu_entry`].
///
/// One for each CPU, in memory that both the bootloader's page tables and the kernel's map at its address.
#[repr(C)]
#[derive(Debug)]
pub struct ApStart {
    /// One past the end of the CPU's own stack, 16-byte aligned, mapped in the new tables.
    pub stack_top: usize,
    /// The physical address of the root page table.
    pub cr3: u64,
    /// The address of the CPU's per-CPU area (see `gs`).
    pub gs_base: usize,
    /// What to call on the new stack.
    pub entry: extern "C" fn(*mut ()) -> !,
    /// What to call it with.
    pub argument: *mut (),
    /// 0: nobody has used this yet; 1: somebody has. Taken by exchange, so that two CPUs that were handed the same
    /// block (by a bootloader that lists a CPU twice) do not run on one stack: the second parks for good.
    claimed: AtomicU64,
}

impl ApStart {
    /// A block that nobody has claimed.
    pub const fn new(
        stack_top: usize,
        cr3: u64,
        gs_base: usize,
        entry: extern "C" fn(*mut ()) -> !,
        argument: *mut (),
    ) -> Self {
        Self { stack_top, cr3, gs_base, entry, argument, claimed: AtomicU64::new(0) }
    }

    /// Has a CPU come through [`other_cpu_entry`] with this block? It is on the kernel's page tables then.
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire) != 0
    }

    /// Makes sure that no CPU can use this block any more; says whether one has already. For a CPU that came too late:
    /// when it does come, it parks on the kernel's page tables without touching the stack.
    pub fn revoke(&self) -> bool {
        self.claimed.swap(1, Ordering::AcqRel) != 0
    }
}

// To ensure that the assembly below reads what was written.
const _: () = assert!(offset_of!(ApStart, stack_top) == 0);
const _: () = assert!(offset_of!(ApStart, cr3) == 8);
const _: () = assert!(offset_of!(ApStart, gs_base) == 16);
const _: () = assert!(offset_of!(ApStart, entry) == 24);
const _: () = assert!(offset_of!(ApStart, argument) == 32);
const _: () = assert!(offset_of!(ApStart, claimed) == 40);
const _: () = assert!(size_of::<ApStart>() == 48);

/// Offset of `extra_argument` in the Limine protocol's `limine_mp_info`, where the address of an [`ApStart`] goes:
/// `u32 processor_id, u32 lapic_id, u64 reserved, u64 goto_address, u64 extra_argument`.
pub const EXTRA_ARGUMENT_OFFSET: usize = 24;

/// Where other CPUs are sent: the `goto_address`. RDI points at the CPU's `limine_mp_info`.
///
/// Reads the [`ApStart`] with the bootloader's tables, then changes to the kernel's page tables, claims the block,
/// changes the stack, sets GS base, and calls. The claim comes after CR3, so that whoever loses it waits in the
/// kernel's memory, not in what is about to be reclaimed; it has no stack and no IDT, so it must not get an NMI.
///
/// # Safety
/// Not to be called; jumped to by the bootloader, with `extra_argument` set and published before `goto_address`.
#[unsafe(naked)]
pub unsafe extern "C" fn other_cpu_entry(info: *const ()) -> ! {
    naked_asm!(
        "cli",
        "cld",
        "mov rbx, [rdi + {extra}]", // &ApStart
        "mov rsi, [rbx + 0]",       // stack_top
        "mov rcx, [rbx + 8]",       // cr3
        "mov r8, [rbx + 16]",       // gs_base
        "mov r9, [rbx + 24]",       // entry
        "mov rdi, [rbx + 32]",      // argument
        "mov cr3, rcx",
        "mov eax, 1",
        "xchg rax, [rbx + 40]",     // claimed
        "test rax, rax",
        "jnz 3f",
        "mov rsp, rsi",
        "xor eax, eax",
        "mov fs, eax",
        "mov gs, eax",
        "mov ecx, {gs_base}",
        "mov rax, r8",
        "mov rdx, r8",
        "shr rdx, 32",
        "wrmsr",
        "xor ebp, ebp",
        "call r9",
        "ud2",
        "3:",
        "hlt",
        "jmp 3b",
        extra = const EXTRA_ARGUMENT_OFFSET,
        gs_base = const crate::msr::GS_BASE,
    )
}

/// Calls `entry(argument)` on another stack, and leaves the present one for good. Zeroes RBP: a backtrace ends here.
///
/// # Safety
/// `stack_top` is 16-byte aligned, one past the end of a mapped, writable stack that nobody uses. Nothing on the
/// present stack is needed any more: what lives there is never dropped.
#[unsafe(naked)]
pub unsafe extern "C" fn call_on_stack(stack_top: usize, entry: extern "C" fn(*mut ()) -> !, argument: *mut ()) -> ! {
    naked_asm!("mov rsp, rdi", "mov rdi, rdx", "xor ebp, ebp", "call rsi", "ud2")
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn never(_: *mut ()) -> ! {
        unreachable!()
    }

    #[test]
    fn a_block_is_claimed_once() {
        let start = ApStart::new(0x1000, 0, 0, never, core::ptr::null_mut());
        assert!(!start.is_claimed());
        assert!(!start.revoke(), "nobody had come");
        assert!(start.is_claimed());
        assert!(start.revoke());
    }
}
