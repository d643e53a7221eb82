//! Lines over a numeric axis: throughput against CPUs, cost against size, memory against time.
//!
//! The names stand at the right, each beside the end of its line or led there by a dotted one, never over one another.
//! Points are joined in the order in which they are given, so that a line may turn back.

use crate::axis::{Axis, Scale};
use crate::drawing::{self, Anchor, Dash, Drawing, Mark};
use crate::head::{self, Frame, Head, Layout};
use crate::ink::Ink;
use crate::labels::spread;
use crate::text::{cut, width, wrap};

/// A value, and how far it may be off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// On the horizontal axis.
    pub x: f64,
    /// On the vertical axis.
    pub y: f64,
    /// The ends of its whisker; both `y` for none.
    pub spread: (f64, f64),
}

impl Point {
    /// A value without a whisker.
    pub fn at(x: f64, y: f64) -> Self {
        Self { x, y, spread: (y, y) }
    }
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Stands at its end.
    pub name: String,
    /// In the order in which they are joined.
    pub points: Vec<Point>,
    /// Its colour.
    pub ink: Ink,
    /// Its marks; none for a line of many points.
    pub mark: Option<Mark>,
    /// Drawn thicker, its name bold.
    pub is_ours: bool,
    /// The area below it is coloured.
    pub is_filled: bool,
    /// No data but what it is held against: dashed, and the axis need not reach it.
    pub is_guide: bool,
}

impl Series {
    /// A plain line in the first colour.
    pub fn line(name: impl Into<String>, points: Vec<Point>) -> Self {
        let name = name.into();
        let (ink, mark) = (Ink::Series(0), None);
        Self { name, points, ink, mark, is_ours: false, is_filled: false, is_guide: false }
    }

    /// A line in the colour and with the marks of number `number`.
    pub fn numbered(name: impl Into<String>, points: Vec<Point>, number: usize) -> Self {
        let (ink, mark) = (Ink::Series(number), Some(drawing::mark(number)));
        Self { ink, mark, ..Self::line(name, points) }
    }

    /// A dashed line in the colour of what explains.
    pub fn guide(name: impl Into<String>, points: Vec<Point>) -> Self {
        Self { ink: Ink::Muted, is_guide: true, ..Self::line(name, points) }
    }

    /// With the area below it coloured.
    #[must_use]
    pub fn filled(mut self) -> Self {
        self.is_filled = true;
        self
    }
}

/// A region of the horizontal axis that is set apart.
#[derive(Clone, Debug)]
pub struct Band {
    /// Where it begins.
    pub from: f64,
    /// Where it ends; infinite for the end of the axis.
    pub to: f64,
    /// What it is.
    pub name: String,
}

/// The chart.
#[derive(Clone, Debug, Default)]
pub struct LineChart {
    /// Title and remarks.
    pub head: Head,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines; the first is laid topmost.
    pub series: Vec<Series>,
    /// Regions.
    pub bands: Vec<Band>,
}

impl LineChart {
    /// Draws it.
    pub fn draw(&self, layout: &Layout) -> Drawing {
        let (mut drawing, top) = head::begin(&self.head, layout);
        let top = head::label(&mut drawing, &self.y.label, layout, top);
        let frame = self.frame(layout, top);
        let data = || self.series.iter().filter(|series| !series.is_guide).flat_map(|series| &series.points);
        let x = self.x.scale(data().map(|point| point.x), frame.left + 8.0, frame.right - 8.0, 0.0);
        let y_values = data().flat_map(|point| [point.y, point.spread.0, point.spread.1]);
        let strip = self.draw_bands(&mut drawing, layout, &frame, &x);
        let y = self.y.scale(y_values, frame.bottom, strip + 4.0, 0.04);

        head::watermark(&mut drawing, &self.head, &frame);
        self.draw_axes(&mut drawing, layout, &frame, &x, &y);
        let data_frame = Frame { top: strip, ..frame };
        for (number, series) in self.series.iter().enumerate().rev() {
            // Whiskers of points in one place stand beside one another.
            let aside = (number as f64 - (self.series.len() - 1) as f64 / 2.0) * 1.6;
            self.draw_series(&mut drawing, series, aside, &data_frame, &x, &y);
        }
        self.draw_names(&mut drawing, layout, &data_frame, &x, &y);

        let mut bottom = frame.bottom + layout.line() + 4.0;
        let middle = (frame.left + frame.right) / 2.0;
        for line in wrap(&self.x.label, layout.font * 0.92, false, layout.width - 2.0 * layout.margin()) {
            bottom += layout.line();
            let half = width(&line, layout.font * 0.92, false) / 2.0;
            let at = middle.min(layout.width - layout.margin() - half).max(layout.margin() + half);
            drawing.text((at, bottom), Anchor::Middle, layout.font * 0.92, Ink::Muted, line);
        }
        head::finish(drawing, &self.head, layout, bottom + 4.0)
    }

