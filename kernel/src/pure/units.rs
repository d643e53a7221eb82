//! Numbers as people write them: `4k`, `2M`, `0x1f`, `500ms`.
//!
//! Counts take powers of 1000 (`100k` operations), sizes powers of 1024 (`4k` bytes), times their units. All are whole
//! numbers; `_` may stand between digits.
//!
//! Called by: `args`, and whoever reads a kernel option.

use core::fmt;

/// Why a text is not a number of the kind that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// It does not start with a digit.
    NotANumber,
    /// It does not fit into 64 bits.
    TooLarge,
    /// What follows the digits is none of the units that may.
    UnknownUnit,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnitError::NotANumber => "not a number",
            UnitError::TooLarge => "too large",
            UnitError::UnknownUnit => "unknown unit",
        })
    }
}

/// A plain number: `42`, `1_000`, `0x1f`.
pub fn number(text: &str) -> Result<u64, UnitError> {
    with_unit(text, &[("", 1)])
}

/// A plain number from 1 on.
///
/// # Errors
///
/// What it is instead, as the end of a sentence.
pub fn positive(text: &str) -> Result<u64, &'static str> {
    match number(text) {
        Ok(number) if number > 0 => Ok(number),
        Err(UnitError::TooLarge) => Err("is too large"),
        Ok(_) | Err(UnitError::NotANumber | UnitError::UnknownUnit) => Err("is not a number above 0"),
    }
}

/// A count: a number, or one with `k`, `M` or `G` for thousands, millions and billions. A lower-case `m` is a minute
/// or a slip, never a million.
pub fn count(text: &str) -> Result<u64, UnitError> {
    with_unit(text, &[("", 1), ("k", 1000), ("K", 1000), ("M", 1_000_000), ("G", 1_000_000_000)])
}

/// A size in bytes: a number, or one with `k`, `M`, `G` or `T`, with or without `iB` or `B`, for powers of 1024.
pub fn size_bytes(text: &str) -> Result<u64, UnitError> {
    let (value, unit) = split(text)?;
    let prefix = unit.strip_suffix("iB").or(unit.strip_suffix('B')).unwrap_or(unit);
    let shift = match prefix {
        "" if unit != "iB" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return Err(UnitError::UnknownUnit),
    };
    value.checked_mul(1 << shift).ok_or(UnitError::TooLarge)
}

/// A time in nanoseconds: a number with `ns`, `us`, `ms`, `s`, `m` or `h`. A number alone is not a time.
pub fn duration_ns(text: &str) -> Result<u64, UnitError> {
    with_unit(text, &DURATIONS)
}

/// The units of time, from the smallest, in nanoseconds.
pub(crate) const DURATIONS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

fn with_unit(text: &str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    let (value, unit) = split(text)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or(UnitError::UnknownUnit)?;
    value.checked_mul(*factor).ok_or(UnitError::TooLarge)
}

/// The number that `text` begins with, and the rest.
fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return Err(UnitError::NotANumber);
    }
    let end = digits.find(|c: char| !c.is_digit(radix) && c != '_').unwrap_or(digits.len());
    let mut value = 0u64;
    for digit in digits[..end].chars().filter_map(|c| c.to_digit(radix)) {
        value = value
            .checked_mul(u64::from(radix))
            .and_then(|value| value.checked_add(u64::from(digit)))
            .ok_or(UnitError::TooLarge)?;
    }
    Ok((value, &digits[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use UnitError::{NotANumber, TooLarge, UnknownUnit};
    use proptest::prelude::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("42"), Ok(42));
        assert_eq!(number("1_000"), Ok(1000));
        assert_eq!(number("0xffff_8000_0000_0000"), Ok(0xffff_8000_0000_0000));
        assert_eq!(number("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(number("18446744073709551616"), Err(TooLarge));
        for text in ["", "x", "-1", "0x", "_1", "+1", " 1", "é"] {
            assert_eq!(number(text), Err(NotANumber), "{text:?}");
        }
        assert_eq!(number("4k"), Err(UnknownUnit));
        assert_eq!(number("1.5"), Err(UnknownUnit));
        assert_eq!(number("7é"), Err(UnknownUnit));
    }

    #[test]
    fn a_positive_number_is_neither_0_nor_too_large() {
        assert_eq!(["1", "0x10", "18446744073709551615"].map(positive), [Ok(1), Ok(16), Ok(u64::MAX)]);
        for text in ["", "0", "junk", "-1", "4k"] {
            assert_eq!(positive(text), Err("is not a number above 0"), "{text:?}");
        }
        assert_eq!(positive("99999999999999999999"), Err("is too large"));
    }

    #[test]
    fn counts_are_decimal_and_sizes_binary() {
        assert_eq!(count("100k"), Ok(100_000));
        assert_eq!(count("2M"), Ok(2_000_000));
        assert_eq!(count("2m"), Err(UnknownUnit));
        assert_eq!(count("99999999999G"), Err(TooLarge));
        for text in ["4k", "4K", "4kB", "4KiB", "4096", "4096B", "0x1000", "0x4k"] {
            assert_eq!(size_bytes(text), Ok(4096), "{text}");
        }
        assert_eq!(size_bytes("2M"), Ok(2 << 20));
        assert_eq!(size_bytes("1G"), Ok(1 << 30));
        assert_eq!(size_bytes("16777216T"), Err(TooLarge));
        for text in ["4iB", "4x", "4kk", "4ki", "4BB"] {
            assert_eq!(size_bytes(text), Err(UnknownUnit), "{text}");
        }
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(duration_ns("500ms"), Ok(500_000_000));
        assert_eq!(duration_ns("5s"), Ok(5_000_000_000));
        assert_eq!(duration_ns("2m"), Ok(120_000_000_000));
        assert_eq!(duration_ns("7us"), Ok(7_000));
        assert_eq!(duration_ns("5"), Err(UnknownUnit));
        assert_eq!(duration_ns("5S"), Err(UnknownUnit));
        assert_eq!(duration_ns("6000000h"), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-fA-Fx_kMGTsmiBé]{0,24}") {
            for parse in [number, count, size_bytes, duration_ns] {
                if let Ok(value) = parse(&text) {
                    prop_assert!(text.starts_with(|c: char| c.is_ascii_digit()), "{}", value);
                }
            }
        }

        #[test]
        fn what_is_printed_is_read_back(value in any::<u64>()) {
            prop_assert_eq!(number(&value.to_string()), Ok(value));
            prop_assert_eq!(number(&format!("{value:#x}")), Ok(value));
        }
    }
}
