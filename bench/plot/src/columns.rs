//! A column for each of many names in order: a histogram.

use crate::axis::Axis;
use crate::drawing::{Anchor, Dash, Drawing};
use crate::head::{self, Frame, Head, Layout};
use crate::ink::Ink;
use crate::text::{width, wrap};

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Below it, where there is room for all; else below every so many.
    pub name: String,
    /// Its height.
    pub value: f64,
}

/// The chart.
#[derive(Clone, Debug, Default)]
pub struct ColumnChart {
    /// Title and remarks.
    pub head: Head,
    /// What the names are.
    pub x_label: String,
    /// The vertical axis.
    pub y: Axis,
    /// From left to right.
    pub columns: Vec<Column>,
    /// Colour of all of them; the first if not said.
    pub series: usize,
}

impl ColumnChart {
    /// Draws it.
    pub fn draw(&self, layout: &Layout) -> Drawing {
        let (mut drawing, top) = head::begin(&self.head, layout);
        let top = head::label(&mut drawing, &self.y.label, layout, top) + 10.0;
        let size = layout.font * 0.92;
        let values = || self.columns.iter().map(|column| column.value);
        let nr = (layout.plot_height / 52.0) as usize;
        let measure = self.y.scale(values(), layout.plot_height, 0.0, 0.04);
        let numbers = self.y.ticks_on(&measure, nr).into_iter().map(|tick| width(&self.y.unit.show(tick), size, false));
        let left = layout.margin() + numbers.fold(12.0, f64::max) + 6.0;
        let frame = Frame { left, right: layout.width - layout.margin() - 6.0, top, bottom: top + layout.plot_height };
        let y = self.y.scale(values(), frame.bottom, frame.top + 4.0, 0.04);

        head::watermark(&mut drawing, &self.head, &frame);
        for tick in self.y.ticks_on(&y, nr) {
            let at = y.place(tick);
            drawing.line(vec![(frame.left, at), (frame.right, at)], Ink::Grid, 1.0, Dash::Solid);
            drawing.text((frame.left - 6.0, at + size * 0.35), Anchor::End, size, Ink::Muted, self.y.unit.show(tick));
        }
        let step = (frame.right - frame.left) / self.columns.len().max(1) as f64;
        let widest = self.columns.iter().map(|column| width(&column.name, size, false)).fold(8.0, f64::max);
        let every = ((widest + 6.0) / step).ceil().max(1.0) as usize;
        for (i, column) in self.columns.iter().enumerate() {
            let from = frame.left + i as f64 * step;
            let (side, middle) = ((step * 0.12).min(4.0), from + step / 2.0);
            if self.y.shows(column.value) && column.value != 0.0 {
                // What is not nothing is seen, however little it is.
                let top = y.place(column.value).min(frame.bottom - 1.0);
                drawing.rect((from + side, top), (from + step - side, frame.bottom), Ink::Series(self.series), 1.0);
            }
            if i.is_multiple_of(every) {
                let half = width(&column.name, size, false) / 2.0;
                let at = middle.min(layout.width - layout.margin() - half);
                drawing.text(
                    (at, frame.bottom + layout.line()),
                    Anchor::Middle,
                    size,
                    Ink::Muted,
                    column.name.as_str(),
                );
            }
        }
        drawing.line(vec![(frame.left, frame.bottom), (frame.right, frame.bottom)], Ink::Muted, 1.0, Dash::Solid);

        let mut bottom = frame.bottom + layout.line() + 4.0;
        for line in wrap(&self.x_label, size, false, layout.width - 2.0 * layout.margin()) {
            bottom += layout.line();
            drawing.text(((frame.left + frame.right) / 2.0, bottom), Anchor::Middle, size, Ink::Muted, line);
        }
        head::finish(drawing, &self.head, layout, bottom + 4.0)
    }
}
