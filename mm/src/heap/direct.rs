//! The heap past its magazines: every object straight from its slab, and straight back.
//!
//! For comparison: what the slabs cost by themselves, one lock for each size class on every operation. The objects are
//! the same as the heap's, so either may free what the other allocated. Called by: the kernel's `bench`.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::Heap;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::size_class;

impl<M: Machine> Heap<M> {
    /// As [`Heap::alloc`], without magazines and without a reclaim; sizes of slabs only.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; [`Error::BadRequest`] with the size for what no slab holds.
    pub fn alloc_direct(&self, layout: Layout) -> Result<NonNull<u8>> {
        let class = size_class::index_for(layout.size(), layout.align());
        let class = class.ok_or(Error::BadRequest { value: layout.size() })?;
        self.caches[class].alloc_direct(&self.supply, layout.size())
    }

    /// As [`Heap::dealloc`], without magazines; sizes of slabs only. A bad free is seen at once.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`], [`Error::DoubleFree`] or [`Error::WrongCache`], and [`Error::BadRequest`] as above; nothing
    /// is freed then.
    ///
    /// # Safety
    ///
    /// Nobody uses the memory any more.
    pub unsafe fn dealloc_direct(&self, object: NonNull<u8>, layout: Layout) -> Result<()> {
        let class = size_class::index_for(layout.size(), layout.align());
        let class = class.ok_or(Error::BadRequest { value: layout.size() })?;
        let cache = &self.caches[class];
        if cache.is_debugged() {
            // It has no magazines, and has to see every free.
            return cache.free_slow(&self.supply, object, layout.size());
        }
        cache.free_direct(&self.supply, object)
    }
}
