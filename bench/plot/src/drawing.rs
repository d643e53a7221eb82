//! A drawing: shapes in the order in which they are laid over one another. Points are pixels from the top left.

use crate::ink::Ink;

/// A place: from the left, from the top.
pub type Place = (f64, f64);

/// Which end of a text its place is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// The left one.
    #[default]
    Start,
    /// Its middle.
    Middle,
    /// The right one.
    End,
}

/// The shape of a mark. Filled and hollow ones take turns, so that neighbours in the list differ in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Filled.
    Circle,
    /// Filled.
    Square,
    /// Filled, a point upwards.
    Up,
    /// Filled, on a point.
    Diamond,
    /// Hollow.
    Ring,
    /// Filled, a point downwards.
    Down,
    /// Hollow.
    Box,
    /// Two strokes.
    Cross,
}

/// All marks in the order in which series get them.
pub const MARKS: [Mark; 8] =
    [Mark::Circle, Mark::Square, Mark::Up, Mark::Diamond, Mark::Ring, Mark::Down, Mark::Box, Mark::Cross];

/// The mark of series number `number`. Where colours begin again, marks do not begin with the same one.
pub fn mark(number: usize) -> Mark {
    MARKS[(number + number / MARKS.len() * 3) % MARKS.len()]
}

/// How a line is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dash {
    /// Not at all.
    #[default]
    Solid,
    /// Into dashes: what is no data.
    Dashed,
    /// Into dots: what leads to a label.
    Dotted,
}

/// One shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A filled area: a rectangle, a polygon.
    Area {
        /// Its corners.
        points: Vec<Place>,
        /// Its colour.
        ink: Ink,
        /// 1 hides what is below.
        opacity: f64,
    },
    /// A line from point to point.
    Line {
        /// The points.
        points: Vec<Place>,
        /// Its colour.
        ink: Ink,
        /// In pixels.
        width: f64,
        /// How it is broken.
        dash: Dash,
    },
    /// A mark.
    Mark {
        /// Its centre.
        at: Place,
        /// Its shape.
        mark: Mark,
        /// Half its width, in pixels.
        radius: f64,
        /// Its colour.
        ink: Ink,
    },
    /// A line of text.
    Text {
        /// Where its base line is.
        at: Place,
        /// Which end of it is there.
        anchor: Anchor,
        /// Height of the font, in pixels.
        size: f64,
        /// Bold.
        is_bold: bool,
        /// Turned about its place, in degrees clockwise.
        turn: f64,
        /// Its colour.
        ink: Ink,
        /// What it says.
        text: String,
    },
}

/// Shapes on a ground of so many pixels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawing {
    /// Pixels.
    pub width: f64,
    /// Pixels.
    pub height: f64,
    /// What it shows, in a sentence, for those who do not see it.
    pub says: String,
    /// From the lowest to the topmost.
    pub shapes: Vec<Shape>,
}

impl Drawing {
    /// Adds a rectangle.
    pub fn rect(&mut self, from: Place, to: Place, ink: Ink, opacity: f64) {
        let points = vec![from, (to.0, from.1), to, (from.0, to.1)];
        self.shapes.push(Shape::Area { points, ink, opacity });
    }

    /// Adds a line.
    pub fn line(&mut self, points: Vec<Place>, ink: Ink, width: f64, dash: Dash) {
        self.shapes.push(Shape::Line { points, ink, width, dash });
    }

    /// Adds a mark.
    pub fn mark(&mut self, at: Place, mark: Mark, radius: f64, ink: Ink) {
        self.shapes.push(Shape::Mark { at, mark, radius, ink });
    }

    /// Adds plain text.
    pub fn text(&mut self, at: Place, anchor: Anchor, size: f64, ink: Ink, text: impl Into<String>) {
        self.shapes.push(Shape::Text { at, anchor, size, is_bold: false, turn: 0.0, ink, text: text.into() });
    }

    /// Adds bold text.
    pub fn bold(&mut self, at: Place, anchor: Anchor, size: f64, ink: Ink, text: impl Into<String>) {
        self.shapes.push(Shape::Text { at, anchor, size, is_bold: true, turn: 0.0, ink, text: text.into() });
    }
}

impl Mark {
    /// What a mark is made of: outlines about its centre, and whether they are filled rather than stroked. A circle is
    /// a polygon of many corners, so that every way out draws the same.
    pub fn outline(self, at: Place, radius: f64) -> (Vec<Vec<Place>>, bool) {
        let (x, y) = at;
        let r = radius;
        let round = |r: f64| {
            let corner = |i: u32| f64::from(i) * std::f64::consts::TAU / 20.0;
            (0..=20).map(|i| (x + r * corner(i).cos(), y + r * corner(i).sin())).collect::<Vec<_>>()
        };
        let square = |r: f64| vec![(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r), (x - r, y - r)];
        match self {
            Self::Circle => (vec![round(r)], true),
            Self::Square => (vec![square(r * 0.88)], true),
            Self::Up => (vec![vec![(x, y - r * 1.15), (x + r * 1.1, y + r * 0.8), (x - r * 1.1, y + r * 0.8)]], true),
            Self::Down => (vec![vec![(x, y + r * 1.15), (x + r * 1.1, y - r * 0.8), (x - r * 1.1, y - r * 0.8)]], true),
            Self::Diamond => {
                let r = r * 1.25;
                (vec![vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)]], true)
            }
            Self::Ring => (vec![round(r * 0.9)], false),
            Self::Box => (vec![square(r * 0.8)], false),
            Self::Cross => {
                let r = r * 0.9;
                (vec![vec![(x - r, y - r), (x + r, y + r)], vec![(x - r, y + r), (x + r, y - r)]], false)
            }
        }
    }
}
