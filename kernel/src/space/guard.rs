//! Pages that are mapped and unmapped one by one at addresses set aside for good: the heap's guarded objects.
//!
//! The addresses are a range of the arena that never goes back, so nobody else maps there. Each page has one owner at a
//! time, whom the heap's ring of slots chooses.
//!
//! Never lazily: a guarded object is there so that a use after its free is a fault at once, on every CPU.

use core::ptr::NonNull;

use mm::arena::VirtRange;
use mm::error::{Error, Result};
use mm::frame::{Frame, PAGE_SIZE};
use mm::frame_table::Kind;

use super::{Attributes, Exactly, SPACE, free_frames, shoot_down, space};
use crate::machine::HEAP;

/// Sets `nr_pages` of addresses aside, with the page tables that they need; `None` before the kernel has page tables of
/// its own, and for want of memory or addresses.
pub fn reserve_addresses(nr_pages: usize) -> Option<NonNull<u8>> {
    let space = SPACE.get()?;
    let range = super::take_addresses(nr_pages, 1).ok()?;
    if space.tables.reserve_tables(range).is_err() {
        super::give_back(range);
        return None;
    }
    NonNull::new(range.start() as *mut u8)
}

/// Maps the page at `addr`, one of [`reserve_addresses`].
///
/// # Errors
///
/// [`Error::OutOfMemory`], without a reclaim; [`Error::AlreadyMapped`].
pub fn map_page_at(addr: usize) -> Result<()> {
    let range = VirtRange::new(addr, 1).ok_or(Error::Foreign { addr })?;
    let frame = HEAP.frames().alloc(Kind::Mapped)?;
    let frames = Exactly { inner: core::iter::once(frame), len: 1 };
    space().tables.map_frames(range, frames, Attributes::READ_WRITE).inspect_err(|_| free(frame))
}

fn free(frame: Frame) {
    // SAFETY: nothing maps the frame, which was just allocated.
    if let Err(error) = unsafe { HEAP.frames().free(frame, Kind::Mapped) } {
        panic!("a frame that was just allocated cannot be freed: {error}");
    }
}

/// Unmaps the page at `addr`, from [`map_page_at`]; returns when no CPU can reach it any more. Its frame is free then.
///
/// # Errors
///
/// [`Error::Foreign`] if nothing is mapped there.
///
/// # Safety
///
/// Nobody uses the page any more.
pub unsafe fn unmap_page_at(addr: usize) -> Result<()> {
    let foreign = Error::Foreign { addr };
    debug_assert!(addr.is_multiple_of(PAGE_SIZE));
    let range = VirtRange::new(addr, 1).ok_or(foreign)?;
    // SAFETY: as promised by the caller.
    let token = unsafe { space().tables.unmap(range) }.map_err(|_| foreign)?;
    free_frames(token, Some(Kind::Mapped), &shoot_down(&[Some(range)]));
    Ok(())
}
