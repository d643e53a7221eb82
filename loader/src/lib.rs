//! The part of the loader that needs no hardware, so that it runs under `cargo test` on any host.
//!
//! Everything here works on byte slices, words and numbers: nothing trusts its input, nothing panics on it, and every
//! refusal is a value that says what was wrong. The binary (`main.rs`) adds the machine.
//!
//! Principles: no allocation, no dependencies, no unsafe code.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod acpi;
pub mod archive;
pub mod date;
pub mod direct_map;
pub mod elf;
pub mod lies;
pub mod memory;
pub mod paging;
pub mod path;
pub mod protocol;
pub mod relocate;
pub mod requests;
