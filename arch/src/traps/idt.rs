//! The interrupt descriptor table: 256 gates, the same for all CPUs.
//!
//! Invariants: written once by [`build`], before the first [`load`]; read-only afterwards.

use super::{stubs, vectors};
use crate::gdt;
use core::cell::UnsafeCell;
use core::mem::size_of;
use core::sync::atomic::{AtomicBool, Ordering};
use x86_64::VirtAddr;
use x86_64::instructions::tables;
use x86_64::structures::DescriptorTablePointer;

/// One 16-byte gate (SDM vol. 3, "64-Bit Mode IDT").
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gate([u64; 2]);

const _: () = assert!(size_of::<Gate>() == 16);

impl Gate {
    const MISSING: Self = Self([0; 2]);

    /// A present interrupt gate (type 14: IF is cleared on entry) of privilege level 0.
    const fn interrupt(target: u64, selector: u16, ist: u8) -> Self {
        let low =
            target & 0xffff | (selector as u64) << 16 | (ist as u64) << 32 | 0x8e << 40 | (target >> 16 & 0xffff) << 48;
        Self([low, target >> 32])
    }
}

#[repr(C, align(4096))]
struct Table(UnsafeCell<[Gate; stubs::NR_STUBS]>);

// SAFETY: the table is written only in `build`, which runs at most once and before any CPU reads it.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([Gate::MISSING; stubs::NR_STUBS]));
static IS_BUILT: AtomicBool = AtomicBool::new(false);

/// The stack a vector switches to: 0 stays.
const fn stack_of(vector: u8) -> u8 {
    match vector {
        vectors::DOUBLE_FAULT => gdt::IST_DOUBLE_FAULT,
        vectors::NMI => gdt::IST_NMI,
        vectors::MACHINE_CHECK => gdt::IST_MACHINE_CHECK,
        _ => 0,
    }
}

/// Fills the table; the gate of `short_vector` leads to the short entry.
///
/// # Panics
/// If called twice.
pub(super) fn build(short_vector: u8) {
    assert!(!IS_BUILT.swap(true, Ordering::AcqRel), "traps::init called twice");
    // The entries are spaced by alignment, so the first one must begin where the function does.
    let first = stubs::address(0);
    assert!(first.is_multiple_of(stubs::STRIDE), "the trap stubs at {first:#x} are not aligned");
    // SAFETY: the swap above lets one caller through, ever, and no CPU has loaded the table: `load_this_cpu` demands a
    // handler, which `init` stores only after this function.
    let table = unsafe { &mut *TABLE.0.get() };
    for (vector, gate) in (0..=255u8).zip(table) {
        let entry = if vector == short_vector { stubs::short as *const () as usize } else { stubs::address(vector) };
        *gate = Gate::interrupt(entry as u64, gdt::KERNEL_CODE, stack_of(vector));
    }
}

/// Loads IDTR.
pub(super) fn load() {
    let pointer = DescriptorTablePointer {
        limit: (size_of::<[Gate; stubs::NR_STUBS]>() - 1) as u16,
        base: VirtAddr::from_ptr(TABLE.0.get()),
    };
    // SAFETY: the table is static and built, and the caller has shown that this CPU has the GDT and TSS it refers to.
    unsafe { tables::lidt(&pointer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_spreads_its_target_over_both_words() {
        let gate = Gate::interrupt(0xffff_ffff_8012_3450, 0x08, 2);
        assert_eq!(gate.0[0].to_le_bytes(), [0x50, 0x34, 0x08, 0, 2, 0x8e, 0x12, 0x80]);
        assert_eq!(gate.0[1], 0xffff_ffff);
    }

    #[test]
    fn three_vectors_have_stacks_of_their_own() {
        let with_stack: Vec<_> = (0..=255).filter(|&v| stack_of(v) != 0).map(|v| (v, stack_of(v))).collect();
        assert_eq!(with_stack, [(2, 2), (8, 1), (18, 3)]);
    }

    #[test]
    fn the_whole_table_is_built_once() {
        build(0xf0);
        // SAFETY: no other test touches the table, and `build` panics on a second call.
        let table = unsafe { &*TABLE.0.get() };
        assert!(table.iter().all(|gate| gate.0[0] >> 40 & 0xff == 0x8e));
        let entry = |vector: usize| Gate::interrupt(stubs::address(vector as u8) as u64, gdt::KERNEL_CODE, 0);
        assert_eq!(table[0xf1], entry(0xf1));
        assert_eq!(table[0xf0], Gate::interrupt(stubs::short as *const () as u64, gdt::KERNEL_CODE, 0));
        assert!(std::panic::catch_unwind(|| build(0xf0)).is_err());
    }
}
