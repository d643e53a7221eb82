//! A part as text: `BANDOLIER1/<run>/<number>/<parts>/<checksum>/<symbols>`.
//!
//! `run` is the CRC-32 of all parts together, in eight hexadecimal digits, and names the run; `number` counts from 1; the
//! checksum is the CRC-32 of `<run>/<number>/<parts>/<symbols>`. All of it is in the alphanumeric set of QR codes. It begins with
//! no word and colon, because a telephone takes that for an address that some other app should open.
//!
//! A part is found in any text, also if an app has broken it into lines: its checksum says where it ends.

use alloc::vec::Vec;
use core::fmt;

use crate::crc32::Crc32;
use crate::symbols;

/// How every part begins. The digit is the version of the format.
pub const START: &str = "BANDOLIER1/";
/// A run has at most so many parts.
pub const MAX_PARTS: u16 = 999;
/// The most symbols that a part has: more do not fit the largest code.
pub const MAX_SYMBOLS: usize = 4296;

/// Which part of which run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId {
    /// The run, and the CRC-32 of all its parts' bytes together.
    pub run: u32,
    /// Which part, from 1.
    pub number: u16,
    /// Of how many.
    pub nr_parts: u16,
}

impl fmt::Display for PartId {
    /// As it stands in a part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}/{}/{}/", self.run, self.number, self.nr_parts)
    }
}

impl PartId {
    /// The longest that any is.
    pub const MAX_CHARS: usize = 8 + 1 + 3 + 1 + 3 + 1;

    /// The checksum of a part, as far as it does not depend on the symbols.
    fn checksum(&self) -> Checksum {
        let mut checksum = Checksum(Crc32::new());
        // A checksum takes everything.
        let _ = fmt::write(&mut checksum, format_args!("{self}"));
        checksum
    }
}

/// Adds what is written to a checksum.
struct Checksum(Crc32);

impl fmt::Write for Checksum {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.0.add(byte));
        Ok(())
    }
}

/// A part that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Which.
    pub id: PartId,
    /// Its piece of the run.
    pub bytes: &'a [u8],
}

impl Part<'_> {
    /// The most characters of a part with so many bytes.
    pub const fn max_chars(nr_bytes: usize) -> usize {
        START.len() + PartId::MAX_CHARS + 8 + 1 + symbols::nr_symbols(nr_bytes)
    }
}

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut checksum = self.id.checksum();
        symbols::encode(self.bytes, &mut checksum)?;
        write!(f, "{START}{}{:08X}/", self.id, checksum.0.value())?;
        symbols::encode(self.bytes, f)
    }
}

/// What was found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A part.
    Whole {
        /// Which.
        id: PartId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Something that begins as a part does, and whose checksum is wrong or that is cut off.
    Damaged {
        /// Which it would be, as far as can be read.
        id: Option<PartId>,
    },
}

/// All parts in `text`, in the order in which they begin.
pub fn find(text: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = position(rest, START.as_bytes()) {
        rest = &rest[at + START.len()..];
        found.push(match head(rest) {
            Some((id, checksum, body)) => match body_of(id, checksum, body) {
                Some(bytes) => Found::Whole { id, bytes },
                None => Found::Damaged { id: Some(id) },
            },
            None => Found::Damaged { id: None },
        });
    }
    found
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// Reads up to the symbols: which part, the checksum, and what follows.
fn head(text: &[u8]) -> Option<(PartId, u32, &[u8])> {
    let (run, rest) = field(text)?;
    let (number, rest) = field(rest)?;
    let (nr_parts, rest) = field(rest)?;
    let (checksum, rest) = field(rest)?;
    let id = PartId { run: hexadecimal(run)?, number: decimal(number)?, nr_parts: decimal(nr_parts)? };
    let is_possible = (1..=MAX_PARTS).contains(&id.nr_parts) && (1..=id.nr_parts).contains(&id.number);
    is_possible.then_some((id, hexadecimal(checksum)?, rest))
}

/// What stands before the next slash, and what behind it. No field has more than eight characters.
fn field(text: &[u8]) -> Option<(&str, &[u8])> {
    let at = text.iter().take(9).position(|&byte| byte == b'/')?;
    Some((core::str::from_utf8(&text[..at]).ok()?, &text[at + 1..]))
}

fn hexadecimal(digits: &str) -> Option<u32> {
    let is_plain = digits.len() == 8 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    is_plain.then(|| u32::from_str_radix(digits, 16).ok())?
}

fn decimal(digits: &str) -> Option<u16> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    is_plain.then(|| digits.parse().ok())?
}

