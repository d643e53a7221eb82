//! Reads and writes that survive a fault: the way to look at memory that may not be mapped.
//!
//! Each access is a naked function whose *first* instruction is the access, so the function's address is the address of
//! the only instruction that can fault. Nothing is on the stack then but the return address; [`fixup`] moves RIP to
//! a second naked function that returns "no" to the same caller.
//!
//! Used by: crash reports, backtraces, and the stale-TLB detector, which reads what another CPU has unmapped.

use crate::traps::{TrapFrame, vectors};
use core::arch::naked_asm;

/// What the naked accessors return, in RAX and RDX.
#[repr(C)]
struct Answer {
    value: u64,
    is_valid: u64,
}

/// Reads the word at `addr`, or `None` if the read faults.
///
/// Any address may be given: unmapped, non-canonical, unaligned. The load is one instruction, so an aligned word is not
/// torn. Reading device memory has the device's side effects.
///
/// Context: any in which a page fault may be taken: not in an NMI handler that returns (see `traps`). Before
/// `traps::load_this_cpu`, and while the kernel's handler does not call [`fixup`] first, a fault is fatal.
#[inline]
pub fn read_u64(addr: usize) -> Option<u64> {
    // SAFETY: the function reads eight bytes or reports that it could not; it touches nothing else.
    let Answer { value, is_valid } = unsafe { raw_read_u64(addr) };
    (is_valid != 0).then_some(value)
}

/// Reads the byte at `addr`, or `None` if the read faults. As [`read_u64`].
#[inline]
pub fn read_u8(addr: usize) -> Option<u8> {
    // SAFETY: as in `read_u64`.
    let Answer { value, is_valid } = unsafe { raw_read_u8(addr) };
    (is_valid != 0).then_some(value as u8)
}

/// Writes the word at `addr`; `None` if the write faults.
///
/// # Safety
/// If the address is mapped and writable, nothing else relies on the eight bytes there.
#[inline]
#[must_use]
pub unsafe fn write_u64(addr: usize, value: u64) -> Option<()> {
    // SAFETY: the caller gives up the eight bytes, if they are there.
    let answer = unsafe { raw_write_u64(addr, value) };
    (answer.is_valid != 0).then_some(())
}

/// Calls the function at `addr`; false if its first instruction cannot be fetched.
///
/// # Safety
/// If the address can be executed, there is a function without arguments that returns and leaves all registers but RAX and
/// RDX alone, say a single `ret`.
#[inline]
#[must_use]
pub unsafe fn call(addr: usize) -> bool {
    // SAFETY: as promised by the caller.
    unsafe { raw_call(addr) }.is_valid != 0
}

/// If the trap is a fault of a probe, makes the probe return `None` instead, and says so.
///
/// The kernel's handler calls this first for #PF, #GP and #SS: a non-canonical address raises one of the latter.
pub fn fixup(frame: &mut TrapFrame) -> bool {
    const FAULTS: [u8; 3] = [vectors::PAGE_FAULT, vectors::GENERAL_PROTECTION, vectors::STACK_SEGMENT];
    let is_fault = FAULTS.iter().any(|&v| u64::from(v) == frame.vector);
    // A fetch faults at its target, with the return address of the call on the stack.
    let is_fetch = frame.vector == u64::from(vectors::PAGE_FAULT) && frame.error_code & FETCH != 0;
    if is_fetch && read_u64(frame.rsp as usize) == Some(called as *const () as u64) {
        frame.rip = failed as *const () as u64;
        frame.rsp += 8;
        return true;
    }
    if !is_fault || !accessors().contains(&frame.rip) {
        return false;
    }
    frame.rip = failed as *const () as u64;
    true
}

/// Bit of a page fault's error code: an instruction was to be fetched (Intel SDM vol. 3A, "Page-Fault Exception").
const FETCH: u64 = 1 << 4;

/// The instructions that may fault.
fn accessors() -> [u64; 3] {
    [raw_read_u64 as *const () as u64, raw_read_u8 as *const () as u64, raw_write_u64 as *const () as u64]
}

#[unsafe(naked)]
unsafe extern "C" fn raw_read_u64(addr: usize) -> Answer {
    naked_asm!("mov rax, [rdi]", "mov edx, 1", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn raw_read_u8(addr: usize) -> Answer {
    naked_asm!("movzx eax, byte ptr [rdi]", "mov edx, 1", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn raw_write_u64(addr: usize, value: u64) -> Answer {
    naked_asm!("mov [rdi], rsi", "mov edx, 1", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn raw_call(addr: usize) -> Answer {
    naked_asm!("lea rax, [rip + {called}]", "push rax", "jmp rdi", called = sym called)
}

/// Where the function returns to that [`call`] has called.
#[unsafe(naked)]
extern "C" fn called() {
    naked_asm!("xor eax, eax", "mov edx, 1", "ret")
}

/// Where a faulting accessor ends: no value, no success, back to the caller of the accessor.
#[unsafe(naked)]
extern "C" fn failed() {
    naked_asm!("xor eax, eax", "xor edx, edx", "ret")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_memory_reads_and_writes() {
        let mut word = 0x0123_4567_89ab_cdefu64;
        let addr = &raw mut word as usize;
        assert_eq!(read_u64(addr), Some(0x0123_4567_89ab_cdef));
        assert_eq!(read_u8(addr + 1), Some(0xcd));
        // SAFETY: the word is this test's own.
        assert_eq!(unsafe { write_u64(addr, 7) }, Some(()));
        // SAFETY: read as the compiler cannot know of the write.
        assert_eq!(unsafe { core::ptr::read_volatile(&raw const word) }, 7);
    }

    #[test]
    fn a_fault_in_a_probe_is_redirected() {
        for (vector, rip) in [14, 13, 12].into_iter().zip(accessors()) {
            let mut frame = TrapFrame { vector, rip, ..TrapFrame::default() };
            assert!(fixup(&mut frame));
            assert_eq!(frame.rip, failed as *const () as u64);
        }
    }

    #[test]
    fn a_function_is_called_and_a_fetch_that_faults_is_redirected() {
        // SAFETY: it returns at once, and changes RAX and RDX at most.
        assert!(unsafe { call(failed as *const () as usize) });
        let stack = [called as *const () as u64, 7];
        let mut frame = TrapFrame { vector: 14, error_code: FETCH, rip: 0x5000, ..TrapFrame::default() };
        frame.rsp = stack.as_ptr() as u64;
        assert!(fixup(&mut frame));
        assert_eq!((frame.rip, frame.rsp), (failed as *const () as u64, stack.as_ptr() as u64 + 8));
        // From elsewhere: not ours.
        frame = TrapFrame { vector: 14, error_code: FETCH, rip: 0x5000, ..TrapFrame::default() };
        frame.rsp = stack[1..].as_ptr() as u64;
        assert!(!fixup(&mut frame));
    }

    #[test]
    fn other_traps_are_left_alone() {
        let read = raw_read_u64 as *const () as u64;
        for (vector, rip) in [(14, read + 1), (14, 0), (2, read), (3, read), (0x40, read)] {
            let mut frame = TrapFrame { vector, rip, ..TrapFrame::default() };
            let before = frame;
            assert!(!fixup(&mut frame));
            assert_eq!(frame, before);
        }
    }
}
