//! How objects of one size lie in a slab: pages, objects, and from an address back to the object.
//!
//! Slabs are not coloured (Bonwick 1994, section 4.1: each slab's objects begin a line further on). The slabs here waste
//! too little for it: 42 of the 79 classes, all powers of two among them, have no room for a second colour. In a modelled
//! first-level cache of 64 sets, a page covers each set once; a round over only the first lines of 64, 128 and 256 objects
//! of every class misses 2368, 6144 and 16384 times as it is, and 1872, 4869 and 13061 times with all the colours that
//! there is room for: a fifth less in the pattern that suits colours best. A round over whole objects, or as much of
//! them as fits the cache, misses 0 times either way. That does not pay for a colour in every step from an address to its
//! object. `examples/colouring.rs` counts it.

use crate::frame::PAGE_SIZE;
use crate::frame_table::MAX_OBJECTS;

/// Pages of a slab at most. Runs of frames this short can nearly always be had.
pub(crate) const MAX_SLAB_PAGES: usize = 16;

/// Object size and slab size of one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Distance from one object to the next, in bytes; a multiple of the objects' alignment.
    pub object_size: usize,
    /// Pages of a slab.
    pub nr_pages: usize,
    /// Objects in it.
    pub nr_objects: usize,
    /// Where in its place an object starts: 0, but for debugged ones.
    pub left: usize,
    /// 2^32 / `object_size`, rounded up: a division as a multiplication.
    reciprocal: u64,
}

impl Geometry {
    /// The smallest slab for objects of `object_size` (a multiple of 8, at most 15 pages) in which rounding
    /// up to the size class and the unused end together waste at most 1/8, or the least wasteful one.
    ///
    /// `smallest_request` is the smallest size that is served from this cache, in bytes.
    pub const fn new(object_size: usize, smallest_request: usize) -> Self {
        assert!(object_size >= 16 && object_size.is_multiple_of(8) && object_size < MAX_SLAB_PAGES * PAGE_SIZE);
        let mut best = 0;
        let mut best_used = 0;
        let mut nr_pages = 1;
        while nr_pages <= MAX_SLAB_PAGES {
            let nr_objects = fitting(object_size, nr_pages);
            let used = nr_objects * smallest_request;
            if used * 8 >= nr_pages * PAGE_SIZE * 7 {
                return Self::with_pages(object_size, nr_pages);
            }
            // used/nr_pages > best_used/best
            if nr_objects > 0 && (best == 0 || used * best > best_used * nr_pages) {
                best = nr_pages;
                best_used = used;
            }
            nr_pages += 1;
        }
        Self::with_pages(object_size, best)
    }

    /// The same with objects that start `left` bytes into their places.
    pub const fn with_left(self, left: usize) -> Self {
        Self { left, ..self }
    }

    /// A slab of exactly `nr_pages`.
    pub const fn with_pages(object_size: usize, nr_pages: usize) -> Self {
        let nr_objects = fitting(object_size, nr_pages);
        assert!(nr_objects > 0, "no object fits the slab");
        Self { object_size, nr_pages, nr_objects, left: 0, reciprocal: (1u64 << 32).div_ceil(object_size as u64) }
    }

    /// The single-page slab of the same objects, if one fits: for when no longer run of frames is left.
    pub const fn single_page(self) -> Option<Self> {
        if self.nr_pages > 1 && self.object_size <= PAGE_SIZE {
            Some(Self { left: self.left, ..Self::with_pages(self.object_size, 1) })
        } else {
            None
        }
    }

    /// Which object starts `offset` bytes into a slab; `None` inside an object. The caller checks that the slab has
    /// that many objects.
    pub const fn index_of(self, offset: usize) -> Option<usize> {
        // Exact for offsets up to 2^16 (16 pages) and sizes below 2^16: the error of the reciprocal stays below one
        // part in offset * size < 2^32.
        let Some(offset) = offset.checked_sub(self.left) else { return None };
        let index = ((offset as u64 * self.reciprocal) >> 32) as usize;
        if index * self.object_size == offset { Some(index) } else { None }
    }

    /// Where object `index` starts, in bytes from the start of its slab.
    pub const fn offset_of(self, index: usize) -> usize {
        index * self.object_size + self.left
    }
}

const fn fitting(object_size: usize, nr_pages: usize) -> usize {
    let n = nr_pages * PAGE_SIZE / object_size;
    if n < MAX_OBJECTS { n } else { MAX_OBJECTS }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size_class;

    #[test]
    fn class_and_slab_together_waste_at_most_an_eighth() {
        for class in 0..size_class::NR_CLASSES {
            let size = size_class::size(class);
            // Requests are counted in granules of 8 up to 128 bytes: there every granule has its own class.
            let smallest = if size <= 128 { size } else { size_class::size(class - 1) + 1 };
            let geometry = Geometry::new(size, smallest);
            let used = geometry.nr_objects * smallest;
            assert!(used * 8 >= geometry.nr_pages * PAGE_SIZE * 7, "{geometry:?} wastes more");
        }
    }

    #[test]
    fn an_offset_is_an_object_exactly_at_its_start() {
        for class in 0..size_class::NR_CLASSES {
            let size = size_class::size(class);
            let geometry = Geometry::new(size, size);
            for offset in 0..geometry.nr_pages * PAGE_SIZE {
                let expected = (offset % size == 0).then_some(offset / size);
                assert_eq!(geometry.index_of(offset), expected, "{geometry:?} {offset}");
            }
        }
    }
}
