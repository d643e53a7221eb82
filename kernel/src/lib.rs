//! The part of the kernel that needs no machine: what its shell, its crash report, its replay and its benchmarks
//! compute, as libraries that also run under `cargo test`.
//!
//! Principles, with their reasons:
//! - No module here knows hardware, holds a static or allocates. What it needs to remember is a value that the caller
//!   owns, what it needs to say goes to a sink that the caller passes. So every line can be tested on the host, and
//!   the crash report may use it when nothing else works any more.
//! - Bytes that come from outside (a serial line, a command line, a recording, an ELF image) are untrusted: they are
//!   refused with the offending value, never believed, and never cause a panic. Property tests hold each parser to it.
//! - No floating point: the kernel is built without it. Figures are exact integers, rounded when they are printed.
//!
//! Layers, bottom to top: [`keys`], [`buffer`], [`view`], [`history`] make [`mod@line`]; [`words`], [`units`], [`suggest`]
//! make [`args`]; [`figures`], [`json`] and [`table`] make [`report`]; [`trace`], [`trace_fault`] and [`trace_check`]
//! make [`plan`]; [`screen`] says itself what it is made of. The others stand alone.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

// The shell's input line.
#[path = "pure/buffer.rs"]
pub mod buffer;
#[path = "pure/history.rs"]
pub mod history;
#[path = "pure/keys.rs"]
pub mod keys;
#[path = "pure/line.rs"]
pub mod line;
#[path = "pure/ring.rs"]
pub mod ring;
#[path = "pure/view.rs"]
pub mod view;

// The screen and the keyboard.
#[path = "pure/keyboard.rs"]
pub mod keyboard;
#[path = "pure/screen.rs"]
pub mod screen;

// Commands and their arguments.
#[path = "pure/args.rs"]
pub mod args;
#[path = "pure/chaos.rs"]
pub mod chaos;
#[path = "pure/clock_choice.rs"]
pub mod clock_choice;
#[path = "pure/cmdline.rs"]
pub mod cmdline;
#[path = "pure/debug_option.rs"]
pub mod debug_option;
#[path = "pure/suggest.rs"]
pub mod suggest;
#[path = "pure/units.rs"]
pub mod units;
#[path = "pure/words.rs"]
pub mod words;

// What is printed.
#[path = "pure/fixed.rs"]
pub mod fixed;
#[path = "pure/report.rs"]
pub mod report;
#[path = "pure/samples.rs"]
pub mod samples;
#[path = "pure/shown.rs"]
pub mod shown;
#[path = "pure/symbols.rs"]
pub mod symbols;
#[path = "pure/table.rs"]
pub mod table;

pub use ::figures;
pub use mm::histogram;
pub use records::json;

// Which CPUs come.
#[path = "pure/roster.rs"]
pub mod roster;

// What memory is tested with.
#[path = "pure/memtest.rs"]
pub mod memtest;

// Recordings, and randomness for what has none.
#[path = "pure/plan.rs"]
pub mod plan;
#[path = "pure/rng.rs"]
pub mod rng;

pub use ::trace;
pub use trace::{check as trace_check, fault as trace_fault};

#[cfg(test)]
#[path = "pure/line_model.rs"]
mod line_model;
