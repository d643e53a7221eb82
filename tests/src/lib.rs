//! Drives QEMU from the host: settings in, a running machine and its serial line out.
//!
//! One boot is described by [`Settings`], the same words that `just` takes. [`qemu::Launch`] turns them into files
//! and an argument vector, [`session::Session`] runs it and reads the serial line, and [`outcome::End`] says what the
//! exit status means. [`qmp`] presses its keys and takes screenshots, [`screen`] reads these. What the kernel is expected to print stands in one file, [`kernel`]. Callers: the command
//! `bandolier-run` behind the recipes, and the end-to-end tests in `tests/qemu`.
//!
//! Nothing here needs the network, and every QEMU started here dies with the process that started it.

pub mod archive;
pub mod budget;
pub mod error;
pub mod figures;
pub mod gdb;
pub mod host;
pub mod image;
pub mod interactive;
pub mod kernel;
pub mod menu;
pub mod outcome;
pub mod qemu;
pub mod qmp;
pub mod scratch;
pub mod screen;
pub mod session;
pub mod settings;
pub mod strip;
pub mod tlb_figures;
pub mod trace;
pub mod usb;

pub use error::Error;
pub use outcome::End;
pub use settings::Settings;
