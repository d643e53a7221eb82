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
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::cpu::Features;

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
    /// Who may use it: bootloaders hand blocks to the wrong CPU.
    identity: Identity,
    /// CPUs that came and were sent to park.
    nr_refused: AtomicU32,
    /// The APIC id of the last of them.
    refused_id: AtomicU32,
}

/// A CPU's APIC id, and the CPUID leaf in which it finds its own to compare.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    apic_id: u32,
    leaf: u32,
}

impl Identity {
    /// The CPU with this APIC id, on a machine whose CPUs are like the one with these features.
    pub fn new(apic_id: u32, features: &Features) -> Self {
        Self { apic_id, leaf: if features.topology.leaf == 0 { 1 } else { features.topology.leaf } }
    }
}

// SAFETY: what is not atomic in it is never written again, and nobody but the CPU that claims it follows the pointer.
unsafe impl Sync for ApStart {}
// SAFETY: as above; it belongs to no CPU before one claims it.
unsafe impl Send for ApStart {}

impl ApStart {
    /// A block that nobody has claimed.
    pub const fn new(
        identity: Identity,
        stack_top: usize,
        cr3: u64,
        gs_base: usize,
        entry: extern "C" fn(*mut ()) -> !,
        argument: *mut (),
    ) -> Self {
        Self {
            stack_top,
            cr3,
            gs_base,
            entry,
            argument,
            claimed: AtomicU64::new(0),
            identity,
            nr_refused: AtomicU32::new(0),
            refused_id: AtomicU32::new(0),
        }
    }

    /// A block that nobody may claim: whoever comes with it parks on the page tables at `cr3`, and is counted.
    pub fn parking(features: &Features, cr3: u64) -> Self {
        extern "C" fn never(_: *mut ()) -> ! {
            unreachable!("nobody claims a block that is claimed")
        }
        let start = Self::new(Identity::new(0, features), 0, cr3, 0, never, core::ptr::null_mut());
        start.revoke();
        start
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

    /// CPUs that came with this block and parked: it was revoked, claimed, or another's. They are on the kernel's page
    /// tables, in its code, for good.
    pub fn nr_refused(&self) -> u32 {
        self.nr_refused.load(Ordering::Acquire)
    }

    /// The APIC id of the last CPU that parked, if any did.
    pub fn refused_id(&self) -> Option<u32> {
        (self.nr_refused() > 0).then(|| self.refused_id.load(Ordering::Relaxed))
    }
}

// To ensure that the assembly below reads what was written.
const _: () = assert!(offset_of!(ApStart, stack_top) == 0);
const _: () = assert!(offset_of!(ApStart, cr3) == 8);
const _: () = assert!(offset_of!(ApStart, gs_base) == 16);
const _: () = assert!(offset_of!(ApStart, entry) == 24);
const _: () = assert!(offset_of!(ApStart, argument) == 32);
const _: () = assert!(offset_of!(ApStart, claimed) == 40);
const _: () = assert!(offset_of!(ApStart, identity) == 48);
const _: () = assert!(offset_of!(ApStart, nr_refused) == 56);
const _: () = assert!(offset_of!(ApStart, refused_id) == 60);
const _: () = assert!(size_of::<ApStart>() == 64 && size_of::<Identity>() == 8);

/// Offset of `extra_argument` in the Limine protocol's `limine_mp_info`, where the address of an [`ApStart`] goes:
/// `u32 processor_id, u32 lapic_id, u64 reserved, u64 goto_address, u64 extra_argument`.
pub const EXTRA_ARGUMENT_OFFSET: usize = 24;

/// Where other CPUs are sent: the `goto_address`. RDI points at the CPU's `limine_mp_info`.
///
/// Reads the [`ApStart`] with the bootloader's tables, then changes to the kernel's page tables, asks CPUID who it is,
/// claims the block if it is its own, changes the stack, sets GS base, and calls. All that comes after CR3, so that
/// whoever may not go on waits in the kernel's memory, not in what is about to be reclaimed; it has no stack and no IDT,
/// so it must not get an NMI. After CR3 and before the claim nothing of the bootloader's is read or written.
///
/// # Safety
/// Not to be called; jumped to by the bootloader, with `extra_argument` set and published before `goto_address`.
#[unsafe(naked)]
pub unsafe extern "C" fn other_cpu_entry(info: *const ()) -> ! {
    naked_asm!(
        "cli",
        "cld",
        "mov r10, [rdi + {extra}]", // &ApStart
        "mov rsi, [r10 + 0]",       // stack_top
        "mov rcx, [r10 + 8]",       // cr3
        "mov r8, [r10 + 16]",       // gs_base
        "mov r9, [r10 + 24]",       // entry
        "mov rdi, [r10 + 32]",      // argument
        "mov cr3, rcx",
        "mov eax, [r10 + 52]", // identity.leaf: 1, or one that tells all 32 bits in EDX
        "xor ecx, ecx",
        "cpuid",
        "cmp dword ptr [r10 + 52], 1",
        "jne 2f",
        "shr ebx, 24",
        "mov edx, ebx",
        "2:",
        "cmp edx, [r10 + 48]", // identity.apic_id
        "jne 3f",
        "mov eax, 1",
        "xchg rax, [r10 + 40]", // claimed
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
        "mov [r10 + 60], edx",          // refused_id
        "lock inc dword ptr [r10 + 56]", // nr_refused
        "4:",
        "hlt",
        "jmp 4b",
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
        let identity = Identity { apic_id: 7, leaf: 1 };
        let start = ApStart::new(identity, 0x1000, 0, 0, never, core::ptr::null_mut());
        assert!(!start.is_claimed());
        assert!(!start.revoke(), "nobody had come");
        assert!(start.is_claimed());
        assert!(start.revoke());
        assert_eq!((start.nr_refused(), start.refused_id()), (0, None));
    }

    #[test]
    fn a_place_to_park_cannot_be_claimed() {
        assert!(ApStart::parking(&Features::detect(), 0).revoke());
    }

    #[test]
    fn a_cpu_finds_its_id_where_the_first_one_did() {
        let mut features = Features::detect();
        features.topology.leaf = 0;
        assert_eq!(Identity::new(3, &features), Identity { apic_id: 3, leaf: 1 });
        features.topology.leaf = 0x1f;
        assert_eq!(Identity::new(3, &features), Identity { apic_id: 3, leaf: 0x1f });
    }
}
