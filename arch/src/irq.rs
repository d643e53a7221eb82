//! Interrupts on and off, halting, and the fences around interrupts.
//!
//! All of these are compiler barriers too: no load or store moves across `cli`, `sti` or the fences (their asm blocks
//! clobber memory), so what is protected by "interrupts off" stays inside.
//! Called by: everything that must not be interrupted, and the idle loop.

use crate::traps::TrapFrame;
use core::arch::{asm, naked_asm};
use core::marker::PhantomData;
use core::sync::atomic::AtomicU64;

/// RFLAGS.IF.
const INTERRUPT_FLAG: usize = 1 << 9;

/// This CPU takes no maskable interrupt while the guard lives.
///
/// Dropping it restores what was before, so guards nest; they must be dropped in reverse order, which scopes do by
/// themselves. NMIs and machine checks still come. Stays on its CPU.
#[must_use = "interrupts come back when the guard is dropped"]
#[derive(Debug)]
pub struct InterruptGuard {
    saved: usize,
    _stays_on_its_cpu: PhantomData<*mut ()>,
}

impl InterruptGuard {
    /// Turns interrupts off until the guard is dropped.
    #[inline]
    pub fn new() -> Self {
        Self { saved: save_and_disable(), _stays_on_its_cpu: PhantomData }
    }

    /// Were interrupts on when the guard was made?
    #[inline]
    pub fn were_enabled(&self) -> bool {
        self.saved & INTERRUPT_FLAG != 0
    }
}

impl Default for InterruptGuard {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for InterruptGuard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the word is from `save_and_disable` on this CPU (the guard does not leave it), restored once.
        unsafe { restore(self.saved) }
    }
}

/// RFLAGS of this moment.
#[inline]
fn flags() -> usize {
    let flags;
    // SAFETY: a balanced push and pop. Not `nomem`: the answer must not be moved across a `cli` or `sti`.
    unsafe { asm!("pushfq", "pop {}", out(reg) flags, options(preserves_flags)) }
    flags
}

/// Does this CPU take maskable interrupts?
#[inline]
pub fn are_enabled() -> bool {
    flags() & INTERRUPT_FLAG != 0
}

/// Turns maskable interrupts on, from after the next instruction.
///
/// # Safety
/// Handlers are in place, and nothing the caller holds (a lock, a per-CPU flag, an [`InterruptGuard`]) relies on
/// interrupts being off.
#[inline]
pub unsafe fn enable() {
    // SAFETY: the caller's promise.
    unsafe { asm!("sti", options(nostack)) }
}

/// Turns maskable interrupts off.
#[inline]
pub fn disable() {
    // SAFETY: fewer interrupts break no promise of memory safety.
    unsafe { asm!("cli", options(nostack)) }
}

/// Turns interrupts off and returns the flags from before, for [`restore`].
#[inline]
pub fn save_and_disable() -> usize {
    let saved = flags();
    disable();
    saved
}

/// Turns interrupts back on if they were on in `saved`.
///
/// A test and `sti` rather than `popfq`, which is slow and would restore the arithmetic flags too.
///
/// # Safety
/// `saved` came from [`save_and_disable`] on this CPU, and calls are undone in reverse order.
#[inline]
pub unsafe fn restore(saved: usize) {
    if saved & INTERRUPT_FLAG != 0 {
        // SAFETY: they were on before, so handlers are in place; what relied on their being off ended with the caller's
        // use of `saved`.
        unsafe { enable() }
    }
}

/// Halts until the next interrupt or NMI. With interrupts off only an NMI ends it.
#[inline]
pub fn halt() {
    // SAFETY: waiting harms nothing. Not `nomem`: an interrupt handler may change memory before this returns.
    unsafe { asm!("hlt", options(nostack, preserves_flags)) }
}

/// Turns interrupts on and halts, with no gap between: an interrupt that is pending, or comes, ends the halt.
///
/// `sti` takes effect after the following instruction, so an interrupt cannot slip in before the `hlt` and be missed.
/// An NMI can: it does not respect the shadow of `sti`, and its IRETQ ends the shadow, so that a pending interrupt is taken
/// before the `hlt`, which then halts although there is something to do. So an NMI handler that returns calls
/// [`step_over_halt`].
///
/// # Safety
/// As [`enable`].
#[inline]
pub unsafe fn enable_and_halt() {
    // SAFETY: the caller's promise, and a call to code that keeps the calling convention.
    unsafe { sti_hlt() }
}

/// One function in the whole kernel, so that an NMI handler can know the address of its `hlt`: `sti` is one byte long.
#[unsafe(naked)]
unsafe extern "C" fn sti_hlt() {
    naked_asm!("sti", "hlt", "ret")
}

