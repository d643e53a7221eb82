//! A place for one character on the screen: the character, its two colours and how it is set off, in 32 bits.
//!
//! ```text
//!   0..16 character (beyond the basic plane: the replacement) | 16..20 ink | 20..24 paper
//!   24 underlined | 25 inverse | 26 bold | 27 the cursor stands here
//! ```
//! Zero is no cell that anybody writes: it stands for "nothing was drawn here yet".

use super::colour::{INK, PAPER};

/// What is shown for a character that cannot be.
pub const REPLACEMENT: char = '\u{fffd}';

/// How a character is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pen {
    /// Number of the colour of its lines.
    pub ink: u8,
    /// Number of the colour behind it.
    pub paper: u8,
    /// With a line below it.
    pub is_underlined: bool,
    /// Ink and paper change places.
    pub is_inverse: bool,
    /// In the bright form of its ink.
    pub is_bold: bool,
}

impl Pen {
    /// What one writes with when nobody asked for anything else.
    pub const PLAIN: Self = Self { ink: INK, paper: PAPER, is_underlined: false, is_inverse: false, is_bold: false };
    /// For crash reports.
    pub const ALARM: Self = Self { ink: 9, ..Self::PLAIN };

    /// What erasing leaves: the paper, and nothing of the rest.
    pub const fn erased(self) -> Self {
        Self { paper: self.paper, ..Self::PLAIN }
    }
}

/// One place of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(u32);

const CURSOR: u32 = 1 << 27;

impl Cell {
    /// No cell: nothing was drawn.
    pub const NONE: Self = Self(0);
    /// An empty place.
    pub const BLANK: Self = Self::new(' ', Pen::PLAIN);

    /// `character`, written with `pen`.
    pub const fn new(character: char, pen: Pen) -> Self {
        let code = if (character as u32) < 0x10000 { character as u32 } else { REPLACEMENT as u32 };
        Self(
            code | (pen.ink as u32 & 15) << 16
                | (pen.paper as u32 & 15) << 20
                | (pen.is_underlined as u32) << 24
                | (pen.is_inverse as u32) << 25
                | (pen.is_bold as u32) << 26,
        )
    }

    /// From what [`Cell::to_raw`] gave, or anything else.
    pub const fn from_raw(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits, to be stored.
    pub const fn to_raw(self) -> u32 {
        self.0
    }

    /// The character.
    pub fn character(self) -> char {
        char::from_u32(self.0 & 0xffff).unwrap_or(REPLACEMENT)
    }

    /// All but the character: two cells with the same look differ in their character at most.
    pub const fn look(self) -> u32 {
        self.0 & !0xffff
    }

    /// The same with the cursor on it.
    pub const fn with_cursor(self) -> Self {
        Self(self.0 | CURSOR)
    }

    /// Whether it has a line below.
    pub const fn is_underlined(self) -> bool {
        self.0 >> 24 & 1 != 0
    }

    /// Whether nothing of the ink can be seen.
    pub const fn is_blank(self) -> bool {
        self.0 & 0xffff == ' ' as u32 && !self.is_underlined()
    }

    /// Numbers of the two colours as they are seen, ink and paper: bold, inverse and the cursor are in them.
    pub const fn colours(self) -> (u8, u8) {
        let (ink, paper) = ((self.0 >> 16 & 15) as u8, (self.0 >> 20 & 15) as u8);
        let ink = if self.0 >> 26 & 1 != 0 && ink < 8 { ink + 8 } else { ink };
        let is_inverse = self.0 >> 25 & 1 != 0;
        if is_inverse != (self.0 & CURSOR != 0) { (paper, ink) } else { (ink, paper) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_keeps_what_it_was_made_of() {
        let pen = Pen { ink: 3, paper: 12, is_underlined: true, is_inverse: false, is_bold: true };
        let cell = Cell::new('é', pen);
        assert_eq!((cell.character(), cell.colours(), cell.is_underlined()), ('é', (11, 12), true));
        assert_eq!(cell.with_cursor().colours(), (12, 11));
        assert_eq!(Cell::new('x', Pen { is_inverse: true, ..Pen::PLAIN }).with_cursor().colours(), (INK, PAPER));
    }

    #[test]
    fn what_has_no_place_is_replaced() {
        assert_eq!(Cell::new('😀', Pen::PLAIN).character(), REPLACEMENT);
        assert_eq!(Cell::from_raw(0xd800).character(), REPLACEMENT, "half of a pair is no character");
    }

    #[test]
    fn blank_is_a_space_without_a_line() {
        assert!(Cell::BLANK.is_blank() && Cell::BLANK != Cell::NONE);
        assert!(!Cell::new(' ', Pen { is_underlined: true, ..Pen::PLAIN }).is_blank());
        assert!(!Cell::NONE.is_blank());
    }
}
