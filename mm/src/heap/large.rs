//! Allocations that no size class serves: runs of frames, or pages mapped together when no frames are adjacent.
//!
//! Called by: the heap. Calls: [`crate::frames`], and the machine for mapped pages.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::Heap;
use crate::error::{Error, Result};
use crate::frame::{FrameRange, PAGE_SIZE};
use crate::frame_bitmap::RunRequest;
use crate::frame_table::Kind;
use crate::latency::{self, Operation, Path};
use crate::machine::Machine;

impl<M: Machine> Heap<M> {
    #[inline(never)]
    pub(super) fn alloc_large(&self, layout: Layout) -> Result<NonNull<u8>> {
        let _watch = self.supply.latency.start::<M>(Operation::Alloc, None);
        latency::reach::<M>(Path::Frame);
        let out = Error::OutOfMemory { bytes: layout.size() };
        let nr_pages = layout.size().max(1).div_ceil(PAGE_SIZE);
        let align_pages = layout.align().div_ceil(PAGE_SIZE);
        let request = RunRequest { nr_pages, align_pages, below: None };
        let run = || {
            self.frames().alloc_run(request, Kind::Large).map(|run| self.frames().virt(run.start())).map_err(|_| out)
        };
        // Enough frames, but none adjacent: map them together. Alignment above a page is a matter of frames.
        let map = || if align_pages <= 1 { M::map_pages(nr_pages).map_err(|_| out) } else { Err(out) };
        self.or_reclaim(|| run().or_else(|_| map()))
    }

    /// Frees what is not a slab's. `size` is what the caller says it is, if it says.
    ///
    /// # Safety
    ///
    /// Nobody uses the memory any more.
    pub(super) unsafe fn free_large(&self, object: NonNull<u8>, size: Option<usize>) -> Result<()> {
        let _watch = self.supply.latency.start::<M>(Operation::Free, None);
        latency::reach::<M>(Path::Frame);
        let addr = object.addr().get();
        let nr_pages = self.large_pages(object)?;
        if let Some(size) = size
            && size.max(1).div_ceil(PAGE_SIZE) != nr_pages
        {
            return Err(Error::WrongSize { addr, given: size });
        }
        let Some(frame) = self.frames().frame_of(object) else {
            // SAFETY: as promised by the caller.
            return unsafe { M::unmap_pages(object) };
        };
        let run = FrameRange::new(frame, nr_pages as u32).ok_or(Error::Foreign { addr })?;
        // SAFETY: as promised by the caller; the run is one of the heap's, whole.
        unsafe { self.frames().free_run(run, Kind::Large) }
    }

    /// Pages of the large allocation that starts at `object`.
    pub(super) fn large_pages(&self, object: NonNull<u8>) -> Result<usize> {
        let addr = object.addr().get();
        let Some(frame) = self.frames().frame_of(object) else {
            return M::mapped_pages(object).ok_or(Error::Foreign { addr });
        };
        let descriptor = self.frames().table().get(frame).ok_or(Error::Foreign { addr })?;
        match descriptor.kind() {
            Kind::Free if !self.frames().is_managed(frame) => Err(Error::Foreign { addr }),
            Kind::Free | Kind::Cached => Err(Error::DoubleFree { addr }),
            Kind::Large if addr.is_multiple_of(PAGE_SIZE) => {
                descriptor.run_length().map(|nr_pages| nr_pages as usize).ok_or(Error::Foreign { addr })
            }
            _ => Err(Error::Foreign { addr }),
        }
    }
}
