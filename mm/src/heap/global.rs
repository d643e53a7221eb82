//! The heap as Rust's global allocator.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use super::Heap;
use crate::frame::PAGE_SIZE;
use crate::machine::Machine;
use crate::size_class;

// SAFETY: memory of `alloc` is exclusive, live until freed, and of the layout's size and alignment (class sizes by
// `size_class`, runs by the request); errors come out as null; nothing unwinds.
unsafe impl<M: Machine> GlobalAlloc for Heap<M> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Self::hit(layout) {
            Some(object) => object.as_ptr(),
            None => self.alloc_cold_or_null(layout),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Heap::alloc_zeroed(self, layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: by the contract of GlobalAlloc, `alloc` has returned it, and not as its word for failure.
        let object = unsafe { NonNull::new_unchecked(object) };
        if !Self::hit_free(object, layout) {
            // SAFETY: the caller gives up the memory, by the contract of GlobalAlloc.
            unsafe { self.free_cold_or_report(object, layout) };
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(old), Ok(new_layout)) = (NonNull::new(object), Layout::from_size_align(size, layout.align())) else {
            return ptr::null_mut();
        };
        let usable = match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => size_class::size(class),
            None => layout.size().div_ceil(PAGE_SIZE) * PAGE_SIZE,
        };
        if self.keeps_place(usable, new_layout) && !self.is_debugged_size(layout) {
            return object;
        }
        let Ok(new) = Heap::alloc(self, new_layout) else { return ptr::null_mut() };
        // SAFETY: both are live, distinct, and have at least the smaller size.
        unsafe { new.copy_from_nonoverlapping(old, layout.size().min(size)) };
        // SAFETY: the caller gives up the old memory on success.
        unsafe { GlobalAlloc::dealloc(self, object, layout) };
        new.as_ptr()
    }
}
