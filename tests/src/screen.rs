//! Reads text off a screenshot: the other side of the kernel's screen.
//!
//! Font and grid are known, so this is not recognition but comparison: each cell is held against every glyph of the
//! font at its size, as the kernel would draw it, and the best one counts if it fits nearly perfectly whatever its
//! colours. A cell that nothing fits reads as U+FFFD, so that it can be equal to no text. Which size it is is tried out.
//! Nothing of the kernel's code is used: where it draws a glyph wrong, the text differs.

use crate::error::Error;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What a cell reads as that is no character of the font.
pub const UNREADABLE: char = '\u{fffd}';
/// How well a glyph must fit: the cosine between what is there and what should be.
const FIT: f32 = 0.98;

/// Colours of a screen, row by row.
#[derive(Clone, Debug)]
pub struct Image {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Image {
    /// Reads a PPM file (binary, 255 steps), as QEMU writes them.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::io("reading", path, source))?;
        Self::parse(&bytes).ok_or_else(|| Error::Tool { command: "screendump".into(), said: "no PPM".into() })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(b"P6\n")?;
        let mut number = || {
            let len = rest.iter().position(u8::is_ascii_whitespace)?;
            let number = std::str::from_utf8(&rest[..len]).ok()?.parse::<usize>().ok();
            rest = &rest[len + 1..];
            number
        };
        let (width, height, steps) = (number()?, number()?, number()?);
        let (pixels, rest) = rest.as_chunks::<3>();
        let is_whole = steps == 255 && rest.is_empty() && pixels.len() == width.checked_mul(height)?;
        is_whole.then(|| Self { width, height, pixels: pixels.to_vec() })
    }

    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Red, green and blue at a place inside.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.width + x]
    }

    /// How many different colours there are.
    pub fn nr_colours(&self) -> usize {
        self.pixels.iter().collect::<HashSet<_>>().len()
    }

    /// The pixels of a rectangle inside, row by row.
    fn cut(&self, (x, y): (usize, usize), (width, height): (usize, usize)) -> Vec<[u8; 3]> {
        (y..y + height).flat_map(|y| &self.pixels[y * self.width + x..][..width]).copied().collect()
    }
}

/// A size of the font, and its glyphs as they are drawn at it.
pub struct Face {
    width: usize,
    height: usize,
    /// Coverage, scaled to length 1.
    glyphs: Vec<(char, Vec<f32>)>,
}

impl Face {
    fn new(size: RasterHeight, scale: usize) -> Self {
        let (width, height) = (get_raster_width(FontWeight::Regular, size), size.val());
        let glyphs = ('!'..='~').filter_map(|character| {
            let raster = get_raster(character, FontWeight::Regular, size)?;
            Some((character, normal(enlarge(raster.pixels(), (width, height), scale))?))
        });
        let glyphs = glyphs.collect();
        Self { width: width * scale, height: height * scale, glyphs }
    }

    /// The size of which the first line of the image can be read.
    pub fn find(image: &Image) -> Option<Self> {
        use RasterHeight::{Size16, Size20, Size24, Size32};
        let sizes =
            [(Size16, 1), (Size20, 1), (Size24, 1), (Size32, 1), (Size24, 2), (Size32, 2), (Size24, 3), (Size32, 3)];
        let faces = sizes.into_iter().map(|(size, scale)| Self::new(size, scale));
        // The kernel shows at least a hundred columns where it can.
        faces.filter(|face| face.grid(image.size()).0 >= 60).find(|face| {
            let text = face.read_rows(image, 1).concat();
            let nr_seen = text.chars().filter(|&c| c != ' ').count();
            let nr_unread = text.chars().filter(|&c| c == UNREADABLE).count();
            nr_seen > 5 && nr_unread * 10 < nr_seen
        })
    }

    /// Columns and rows of text on a screen of that size: half a cell's width is left on every side, and what is over
    /// lies at both sides.
    pub fn grid(&self, (width, height): (usize, usize)) -> (usize, usize) {
        (width.saturating_sub(self.width) / self.width, height.saturating_sub(self.width) / self.height)
    }

    /// All lines of a screen, without blanks at their ends.
    pub fn read(&self, image: &Image) -> Vec<String> {
        let (_, nr_rows) = self.grid(image.size());
        self.read_rows(image, nr_rows)
    }

