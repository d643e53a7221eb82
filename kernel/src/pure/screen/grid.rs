//! The text on the screen and above it: a ring of lines, of which the last `nr_rows` are the screen.
//!
//! Lines that leave the screen at its top stay in the ring until it comes round again: that is the scrollback, of fixed
//! size. The view is where somebody looks; it is at the bottom unless [`Grid::look_back`] moved it, and everything that
//! is written brings it back there.
//!
//! The cells are the caller's, and atomic. A grid is a few numbers over them, so a second one can be made over the same
//! cells ([`Grid::resume`]): that is what a crash report does.
//!
//! Invariants: `row < nr_rows`, `column < nr_columns`, `top < nr_lines`, `nr_above + nr_rows <= nr_lines`,
//! `back <= nr_above`, and `nr_lines * nr_columns <= cells.len()`.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use super::cell::{Cell, Pen};

/// Columns between two tab stops.
const TAB: usize = 8;

/// Which part of a line or of the screen is erased, seen from the cursor, which is in all of them (ECMA-48, ED and EL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From the cursor to the end.
    After,
    /// From the start to the cursor.
    Before,
    /// All.
    Whole,
}

/// A place on the screen, for [`Grid::resume`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The ring's line that is the screen's first.
    pub top: u32,
    /// The cursor's row on the screen.
    pub row: u16,
    /// The cursor's column.
    pub column: u16,
}

/// A screen of text and its scrollback.
#[derive(Debug)]
pub struct Grid<'a> {
    cells: &'a [AtomicU32],
    nr_columns: usize,
    nr_rows: usize,
    nr_lines: usize,
    top: usize,
    nr_above: usize,
    back: usize,
    row: usize,
    column: usize,
    /// The last column was written: the next character belongs on the next line.
    is_wrapping: bool,
    is_cursor_shown: bool,
    /// What is written next is written with this.
    pub pen: Pen,
    /// Rows of the screen that may look different from when [`Grid::take_changed`] was called last.
    changed: Range<usize>,
}

impl<'a> Grid<'a> {
    /// An empty screen over `cells`, which it clears; `None` if they are too few for one, or a side is 0.
    pub fn new(cells: &'a [AtomicU32], nr_columns: usize, nr_rows: usize) -> Option<Self> {
        let grid = Self::resume(cells, nr_columns, nr_rows, Position::default())?;
        cells.iter().for_each(|cell| cell.store(Cell::BLANK.to_raw(), Ordering::Relaxed));
        Some(grid)
    }

    /// A screen over cells that another grid of the same size has written, with the cursor where that had it. What is
    /// above the screen is forgotten.
    pub fn resume(cells: &'a [AtomicU32], nr_columns: usize, nr_rows: usize, at: Position) -> Option<Self> {
        let nr_lines = cells.len().checked_div(nr_columns)?;
        if nr_rows == 0 || nr_lines < nr_rows {
            return None;
        }
        Some(Self {
            cells,
            nr_columns,
            nr_rows,
            nr_lines,
            top: at.top as usize % nr_lines,
            nr_above: 0,
            back: 0,
            row: usize::from(at.row).min(nr_rows - 1),
            column: usize::from(at.column).min(nr_columns - 1),
            is_wrapping: false,
            is_cursor_shown: true,
            pen: Pen::PLAIN,
            changed: 0..nr_rows,
        })
    }

