//! The line editor of the serial console: a state machine, byte in, event out.
//!
//! It composes the layers below it: `keys` reads the terminal, `buffer` holds the text, `history` the lines before it,
//! and `view` sends what changes on the screen. It works on a dumb terminal, in a pipe and with pasted text: a line is
//! handed out at each line end whatever comes how fast, and bytes that were not fed yet stay with the caller.
//!
//! A line that had to drop characters because it grew too long is never handed out as if it were whole: `stress 10m`
//! cut to `stress 1` would be another command. Enter answers [`Event::TooLong`] then, unless the line was edited since.
//!
//! Called by: the shell, on the CPU that owns the console.

use crate::buffer::{Buffer, CAPACITY};
use crate::history::History;
use crate::keys::{Decoder, Key};
use crate::view::{Sink, View, repeat};

/// Lists what the word before the cursor may become. It is given the command's text before that word (from the last
/// `;` on, without blanks around it; empty when the word is the command's name), the word so far, and a function that
/// takes each candidate, a whole word. Candidates that do not start with the word are passed over, so all may be named.
pub type Completer<'c> = dyn Fn(&str, &str, &mut dyn FnMut(&str)) + 'c;

/// What a byte brought about.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing that the caller must act on.
    None,
    /// A line was entered; it may be blank. Run it, then call [`Editor::start`] for the next prompt.
    Line(&'a str),
    /// The line ended while characters were missing from it: say so, run nothing, call [`Editor::start`].
    TooLong,
    /// Ctrl-C: the line was dropped. Call [`Editor::start`].
    Interrupt,
    /// Ctrl-D on an empty line: the user or the pipe has no more input.
    EndOfInput,
}

/// The editor. About 9 KiB: keep it in a static or on the heap rather than on a small stack.
pub struct Editor {
    keys: Decoder,
    text: Buffer,
    view: View,
    history: History,
    /// Which line of the history is being edited; 0 is the new one.
    recalled: usize,
    /// The new line, kept while an older one is being edited.
    draft: Buffer,
    /// Whether characters were dropped since the last edit.
    is_cut: bool,
    /// Whether the line was handed out and `start` was not called yet.
    is_over: bool,
}

impl Editor {
    /// An editor for a terminal that is `columns` wide (80 if nothing is known).
    pub const fn new(columns: usize) -> Editor {
        Editor {
            keys: Decoder::new(),
            text: Buffer::new(),
            view: View::new(columns),
            history: History::new(),
            recalled: 0,
            draft: Buffer::new(),
            is_cut: false,
            is_over: false,
        }
    }

    /// Begins a new line with `prompt`. The terminal's cursor must stand at the start of a line.
    pub fn start(&mut self, prompt: &str, out: &mut Sink<'_>) {
        self.forget_line();
        self.view.start(prompt, out);
    }

    /// The text as it stands.
    pub fn text(&self) -> &str {
        self.text.as_str()
    }

    /// The cursor's place in the text, in characters.
    pub fn cursor(&self) -> usize {
        self.text.cursor()
    }

    /// The lines entered so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Takes the input line off the screen so that a message can be printed. Follow it with [`Editor::restore`].
    pub fn hide(&mut self, out: &mut Sink<'_>) {
        self.view.hide(out);
    }

    /// Brings prompt and text back, on an empty line.
    pub fn restore(&mut self, out: &mut Sink<'_>) {
        self.view.again(out);
        self.show(out);
    }

