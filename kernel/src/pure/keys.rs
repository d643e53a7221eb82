//! Keys: what a terminal's bytes mean.
//!
//! A decoder that turns the bytes of a serial line into keys, one byte at a time. It knows the sequences that xterm,
//! the Linux console, screen and a VT220 send for the keys of a line editor (ECMA-48 section 5.4 for their grammar),
//! and skips those that it does not know as a whole, so that an unknown function key types nothing.
//!
//! Invariants: a control character ends a half-received sequence and is obeyed, so a stray ESC can never swallow Enter
//! or Ctrl-C. CR, LF and CR LF are one Enter each. Bytes outside ASCII are dropped. No byte stream grows any state.
//!
//! Called by: `line`, which runs on the CPU that owns the console.

/// One key press, as far as a line editor cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable ASCII character (0x20 to 0x7e) to insert.
    Char(u8),
    /// CR, LF, or CR LF.
    Enter,
    /// Backspace (BS or DEL).
    Backspace,
    /// The Delete key: the character under the cursor.
    Delete,
    /// One character to the left (also Ctrl-B).
    Left,
    /// One character to the right (also Ctrl-F).
    Right,
    /// The older line (also Ctrl-P).
    Up,
    /// The newer line (also Ctrl-N).
    Down,
    /// The start of the line (also Ctrl-A).
    Home,
    /// The end of the line (also Ctrl-E).
    End,
    /// One word to the left (Ctrl-Left, Alt-B).
    WordLeft,
    /// One word to the right (Ctrl-Right, Alt-F).
    WordRight,
    /// Ctrl-K: delete to the end of the line.
    KillToEnd,
    /// Ctrl-U: delete to the start of the line.
    KillToStart,
    /// Ctrl-W, Alt-Backspace: delete the word before the cursor.
    KillWord,
    /// Ctrl-L: clear the screen.
    ClearScreen,
    /// Tab.
    Complete,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D: end of input on an empty line, Delete elsewhere.
    EndOfInput,
}

#[derive(Clone, Copy)]
enum State {
    Ground,
    /// ESC was received.
    Escape,
    /// ESC [ was received; two parameters are kept, `index` is the one being read.
    Csi {
        params: [u16; 2],
        index: usize,
    },
    /// ESC O was received: one byte follows.
    Ss3,
    /// ESC [ [ was received: a function key of the Linux console, one byte follows.
    LinuxFunction,
}

/// Turns bytes into keys. It remembers at most one unfinished sequence.
pub struct Decoder {
    state: State,
    after_cr: bool,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub const fn new() -> Decoder {
        Decoder { state: State::Ground, after_cr: false }
    }

    /// Takes the next byte and returns the key that it completes, if it completes one.
    pub fn feed(&mut self, byte: u8) -> Option<Key> {
        let after_cr = core::mem::replace(&mut self.after_cr, byte == b'\r');
        if byte == b'\n' && after_cr {
            return None;
        }
        if byte < 0x20 {
            self.state = if byte == 0x1b { State::Escape } else { State::Ground };
            return control(byte);
        }
        match core::mem::replace(&mut self.state, State::Ground) {
            State::Ground => match byte {
                0x20..=0x7e => Some(Key::Char(byte)),
                0x7f => Some(Key::Backspace),
                _ => None,
            },
            State::Escape => match byte {
                b'[' => {
                    self.state = State::Csi { params: [0; 2], index: 0 };
                    None
                }
                b'O' => {
                    self.state = State::Ss3;
                    None
                }
                b'b' | b'B' => Some(Key::WordLeft),
                b'f' | b'F' => Some(Key::WordRight),
                0x7f => Some(Key::KillWord),
                _ => None,
            },
            State::Csi { params, index } => self.csi(byte, params, index),
            State::Ss3 => cursor_key(byte),
            State::LinuxFunction => None,
        }
    }

