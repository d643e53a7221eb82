//! Memory management for a kernel: frames, slab caches with per-CPU magazines, a heap, kernel address space.
//!
//! No assembly, and no static that names hardware: what the algorithms need from the machine is one trait,
//! [`machine::Machine`], so the same source runs in a kernel, in host tests, under Miri and under loom.
//!
//! The walk of an allocation, one file for each arrow; a free walks back:
//!
//! ```text
//!   heap ─► size_class ─► cpu_cache ─► depot ─► slab ─► page_magazine ─► frame_bitmap ─► bitmap
//!            (which         (this       (magazines  (objects,  (this CPU's   (all frames,
//!             cache)         CPU's       of all      frame      frames)       one lock)
//!                            magazines)  CPUs)       table)
//! ```
//!
//! Addresses walk the same way: [`arena::SharedArena`] `─► cpu_cache ─► depot ─► arena`. The layer between a CPU's loaded
//! magazine and what lies behind all of them is one, `magazine_layer`, for both.
//!
//! Principles:
//! - No object carries allocator state while it is free: what the allocator knows lies beside the objects. A cache that
//!   is debugged has a record behind each object: see [`debug`].
//! - The hit path has no atomic read-modify-write and does not mask interrupts: its lock is a plain word, see `gate`.
//! - Failure is a value, an [`error::Error`] with the offending numbers; panics are for broken invariants of ours.
//! - Everything can be accounted for: see [`account`].
//!
//! Lock order, downwards: depot, slab lists, address-space arena, frame bitmap. See [`lock`].

#![cfg_attr(not(test), no_std)]
#![cfg_attr(loom, allow(dead_code, unused_imports, reason = "under loom the crate is its lock and depot"))]

/// The crate's README, whose example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// Under loom the crate is its lock and what needs one to be modelled; a static heap cannot be made of loom's atomics.
#[cfg(not(loom))]
pub mod account;
pub mod arena;
pub mod bank;
pub mod bitmap;
#[cfg(not(loom))]
pub mod cache;
pub mod cpu_cache;
pub mod debug;
pub mod depot;
pub mod error;
pub mod frame;
pub mod frame_bitmap;
pub mod frame_table;
#[cfg(not(loom))]
pub mod frames;
mod gate;
pub mod geometry;
#[cfg(not(loom))]
pub mod growth;
#[cfg(not(loom))]
pub mod guarded;
#[cfg(not(loom))]
pub mod heap;
pub mod histogram;
#[cfg(not(loom))]
mod incidents;
pub mod latency;
pub mod lock;
pub mod machine;
pub mod magazine;
#[cfg(not(loom))]
mod magazine_layer;
pub mod magazine_size;
pub mod memory_map;
#[cfg(all(test, loom))]
mod models;
pub mod page_magazine;
pub mod page_table;
pub mod size_class;
#[cfg(not(loom))]
pub mod slab;
#[cfg(not(loom))]
pub mod statistics;
#[cfg(not(loom))]
pub mod supply;
mod sync;
#[cfg(not(loom))]
pub mod typed;
