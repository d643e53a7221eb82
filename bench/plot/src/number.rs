//! Numbers for people: three significant digits, and a unit.

/// What a number counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// A number: `950`, `1.2 k`, `3 M`.
    #[default]
    Plain,
    /// A whole number without a prefix: `1024`.
    Whole,
    /// How many times: `0.25×`.
    Times,
    /// Bytes, in powers of 1024: `64 B`, `1.5 MiB`.
    Bytes,
    /// Nanoseconds, in larger units where that is shorter: `12 ns`, `1.5 µs`, `2 ms`, `3 s`.
    Nanoseconds,
    /// In hundredths: `12 %`.
    Percent,
}

/// `value` with up to three significant digits, without zeroes at its end.
pub fn digits(value: f64) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    let decimals = match value.abs() {
        0.0 => 0,
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        // 0.0123: as many zeroes as there are, and three digits; nothing is smaller than twelve decimals.
        size => (2 - size.log10().floor() as i32).clamp(0, 12) as usize,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    // Rounded to nothing from below.
    if text == "-0" { "0".into() } else { text.into() }
}

/// `value` in the largest of `steps` that it fills.
fn stepped(value: f64, steps: &[(f64, &str)]) -> String {
    // 999.9 is shown as 1000 and belongs to the next step.
    let fits = |&&(size, _): &&(f64, &str)| value.abs() >= size * 0.9995;
    let (size, name) = steps.iter().rev().find(fits).copied().unwrap_or(steps[0]);
    let digits = digits(value / size);
    if name.is_empty() { digits } else { format!("{digits} {name}") }
}

impl Unit {
    /// `value` with its unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Plain => stepped(value, &[(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")]),
            Self::Whole => format!("{value:.0}"),
            Self::Times => format!("{}×", digits(value)),
            Self::Bytes => {
                let kib = 1024.0_f64;
                let steps =
                    [(1.0, "B"), (kib, "KiB"), (kib.powi(2), "MiB"), (kib.powi(3), "GiB"), (kib.powi(4), "TiB")];
                stepped(value, &steps)
            }
            Self::Nanoseconds => stepped(value, &[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")]),
            Self::Percent => format!("{} %", digits(value * 100.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_kept_and_zeroes_at_the_end_are_not() {
        for (value, shown) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (1.5, "1.5"),
            (12.34, "12.3"),
            (99.96, "100"),
            (123.4, "123"),
            (0.012345, "0.0123"),
            (0.9999, "1"),
            (-2.5, "-2.5"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(digits(value), shown, "{value}");
        }
    }

    #[test]
    fn a_unit_changes_with_the_size() {
        assert_eq!(Unit::Plain.show(1500.0), "1.5 k");
        assert_eq!(Unit::Plain.show(999.9), "1 k");
        assert_eq!(Unit::Bytes.show(1536.0), "1.5 KiB");
        assert_eq!(Unit::Bytes.show(64.0), "64 B");
        assert_eq!(Unit::Nanoseconds.show(2_500.0), "2.5 µs");
        assert_eq!(Unit::Nanoseconds.show(0.3), "0.3 ns");
        assert_eq!(Unit::Times.show(0.25), "0.25×");
        assert_eq!(Unit::Percent.show(0.123), "12.3 %");
        assert_eq!(Unit::Whole.show(1024.0), "1024");
    }
}
