//! Objects by the batch, for allocators that have a call for that.
//!
//! The shape is that of Linux' `kmem_cache_alloc_bulk` as its network stack calls it (and of its `slab_bulk_test`): so many
//! objects of one cache at once, used, and given back at once. Who has no such call is asked one by one, which is what a
//! kernel without one does. Unlike theirs every object is stamped and looked at.

use core::hint::black_box;
use core::ptr::NonNull;

use crate::Peer;
use crate::loops::opaque;
use crate::objects::{REFUSED, check_and_free_in_bulk, stamp};
use crate::sizes::SMALL;

/// Objects of a batch: twice what a magazine of 64-byte objects holds, so that magazines are changed, too.
pub const BULK: usize = 128;

/// Room for a batch; what it holds means nothing between two.
pub type Batch = [NonNull<u8>; BULK];

/// An empty batch.
pub const fn batch() -> Batch {
    [NonNull::dangling(); BULK]
}

/// Allocates `objects` by `P`'s call for many, stamps them, and gives them back in the same way. Returns how many were
/// bad, or refused, which all of them are.
#[inline(always)]
pub fn bulk<P: Peer>(objects: &mut Batch) -> u64 {
    if !P::alloc_bulk(opaque(SMALL), objects) {
        return BULK as u64 * REFUSED;
    }
    for (i, object) in objects.iter().enumerate() {
        // SAFETY: just allocated, each of 64 bytes, and nobody else has seen them.
        unsafe { stamp(object.as_ptr(), i as u8) };
    }
    black_box(&mut *objects);
    // SAFETY: allocated above with this layout, stamped, and freed once.
    unsafe { check_and_free_in_bulk::<P>(objects, SMALL) }
}
