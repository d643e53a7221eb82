//! Draws the cells of a grid that differ from what was drawn before, and nothing else.
//!
//! What was drawn is a second array of cells, the caller's, of [`Cell::NONE`] at first. Cells beside each other that look
//! alike are drawn together, pixel row by pixel row, so that writes to video memory go up through addresses in long
//! runs: write-combining memory takes those at its full speed. Empty cells are filled without looking at glyphs: when
//! text scrolls, most of the work is there.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use super::cell::{Cell, Pen};
use super::colour::PALETTE;
use super::font::{Glyph, Layout, MAX_WIDTH};
use super::grid::Grid;
use super::pixels::{self, Mode, Ramp, Video};

/// Cells that are drawn together at most.
const MAX_RUN: usize = 32;

/// What is drawn on, and how.
#[derive(Debug)]
pub struct Canvas<'d> {
    /// The video memory's shape.
    pub mode: Mode,
    /// Where the cells lie.
    pub layout: Layout,
    /// What was drawn, row by row.
    drawn: &'d [AtomicU32],
}

impl<'d> Canvas<'d> {
    /// A canvas whose cells are remembered in `drawn`; `None` if those are too few, or the mode has no room for a cell.
    pub fn new(mode: Mode, drawn: &'d [AtomicU32]) -> Option<Self> {
        let layout = Layout::of(mode.width, mode.height)?;
        let drawn = drawn.get(..layout.nr_columns * layout.nr_rows)?;
        Some(Self { mode, layout, drawn })
    }

    /// Fills everything with the paper, and forgets what was drawn.
    pub fn clear(&self, video: &mut impl Video) {
        let (_, paper) = Cell::BLANK.colours();
        pixels::fill(video, &self.mode, (0, 0), (self.mode.width, self.mode.height), PALETTE[usize::from(paper)]);
        self.drawn.iter().for_each(|cell| cell.store(Cell::BLANK.to_raw(), Ordering::Relaxed));
    }

    /// Forgets what was drawn: somebody else has drawn there.
    pub fn forget(&self) {
        self.drawn.iter().for_each(|cell| cell.store(Cell::NONE.to_raw(), Ordering::Relaxed));
    }

    /// Draws the cells of `rows` that differ from what was drawn. Returns how many those were.
    pub fn draw(&self, video: &mut impl Video, grid: &Grid<'_>, rows: Range<usize>) -> usize {
        let mut ramps = Ramps { of: None, mode: &self.mode };
        let mut nr_drawn = 0;
        for row in rows.start..rows.end.min(self.layout.nr_rows).min(grid.nr_rows()) {
            let drawn = &self.drawn[row * self.layout.nr_columns..][..self.layout.nr_columns];
            let mut column = 0;
            while column < self.layout.nr_columns.min(grid.nr_columns()) {
                let mut run = Run::new(row, column);
                while run.len < MAX_RUN
                    && let Some(drawn) = drawn.get(column)
                    && column < grid.nr_columns()
                {
                    let cell = grid.seen(row, column);
                    if cell.to_raw() == drawn.load(Ordering::Relaxed) || !run.takes(cell) {
                        break;
                    }
                    column += 1;
                }
                if run.len == 0 {
                    column += 1;
                    continue;
                }
                self.draw_run(video, &run, &mut ramps);
                // After the drawing: who takes over from a CPU that was stopped in between draws the run again.
                for (cell, drawn) in run.cells[..run.len].iter().zip(&drawn[run.column..]) {
                    drawn.store(cell.to_raw(), Ordering::Relaxed);
                }
                nr_drawn += run.len;
            }
        }
        nr_drawn
    }

    fn draw_run(&self, video: &mut impl Video, run: &Run, ramps: &mut Ramps<'_>) {
        let Layout { face, left, top, .. } = self.layout;
        let (width, height) = face.cell();
        let ramp = ramps.of(run.cells[0]);
        let cells = &run.cells[..run.len];
        let (x, y_start) = (left + run.column * width, top + run.row * height);
        if run.is_blank() {
            for y in y_start..y_start + height {
                video.fill(self.mode.offset(x, y), run.len * width, ramp[0]);
            }
            return;
        }
        let mut glyphs = [Glyph::Raster(&[]); MAX_RUN];
        for (glyph, cell) in glyphs.iter_mut().zip(cells) {
            *glyph = face.glyph(cell.character());
        }
        let underline = if cells[0].is_underlined() { underline(height) } else { 0..0 };
        let mut line = [0; MAX_RUN * MAX_WIDTH];
        let line = &mut line[..run.len * width];
        for y in 0..height {
            if underline.contains(&y) {
                line.fill(255);
            } else {
                for (row, &glyph) in line.chunks_exact_mut(width).zip(&glyphs) {
                    face.row(glyph, y, row);
                }
            }
            video.paint(self.mode.offset(x, y_start + y), line, ramp);
        }
    }
}

/// Rows of a cell that a line below the text takes.
fn underline(height: usize) -> Range<usize> {
    let thickness = (height / 16).max(1);
    height - 2 * thickness..height - thickness
}

/// Cells beside each other that look alike.
struct Run {
    row: usize,
    column: usize,
    cells: [Cell; MAX_RUN],
    len: usize,
}

impl Run {
    fn new(row: usize, column: usize) -> Self {
        Self { row, column, cells: [Cell::BLANK; MAX_RUN], len: 0 }
    }

    /// Takes a cell in, if it looks like the others.
    fn takes(&mut self, cell: Cell) -> bool {
        let first = self.cells[0];
        if self.len > 0 && (cell.look() != first.look() || cell.is_blank() != first.is_blank()) {
            return false;
        }
        self.cells[self.len] = cell;
        self.len += 1;
        true
    }

    /// All cells are, or none.
    fn is_blank(&self) -> bool {
        self.cells[0].is_blank()
    }
}

/// The ramp that was used last, which is nearly always the next one.
struct Ramps<'m> {
    of: Option<((u8, u8), Ramp)>,
    mode: &'m Mode,
}

impl Ramps<'_> {
    fn of(&mut self, cell: Cell) -> &Ramp {
        let colours = cell.colours();
        if self.of.is_none_or(|(of, _)| of != colours) {
            self.of = None;
        }
        let mode = self.mode;
        let (_, ramp) = self.of.get_or_insert_with(|| (colours, make_ramp(mode, colours)));
        ramp
    }
}

fn make_ramp(mode: &Mode, (ink, paper): (u8, u8)) -> Ramp {
    let (ink, paper) = (PALETTE[usize::from(ink & 15)], PALETTE[usize::from(paper & 15)]);
    core::array::from_fn(|step| mode.pixel(paper.towards(ink, step as u8 * 17)))
}

/// Writes `text` over the right end of the view's first row, for a remark that belongs to no line.
pub fn remark(canvas: &Canvas<'_>, video: &mut impl Video, text: &[u8]) {
    let pen = Pen { is_inverse: true, ..Pen::PLAIN };
    let column = canvas.layout.nr_columns.saturating_sub(text.len());
    let mut ramps = Ramps { of: None, mode: &canvas.mode };
    for (column, &byte) in (column..canvas.layout.nr_columns).zip(text) {
        let mut run = Run::new(0, column);
        run.takes(Cell::new(char::from(byte), pen));
        canvas.draw_run(video, &run, &mut ramps);
        canvas.drawn[column].store(Cell::NONE.to_raw(), Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
