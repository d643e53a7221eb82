//! History: the last lines that were entered.
//!
//! Invariants: no entry is empty, no two neighbours are equal, the oldest gives way to the newest.
//! Called by: `line`.

use crate::buffer::{CAPACITY, ascii};

/// How many lines are remembered.
pub const NR_LINES: usize = 32;

/// A ring of lines. About 8 KiB: keep it in a static or on the heap rather than on a small stack.
pub struct History {
    lines: [[u8; CAPACITY]; NR_LINES],
    lens: [u16; NR_LINES],
    /// Where the next line goes.
    next: usize,
    nr_lines: usize,
}

impl History {
    /// A history without lines.
    pub const fn new() -> History {
        History { lines: [[0; CAPACITY]; NR_LINES], lens: [0; NR_LINES], next: 0, nr_lines: 0 }
    }

    /// The number of lines that can be recalled.
    pub fn len(&self) -> usize {
        self.nr_lines
    }

    /// Whether there is nothing to recall.
    pub fn is_empty(&self) -> bool {
        self.nr_lines == 0
    }

    /// The line that was entered `back` lines ago; 1 is the newest.
    pub fn get(&self, back: usize) -> Option<&str> {
        if back == 0 || back > self.nr_lines {
            return None;
        }
        let slot = (self.next + NR_LINES - back) % NR_LINES;
        Some(ascii(&self.lines[slot][..usize::from(self.lens[slot])]))
    }

    /// Remembers `line`, unless it is blank, repeats the newest one or is longer than a line can be.
    pub fn push(&mut self, line: &str) {
        if line.trim().is_empty() || line.len() > CAPACITY || self.get(1) == Some(line) {
            return;
        }
        self.lines[self.next][..line.len()].copy_from_slice(line.as_bytes());
        self.lens[self.next] = line.len() as u16;
        self.next = (self.next + 1) % NR_LINES;
        self.nr_lines = (self.nr_lines + 1).min(NR_LINES);
    }
}

impl Default for History {
    fn default() -> History {
        History::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blank_and_repeated_lines_are_not_kept() {
        let mut history = History::new();
        for line in ["", "mem", "mem", "  ", "cpus", "mem"] {
            history.push(line);
        }
        assert_eq!(history.len(), 3);
        assert_eq!([history.get(1), history.get(2), history.get(3)], [Some("mem"), Some("cpus"), Some("mem")]);
        assert_eq!([history.get(0), history.get(4)], [None, None]);
    }

    proptest! {
        #[test]
        fn recalls_what_a_list_would(lines in proptest::collection::vec("[a-c]{0,3}", 0..120)) {
            let mut history = History::new();
            let mut model: Vec<&str> = Vec::new();
            for line in &lines {
                history.push(line);
                if !line.is_empty() && model.last() != Some(&line.as_str()) {
                    model.push(line);
                }
            }
            prop_assert_eq!(history.len(), model.len().min(NR_LINES));
            for back in 1..=history.len() {
                prop_assert_eq!(history.get(back), Some(model[model.len() - back]));
            }
        }
    }
}
