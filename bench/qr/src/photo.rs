//! Codes out of a picture: a photograph of a screen, a screenshot, several codes in one.
//!
//! A picture is looked at as it is, and coarser and finer: averaging takes away a camera's noise and the moiré of a
//! screen's own pixels, magnifying helps where a module is only two pixels wide. What is read with errors corrected is
//! right or refused: codes carry Reed-Solomon codes, and parts a checksum beside them.
//!
//! Invariant: memory is bounded by [`MAX_PIXELS`], whatever a picture's header says.

use std::fmt;
use std::io::Cursor;
use std::string::{String, ToString};
use std::vec::Vec;

use image::{GrayImage, ImageReader, Limits};
use rqrr::{Point, PreparedImage};

/// The largest picture: 200 megapixels are what the largest telephones take.
pub const MAX_PIXELS: u64 = 200_000_000;
/// Below this a picture is also looked at magnified.
const SMALL_PIXELS: u64 = 4_000_000;
/// Coarser ones are looked at as long as the shorter side has so many pixels: three for each module of a large code.
const MIN_SIDE: u32 = 350;
/// Turned ones are made no larger than so many pixels on the shorter side, which is ten for each module.
const MAX_TURNED_SIDE: u32 = 1500;
/// By how much a picture is turned: the tangents of some 3, 6 and 12 degrees to either side.
const TURNS: [f32; 6] = [0.05, -0.05, 0.1, -0.1, 0.2, -0.2];

/// Why a picture cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPicture(String);

impl fmt::Display for NoPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this picture cannot be read: {}", self.0)
    }
}

impl std::error::Error for NoPicture {}

/// What was seen in a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The contents of codes, each once.
    pub texts: Vec<Vec<u8>>,
    /// The most codes that were seen at a time and could not be read.
    pub nr_unread: usize,
}

/// Whether `file` is a picture of a kind that is read here: PNG, JPEG, or PNM as QEMU's `screendump` writes it.
pub fn is_picture(file: &[u8]) -> bool {
    image::guess_format(file).is_ok_and(|format| format.reading_enabled())
}

/// Looks for codes in `file`.
///
/// # Errors
///
/// [`NoPicture`] if it is none, a damaged one or one that is too large.
pub fn read(file: &[u8]) -> Result<Seen, NoPicture> {
    let fault = |error: &dyn fmt::Display| NoPicture(error.to_string());
    let reader = || ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(|error| fault(&error));
    let (width, height) = reader()?.into_dimensions().map_err(|error| fault(&error))?;
    let nr_pixels = u64::from(width) * u64::from(height);
    if nr_pixels > MAX_PIXELS {
        return Err(NoPicture(std::format!("{width}x{height} pixels are more than {MAX_PIXELS}")));
    }
    let mut reader = reader()?;
    let mut limits = Limits::default();
    // Four channels of two bytes.
    limits.max_alloc = Some(8 * MAX_PIXELS);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| fault(&error))?;
    Ok(look(&picture.into_luma8()))
}

/// Looks for codes in grey pixels.
pub fn look(picture: &GrayImage) -> Seen {
    let mut seen = Seen::default();
    let (width, height) = picture.dimensions();
    let mut is_clear = look_once(picture, &mut seen);
    for factor in [2, 3, 4, 6, 8] {
        // The first coarser one always: of several codes the finest look may not even find each.
        if width.min(height) / factor < MIN_SIDE || (is_clear && factor > 2) {
            break;
        }
        is_clear |= look_once(&coarser(picture, factor), &mut seen);
    }
    if u64::from(width) * u64::from(height) <= SMALL_PIXELS && width > 0 && height > 0 && !is_clear {
        is_clear = look_once(&finer(picture), &mut seen);
    }
    // What could be found and not be read is perhaps read when its edges fall otherwise on the pixels.
    if !is_clear && seen.nr_unread > 0 {
        let factor = width.min(height).div_ceil(MAX_TURNED_SIDE).max(1);
        let small = coarser(picture, factor);
        is_clear = TURNS.iter().any(|&turn| look_once(&turned(&small, turn), &mut seen));
    }
    if is_clear {
        seen.nr_unread = 0;
    }
    seen
}

/// Looks, and looks again without what could be read, for as long as that helps: of several codes, corners of one are taken
/// for another's. Whether there was something, and all of it could be read.
fn look_once(picture: &GrayImage, seen: &mut Seen) -> bool {
    let mut rest = None;
    let mut has_any = false;
    loop {
        let (nr_read, nr_unread) = look_at(&mut rest, picture, seen);
        has_any |= nr_read > 0;
        if nr_read == 0 || nr_unread == 0 {
            seen.nr_unread = seen.nr_unread.max(nr_unread);
            return has_any && nr_unread == 0;
        }
    }
}

