//! Figures as they are printed: sizes, counts, times and ratios, from integers and without floating point.
//!
//! A figure with a decimal point is rounded down to its last digit; one without is exact. So `99.9 %` never hides the
//! loss of one by calling it 100, and `64 MiB` is 64 MiB to the byte. All of them honour width, fill and alignment
//! (`{:>12}`), and stand to the right if nothing is said; but for [`Things`], which are part of a sentence.
//!
//! Called by: whoever prints, in the kernel and in the tools that describe recordings.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use core::fmt::{self, Write};

/// A size in bytes: `64 MiB`, `2.77 MiB`, `999 B`. `{:#}` adds the bytes where the figure is not exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A count with its thousands set apart: `1,234,567`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

/// A count with the name of what is counted, which is regular: `1 round`, `1,234 rounds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Things<'a>(pub u64, pub &'a str);

/// A time in nanoseconds, in the unit that suits it: `412 ns`, `3.61 us`, `5 s`, `125 s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nanos(pub u64);

/// A quotient with as many decimals as asked for (`{:.3}`, at most 9; 2 if nothing is said); `-` where nothing was
/// divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(pub u64, pub u64);

/// A part of a whole in percent, with one decimal (`{:.3}` for more, at most 9): `98.7 %`; `-` where there is no whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u64, pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let bytes = self.0;
        let mut text = Text::new();
        // The largest unit that divides it, if the number stays readable; otherwise the largest that it reaches.
        let exact = (bytes.trailing_zeros() as usize / 10).min(UNITS.len() - 1);
        if bytes == 0 {
            text.write_str("0 B")?;
        } else if bytes >> (10 * exact) < 10_000 {
            write!(text, "{} {}", bytes >> (10 * exact), UNITS[exact])?;
        } else {
            let unit = bytes.ilog2() as usize / 10;
            write_quotient(&mut text, u128::from(bytes), 1 << (10 * unit), 2)?;
            write!(text, " {}", UNITS[unit])?;
            if f.alternate() {
                write!(text, " ({} bytes)", Count(bytes))?;
            }
        }
        text.pad(f)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text::new();
        write_grouped(&mut text, self.0)?;
        text.pad(f)
    }
}

impl fmt::Display for Things<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, name) = *self;
        write!(f, "{} {name}{}", Count(count), if count == 1 { "" } else { "s" })
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "us"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let mut text = Text::new();
        // Three digits that count; a fraction of nothing is no fraction.
        let decimals = match self.0 / unit {
            _ if self.0.is_multiple_of(unit) => 0,
            0..10 => 2,
            10..100 => 1,
            _ => 0,
        };
        write_quotient(&mut text, u128::from(self.0), u128::from(unit), decimals)?;
        write!(text, " {name}")?;
        text.pad(f)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text::new();
        let decimals = f.precision().unwrap_or(2).min(9);
        write_quotient(&mut text, u128::from(self.0), u128::from(self.1), decimals)?;
        text.pad(f)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text::new();
        let decimals = f.precision().unwrap_or(1).min(9);
        write_quotient(&mut text, u128::from(self.0) * 100, u128::from(self.1), decimals)?;
        if self.1 != 0 {
            text.write_str(" %")?;
        }
        text.pad(f)
    }
}

/// Writes `part / whole`, rounded down to `decimals` (at most 9) decimals. The integral part must fit 64 bits times 100.
fn write_quotient(text: &mut Text, part: u128, whole: u128, decimals: usize) -> fmt::Result {
    let Some(integral) = part.checked_div(whole) else { return text.write_str("-") };
    write!(text, "{integral}")?;
    if decimals > 0 {
        // The remainder is below `whole`, which is below 2^64, and 10^9 is below 2^30.
        let fraction = part % whole * 10u128.pow(decimals as u32) / whole;
        write!(text, ".{fraction:0decimals$}")?;
    }
    Ok(())
}

fn write_grouped(text: &mut Text, value: u64) -> fmt::Result {
    if value < 1000 {
        return write!(text, "{value}");
    }
    write_grouped(text, value / 1000)?;
    write!(text, ",{:03}", value % 1000)
}

/// A short text, built here so that it can be padded as a whole: `Formatter::pad` would take a precision for a length.
struct Text {
    bytes: [u8; Text::CAPACITY],
    len: usize,
}

impl Text {
    /// The longest figure is a size with its bytes: `1023.99 PiB (1,152,921,504,606,846,975 bytes)` and alike.
    const CAPACITY: usize = 64;

    const fn new() -> Text {
        Text { bytes: [0; Text::CAPACITY], len: 0 }
    }

