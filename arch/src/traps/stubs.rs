//! The stubs: 256 entries of 16 bytes, and the path they share.
//!
//! One naked function holds all entries, so that the entry of a vector is `base + 16 * vector` and no table of function
//! pointers is needed. `kernel` never calls any of this; the IDT does.

use super::dispatch;
use core::arch::naked_asm;

/// Bytes from one entry to the next.
pub(super) const STRIDE: usize = 16;
/// Entries.
pub(super) const NR_STUBS: usize = 256;

/// The address of the stub of `vector`.
pub(super) fn address(vector: u8) -> usize {
    entries as *const () as usize + STRIDE * usize::from(vector)
}

/// The entries. Where the CPU pushes no error code (`vector::ERROR_CODE_VECTORS`) the stub pushes a zero, so that all
/// frames look alike.
///
#[unsafe(naked)]
#[unsafe(link_section = ".text.trap_stubs")]
extern "C" fn entries() {
    naked_asm!(
        ".balign {stride}",
        ".set .Ltrap_vector, 0",
        ".rept {count}",
        ".balign {stride}",
        ".if .Ltrap_vector >= 32 || (({with_code} >> .Ltrap_vector) & 1) == 0",
        "push 0",
        ".endif",
        "push .Ltrap_vector",
        "jmp {common}",
        ".set .Ltrap_vector, .Ltrap_vector + 1",
        ".endr",
        stride = const STRIDE,
        count = const NR_STUBS,
        with_code = const super::vector::ERROR_CODE_VECTORS,
        common = sym common,
    )
}

/// Saves the registers, calls [`dispatch`], restores them and returns from the trap.
///
/// - CLD: the ABI wants the direction flag clear, and the interrupted code may have had it set.
/// - RBP is left as it was: the handler's prologue pushes it, so that a walk from inside the handler goes on through
///   the interrupted function's callers (the function itself is in the frame's RIP).
/// - IRETQ restores RFLAGS and, after an NMI, unblocks NMIs: nothing may come after it or fault in it.
#[unsafe(naked)]
extern "C" fn common() {
    naked_asm!(
        "push rax",
        "push rbx",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push rbp",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "cld",
        "mov rdi, rsp",
        "call {dispatch}",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rbp",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rbx",
        "pop rax",
        "add rsp, 16", // vector and error code
        "iretq",
        dispatch = sym dispatch,
    )
}

/// The entry of the one interrupt that has a handler of its own ([`super::Short`]): no vector to tell, no frame to
/// change, so it saves what the ABI lets a function change, and no more. Half the way of [`common`].
///
/// The CPU aligns the stack to 16 and pushes five words; with these nine it is aligned for the call.
#[unsafe(naked)]
pub(super) extern "C" fn short() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "cld",
        "call [rip + {handler}]",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "iretq",
        handler = sym super::SHORT_HANDLER,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traps::has_error_code;

    /// Reads a stub back as machine code: `[push 0] push vector; jmp common`.
    #[test]
    fn every_stub_pushes_its_vector_and_jumps_to_the_common_path() {
        for vector in 0..=255u8 {
            let start = address(vector);
            assert_eq!(start % STRIDE, 0);
            // SAFETY: the entries are 256 * 16 bytes of code, readable like any text.
            let mut code = unsafe { core::slice::from_raw_parts(start as *const u8, STRIDE) };
            if !has_error_code(vector) {
                assert_eq!(code[..2], [0x6a, 0], "vector {vector} pushes a zero for the error code");
                code = &code[2..];
            }
            let pushed = match code[0] {
                0x6a => {
                    let v = code[1];
                    code = &code[2..];
                    u32::from(v)
                }
                0x68 => {
                    let v = u32::from_le_bytes(code[1..5].try_into().unwrap());
                    code = &code[5..];
                    v
                }
                other => panic!("vector {vector}: {other:#x} is no push"),
            };
            assert_eq!(pushed, u32::from(vector));
            let (jump_len, offset) = match code[0] {
                0xe9 => (5, i32::from_le_bytes(code[1..5].try_into().unwrap()) as isize),
                0xeb => (2, code[1] as i8 as isize),
                other => panic!("vector {vector}: {other:#x} is no jump"),
            };
            let next = code.as_ptr() as usize + jump_len;
            assert_eq!(next.wrapping_add_signed(offset), common as *const () as usize);
        }
    }
}
