//! What the terminal shows of the input line, and the bytes that change it into what it should show.
//!
//! The view remembers every character that it has put on the terminal's line and where the cursor stands. After each
//! key it compares that with the text and sends the difference: one byte for a typed character, `BS SP BS` for a
//! backspace. It uses printable characters, CR, LF, BS and BEL alone, which every terminal has; only Ctrl-L, which
//! asks for a cleared screen, sends an escape sequence.
//!
//! A line that is wider than the terminal scrolls sideways, half a screen at a time, with `<` and `>` where it goes on:
//! no terminal goes back over a line break with a BS. So the last column is never written.
//!
//! Invariants: `prompt_len + cells() < columns`; what `shown` holds is on the terminal, if nobody else writes there
//! between `start` and the end of the line (see [`View::hide`]).
//!
//! Called by: `line`.

/// The widest terminal that is used fully.
pub const COLUMNS_MAX: usize = 160;
/// The narrowest terminal that is believed in.
pub const COLUMNS_MIN: usize = 24;
/// The longest prompt, in characters.
pub const PROMPT_MAX: usize = 32;

/// Where bytes for the terminal go.
pub type Sink<'s> = dyn FnMut(&[u8]) + 's;

/// One line of a terminal.
pub struct View {
    columns: usize,
    prompt: [u8; PROMPT_MAX],
    prompt_len: usize,
    shown: [u8; COLUMNS_MAX],
    shown_len: usize,
    /// The terminal's cursor, counted from the end of the prompt.
    column: usize,
    /// The first character of the text that is shown.
    left: usize,
}

impl View {
    /// A view of a terminal that is `columns` wide, cut to what is supported.
    pub const fn new(columns: usize) -> View {
        let columns = if columns < COLUMNS_MIN {
            COLUMNS_MIN
        } else if columns > COLUMNS_MAX {
            COLUMNS_MAX
        } else {
            columns
        };
        View {
            columns,
            prompt: [0; PROMPT_MAX],
            prompt_len: 0,
            shown: [0; COLUMNS_MAX],
            shown_len: 0,
            column: 0,
            left: 0,
        }
    }

    /// The width that is used, in characters.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Prints `prompt` on the terminal's line, which must be empty. A prompt is cut to a third of the width.
    pub fn start(&mut self, prompt: &str, out: &mut Sink<'_>) {
        let longest = PROMPT_MAX.min(self.columns / 3);
        self.prompt_len = 0;
        for byte in prompt.bytes().take(longest) {
            self.prompt[self.prompt_len] = if (0x20..=0x7e).contains(&byte) { byte } else { b'?' };
            self.prompt_len += 1;
        }
        self.print_prompt(out);
    }

    fn print_prompt(&mut self, out: &mut Sink<'_>) {
        out(&self.prompt[..self.prompt_len]);
        self.shown_len = 0;
        self.column = 0;
        self.left = 0;
    }

    /// Changes the terminal's line so that it shows `text` (printable ASCII) with the cursor at `cursor`.
    pub fn show(&mut self, text: &[u8], cursor: usize, out: &mut Sink<'_>) {
        self.scroll(text.len(), cursor);
        let mut wanted = [0; COLUMNS_MAX];
        let wanted_len = self.cells_of(text, &mut wanted);
        let wanted = &wanted[..wanted_len];

        let common = wanted_len.min(self.shown_len);
        let first = (0..common).find(|&i| wanted[i] != self.shown[i]).unwrap_or(common);
        let end = if wanted_len > common {
            wanted_len
        } else {
            (first..common).rfind(|&i| wanted[i] != self.shown[i]).map_or(first, |last| last + 1)
        };
        if first < end {
            self.move_to(first, out);
            out(&wanted[first..end]);
            self.shown[first..end].copy_from_slice(&wanted[first..end]);
            self.column = end;
        }
        if self.shown_len > wanted_len {
            self.move_to(wanted_len, out);
            repeat(b' ', self.shown_len - wanted_len, out);
            self.column = self.shown_len;
        }
        self.shown_len = wanted_len;
        self.move_to(cursor - self.left, out);
    }

    /// Ends the terminal's line behind what is shown, after printing `mark` where there is room for it.
    pub fn leave(&mut self, mark: &[u8], out: &mut Sink<'_>) {
        self.move_to(self.shown_len, out);
        if self.shown_len + mark.len() <= self.cells() {
            out(mark);
        }
        out(b"\r\n");
        self.shown_len = 0;
        self.column = 0;
        self.left = 0;
    }

