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
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => match Self::hit(class) {
                Some(object) => object.as_ptr(),
                None => self.alloc_cold_or_null(class),
            },
            None => self.alloc_large(layout).map_or(ptr::null_mut(), NonNull::as_ptr),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Heap::alloc_zeroed(self, layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        let Some(object) = NonNull::new(object) else { return };
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) if Self::hit_free(class, object) => {}
            Some(class) => self.free_cold_or_report(class, object),
            // SAFETY: the caller gives up the memory, by the contract of GlobalAlloc.
            None => unsafe { self.free_large(object, Some(layout.size())) }.unwrap_or_else(M::report),
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
        if self.keeps_place(usable, new_layout) {
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
