//! The kernel's own image: where its parts lie, by the linker script's symbols.

use core::ops::Range;

unsafe extern "C" {
    static image_start: u8;
    static text_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static image_end: u8;
}

/// Addresses of everything.
pub fn all() -> Range<usize> {
    &raw const image_start as usize..&raw const image_end as usize
}

/// Addresses of the code.
pub fn text() -> Range<usize> {
    &raw const text_start as usize..&raw const text_end as usize
}

/// Addresses of constants.
pub fn rodata() -> Range<usize> {
    &raw const text_end as usize..&raw const rodata_end as usize
}

/// Addresses of the bootloader's requests: data, before the code.
pub fn requests() -> Range<usize> {
    &raw const image_start as usize..&raw const text_start as usize
}

/// Addresses of data.
pub fn data() -> Range<usize> {
    &raw const rodata_end as usize..&raw const image_end as usize
}