/// Skips the `hlt` of [`enable_and_halt`] if `frame` was interrupted before it: the wait ends early, which its caller must
/// expect of any halt anyway. For NMI handlers that return. Whether it was there.
pub fn step_over_halt(frame: &mut TrapFrame) -> bool {
    let halt = sti_hlt as *const () as u64 + 1;
    let is_before_halt = frame.rip == halt;
    frame.rip += u64::from(is_before_halt);
    is_before_halt
}

/// Has the code that `frame` interrupted call [`enable_and_halt`] where it was, and the handler return into that, between
/// its `sti` and its `hlt`. For tests of what may come there.
///
/// # Safety
/// As for [`enable_and_halt`], at the place that was interrupted. The stack below it is free: the handler runs on another,
/// and nobody has a red zone.
pub unsafe fn halt_on_return(frame: &mut TrapFrame) {
    frame.rsp -= 8;
    // SAFETY: eight bytes of the interrupted stack below all that it holds, free by the caller's word.
    unsafe { (frame.rsp as *mut u64).write(frame.rip) };
    frame.rip = sti_hlt as *const () as u64 + 1;
    frame.rflags |= INTERRUPT_FLAG as u64;
}

/// Turns interrupts off and halts for good.
pub fn halt_forever() -> ! {
    loop {
        disable();
        halt();
    }
}

/// Tells the CPU that this is a spin loop.
///
/// Under multi-threaded TCG this is dear (it takes the big lock and starves the CPU that is waited for): wait for an
/// acknowledgement with plain loads, and keep `pause` for the back-off of locks.
#[inline]
pub fn pause() {
    core::hint::spin_loop();
}

/// Orders all earlier loads and stores before everything later, other CPUs' view included.
#[inline]
pub fn full_fence() {
    // SAFETY: MFENCE is in every 64-bit CPU.
    unsafe { asm!("mfence", options(nostack, preserves_flags)) }
}

/// `mfence; lfence`: what must come before an x2APIC ICR write.
///
/// WRMSR to the x2APIC registers is not serialising, so the interrupt could overtake the stores that it announces
/// (Intel SDM vol. 3, "x2APIC Register Address Space"). MFENCE makes them visible, LFENCE holds the WRMSR back.
#[inline]
pub fn fence_before_msr() {
    // SAFETY: both are in every 64-bit CPU.
    unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) }
}

/// Adds `N` to `word` by an instruction that no interrupt can split, and returns what the word holds then.
///
/// For words that only this CPU writes: its interrupt handlers see the word before the addition or after it. Other CPUs
/// may not write it, as the bus is not locked. That makes it some twenty cycles cheaper than `fetch_add`.
#[inline(always)]
pub fn add_on_this_cpu<const N: i64>(word: &AtomicU64) -> u64 {
    const { assert!(N == N as i32 as i64, "the instruction takes 32 bits") };
    let sum;
    // SAFETY: the word is a valid, aligned atomic. Memory is clobbered, so the compiler orders other accesses with this.
    unsafe {
        asm!(
            "add qword ptr [{word}], {n}",
            "mov {sum}, qword ptr [{word}]",
            word = in(reg) word.as_ptr(),
            n = const N,
            sum = lateout(reg) sum,
            options(nostack),
        );
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_returns_to_the_halt_and_the_halt_to_where_it_was() {
        let mut stack = [0u64; 4];
        let top = stack.as_mut_ptr_range().end as u64;
        let mut frame = TrapFrame { rip: 0x1234, rsp: top, rflags: 0x46, ..TrapFrame::default() };
        // SAFETY: a stack of the test's own with room for what is pushed; nobody runs the frame.
        unsafe { halt_on_return(&mut frame) };
        assert_eq!((frame.rsp, frame.rflags, stack), (top - 8, 0x246, [0, 0, 0, 0x1234]));
        assert!(step_over_halt(&mut frame), "between sti and hlt");
    }

    #[test]
    fn the_halt_that_is_stepped_over_is_where_it_is_looked_for() {
        let start = sti_hlt as *const () as usize;
        // SAFETY: three bytes of code, readable like any text.
        let code = unsafe { core::slice::from_raw_parts(start as *const u8, 3) };
        assert_eq!(code, [0xfb, 0xf4, 0xc3], "sti; hlt; ret");
        for (at, is_before_halt) in [(0, false), (1, true), (2, false)] {
            let mut frame = TrapFrame { rip: start as u64 + at, ..TrapFrame::default() };
            assert_eq!(step_over_halt(&mut frame), is_before_halt);
            assert_eq!(frame.rip, start as u64 + at + u64::from(is_before_halt));
        }
    }
}