    /// The same text over other cells, which may hold more lines or fewer; `None` if they cannot hold the screen. What is
    /// in those cells does not matter: a line is erased before it is seen.
    pub fn moved<'b>(&self, cells: &'b [AtomicU32]) -> Option<Grid<'b>> {
        let mut new = Grid::resume(cells, self.nr_columns, self.nr_rows, Position::default())?;
        new.nr_above = self.nr_above.min(new.nr_lines - new.nr_rows);
        new.top = new.nr_above;
        for line in 0..new.nr_above + new.nr_rows {
            let source = self.line(self.top + self.nr_lines - new.nr_above + line);
            for (to, from) in new.line(line).iter().zip(source) {
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        (new.row, new.column, new.is_wrapping) = (self.row, self.column, self.is_wrapping);
        (new.pen, new.is_cursor_shown) = (self.pen, self.is_cursor_shown);
        Some(new)
    }

    /// Characters in a line.
    pub fn nr_columns(&self) -> usize {
        self.nr_columns
    }

    /// Lines on the screen.
    pub fn nr_rows(&self) -> usize {
        self.nr_rows
    }

    /// Lines that one can look back by.
    pub fn nr_above(&self) -> usize {
        self.nr_above
    }

    /// How many lines the view is back.
    pub fn back(&self) -> usize {
        self.back
    }

    /// The cursor's row and column.
    pub fn cursor(&self) -> (usize, usize) {
        (self.row, self.column)
    }

    /// Where writing stands, for [`Grid::resume`].
    pub fn position(&self) -> Position {
        Position { top: self.top as u32, row: self.row as u16, column: self.column as u16 }
    }

    /// The cells of a line of the ring.
    fn line(&self, line: usize) -> &'a [AtomicU32] {
        let start = line % self.nr_lines * self.nr_columns;
        &self.cells[start..start + self.nr_columns]
    }

    /// The cells of the line `above` lines above the row `row` of the screen.
    fn line_above(&self, above: usize, row: usize) -> &'a [AtomicU32] {
        self.line(self.top + self.nr_lines + row - above)
    }

    /// What is seen at a place of the screen: of the view, with the cursor on it.
    pub fn seen(&self, row: usize, column: usize) -> Cell {
        let cell = Cell::from_raw(self.line_above(self.back, row)[column].load(Ordering::Relaxed));
        let is_cursor = self.is_cursor_shown && self.back == 0 && (row, column) == (self.row, self.column);
        if is_cursor { cell.with_cursor() } else { cell }
    }

    /// The rows that may look different from when this was asked last.
    pub fn take_changed(&mut self) -> Range<usize> {
        core::mem::replace(&mut self.changed, self.nr_rows..0)
    }

    /// Whether anything may look different from when [`Grid::take_changed`] was called last.
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Has every row looked at again.
    pub fn change_all(&mut self) {
        self.changed = 0..self.nr_rows;
    }

    fn change(&mut self, row: usize) {
        self.changed = self.changed.start.min(row)..self.changed.end.max(row + 1);
    }

    /// Moves the view by so many lines, back if positive; it stops at either end.
    pub fn look_back(&mut self, nr_lines: isize) {
        let back = self.back.saturating_add_signed(nr_lines).min(self.nr_above);
        if back != self.back {
            self.back = back;
            self.change_all();
        }
    }

    /// Brings the view back to the bottom: what is written wants to be seen.
    pub fn look_at_bottom(&mut self) {
        self.look_back(isize::MIN);
    }

    /// Whether the cursor is to be seen.
    pub fn show_cursor(&mut self, is_shown: bool) {
        self.is_cursor_shown = is_shown;
        self.change(self.row);
    }

    /// Writes a character where the cursor stands, which moves on.
    pub fn put(&mut self, character: char) {
        if self.is_wrapping {
            self.line_feed();
            self.carriage_return();
        }
        self.line_above(0, self.row)[self.column].store(Cell::new(character, self.pen).to_raw(), Ordering::Relaxed);
        self.change(self.row);
        if self.column + 1 < self.nr_columns {
            self.column += 1;
        } else {
            self.is_wrapping = true;
        }
    }

    /// One line down; the screen scrolls up where there is none.
    pub fn line_feed(&mut self) {
        self.is_wrapping = false;
        if self.row + 1 < self.nr_rows {
            self.change(self.row);
            self.row += 1;
            self.change(self.row);
            return;
        }
        self.top = (self.top + 1) % self.nr_lines;
        self.nr_above = (self.nr_above + 1).min(self.nr_lines - self.nr_rows);
        self.erase_cells(self.nr_rows - 1, 0..self.nr_columns);
        self.change_all();
    }

    /// To the start of the line.
    pub fn carriage_return(&mut self) {
        self.move_to(self.row, 0);
    }

    /// One column to the left, if there is one.
    pub fn backspace(&mut self) {
        self.move_to(self.row, self.column.saturating_sub(1));
    }

    /// To the next tab stop, at most to the last column.
    pub fn tab(&mut self) {
        self.move_to(self.row, (self.column / TAB + 1) * TAB);
    }

    /// Moves the cursor; what lies outside is brought to the edge.
    pub fn move_to(&mut self, row: usize, column: usize) {
        self.change(self.row);
        self.row = row.min(self.nr_rows - 1);
        self.column = column.min(self.nr_columns - 1);
        self.is_wrapping = false;
        self.change(self.row);
    }

    /// Erases a part of the cursor's line.
    pub fn erase_line(&mut self, part: Part) {
        let columns = match part {
            Part::After => self.column..self.nr_columns,
            Part::Before => 0..self.column + 1,
            Part::Whole => 0..self.nr_columns,
        };
        self.erase_cells(self.row, columns);
    }

    /// Erases a part of the screen. What is above it stays.
    pub fn erase_screen(&mut self, part: Part) {
        let rows = match part {
            Part::After => self.row + 1..self.nr_rows,
            Part::Before => 0..self.row,
            Part::Whole => 0..self.nr_rows,
        };
        self.erase_line(part);
        for row in rows {
            self.erase_cells(row, 0..self.nr_columns);
        }
    }

    /// Forgets what is above the screen.
    pub fn forget_above(&mut self) {
        self.look_at_bottom();
        self.nr_above = 0;
    }

    fn erase_cells(&mut self, row: usize, columns: Range<usize>) {
        let blank = Cell::new(' ', self.pen.erased()).to_raw();
        self.line_above(0, row)[columns].iter().for_each(|cell| cell.store(blank, Ordering::Relaxed));
        self.change(row);
    }
}

#[cfg(test)]
#[path = "grid_tests.rs"]
mod tests;
