//! Short names in fixed storage: CPUID's strings, kept after the registers are gone.

use core::fmt;

/// Up to 48 ASCII characters. What is not printable became a `?` on the way in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; Self::CAPACITY],
    len: u8,
}

impl Name {
    /// The brand string is the longest, three leaves of sixteen bytes.
    const CAPACITY: usize = 48;

    pub(super) const fn empty() -> Self {
        Self { bytes: [0; Self::CAPACITY], len: 0 }
    }

    pub(super) fn new(text: &str) -> Self {
        Self::from_bytes(text.bytes())
    }

    /// A name in registers, least significant byte first, ended by a zero byte or the last register.
    pub(super) fn from_registers(registers: &[u32]) -> Self {
        Self::from_bytes(registers.iter().flat_map(|r| r.to_le_bytes()).take_while(|&b| b != 0))
    }

    fn from_bytes(source: impl Iterator<Item = u8>) -> Self {
        let mut name = Self::empty();
        for (slot, byte) in name.bytes.iter_mut().zip(source) {
            *slot = if byte == b' ' || byte.is_ascii_graphic() { byte } else { b'?' };
            name.len += 1;
        }
        name
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Every byte stored is ASCII, so the fallback is never taken; it keeps this total without an unsafe block.
        core::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
