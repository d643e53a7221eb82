//! Carries a recording out of a machine that has no network and perhaps no serial line: as QR codes on its screen, and
//! on a host back into the very same bytes.
//!
//! | file | what |
//! |---|---|
//! | [`summary`] | a row as it travels: its quartiles instead of all repetitions |
//! | [`columns`] | records turned on their side, field by field, which halves what they compress to |
//! | [`mod@pack`] | compressed, with its length and checksum, and back within bounds |
//! | [`cut`] | into parts that fit a code, as few as the display allows |
//! | [`part`] | a part as text that any scanner's app can show and share, and found again in any text |
//! | [`symbols`], [`crc32`] | the alphabet; the checksum |
//! | [`code`] | a part as a QR code: its modules, and drawn with half blocks |
//! | [`choice`] | which parts one wants to see again |
//! | [`collect`] | parts of any runs in any order, put together |
//! | `photo`, `blocks`, `decode` | codes out of pictures and out of a terminal's log; the program (feature `host`) |
//!
//! The kernel writes and the host reads with the same source, so the two are tested against each other.
//!
//! Rules: what comes from outside (a picture, a text) is refused with words and never causes a panic; everything that
//! it can ask for in memory is bounded.

#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod choice;
pub mod code;
pub mod collect;
pub mod columns;
pub mod crc32;
pub mod cut;
pub mod pack;
pub mod part;
pub mod summary;
pub mod symbols;

#[cfg(feature = "host")]
pub mod blocks;
#[cfg(feature = "host")]
pub mod decode;
#[cfg(feature = "host")]
pub mod photo;
