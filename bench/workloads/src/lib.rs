//! What both benchmarks play, the native one and the kernel's `bench`: sizes, loops, and the allocators that each puts
//! behind its own lock.
//!
//! | file | what |
//! |---|---|
//! | [`heaps`] | allocators made for one CPU, as plain values with one interface |
//! | [`sizes`] | what is asked for, and random numbers |
//! | [`objects`] | objects with a stamp, alone and in slots |
//! | [`loops`] | loops in which a CPU frees what it allocated: `pair`, `lifo`, `fifo`, `mstress` |
//! | [`bulk`], [`sh6`] | the same by the batch: `bulk`, `sh6` |
//! | [`handoff`], [`rptest`] | loops in which a CPU frees what another allocated: `xmalloc`, `larson`, `rptest` |
//! | [`sharing`] | loops that find objects of several CPUs in one cache line: `cache-thrash`, `cache-scratch` |
//!
//! Nothing here measures or waits: clocks, threads and barriers are the caller's. Everything is generic over the
//! [`Peer`], called statically, so that what can be inlined is.

#![no_std]

extern crate alloc;

pub mod bulk;
pub mod handoff;
pub mod heaps;
pub mod loops;
pub mod objects;
pub mod rptest;
pub mod sh6;
pub mod sharing;
pub mod sizes;
#[cfg(test)]
mod tests;

use core::alloc::Layout;
use core::ptr::NonNull;

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

    /// Fills `objects` with memory for `layout`, by the call that it has for many, if it has one; false if there is not
    /// enough, and then nothing is allocated and what `objects` holds means nothing.
    #[inline(always)]
    fn alloc_bulk(layout: Layout, objects: &mut [NonNull<u8>]) -> bool {
        for i in 0..objects.len() {
            let Some(object) = NonNull::new(Self::alloc(layout)) else {
                // SAFETY: allocated above with this layout, and nobody has seen them.
                unsafe { Self::dealloc_bulk(&objects[..i], layout) };
                return false;
            };
            objects[i] = object;
        }
        true
    }

    /// Gives `objects` back, as `alloc_bulk` took them.
    ///
    /// # Safety
    ///
    /// They come from `alloc_bulk` with the same `layout`, and nobody uses them any more.
    #[inline(always)]
    unsafe fn dealloc_bulk(objects: &[NonNull<u8>], layout: Layout) {
        for object in objects {
            // SAFETY: as promised by the caller.
            unsafe { Self::dealloc(object.as_ptr(), layout) };
        }
    }

    /// Gives back to the machine what it can, by the call it has for that, if it has one.
    fn trim() {}

    /// Pages it holds by its own count; `None` if only the machine can tell.
    fn held_pages() -> Option<u64> {
        None
    }
}