/// The bytes of the part whose symbols `text` begins with. They end where the checksum is right: before white space,
/// before what is no symbol, or before the next part. White space between symbols is passed over.
fn body_of(id: PartId, wanted: u32, text: &[u8]) -> Option<Vec<u8>> {
    let mut checksum = id.checksum().0;
    let mut body: Vec<u8> = Vec::new();
    for (at, &byte) in text.iter().enumerate() {
        let is_next = text[at..].starts_with(START.as_bytes());
        if (is_next || byte.is_ascii_whitespace()) && checksum.value() == wanted {
            return symbols::decode(&body);
        }
        if byte.is_ascii_whitespace() {
            continue;
        }
        if !symbols::is_symbol(byte) || body.len() == MAX_SYMBOLS {
            break;
        }
        checksum.add(byte);
        body.push(byte);
    }
    (checksum.value() == wanted).then(|| symbols::decode(&body))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::{String, ToString};

    fn ids() -> impl Strategy<Value = PartId> {
        (any::<u32>(), 1..=MAX_PARTS, 1..=MAX_PARTS).prop_map(|(run, a, b)| PartId {
            run,
            number: a.min(b),
            nr_parts: a.max(b),
        })
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..60)
    }

    #[test]
    fn a_part_as_it_is_printed() {
        let id = PartId { run: 0x3f2a_91cc, number: 3, nr_parts: 12 };
        let text = Part { id, bytes: &[1, 2] }.to_string();
        assert_eq!(text, format!("BANDOLIER1/3F2A91CC/3/12/{:08X}/C60", crate::crc32::of(b"3F2A91CC/3/12/C60")));
        assert_eq!(find(text.as_bytes()), [Found::Whole { id, bytes: [1, 2].into() }]);
    }

    #[test]
    fn what_is_no_part_is_said_to_be_damaged() {
        for (text, id) in [
            ("BANDOLIER1/", None),
            ("BANDOLIER1/3F2A91CC/0/12/00000000/C60", None),
            ("BANDOLIER1/3F2A91CC/13/12/00000000/C60", None),
            ("BANDOLIER1/3F2A91CC/3/1200/00000000/C60", None),
            ("BANDOLIER1/3f2a91cc/3/12/00000000/C60", None),
            ("BANDOLIER1/3F2A91CC/+3/12/00000000/C60", None),
            ("BANDOLIER1/3F2A91CC/3/12/00000000/C60", Some(PartId { run: 0x3f2a_91cc, number: 3, nr_parts: 12 })),
        ] {
            assert_eq!(find(text.as_bytes()), [Found::Damaged { id }], "{text}");
        }
        assert_eq!(find(b"nothing BANDOLIER2/ BANDOLIE"), []);
    }

    proptest! {
        #[test]
        fn a_part_is_found_in_other_text_and_broken_into_lines(
            id in ids(),
            bytes in bytes(),
            before in "[ -~\n]{0,20}",
            after in "( [ -~\n]{0,20})?",
            width in 1_usize..50,
            is_broken in any::<bool>(),
        ) {
            let part = Part { id, bytes: &bytes };
            let text = part.to_string();
            prop_assert!(text.len() <= Part::max_chars(bytes.len()));
            let (head, body) = text.split_at(text.rfind('/').expect("a head") + 1);
            let lines = body.as_bytes().chunks(width).map(|line| core::str::from_utf8(line).expect("symbols"));
            let body = if is_broken { lines.collect::<Vec<_>>().join("\r\n") } else { body.to_string() };
            let whole = format!("{before}{head}{body}{after}");
            prop_assert_eq!(find(whole.as_bytes()), [Found::Whole { id, bytes }]);
        }

        #[test]
        fn parts_behind_one_another_are_found(parts in proptest::collection::vec((ids(), bytes()), 0..5), gap in "[\n ]{0,2}") {
            let texts = parts.iter().map(|(id, bytes)| Part { id: *id, bytes }.to_string());
            let text = texts.collect::<Vec<String>>().join(&gap);
            let wanted: Vec<Found> = parts.into_iter().map(|(id, bytes)| Found::Whole { id, bytes }).collect();
            prop_assert_eq!(find(text.as_bytes()), wanted);
        }

        #[test]
        fn a_changed_character_is_found_out(id in ids(), bytes in bytes(), at in any::<prop::sample::Index>(), to in "[ -~]") {
            let text = Part { id, bytes: &bytes }.to_string();
            let at = at.index(text.len());
            let mut changed = text.clone();
            changed.replace_range(at..=at, &to);
            let is_taken = find(changed.as_bytes()).iter().any(|found| matches!(found, Found::Whole { .. }));
            prop_assert!(changed == text || !is_taken);
        }

        #[test]
        fn no_text_is_fatal(text in "(BANDOLIER1/|[0-9A-F]{8}/|[0-9]{1,4}/|[ -~]{0,9}){0,9}", bytes in bytes()) {
            let _ = find(text.as_bytes());
            let _ = find(&[START.as_bytes(), &bytes].concat());
        }
    }
}
