//! The text of one input line and the cursor in it.
//!
//! Invariants: `cursor <= len <= CAPACITY`; every byte below `len` is printable ASCII, so a byte is a character and a
//! column, and the text is valid UTF-8. What does not fit is refused as a whole.
//!
//! Called by: `line`.

use core::ops::Range;

/// The longest line, in bytes.
pub const CAPACITY: usize = 256;

/// A line being edited.
#[derive(Clone)]
pub struct Buffer {
    bytes: [u8; CAPACITY],
    len: usize,
    cursor: usize,
}

impl Buffer {
    /// An empty line.
    pub const fn new() -> Buffer {
        Buffer { bytes: [0; CAPACITY], len: 0, cursor: 0 }
    }

    /// The line's bytes, all of them printable ASCII.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The line.
    pub fn as_str(&self) -> &str {
        ascii(self.bytes())
    }

    /// The part of the line before the cursor.
    pub fn before_cursor(&self) -> &str {
        ascii(&self.bytes[..self.cursor])
    }

    /// Where the next character goes, from 0 to the line's length.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// Whether the line has no characters.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the cursor stands behind the last character.
    pub fn is_at_end(&self) -> bool {
        self.cursor == self.len
    }

    /// Moves the cursor; a place past the end is the end.
    pub fn move_to(&mut self, cursor: usize) {
        self.cursor = cursor.min(self.len);
    }

    /// Inserts `text` at the cursor, which moves behind it. Returns false and changes nothing if the text does not fit
    /// or is not printable ASCII.
    pub fn insert(&mut self, text: &[u8]) -> bool {
        let fits = text.len() <= CAPACITY - self.len;
        if !fits || !text.iter().all(|byte| (0x20..=0x7e).contains(byte)) {
            return false;
        }
        self.bytes.copy_within(self.cursor..self.len, self.cursor + text.len());
        self.bytes[self.cursor..self.cursor + text.len()].copy_from_slice(text);
        self.len += text.len();
        self.cursor += text.len();
        true
    }

    /// Removes the characters in `range`, cut to the line, and leaves the cursor where they were.
    pub fn remove(&mut self, range: Range<usize>) {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        self.bytes.copy_within(end..self.len, start);
        self.len -= end - start;
        self.cursor = start;
    }

    /// Replaces the whole line; the cursor goes to its end. A text that does not fit leaves the line empty.
    pub fn set(&mut self, text: &str) {
        self.len = 0;
        self.cursor = 0;
        self.insert(text.as_bytes());
    }

    /// Where the word before the cursor starts.
    pub fn word_left(&self) -> usize {
        let before = &self.bytes[..self.cursor];
        let word_end = before.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
        before[..word_end].iter().rposition(|&byte| byte == b' ').map_or(0, |blank| blank + 1)
    }

    /// Where the word after the cursor ends.
    pub fn word_right(&self) -> usize {
        let line = self.bytes();
        let start = self.cursor + line[self.cursor..].iter().take_while(|&&byte| byte == b' ').count();
        start + line[start..].iter().take_while(|&&byte| byte != b' ').count()
    }
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer::new()
    }
}

/// `bytes` as text. Only ASCII is ever stored, so the check cannot fail; an empty text is the safe reading if it did.
pub(crate) fn ascii(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, cursor: usize) -> Buffer {
        let mut buffer = Buffer::new();
        buffer.set(text);
        buffer.move_to(cursor);
        buffer
    }

    #[test]
    fn insert_in_the_middle_shifts_the_rest() {
        let mut buffer = with("stess", 2);
        assert!(buffer.insert(b"r"));
        assert_eq!(buffer.as_str(), "stress");
        assert_eq!(buffer.before_cursor(), "str");
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut buffer = Buffer::new();
        assert!(buffer.insert(&[b'x'; CAPACITY - 1]));
        assert!(!buffer.insert(b"ab"));
        assert_eq!(buffer.bytes().len(), CAPACITY - 1);
        assert!(buffer.insert(b"a"));
        assert!(!buffer.insert(b"b"));
        assert!(buffer.as_str().ends_with("xa"));
        assert!(!with("a", 1).insert("é".as_bytes()));
    }

    #[test]
    fn remove_cuts_its_range_to_the_line() {
        let mut buffer = with("mem; quit", 4);
        buffer.remove(3..100);
        assert_eq!((buffer.as_str(), buffer.cursor()), ("mem", 3));
        buffer.remove(7..9);
        assert_eq!((buffer.as_str(), buffer.cursor()), ("mem", 3));
    }

    #[test]
    fn word_motions_stop_at_words() {
        let buffer = with("replay  fork-exec  2", 18);
        assert_eq!(buffer.word_left(), 8);
        assert_eq!(with("replay  fork-exec", 8).word_left(), 0);
        assert_eq!(with("   ", 3).word_left(), 0);
        assert_eq!(buffer.word_right(), 20);
        assert_eq!(with("replay  fork-exec", 6).word_right(), 17);
        assert_eq!(with("  ", 0).word_right(), 2);
    }
}
