//! What a stub leaves on the stack: the interrupted CPU state.
//!
//! ```text
//! high  ss rsp rflags cs rip   pushed by the CPU, after aligning RSP to 16
//!       error_code             by the CPU, or a 0 by the stub
//!       vector                 by the stub
//! low   rax .. r15             by the common path; RSP points at r15 when the handler is called
//! ```

use core::fmt;
use core::mem::{offset_of, size_of};

/// The state of a CPU at a trap. The handler may change it: IRETQ restores what it finds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "registers by their names")]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// The vector: 0 to 31 exceptions, from 32 interrupts.
    pub vector: u64,
    /// The CPU's error code, 0 for vectors without one.
    pub error_code: u64,
    /// For a fault the instruction that faulted, else the next one.
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// RFLAGS.IF.
const INTERRUPT_FLAG: u64 = 1 << 9;

// To ensure that the stub's pushes and this structure agree: 15 registers, then two words, then the CPU's five.
const _: () = assert!(offset_of!(TrapFrame, vector) == 15 * 8);
const _: () = assert!(offset_of!(TrapFrame, rip) == 17 * 8);
const _: () = assert!(size_of::<TrapFrame>() == 22 * 8);
// To ensure that RSP is 16-byte aligned at the call: the CPU aligns before it pushes, and an even number of words
// follows.
const _: () = assert!(size_of::<TrapFrame>().is_multiple_of(16));

impl TrapFrame {
    /// Could the interrupted code take interrupts?
    pub fn had_interrupts_enabled(&self) -> bool {
        self.rflags & INTERRUPT_FLAG != 0
    }
}

/// The registers, four to a line, for a crash report.
impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "rip {:016x}  rsp {:016x}  rflags {:08x}  cs {:02x} ss {:02x}",
            self.rip, self.rsp, self.rflags, self.cs, self.ss
        )?;
        writeln!(f, "rax {:016x}  rbx {:016x}  rcx {:016x}  rdx {:016x}", self.rax, self.rbx, self.rcx, self.rdx)?;
        writeln!(f, "rsi {:016x}  rdi {:016x}  rbp {:016x}  r8  {:016x}", self.rsi, self.rdi, self.rbp, self.r8)?;
        writeln!(f, "r9  {:016x}  r10 {:016x}  r11 {:016x}  r12 {:016x}", self.r9, self.r10, self.r11, self.r12)?;
        write!(f, "r13 {:016x}  r14 {:016x}  r15 {:016x}", self.r13, self.r14, self.r15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interrupt_flag_is_bit_nine() {
        let mut frame = TrapFrame { rflags: 0x46, ..TrapFrame::default() };
        assert!(!frame.had_interrupts_enabled());
        frame.rflags |= 0x200;
        assert!(frame.had_interrupts_enabled());
    }

    #[test]
    fn every_register_is_printed_once() {
        let mut words = [0u64; 22];
        for (i, word) in words.iter_mut().enumerate() {
            *word = 0xa0 + i as u64;
        }
        // SAFETY: 22 words of any value are a `TrapFrame`.
        let frame = unsafe { core::mem::transmute::<[u64; 22], TrapFrame>(words) };
        let text = frame.to_string();
        // All but the vector and the error code (words 15 and 16), which the report names in its first line.
        for i in (0..22).filter(|i| ![15, 16].contains(i)) {
            assert_eq!(text.matches(&format!("{:x}", 0xa0 + i)).count(), 1, "word {i} in\n{text}");
        }
    }
}
