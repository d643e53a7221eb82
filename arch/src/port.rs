//! Port I/O.
//!
//! Not `nomem`: a device may read or write memory as the effect of an access, so the compiler keeps the order.

use core::arch::asm;

macro_rules! accessors {
    ($read:ident, $write:ident, $ty:ty, $register:tt, $size:literal) => {
        #[doc = concat!("Reads ", $size, " from `port`.")]
        ///
        /// # Safety
        /// Whatever the device does on a read may be done now.
        #[inline]
        pub unsafe fn $read(port: u16) -> $ty {
            let value;
            // SAFETY: the caller answers for the device's side of it.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                    options(nostack, preserves_flags));
            }
            value
        }

        #[doc = concat!("Writes ", $size, " to `port`.")]
        ///
        /// # Safety
        /// Whatever the device does on the write may be done now.
        #[inline]
        pub unsafe fn $write(port: u16, value: $ty) {
            // SAFETY: the caller answers for the device's side of it.
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                    options(nostack, preserves_flags));
            }
        }
    };
}

accessors!(read_u8, write_u8, u8, "al", "a byte");
accessors!(read_u16, write_u16, u16, "ax", "two bytes");
accessors!(read_u32, write_u32, u32, "eax", "four bytes");

/// Gives an old device about a microsecond, by a write to the port of the POST codes, which nobody hears.
#[inline]
pub fn settle() {
    // SAFETY: port 0x80 is the diagnostic display; a write changes what it shows.
    unsafe { write_u8(0x80, 0) }
}
