//! Video memory, written and never read.
//!
//! Stores go up through addresses, four or eight bytes each: mapped write-combining, they leave the CPU as whole lines.

use core::ptr;

use kernel::screen::pixels::{Mode, Ramp, Video};

/// A framebuffer that is mapped.
pub struct VideoMemory {
    start: usize,
    len: usize,
    pixel_len: usize,
}

impl VideoMemory {
    /// The framebuffer at `start`.
    ///
    /// # Safety
    ///
    /// `mode.len()` bytes from `start` on are mapped for writing while the value is used, and hold pixels only: nothing
    /// that anybody reads as anything else.
    pub unsafe fn new(start: usize, mode: &Mode) -> Self {
        Self { start, len: mode.len(), pixel_len: mode.pixel_len() }
    }

    /// Whether so many pixels from `offset` on lie inside.
    fn has(&self, offset: usize, nr_pixels: usize) -> bool {
        nr_pixels.checked_mul(self.pixel_len).and_then(|len| len.checked_add(offset)).is_some_and(|end| end <= self.len)
    }

    /// # Safety
    ///
    /// The pixel at `offset` lies inside.
    #[inline(always)]
    unsafe fn write(&self, offset: usize, pixel: u32) {
        let place = (self.start + offset) as *mut u8;
        // SAFETY: inside, by the caller; mapped, by `new`. Four bytes are written only where a pixel has four.
        unsafe {
            if self.pixel_len == 4 {
                place.cast::<u32>().write_unaligned(pixel);
            } else {
                let [first, second, third, _] = pixel.to_le_bytes();
                place.write(first);
                place.add(1).write(second);
                place.add(2).write(third);
            }
        }
    }
}

impl Video for VideoMemory {
    fn paint(&mut self, offset: usize, coverage: &[u8], ramp: &Ramp) {
        if !self.has(offset, coverage.len()) {
            return;
        }
        for (i, coverage) in coverage.iter().enumerate() {
            // SAFETY: all of these pixels lie inside.
            unsafe { self.write(offset + i * self.pixel_len, ramp[usize::from(coverage >> 4)]) }
        }
    }

    fn fill(&mut self, offset: usize, nr_pixels: usize, pixel: u32) {
        if !self.has(offset, nr_pixels) {
            return;
        }
        let is_paired = self.pixel_len == 4 && (self.start + offset).is_multiple_of(8);
        let nr_pairs = if is_paired { nr_pixels / 2 } else { 0 };
        let pair = u64::from(pixel) << 32 | u64::from(pixel);
        for i in 0..nr_pairs {
            // SAFETY: both pixels lie inside, and the address is a multiple of 8.
            unsafe { ptr::with_exposed_provenance_mut::<u64>(self.start + offset + 8 * i).write(pair) }
        }
        for i in 2 * nr_pairs..nr_pixels {
            // SAFETY: all of these pixels lie inside.
            unsafe { self.write(offset + i * self.pixel_len, pixel) }
        }
    }
}
