//! The font: Noto Sans Mono, rasterised ahead, in the size that suits a resolution.
//!
//! The glyphs are those of the crate `noto-sans-mono-bitmap` (the font's licence is the SIL Open Font License), one byte
//! of coverage for each pixel, in heights of 16, 20, 24 and 32 pixels. For screens with very fine pixels they are
//! enlarged two or three times, with the steps in between smoothed.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::boxes;
use super::cell::REPLACEMENT;

/// Pixels of the widest cell, and of the highest: 32 pixels enlarged three times.
pub const MAX_WIDTH: usize = 14 * 3;

/// One size of the font.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Face {
    size: RasterHeight,
    scale: usize,
}

/// From large to small.
const FACES: [Face; 8] = [
    Face { size: RasterHeight::Size32, scale: 3 },
    Face { size: RasterHeight::Size24, scale: 3 },
    Face { size: RasterHeight::Size32, scale: 2 },
    Face { size: RasterHeight::Size24, scale: 2 },
    Face { size: RasterHeight::Size32, scale: 1 },
    Face { size: RasterHeight::Size24, scale: 1 },
    Face { size: RasterHeight::Size20, scale: 1 },
    Face { size: RasterHeight::Size16, scale: 1 },
];

impl Face {
    /// Width and height of a cell, in pixels.
    pub const fn cell(self) -> (usize, usize) {
        (get_raster_width(FontWeight::Regular, self.size) * self.scale, self.size.val() * self.scale)
    }

    /// The glyph of `character`, or of the replacement.
    pub fn glyph(self, character: char) -> Glyph {
        let raster = |c| get_raster(c, FontWeight::Regular, self.size).map(|raster| Glyph::Raster(raster.pixels()));
        if boxes::has(character) {
            return Glyph::Box(character);
        }
        raster(character)
            .or_else(|| raster(similar(character)?))
            .or_else(|| raster(REPLACEMENT))
            .unwrap_or(Glyph::Raster(&[]))
    }

    /// Writes the coverage of the pixel row `y` of `glyph` to `row`, which is a cell wide.
    pub fn row(self, glyph: Glyph, y: usize, row: &mut [u8]) {
        let (width, height) = self.cell();
        match glyph {
            Glyph::Box(character) => {
                for (x, pixel) in row.iter_mut().enumerate() {
                    *pixel = boxes::coverage(character, (x, y), (width, height)).unwrap_or(0);
                }
            }
            Glyph::Raster(pixels) if self.scale == 1 => {
                let len = width.min(row.len());
                match pixels.get(y * width..y * width + len) {
                    Some(pixels) => row[..len].copy_from_slice(pixels),
                    None => row.fill(0),
                }
            }
            Glyph::Raster(pixels) => self.enlarge(pixels, y, row),
        }
    }

    /// As `row`, enlarged: between the four nearest pixels, in proportion to the distance.
    fn enlarge(self, pixels: &[u8], y: usize, row: &mut [u8]) {
        let (width, height) = (get_raster_width(FontWeight::Regular, self.size), self.size.val());
        // Places in the raster in units of half a pixel of the enlarged one.
        let unit = 2 * self.scale;
        let split = |at: usize, len: usize| {
            let place = (2 * at + 1).saturating_sub(self.scale);
            let (first, share) = (place / unit, place % unit);
            (first.min(len - 1), (first + 1).min(len - 1), share as u32)
        };
        let (upper, lower, share_y) = split(y, height);
        let line = |row: usize| pixels.get(row * width..(row + 1) * width);
        let (Some(upper), Some(lower)) = (line(upper), line(lower)) else { return row.fill(0) };
        let unit = unit as u32;
        for (x, pixel) in row.iter_mut().enumerate() {
            let (left, right, share_x) = split(x, width);
            let mix = |line: &[u8]| u32::from(line[left]) * (unit - share_x) + u32::from(line[right]) * share_x;
            *pixel = ((mix(upper) * (unit - share_y) + mix(lower) * share_y) / (unit * unit)) as u8;
        }
    }
}

/// What a character looks like.
#[derive(Clone, Copy, Debug)]
pub enum Glyph {
    /// Coverage, row by row, as the font has it.
    Raster(&'static [u8]),
    /// Drawn by [`boxes`].
    Box(char),
}

/// A character that the font has, for one that it lacks and that says nearly the same.
fn similar(character: char) -> Option<char> {
    Some(match character {
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' => ' ',
        '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{2022}' | '\u{2219}' => '·',
        '\u{2026}' => '…',
        '\u{2190}' => '<',
        '\u{2192}' => '>',
        '\u{2191}' => '^',
        '\u{2193}' => 'v',
        '\u{03bc}' => 'µ',
        _ => return None,
    })
}

/// Where the cells lie on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The size of the font.
    pub face: Face,
    /// Cells in a row.
    pub nr_columns: usize,
    /// Rows of cells.
    pub nr_rows: usize,
    /// Pixels left of the first column; as many or one more are right of the last.
    pub left: usize,
    /// Pixels above the first row; as many or one more are below the last.
    pub top: usize,
}

