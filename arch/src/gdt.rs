//! Segments and task state of one CPU.
//!
//! Long mode needs little of either: one code and one data segment, and a TSS for the stacks that the CPU switches to
//! by itself. Three vectors get such a stack (IST): a double fault, because the stack may be what is broken; an NMI and
//! a machine check, because they come at any instruction, also at one where the stack is not fit to be used.
//!
//! Invariants: the tables live as long as the CPU uses them (`&'static self`), never move after
//! [`DescriptorTables::load`], and one CPU uses one value. Selectors are the same on all CPUs. Called by: boot on each
//! CPU, before its traps.

use core::arch::asm;
use core::marker::PhantomData;
use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::tables;
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::SegmentSelector;
use x86_64::structures::tss::TaskStateSegment;
use x86_64::{PrivilegeLevel, VirtAddr};

/// The kernel's code segment.
pub const KERNEL_CODE: u16 = 0x08;
/// The kernel's data segment, in SS, DS and ES.
pub const KERNEL_DATA: u16 = 0x10;
/// The task state segment; its descriptor takes two slots.
const TASK_STATE: u16 = 0x18;

/// Interrupt stack table slots as an IDT entry counts them: 0 would mean "stay on the current stack".
pub(crate) const IST_DOUBLE_FAULT: u8 = 1;
pub(crate) const IST_NMI: u8 = 2;
pub(crate) const IST_MACHINE_CHECK: u8 = 3;

/// The stacks that the CPU switches to by itself: each an address one past the end, 16-byte aligned.
///
/// They must be three different stacks: a machine check may interrupt an NMI, and each resets to its top.
#[derive(Clone, Copy, Debug)]
pub struct InterruptStacks {
    /// For #DF, vector 8.
    pub double_fault_top: usize,
    /// For the NMI, vector 2.
    pub nmi_top: usize,
    /// For #MC, vector 18.
    pub machine_check_top: usize,
}

/// GDT and TSS of one CPU, to be placed in its per-CPU memory.
#[repr(C, align(16))]
pub struct DescriptorTables {
    /// Null, code, data, TSS (two words). Atomic because `load` completes the TSS descriptor, and the CPU itself sets
    /// the busy bit there, behind shared references.
    gdt: [AtomicU64; NR_DESCRIPTORS],
    tss: TaskStateSegment,
}

const NR_DESCRIPTORS: usize = 5;

// To ensure that the CPU finds what it expects: SDM vol. 3, "64-Bit Task State Segment".
const _: () = assert!(size_of::<TaskStateSegment>() == 104);
const _: () = assert!(offset_of!(TaskStateSegment, interrupt_stack_table) == 0x24);
const _: () = assert!(offset_of!(TaskStateSegment, iomap_base) == 0x66);
// To ensure that the selectors name the descriptors.
const _: () = assert!(TASK_STATE as usize == 8 * (NR_DESCRIPTORS - 2));

/// This CPU runs on its own GDT and TSS: gates may name [`KERNEL_CODE`] and the three interrupt stacks.
///
/// Stays on the CPU that loaded them.
#[derive(Debug)]
pub struct Loaded(PhantomData<*mut ()>);

impl DescriptorTables {
    /// Tables for one CPU, not yet in use.
    ///
    /// # Panics
    /// If a stack top is not a canonical address.
    pub fn new(stacks: InterruptStacks) -> Self {
        let mut tss = TaskStateSegment::new();
        for (slot, top) in [
            (IST_DOUBLE_FAULT, stacks.double_fault_top),
            (IST_NMI, stacks.nmi_top),
            (IST_MACHINE_CHECK, stacks.machine_check_top),
        ] {
            tss.interrupt_stack_table[usize::from(slot) - 1] = VirtAddr::new(top as u64);
        }
        Self { gdt: [0, CODE, DATA, 0, 0].map(AtomicU64::new), tss }
    }

