//! A recording, compressed for the way.
//!
//! Layout: a byte that says how the text is kept ([`Form`]), its length in bytes (u32, little-endian), its CRC-32 (the
//! same), then its form as a raw DEFLATE stream (RFC 1951) that ends with the last byte.
//!
//! Invariant: [`unpack`] gives the text that [`pack`] was given, or an error; it never takes more memory than
//! [`MAX_TEXT_BYTES`] and what the compressed bytes take.

use alloc::vec::Vec;
use core::fmt;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use crate::{columns, crc32};

/// The longest text. A summary of a thousand rows is a third of it.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// Memory that [`pack`] takes at most beside the text, for a caller that must know beforehand whether there is so much:
/// the compressor's tables (some 310 KiB), the columns, which for records are shorter than the text, and the output, each
/// twice while it grows.
pub const fn working_bytes(nr_text_bytes: usize) -> usize {
    (384 << 10) + 6 * nr_text_bytes
}

/// How a text is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain = 0,
    /// By [`columns`].
    Columns = 1,
}

/// The compressor's most thorough level: a run is packed once, and each part less is a photograph less.
const LEVEL: u8 = 10;
const HEAD_BYTES: usize = 9;

/// A text that is longer than [`MAX_TEXT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its length.
    pub nr_bytes: usize,
}

/// Bytes that are no packed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpackError {
    /// Shorter than what stands before the compressed text.
    Short {
        /// Their number.
        nr_bytes: usize,
    },
    /// They say that the text is longer than any is.
    TooLong {
        /// What they say.
        nr_bytes: u32,
    },
    /// A form of text that is not known.
    Form {
        /// What they say.
        number: u8,
    },
    /// No DEFLATE stream, or one of another length.
    NotDeflate,
    /// The text is not the one that was packed.
    Checksum {
        /// The checksum that was packed with it.
        said: u32,
        /// That of the text.
        found: u32,
    },
}

impl fmt::Display for UnpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { nr_bytes } => write!(f, "{nr_bytes} bytes are too few for a recording"),
            Self::TooLong { nr_bytes } => {
                write!(f, "it claims to be {nr_bytes} bytes long, and {MAX_TEXT_BYTES} is the most")
            }
            Self::Form { number } => write!(f, "its text is kept in a form, {number}, that is not known here"),
            Self::NotDeflate => f.write_str("what is in it cannot be decompressed to the length that it claims"),
            Self::Checksum { said, found } => {
                write!(f, "the decompressed text has the checksum {found:08X} instead of {said:08X}")
            }
        }
    }
}

impl core::error::Error for UnpackError {}

/// Compresses `text`. Allocates, [`working_bytes`] at most, and as Rust's own collections do: without memory it ends the
/// program. Takes some 90 KiB of the stack, on which the compressor's tables are made before they go to the heap.
///
/// # Errors
///
/// [`TooLong`].
// Inlined, its stack would be its caller's from the beginning.
#[inline(never)]
pub fn pack(text: &[u8]) -> Result<Vec<u8>, TooLong> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(TooLong { nr_bytes: text.len() });
    }
    let columns = columns::columns(text);
    let form = if columns.is_some() { Form::Columns } else { Form::Plain };
    let compressed = compress_to_vec(columns.as_deref().unwrap_or(text), LEVEL);
    let mut packed = Vec::with_capacity(HEAD_BYTES + compressed.len());
    packed.push(form as u8);
    // It fits: MAX_TEXT_BYTES does.
    packed.extend((text.len() as u32).to_le_bytes());
    packed.extend(crc32::of(text).to_le_bytes());
    packed.extend(compressed);
    Ok(packed)
}

