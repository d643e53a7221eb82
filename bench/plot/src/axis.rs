//! An axis: what it says, which values it shows, where its ticks are, and where a value is in pixels.

use crate::number::Unit;

/// What a caller says of an axis.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    /// What is measured, in which unit, and which direction is better.
    pub label: String,
    /// Equal distances are equal ratios. A linear axis begins at 0 if no value is below.
    pub is_log: bool,
    /// How its numbers are shown.
    pub unit: Unit,
    /// Values that must be within, beside the data.
    pub include: Vec<f64>,
    /// Where ticks are; none lets the axis choose.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis of equal steps.
    pub fn linear(label: impl Into<String>, unit: Unit) -> Self {
        Self { label: label.into(), unit, ..Self::default() }
    }

    /// An axis of equal ratios.
    pub fn log(label: impl Into<String>, unit: Unit) -> Self {
        Self { is_log: true, ..Self::linear(label, unit) }
    }

    /// With these values within, whatever the data.
    #[must_use]
    pub fn including(mut self, values: &[f64]) -> Self {
        self.include.extend_from_slice(values);
        self
    }

    /// With ticks there and nowhere else.
    #[must_use]
    pub fn ticked(mut self, ticks: &[f64]) -> Self {
        self.ticks = ticks.to_vec();
        self
    }

    /// Whether the axis has a place for `value`.
    pub fn shows(&self, value: f64) -> bool {
        value.is_finite() && (!self.is_log || value > 0.0)
    }

    /// The axis from pixel `from` to pixel `to`, with all of `values` in it. `margin` is the part of its length that
    /// is left free beyond the data.
    pub(crate) fn scale(&self, values: impl Iterator<Item = f64>, from: f64, to: f64, margin: f64) -> Scale {
        let all = values.chain(self.include.iter().copied()).filter(|&value| self.shows(value));
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        let (low, high) = if self.is_log { (low.ln(), high.ln()) } else { (low.min(0.0), high.max(0.0)) };
        // A single value stands in the middle of something.
        let (low, high) = match (high - low > if self.is_log { 1e-9 } else { 0.0 }, self.is_log) {
            (true, _) => (low, high),
            (false, true) => (low - 0.7, high + 0.7),
            (false, false) => (low, high + 1.0),
        };
        let free = (high - low) * margin;
        // Zero is a bound by itself.
        let low = if !self.is_log && low == 0.0 { low } else { low - free };
        Scale { is_log: self.is_log, low, high: high + free, from, to }
    }

    /// Ticks on `scale`, at most about `nr`.
    pub(crate) fn ticks_on(&self, scale: &Scale, nr: usize) -> Vec<f64> {
        let nr = nr.max(2);
        if !self.ticks.is_empty() {
            let shown: Vec<f64> = self.ticks.iter().copied().filter(|&tick| scale.holds(tick)).collect();
            return thinned(shown, scale, nr);
        }
        let ticks = match (self.is_log, self.unit) {
            (true, Unit::Bytes) => powers(scale, 2.0, nr),
            (true, _) => decades(scale, nr),
            (false, Unit::Bytes) => steps(scale, nr, byte_step),
            (false, _) => steps(scale, nr, round_step),
        };
        // A short piece of a logarithmic axis is nearly linear.
        if ticks.len() < 2 { steps(scale, nr, round_step) } else { ticks }
    }
}

/// Where values are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    is_log: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// The pixel of a value, which may be outside.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// The value of a pixel.
    pub(crate) fn value(&self, place: f64) -> f64 {
        let value = self.low + (place - self.from) / (self.to - self.from) * (self.high - self.low);
        if self.is_log { value.exp() } else { value }
    }

    /// Whether a value is within.
    fn holds(&self, value: f64) -> bool {
        let slack = (self.high - self.low) * 1e-9;
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).ln() } else { value };
        (self.low - slack..=self.high + slack).contains(&value)
    }

    /// The values of both ends.
    fn ends(&self) -> (f64, f64) {
        (self.value(self.from), self.value(self.to))
    }
}

/// `ticks` without those that stand too close to one that is kept; the last is always kept.
fn thinned(ticks: Vec<f64>, scale: &Scale, nr: usize) -> Vec<f64> {
    let distance = (scale.to - scale.from).abs() / nr as f64;
    let mut kept: Vec<f64> = Vec::new();
    for &tick in ticks.iter().rev() {
        if kept.last().is_none_or(|&last| (scale.place(last) - scale.place(tick)).abs() >= distance * 0.8) {
            kept.push(tick);
        }
    }
    kept.reverse();
    kept
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].iter().map(|n| n * power).find(|&step| step >= least * 0.999_999).unwrap_or(power * 10.0)
}