    /// Takes one byte from the terminal. What the screen needs goes to `out`.
    pub fn input<'a>(&'a mut self, byte: u8, complete: &Completer<'_>, out: &mut Sink<'_>) -> Event<'a> {
        if self.is_over {
            self.forget_line();
        }
        let Some(key) = self.keys.feed(byte) else { return Event::None };
        self.press(key, complete, out)
    }

    fn press<'a>(&'a mut self, key: Key, complete: &Completer<'_>, out: &mut Sink<'_>) -> Event<'a> {
        let cursor = self.text.cursor();
        match key {
            Key::Char(byte) => {
                if !self.text.insert(&[byte]) && !core::mem::replace(&mut self.is_cut, true) {
                    out(b"\x07");
                }
                self.show(out);
                return Event::None;
            }
            Key::Enter => return self.enter(out),
            Key::Interrupt => {
                self.view.leave(b"^C", out);
                self.is_over = true;
                return Event::Interrupt;
            }
            Key::EndOfInput if self.text.is_empty() => return Event::EndOfInput,
            Key::EndOfInput | Key::Delete => self.text.remove(cursor..cursor + 1),
            Key::Backspace => self.text.remove(cursor.saturating_sub(1)..cursor),
            Key::KillToEnd => self.text.remove(cursor..CAPACITY),
            Key::KillToStart => self.text.remove(0..cursor),
            Key::KillWord => self.text.remove(self.text.word_left()..cursor),
            Key::Left => self.text.move_to(cursor.saturating_sub(1)),
            Key::Right => self.text.move_to(cursor + 1),
            Key::Home => self.text.move_to(0),
            Key::End => self.text.move_to(CAPACITY),
            Key::WordLeft => self.text.move_to(self.text.word_left()),
            Key::WordRight => self.text.move_to(self.text.word_right()),
            Key::Up => self.recall(self.recalled + 1),
            Key::Down => self.recall(self.recalled.saturating_sub(1)),
            Key::Complete => self.complete(complete, out),
            Key::ClearScreen => {
                out(b"\x1b[H\x1b[2J");
                self.view.again(out);
            }
        }
        self.is_cut = false;
        self.show(out);
        Event::None
    }

    fn enter<'a>(&'a mut self, out: &mut Sink<'_>) -> Event<'a> {
        self.view.leave(b"", out);
        self.is_over = true;
        if self.is_cut {
            return Event::TooLong;
        }
        self.history.push(self.text.as_str());
        Event::Line(self.text.as_str())
    }

    fn forget_line(&mut self) {
        self.text.set("");
        self.recalled = 0;
        self.is_cut = false;
        self.is_over = false;
    }

    fn show(&mut self, out: &mut Sink<'_>) {
        self.view.show(self.text.bytes(), self.text.cursor(), out);
    }

    /// Edits a copy of the line entered `back` lines ago. What was changed in another recalled line is forgotten, the
    /// new line is not.
    fn recall(&mut self, back: usize) {
        if back == self.recalled {
            return;
        }
        if back == 0 {
            self.text = self.draft.clone();
        } else if let Some(line) = self.history.get(back) {
            if self.recalled == 0 {
                self.draft = self.text.clone();
            }
            self.text.set(line);
        } else {
            return;
        }
        self.recalled = back;
    }

    /// Extends the word before the cursor as far as all candidates agree; lists them when they agree no further.
    fn complete(&mut self, complete: &Completer<'_>, out: &mut Sink<'_>) {
        let before = self.text.before_cursor();
        let (head, word) = command_and_word(before);
        let mut common = Buffer::new();
        let mut nr_candidates = 0usize;
        complete(head, word, &mut |candidate| {
            if is_candidate(candidate, word) {
                if nr_candidates == 0 {
                    common.set(candidate);
                } else {
                    let agreed = common.bytes().iter().zip(candidate.bytes()).take_while(|(a, b)| **a == *b).count();
                    common.remove(agreed..CAPACITY);
                }
                nr_candidates += 1;
            }
        });
        let word_len = word.len();
        let is_whole = nr_candidates == 1;
        if is_whole && self.text.is_at_end() && !common.bytes().ends_with(b"=") {
            common.insert(b" ");
        }
        let added = common.bytes().get(word_len..).unwrap_or_default();
        let cursor = self.text.cursor();
        if !added.is_empty() && self.text.bytes()[cursor..].starts_with(added) {
            // In the middle of a word that is complete already.
            self.text.move_to(cursor + added.len());
        } else if nr_candidates == 0 || !self.text.insert(added) {
            out(b"\x07");
        } else if added.is_empty() && !is_whole {
            self.list(complete, out);
        }
    }

    /// Prints the candidates below the line and begins the line anew.
    fn list(&mut self, complete: &Completer<'_>, out: &mut Sink<'_>) {
        self.view.leave(b"", out);
        let (head, word) = command_and_word(self.text.before_cursor());
        let columns = self.view.columns();
        let mut column = 0;
        complete(head, word, &mut |candidate| {
            if !is_candidate(candidate, word) {
                return;
            }
            if column > 0 {
                if column + 2 + candidate.len() < columns {
                    repeat(b' ', 2, out);
                    column += 2;
                } else {
                    out(b"\r\n");
                    column = 0;
                }
            }
            out(candidate.as_bytes());
            column += candidate.len();
        });
        out(b"\r\n");
        self.view.again(out);
    }
}

