//! Size classes: which slab cache serves a request, eight classes to a doubling.
//!
//! ```text
//!   16 24 32 .. 128 | 144 160 .. 256 | 288 320 .. 512 | ... | 18432 20480 .. 32768
//!   step 8            step 16          step 32                step 2048
//! ```
//!
//! Eight steps bound the waste at 1/8 of the class: a request just above class `c` costs `c + c/8`. Every class is a
//! multiple of its step, the step a power of two, so that a size rounded up to an alignment lands in a class that has
//! this alignment: either the step is a multiple of it, or the rounded size is a class itself.

use crate::frame::PAGE_SIZE;

/// Largest request that a class serves; above it come whole frames.
pub const MAX_CLASS_SIZE: usize = 32 * 1024;

/// Smallest class. Below it the bookkeeping (one bit for each object) would outgrow a frame's descriptor.
pub const MIN_CLASS_SIZE: usize = 16;

/// Number of classes.
pub const NR_CLASSES: usize = 79;

/// Every class is a multiple of this.
pub(crate) const GRANULE: usize = 8;

/// The class of a `size` from 0 to [`MAX_CLASS_SIZE`].
pub const fn index(size: usize) -> usize {
    if size <= MIN_CLASS_SIZE {
        return 0;
    }
    if size <= 128 {
        return size.div_ceil(8) - 2;
    }
    // 2^k < size <= 2^(k+1), in steps of 2^(k-3).
    let k = (size - 1).ilog2() as usize;
    let step = (size - (1 << k)).div_ceil(1 << (k - 3));
    14 + (k - 7) * 8 + step
}

/// Bytes of an object of class `index`.
pub const fn size(index: usize) -> usize {
    assert!(index < NR_CLASSES);
    if index < 15 {
        return (index + 2) * 8;
    }
    let k = 7 + (index - 15) / 8;
    (1 << k) + ((index - 15) % 8 + 1) * (1 << (k - 3))
}

/// The granule in which the last byte lies of `size` bytes, rounded up to a multiple of `align`, a power of two. `None`
/// if the request takes whole frames, and for size 0, of which no hit path needs to know.
///
/// Objects start at page starts plus multiples of their class, so an alignment above a page cannot be had here.
#[inline(always)]
pub(crate) fn last_granule(size: usize, align: usize) -> Option<usize> {
    // Size 0 becomes the largest number of all.
    let last = size.wrapping_sub(1) | (align - 1);
    if last < MAX_CLASS_SIZE && align <= PAGE_SIZE { Some(last / GRANULE) } else { None }
}

/// The class that serves `size` bytes at a multiple of `align`, a power of two; `None` if that is a matter of whole
/// frames.
pub fn index_for(size: usize, align: usize) -> Option<usize> {
    last_granule(size.max(1), align).map(|granule| index((granule + 1) * GRANULE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for bytes in 0..=MAX_CLASS_SIZE {
            let class = index(bytes);
            assert!(size(class) >= bytes, "{bytes}");
            assert!(class == 0 || size(class - 1) < bytes, "{bytes}");
        }
        assert_eq!(index(MAX_CLASS_SIZE), NR_CLASSES - 1);
    }

    #[test]
    fn waste_of_a_class_is_at_most_an_eighth() {
        for bytes in MIN_CLASS_SIZE..=MAX_CLASS_SIZE {
            // Up to 64 bytes a class is the request rounded to the granule of 8.
            let asked = bytes.next_multiple_of(8);
            let given = size(index(bytes));
            assert!((given - asked) * 8 <= given, "{bytes} gets {given}");
            assert!(bytes <= 64 || (given - bytes) * 8 <= given, "{bytes} gets {given}");
        }
    }

    #[test]
    fn aligned_requests_get_aligned_classes() {
        for bytes in (0..=MAX_CLASS_SIZE).step_by(7) {
            for shift in 0..=12 {
                let align = 1 << shift;
                if let Some(class) = index_for(bytes, align) {
                    assert!(
                        size(class) >= bytes && size(class).is_multiple_of(align.min(size(class))),
                        "{bytes} {align}"
                    );
                    assert!(align <= 8 || size(class).is_multiple_of(align), "{bytes} {align}");
                }
            }
        }
        assert_eq!(index_for(usize::MAX, 64), None);
        assert_eq!(index_for(16, 8192), None);
        assert_eq!(index_for(MAX_CLASS_SIZE + 1, 1), None);
        for class in 0..NR_CLASSES {
            assert!(!size(class).is_multiple_of(64) || index_for(size(class), 64) == Some(class));
        }
    }
}