    /// Blanks the terminal's line, prompt and all, so that something else can be printed there. `again` brings the
    /// prompt back.
    pub fn hide(&mut self, out: &mut Sink<'_>) {
        out(b"\r");
        repeat(b' ', self.prompt_len + self.shown_len, out);
        out(b"\r");
    }

    /// Prints the prompt of `start` once more, on an empty line.
    pub fn again(&mut self, out: &mut Sink<'_>) {
        self.print_prompt(out);
    }

    /// How many characters of text have room behind the prompt, the cursor's cell included.
    fn cells(&self) -> usize {
        self.columns - 1 - self.prompt_len
    }

    /// Chooses the first character to show, so that the cursor's cell is in view and not under a `<` or `>`.
    fn scroll(&mut self, len: usize, cursor: usize) {
        let cells = self.cells();
        if len < cells {
            self.left = 0;
            return;
        }
        let first = if self.left == 0 { 0 } else { self.left + 1 };
        if cursor < first || cursor > self.left + cells - 2 {
            self.left = cursor.saturating_sub(cells / 2);
        }
    }

    /// Fills `cells` with what the terminal should show of `text`, and returns how many there are.
    fn cells_of(&self, text: &[u8], cells: &mut [u8; COLUMNS_MAX]) -> usize {
        let rest = &text[self.left.min(text.len())..];
        let len = rest.len().min(self.cells());
        cells[..len].copy_from_slice(&rest[..len]);
        if self.left > 0 && len > 0 {
            cells[0] = b'<';
        }
        if rest.len() > len {
            cells[len - 1] = b'>';
        }
        len
    }

    /// Moves the terminal's cursor: to the left with BS, to the right by printing what is there.
    fn move_to(&mut self, column: usize, out: &mut Sink<'_>) {
        if column < self.column {
            repeat(0x08, self.column - column, out);
        } else {
            out(&self.shown[self.column..column]);
        }
        self.column = column;
    }
}

/// Sends `count` times `byte`.
pub(crate) fn repeat(byte: u8, mut count: usize, out: &mut Sink<'_>) {
    let chunk = [byte; 32];
    while count > 0 {
        let len = count.min(chunk.len());
        out(&chunk[..len]);
        count -= len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(view: &mut View, text: &str, cursor: usize) -> String {
        let mut bytes = Vec::new();
        view.show(text.as_bytes(), cursor, &mut |out| bytes.extend_from_slice(out));
        String::from_utf8(bytes).expect("the view sends ASCII")
    }

    #[test]
    fn sends_only_what_differs() {
        let mut view = View::new(80);
        view.start("> ", &mut |_| ());
        assert_eq!(sent(&mut view, "mem", 3), "mem");
        assert_eq!(sent(&mut view, "mems", 4), "s");
        assert_eq!(sent(&mut view, "mem", 3), "\x08 \x08");
        assert_eq!(sent(&mut view, "mem", 0), "\x08\x08\x08");
        assert_eq!(sent(&mut view, "mem", 2), "me");
        assert_eq!(sent(&mut view, "mxem", 2), "\x08xem\x08\x08");
        assert_eq!(sent(&mut view, "mxem", 2), "");
    }

    #[test]
    fn a_wide_line_scrolls_and_says_so() {
        let mut view = View::new(24);
        view.start("> ", &mut |_| ());
        let text = "abcdefghijklmnopqrstuvwxyz0123456789";
        assert_eq!(sent(&mut view, text, 0), "abcdefghijklmnopqrst>\x08".to_string() + &"\x08".repeat(20));
        let end = sent(&mut view, text, text.len());
        assert!(end.ends_with("<rstuvwxyz") || end.contains('<'), "{end:?}");
        assert!(!end.contains('>'), "{end:?}");
    }

    #[test]
    fn a_hostile_prompt_is_cut_and_cleaned() {
        let mut view = View::new(0);
        let mut bytes = Vec::new();
        view.start("\x1b[2J a very long prompt indeed", &mut |out| bytes.extend_from_slice(out));
        assert_eq!(bytes, b"?[2J a v");
        assert_eq!(sent(&mut view, "x", 1), "x");
    }
}