/// Looks at `rest`, which is `picture` at first, and takes away from it what could be read. How many codes that were, and
/// how many could not be read.
fn look_at(rest: &mut Option<GrayImage>, picture: &GrayImage, seen: &mut Seen) -> (usize, usize) {
    let current = rest.as_ref().unwrap_or(picture);
    let (width, height) = (current.width() as usize, current.height() as usize);
    let pixels = current.as_raw();
    let mut prepared = PreparedImage::prepare_from_greyscale(width, height, |x, y| pixels[y * width + x]);
    let mut nr_unread = 0;
    let mut read = Vec::new();
    for grid in prepared.detect_grids() {
        let mut text = Vec::new();
        match grid.decode_to(&mut text) {
            Ok(_) => {
                read.push(grid.bounds);
                if !seen.texts.contains(&text) {
                    seen.texts.push(text);
                }
            }
            Err(_) => nr_unread += 1,
        }
    }
    if nr_unread > 0 && !read.is_empty() {
        let rest = rest.get_or_insert_with(|| picture.clone());
        read.iter().for_each(|corners| erase(rest, corners));
    }
    (read.len(), nr_unread)
}

/// Makes what lies between four corners light. They stand around it in turn.
fn erase(picture: &mut GrayImage, corners: &[Point; 4]) {
    let bounds = |of: fn(&Point) -> i32, most: u32| {
        let (least, largest) = corners.iter().map(of).fold((i32::MAX, 0), |(a, b), at| (a.min(at), b.max(at)));
        least.max(0) as u32..(largest.max(0) as u32 + 1).min(most)
    };
    for y in bounds(|point| point.y, picture.height()) {
        for x in bounds(|point| point.x, picture.width()) {
            let side = |from: &Point, to: &Point| {
                let (from, to) = ([from.x, from.y].map(i64::from), [to.x, to.y].map(i64::from));
                (to[0] - from[0]) * (i64::from(y) - from[1]) - (to[1] - from[1]) * (i64::from(x) - from[0])
            };
            let mut sides = corners.iter().zip(corners.iter().cycle().skip(1)).map(|(from, to)| side(from, to));
            if sides.clone().all(|side| side >= 0) || sides.all(|side| side <= 0) {
                picture.put_pixel(x, y, image::Luma([255]));
            }
        }
    }
}

/// Averages of squares of `factor` pixels.
fn coarser(picture: &GrayImage, factor: u32) -> GrayImage {
    GrayImage::from_fn(picture.width() / factor, picture.height() / factor, |x, y| {
        let square = (0..factor * factor).map(|at| (x * factor + at % factor, y * factor + at / factor));
        let sum: u32 = square.map(|(x, y)| u32::from(picture.get_pixel(x, y).0[0])).sum();
        image::Luma([(sum / (factor * factor)) as u8])
    })
}

/// Twice as large, with averages between the pixels.
fn finer(picture: &GrayImage) -> GrayImage {
    let (width, height) = picture.dimensions();
    let at = |x: u32, y: u32| u32::from(picture.get_pixel(x.min(width - 1), y.min(height - 1)).0[0]);
    GrayImage::from_fn(width * 2, height * 2, |x, y| {
        let (left, top, right, bottom) = (x / 2, y / 2, x.div_ceil(2), y.div_ceil(2));
        let sum = at(left, top) + at(right, top) + at(left, bottom) + at(right, bottom);
        image::Luma([(sum / 4) as u8])
    })
}

/// Turned about the middle by the angle with the tangent `turn`, and a little smaller or larger, in the same frame.
fn turned(picture: &GrayImage, turn: f32) -> GrayImage {
    let (width, height) = picture.dimensions();
    let (middle_x, middle_y) = (width as f32 / 2.0, height as f32 / 2.0);
    GrayImage::from_fn(width, height, |x, y| {
        let (dx, dy) = (x as f32 - middle_x, y as f32 - middle_y);
        image::Luma([between(picture, middle_x + dx - turn * dy, middle_y + dy + turn * dx)])
    })
}

/// The light at a place between pixels; that of the edge beyond it.
fn between(picture: &GrayImage, x: f32, y: f32) -> u8 {
    let at = |x: f32, y: f32| {
        // Casts of floats saturate.
        let (x, y) = ((x as u32).min(picture.width() - 1), (y as u32).min(picture.height() - 1));
        f32::from(picture.get_pixel(x, y).0[0])
    };
    let (left, top) = (x.floor(), y.floor());
    let (across, down) = (x - left, y - top);
    let upper = at(left, top) * (1.0 - across) + at(left + 1.0, top) * across;
    let lower = at(left, top + 1.0) * (1.0 - across) + at(left + 1.0, top + 1.0) * across;
    (upper * (1.0 - down) + lower * down) as u8
}