/// A power of two, not below `least`.
fn byte_step(least: f64) -> f64 {
    2_f64.powf(least.log2().ceil()).max(1.0)
}

fn steps(scale: &Scale, nr: usize, step: impl Fn(f64) -> f64) -> Vec<f64> {
    let (low, high) = scale.ends();
    let step = step((high - low) / nr as f64);
    let first = (low / step).ceil() as i64;
    // Bounded by the choice of the step; the bound here is for numbers beyond its precision.
    (0..=2 * nr as i64).map(|i| (first + i) as f64 * step).take_while(|&tick| tick <= high * (1.0 + 1e-9)).collect()
}

/// Powers of `base`, as many of them as are wanted.
fn powers(scale: &Scale, base: f64, nr: usize) -> Vec<f64> {
    let (low, high) = scale.ends();
    let (first, last) = ((low.ln() / base.ln() - 1e-9).ceil() as i32, (high.ln() / base.ln() + 1e-9).floor() as i32);
    let every = ((last - first).max(0) as usize / nr + 1) as i32;
    (first..=last).filter(|power| power.rem_euclid(every) == 0).map(|power| base.powi(power)).collect()
}

/// Powers of ten, and 2 and 5 times these where there are few.
fn decades(scale: &Scale, nr: usize) -> Vec<f64> {
    let tens = powers(scale, 10.0, nr);
    if tens.len() * 2 > nr || tens.len() > 3 {
        return tens;
    }
    let (low, high) = scale.ends();
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let all = (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|n| n * 10_f64.powi(power)));
    let all: Vec<f64> = all.filter(|&tick| scale.holds(tick)).collect();
    if all.len() <= nr { all } else { tens }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticks(axis: &Axis, values: &[f64], nr: usize) -> Vec<f64> {
        axis.ticks_on(&axis.scale(values.iter().copied(), 0.0, 300.0, 0.0), nr)
    }

    #[test]
    fn linear_axes_begin_at_zero_and_have_round_steps() {
        let axis = Axis::linear("", Unit::Plain);
        assert_eq!(ticks(&axis, &[3.0, 9.0], 5), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(&Axis::linear("", Unit::Bytes), &[3000.0], 4), [0.0, 1024.0, 2048.0]);
        assert_eq!(axis.scale([5.0].into_iter(), 0.0, 100.0, 0.0).place(0.0), 0.0);
    }

    #[test]
    fn logarithmic_axes_have_decades_or_parts_of_them() {
        let axis = Axis::log("", Unit::Plain);
        assert_eq!(ticks(&axis, &[1.0, 1e6], 7), [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!(ticks(&axis, &[1.0, 1e6], 3).len(), 3, "every second or third");
        assert_eq!(ticks(&axis, &[1.0, 10.0], 5), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(ticks(&Axis::log("", Unit::Bytes), &[16.0, 128.0], 5), [16.0, 32.0, 64.0, 128.0]);
        let narrow = ticks(&axis, &[1.1, 1.9], 4);
        assert!(narrow.len() >= 2, "{narrow:?}");
    }

    #[test]
    fn named_ticks_are_thinned_and_the_last_stays() {
        let axis = Axis::linear("", Unit::Whole).ticked(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(ticks(&axis, &[1.0, 8.0], 4), [2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(&axis, &[1.0, 8.0], 20).len(), 8);
    }

    proptest! {
        #[test]
        fn any_values_have_finite_places_and_few_ticks(
            values in proptest::collection::vec(any::<f64>(), 0..6), is_log in any::<bool>(), is_bytes in any::<bool>(),
        ) {
            // What is beyond this is no measurement, and not what axes are for.
            let values: Vec<f64> = values.into_iter().filter(|value| value.abs() < 1e30 && value.abs() > 1e-30).collect();
            let unit = if is_bytes { Unit::Bytes } else { Unit::Plain };
            let axis = Axis { is_log, ..Axis::linear("", unit) };
            let scale = axis.scale(values.iter().copied(), 0.0, 300.0, 0.05);
            for &value in values.iter().filter(|&&value| axis.shows(value)) {
                prop_assert!((-1.0..=301.0).contains(&scale.place(value)), "{value} at {}", scale.place(value));
            }
            prop_assert!(axis.ticks_on(&scale, 6).len() <= 15);
        }
    }
}