    /// Series with something to show, each with its rightmost point.
    fn named(&self) -> impl Iterator<Item = (&Series, &Point)> {
        let shown = |point: &&Point| self.x.shows(point.x) && self.y.shows(point.y);
        self.series.iter().filter_map(move |series| {
            let last = series.points.iter().filter(shown).max_by(|a, b| a.x.total_cmp(&b.x))?;
            (!series.name.is_empty()).then_some((series, last))
        })
    }

    fn frame(&self, layout: &Layout, top: f64) -> Frame {
        let size = layout.font * 0.92;
        // How wide the numbers are does not depend on where the axis is.
        let values = self.series.iter().filter(|series| !series.is_guide).flat_map(|series| &series.points);
        let y = self.y.scale(values.flat_map(|point| [point.y, point.spread.0, point.spread.1]), 300.0, 0.0, 0.04);
        let numbers = self.y.ticks_on(&y, 6).into_iter().map(|tick| width(&self.y.unit.show(tick), size, false));
        let numbers = numbers.fold(12.0, f64::max);
        let names = self.named().map(|(series, _)| width(&series.name, layout.font, series.is_ours));
        let names = names.fold(0.0, f64::max).min(layout.width * 0.36);
        let nr_names = self.named().count();
        let (left, top) = (layout.margin() + numbers + 6.0, top + 10.0);
        let right = layout.width - layout.margin() - if nr_names == 0 { 8.0 } else { names + 18.0 };
        let height = layout.plot_height.max(nr_names as f64 * layout.line());
        Frame { left, right, top, bottom: top + height }
    }

    /// Draws the bands, their names in a strip above the data, and says where that strip ends.
    fn draw_bands(&self, drawing: &mut Drawing, layout: &Layout, frame: &Frame, x: &Scale) -> f64 {
        let mut strip = frame.top;
        for band in &self.bands {
            let from = x.place(band.from).clamp(frame.left, frame.right);
            let to = if band.to.is_finite() { x.place(band.to).clamp(frame.left, frame.right) } else { frame.right };
            if to - from < 1.0 {
                continue;
            }
            drawing.rect((from, frame.top), (to, frame.bottom), Ink::Band, 1.0);
            let size = layout.font * 0.85;
            for (i, line) in wrap(&band.name, size, false, (to - from - 8.0).max(60.0)).into_iter().enumerate() {
                let base = frame.top + 3.0 + size * (1.0 + i as f64 * 1.25);
                drawing.text((to - 5.0, base), Anchor::End, size, Ink::Muted, line);
                strip = strip.max(base + size * 0.5);
            }
        }
        strip
    }

    fn draw_axes(&self, drawing: &mut Drawing, layout: &Layout, frame: &Frame, x: &Scale, y: &Scale) {
        let size = layout.font * 0.92;
        let nr = ((frame.bottom - frame.top) / 52.0) as usize;
        for tick in self.y.ticks_on(y, nr) {
            let at = y.place(tick);
            drawing.line(vec![(frame.left, at), (frame.right, at)], Ink::Grid, 1.0, Dash::Solid);
            let place = (frame.left - 6.0, at + size * 0.35);
            drawing.text(place, Anchor::End, size, Ink::Muted, self.y.unit.show(tick));
        }
        drawing.line(vec![(frame.left, frame.bottom), (frame.right, frame.bottom)], Ink::Muted, 1.0, Dash::Solid);
        let widest = self.x.ticks_on(x, 8).into_iter().map(|tick| width(&self.x.unit.show(tick), size, false));
        let nr = ((frame.right - frame.left) / (widest.fold(20.0, f64::max) * 1.3)) as usize;
        for tick in self.x.ticks_on(x, nr.min(12)) {
            let at = x.place(tick);
            drawing.line(vec![(at, frame.bottom), (at, frame.bottom + 4.0)], Ink::Muted, 1.0, Dash::Solid);
            let place = (at, frame.bottom + layout.line() + 3.0);
            drawing.text(place, Anchor::Middle, size, Ink::Muted, self.x.unit.show(tick));
        }
    }

    fn draw_series(&self, drawing: &mut Drawing, series: &Series, aside: f64, frame: &Frame, x: &Scale, y: &Scale) {
        let shown = || series.points.iter().filter(|point| self.x.shows(point.x) && self.y.shows(point.y));
        let places: Vec<_> = shown().map(|point| (x.place(point.x), y.place(point.y))).collect();
        if series.is_guide {
            for part in places.windows(2) {
                if let Some((from, to)) = clipped(part[0], part[1], frame) {
                    drawing.line(vec![from, to], series.ink, 1.25, Dash::Dashed);
                }
            }
            return;
        }
        if let (true, Some(first), Some(last)) = (series.is_filled, places.first(), places.last()) {
            let floor = [(last.0, frame.bottom), (first.0, frame.bottom)];
            let points = places.iter().copied().chain(floor).collect();
            drawing.shapes.push(crate::drawing::Shape::Area { points, ink: series.ink, opacity: 0.18 });
        }
        for point in shown() {
            let (low, high) = point.spread;
            if low < high && self.y.shows(low) && self.y.shows(high) {
                let (at, low, high) = (x.place(point.x) + aside, y.place(low), y.place(high));
                // Shorter than the mark is hidden by it anyway.
                if low - high > 3.0 {
                    drawing.line(vec![(at, low), (at, high)], series.ink, 1.0, Dash::Solid);
                    for end in [low, high] {
                        drawing.line(vec![(at - 3.5, end), (at + 3.5, end)], series.ink, 1.0, Dash::Solid);
                    }
                }
            }
        }
        drawing.line(places.clone(), series.ink, if series.is_ours { 2.75 } else { 1.75 }, Dash::Solid);
        if let Some(mark) = series.mark {
            places.into_iter().for_each(|at| drawing.mark(at, mark, 4.0, series.ink));
        }
    }

