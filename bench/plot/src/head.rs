//! What every chart has, and how large it is drawn.

use crate::drawing::{Anchor, Drawing, Shape};
use crate::ink::Ink;
use crate::text::{width, wrap};

/// What every chart has.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// A sentence: what was found.
    pub title: String,
    /// Where and how it was measured.
    pub subtitle: String,
    /// What keeps it from meaning more; below the chart.
    pub remark: String,
    /// Written behind the data; empty for none.
    pub watermark: String,
}

impl Head {
    /// A title and nothing else.
    pub fn titled(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }
}

/// How large a chart is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Pixels.
    pub width: f64,
    /// Pixels that the data has at least, from top to bottom.
    pub plot_height: f64,
    /// Height of the font, in pixels.
    pub font: f64,
    /// With title, subtitle and remark: a picture that stands alone.
    pub is_alone: bool,
}

impl Layout {
    /// On a page, where there is room.
    pub const WIDE: Self = Self { width: 760.0, plot_height: 320.0, font: 13.0, is_alone: false };
    /// On a page, on a telephone.
    pub const NARROW: Self = Self { width: 360.0, plot_height: 270.0, font: 12.0, is_alone: false };
    /// A picture by itself.
    pub const FULL: Self = Self { width: 800.0, plot_height: 340.0, font: 13.5, is_alone: true };

    /// Between two lines of text.
    pub(crate) fn line(&self) -> f64 {
        self.font * 1.3
    }

    /// Free at the edges.
    pub(crate) fn margin(&self) -> f64 {
        if self.is_alone { 16.0 } else { 2.0 }
    }
}

/// The rectangle that data is drawn in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

/// A new drawing with the head on it, and the place below the head.
pub(crate) fn begin(head: &Head, layout: &Layout) -> (Drawing, f64) {
    let mut drawing = Drawing { width: layout.width, says: head.title.clone(), ..Drawing::default() };
    let (margin, mut top) = (layout.margin(), layout.margin());
    if !layout.is_alone {
        return (drawing, top);
    }
    let room = layout.width - 2.0 * margin;
    let size = layout.font * 1.3;
    for line in wrap(&head.title, size, true, room) {
        top += size * 1.25;
        drawing.bold((margin, top), Anchor::Start, size, Ink::Text, line);
    }
    top += 4.0;
    for line in wrap(&head.subtitle, layout.font * 0.92, false, room) {
        top += layout.line();
        drawing.text((margin, top), Anchor::Start, layout.font * 0.92, Ink::Muted, line);
    }
    (drawing, top + 10.0)
}

/// Adds the remark below `bottom`, the ground below all, and ends the drawing.
pub(crate) fn finish(mut drawing: Drawing, head: &Head, layout: &Layout, bottom: f64) -> Drawing {
    let margin = layout.margin();
    let mut bottom = bottom;
    if layout.is_alone {
        let size = layout.font * 0.88;
        for line in wrap(&head.remark, size, false, layout.width - 2.0 * margin) {
            bottom += layout.line();
            drawing.text((margin, bottom), Anchor::Start, size, Ink::Muted, line);
        }
        bottom += size * 0.4;
    }
    drawing.height = (bottom + margin).ceil();
    if layout.is_alone {
        let (width, height) = (drawing.width, drawing.height);
        let points = vec![(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)];
        drawing.shapes.insert(0, Shape::Area { points, ink: Ink::Surface, opacity: 1.0 });
    }
    drawing
}

/// Writes the watermark across the frame.
pub(crate) fn watermark(drawing: &mut Drawing, head: &Head, frame: &Frame) {
    if head.watermark.is_empty() {
        return;
    }
    let (wide, high) = (frame.right - frame.left, frame.bottom - frame.top);
    // As large as fits along the diagonal, which is turned by no more than looks well.
    let turn = (high / wide).atan().to_degrees().min(22.0);
    let along = wide * 0.82 / turn.to_radians().cos().max(0.5);
    let size = (along / width(&head.watermark, 1.0, true).max(0.1)).min(high * 0.3);
    let (sin, cos) = turn.to_radians().sin_cos();
    // The base line runs below the middle of the letters.
    let at =
        ((frame.left + frame.right) / 2.0 + sin * size * 0.35, (frame.top + frame.bottom) / 2.0 + cos * size * 0.35);
    drawing.shapes.push(Shape::Text {
        at,
        anchor: Anchor::Middle,
        size,
        is_bold: true,
        turn: -turn,
        ink: Ink::Watermark,
        text: head.watermark.clone(),
    });
}

/// Writes `label` in lines from `top` on, and says where they end.
pub(crate) fn label(drawing: &mut Drawing, text: &str, layout: &Layout, top: f64) -> f64 {
    let size = layout.font * 0.92;
    let mut top = top;
    for line in wrap(text, size, false, layout.width - 2.0 * layout.margin()) {
        top += layout.line();
        drawing.text((layout.margin(), top), Anchor::Start, size, Ink::Muted, line);
    }
    top
}
