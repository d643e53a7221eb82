//! The error code of a page fault, in words.

use core::fmt;

/// A page fault's error code (SDM vol. 3, "Page-Fault Exceptions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFaultCode(pub u64);

impl PageFaultCode {
    const PRESENT: u64 = 1 << 0;
    const WRITE: u64 = 1 << 1;
    const USER: u64 = 1 << 2;
    const RESERVED: u64 = 1 << 3;
    const FETCH: u64 = 1 << 4;
    const PROTECTION_KEY: u64 = 1 << 5;
    const SHADOW_STACK: u64 = 1 << 6;

    /// The page was mapped, and its rights forbade the access. Else it was not mapped.
    pub const fn is_protection_violation(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    /// The access was a write.
    pub const fn is_write(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    /// The access was an instruction fetch.
    pub const fn is_fetch(self) -> bool {
        self.0 & Self::FETCH != 0
    }

    /// A page-table entry had a reserved bit set: a broken table, not a broken access.
    pub const fn is_reserved_bit(self) -> bool {
        self.0 & Self::RESERVED != 0
    }
}

/// For example `write to a page that is not mapped`.
impl fmt::Display for PageFaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_fetch(), self.is_write()) {
            (true, _) => "instruction fetch from ",
            (false, true) => "write to ",
            (false, false) => "read from ",
        })?;
        f.write_str(match (self.is_reserved_bit(), self.is_protection_violation()) {
            (true, _) => "a page whose tables have a reserved bit set",
            (false, true) if self.is_fetch() => "a page that is no-execute",
            (false, true) if self.is_write() => "a page that is read-only",
            (false, true) => "a page that forbids it",
            (false, false) => "a page that is not mapped",
        })?;
        for (bit, words) in [
            (Self::USER, " (by user mode)"),
            (Self::PROTECTION_KEY, " (protection key)"),
            (Self::SHADOW_STACK, " (shadow stack)"),
        ] {
            if self.0 & bit != 0 {
                f.write_str(words)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_as_sentences() {
        for (code, sentence) in [
            (0, "read from a page that is not mapped"),
            (1, "read from a page that forbids it"),
            (2, "write to a page that is not mapped"),
            (3, "write to a page that is read-only"),
            (0x10, "instruction fetch from a page that is not mapped"),
            (0x11, "instruction fetch from a page that is no-execute"),
            (0x09, "read from a page whose tables have a reserved bit set"),
            (0x07, "write to a page that is read-only (by user mode)"),
            (0x21, "read from a page that forbids it (protection key)"),
        ] {
            assert_eq!(PageFaultCode(code).to_string(), sentence);
        }
    }
}
