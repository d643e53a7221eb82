//! A model of the line editor and of a terminal, to hold the editor against.
//!
//! The terminal knows what every terminal knows (printable characters, CR, LF, BS, BEL, a cleared screen) and insists
//! that its last column is never written. The naive editor is a vector and a list of lines.

use crate::buffer::CAPACITY;
use crate::line::{Editor, Event};
use proptest::prelude::*;

const PROMPT: &str = "[3]> ";

/// One line of a terminal; a line feed begins an empty one.
struct Terminal {
    columns: usize,
    row: Vec<u8>,
    column: usize,
    escape: Vec<u8>,
}

impl Terminal {
    fn new(columns: usize) -> Terminal {
        Terminal { columns, row: vec![b' '; columns], column: 0, escape: Vec::new() }
    }

    fn receive(&mut self, byte: u8) {
        if !self.escape.is_empty() || byte == 0x1b {
            self.escape.push(byte);
            match &self.escape[..] {
                b"\x1b[H" => self.column = 0,
                b"\x1b[2J" => self.row.fill(b' '),
                _ => {
                    assert!(self.escape.len() < 4, "unknown sequence {:?}", self.escape);
                    return;
                }
            }
            self.escape.clear();
            return;
        }
        match byte {
            0x08 => self.column = self.column.checked_sub(1).expect("a BS in the first column"),
            b'\r' => self.column = 0,
            b'\n' => self.row.fill(b' '),
            0x07 => {}
            0x20..=0x7e => {
                assert!(self.column + 1 < self.columns, "the last column was written");
                self.row[self.column] = byte;
                self.column += 1;
            }
            _ => panic!("the terminal was sent {byte:#x}"),
        }
    }

    fn row(&self) -> &str {
        core::str::from_utf8(&self.row).expect("only ASCII is received").trim_end()
    }
}

/// The editor with a terminal on its other side.
struct Session {
    editor: Editor,
    terminal: Terminal,
}

fn candidates(head: &str, _: &str, offer: &mut dyn FnMut(&str)) {
    let words: &[&str] = if head.is_empty() { &["aa", "aab", "abba", "b"] } else { &["aa=", "bbbbbbbb", "b;b"] };
    words.iter().for_each(|word| offer(word));
}

impl Session {
    fn new(columns: usize) -> Session {
        let mut session = Session { editor: Editor::new(columns), terminal: Terminal::new(columns) };
        session.start();
        session
    }

    fn start(&mut self) {
        let terminal = &mut self.terminal;
        self.editor.start(PROMPT, &mut |out| out.iter().for_each(|&byte| terminal.receive(byte)));
    }

    /// Feeds a byte; a line that ends is returned and a new prompt begins.
    fn feed(&mut self, byte: u8) -> Option<String> {
        let terminal = &mut self.terminal;
        let mut out = |bytes: &[u8]| bytes.iter().for_each(|&byte| terminal.receive(byte));
        let line = match self.editor.input(byte, &candidates, &mut out) {
            Event::None | Event::EndOfInput => return None,
            Event::Line(line) => Some(line.to_string()),
            Event::TooLong | Event::Interrupt => None,
        };
        self.start();
        line
    }

    /// Holds the terminal's line against the editor's text: each cell shows its character, or says that there is more.
    fn check(&self) {
        let (text, cursor) = (self.editor.text(), self.editor.cursor());
        let row = &self.terminal.row;
        assert_eq!(core::str::from_utf8(&row[..PROMPT.len()]), Ok(PROMPT));
        let left = (cursor + PROMPT.len()).checked_sub(self.terminal.column).expect("a cursor left of the text");
        let cells = self.terminal.columns - 1 - PROMPT.len();
        if text.len() < cells {
            assert_eq!(left, 0, "a line that fits is not scrolled");
        }
        for cell in 0..=cells {
            let wanted = text.as_bytes().get(left + cell).copied().unwrap_or(b' ');
            let has_more_left = cell == 0 && left > 0;
            let has_more_right = cell == cells - 1 && left + cells < text.len();
            let wanted = match () {
                () if cell == cells => b' ',
                () if has_more_left => b'<',
                () if has_more_right => b'>',
                () => wanted,
            };
            assert_eq!(row[PROMPT.len() + cell], wanted, "cell {cell} of {text:?} scrolled by {left}");
            assert!(left + cell != cursor || !(has_more_left || has_more_right), "the cursor is under a mark");
        }
    }
}