    fn pad(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = core::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default();
        let missing = f.width().unwrap_or(0).saturating_sub(self.len);
        let before = match f.align() {
            Some(fmt::Alignment::Left) => 0,
            Some(fmt::Alignment::Center) => missing / 2,
            Some(fmt::Alignment::Right) | None => missing,
        };
        let fill = f.fill();
        (0..before).try_for_each(|_| f.write_char(fill))?;
        f.write_str(text)?;
        (before..missing).try_for_each(|_| f.write_char(fill))
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let rest = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        rest.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_thing_is_not_many() {
        assert_eq!(Things(1, "round").to_string(), "1 round");
        assert_eq!(Things(0, "round").to_string(), "0 rounds");
        assert_eq!(Things(1234, "page").to_string(), "1,234 pages");
    }

    #[test]
    fn sizes_without_a_point_are_exact() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (4096, "4 KiB"),
            (1025 << 10, "1025 KiB"),
            (64 << 20, "64 MiB"),
            (8 << 30, "8 GiB"),
            (9999, "9999 B"),
            (10_001, "9.76 KiB"),
            (2_909_570, "2.77 MiB"),
            (552_343_797, "526.75 MiB"),
            (u64::MAX, "15.99 EiB"),
            (1 << 63, "8 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(format!("{:#}", Bytes(2_909_570)), "2.77 MiB (2,909,570 bytes)");
        assert_eq!(format!("{:#}", Bytes(4096)), "4 KiB");
        assert_eq!(format!("{:#}", Bytes(u64::MAX)), "15.99 EiB (18,446,744,073,709,551,615 bytes)");
    }

    #[test]
    fn counts_are_grouped() {
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_002_003, "1,002,003")] {
            assert_eq!(Count(count).to_string(), text);
        }
        assert_eq!(Count(u64::MAX).to_string(), "18,446,744,073,709,551,615");
    }

    #[test]
    fn times_have_three_digits() {
        for (ns, text) in [
            (0, "0 ns"),
            (412, "412 ns"),
            (3_619, "3.61 us"),
            (12_000, "12 us"),
            (12_470_000, "12.4 ms"),
            (123_900_000, "123 ms"),
            (5_000_000_000, "5 s"),
            (5_000_000_001, "5.00 s"),
            (125_300_000_000, "125 s"),
        ] {
            assert_eq!(Nanos(ns).to_string(), text);
        }
    }

    #[test]
    fn ratios_are_rounded_down() {
        assert_eq!(Ratio(2, 3).to_string(), "0.66");
        assert_eq!(format!("{:.0}", Ratio(5, 2)), "2");
        assert_eq!(format!("{:.4}", Ratio(1, 1000)), "0.0010");
        assert_eq!(Ratio(7, 0).to_string(), "-");
        assert_eq!(Percent(9_999, 10_000).to_string(), "99.9 %");
        assert_eq!(Percent(1, 1).to_string(), "100.0 %");
        assert_eq!(Percent(0, 0).to_string(), "-");
        assert_eq!(Percent(u64::MAX, 1).to_string(), "1844674407370955161500.0 %");
        assert_eq!(format!("{:.50}", Ratio(u64::MAX, u64::MAX - 1)), "1.000000000");
    }

    #[test]
    fn figures_line_up() {
        assert_eq!(format!("[{:10}]", Count(1234)), "[     1,234]");
        assert_eq!(format!("[{:<10}]", Bytes(4096)), "[4 KiB     ]");
        assert_eq!(format!("[{:*^9.1}]", Ratio(5, 2)), "[***2.5***]");
        assert_eq!(format!("[{:2}]", Nanos(412)), "[412 ns]");
    }

    /// The bytes that a size without a point stands for.
    fn read_back(text: &str) -> Option<u64> {
        let (number, unit) = text.split_once(' ')?;
        let nr_tens = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter().position(|name| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(1 << (10 * nr_tens))
    }

    proptest! {
        #[test]
        fn every_value_can_be_printed(a in any::<u64>(), b in any::<u64>(), precision in 0..12usize) {
            let texts = [
                format!("{:#}", Bytes(a)),
                format!("{}", Nanos(a)),
                format!("{:.precision$}", Ratio(a, b)),
                format!("{:.precision$}", Percent(a, b)),
            ];
            prop_assert!(texts.iter().all(|text| !text.is_empty()));
            prop_assert_eq!(Count(a).to_string().replace(',', ""), a.to_string());
        }

        #[test]
        fn a_size_without_a_point_is_read_back(value in 1..10_000u64, shift in 0..=36u32) {
            let text = Bytes(value << shift).to_string();
            if text.contains('.') {
                prop_assert!(shift % 10 != 0, "{} could be exact", text);
            } else {
                prop_assert_eq!(read_back(&text), Some(value << shift));
            }
        }
    }
}