    fn draw_names(&self, drawing: &mut Drawing, layout: &Layout, frame: &Frame, x: &Scale, y: &Scale) {
        let room = layout.width - layout.margin() - frame.right - 14.0;
        let mut beside = Vec::new();
        for (series, last) in self.named() {
            let end = (x.place(last.x), y.place(last.y));
            match series.is_guide.then(|| self.leaves_above(series, frame, x, y)).flatten() {
                // Beside it there is no place at the right: its name stands where it leaves.
                Some(exit) => {
                    let place = (exit + 6.0, frame.top + layout.font * 1.1);
                    drawing.text(place, Anchor::Start, layout.font, series.ink, series.name.as_str());
                }
                None => beside.push((series, (end.0, end.1.clamp(frame.top, frame.bottom)))),
            }
        }
        let wanted: Vec<f64> = beside.iter().map(|(_, end)| end.1).collect();
        let places = spread(&wanted, layout.font * 1.2, frame.top + 4.0, frame.bottom - 2.0);
        for ((series, end), place) in beside.into_iter().zip(places) {
            let (start, is_far) = ((frame.right + 10.0, place), frame.right - end.0 > 14.0);
            if is_far || (place - end.1).abs() > 2.5 {
                let knee = is_far.then_some((frame.right - 1.0, end.1));
                let points = [(end.0 + 6.0, end.1)].into_iter().chain(knee).chain([start]).collect();
                drawing.line(points, series.ink, 1.0, Dash::Dotted);
            }
            let name = cut(&series.name, layout.font, series.is_ours, room);
            let at = (frame.right + 13.0, place + layout.font * 0.35);
            match series.is_ours {
                true => drawing.bold(at, Anchor::Start, layout.font, series.ink, name),
                false => drawing.text(at, Anchor::Start, layout.font, series.ink, name),
            }
        }
    }

    /// Where a guide leaves the frame at its top, if there is room for its name right of that.
    fn leaves_above(&self, series: &Series, frame: &Frame, x: &Scale, y: &Scale) -> Option<f64> {
        let shown = series.points.iter().filter(|point| self.x.shows(point.x) && self.y.shows(point.y));
        let places: Vec<_> = shown.map(|point| (x.place(point.x), y.place(point.y))).collect();
        let mut parts = places.windows(2).filter_map(|part| clipped(part[0], part[1], frame));
        let (_, exit) = parts.next_back()?;
        let has_room = frame.right - exit.0 > width(&series.name, 16.0, false) + 8.0;
        (exit.1 <= frame.top + 0.5 && has_room).then_some(exit.0)
    }
}

/// The part of a stretch that is within the frame, after Liang and Barsky.
fn clipped(from: (f64, f64), to: (f64, f64), frame: &Frame) -> Option<((f64, f64), (f64, f64))> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut enters, mut leaves) = (0.0_f64, 1.0_f64);
    let bounds = [
        (-dx, from.0 - frame.left),
        (dx, frame.right - from.0),
        (-dy, from.1 - frame.top),
        (dy, frame.bottom - from.1),
    ];
    for (speed, room) in bounds {
        if speed == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if speed < 0.0 {
            enters = enters.max(room / speed);
        } else {
            leaves = leaves.min(room / speed);
        }
    }
    let at = |part: f64| (from.0 + part * dx, from.1 + part * dy);
    (enters < leaves).then(|| (at(enters), at(leaves)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guide_ends_at_the_frame() {
        let frame = Frame { left: 0.0, right: 10.0, top: 0.0, bottom: 10.0 };
        assert_eq!(clipped((0.0, 10.0), (20.0, -10.0), &frame), Some(((0.0, 10.0), (10.0, 0.0))));
        assert_eq!(clipped((2.0, 2.0), (3.0, 2.0), &frame), Some(((2.0, 2.0), (3.0, 2.0))));
        assert_eq!(clipped((0.0, 20.0), (10.0, 12.0), &frame), None);
        assert_eq!(clipped((-5.0, 20.0), (20.0, 20.0), &frame), None);
    }
}
