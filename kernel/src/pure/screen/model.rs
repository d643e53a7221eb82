//! The naive screen that the grid is tested against: every line ever written, kept for ever, and no ring.

use vte::{Params, Parser, Perform};

use super::cell::{Cell, Pen};
use super::colour::{INK, PAPER};

pub(super) struct Model {
    parser: Parser<16>,
    text: Text,
}

struct Text {
    lines: Vec<Vec<Cell>>,
    columns: usize,
    rows: usize,
    above_max: usize,
    /// Lines above the screen that were forgotten on demand.
    forgotten: usize,
    back: usize,
    row: usize,
    /// May be `columns`: behind the last one.
    column: usize,
    pen: Pen,
    saved: (usize, usize, Pen),
}

impl Model {
    pub(super) fn new(columns: usize, rows: usize, above_max: usize) -> Self {
        let lines = vec![vec![Cell::BLANK; columns]; rows];
        let saved = (0, 0, Pen::PLAIN);
        let text =
            Text { lines, columns, rows, above_max, forgotten: 0, back: 0, row: 0, column: 0, pen: Pen::PLAIN, saved };
        Self { parser: Parser::new_with_size(), text }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.text.back = 0;
        self.parser.advance(&mut self.text, bytes);
    }

    pub(super) fn look_back(&mut self, nr_lines: usize) {
        self.text.back = (self.text.back + nr_lines).min(self.nr_above());
    }

    pub(super) fn back(&self) -> usize {
        self.text.back
    }

    pub(super) fn nr_above(&self) -> usize {
        (self.text.top() - self.text.forgotten).min(self.text.above_max)
    }

    pub(super) fn cursor(&self) -> (usize, usize) {
        (self.text.row, self.text.column.min(self.text.columns - 1))
    }

    pub(super) fn seen(&self, row: usize, column: usize) -> Cell {
        let cell = self.text.lines[self.text.top() - self.text.back + row][column];
        if self.text.back == 0 && (row, column) == self.cursor() { cell.with_cursor() } else { cell }
    }
}

impl Text {
    fn top(&self) -> usize {
        self.lines.len() - self.rows
    }

    fn blank(&self) -> Cell {
        Cell::new(' ', Pen { paper: self.pen.paper, ..Pen::PLAIN })
    }

    fn new_line(&mut self) {
        self.column = 0;
        self.row += 1;
        if self.row == self.rows {
            self.row -= 1;
            self.lines.push(vec![self.blank(); self.columns]);
        }
    }

    fn go(&mut self, row: isize, column: isize) {
        self.row = row.clamp(0, self.rows as isize - 1) as usize;
        self.column = column.clamp(0, self.columns as isize - 1) as usize;
    }

    /// Erases the cells of the screen whose place in reading order `is_erased` says.
    fn erase(&mut self, is_erased: impl Fn(usize, usize) -> bool) {
        let (top, blank) = (self.top(), self.blank());
        for row in 0..self.rows {
            for column in 0..self.columns {
                if is_erased(row, column) {
                    self.lines[top + row][column] = blank;
                }
            }
        }
    }
}

impl Perform for Text {
    fn print(&mut self, character: char) {
        if character.is_control() {
            return;
        }
        if self.column == self.columns {
            self.new_line();
        }
        let (line, column) = (self.top() + self.row, self.column);
        self.lines[line][column] = Cell::new(character, self.pen);
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        let column = self.column.min(self.columns - 1) as isize;
        match byte {
            10..=12 => self.new_line(),
            13 => self.column = 0,
            8 => self.go(self.row as isize, column - 1),
            9 => self.go(self.row as isize, column / 8 * 8 + 8),
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        match (intermediates, byte) {
            ([], b'7') => self.saved = (self.row, self.column.min(self.columns - 1), self.pen),
            ([], b'8') => (self.row, self.column, self.pen) = self.saved,
            ([], b'c') => {
                (self.row, self.column, self.pen, self.saved) = (0, 0, Pen::PLAIN, (0, 0, Pen::PLAIN));
                self.erase(|_, _| true);
            }
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], is_cut: bool, action: char) {
        if is_cut || !intermediates.is_empty() {
            return;
        }
        let numbers: Vec<u16> = params.iter().map(|param| param[0]).collect();
        let raw = |index: usize| numbers.get(index).copied().unwrap_or(0);
        let n = |index: usize| raw(index).max(1) as isize;
        let (row, column) = (self.row as isize, self.column.min(self.columns - 1) as isize);
        let (cursor_row, cursor_column) = (row as usize, column as usize);
        match action {
            'A' => self.go(row - n(0), column),
            'B' | 'e' => self.go(row + n(0), column),
            'C' | 'a' => self.go(row, column + n(0)),
            'D' => self.go(row, column - n(0)),
            'E' => self.go(row + n(0), 0),
            'F' => self.go(row - n(0), 0),
            'G' | '`' => self.go(row, n(0) - 1),
            'd' => self.go(n(0) - 1, column),
            'H' | 'f' => self.go(n(0) - 1, n(1) - 1),
            'J' | 'K' => match raw(0) {
                3 if action == 'J' => (self.back, self.forgotten) = (0, self.top()),
                mode @ 0..=2 => self.erase(|row, column| {
                    let is_before = (row, column) <= (cursor_row, cursor_column);
                    let is_after = (row, column) >= (cursor_row, cursor_column);
                    let is_in = match mode {
                        0 => is_after,
                        1 => is_before,
                        _ => true,
                    };
                    is_in && (action == 'J' || row == cursor_row)
                }),
                _ => {}
            },
            's' => self.saved = (cursor_row, cursor_column, self.pen),
            'u' => (self.row, self.column, self.pen) = self.saved,
            'm' if numbers.iter().all(|number| !matches!(number, 38 | 48)) => {
                for number in if numbers.is_empty() { vec![0] } else { numbers } {
                    match number {
                        0 => self.pen = Pen::PLAIN,
                        1 => self.pen.is_bold = true,
                        2 => (self.pen.is_bold, self.pen.ink) = (false, 8),
                        4 => self.pen.is_underlined = true,
                        7 => self.pen.is_inverse = true,
                        30..=37 => self.pen.ink = number as u8 - 30,
                        39 => self.pen.ink = INK,
                        40..=47 => self.pen.paper = number as u8 - 40,
                        49 => self.pen.paper = PAPER,
                        _ => {}
                    }
                }
            }
            // With nothing behind them, these two change nothing.
            _ => {}
        }
    }
}
