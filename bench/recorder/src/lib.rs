//! Records a Linux kernel's own allocator traffic while a command runs, for Bandolier's `replay`; and describes such
//! recordings. The format is KMTRACE1 ([`trace`]), checked by the checker that the kernel has.
//!
//! How a recording is made, each line a file that knows only those above it:
//!
//! | file | what |
//! |---|---|
//! | [`format`](mod@format) | what the kernel says about the layout of its events |
//! | [`page`] | a page of the kernel's ring buffer |
//! | [`decode`] | an event of the allocators |
//! | [`merge`] | all CPUs' events in one order |
//! | [`slab_pages`] | which page runs are slabs |
//! | [`ledger`] | which free belongs to which allocation; the recording's bytes |
//! | [`output`] | the file |
//! | [`tracefs`], [`instance`] | the kernel's side: a trace instance of our own |
//! | [`janitor`] | removes it if we cannot |
//! | [`signals`], [`command`] | the command that runs meanwhile |
//! | [`collect`] | reads the ring buffers |
//! | [`mod@record`] | all of it, in order |
//! | [`told`] | what it came to, in words |
//!
//! And how one is described:
//!
//! | file | what |
//! |---|---|
//! | [`survey`] | what a recording shows |
//! | [`description`], [`charts`] | in words, as JSON, as plots |
//! | [`info`] | all of it |
//!
//! The kernel is asked, by its own `format` files, about the layout of all that is read.

#![deny(unsafe_code)]

pub mod charts;
pub mod collect;
pub mod command;
pub mod decode;
pub mod description;
pub mod error;
pub mod format;
pub mod info;
pub mod instance;
pub mod janitor;
pub mod ledger;
pub mod merge;
pub mod options;
pub mod output;
pub mod page;
mod pages;
pub mod record;
pub mod signals;
pub mod slab_pages;
pub mod survey;
pub mod told;
pub mod tracefs;

pub use error::Error;
