//! A drawing as PNG, by day, with the font that is part of this program: the same picture on every host.

use std::fmt;

use tiny_skia::{FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};
use ttf_parser::OutlineBuilder;

use crate::drawing::{Anchor, Dash, Drawing, Place, Shape};
use crate::ink::Ink;
use crate::text::FONTS;

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PngError {
    /// No picture has so many pixels, or so few.
    Size {
        /// Pixels from left to right.
        width: f64,
        /// Pixels from top to bottom.
        height: f64,
    },
    /// The encoder refused it.
    Encoding,
}

impl fmt::Display for PngError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { width, height } => write!(f, "a picture of {width} by {height} pixels cannot be made"),
            Self::Encoding => write!(f, "the picture cannot be encoded as PNG"),
        }
    }
}

impl std::error::Error for PngError {}

/// The most pixels on a side: what a picture of more shows nobody can look at.
pub const MAX_SIDE: f64 = 16384.0;

/// Encodes a drawing, each of its pixels `scale` of the picture's.
///
/// # Errors
///
/// [`PngError`].
pub fn encode(drawing: &Drawing, scale: f32) -> Result<Vec<u8>, PngError> {
    let (width, height) = ((drawing.width * f64::from(scale)).ceil(), (drawing.height * f64::from(scale)).ceil());
    let error = PngError::Size { width, height };
    if !(1.0..=MAX_SIDE).contains(&width) || !(1.0..=MAX_SIDE).contains(&height) {
        return Err(error);
    }
    let mut picture = Pixmap::new(width as u32, height as u32).ok_or(error)?;
    let [red, green, blue] = Ink::Surface.day();
    picture.fill(tiny_skia::Color::from_rgba8(red, green, blue, 255));
    for shape in &drawing.shapes {
        paint_shape(&mut picture, shape, Transform::from_scale(scale, scale));
    }
    picture.encode_png().map_err(|_| PngError::Encoding)
}

fn paint(ink: Ink, opacity: f64) -> Paint<'static> {
    let [red, green, blue] = ink.day();
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(red, green, blue, (opacity.clamp(0.0, 1.0) * 255.0).round() as u8);
    paint
}

fn paint_shape(picture: &mut Pixmap, shape: &Shape, transform: Transform) {
    match shape {
        Shape::Area { points, ink, opacity } => fill(picture, path(points, true), &paint(*ink, *opacity), transform),
        Shape::Line { points, ink, width, dash } => {
            let dash = match dash {
                Dash::Solid => None,
                Dash::Dashed => StrokeDash::new(vec![6.0, 4.0], 0.0),
                Dash::Dotted => StrokeDash::new(vec![1.5, 2.5], 0.0),
            };
            stroke(picture, path(points, false), &paint(*ink, 1.0), *width as f32, dash, transform);
        }
        Shape::Mark { at, mark, radius, ink } => {
            let (outlines, is_filled) = mark.outline(*at, *radius);
            for outline in &outlines {
                match is_filled {
                    true => fill(picture, path(outline, true), &paint(*ink, 1.0), transform),
                    false => stroke(picture, path(outline, false), &paint(*ink, 1.0), 2.0, None, transform),
                }
            }
        }
        Shape::Text { at, anchor, size, is_bold, turn, ink, text } => {
            let face = FONTS.face(*is_bold);
            let em = *size as f32 / f32::from(face.units_per_em());
            let mut outline = Outline { builder: PathBuilder::new(), at: 0.0 };
            for c in text.chars() {
                let glyph = face.glyph_index(c).unwrap_or_default();
                face.outline_glyph(glyph, &mut outline);
                outline.at += f32::from(face.glyph_hor_advance(glyph).unwrap_or(600));
            }
            let start = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => -outline.at / 2.0,
                Anchor::End => -outline.at,
            };
            // From the font's units, which grow upwards, to pixels.
            let placed = transform
                .pre_translate(at.0 as f32, at.1 as f32)
                .pre_rotate(*turn as f32)
                .pre_scale(em, -em)
                .pre_translate(start, 0.0);
            fill(picture, outline.builder.finish(), &paint(*ink, 1.0), placed);
        }
    }
}

/// Points as a path; `None` where there is nothing to draw or a place is none.
fn path(points: &[Place], is_closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let (x, y) = (*x as f32, *y as f32);
        if i == 0 { builder.move_to(x, y) } else { builder.line_to(x, y) }
    }
    if is_closed {
        builder.close();
    }
    builder.finish()
}

fn fill(picture: &mut Pixmap, path: Option<Path>, paint: &Paint<'_>, transform: Transform) {
    if let Some(path) = path {
        picture.fill_path(&path, paint, FillRule::Winding, transform, None);
    }
}

fn stroke(
    picture: &mut Pixmap,
    path: Option<Path>,
    paint: &Paint<'_>,
    width: f32,
    dash: Option<StrokeDash>,
    transform: Transform,
) {
    let stroke = Stroke { width, dash, line_join: LineJoin::Round, line_cap: LineCap::Butt, ..Stroke::default() };
    if let Some(path) = path {
        picture.stroke_path(&path, paint, &stroke, transform, None);
    }
}

/// Glyphs one behind another, in the font's units.
struct Outline {
    builder: PathBuilder,
    at: f32,
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.builder.move_to(self.at + x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.builder.line_to(self.at + x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.builder.quad_to(self.at + x1, y1, self.at + x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.builder.cubic_to(self.at + x1, y1, self.at + x2, y2, self.at + x, y);
    }

    fn close(&mut self) {
        self.builder.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(fill: impl FnOnce(&mut Drawing)) -> Pixmap {
        let mut drawing = Drawing { width: 40.0, height: 20.0, ..Drawing::default() };
        fill(&mut drawing);
        let png = encode(&drawing, 2.0).expect("a small picture");
        Pixmap::decode_png(&png).expect("what was encoded")
    }

    fn nr_inked(picture: &Pixmap) -> usize {
        let [red, green, blue] = Ink::Surface.day();
        picture.pixels().iter().filter(|pixel| (pixel.red(), pixel.green(), pixel.blue()) != (red, green, blue)).count()
    }

    #[test]
    fn shapes_and_letters_leave_ink_where_they_are() {
        assert_eq!(nr_inked(&picture(|_| ())), 0);
        let text = picture(|drawing| drawing.text((2.0, 15.0), Anchor::Start, 12.0, Ink::Text, "heap"));
        assert!((50..1500).contains(&nr_inked(&text)), "{}", nr_inked(&text));
        let area = picture(|drawing| drawing.rect((0.0, 0.0), (20.0, 20.0), Ink::Series(0), 1.0));
        assert_eq!((area.width(), area.height(), nr_inked(&area)), (80, 40, 40 * 40));
    }

    #[test]
    fn a_picture_that_nobody_could_look_at_is_refused() {
        for (width, height) in [(0.0, 10.0), (10.0, 1e9), (f64::NAN, 10.0)] {
            let drawing = Drawing { width, height, ..Drawing::default() };
            assert!(matches!(encode(&drawing, 1.0), Err(PngError::Size { .. })), "{width} by {height}");
        }
    }
}
