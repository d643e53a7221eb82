//! Bytes as a terminal understands them, written into a [`Grid`].
//!
//! The parser is `vte`, an implementation of the state machine of the DEC terminals, built without its `std`: it
//! allocates nothing, and any bytes leave it in a state of fixed size. What the sequences mean is here: those that the
//! line editor and full-screen output use, with their meaning in ECMA-48, and SGR colours with xterm's additions. Others
//! are skipped as a whole.
//!
//! LF begins a new line, as on a terminal whose sender puts a CR before each: the kernel's text does that on the serial
//! line, and no sender of it wants a LF that keeps the column.

use vte::{Params, ParamsIter, Parser, Perform};

use super::cell::Pen;
use super::colour::{self, INK, PAPER, Rgb};
use super::grid::{Grid, Part};

/// Bytes of an operating-system command that the parser keeps before it is skipped.
const MAX_OSC: usize = 16;

/// A screen that is written to by bytes.
pub struct Terminal<'a> {
    parser: Parser<MAX_OSC>,
    screen: Screen<'a>,
}

struct Screen<'a> {
    grid: Grid<'a>,
    saved: (usize, usize, Pen),
}

impl<'a> Terminal<'a> {
    /// Writes into `grid`.
    pub fn new(grid: Grid<'a>) -> Self {
        Self { parser: Parser::new_with_size(), screen: Screen { grid, saved: (0, 0, Pen::PLAIN) } }
    }

    /// The text as it stands.
    pub fn grid(&self) -> &Grid<'a> {
        &self.screen.grid
    }

    /// The text, to be looked at or moved.
    pub fn grid_mut(&mut self) -> &mut Grid<'a> {
        &mut self.screen.grid
    }

    /// Takes the next bytes. Whoever looked back sees the bottom again.
    pub fn write(&mut self, bytes: &[u8]) {
        self.screen.grid.look_at_bottom();
        self.parser.advance(&mut self.screen, bytes);
    }
}

impl Perform for Screen<'_> {
    fn print(&mut self, character: char) {
        // DEL, and controls of the second set that came in two pieces: nothing to see.
        if !character.is_control() {
            self.grid.put(character);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' | 0x0b | 0x0c => {
                self.grid.line_feed();
                self.grid.carriage_return();
            }
            b'\r' => self.grid.carriage_return(),
            0x08 => self.grid.backspace(),
            b'\t' => self.grid.tab(),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], is_cut: bool, action: char) {
        if is_cut {
            return;
        }
        if intermediates == b"?" {
            // DECTCEM: whether the cursor is to be seen.
            if matches!(action, 'h' | 'l') && params.iter().any(|param| param == [25]) {
                self.grid.show_cursor(action == 'h');
            }
            return;
        }
        if intermediates.is_empty() {
            self.control(action, params);
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], is_cut: bool, byte: u8) {
        if is_cut || !intermediates.is_empty() {
            return;
        }
        match byte {
            b'7' => self.save(),
            b'8' => self.restore(),
            // RIS: everything as at the start.
            b'c' => {
                self.grid.pen = Pen::PLAIN;
                self.grid.show_cursor(true);
                self.grid.move_to(0, 0);
                self.grid.erase_screen(Part::Whole);
                self.saved = (0, 0, Pen::PLAIN);
            }
            _ => {}
        }
    }
}

impl Screen<'_> {
    fn control(&mut self, action: char, params: &Params) {
        let (row, column) = self.grid.cursor();
        let mut numbers = params.iter().map(|param| param.first().copied().unwrap_or(0));
        let (first, second) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        // A count that is 0 or missing is 1; so is a place, counted from 1.
        let n = usize::from(first.max(1));
        let m = usize::from(second.max(1));
        match action {
            'A' => self.grid.move_to(row.saturating_sub(n), column),
            'B' | 'e' => self.grid.move_to(row + n, column),
            'C' | 'a' => self.grid.move_to(row, column + n),
            'D' => self.grid.move_to(row, column.saturating_sub(n)),
            'E' => self.grid.move_to(row + n, 0),
            'F' => self.grid.move_to(row.saturating_sub(n), 0),
            'G' | '`' => self.grid.move_to(row, n - 1),
            'd' => self.grid.move_to(n - 1, column),
            'H' | 'f' => self.grid.move_to(n - 1, m - 1),
            'J' if first == 3 => self.grid.forget_above(),
            'J' => part(first).into_iter().for_each(|part| self.grid.erase_screen(part)),
            'K' => part(first).into_iter().for_each(|part| self.grid.erase_line(part)),
            's' => self.save(),
            'u' => self.restore(),
            'm' => write_with(&mut self.grid.pen, params),
            _ => {}
        }
    }

    fn save(&mut self) {
        let (row, column) = self.grid.cursor();
        self.saved = (row, column, self.grid.pen);
    }

    fn restore(&mut self) {
        let (row, column, pen) = self.saved;
        self.grid.move_to(row, column);
        self.grid.pen = pen;
    }
}

fn part(number: u16) -> Option<Part> {
    match number {
        0 => Some(Part::After),
        1 => Some(Part::Before),
        2 => Some(Part::Whole),
        _ => None,
    }
}

/// SGR: changes the pen by a list of numbers; none means 0.
fn write_with(pen: &mut Pen, params: &Params) {
    let mut params = params.iter();
    let mut is_first = true;
    while let Some(param) = params.next() {
        let number = param.first().copied().unwrap_or(0);
        match number {
            0 => *pen = Pen::PLAIN,
            1 => pen.is_bold = true,
            2 => (pen.is_bold, pen.ink) = (false, 8),
            4 => pen.is_underlined = true,
            7 => pen.is_inverse = true,
            22 => pen.is_bold = false,
            24 => pen.is_underlined = false,
            27 => pen.is_inverse = false,
            30..=37 => pen.ink = (number - 30) as u8,
            38 => pen.ink = extended(param, &mut params).unwrap_or(pen.ink),
            39 => pen.ink = INK,
            40..=47 => pen.paper = (number - 40) as u8,
            48 => pen.paper = extended(param, &mut params).unwrap_or(pen.paper),
            49 => pen.paper = PAPER,
            90..=97 => pen.ink = (number - 90 + 8) as u8,
            100..=107 => pen.paper = (number - 100 + 8) as u8,
            _ => {}
        }
        is_first = false;
    }
    if is_first {
        *pen = Pen::PLAIN;
    }
}

/// A colour of many: `38;5;n` and `38;2;r;g;b`, or the same with colons in one parameter.
fn extended(param: &[u16], rest: &mut ParamsIter<'_>) -> Option<u8> {
    let mut inside = param.iter().copied().skip(1);
    let is_inside = param.len() > 1;
    let mut next = || if is_inside { inside.next() } else { rest.next().and_then(|param| param.first().copied()) };
    match next()? {
        5 => colour::nearest_of_256(next()?),
        2 => {
            let mut part = || next().map(|value| value.min(255) as u8);
            Some(colour::nearest(Rgb { red: part()?, green: part()?, blue: part()? }))
        }
        _ => None,
    }
}
