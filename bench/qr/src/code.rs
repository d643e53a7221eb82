//! A part as a QR code (ISO/IEC 18004), and as lines of half blocks for a terminal.
//!
//! Dark on light: modules that are on are dark and the quiet zone is light, because not every reader takes the negative.
//! A terminal's cell is about twice as high as it is wide, so it shows two modules, one above the other.
//!
//! Called by: the kernel's `qr`, which also draws the modules on its screen.

use core::fmt::{self, Write};

use qrcodegen_no_heap::{QrCode, QrCodeEcc, Version as CodeVersion};

use crate::cut::{MAX_VERSION, QUIET_MODULES, Version};
use crate::part::Part;

/// Bytes of a code of the largest version.
const CODE_BYTES: usize = CodeVersion::new(MAX_VERSION).buffer_len();
/// Characters of a part in it.
const TEXT_BYTES: usize = Version::MAX.nr_chars();

/// Black on bright white, whatever the terminal's own colours are.
pub const DARK_ON_LIGHT: &str = "\x1b[30;107m";
/// The terminal's own colours.
pub const USUAL_COLOURS: &str = "\x1b[0m";
/// The lower module, the upper one, both: U+2584, U+2580, U+2588.
const BLOCKS: [char; 4] = [' ', '\u{2584}', '\u{2580}', '\u{2588}'];

/// Memory in which codes are made, one after another: some 4 KiB, so better not on a stack.
pub struct Canvas {
    text: [u8; TEXT_BYTES],
    scratch: [u8; CODE_BYTES],
    modules: [u8; CODE_BYTES],
}

impl Canvas {
    /// Without a code.
    pub const fn new() -> Self {
        Self { text: [0; TEXT_BYTES], scratch: [0; CODE_BYTES], modules: [0; CODE_BYTES] }
    }

    /// The code of `part` with modules as `version` has them; `None` if it does not fit, as it does in that of its
    /// [`Cut`](crate::cut::Cut).
    pub fn draw(&mut self, part: &Part<'_>, version: Version) -> Option<Code<'_>> {
        let mut text = Text { bytes: &mut self.text, len: 0 };
        write!(text, "{part}").ok()?;
        let len = text.len;
        let text = core::str::from_utf8(&self.text[..len]).ok()?;
        let version = CodeVersion::new(version.number());
        let code = QrCode::encode_text(
            text,
            &mut self.scratch,
            &mut self.modules,
            QrCodeEcc::Low,
            version,
            version,
            None,
            // A better level where the version has room for it.
            true,
        );
        code.ok().map(Code)
    }
}

impl Default for Canvas {
    fn default() -> Self {
        Self::new()
    }
}

/// Text in a buffer; what does not fit is an error.
struct Text<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// A code. Columns and rows are counted with the quiet zone: the first dark module is at (4, 4).
pub struct Code<'a>(QrCode<'a>);

impl Code<'_> {
    /// Modules side by side, the quiet zone included.
    pub fn nr_modules(&self) -> usize {
        self.0.size() as usize + 2 * QUIET_MODULES
    }

    /// Whether a module is dark; beyond the code all are light.
    pub fn is_dark(&self, column: usize, row: usize) -> bool {
        let inner = |at: usize| at.checked_sub(QUIET_MODULES).and_then(|at| i32::try_from(at).ok());
        // The crate says of what lies outside that it is light.
        matches!((inner(column), inner(row)), (Some(x), Some(y)) if self.0.get_module(x, y))
    }

    /// Writes it as lines of half blocks.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write_blocks(&self, out: &mut dyn Write) -> fmt::Result {
        let nr_modules = self.nr_modules();
        for row in (0..nr_modules).step_by(2) {
            out.write_str(DARK_ON_LIGHT)?;
            for column in 0..nr_modules {
                let upper = usize::from(self.is_dark(column, row));
                let lower = usize::from(self.is_dark(column, row + 1));
                out.write_char(BLOCKS[2 * upper + lower])?;
            }
            writeln!(out, "{USUAL_COLOURS}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::{Cut, MIN_VERSION};
    use crate::part::PartId;
    use std::string::{String, ToString};
    use std::vec;

    /// Characters that the standard's table gives to a version are what the encoder takes, and no more.
    #[test]
    fn capacities_are_those_of_the_encoder() {
        for number in MIN_VERSION..=MAX_VERSION {
            let nr_chars = Version::within_modules(usize::from(number) * 4 + 25).expect("a version").nr_chars();
            let version = CodeVersion::new(number);
            let fits = |nr_chars: usize| {
                let (mut scratch, mut modules) = ([0; CODE_BYTES], [0; CODE_BYTES]);
                let text = "A".repeat(nr_chars);
                QrCode::encode_text(&text, &mut scratch, &mut modules, QrCodeEcc::Low, version, version, None, false)
                    .is_ok()
            };
            assert!(fits(nr_chars) && !fits(nr_chars + 1), "version {number}");
        }
    }

    #[test]
    fn a_full_code_is_drawn_dark_on_light() {
        let packed = vec![0x5a; 40_000];
        let cut = Cut::new(&packed, Version::MAX).expect("it fits");
        let mut canvas = Canvas::new();
        let code = canvas.draw(&cut.part(1).expect("a part"), cut.version()).expect("it fits");
        let mut text = String::new();
        code.write_blocks(&mut text).expect("a string takes everything");
        assert_eq!(code.nr_modules(), 105);
        assert_eq!(text.lines().count(), 53);
        // Two rows of modules a line: the quiet zone, then the upper edge of two finders.
        let line = |at: usize| text.lines().nth(at).and_then(|line| line.strip_prefix(DARK_ON_LIGHT)).expect("a line");
        assert!(line(0).starts_with(&" ".repeat(105)) && line(1).starts_with(&" ".repeat(105)));
        assert!(line(2).starts_with("    █▀▀▀▀▀█ ") && line(2).ends_with(" █▀▀▀▀▀█    \x1b[0m"));
        assert!(line(52).starts_with(&" ".repeat(105)));
        assert!(code.is_dark(4, 4) && !code.is_dark(3, 4) && !code.is_dark(105, 4) && !code.is_dark(4, usize::MAX));
    }

    #[test]
    fn what_does_not_fit_is_not_drawn() {
        let id = PartId { run: 1, number: 1, nr_parts: 1 };
        let smallest = Version::within_modules(37).expect("version 3");
        assert!(Canvas::new().draw(&Part { id, bytes: &[0; 40] }, smallest).is_none());
        let long = Part { id, bytes: &[0; 2000] };
        assert!(long.to_string().len() > TEXT_BYTES);
        assert!(Canvas::new().draw(&long, Version::MAX).is_none());
    }
}
