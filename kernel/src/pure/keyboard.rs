//! The keyboard: scan codes in, the bytes out that a terminal would send for the same keys.
//!
//! So the line editor knows one kind of input, whoever types. Which character a key stands for is `pc-keyboard`'s: its
//! decoders of scan code sets 1 and 2, and its layouts. Arrows, Home, End, Delete and the like become the sequences of
//! xterm, Alt with a character an ESC before it. Shift with Page Up or Page Down is nobody's input: it looks back.
//!
//! Invariants: no scan codes leave it in a state of more than a few bytes, and none make it panic.
//!
//! Called by: the kernel's input, with each byte of the keyboard controller.

use pc_keyboard::layouts::{self, AnyLayout};
use pc_keyboard::{
    DecodedKey, EventDecoder, HandleControl, KeyCode, KeyEvent, KeyState, ScancodeSet, ScancodeSet1, ScancodeSet2,
};

/// How keys are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSet {
    /// Set 1, into which keyboard controllers translate.
    One,
    /// Set 2, as keyboards send it.
    Two,
}

/// Which characters are on the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutName(usize);

/// A layout's name for `keyboard=`, and how it is made.
type Layout = (&'static str, fn() -> AnyLayout);

const LAYOUTS: [Layout; 11] = [
    ("us", || AnyLayout::Us104Key(layouts::Us104Key)),
    ("uk", || AnyLayout::Uk105Key(layouts::Uk105Key)),
    ("de", || AnyLayout::De105Key(layouts::De105Key)),
    ("fr", || AnyLayout::Azerty(layouts::Azerty)),
    ("fi", || AnyLayout::FiSe105Key(layouts::FiSe105Key)),
    ("se", || AnyLayout::FiSe105Key(layouts::FiSe105Key)),
    ("no", || AnyLayout::No105Key(layouts::No105Key)),
    ("jp", || AnyLayout::Jis109Key(layouts::Jis109Key)),
    ("colemak", || AnyLayout::Colemak(layouts::Colemak)),
    ("dvorak", || AnyLayout::Dvorak104Key(layouts::Dvorak104Key)),
    ("dvp", || AnyLayout::DVP104Key(layouts::DVP104Key)),
];

impl LayoutName {
    /// The layout that is used when nobody names one.
    pub const US: Self = Self(0);

    /// The layout of that name.
    pub fn find(name: &str) -> Option<Self> {
        LAYOUTS.iter().position(|(known, _)| *known == name).map(Self)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        LAYOUTS.iter().map(|(name, _)| *name)
    }
}

/// What a key press comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// Nothing: half a scan code, a key that was let go, a modifier.
    Nothing,
    /// Bytes for whoever reads the console.
    Bytes(Bytes),
    /// Look back, half a screen.
    LookBack,
    /// Look ahead again, half a screen.
    LookAhead,
}

/// The bytes of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    bytes: [u8; 8],
    len: usize,
}

impl Bytes {
    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; 8];
        let len = text.len().min(bytes.len());
        bytes[..len].copy_from_slice(&text[..len]);
        Self { bytes, len }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

enum Codes {
    One(ScancodeSet1),
    Two(ScancodeSet2),
}

/// A keyboard: which keys are held down, and half a scan code.
pub struct Keyboard {
    codes: Codes,
    decoder: EventDecoder<AnyLayout>,
    is_shifted: bool,
    is_control: bool,
    is_alt: bool,
}

impl Keyboard {
    /// A keyboard with no key held down.
    pub fn new(set: CodeSet, layout: LayoutName) -> Self {
        let codes = match set {
            CodeSet::One => Codes::One(ScancodeSet1::new()),
            CodeSet::Two => Codes::Two(ScancodeSet2::new()),
        };
        let (_, layout) = LAYOUTS[layout.0];
        Self {
            codes,
            decoder: EventDecoder::new(layout(), HandleControl::MapLettersToUnicode),
            is_shifted: false,
            is_control: false,
            is_alt: false,
        }
    }

