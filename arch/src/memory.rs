//! Pages as memory: zeroing one.
//!
//! `rep stosq`, for hardware: it stores whole cache lines without reading them first, which no loop of a kernel without
//! vector registers does. (Under TCG a plain loop takes half the time; nothing here is tuned for TCG.)

use crate::paging::PAGE_SIZE;
use core::arch::asm;

/// Zeroes the 4 KiB page at `page`.
///
/// # Safety
/// `page` is page-aligned, mapped and writable for 4 KiB, and nobody else uses it.
#[inline]
pub unsafe fn zero_page(page: *mut u8) {
    debug_assert!(page.addr().is_multiple_of(PAGE_SIZE), "{page:p} is not the start of a page");
    // SAFETY: writes PAGE_SIZE bytes upwards (the ABI keeps the direction flag clear), which the caller gave us.
    unsafe {
        asm!(
            "rep stosq",
            inout("rcx") PAGE_SIZE / 8 => _,
            inout("rdi") page => _,
            in("rax") 0u64,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(4096))]
    struct Pages([[u8; PAGE_SIZE]; 3]);

    #[test]
    fn exactly_one_page_becomes_zero() {
        let mut pages = Box::new(Pages([[0xcc; PAGE_SIZE]; 3]));
        // SAFETY: the page is this test's own.
        unsafe { zero_page(pages.0[1].as_mut_ptr()) };
        assert!(pages.0[1].iter().all(|&b| b == 0));
        assert!(pages.0[0].iter().chain(&pages.0[2]).all(|&b| b == 0xcc));
    }
}