    /// Makes this CPU use the tables: loads GDTR, all segment registers but FS and GS, and the task register.
    ///
    /// FS and GS stay, for their selectors would reset the per-CPU base; the naked entry points nulled them.
    /// Context: boot of each CPU, interrupts off; between here and the IDT an exception is fatal.
    ///
    /// # Safety
    /// - The interrupt stacks given to `new` are mapped, writable, big enough, and of this CPU alone.
    /// - No other CPU loads this value, and it is loaded once: a busy TSS faults.
    pub unsafe fn load(&'static self) -> Loaded {
        let [low, high] = tss_descriptor(&raw const self.tss as u64);
        self.gdt[3].store(low, Ordering::Relaxed);
        self.gdt[4].store(high, Ordering::Relaxed);
        let pointer = DescriptorTablePointer {
            limit: (size_of::<[AtomicU64; NR_DESCRIPTORS]>() - 1) as u16,
            base: VirtAddr::from_ptr(&self.gdt),
        };
        // SAFETY: the table is 'static and holds valid descriptors at the selectors loaded below. The far return goes
        // to the next instruction, on the same stack, with the new code selector. No memory clobber is left out: the
        // asm blocks clobber memory by default, so the stores above come first.
        unsafe {
            tables::lgdt(&pointer);
            asm!(
                "push {code}",
                "lea {scratch}, [rip + 2f]",
                "push {scratch}",
                "retfq",
                "2:",
                "mov ss, {data:x}",
                "mov ds, {data:x}",
                "mov es, {data:x}",
                code = const KERNEL_CODE,
                data = in(reg) KERNEL_DATA,
                scratch = out(reg) _,
                options(preserves_flags),
            );
            tables::load_tss(SegmentSelector::new(TASK_STATE / 8, PrivilegeLevel::Ring0));
        }
        Loaded(PhantomData)
    }
}

/// Present, code, execute/read, long mode; base and limit are ignored in long mode, and set to all for good form.
const CODE: u64 = 0x00af_9b00_0000_ffff;
/// Present, data, read/write.
const DATA: u64 = 0x00cf_9300_0000_ffff;

/// A 64-bit TSS descriptor (SDM vol. 3, "TSS Descriptor in 64-bit mode"): present, type 9 (available).
const fn tss_descriptor(base: u64) -> [u64; 2] {
    let limit = (size_of::<TaskStateSegment>() - 1) as u64;
    let low = limit | (base & 0x00ff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use x86_64::structures::gdt::{Descriptor, DescriptorFlags};

    const STACKS: InterruptStacks =
        InterruptStacks { double_fault_top: 0x1000, nmi_top: 0x2000, machine_check_top: 0xffff_8000_0000_3000 };

    #[test]
    fn segments_are_those_of_the_x86_64_crate() {
        assert_eq!(CODE, DescriptorFlags::KERNEL_CODE64.bits());
        assert_eq!(DATA, DescriptorFlags::KERNEL_DATA.bits());
    }

    #[test]
    fn the_tss_descriptor_spreads_its_base_over_two_words() {
        let [low, high] = tss_descriptor(0xffff_8123_4567_89a0);
        assert_eq!(low.to_le_bytes(), [103, 0, 0xa0, 0x89, 0x67, 0x89, 0, 0x45]);
        assert_eq!(high, 0xffff_8123);
    }

    #[test]
    fn the_tss_descriptor_agrees_with_the_x86_64_crate() {
        let tss = TaskStateSegment::new();
        // SAFETY: the descriptor is only compared, never loaded.
        let theirs = unsafe { Descriptor::tss_segment_unchecked(&tss) };
        let Descriptor::SystemSegment(low, high) = theirs else { panic!("a TSS is a system segment") };
        assert_eq!(tss_descriptor(&raw const tss as u64), [low, high]);
    }

    #[test]
    fn each_interrupt_stack_sits_in_the_slot_its_gate_names() {
        let tables = DescriptorTables::new(STACKS);
        let ist = tables.tss.interrupt_stack_table;
        assert_eq!(ist[usize::from(IST_DOUBLE_FAULT) - 1].as_u64(), 0x1000);
        assert_eq!(ist[usize::from(IST_NMI) - 1].as_u64(), 0x2000);
        assert_eq!(ist[usize::from(IST_MACHINE_CHECK) - 1].as_u64(), 0xffff_8000_0000_3000);
        assert_eq!({ tables.tss.iomap_base }, 104);
    }
}
