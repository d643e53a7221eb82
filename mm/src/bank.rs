//! The bank of a CPU: its magazines of every cache, and its page magazine. One per CPU, found by [`Machine::bank`].
//!
//! Everything that a CPU touches on the hit path of any cache lies here, at a fixed distance from one pointer.
//! All zero bytes: a valid bank with no magazines, so that a CPU can allocate from the moment it has one.
//!
//! [`Machine::bank`]: crate::machine::Machine::bank

use crate::cpu_cache::CpuCache;
use crate::page_magazine::PageMagazine;

/// Caches that can exist at once: size classes, the allocator's own, and those that callers create.
pub const MAX_CACHES: usize = 128;

/// CPUs at most.
pub const MAX_CPUS: usize = 512;

/// What one CPU owns. See the module.
#[derive(Debug)]
#[repr(C)]
pub struct Bank {
    /// By cache id.
    pub(crate) caches: [CpuCache; MAX_CACHES],
    pub(crate) pages: PageMagazine,
}

impl Bank {
    /// A bank with no magazines.
    pub const fn empty() -> Self {
        // SAFETY: a bank is made of atomic integers and pointers, for all of which zero is a value, and by the
        // invariants of `CpuCache` and `PageMagazine` the right one.
        unsafe { core::mem::zeroed() }
    }
}
