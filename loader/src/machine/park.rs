//! The waiting room: what another processor does from its first 64-bit instruction until the kernel calls it.
//!
//! It sleeps in `hlt` and looks whenever its timer rings: first after 0.1 ms, then in growing steps, so that a kernel
//! that calls after a time `t` waits a third of `t` longer at most, and a kernel that never calls is hardly disturbed.
//! Polling with `pause` would starve the emulator's big lock, which every device access of the kernel needs.
//!
//! Shared with the boot processor: one [`Slot`] for each processor, whose `state` is the only thing both write.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use loader::protocol::HHDM;

use super::apic::{LocalApic, Mode};
use super::handover::Handover;
use super::{cpu, fail, mtrr, traps};

/// Nobody has come.
pub(super) const WAITING: u32 = 0;
/// It runs, and sets itself up. Written by the trampoline.
pub(super) const STARTED: u32 = 1;
/// It is ready to be called.
pub(super) const READY: u32 = 2;
/// It came too late or not at all, and must not go on.
pub(super) const LOST: u32 = 3;

/// First nap, in ticks of 1 ns (under QEMU).
const FIRST_NAP: u32 = 100_000;
/// Naps grow up to this; longer with many processors, see `mp`.
pub(super) static LONGEST_NAP: AtomicU32 = AtomicU32::new(10_000_000);

/// One processor's place. The trampoline knows the layout: 24 bytes, id, state, stack.
#[repr(C)]
pub(super) struct Slot {
    /// APIC id.
    pub(super) apic_id: u32,
    /// [`WAITING`] and so on.
    pub(super) state: AtomicU32,
    /// Top of its stack, in the identity mapping; 0 marks the end of the list.
    pub(super) stack_top: u64,
    /// Its `MpInfo`, in the identity mapping.
    pub(super) info: u64,
}

const _: () = assert!(size_of::<Slot>() == 24 && core::mem::offset_of!(Slot, state) == 4);
const _: () = assert!(core::mem::offset_of!(Slot, stack_top) == 8);

/// The list of slots; 0 before there is one.
pub(super) static SLOTS: AtomicU64 = AtomicU64::new(0);
/// All processors use x2APIC mode.
pub(super) static USES_X2APIC: AtomicBool = AtomicBool::new(false);
/// Processors that became ready.
pub(super) static NR_READY: AtomicU32 = AtomicU32::new(0);
/// The processor that is to come late, by its APIC id, for tests of kernels; nobody else has this one.
pub(super) static LATE_ID: AtomicU32 = AtomicU32::new(u32::MAX);
/// How late: so many naps of so many ticks of 1 ns.
const LATE_NAPS: (u32, u32) = (200, 10_000_000);
/// The kernel's page tables.
static ROOT: AtomicU64 = AtomicU64::new(0);

/// Says which page tables the kernel runs on. Pairs with the acquiring read of `goto_address`: the kernel writes that
/// after this.
pub(super) fn open(root: u64) {
    ROOT.store(root, Ordering::Release);
}

/// Entered by the trampoline, on the slot's stack, with the slot claimed. Returns only if there is no place for this
/// processor after all.
pub(super) extern "C" fn parked(slot: &Slot) {
    traps::init_this_cpu();
    let Ok(cpu) = cpu::detect() else { return };
    cpu.init_this_cpu();
    mtrr::apply(&cpu);
    let mode = if USES_X2APIC.load(Ordering::Acquire) { Mode::X2Apic } else { Mode::XApic };
    let apic = LocalApic::init_this_cpu(mode);
    if apic.id() != slot.apic_id {
        return;
    }
    if slot.state.compare_exchange(STARTED, READY, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return;
    }
    NR_READY.fetch_add(1, Ordering::Release);

    // SAFETY: `mp` put an `MpInfo` there that lives as long as the loader's memory; its third word is `goto_address`,
    // aligned, and only ever accessed atomically by both sides once processors run.
    let goto_address = unsafe { AtomicU64::from_ptr((slot.info + 16) as *mut u64) };
    let timer = apic.timer();
    let mut nap = FIRST_NAP;
    let entry = loop {
        match goto_address.load(Ordering::Acquire) {
            0 => timer.nap(nap),
            entry => break entry,
        }
        nap = (nap + nap / 2).min(LONGEST_NAP.load(Ordering::Relaxed));
    };
    if LATE_ID.load(Ordering::Relaxed) == slot.apic_id {
        (0..LATE_NAPS.0).for_each(|_| timer.nap(LATE_NAPS.1));
    }
    timer.stop();
    let root = ROOT.load(Ordering::Acquire);
    if root == 0 {
        // Nobody but the kernel writes `goto_address`, and the kernel runs after `open`.
        fail::halt();
    }
    Handover { entry, stack_top: slot.stack_top, root, argument: slot.info + HHDM }.enter()
}