/// An editor as one would write it without a terminal.
#[derive(Default)]
struct Naive {
    text: Vec<u8>,
    cursor: usize,
    lines: Vec<Vec<u8>>,
    recalled: usize,
    draft: (Vec<u8>, usize),
}

impl Naive {
    /// Does what `op` asks and returns a line that was entered.
    fn apply(&mut self, op: &Op) -> Option<String> {
        let cursor = self.cursor;
        match *op {
            Op::Type(c) => {
                if self.text.len() < CAPACITY {
                    self.text.insert(cursor, c);
                    self.cursor += 1;
                }
            }
            Op::Backspace => {
                if cursor > 0 {
                    self.text.remove(cursor - 1);
                    self.cursor -= 1;
                }
            }
            Op::Delete => {
                if cursor < self.text.len() {
                    self.text.remove(cursor);
                }
            }
            Op::Left => self.cursor = cursor.saturating_sub(1),
            Op::Right => self.cursor = (cursor + 1).min(self.text.len()),
            Op::Home => self.cursor = 0,
            Op::End => self.cursor = self.text.len(),
            Op::KillToEnd => self.text.truncate(cursor),
            Op::KillToStart => {
                self.text.drain(..cursor);
                self.cursor = 0;
            }
            Op::KillWord => {
                while self.cursor > 0 && self.text[self.cursor - 1] == b' ' {
                    self.apply(&Op::Backspace);
                }
                while self.cursor > 0 && self.text[self.cursor - 1] != b' ' {
                    self.apply(&Op::Backspace);
                }
            }
            Op::Up => self.recall(self.recalled + 1),
            Op::Down if self.recalled > 0 => self.recall(self.recalled - 1),
            Op::Down | Op::Redraw => {}
            Op::Interrupt => self.begin(),
            Op::Enter => {
                let line = self.text.clone();
                if line.iter().any(|&c| c != b' ') && self.lines.last() != Some(&line) {
                    self.lines.push(line.clone());
                }
                self.begin();
                return String::from_utf8(line).ok();
            }
        }
        None
    }

    fn begin(&mut self) {
        self.text.clear();
        self.cursor = 0;
        self.recalled = 0;
    }

    fn recall(&mut self, back: usize) {
        if back > self.lines.len().min(crate::history::NR_LINES) {
            return;
        }
        if self.recalled == 0 {
            self.draft = (self.text.clone(), self.cursor);
        }
        (self.text, self.cursor) = match back {
            0 => self.draft.clone(),
            _ => {
                let line = self.lines[self.lines.len() - back].clone();
                (line.clone(), line.len())
            }
        };
        self.recalled = back;
    }
}

#[derive(Clone, Debug)]
enum Op {
    Type(u8),
    Backspace,
    Delete,
    Left,
    Right,
    Home,
    End,
    KillToEnd,
    KillToStart,
    KillWord,
    Up,
    Down,
    Interrupt,
    Redraw,
    Enter,
}

