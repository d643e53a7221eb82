//! A short text without an allocation: what is written to it, up to its capacity.
//!
//! Text beyond the capacity is dropped, at a character, and the value remembers that it was. Prints with width and
//! alignment, so that what was put together from parts stands in a column as a whole.
//!
//! Called by: `bench`, for cells of its tables and for texts of its records.

use core::fmt::{self, Write};

/// Up to `N` bytes of text.
#[derive(Clone, Copy, Debug)]
pub struct Fixed<const N: usize> {
    bytes: [u8; N],
    len: usize,
    is_cut: bool,
}

impl<const N: usize> Fixed<N> {
    /// Nothing.
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0, is_cut: false }
    }

    /// What `text` prints.
    pub fn of(text: fmt::Arguments<'_>) -> Self {
        let mut fixed = Self::new();
        // Only a value that fails to print itself fails here; what it printed until then is there.
        let _ = fixed.write_fmt(text);
        fixed
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Whole characters were put there.
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    /// Whether something was dropped.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }
}

impl<const N: usize> Default for Fixed<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Write for Fixed<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Ok(());
        }
        let mut taken = text.len().min(N - self.len);
        while !text.is_char_boundary(taken) {
            taken -= 1;
        }
        self.is_cut = taken < text.len();
        self.bytes[self.len..self.len + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.len += taken;
        Ok(())
    }
}

impl<const N: usize> fmt::Display for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_in_a_column_as_a_whole() {
        let name = Fixed::<16>::of(format_args!("{} {}", "pair", 64));
        assert_eq!(format!("{name:<10}|{name:>8}|"), "pair 64   | pair 64|");
        assert!(!name.is_cut());
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character_and_nothing_follows() {
        let mut name = Fixed::<4>::of(format_args!("ab\u{20ac}"));
        assert_eq!((name.as_str(), name.is_cut()), ("ab", true));
        let _ = name.write_str("c");
        assert_eq!(name.as_str(), "ab", "no later part closes up");
        assert_eq!(Fixed::<3>::of(format_args!("abc")).as_str(), "abc");
    }
}
