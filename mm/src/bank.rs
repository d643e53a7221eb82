//! The bank of a CPU: its magazines of every cache and of address ranges, and its page magazine. One per CPU, found by
//! [`Machine::bank`].
//!
//! Everything that a CPU touches on the hit path of any cache lies here, at a fixed distance from one pointer.
//! All zero bytes: a valid bank with no magazines, so that a CPU can allocate from the moment it has one.
//!
//! [`Machine::bank`]: crate::machine::Machine::bank

use core::mem::offset_of;
use core::sync::atomic::AtomicBool;

use crate::cpu_cache::CpuCache;
use crate::latency::CpuLatency;
use crate::page_magazine::PageMagazine;
use crate::size_class::{self, GRANULE, MAX_CLASS_SIZE, NR_CLASSES};

/// Caches that can exist at once: size classes, the allocator's own, and those that callers create.
pub const MAX_CACHES: usize = 128;

/// CPUs at most.
pub const MAX_CPUS: usize = 512;

/// Sizes in pages, from 1 on, of which ranges have magazines.
pub const MAX_QUANTA: usize = 8;

/// What one CPU owns. See the module.
#[derive(Debug)]
#[repr(C)]
pub struct Bank {
    /// By cache id.
    pub(crate) caches: [CpuCache; MAX_CACHES],
    pub(crate) pages: PageMagazine,
    pub(crate) latency: CpuLatency,
    /// This CPU gives back its magazines for another one, which waits for it.
    pub(crate) is_serving: AtomicBool,
    /// Of address ranges, by their pages less one: see [`crate::arena`].
    pub(crate) ranges: [CpuCache; MAX_QUANTA],
}

/// Where in a bank the magazines are that serve a request, by its last granule: the hit path's only look-up. Requests
/// for up to 256 bytes share one line of it.
static OFFSETS: [u16; MAX_CLASS_SIZE / GRANULE] = {
    let mut offsets = [0; MAX_CLASS_SIZE / GRANULE];
    let mut granule = 0;
    while granule < offsets.len() {
        offsets[granule] = Bank::offset_of(size_class::index((granule + 1) * GRANULE)) as u16;
        granule += 1;
    }
    offsets
};

const _: () = assert!(Bank::offset_of(NR_CLASSES) <= 1 << u16::BITS);

impl Bank {
    /// Where in a bank the magazines of cache `id` are, in bytes.
    #[inline(always)]
    pub(crate) const fn offset_of(id: usize) -> usize {
        offset_of!(Bank, caches) + id * size_of::<CpuCache>()
    }

    /// Where in a bank the magazines of ranges of `index + 1` pages are, in bytes.
    #[inline(always)]
    pub(crate) const fn offset_of_ranges(index: usize) -> usize {
        offset_of!(Bank, ranges) + index * size_of::<CpuCache>()
    }

    /// Where in a bank the magazines are that serve `size` bytes at a multiple of `align`. `None` for size 0, and if no
    /// magazines do.
    #[inline(always)]
    pub(crate) fn offset_for(size: usize, align: usize) -> Option<usize> {
        let granule = size_class::last_granule(size, align)?;
        Some(usize::from(OFFSETS[granule]))
    }

    /// A bank with no magazines.
    pub const fn empty() -> Self {
        // SAFETY: a bank is made of atomic integers and pointers, for all of which zero is a value, and by the
        // invariants of `CpuCache`, `PageMagazine` and `CpuLatency` the right one.
        unsafe { core::mem::zeroed() }
    }
}