    fn read_rows(&self, image: &Image, nr_wanted: usize) -> Vec<String> {
        let (width, height) = image.size();
        let (nr_columns, nr_rows) = self.grid(image.size());
        let (left, top) = ((width - nr_columns * self.width) / 2, (height - nr_rows * self.height) / 2);
        let mut known = HashMap::new();
        let mut lines = Vec::new();
        for row in 0..nr_rows {
            // Rows that are empty do not count against what is wanted.
            if lines.iter().filter(|line: &&String| !line.is_empty()).count() == nr_wanted {
                break;
            }
            let cell =
                |column| image.cut((left + column * self.width, top + row * self.height), (self.width, self.height));
            let line: String = (0..nr_columns)
                .map(|column| {
                    let cell = cell(column);
                    *known.entry(cell).or_insert_with_key(|cell| self.read_cell(cell))
                })
                .collect();
            lines.push(line.trim_end().to_string());
        }
        lines
    }

    fn read_cell(&self, cell: &[[u8; 3]]) -> char {
        // The colour that is most common is the paper; of a cell of one colour, all is.
        let mut counts: HashMap<[u8; 3], usize> = HashMap::new();
        cell.iter().for_each(|&pixel| *counts.entry(pixel).or_default() += 1);
        let Some((paper, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return UNREADABLE };
        let distance = |pixel: &[u8; 3]| (0..3).map(|part| f32::from(pixel[part].abs_diff(paper[part]))).sum::<f32>();
        let Some(seen) = normal(cell.iter().map(distance).collect()) else { return ' ' };
        let fit = |glyph: &[f32]| glyph.iter().zip(&seen).map(|(a, b)| a * b).sum::<f32>();
        let best =
            self.glyphs.iter().map(|(character, glyph)| (fit(glyph), *character)).max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(fit, _)| *fit >= FIT).map_or(UNREADABLE, |(_, character)| character)
    }
}

/// A vector of length 1 in the same direction; none for nothing.
fn normal(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let len = vector.iter().map(|part| part * part).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|part| *part /= len);
    (len > 0.0).then_some(vector)
}

/// Coverage of an enlarged glyph: in between, the mean of the four nearest, by their distance.
fn enlarge(pixels: &[u8], (width, height): (usize, usize), scale: usize) -> Vec<f32> {
    let at = |x: f32, y: f32| {
        let pixel = |x: f32, y: f32| {
            let (x, y) = (x.clamp(0.0, width as f32 - 1.0) as usize, y.clamp(0.0, height as f32 - 1.0) as usize);
            f32::from(pixels[y * width + x])
        };
        let (x_share, y_share) = (x - x.floor(), y - y.floor());
        let row = |y: f32| pixel(x.floor(), y) * (1.0 - x_share) + pixel(x.floor() + 1.0, y) * x_share;
        row(y.floor()) * (1.0 - y_share) + row(y.floor() + 1.0) * y_share
    };
    let place = |at: usize| (at as f32 + 0.5) / scale as f32 - 0.5;
    (0..height * scale)
        .flat_map(|y| (0..width * scale).map(move |x| (x, y)))
        .map(|(x, y)| at(place(x), place(y)))
        .collect()
}

/// What a line is begun anew with, to replace what stands in it: how far a command is.
const ANEW: &str = "\r\x1b[K";

/// What a screen of that size shows of lines of text: each broken at the last column, and only the last ones. What was
/// replaced must have fitted in a line.
pub fn expected(text: &str, (nr_columns, nr_rows): (usize, usize)) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.split('\n') {
        let last = line.rsplit(ANEW).next().unwrap_or_default();
        let line: Vec<char> = last.trim_end_matches('\r').chars().collect();
        if line.is_empty() {
            rows.push(String::new());
        }
        rows.extend(line.chunks(nr_columns).map(|row| row.iter().collect::<String>().trim_end().to_string()));
    }
    rows.drain(..rows.len().saturating_sub(nr_rows));
    rows.resize(nr_rows, String::new());
    rows
}

