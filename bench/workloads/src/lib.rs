//! What both benchmarks play, the native one and the kernel's `bench`: sizes, loops, and the allocators that each puts
//! behind its own lock.
//!
//! | file | what |
//! |---|---|
//! | [`heaps`] | allocators made for one CPU, as plain values with one interface |
//! | [`sizes`] | what is asked for, and random numbers |
//! | [`objects`] | objects with a stamp, alone and in slots |
//! | [`loops`] | loops in which a CPU frees what it allocated |
//! | [`handoff`] | loops in which a CPU frees what another allocated |
//!
//! Nothing here measures or waits: clocks, threads and barriers are the caller's. Everything is generic over the
//! [`Peer`], called statically, so that what can be inlined is.

#![no_std]

extern crate alloc;

pub mod handoff;
pub mod heaps;
pub mod loops;
pub mod objects;
pub mod sizes;

use core::alloc::Layout;

/// An allocator, called as it wants to be called.
pub trait Peer: 'static {
    /// In tables and filters.
    const NAME: &'static str;

    /// Memory for `layout`, whose size is not 0; null if there is none.
    fn alloc(layout: Layout) -> *mut u8;

    /// Gives `object` back.
    ///
    /// # Safety
    ///
    /// `object` comes from `alloc` with the same `layout`, and nobody uses it any more. Where memory is out it may be null.
    unsafe fn dealloc(object: *mut u8, layout: Layout);

    /// Gives back to the machine what it can, by the call it has for that, if it has one.
    fn trim() {}

    /// Pages it holds by its own count; `None` if only the machine can tell.
    fn held_pages() -> Option<u64> {
        None
    }
}
