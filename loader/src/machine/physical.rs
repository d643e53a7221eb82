//! Physical memory, seen through the entry stub's identity mapping of the first 4 GiB.
//!
//! Called by: everything that reads what firmware left or writes what the kernel gets.

use loader::acpi::Physical;

/// Physical addresses below this one are mapped at themselves, writable, while the loader runs.
pub(super) const LIMIT: u64 = 1 << 32;

/// The identity mapping, for reading what firmware left.
pub(super) struct Identity;

impl Physical for Identity {
    fn bytes(&self, base: u64, len: usize) -> Option<&[u8]> {
        if base == 0 || base.checked_add(len as u64)? > LIMIT {
            return None;
        }
        // SAFETY:
        // - the range is not null and mapped: below `LIMIT`;
        // - any bytes are valid `u8`;
        // - firmware's tables are not written while somebody reads them: `store` hands out usable memory only, and what
        //   `mp` writes on request it writes when all have been read.
        Some(unsafe { core::slice::from_raw_parts(base as *const u8, len) })
    }
}

/// A view of physical memory as `count` values of `T`.
///
/// # Safety
/// - `base` is not 0, aligned for `T`, and `count` values from it lie below [`LIMIT`];
/// - the memory holds valid values of `T`;
/// - nothing else refers to it while the result lives.
pub(super) unsafe fn slice_mut<T>(base: u64, count: usize) -> &'static mut [T] {
    // SAFETY: the caller's; the identity mapping makes `base` a pointer.
    unsafe { core::slice::from_raw_parts_mut(base as *mut T, count) }
}

/// As [`slice_mut`], for reading only.
///
/// # Safety
/// As for [`slice_mut`], but other readers are welcome.
pub(super) unsafe fn slice<T>(base: u64, count: usize) -> &'static [T] {
    // SAFETY: the caller's; the identity mapping makes `base` a pointer.
    unsafe { core::slice::from_raw_parts(base as *const T, count) }
}
