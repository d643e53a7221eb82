//! Flushing the TLB of this CPU. That of the others is a protocol, and not here; what some CPUs offer for it is in
//! [`Broadcast`].
//!
//! Each function forgets translations of stores that came before it: the instructions are serialising, and their asm
//! clobbers memory, so a page-table store stays above.
//! Called by: the shootdown glue of the kernel, `control`.

mod broadcast;

pub use broadcast::Broadcast;

use crate::cpu;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};
use x86_64::registers::control::{Cr4, Cr4Flags};

/// Set when this machine's CPUs have INVPCID. Stands alone: a stale `false` only takes the slower way.
static HAS_INVPCID: AtomicBool = AtomicBool::new(false);

/// For [`flush_all`], from `control::init_this_cpu`.
pub(crate) fn remember_invpcid(proof: Option<cpu::Invpcid>) {
    HAS_INVPCID.store(proof.is_some(), Ordering::Relaxed);
}

/// Forgets the page of whatever size that contains `address`, global or not, and all paging-structure caches.
#[inline]
pub fn flush_page(address: usize) {
    // SAFETY: forgetting a translation only costs a walk. A non-canonical address is ignored.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) }
}

/// Forgets everything, global pages and all address-space ids included.
///
/// With CR4.PGE and PCIDE clear, as `control` leaves them, a CR3 reload does that and is the cheapest. Otherwise
/// INVPCID type 2 (all contexts), or a change of CR4.PGE there and back.
#[inline]
pub fn flush_all() {
    let cr4 = Cr4::read();
    if !cr4.intersects(Cr4Flags::PAGE_GLOBAL | Cr4Flags::PCID) {
        // SAFETY: CR3 gets the value it has.
        unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack, preserves_flags)) }
    } else if HAS_INVPCID.load(Ordering::Relaxed) {
        invalidate_all_contexts();
    } else {
        toggle_global_pages(cr4);
    }
}

/// INVPCID type 2, with the descriptor that the type ignores.
#[cold]
fn invalidate_all_contexts() {
    let descriptor = [0u64; 2];
    // SAFETY: `control` recorded CPUID's proof that the instruction exists; the descriptor is 16 readable bytes.
    unsafe {
        asm!("invpcid {}, [{}]", in(reg) 2u64, in(reg) &descriptor, options(nostack, preserves_flags));
    }
}

#[cold]
fn toggle_global_pages(cr4: Cr4Flags) {
    // SAFETY: PGE exists where PGE or PCIDE is set; it ends as it was, and either change flushes everything.
    unsafe {
        Cr4::write(cr4 ^ Cr4Flags::PAGE_GLOBAL);
        Cr4::write(cr4);
    }
}
