//! The screen: the console's text on the framebuffer that the bootloader has set up.
//!
//! It works from the first line the kernel prints, on cells in static memory; once there is memory it gets more of them,
//! for scrollback. It allocates nothing after that. Drawing is put off while text comes fast, so that it takes a small
//! part of the time; [`Screen::catch_up`] and [`Screen::draw`] bring the rest out.
//!
//! A crash report writes by [`write_by_force`]: it takes no lock, and goes on in the same cells where the last writer
//! said that it was. All that it shares with a CPU that was stopped in the middle of its writing are atomics and video
//! memory; at worst a line is garbled.
//!
//! Called by: the console, under its lock, but for the two functions that work by force, and for
//! [`cells_with_scrollback`], which takes memory and so comes before that lock.

mod picture;
mod video;

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use arch::tsc;
use kernel::screen::cell::Pen;
use kernel::screen::draw::{self, Canvas};
use kernel::screen::font::Layout;
use kernel::screen::grid::{Grid, Position};
use kernel::screen::terminal::Terminal;
use mm::frame::PAGE_SIZE;
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use spin::Once;

use crate::bootinfo::{self, BadFramebuffer, Framebuffer};
use crate::machine::HEAP;

pub use picture::{NoScreen, Picture, show, show_each};
use video::VideoMemory;

/// Lines that one can look back by, where memory is not scarce.
const NR_LINES_ABOVE: usize = 2000;
/// Scrollback takes at most this part of memory.
const MEMORY_SHARE: u64 = 128;
/// While text comes fast, drawing takes about one part in so many of the time.
const DRAWING_SHARE: u64 = 8;

/// What was drawn.
static DRAWN: [AtomicU32; Layout::MAX_CELLS] = [const { AtomicU32::new(0) }; Layout::MAX_CELLS];
/// The text, before there is memory.
static EARLY_CELLS: [AtomicU32; Layout::MAX_CELLS] = [const { AtomicU32::new(0) }; Layout::MAX_CELLS];
/// The text, from when there is.
static CELLS: Once<&'static [AtomicU32]> = Once::new();
static SHARED: Once<Shared> = Once::new();
/// Whether the screen is used.
static IS_ON: AtomicBool = AtomicBool::new(false);
/// Where the last writer stood.
static POSITION: AtomicU64 = AtomicU64::new(0);

/// What never changes: where to draw, and how.
struct Shared {
    framebuffer: Framebuffer,
    canvas: Canvas<'static>,
}

/// The screen, for the one who holds the console.
pub struct Screen {
    terminal: Terminal<'static>,
    shared: &'static Shared,
    /// A picture has the screen: text is kept, not drawn.
    has_picture: bool,
    /// When the last drawing ended, and how long it took, in ticks of the TSC.
    drawn_at: u64,
    drawing_ticks: u64,
}

/// Looks for a framebuffer and clears it. Once, first thing, on the bootloader's page tables. `None` if the bootloader has
/// none, or the command line says `screen=off`.
///
/// # Errors
///
/// Why the one there is cannot be used.
pub fn find() -> Result<Option<Screen>, BadFramebuffer> {
    if bootinfo::early_option("screen") == Some("off") {
        return Ok(None);
    }
    let Some(framebuffer) = bootinfo::framebuffer().transpose()? else { return Ok(None) };
    // A framebuffer without room for a character is as good as none.
    let Some(canvas) = Canvas::new(framebuffer.mode, &DRAWN) else { return Ok(None) };
    let shared = SHARED.call_once(|| Shared { framebuffer, canvas });
    let Layout { nr_columns, nr_rows, .. } = shared.canvas.layout;
    let Some(grid) = Grid::new(&EARLY_CELLS, nr_columns, nr_rows) else { return Ok(None) };
    IS_ON.store(true, Ordering::Release);
    shared.canvas.clear(&mut shared.video());
    let terminal = Terminal::new(grid);
    Ok(Some(Screen { terminal, shared, has_picture: false, drawn_at: 0, drawing_ticks: 0 }))
}

/// Where the video memory is, if it is used.
pub fn framebuffer() -> Option<Framebuffer> {
    IS_ON.load(Ordering::Acquire).then(|| SHARED.get().map(|shared| shared.framebuffer))?
}

/// Nobody draws any more: the video memory goes out of reach.
pub fn turn_off() {
    IS_ON.store(false, Ordering::Release);
}

impl Shared {
    fn video(&self) -> VideoMemory {
        // SAFETY: the bootloader has mapped the framebuffer at this address, in `mode`, which was checked; the kernel's
        // tables map it there as well, or `turn_off` was called, after which no `Shared` is used. It is nobody else's.
        unsafe { VideoMemory::new(self.framebuffer.virt, &self.framebuffer.mode) }
    }
}

impl Screen {
    /// Writes text, and draws it unless drawing has taken too much of the time lately.
    pub fn write(&mut self, bytes: &[u8]) {
        self.terminal.write(bytes);
        POSITION.store(pack(self.terminal.grid().position()), Ordering::Release);
    }