impl Layout {
    /// Columns that the text wants, if the screen is wide enough for them in any size.
    pub const WANTED_COLUMNS: usize = 100;
    /// Rows that the text wants.
    pub const WANTED_ROWS: usize = 36;
    /// The most columns that are used.
    pub const MAX_COLUMNS: usize = 512;
    /// The most cells that are used.
    pub const MAX_CELLS: usize = 16384;

    /// For a screen of `width` by `height` pixels: the largest face that leaves room for the columns and rows that the
    /// text wants, else the smallest. `None` if not even a cell fits.
    pub fn of(width: usize, height: usize) -> Option<Self> {
        let mut layouts = FACES.iter().map(|&face| Self::with(face, width, height));
        let fits = |layout: &Self| layout.nr_columns >= Self::WANTED_COLUMNS && layout.nr_rows >= Self::WANTED_ROWS;
        let layout = layouts.clone().find(fits).or(layouts.next_back())?;
        (layout.nr_columns > 0 && layout.nr_rows > 0).then_some(layout)
    }

    /// As many cells as fit with a margin of half a cell's width on each side.
    fn with(face: Face, width: usize, height: usize) -> Self {
        let (cell_width, cell_height) = face.cell();
        let nr_columns = (width.saturating_sub(cell_width) / cell_width).min(Self::MAX_COLUMNS);
        let nr_rows = height.saturating_sub(cell_width) / cell_height;
        let nr_rows = nr_rows.min(Self::MAX_CELLS / nr_columns.max(1));
        let margin = |whole: usize, used: usize| whole.saturating_sub(used) / 2;
        let left = margin(width, nr_columns * cell_width);
        Self { face, nr_columns, nr_rows, left, top: margin(height, nr_rows * cell_height) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(width: usize, height: usize) -> (usize, usize, (usize, usize)) {
        let layout = Layout::of(width, height).expect("a cell fits");
        (layout.nr_columns, layout.nr_rows, layout.face.cell())
    }

    #[test]
    fn text_is_readable_from_small_screens_to_large_ones() {
        assert_eq!(text(640, 480), (90, 29, (7, 16)));
        assert_eq!(text(1024, 768), (112, 37, (9, 20)));
        assert_eq!(text(1280, 1024), (115, 42, (11, 24)));
        assert_eq!(text(1920, 1080), (173, 44, (11, 24)));
        assert_eq!(text(2560, 1440), (181, 44, (14, 32)));
        assert_eq!(text(3840, 2160), (173, 44, (22, 48)));
        assert_eq!(text(7680, 4320), (181, 44, (42, 96)));
    }

    #[test]
    fn cells_stay_on_the_screen_and_within_their_bounds() {
        for width in (1..9000).step_by(37) {
            for height in (1..9000).step_by(53) {
                let Some(layout) = Layout::of(width, height) else { continue };
                let (cell_width, cell_height) = layout.face.cell();
                assert!(layout.left + layout.nr_columns * cell_width <= width);
                assert!(layout.top + layout.nr_rows * cell_height <= height);
                assert!(layout.nr_columns * layout.nr_rows <= Layout::MAX_CELLS);
                assert!(cell_width <= MAX_WIDTH);
            }
        }
        assert_eq!(Layout::of(13, 300), None);
        assert_eq!(Layout::of(0, 0), None);
    }

    #[test]
    fn an_enlarged_glyph_is_the_glyph() {
        // Each pixel of the glyph is the middle of a square of the enlarged one.
        let (small, large) = (FACES[5], FACES[1]);
        assert_eq!((small.size, large.size, large.scale), (RasterHeight::Size24, RasterHeight::Size24, 3));
        for c in ' '..='~' {
            for y in 0..24 {
                let (mut row, mut wide) = ([0; 11], [0; 33]);
                small.row(small.glyph(c), y, &mut row);
                large.row(large.glyph(c), 3 * y + 1, &mut wide);
                assert!((0..11).all(|x| wide[3 * x + 1] == row[x]), "{c} row {y}");
            }
        }
    }

    #[test]
    fn what_the_font_lacks_is_replaced() {
        let pixels = |c: char| match FACES[6].glyph(c) {
            Glyph::Raster(pixels) => pixels,
            Glyph::Box(_) => panic!("{c} is no box"),
        };
        assert_eq!(pixels('–'), pixels('-'));
        assert_eq!(pixels('漢'), pixels(REPLACEMENT));
        assert_ne!(pixels('é'), pixels(REPLACEMENT));
        assert!(matches!(FACES[6].glyph('┼'), Glyph::Box('┼')));
    }
}