/// The first row in which two screens differ.
pub fn difference<'a>(seen: &'a [String], expected: &'a [String]) -> Option<(usize, &'a str, &'a str)> {
    let row = |rows: &'a [String], at: usize| rows.get(at).map_or("", String::as_str);
    let mut rows = (0..seen.len().max(expected.len())).map(|at| (at, row(seen, at), row(expected, at)));
    rows.find(|(_, seen, expected)| seen != expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A screen with these lines, drawn straight from the font in three colours.
    fn screen(lines: &[&str], (width, height): (usize, usize), size: RasterHeight) -> Image {
        const PAPER: [u8; 3] = [20, 24, 30];
        const INKS: [[u8; 3]; 3] = [[210, 214, 220], [230, 110, 108], [100, 170, 240]];
        let face = Face::new(size, 1);
        let (columns, rows) = face.grid((width, height));
        let (left, top) = ((width - columns * face.width) / 2, (height - rows * face.height) / 2);
        let mut image = Image { width, height, pixels: vec![PAPER; width * height] };
        for (row, line) in lines.iter().enumerate() {
            for (column, character) in line.chars().enumerate() {
                let raster = get_raster(character, FontWeight::Regular, size).expect("in the font");
                let ink = INKS[(row + column) % 3];
                for (at, &coverage) in raster.pixels().iter().enumerate() {
                    let (x, y) =
                        (left + column * face.width + at % face.width, top + row * face.height + at / face.width);
                    let mix = |part: usize| {
                        let (paper, ink) = (u32::from(PAPER[part]), u32::from(ink[part]));
                        ((paper * (255 - u32::from(coverage)) + ink * u32::from(coverage)) / 255) as u8
                    };
                    image.pixels[y * width + x] = [mix(0), mix(1), mix(2)];
                }
            }
        }
        image
    }

    const LINES: [&str; 3] =
        ["bandolier> mem", "  usable 1,234 frames [0.5%] {a|b} Il1 O0 ,.;:'`\"", "~!@#$^&*()_+=<>?/\\-xyzQ"];

    #[test]
    fn text_is_read_back_at_every_size_and_in_every_colour() {
        for size in [RasterHeight::Size16, RasterHeight::Size20, RasterHeight::Size24, RasterHeight::Size32] {
            let image = screen(&LINES, (900, 240), size);
            let face = Face::find(&image).expect("text that can be read");
            assert_eq!(face.height, size.val());
            let seen = face.read(&image);
            assert_eq!(difference(&seen, &expected(&LINES.join("\n"), face.grid(image.size()))), None);
        }
    }

    #[test]
    fn one_wrong_letter_is_found() {
        let image = screen(&LINES, (900, 240), RasterHeight::Size20);
        let face = Face::find(&image).expect("text that can be read");
        let text = LINES.join("\n").replace("Il1", "lI1");
        let (row, seen, _) = difference(&face.read(&image), &expected(&text, face.grid(image.size())))
            .map(|(r, s, e)| (r, s.to_string(), e.to_string()))
            .expect("it differs");
        assert_eq!((row, seen.as_str()), (1, LINES[1]));
    }

    #[test]
    fn a_damaged_cell_cannot_be_read() {
        let mut image = screen(&LINES, (900, 240), RasterHeight::Size20);
        let face = Face::find(&image).expect("text that can be read");
        // A line through the first letters.
        let y = (240 - face.grid((900, 240)).1 * 20) / 2 + 9;
        image.pixels[y * 900..y * 900 + 60].fill([255, 255, 255]);
        assert!(face.read(&image)[0].starts_with(UNREADABLE));
    }

    #[test]
    fn a_screen_shows_the_last_lines_broken_at_its_edge() {
        assert_eq!(expected("one\r\ntwo\r\nabcdef\r\n> ", (4, 4)), ["two", "abcd", "ef", ">"]);
        assert_eq!(expected("a", (4, 2)), ["a", ""]);
        assert_eq!(expected("[1/2] a\r\x1b[K[2/2] b\r\x1b[Kdone\r\n>", (8, 2)), ["done", ">"]);
    }

    #[test]
    fn images_are_read_and_bad_ones_refused() {
        let image = Image::parse(b"P6\n2 1\n255\nabcdef").expect("a whole one");
        assert_eq!((image.size(), image.pixels[1]), ((2, 1), *b"def"));
        for bad in [&b"P6\n2 1\n255\nabcde"[..], b"P5\n2 1\n255\nab", b"P6\n2 x\n255\n", b"P6\n2", b""] {
            assert!(Image::parse(bad).is_none());
        }
    }
}
