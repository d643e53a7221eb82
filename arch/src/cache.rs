//! Cache lines: writing them back to memory, so that a later read comes from there.
//!
//! CLFLUSH exists on every CPU with SSE2, so on every 64-bit one that is made; CLFLUSHOPT does the same to many lines at a
//! time. (Intel SDM vol. 2, "CLFLUSH", "CLFLUSHOPT".) Called by: the kernel's test of memory.

use core::arch::asm;
use core::fmt;

/// CPUID said that lines can be flushed, and how long they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineFlush {
    line_bytes: usize,
    is_optimised: bool,
}

impl LineFlush {
    /// From CPUID leaf 1, EBX bits 8 to 15 (in units of 8 bytes), and leaf 7, EBX bit 23.
    pub(crate) fn proven(line_in_eights: u8, is_optimised: bool) -> Option<Self> {
        let line_bytes = usize::from(line_in_eights) * 8;
        line_bytes.is_power_of_two().then_some(Self { line_bytes, is_optimised })
    }

    /// Writes the lines of `nr_bytes` bytes from `start` on back to memory, and drops them from all CPUs' caches. When it
    /// returns that is done.
    ///
    /// # Safety
    /// The bytes are mapped and readable.
    pub unsafe fn flush(self, start: *const u8, nr_bytes: usize) {
        let end = start.addr() + nr_bytes;
        let mut line = start.addr() & !(self.line_bytes - 1);
        while line < end {
            // SAFETY: a line with at least one of the caller's bytes, and the instruction exists: CPUID said so.
            unsafe {
                if self.is_optimised {
                    asm!("clflushopt [{}]", in(reg) line, options(nostack, preserves_flags));
                } else {
                    asm!("clflush [{}]", in(reg) line, options(nostack, preserves_flags));
                }
            }
            line += self.line_bytes;
        }
        // SAFETY: every 64-bit CPU has MFENCE, which waits for both of them.
        unsafe { asm!("mfence", options(nostack, preserves_flags)) };
    }
}

impl fmt::Display for LineFlush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.is_optimised { "CLFLUSHOPT" } else { "CLFLUSH" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_no_length_is_no_proof() {
        assert_eq!(LineFlush::proven(0, true), None);
        assert_eq!(LineFlush::proven(3, false), None);
        assert_eq!(LineFlush::proven(8, false), Some(LineFlush { line_bytes: 64, is_optimised: false }));
    }

    #[test]
    fn what_was_written_is_still_there_afterwards() {
        let numbers: [u64; 100] = core::array::from_fn(|n| n as u64);
        let flush = LineFlush::proven(8, false).expect("64 bytes");
        // SAFETY: an array of ours.
        unsafe { flush.flush(numbers.as_ptr().cast(), size_of_val(&numbers)) };
        assert!(numbers.iter().enumerate().all(|(n, &found)| found == n as u64));
    }
}
