//! Charts for the tools on the host: a chart is data, a drawing is shapes, and a drawing becomes SVG or PNG.
//!
//! | file | what |
//! |---|---|
//! | [`lines`] | [`LineChart`]: lines over a numeric axis, with whiskers, bands, guides and labels at the lines' ends |
//! | [`dots`] | [`DotChart`]: rows by name, a mark for each value: percentiles, ratios |
//! | [`columns`] | [`ColumnChart`]: a column for each of many names in order: a histogram |
//! | [`head`] | what all charts have: title, remarks, watermark; how large they are drawn |
//! | [`axis`] | what an axis says, where its ticks are, and where a value is |
//! | [`labels`] | labels moved apart |
//! | [`drawing`] | shapes, in inks that have a name rather than a colour |
//! | [`ink`] | the inks' colours by day and by night |
//! | [`number`] | numbers for people |
//! | [`text`] | how wide text is, and where it breaks |
//! | [`svg`], [`png`] | the two ways out |
//!
//! ```
//! use plot::{Axis, Head, Layout, LineChart, Point, Series, Unit};
//!
//! let chart = LineChart {
//!     head: Head::titled("The program holds 3 MiB at its peak"),
//!     x: Axis::linear("time, s", Unit::Plain),
//!     y: Axis::linear("live bytes", Unit::Bytes),
//!     series: vec![Series::line("live", vec![Point::at(0.0, 0.0), Point::at(1.0, 3e6)]).filled()],
//!     ..LineChart::default()
//! };
//! let svg = plot::svg::file(&chart.draw(&Layout::FULL));
//! let png = plot::png::encode(&chart.draw(&Layout::FULL), 2.0).expect("memory for the picture");
//! assert!(svg.starts_with("<svg") && png.starts_with(b"\x89PNG"));
//! ```
//!
//! Rules: every text of a caller is escaped; a value that is no number, or that a logarithm does not have, is left out and
//! never a panic; no two labels overlap; series differ by the shape of their marks as well as by colour.

#![forbid(unsafe_code)]

pub mod axis;
pub mod columns;
pub mod dots;
pub mod drawing;
pub mod head;
pub mod ink;
pub mod labels;
pub mod lines;
pub mod number;
pub mod png;
pub mod svg;
pub mod text;

pub use axis::Axis;
pub use columns::{Column, ColumnChart};
pub use dots::{Dot, DotChart, Kind, Row};
pub use drawing::Drawing;
pub use head::{Head, Layout};
pub use ink::Ink;
pub use lines::{Band, LineChart, Point, Series};
pub use number::Unit;