    /// Draws what has changed, if the drawing before is long enough ago. Returns whether all has been drawn.
    pub fn catch_up(&mut self) -> bool {
        let since = tsc::read().wrapping_sub(self.drawn_at);
        if since >= self.drawing_ticks.saturating_mul(DRAWING_SHARE) {
            self.draw();
        }
        !self.terminal.grid().is_changed()
    }

    /// Draws what has changed.
    pub fn draw(&mut self) {
        if self.has_picture || !IS_ON.load(Ordering::Acquire) {
            self.terminal.grid_mut().take_changed();
            return;
        }
        let start = tsc::read();
        let rows = self.terminal.grid_mut().take_changed();
        let mut video = self.shared.video();
        self.shared.canvas.draw(&mut video, self.terminal.grid(), rows);
        let back = self.terminal.grid().back();
        if back > 0 {
            let mut text = *b" 0000 lines back ";
            let digits = [1000, 100, 10, 1].map(|unit| b'0' + (back / unit % 10) as u8);
            text[1..5].copy_from_slice(&digits);
            draw::remark(&self.shared.canvas, &mut video, &text);
        }
        self.drawn_at = tsc::read();
        self.drawing_ticks = self.drawn_at.wrapping_sub(start);
    }

    /// Moves the view by so many half screens, back if positive.
    pub fn look_back(&mut self, nr_halves: isize) {
        let half = (self.terminal.grid().nr_rows() / 2).max(1) as isize;
        self.terminal.grid_mut().look_back(nr_halves.saturating_mul(half));
    }

    /// Characters in a line, and lines.
    pub fn size(&self) -> (usize, usize) {
        (self.terminal.grid().nr_columns(), self.terminal.grid().nr_rows())
    }

    /// Lines that one can look back by, now.
    pub fn nr_above(&self) -> usize {
        self.terminal.grid().nr_above()
    }

    /// The framebuffer's shape in pixels: width, height, bits of a pixel.
    pub fn pixels(&self) -> (usize, usize, u16) {
        let mode = self.shared.framebuffer.mode;
        (mode.width, mode.height, mode.nr_bits)
    }

    /// Goes on in these cells, which may hold more lines than the screen shows: scrollback.
    pub fn keep_scrollback(&mut self, cells: &'static [AtomicU32]) {
        let Some(grid) = self.terminal.grid().moved(cells) else { return };
        let position = grid.position();
        *self.terminal.grid_mut() = grid;
        CELLS.call_once(|| cells);
        POSITION.store(pack(position), Ordering::Release);
    }
}

/// Takes memory for a screen of so many columns and rows and for scrollback, for good. `None` where there is none to
/// spare: the screen goes on without. Takes the heap's locks, so the console must not be held.
pub fn cells_with_scrollback((nr_columns, nr_rows): (usize, usize)) -> Option<&'static [AtomicU32]> {
    let spare = HEAP.frames().nr_managed() * PAGE_SIZE as u64 / MEMORY_SHARE;
    let line_len = nr_columns * size_of::<AtomicU32>();
    let nr_lines = nr_rows + NR_LINES_ABOVE.min(spare as usize / line_len);
    let nr_pages = (nr_lines * line_len).div_ceil(PAGE_SIZE);
    let run = HEAP.alloc_run(RunRequest::pages(nr_pages), Kind::Owned).ok()?;
    let words = HEAP.frames().virt(run.start()).cast::<AtomicU32>();
    // SAFETY: the run is ours for good, page-aligned and long enough, and the write makes it initialised.
    unsafe {
        words.write_bytes(0, nr_lines * nr_columns);
        Some(core::slice::from_raw_parts(words.as_ptr(), nr_lines * nr_columns))
    }
}

fn pack(Position { top, row, column }: Position) -> u64 {
    u64::from(top) | u64::from(row) << 32 | u64::from(column) << 48
}

fn unpack(bits: u64) -> Position {
    Position { top: bits as u32, row: (bits >> 32) as u16, column: (bits >> 48) as u16 }
}

/// Has everything drawn again by the next [`write_by_force`]: a picture may be there.
pub fn forget_by_force() {
    if let Some(shared) = SHARED.get() {
        shared.canvas.forget();
    }
}

/// Writes and draws without the console's lock: the report of a crash, and nothing else.
pub fn write_by_force(bytes: &[u8]) {
    let Some(shared) = SHARED.get().filter(|_| IS_ON.load(Ordering::Acquire)) else { return };
    let Layout { nr_columns, nr_rows, .. } = shared.canvas.layout;
    let cells = CELLS.get().copied().unwrap_or(&EARLY_CELLS);
    let position = unpack(POSITION.load(Ordering::Acquire));
    let Some(mut grid) = Grid::resume(cells, nr_columns, nr_rows, position) else { return };
    grid.pen = Pen::ALARM;
    let mut terminal = Terminal::new(grid);
    terminal.write(bytes);
    POSITION.store(pack(terminal.grid().position()), Ordering::Release);
    shared.canvas.draw(&mut shared.video(), terminal.grid(), 0..nr_rows);
}
