//! Rows by name, a mark for each value: percentiles of several contenders, ratios of many workloads.
//!
//! What a mark means stands in a key above. On a narrow drawing the names stand above their rows, not beside them, and all on
//! one side of the guide.

use crate::axis::{Axis, Scale};
use crate::drawing::{self, Anchor, Dash, Drawing, Mark};
use crate::head::{self, Frame, Head, Layout};
use crate::ink::Ink;
use crate::text::{cut, width, wrap};

/// What a mark stands for.
#[derive(Clone, Debug)]
pub struct Kind {
    /// In the key.
    pub name: String,
    /// Its colour.
    pub ink: Ink,
    /// Its shape.
    pub mark: Mark,
}

impl Kind {
    /// In the colour and shape of number `number`.
    pub fn numbered(name: impl Into<String>, number: usize) -> Self {
        Self { name: name.into(), ink: Ink::Series(number), mark: drawing::mark(number) }
    }
}

/// A value.
#[derive(Clone, Copy, Debug)]
pub struct Dot {
    /// Which of the chart's kinds.
    pub kind: usize,
    /// The value.
    pub value: f64,
    /// The ends of its whisker; both the value for none.
    pub spread: (f64, f64),
}

impl Dot {
    /// A value without a whisker.
    pub fn at(kind: usize, value: f64) -> Self {
        Self { kind, value, spread: (value, value) }
    }
}

/// A row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What stands out among the rows.
    pub is_ours: bool,
    /// The values.
    pub dots: Vec<Dot>,
}

/// The chart.
#[derive(Clone, Debug, Default)]
pub struct DotChart {
    /// Title and remarks.
    pub head: Head,
    /// The axis of all values.
    pub x: Axis,
    /// What marks stand for.
    pub kinds: Vec<Kind>,
    /// From top to bottom.
    pub rows: Vec<Row>,
    /// A value that the others are held against, and what it is.
    pub guide: Option<(f64, String)>,
    /// A thin line joins the values of a row.
    pub is_joined: bool,
    /// There is no key: the rows' names say it all.
    pub is_keyless: bool,
}

impl DotChart {
    /// Draws it.
    pub fn draw(&self, layout: &Layout) -> Drawing {
        let (mut drawing, top) = head::begin(&self.head, layout);
        let top = self.draw_key(&mut drawing, layout, top) + 8.0;
        let size = layout.font * 0.95;
        let is_stacked = layout.width < 500.0;
        let names = self.rows.iter().map(|row| width(&row.name, size, row.is_ours)).fold(0.0, f64::max);
        let names = names.min(layout.width * 0.4);
        let height = if is_stacked { layout.line() * 2.2 } else { layout.line() * 1.5 };
        let left = layout.margin() + if is_stacked { 2.0 } else { names + 10.0 };
        let guide_room = if self.guide.is_some() { layout.line() + 6.0 } else { 0.0 };
        let top = top + guide_room;
        let bottom = top + height * self.rows.len().max(1) as f64;
        let frame = Frame { left, right: layout.width - layout.margin() - 10.0, top, bottom };
        let values = self.rows.iter().flat_map(|row| &row.dots).flat_map(|dot| [dot.value, dot.spread.0, dot.spread.1]);
        let values = values.chain(self.guide.iter().map(|guide| guide.0));
        let x = self.x.scale(values, frame.left + 8.0, frame.right - 8.0, 0.02);

        head::watermark(&mut drawing, &self.head, &frame);
        self.draw_axis(&mut drawing, layout, &frame, &x);
        let stacked = self.names_between(&frame, &x, names);
        for (i, row) in self.rows.iter().enumerate() {
            let middle = frame.top + height * (i as f64 + if is_stacked { 0.72 } else { 0.5 });
            let (at, anchor, room) = match is_stacked {
                true => ((stacked.0, middle - layout.line() * 0.62), Anchor::Start, stacked.1 - stacked.0),
                false => ((frame.left - 8.0, middle + size * 0.35), Anchor::End, names + 1.0),
            };
            drawing.line(vec![(frame.left, middle), (frame.right, middle)], Ink::Grid, 1.0, Dash::Solid);
            self.draw_row(&mut drawing, row, &x, middle);
            let name = cut(&row.name, size, row.is_ours, room);
            match row.is_ours {
                true => drawing.bold(at, anchor, size, Ink::Text, name),
                false => drawing.text(at, anchor, size, Ink::Text, name),
            }
        }

        let mut bottom = frame.bottom + layout.line() + 4.0;
        for line in wrap(&self.x.label, layout.font * 0.92, false, layout.width - 2.0 * layout.margin()) {
            bottom += layout.line();
            drawing.text(
                ((frame.left + frame.right) / 2.0, bottom),
                Anchor::Middle,
                layout.font * 0.92,
                Ink::Muted,
                line,
            );
        }
        head::finish(drawing, &self.head, layout, bottom + 4.0)
    }