    /// Takes the next byte of the controller. A byte that is no scan code is passed over.
    pub fn feed(&mut self, byte: u8) -> Press {
        let event = match &mut self.codes {
            Codes::One(set) => set.advance_state(byte),
            Codes::Two(set) => set.advance_state(byte),
        };
        match event {
            Ok(Some(event)) => self.press(event),
            Ok(None) | Err(_) => Press::Nothing,
        }
    }

    fn press(&mut self, event: KeyEvent) -> Press {
        let is_down = event.state != KeyState::Up;
        match event.code {
            KeyCode::LShift | KeyCode::RShift => self.is_shifted = is_down,
            KeyCode::LControl | KeyCode::RControl => self.is_control = is_down,
            KeyCode::LAlt => self.is_alt = is_down,
            _ => {}
        }
        let code = event.code;
        let decoded = self.decoder.process_keyevent(event);
        let Some(decoded) = decoded.filter(|_| is_down) else { return Press::Nothing };
        // First the keys that some layouts give a character that a terminal does not: Delete is DEL there, which is
        // what a terminal sends for Backspace.
        match code {
            KeyCode::PageUp if self.is_shifted => return Press::LookBack,
            KeyCode::PageDown if self.is_shifted => return Press::LookAhead,
            _ => {}
        }
        if let Some(sequence) = self.sequence(code) {
            return Press::Bytes(Bytes::of(sequence));
        }
        match decoded {
            DecodedKey::Unicode('\u{8}') if self.is_alt => Press::Bytes(Bytes::of(b"\x1b\x7f")),
            DecodedKey::Unicode(character) => Press::Bytes(self.character(character)),
            // On the keypad without Num Lock: the layouts say which key it is then.
            DecodedKey::RawKey(code) => {
                self.sequence(code).map_or(Press::Nothing, |keys| Press::Bytes(Bytes::of(keys)))
            }
        }
    }

    fn character(&self, character: char) -> Bytes {
        let mut bytes = [0; 5];
        // Terminals send CR for Enter.
        let character = if character == '\n' { '\r' } else { character };
        bytes[0] = 0x1b;
        let len = character.encode_utf8(&mut bytes[1..]).len();
        Bytes::of(if self.is_alt { &bytes[..=len] } else { &bytes[1..=len] })
    }

