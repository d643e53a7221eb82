//! Objects with a stamp from their allocation to their free, so that memory handed out twice is noticed.
//!
//! What is wrong is counted in one number, as loops are measured: damaged objects by one, refused requests by [`REFUSED`]. Who
//! plays a workload takes it apart as [`Faults`]: damage is a fault, a refusal makes the workload another one.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::Peer;
use crate::sizes::{MIX, MIX_ALIGN};

/// One refused request, in a count of what was wrong: damaged objects are counted below it.
pub const REFUSED: u64 = 1 << 32;

/// What was wrong, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Objects that were damaged or misaligned.
    pub nr_bad: u64,
    /// Requests that were refused.
    pub nr_refused: u64,
}

impl Faults {
    /// Of a count in which damage is 1 and a refusal [`REFUSED`].
    pub const fn of(count: u64) -> Self {
        Self { nr_bad: count % REFUSED, nr_refused: count / REFUSED }
    }
}

/// What an object that is handed to `free` was allocated as.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    object: NonNull<u8>,
    /// That of a layout of [`MIX`].
    size: usize,
}

impl Slot {
    /// A new object of size number `mix`, below the length of [`MIX`], stamped; `None` if it is refused.
    #[inline(always)]
    pub fn alloc<P: Peer>(mix: usize) -> Option<Self> {
        Self::of_size::<P>(MIX[mix].size())
    }

    /// A new object of `size` bytes, not 0, stamped; `None` if it is refused.
    #[inline(always)]
    pub fn of_size<P: Peer>(size: usize) -> Option<Self> {
        let object = NonNull::new(P::alloc(Self::layout(size)))?;
        // SAFETY: just allocated with at least one byte.
        unsafe { stamp(object.as_ptr(), size as u8) };
        Some(Self { object, size })
    }

    /// The object and its size, for who carries them elsewhere.
    #[inline(always)]
    pub(crate) fn into_parts(self) -> (NonNull<u8>, usize) {
        (self.object, self.size)
    }

    /// What [`Slot::into_parts`] took apart.
    #[inline(always)]
    pub(crate) fn from_parts(object: NonNull<u8>, size: usize) -> Self {
        Self { object, size }
    }

    /// Where the object is.
    pub fn addr(&self) -> usize {
        self.object.addr().get()
    }

    /// Bytes that were asked for.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The layout of the mix with this size: the alignment is known where the allocation is written, as it mostly is.
    #[inline(always)]
    fn layout(size: usize) -> Layout {
        // SAFETY: the alignment of the mix, and a size that was allocated with it.
        unsafe { Layout::from_size_align_unchecked(size, MIX_ALIGN) }
    }

    /// Frees the object; not 0 if it was damaged.
    ///
    /// # Safety
    ///
    /// Made by `alloc` with the same peer, and not freed before.
    #[inline(always)]
    pub unsafe fn free<P: Peer>(self) -> u64 {
        // SAFETY: a live object of at least one byte, the caller's own, stamped.
        let damage = u64::from(unsafe { read_stamp(self.object.as_ptr()) } ^ self.size as u8);
        // SAFETY: made by `alloc` with this layout, and freed once, by the caller's promise.
        unsafe { P::dealloc(self.object.as_ptr(), Self::layout(self.size)) };
        damage
    }
}

/// Marks a fresh object as its owner's; null is left alone.
///
/// # Safety
///
/// Null, or a live object of at least one byte, the caller's own.
#[inline(always)]
pub unsafe fn stamp(object: *mut u8, stamp: u8) {
    if !object.is_null() {
        // SAFETY: as promised by the caller; atomic, as a harness without an allocator hands
        // out one object twice.
        unsafe { AtomicU8::from_ptr(object) }.store(stamp, Ordering::Relaxed);
    }
}

/// The mark of an object that is about to be freed.
///
/// # Safety
///
/// A live object of at least one byte, the caller's own, stamped.
#[inline(always)]
unsafe fn read_stamp(object: *mut u8) -> u8 {
    // SAFETY: as promised by the caller; atomic as above.
    unsafe { AtomicU8::from_ptr(object) }.load(Ordering::Relaxed)
}

/// Frees an object that was stamped; 1 if it was damaged, [`REFUSED`] if it is null.
///
/// # Safety
///
/// Null, or from `P::alloc` with `layout`, stamped, and not used any more.
#[inline(always)]
pub unsafe fn check_and_free<P: Peer>(object: *mut u8, stamp: u8, layout: Layout) -> u64 {
    if object.is_null() {
        return REFUSED;
    }
    // SAFETY: a live object, as it is not null; stamped and the caller's own by its promise.
    let found = unsafe { read_stamp(object) };
    // SAFETY: as promised by the caller.
    unsafe { P::dealloc(object, layout) };
    u64::from(found != stamp)
}

/// Frees objects that were stamped with their number, by `P`'s call for many; returns how many were damaged.
///
/// # Safety
///
/// From `P::alloc_bulk` with `layout`, stamped, and not used any more.
#[inline(always)]
pub unsafe fn check_and_free_in_bulk<P: Peer>(objects: &[NonNull<u8>], layout: Layout) -> u64 {
    let mut nr_bad = 0;
    for (i, object) in objects.iter().enumerate() {
        // SAFETY: live, stamped and the caller's own by its promise.
        nr_bad += u64::from(unsafe { read_stamp(object.as_ptr()) } != i as u8);
    }
    // SAFETY: as promised by the caller.
    unsafe { P::dealloc_bulk(objects, layout) };
    nr_bad
}
