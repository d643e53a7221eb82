//! The console on a framebuffer, as far as it needs no machine: text in, pixels out.
//!
//! ```text
//!   bytes -> terminal -> grid (cells) -> draw -> pixels of a Video
//!            escape      scrollback,     only cells that differ from
//!            sequences   cursor, view    what was drawn before
//! ```
//!
//! Nothing here allocates, ever: this console serves the kernel of an allocator, whose account must not change because
//! something was printed, and a crash report has to come out when there is nothing left to allocate from. Cells are
//! atomics in memory that the caller lends, so that a crash report may go on where a stopped CPU left off without
//! waiting for its lock: a race between the two can garble text, and do nothing worse.
//!
//! Video memory is never read: reading it is some hundred times slower than writing. What was drawn is remembered in
//! ordinary memory, cell by cell.
//!
//! Called by: the kernel's `screen`, which owns the memory and the lock.

#[path = "screen/boxes.rs"]
pub mod boxes;
#[path = "screen/cell.rs"]
pub mod cell;
#[path = "screen/colour.rs"]
pub mod colour;
#[path = "screen/draw.rs"]
pub mod draw;
#[path = "screen/font.rs"]
pub mod font;
#[path = "screen/grid.rs"]
pub mod grid;
#[path = "screen/pixels.rs"]
pub mod pixels;
#[path = "screen/terminal.rs"]
pub mod terminal;

#[cfg(test)]
#[path = "screen/model.rs"]
mod model;
