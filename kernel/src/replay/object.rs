//! One object of a replay: from an allocator, or a run of frames, with a stamp at its start, its end, and between.

use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;

use kernel::trace::Kind as TraceKind;
use kernel::trace_check::ObjectState;
use mm::error::{Error, Result};
use mm::frame::{FrameRange, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;

use crate::machine::HEAP;
use crate::space;

/// Where the objects of a replay come from; its runs of pages always come from the frames.
pub(crate) trait Objects {
    /// Memory for `layout`, whose size is not 0.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`].
    fn alloc(layout: Layout) -> Result<NonNull<u8>>;

    /// Gives `object` back.
    ///
    /// # Errors
    ///
    /// What the allocator has against it.
    ///
    /// # Safety
    ///
    /// From `alloc` with the same `layout`, and nobody uses it any more.
    unsafe fn free(object: NonNull<u8>, layout: Layout) -> Result<()>;
}

/// The kernel's heap.
pub(crate) struct OfHeap;

impl Objects for OfHeap {
    #[inline(always)]
    fn alloc(layout: Layout) -> Result<NonNull<u8>> {
        HEAP.alloc(layout)
    }

    #[inline(always)]
    unsafe fn free(object: NonNull<u8>, layout: Layout) -> Result<()> {
        // SAFETY: as promised by the caller.
        unsafe { HEAP.dealloc(object, layout) }
    }
}

/// Bytes between two stamps: no page and hardly a line pair goes unchecked.
const STRIDE: usize = 256;

/// A stamp that is not what was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Corrupt {
    id: u32,
    addr: usize,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} was overwritten at {:#x}", self.id, self.addr)
    }
}

fn layout(object: &ObjectState) -> Layout {
    let size = object.size_bytes() as usize;
    Layout::from_size_align(size, 8).unwrap_or_else(|error| panic!("an object of {size} bytes: {error}"))
}

/// Allocates what the recording says.
///
/// # Errors
///
/// [`Error::OutOfMemory`].
pub(super) fn alloc<O: Objects>(object: &ObjectState) -> Result<NonNull<u8>> {
    if object.kind() == TraceKind::Object {
        return O::alloc(layout(object));
    }
    let nr_pages = object.size_bytes() as usize / PAGE_SIZE;
    if nr_pages == 1 {
        return HEAP.alloc_frame(Kind::Owned).map(|frame| HEAP.frames().virt(frame));
    }
    match HEAP.frames().alloc_run(RunRequest::pages(nr_pages), Kind::Owned) {
        Ok(run) => Ok(HEAP.frames().virt(run.start())),
        // No adjacent frames: the pages are mapped together instead.
        Err(_) => space::alloc_pages(nr_pages),
    }
}

/// Frees what `alloc` returned.
///
/// # Errors
///
/// What the allocator has against it.
///
/// # Safety
///
/// Nobody uses the object any more.
pub(super) unsafe fn free<O: Objects>(object: &ObjectState, at: NonNull<u8>) -> Result<()> {
    if object.kind() == TraceKind::Object {
        // SAFETY: as promised by the caller.
        return unsafe { O::free(at, layout(object)) };
    }
    let Some(first) = HEAP.frames().frame_of(at) else {
        // SAFETY: as promised by the caller.
        return unsafe { space::free_pages(at.addr().get()) };
    };
    let nr_pages = object.size_bytes() / PAGE_SIZE as u32;
    let run = FrameRange::new(first, nr_pages).ok_or(Error::Foreign { addr: at.addr().get() })?;
    // SAFETY: as promised by the caller.
    unsafe { HEAP.frames().free_run(run, Kind::Owned) }
}

/// Where stamps stand in an object of `size` bytes: every [`STRIDE`], and right at the end.
fn places(size: usize) -> impl Iterator<Item = usize> {
    (0..size / 8 * 8).step_by(STRIDE).chain((size >= 8).then(|| size / 8 * 8 - 8))
}

fn stamp(id: u32, place: usize) -> u64 {
    (u64::from(id) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place as u64
}

/// Writes the stamps of object `id`. An object below 8 bytes has one of a byte.
pub(super) fn write_stamps(id: u32, object: &ObjectState, at: NonNull<u8>) {
    let size = object.size_bytes() as usize;
    if size < 8 {
        // SAFETY: the object has at least one byte.
        unsafe { at.write_volatile(stamp(id, 0) as u8) };
    }
    for place in places(size) {
        // SAFETY: inside the object, aligned to 8.
        unsafe { at.add(place).cast::<u64>().write_volatile(stamp(id, place)) };
    }
}

/// Compares the stamps of object `id`.
pub(super) fn check_stamps(id: u32, object: &ObjectState, at: NonNull<u8>) -> core::result::Result<(), Corrupt> {
    let size = object.size_bytes() as usize;
    // SAFETY: the object has at least one byte.
    if size < 8 && unsafe { at.read_volatile() } != stamp(id, 0) as u8 {
        return Err(Corrupt { id, addr: at.addr().get() });
    }
    for place in places(size) {
        // SAFETY: inside the object, aligned to 8.
        let (here, found) = unsafe { (at.add(place), at.add(place).cast::<u64>().read_volatile()) };
        if found != stamp(id, place) {
            return Err(Corrupt { id, addr: here.addr().get() });
        }
    }
    Ok(())
}