    /// What xterm sends for a key that is no character.
    fn sequence(&self, code: KeyCode) -> Option<&'static [u8]> {
        Some(match code {
            KeyCode::ArrowUp => b"\x1b[A",
            KeyCode::ArrowDown => b"\x1b[B",
            KeyCode::ArrowRight if self.is_control => b"\x1b[1;5C",
            KeyCode::ArrowRight => b"\x1b[C",
            KeyCode::ArrowLeft if self.is_control => b"\x1b[1;5D",
            KeyCode::ArrowLeft => b"\x1b[D",
            KeyCode::Home => b"\x1b[H",
            KeyCode::End => b"\x1b[F",
            KeyCode::Insert => b"\x1b[2~",
            KeyCode::Delete => b"\x1b[3~",
            KeyCode::PageUp => b"\x1b[5~",
            KeyCode::PageDown => b"\x1b[6~",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Decoder, Key};
    use proptest::prelude::*;

    /// All bytes that scan codes of set 1 come to on a layout.
    fn typed(layout: &str, codes: &[u8]) -> Vec<u8> {
        let mut keyboard = Keyboard::new(CodeSet::One, LayoutName::find(layout).expect("a layout"));
        let mut typed = Vec::new();
        for &code in codes {
            if let Press::Bytes(bytes) = keyboard.feed(code) {
                typed.extend_from_slice(bytes.as_slice());
            }
        }
        typed
    }

    /// Pressed and let go.
    fn tap(code: u8) -> [u8; 2] {
        [code, code | 0x80]
    }

    #[test]
    fn letters_digits_and_enter() {
        let codes = [tap(0x32), tap(0x12), tap(0x32), tap(0x39), tap(0x02), tap(0x1c)].concat();
        assert_eq!(typed("us", &codes), b"mem 1\r");
    }

    #[test]
    fn shift_and_caps_lock() {
        assert_eq!(typed("us", &[&[0x2a][..], &tap(0x1e), &[0xaa], &tap(0x1e)].concat()), b"Aa");
        assert_eq!(typed("us", &[tap(0x3a), tap(0x1e), tap(0x02)].concat()), b"A1");
        assert_eq!(typed("us", &[&[0x36][..], &tap(0x27), &[0xb6]].concat()), b":");
    }

    #[test]
    fn control_letters_are_control_characters() {
        let with_control = |code: u8| typed("us", &[&[0x1d][..], &tap(code), &[0x9d]].concat());
        assert_eq!((with_control(0x2e), with_control(0x20)), (vec![3], vec![4]));
        assert_eq!(with_control(0x26), [12], "Ctrl-L");
    }

    #[test]
    fn layouts_differ() {
        // The keys that are Y and Z on a US keyboard.
        let codes = [tap(0x15), tap(0x2c)].concat();
        assert_eq!((typed("us", &codes), typed("de", &codes)), (b"yz".to_vec(), b"zy".to_vec()));
        assert_eq!(typed("fr", &tap(0x10)), b"a");
        assert_eq!(typed("de", &tap(0x28)), "ä".as_bytes());
        assert_eq!(LayoutName::find("klingon"), None);
        assert!(LayoutName::names().all(|name| LayoutName::find(name).is_some()));
    }

    /// The keys that the line editor sees.
    fn edited(codes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::new();
        typed("us", codes).into_iter().filter_map(|byte| decoder.feed(byte)).collect()
    }

    #[test]
    fn the_line_editor_understands_every_key_that_it_knows() {
        let extended = |code: u8| [0xe0, code, 0xe0, code | 0x80];
        let codes: Vec<u8> = [0x48, 0x50, 0x4b, 0x4d, 0x47, 0x4f, 0x53].into_iter().flat_map(extended).collect();
        let keys = [Key::Up, Key::Down, Key::Left, Key::Right, Key::Home, Key::End, Key::Delete];
        assert_eq!(edited(&codes), keys);
        assert_eq!(edited(&[tap(0x0e), tap(0x0f), tap(0x1c)].concat()), [Key::Backspace, Key::Complete, Key::Enter]);
        assert_eq!(edited(&[&[0x1d][..], &extended(0x4b), &[0x9d]].concat()), [Key::WordLeft]);
        assert_eq!(edited(&[&[0x38][..], &tap(0x30), &tap(0x0e), &[0xb8]].concat()), [Key::WordLeft, Key::KillWord]);
    }

    #[test]
    fn shift_and_page_keys_look_back() {
        let mut keyboard = Keyboard::new(CodeSet::One, LayoutName::US);
        let mut last = |codes: &[u8]| codes.iter().map(|&code| keyboard.feed(code)).last();
        assert_eq!(last(&[0x2a, 0xe0, 0x49]), Some(Press::LookBack));
        assert_eq!(last(&[0xe0, 0xc9, 0xe0, 0x51]), Some(Press::LookAhead));
        assert_eq!(last(&[0xe0, 0xd1, 0xaa, 0xe0, 0x49]), Some(Press::Bytes(Bytes::of(b"\x1b[5~"))));
    }

    #[test]
    fn set_2_means_the_same_keys() {
        let mut keyboard = Keyboard::new(CodeSet::Two, LayoutName::US);
        let mut bytes = Vec::new();
        for code in [0x3a, 0xf0, 0x3a, 0x24, 0xf0, 0x24, 0xe0, 0x75, 0xe0, 0xf0, 0x75] {
            if let Press::Bytes(key) = keyboard.feed(code) {
                bytes.extend_from_slice(key.as_slice());
            }
        }
        assert_eq!(bytes, b"me\x1b[A");
    }

    proptest! {
        #[test]
        fn any_scan_codes_do_no_harm(codes in proptest::collection::vec(any::<u8>(), 0..200), layout in 0..LAYOUTS.len()) {
            for set in [CodeSet::One, CodeSet::Two] {
                let mut keyboard = Keyboard::new(set, LayoutName(layout));
                for &code in &codes {
                    if let Press::Bytes(bytes) = keyboard.feed(code) {
                        prop_assert!((1..=8).contains(&bytes.as_slice().len()));
                    }
                }
            }
        }
    }
}
