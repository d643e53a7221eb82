//! The per-CPU base, in GS.
//!
//! Convention with the kernel: GS base points at this CPU's area, and the area's first word holds its own address, so
//! that [`this_cpu_ptr`] is one load. The first CPU's base is set before any other Rust code runs that could want it,
//! another CPU's by the naked entry. There is no user mode, hence no SWAPGS anywhere.
//!
//! # Why the loads are `pure, readonly` and not `pure, nomem`
//!
//! `pure` lets the compiler merge two loads and drop unused ones. That is legal since the answer depends only on memory
//! (and on GS base, which is constant for a CPU), and code does not move between CPUs: there is no scheduler. Were
//! there one, a merged load could be of the CPU before. `nomem` would go further and let the load move across any other
//! memory access: the compiler could then lift it above the [`set_base`] that makes it valid, and reuse a stale value
//! of a word that changes. With `readonly` every asm block that clobbers memory, every opaque call and every store that
//! might alias is a limit, [`set_base`] among them. The price is one load after a store now and then.
//!
//! [`address_plus`] is `nomem` all the same: its word never changes, and an allocation and the free that follows it
//! shall find the same register. What remains to be kept below [`set_base`] is so by a call: the function that sets the
//! first CPU's base is not inlined, and no pass of the compiler moves an asm block across a call.

use crate::msr;
use core::arch::asm;

/// The per-CPU base of this CPU.
#[inline]
pub fn base() -> usize {
    // SAFETY: the register exists on every 64-bit CPU, and reading it has no effect.
    unsafe { msr::read(msr::GS_BASE) as usize }
}

/// Sets the per-CPU base of this CPU.
///
/// # Safety
/// `base` is the address of this CPU's area, whose first word holds `base` itself, and which stays where it is. No
/// reference to the area of a former base is in use.
#[inline]
pub unsafe fn set_base(base: usize) {
    // SAFETY: the register exists; the caller answers for the value. The write clobbers memory, so no load of this
    // module moves above it.
    unsafe { msr::write(msr::GS_BASE, base as u64) }
}

/// The address of this CPU's area: `gs:[0]`.
///
/// # Safety
/// [`set_base`] (or the naked entry) has run on this CPU.
#[inline(always)]
pub unsafe fn this_cpu_ptr() -> *mut u8 {
    // SAFETY: the base is set, and word 0 holds the area's own address.
    unsafe { load::<0>() as *mut u8 }
}

/// The sum of the address at `gs:[WORD]` and `offset`.
///
/// In one register, of which the compiler does not know that it is a sum. So accesses to what lies there name that one
/// register, and not each of them the sum again: some cores forward stores to loads at full speed only then.
///
/// # Safety
/// The base is set on this CPU, and its area has an aligned word at `WORD` that is never written again.
#[inline(always)]
pub unsafe fn address_plus<const WORD: usize>(offset: usize) -> *mut u8 {
    const { assert!(WORD.is_multiple_of(8) && WORD <= i32::MAX as usize, "an aligned 31-bit offset") };
    let mut address = offset;
    // SAFETY: the caller's promise makes this a plain aligned load. Why `nomem`: see the module's text.
    unsafe {
        asm!("add {}, gs:[{}]", inout(reg) address, const WORD, options(pure, nomem, nostack));
    }
    core::ptr::with_exposed_provenance_mut(address)
}

/// The word at `gs:[OFFSET]`.
///
/// # Safety
/// The base is set on this CPU, and its area has an aligned word at `OFFSET`, written by this CPU only.
#[inline(always)]
pub unsafe fn load<const OFFSET: usize>() -> usize {
    const { assert!(OFFSET.is_multiple_of(8) && OFFSET <= i32::MAX as usize, "an aligned 31-bit offset") };
    let word;
    // SAFETY: the caller's promise makes this a plain aligned load. The options are argued in the module's text.
    unsafe {
        asm!("mov {}, gs:[{}]", out(reg) word, const OFFSET, options(pure, readonly, nostack, preserves_flags));
    }
    word
}

/// Stores `word` at `gs:[OFFSET]`.
///
/// # Safety
/// As [`load`], and no Rust reference forbids the write.
#[inline(always)]
pub unsafe fn store<const OFFSET: usize>(word: usize) {
    const { assert!(OFFSET.is_multiple_of(8) && OFFSET <= i32::MAX as usize, "an aligned 31-bit offset") };
    // SAFETY: the caller's promise makes this a plain aligned store.
    unsafe {
        asm!("mov gs:[{}], {}", const OFFSET, in(reg) word, options(nostack, preserves_flags));
    }
}