/// Whether `candidate` continues `word` and could stand in a line at all.
fn is_candidate(candidate: &str, word: &str) -> bool {
    candidate.len() <= CAPACITY
        && candidate.starts_with(word)
        && candidate.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
}

/// Splits what stands before the cursor into the current command without its last word, and that word.
fn command_and_word(before: &str) -> (&str, &str) {
    let command = before.rsplit(';').next().unwrap_or_default();
    let word_start = command.rfind(' ').map_or(0, |blank| blank + 1);
    let (head, word) = command.split_at(word_start);
    (head.trim(), word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_completion(_: &str, _: &str, _: &mut dyn FnMut(&str)) {}

    fn commands(head: &str, _: &str, offer: &mut dyn FnMut(&str)) {
        let name = crate::words::split_name(head).map_or("", |(name, _)| name);
        let words: &[&str] = match name {
            "" => &["mem", "replay", "reboot", "stress", "é"],
            "stress" => &["seed=", "cpus="],
            "replay" => &["fork-exec.kmt", "fork-exec-small.kmt"],
            _ => &[],
        };
        words.iter().for_each(|word| offer(word));
    }

    /// Feeds `bytes` and returns the events that matter, as text, with what the terminal was sent.
    fn run(editor: &mut Editor, bytes: &[u8]) -> (Vec<String>, String) {
        let mut sent = Vec::new();
        let mut events = Vec::new();
        for &byte in bytes {
            match editor.input(byte, &commands, &mut |out| sent.extend_from_slice(out)) {
                Event::None => {}
                Event::Line(line) => events.push(line.to_string()),
                other => events.push(format!("{other:?}")),
            }
        }
        (events, String::from_utf8(sent).expect("the editor sends ASCII"))
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        run(&mut Editor::new(80), bytes).0
    }

    #[test]
    fn pasted_lines_come_out_one_by_one() {
        assert_eq!(lines(b"mem\r\ncpus\rslabs\n\nquit\r"), ["mem", "cpus", "slabs", "", "quit"]);
    }

    #[test]
    fn editing_keys_edit() {
        assert_eq!(lines(b"stess\x1b[D\x1b[D\x1b[Dr\r"), ["stress"]);
        assert_eq!(lines(b"xmem\x01\x04\r"), ["mem"]);
        assert_eq!(lines(b"mem quit\x17cpus\r"), ["mem cpus"]);
        assert_eq!(lines(b"mem quit\x15cpus\r"), ["cpus"]);
        assert_eq!(lines(b"mem quit\x1b[H\x1b[C\x1b[C\x1b[C\x0b\r"), ["mem"]);
        assert_eq!(lines(b"memx\x7f\r"), ["mem"]);
        assert_eq!(lines(b"\x7f\x1b[3~\x1b[D\x1b[Cmem\x1b[C\r"), ["mem"]);
    }

    #[test]
    fn interrupt_drops_the_line_and_end_of_input_needs_an_empty_one() {
        assert_eq!(lines(b"stress\x03mem\r"), ["Interrupt", "mem"]);
        assert_eq!(lines(b"\x04"), ["EndOfInput"]);
        assert_eq!(lines(b"m\x04\r"), ["m"]);
    }

    #[test]
    fn history_is_recalled_edited_and_left_again() {
        let mut editor = Editor::new(80);
        run(&mut editor, b"mem\rcpus\rcpus\r");
        assert_eq!(run(&mut editor, b"dra\x1b[A\x1b[A\x1b[A;quit\r").0, ["mem;quit"]);
        assert_eq!(run(&mut editor, b"\x10\x10\x10\r").0, ["mem"], "the recalled line itself is unchanged");
        assert_eq!(run(&mut editor, b"dra\x1b[A\x1b[A\x1b[B\x1b[B\x1b[Bft\r").0, ["draft"]);
    }

    #[test]
    fn a_line_that_lost_characters_is_not_run() {
        let mut editor = Editor::new(80);
        let (events, sent) = run(&mut editor, &[&[b'x'; CAPACITY + 50][..], b"\r"].concat());
        assert_eq!(events, ["TooLong"]);
        assert_eq!(sent.matches('\x07').count(), 1, "one bell for one paste");
        let (events, _) = run(&mut editor, &[&[b'y'; CAPACITY + 1][..], b"\x7f\r"].concat());
        assert_eq!(events, ["y".repeat(CAPACITY - 1)], "an edit means that the user has seen it");
        assert_eq!(run(&mut editor, &[&[b'z'; CAPACITY][..], b"\r"].concat()).0, ["z".repeat(CAPACITY)]);
    }

    #[test]
    fn completion_extends_to_the_common_prefix_then_lists() {
        let mut editor = Editor::new(80);
        editor.start("> ", &mut |_| ());
        assert_eq!(run(&mut editor, b"re\t").1, "re\r\nreplay  reboot\r\n> re");
        assert_eq!(run(&mut editor, b"p\t").1, "play ");
        assert_eq!(run(&mut editor, b"f\t").1, "fork-exec");
        assert_eq!(run(&mut editor, b"\t").1, "\r\nfork-exec.kmt  fork-exec-small.kmt\r\n> replay fork-exec");
        assert_eq!(run(&mut editor, b"-\t\r").0, ["replay fork-exec-small.kmt "]);
    }

    #[test]
    fn completion_knows_the_command_it_is_in() {
        assert_eq!(lines(b"mem;  st\t se\t7\r"), ["mem;  stress  seed=7"]);
        assert_eq!(lines(b"st\tse\t7 c\t2\r"), ["stress seed=7 cpus=2"]);
        assert_eq!(lines(b"em 5\x01m\t\r"), ["mem 5"], "nothing is doubled in the middle of a line");
    }

    #[test]
    fn a_failed_completion_rings() {
        let mut editor = Editor::new(80);
        assert_eq!(run(&mut editor, b"zz\t").1, "zz\x07");
        let full = "m".repeat(CAPACITY - 2) + " m";
        let mut editor = Editor::new(160);
        run(&mut editor, full.as_bytes());
        let mut sent = Vec::new();
        let offer = |_: &str, _: &str, offer: &mut dyn FnMut(&str)| offer("much-too-long");
        editor.input(b'\t', &offer, &mut |out| sent.extend_from_slice(out));
        assert_eq!((sent, editor.text()), (vec![7], full.as_str()));
    }

    #[test]
    fn a_message_can_be_printed_above_the_line() {
        let mut editor = Editor::new(80);
        editor.start("> ", &mut |_| ());
        run(&mut editor, b"mem\x1b[D");
        let mut sent = Vec::new();
        editor.hide(&mut |out| sent.extend_from_slice(out));
        editor.restore(&mut |out| sent.extend_from_slice(out));
        assert_eq!(sent, b"\r     \r> mem\x08");
    }

    #[test]
    fn an_editor_whose_caller_forgets_to_start_goes_on() {
        let mut editor = Editor::new(80);
        assert_eq!(editor.input(b'\r', &no_completion, &mut |_| ()), Event::Line(""));
        assert_eq!(run(&mut editor, b"a\r").0, ["a"]);
        assert_eq!(run(&mut editor, b"b\r").0, ["b"]);
    }
}
