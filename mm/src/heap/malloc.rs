//! The interface without layouts: a free and a resize find out from the address what it is.
//!
//! Called by: those who cannot keep the layout. What the frame table knows of the address is checked at once.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::Heap;
use crate::cache::UNKNOWN_SIZE;
use crate::error::{Error, Result};
use crate::frame::PAGE_SIZE;
use crate::frame_table::Kind;
use crate::machine::Machine;
use crate::size_class::{self, NR_CLASSES};

/// Alignment of what [`Heap::malloc`] returns, in bytes: enough for any scalar.
const MALLOC_ALIGN: usize = 16;

impl<M: Machine> Heap<M> {
    /// Memory of at least `size` bytes, aligned to 16.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; also for sizes that no address space could hold.
    pub fn malloc(&self, size: usize) -> Result<NonNull<u8>> {
        let layout = Layout::from_size_align(size, MALLOC_ALIGN).map_err(|_| Error::OutOfMemory { bytes: size })?;
        self.alloc(layout)
    }

    /// Gives back memory from any allocating call of this heap, whatever its size.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] or [`Error::DoubleFree`], with the address; nothing is freed then.
    ///
    /// # Safety
    ///
    /// Nobody uses the memory any more.
    pub unsafe fn free(&self, object: NonNull<u8>) -> Result<()> {
        match self.cache_of(object)? {
            Some(id) => self.free_to(usize::from(id), object, UNKNOWN_SIZE),
            None if self.is_guarded(object) => self.free_guarded(object),
            // SAFETY: as promised by the caller.
            None => unsafe { self.free_large(object, None) },
        }
    }

    /// Bytes that can be used at `object`, a live allocation.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] or [`Error::DoubleFree`].
    pub fn usable_size(&self, object: NonNull<u8>) -> Result<usize> {
        match self.cache_of(object)? {
            Some(id) => self.caches[usize::from(id)].usable_size(&self.supply, object),
            None if self.is_guarded(object) => self.guarded_size(object),
            None => Ok(self.large_pages(object)? * PAGE_SIZE),
        }
    }

    /// The cache whose object starts at `object`; `None` if it lies in no slab.
    fn cache_of(&self, object: NonNull<u8>) -> Result<Option<u16>> {
        let foreign = Error::Foreign { addr: object.addr().get() };
        let Some(frame) = self.frames().frame_of(object) else { return Ok(None) };
        let descriptor = self.frames().table().get(frame).ok_or(foreign)?;
        if !matches!(descriptor.kind(), Kind::Slab | Kind::Quarantined) {
            return Ok(None);
        }
        let slab = descriptor.head(frame);
        let id = self.frames().table().get(slab).ok_or(foreign)?.cache.load(Ordering::Relaxed);
        let cache = self.caches.get(usize::from(id)).filter(|cache| cache.is_live()).ok_or(foreign)?;
        cache.check_racy(&self.supply, slab, object)?;
        Ok(Some(id))
    }

    /// Resizes: in place if the class or the number of pages stays the same, else by a copy.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; the old memory stays as it was. Otherwise as [`Heap::free`].
    ///
    /// # Safety
    ///
    /// `object` is live, and on success only the returned memory is used.
    pub unsafe fn realloc(&self, object: NonNull<u8>, size: usize) -> Result<NonNull<u8>> {
        let usable = self.usable_size(object)?;
        let align = MALLOC_ALIGN;
        let layout = Layout::from_size_align(size, align).map_err(|_| Error::OutOfMemory { bytes: size })?;
        let may_stay = |id: u16| usize::from(id) < NR_CLASSES && !self.caches[usize::from(id)].is_debugged();
        if self.keeps_place(usable, layout) && self.cache_of(object)?.is_none_or(may_stay) && !self.is_guarded(object) {
            return Ok(object);
        }
        let new = self.alloc(layout)?;
        // SAFETY: both are live allocations of at least this many bytes, and distinct.
        unsafe { new.copy_from_nonoverlapping(object, usable.min(size)) };
        // SAFETY: as promised by the caller.
        unsafe { self.free(object) }?;
        Ok(new)
    }

    /// Whether `layout` would get exactly `usable` bytes again.
    pub(super) fn keeps_place(&self, usable: usize, layout: Layout) -> bool {
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => size_class::size(class) == usable,
            None => layout.size().div_ceil(PAGE_SIZE).checked_mul(PAGE_SIZE) == Some(usable),
        }
    }
}
