//! The allocator's hit path, as two functions of their own: what a test counts the instructions of.
//!
//! In the kernel the hit path is inlined into its callers; here it stands alone, with the layout known at compile time
//! and at run time, so that the disassembly can be read and a count of it can be kept.

use core::alloc::{GlobalAlloc, Layout};

use crate::machine::HEAP;

/// A layout that is known where the allocation is written.
const LAYOUT_64: Layout = Layout::new::<[u64; 8]>();

/// Allocates 64 bytes; null when memory is out.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hit_path_alloc_64() -> *mut u8 {
    // SAFETY: the layout has a size.
    unsafe { GlobalAlloc::alloc(&HEAP, LAYOUT_64) }
}

/// Frees 64 bytes from [`hit_path_alloc_64`].
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn hit_path_free_64(object: *mut u8) {
    // SAFETY: as promised by the caller.
    unsafe { GlobalAlloc::dealloc(&HEAP, object, LAYOUT_64) }
}

/// Allocates by a size of run time; null when memory is out.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn hit_path_alloc(size: usize) -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(size.max(1), 8) else { return core::ptr::null_mut() };
    // SAFETY: the layout has a size.
    unsafe { GlobalAlloc::alloc(&HEAP, layout) }
}

/// The linker keeps what is named here.
#[used]
static KEEP: (extern "C" fn() -> *mut u8, unsafe extern "C" fn(*mut u8), extern "C" fn(usize) -> *mut u8) =
    (hit_path_alloc_64, hit_path_free_64, hit_path_alloc);
