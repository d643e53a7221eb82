//! Bytes as symbols that QR codes hold densely and that survive a telephone's clipboard.
//!
//! The way is that of RFC 9285 (Base45): two bytes as a number in three symbols, the least first, and a last single
//! byte in two. A QR code's alphanumeric mode spends 5.5 bits on a symbol (ISO/IEC 18004, section 7.4.4), so two bytes
//! take 16.5 bits. The alphabet is smaller: 41 symbols are enough (41³ > 65,536), so those four of the 45 that
//! do not travel well are left out: the blank, which is trimmed, doubled and wrapped at, `%` and `+`, which mean something
//! in a web address, and `/`, which separates the fields of a part.
//!
//! Invariant: what [`decode`] takes, [`encode`] makes again, symbol for symbol.

use alloc::vec::Vec;
use core::fmt::{self, Write};

/// The symbols by value.
const ALPHABET: &[u8; 41] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$*-.:";
const BASE: u32 = ALPHABET.len() as u32;

/// The symbols that so many bytes take.
pub const fn nr_symbols(nr_bytes: usize) -> usize {
    nr_bytes / 2 * 3 + nr_bytes % 2 * 2
}

/// The most bytes that so many symbols hold.
pub const fn nr_bytes(nr_symbols: usize) -> usize {
    nr_symbols / 3 * 2 + (nr_symbols % 3) / 2
}

/// Whether `byte` is one of the symbols.
pub fn is_symbol(byte: u8) -> bool {
    value(byte).is_some()
}

fn value(byte: u8) -> Option<u32> {
    let at = match byte {
        b'0'..=b'9' => byte - b'0',
        b'A'..=b'Z' => byte - b'A' + 10,
        b'$' => 36,
        b'*' => 37,
        b'-' => 38,
        b'.' => 39,
        b':' => 40,
        _ => return None,
    };
    Some(u32::from(at))
}

/// Writes `bytes` as symbols.
///
/// # Errors
///
/// The writer's.
pub fn encode(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    let mut put = |mut number: u32, nr_symbols: usize| {
        (0..nr_symbols).try_for_each(|_| {
            let symbol = ALPHABET[(number % BASE) as usize];
            number /= BASE;
            out.write_char(char::from(symbol))
        })
    };
    let mut pairs = bytes.chunks_exact(2);
    pairs.by_ref().try_for_each(|pair| put(u32::from(pair[0]) << 8 | u32::from(pair[1]), 3))?;
    pairs.remainder().iter().try_for_each(|&byte| put(u32::from(byte), 2))
}

/// The bytes that `symbols` stand for; `None` if they stand for none.
pub fn decode(symbols: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(nr_bytes(symbols.len()));
    for group in symbols.chunks(3) {
        let number = group.iter().rev().try_fold(0, |number, &symbol| Some(number * BASE + value(symbol)?))?;
        match group.len() {
            3 => bytes.extend(u16::try_from(number).ok()?.to_be_bytes()),
            2 => bytes.push(u8::try_from(number).ok()?),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    fn encoded(bytes: &[u8]) -> String {
        let mut text = String::new();
        encode(bytes, &mut text).expect("a string takes everything");
        text
    }

    #[test]
    fn the_alphabet_is_what_a_code_holds_densely() {
        for (at, &symbol) in ALPHABET.iter().enumerate() {
            assert_eq!(value(symbol), Some(at as u32));
            // ISO/IEC 18004, table 5.
            assert!(symbol.is_ascii_digit() || symbol.is_ascii_uppercase() || b" $%*+-./:".contains(&symbol));
        }
        assert_eq!((0..=u8::MAX).filter(|&byte| is_symbol(byte)).count(), ALPHABET.len());
    }

    #[test]
    fn examples_by_hand() {
        // 0x0102 = 258 = 12 + 6 * 41.
        assert_eq!(encoded(&[1, 2]), "C60");
        assert_eq!(encoded(&[0xff]), "96"); // 255 = 9 + 6 * 41
        assert_eq!(encoded(&[]), "");
        assert_eq!(decode(b"C60"), Some([1, 2].into()));
    }

    #[test]
    fn what_nobody_encodes_is_refused() {
        // One symbol, a blank, a number past two bytes, one past a byte.
        for wrong in [&b"A"[..], b"C6 ", b":::", b"::", b"C60A", b"c60"] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let text = encoded(&bytes);
            prop_assert_eq!(text.len(), nr_symbols(bytes.len()));
            prop_assert_eq!(nr_bytes(text.len()), bytes.len());
            prop_assert_eq!(decode(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn what_is_decoded_was_encoded(symbols in "[0-9A-Z$*.:-]{0,30}") {
            if let Some(bytes) = decode(symbols.as_bytes()) {
                prop_assert_eq!(encoded(&bytes), symbols);
            }
        }
    }
}