/// The text in `packed`.
///
/// # Errors
///
/// [`UnpackError`].
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let short = UnpackError::Short { nr_bytes: packed.len() };
    let (&form, rest) = packed.split_first().ok_or(short)?;
    let (nr_bytes, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
    let (said, compressed) = rest.split_first_chunk::<4>().ok_or(short)?;
    let (nr_bytes, said) = (u32::from_le_bytes(*nr_bytes), u32::from_le_bytes(*said));
    let len = nr_bytes as usize;
    if len > MAX_TEXT_BYTES {
        return Err(UnpackError::TooLong { nr_bytes });
    }
    let inflate = |most| decompress_to_vec_with_limit(compressed, most).map_err(|_| UnpackError::NotDeflate);
    let text = match form {
        _ if form == Form::Plain as u8 => inflate(len)?,
        // Shapes and letters come on top where no two lines are alike.
        _ if form == Form::Columns as u8 => {
            columns::rows(&inflate(4 * len + 16)?, len).ok_or(UnpackError::NotDeflate)?
        }
        number => return Err(UnpackError::Form { number }),
    };
    if text.len() != len {
        return Err(UnpackError::NotDeflate);
    }
    let found = crc32::of(&text);
    if found == said { Ok(text) } else { Err(UnpackError::Checksum { said, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;
    use std::{format, vec};

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        // A thousand times as much as it claims, and as much as it claims but too much.
        let zeroes = compress_to_vec(&vec![0; 4 << 20], 9);
        assert!(zeroes.len() < 8192);
        for form in [0, 1] {
            let claim = |nr_bytes: u32| [&[form][..], &nr_bytes.to_le_bytes(), &[0; 4], &zeroes].concat();
            assert_eq!(unpack(&claim(4096)), Err(UnpackError::NotDeflate));
            assert_eq!(unpack(&claim(4 << 20)), Err(UnpackError::TooLong { nr_bytes: 4 << 20 }));
            assert_eq!(unpack(&claim(u32::MAX)), Err(UnpackError::TooLong { nr_bytes: u32::MAX }));
        }
        assert_eq!(pack(&vec![0; MAX_TEXT_BYTES + 1]), Err(TooLong { nr_bytes: MAX_TEXT_BYTES + 1 }));
    }

    #[test]
    fn columns_take_less_than_rows() {
        let line = |nth: u64| format!("{{\"cpus\":{},\"ticks\":{}}}\n", nth % 8, nth * 7919 % 10_007);
        let text: String = (0..300).map(line).collect();
        let packed = pack(text.as_bytes()).expect("it is short");
        assert_eq!(packed[0], Form::Columns as u8);
        let plain = compress_to_vec(text.as_bytes(), LEVEL).len();
        assert!(packed.len() * 5 < plain * 4, "{} bytes instead of {plain}", packed.len());
    }

    #[test]
    fn every_error_is_found() {
        let packed = pack(b"a recording").expect("it is short");
        assert_eq!(unpack(&packed[..8]), Err(UnpackError::Short { nr_bytes: 8 }));
        assert_eq!(unpack(&packed[..packed.len() - 1]), Err(UnpackError::NotDeflate));
        let mut other = packed.clone();
        other[5] ^= 1;
        assert!(matches!(unpack(&other), Err(UnpackError::Checksum { .. })));
        other[1] += 1;
        assert_eq!(unpack(&other), Err(UnpackError::NotDeflate));
        other[0] = 2;
        assert_eq!(unpack(&other), Err(UnpackError::Form { number: 2 }));
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in proptest::collection::vec(any::<u8>(), 0..2000), times in 1_usize..20, is_ended: bool) {
            let mut text = text.repeat(times);
            text.extend(is_ended.then_some(b'\n'));
            let packed = pack(&text).expect("it is short");
            prop_assert_eq!(unpack(&packed), Ok(text));
        }

        #[test]
        fn damage_is_never_taken_for_a_text(
            text in proptest::collection::vec(any::<u8>(), 0..300),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let mut packed = pack(&text).expect("it is short");
            let at = at.index(packed.len());
            packed[at] ^= flip;
            // Unused bits of the last byte say nothing.
            prop_assert!(unpack(&packed).is_err() || unpack(&packed) == Ok(text));
        }

        #[test]
        fn no_bytes_are_fatal(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = unpack(&bytes);
        }
    }
}
