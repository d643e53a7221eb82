//! What a benchmark run is written down as: JSON, one record a line, the first of which says what was run and where.
//!
//! | file | what |
//! |---|---|
//! | [`meta`] | the machine, the program and the settings; always first |
//! | [`rows`] | what was measured |
//! | [`record`] | how a record is declared: once, with its writer, its reader and its description |
//! | [`quartiles`] | what repetitions come to, by one rule everywhere |
//! | [`json`] | the writer, without storing anything and without allocating |
//! | `lines` | the reader (feature `read`, on the host): finds records among other lines |
//!
//! The kernel, the native benchmark and all tools that read recordings use these types, so that a field cannot mean
//! one thing here and another there. `docs/records.md` is printed from them ([`schema`]) and tested to be current.
//!
//! Rules of the format: integers only, so that nothing is rounded twice; a unit at the end of a name; a field that is
//! not known is `null` and never 0; times are in ticks of a clock whose rate `meta` gives, and are relative only where
//! `meta` says so. A field may be added: readers pass over what they do not know. Anything else raises [`VERSION`].

#![cfg_attr(not(any(test, feature = "read")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod json;
#[cfg(feature = "read")]
pub mod lines;
pub mod meta;
pub mod quartiles;
pub mod record;
pub mod rows;
pub mod schema;

pub use meta::Meta;
pub use record::Record;
pub use rows::{End, Latency, Remark, Throughput, Waste};

/// The version of the format, in every `meta`.
pub const VERSION: u64 = 2;