    /// From where to where names stand that are above their rows: at the left of the guide if the widest has room there,
    /// else where there is more.
    fn names_between(&self, frame: &Frame, x: &Scale, widest: f64) -> (f64, f64) {
        /// Between a name and the guide.
        const GAP: f64 = 6.0;
        let guide = self.guide.as_ref().filter(|guide| self.x.shows(guide.0)).map(|guide| x.place(guide.0));
        let Some(guide) = guide else { return (frame.left, frame.right) };
        let (before, behind) = (guide - GAP - frame.left, frame.right - guide - GAP);
        if widest <= before || before > behind { (frame.left, guide - GAP) } else { (guide + GAP, frame.right) }
    }

    /// The key, in as many lines as it takes; where it ends.
    fn draw_key(&self, drawing: &mut Drawing, layout: &Layout, top: f64) -> f64 {
        if self.is_keyless {
            return top;
        }
        let size = layout.font * 0.92;
        let used = |kind: usize| self.rows.iter().flat_map(|row| &row.dots).any(|dot| dot.kind == kind);
        let (mut left, mut base) = (layout.margin(), top + layout.line());
        for (_, kind) in self.kinds.iter().enumerate().filter(|(number, _)| used(*number)) {
            let wide = 16.0 + width(&kind.name, size, false) + 12.0;
            if left > layout.margin() && left + wide > layout.width - layout.margin() {
                (left, base) = (layout.margin(), base + layout.line());
            }
            drawing.mark((left + 6.0, base - size * 0.35), kind.mark, 4.0, kind.ink);
            drawing.text((left + 15.0, base), Anchor::Start, size, kind.ink, kind.name.as_str());
            left += wide;
        }
        base
    }

    fn draw_axis(&self, drawing: &mut Drawing, layout: &Layout, frame: &Frame, x: &Scale) {
        let size = layout.font * 0.92;
        let widest = self.x.ticks_on(x, 8).into_iter().map(|tick| width(&self.x.unit.show(tick), size, false));
        let nr = ((frame.right - frame.left) / (widest.fold(20.0, f64::max) * 1.4)) as usize;
        for tick in self.x.ticks_on(x, nr.min(10)) {
            let at = x.place(tick);
            drawing.line(vec![(at, frame.top), (at, frame.bottom)], Ink::Grid, 1.0, Dash::Solid);
            let shown = self.x.unit.show(tick);
            // The last may be wider than what is free behind it.
            let middle = at.min(layout.width - layout.margin() - width(&shown, size, false) / 2.0);
            drawing.text((middle, frame.bottom + layout.line()), Anchor::Middle, size, Ink::Muted, shown);
        }
        drawing.line(vec![(frame.left, frame.bottom), (frame.right, frame.bottom)], Ink::Muted, 1.0, Dash::Solid);
        if let Some((value, name)) = self.guide.as_ref().filter(|guide| self.x.shows(guide.0)) {
            let at = x.place(*value);
            drawing.line(vec![(at, frame.top - 4.0), (at, frame.bottom)], Ink::Muted, 1.25, Dash::Dashed);
            let half = width(name, size, false) / 2.0;
            let middle = at.min(layout.width - layout.margin() - half).max(layout.margin() + half);
            drawing.text((middle, frame.top - 8.0), Anchor::Middle, size, Ink::Muted, name.as_str());
        }
    }

    fn draw_row(&self, drawing: &mut Drawing, row: &Row, x: &Scale, middle: f64) {
        let dots = || row.dots.iter().filter(|dot| self.x.shows(dot.value));
        let places: Vec<f64> = dots().map(|dot| x.place(dot.value)).collect();
        let ends = places.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), &at| (a.min(at), b.max(at)));
        if self.is_joined && ends.0 < ends.1 {
            drawing.line(vec![(ends.0, middle), (ends.1, middle)], Ink::Muted, 1.5, Dash::Solid);
        }
        // The first kinds come last, topmost.
        let mut ordered: Vec<_> = dots().zip(places).collect();
        ordered.sort_by_key(|(dot, _)| std::cmp::Reverse(dot.kind));
        for (dot, at) in ordered {
            let Some(kind) = self.kinds.get(dot.kind) else { continue };
            let (low, high) = dot.spread;
            if low < high && self.x.shows(low) && self.x.shows(high) && x.place(high) - x.place(low) > 8.0 {
                drawing.line(vec![(x.place(low), middle), (x.place(high), middle)], kind.ink, 2.0, Dash::Solid);
            }
            drawing.mark((at, middle), kind.mark, 4.5, kind.ink);
        }
    }
}