fn op() -> impl Strategy<Value = (Op, Vec<u8>)> {
    let key = |op: Op, spellings: &'static [&'static [u8]]| {
        proptest::sample::select(spellings).prop_map(move |bytes| (op.clone(), bytes.to_vec()))
    };
    prop_oneof![
        20 => prop_oneof![Just(b' '), b'a'..=b'd', 0x20..=0x7eu8].prop_map(|c| (Op::Type(c), vec![c])),
        3 => key(Op::Backspace, &[b"\x7f", b"\x08"]),
        2 => key(Op::Delete, &[b"\x1b[3~"]),
        4 => key(Op::Left, &[b"\x1b[D", b"\x1bOD", b"\x02"]),
        4 => key(Op::Right, &[b"\x1b[C", b"\x1bOC", b"\x06"]),
        1 => key(Op::Home, &[b"\x1b[H", b"\x1bOH", b"\x1b[1~", b"\x01"]),
        1 => key(Op::End, &[b"\x1b[F", b"\x1bOF", b"\x1b[4~", b"\x05"]),
        1 => key(Op::KillToEnd, &[b"\x0b"]),
        1 => key(Op::KillToStart, &[b"\x15"]),
        1 => key(Op::KillWord, &[b"\x17", b"\x1b\x7f"]),
        3 => key(Op::Up, &[b"\x1b[A", b"\x1bOA", b"\x10"]),
        2 => key(Op::Down, &[b"\x1b[B", b"\x1bOB", b"\x0e"]),
        1 => key(Op::Interrupt, &[b"\x03"]),
        1 => key(Op::Redraw, &[b"\x0c"]),
        // An unknown key, or a letter from elsewhere: nothing happens.
        1 => key(Op::Redraw, &[b"\x1b[15~", b"\x1b[[A", b"\xc3\xa9", b"\0"]),
        2 => key(Op::Enter, &[b"\r", b"\n", b"\r\n"]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn edits_like_a_naive_editor_and_shows_it(
        ops in proptest::collection::vec(op(), 0..400),
        columns in prop_oneof![Just(80usize), 24..160usize],
    ) {
        let mut session = Session::new(columns);
        let mut naive = Naive::default();
        let mut after_cr = false;
        for (op, bytes) in &ops {
            let mut entered = None;
            for &byte in bytes {
                entered = entered.or(session.feed(byte));
            }
            // A CR and the LF of the next Enter are one line end.
            let is_joined = after_cr && bytes == b"\n";
            after_cr = bytes == b"\r";
            let wanted = if is_joined { None } else { naive.apply(op) };
            prop_assert_eq!(entered, wanted, "{:?}", op);
            prop_assert_eq!(session.editor.text().as_bytes(), &naive.text[..]);
            prop_assert_eq!(session.editor.cursor(), naive.cursor);
            session.check();
        }
    }

    #[test]
    fn any_bytes_leave_the_screen_true(
        bytes in proptest::collection::vec(
            prop_oneof![
                any::<u8>(),
                Just(b'\t'),
                Just(b'a'),
                proptest::sample::select(b"ab ;=\x1b[OABCDHF13~\r\n".as_slice()),
            ],
            0..600,
        ),
        columns in 24..160usize,
    ) {
        let mut session = Session::new(columns);
        for byte in bytes {
            session.feed(byte);
            session.check();
        }
    }

    #[test]
    fn a_line_of_any_length_is_shown(len in 0..CAPACITY, columns in 24..160usize, moves in 0..CAPACITY) {
        let mut session = Session::new(columns);
        for i in 0..len {
            session.feed(b'a' + (i % 26) as u8);
            session.check();
        }
        for _ in 0..moves {
            session.feed(0x02);
            session.check();
        }
        for _ in 0..moves / 2 {
            session.feed(0x06);
            session.check();
        }
        for _ in 0..len {
            session.feed(0x7f);
            session.check();
        }
    }
}

#[test]
fn a_short_line_is_shown_as_it_is() {
    let mut session = Session::new(80);
    for &byte in b"replay fork-exec\x1b[D\x1b[D\x1b[Dx" {
        session.feed(byte);
    }
    assert_eq!(session.terminal.row(), "[3]> replay fork-exxec");
    assert_eq!(session.terminal.column, PROMPT.len() + 14);
}
