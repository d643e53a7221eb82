//! Pictures: the whole screen for something that is no text, until a key is pressed.
//!
//! Text that is printed meanwhile goes to the serial line as ever, and is on the screen when it comes back.

use kernel::screen::cell::REPLACEMENT;
use kernel::screen::colour::Rgb;
use kernel::screen::font::MAX_WIDTH;
use kernel::screen::pixels::{self, Ramp, Video};

use super::{Screen, Shared, VideoMemory};
use crate::{console, input};

/// There is no screen to show a picture on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoScreen;

impl core::fmt::Display for NoScreen {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("there is no screen")
    }
}

/// A screen to paint on. Places and sizes are in pixels; what lies outside is left out.
pub struct Picture {
    shared: &'static Shared,
    video: VideoMemory,
}

impl Picture {
    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.shared.framebuffer.mode.width, self.shared.framebuffer.mode.height)
    }

    /// Width and height of a character.
    pub fn character(&self) -> (usize, usize) {
        self.shared.canvas.layout.face.cell()
    }

    /// A rectangle.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, colour: Rgb) {
        pixels::fill(&mut self.video, &self.shared.framebuffer.mode, (x, y), (width, height), colour);
    }

    /// A line of text with its upper left corner there, in the console's font.
    pub fn text(&mut self, x: usize, y: usize, text: &str, ink: Rgb, paper: Rgb) {
        let mode = &self.shared.framebuffer.mode;
        let face = self.shared.canvas.layout.face;
        let (width, height) = face.cell();
        let ramp: Ramp = core::array::from_fn(|step| mode.pixel(paper.towards(ink, step as u8 * 17)));
        let mut row = [0; MAX_WIDTH];
        for (nth, character) in text.chars().enumerate() {
            let x = x + nth * width;
            if x + width > mode.width || y + height > mode.height {
                return;
            }
            let glyph = face.glyph(if character.is_control() { REPLACEMENT } else { character });
            for at in 0..height {
                face.row(glyph, at, &mut row[..width]);
                self.video.paint(mode.offset(x, y + at), &row[..width], &ramp);
            }
        }
    }
}

impl Screen {
    fn begin_picture(&mut self) -> Picture {
        self.has_picture = true;
        Picture { shared: self.shared, video: self.shared.video() }
    }

    /// The text comes back.
    fn end_picture(&mut self) {
        self.has_picture = false;
        self.shared.canvas.clear(&mut self.shared.video());
        self.terminal.grid_mut().change_all();
        self.draw();
    }
}

/// Shows what `paint` paints, until a key is pressed or Ctrl-C stops the command. Returns the key's first byte, `None`
/// for Ctrl-C. `paint` prints nothing: the console is held.
///
/// On the first CPU, interrupts on.
///
/// # Errors
///
/// [`NoScreen`]; nothing was painted, nothing waited for.
pub fn show(paint: impl FnOnce(&mut Picture)) -> Result<Option<u8>, NoScreen> {
    console::with_screen(|screen| paint(&mut screen.begin_picture())).ok_or(NoScreen)?;
    let key = input::wait_for_key();
    console::with_screen(Screen::end_picture).ok_or(NoScreen)?;
    Ok(key)
}

/// Shows pictures one after another: `paint` paints one, and `goes_on` waits for as long as it shall be seen and says
/// whether there is a further one. `paint` prints nothing: the console is held.
///
/// On the first CPU, interrupts on.
///
/// # Errors
///
/// [`NoScreen`]; nothing was painted, nothing waited for.
pub fn show_each(mut paint: impl FnMut(&mut Picture), mut goes_on: impl FnMut() -> bool) -> Result<(), NoScreen> {
    loop {
        console::with_screen(|screen| paint(&mut screen.begin_picture())).ok_or(NoScreen)?;
        if !goes_on() {
            return console::with_screen(Screen::end_picture).ok_or(NoScreen);
        }
    }
}