    /// One byte of a control sequence: a parameter digit, a separator, or the final byte that names the function.
    fn csi(&mut self, byte: u8, mut params: [u16; 2], mut index: usize) -> Option<Key> {
        match byte {
            b'0'..=b'9' => {
                // Parameters after the second are not kept.
                if let Some(param) = params.get_mut(index) {
                    *param = param.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
                }
            }
            b';' => index = index.saturating_add(1),
            // Other parameter bytes and intermediate bytes belong to sequences that no key of ours sends.
            0x20..=0x3f => {}
            b'[' if index == 0 && params[0] == 0 => {
                self.state = State::LinuxFunction;
                return None;
            }
            b'~' => {
                return match params[0] {
                    1 | 7 => Some(Key::Home),
                    3 => Some(Key::Delete),
                    4 | 8 => Some(Key::End),
                    _ => None,
                };
            }
            // The second parameter carries the modifiers: 3 is Alt, 5 is Ctrl.
            b'C' if matches!(params[1], 3 | 5) => return Some(Key::WordRight),
            b'D' if matches!(params[1], 3 | 5) => return Some(Key::WordLeft),
            0x40..=0x7e => return cursor_key(byte),
            0x7f => return Some(Key::Backspace),
            _ => return None,
        }
        self.state = State::Csi { params, index };
        None
    }
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

/// The key of a control character.
fn control(byte: u8) -> Option<Key> {
    const fn ctrl(letter: u8) -> u8 {
        letter & 0x1f
    }
    const A: u8 = ctrl(b'A');
    const B: u8 = ctrl(b'B');
    const C: u8 = ctrl(b'C');
    const D: u8 = ctrl(b'D');
    const E: u8 = ctrl(b'E');
    const F: u8 = ctrl(b'F');
    const K: u8 = ctrl(b'K');
    const L: u8 = ctrl(b'L');
    const N: u8 = ctrl(b'N');
    const P: u8 = ctrl(b'P');
    const U: u8 = ctrl(b'U');
    const W: u8 = ctrl(b'W');
    Some(match byte {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Complete,
        0x08 => Key::Backspace,
        A => Key::Home,
        B => Key::Left,
        C => Key::Interrupt,
        D => Key::EndOfInput,
        E => Key::End,
        F => Key::Right,
        K => Key::KillToEnd,
        L => Key::ClearScreen,
        N => Key::Down,
        P => Key::Up,
        U => Key::KillToStart,
        W => Key::KillWord,
        _ => return None,
    })
}

/// The key whose sequence ends in `last`, after ESC [ or ESC O.
fn cursor_key(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'F' => Key::End,
        b'H' => Key::Home,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::new();
        bytes.iter().filter_map(|&byte| decoder.feed(byte)).collect()
    }

    #[test]
    fn every_spelling_of_a_cursor_key_is_known() {
        for (bytes, key) in [
            (&b"\x1b[A"[..], Key::Up),
            (b"\x1bOA", Key::Up),
            (b"\x1b[B", Key::Down),
            (b"\x1b[C", Key::Right),
            (b"\x1b[D", Key::Left),
            (b"\x1b[H", Key::Home),
            (b"\x1bOH", Key::Home),
            (b"\x1b[1~", Key::Home),
            (b"\x1b[7~", Key::Home),
            (b"\x1b[F", Key::End),
            (b"\x1bOF", Key::End),
            (b"\x1b[4~", Key::End),
            (b"\x1b[8~", Key::End),
            (b"\x1b[3~", Key::Delete),
            (b"\x1b[1;5C", Key::WordRight),
            (b"\x1b[1;5D", Key::WordLeft),
            (b"\x1bf", Key::WordRight),
            (b"\x1bb", Key::WordLeft),
            (b"\x1b\x7f", Key::KillWord),
            (b"\x08", Key::Backspace),
            (b"\x7f", Key::Backspace),
        ] {
            assert_eq!(keys(bytes), [key], "{bytes:?}");
        }
    }

    #[test]
    fn cr_lf_and_cr_lf_are_one_enter_each() {
        assert_eq!(keys(b"\r"), [Key::Enter]);
        assert_eq!(keys(b"\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\r"), [Key::Enter; 2]);
        assert_eq!(keys(b"\n\n"), [Key::Enter; 2]);
        assert_eq!(keys(b"\r\n\r\n"), [Key::Enter; 2]);
        assert_eq!(keys(b"\rx\n"), [Key::Enter, Key::Char(b'x'), Key::Enter]);
    }

    #[test]
    fn unknown_sequences_type_nothing() {
        for bytes in [
            &b"\x1b[15~"[..],
            b"\x1b[[A",
            b"\x1bOP",
            b"\x1b[?1;2c",
            b"\x1b[200~",
            b"\x1b[99999999999999;1;2;3;4;5;6z",
            b"\x1b[ q",
            "é\u{9b}ñ漢".as_bytes(),
            b"\0\x01\x02"[..1].as_ref(),
        ] {
            assert_eq!(keys(bytes), [], "{bytes:?}");
        }
    }

    #[test]
    fn a_stray_escape_swallows_neither_enter_nor_interrupt() {
        for start in [&b"\x1b"[..], b"\x1b[", b"\x1b[1;", b"\x1bO", b"\x1b[[", b"\x1b\x1b"] {
            for (byte, key) in [(b'\r', Key::Enter), (b'\n', Key::Enter), (3, Key::Interrupt)] {
                let bytes = [start, &[byte]].concat();
                assert_eq!(keys(&bytes), [key], "{bytes:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_stream_is_readable_again_after_one_interrupt(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new();
            for byte in bytes {
                if let Some(Key::Char(c)) = decoder.feed(byte) {
                    prop_assert!((0x20..=0x7e).contains(&c));
                }
            }
            prop_assert_eq!(decoder.feed(3), Some(Key::Interrupt));
            prop_assert_eq!(decoder.feed(b'm'), Some(Key::Char(b'm')));
        }
    }
}
