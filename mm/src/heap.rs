//! The heap: any size and alignment, from the cache of its size class or from whole frames. The top of the crate.
//!
//! ```text
//!   heap ──► size class ──► this CPU's magazine ──► depot ──► slab ──► page magazine ──► frame bitmap
//!     └────► more than 32 KiB, or aligned to more than a page: a run of frames; or pages mapped together
//! ```
//!
//! Each arrow is one file, each file knows only the next, and free walks back. A request is refused only after every
//! CPU has given its magazines back ([`Heap::reclaim`]).
//!
//! Context of everything here: any but an NMI, interrupt handlers included. In an NMI: [`Heap::alloc_now`].

mod debug;
mod direct;
mod global;
mod large;
mod malloc;
mod own_caches;
mod reclaim;

use core::alloc::Layout;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, AtomicUsize, Ordering};

use crate::bank::{Bank, MAX_CACHES, MAX_CPUS};
use crate::cache::{Cache, Settings};
use crate::cpu_cache::CpuCache;
use crate::error::Result;
use crate::frame::{Frame, FrameRange};
use crate::frame_bitmap::RunRequest;
use crate::frame_table::Kind;
use crate::frames::Frames;
use crate::machine::Machine;
use crate::size_class::{self, NR_CLASSES};
use crate::supply::Supply;

pub use own_caches::{CacheHandle, NR_PLACES};

/// The allocator, whole. One static of the kernel.
#[derive(Debug)]
pub struct Heap<M> {
    supply: Supply<M>,
    /// Size classes first, then those that callers made.
    caches: [Cache<M>; MAX_CACHES],
    banks: [AtomicPtr<Bank>; MAX_CPUS],
    /// Bank of the CPU that reclaims, or null.
    reclaimer: AtomicPtr<Bank>,
    /// Times that somebody was the one. Written by the one.
    nr_exclusions: AtomicU64,
    /// Reclaims begun so far.
    nr_reclaims_begun: AtomicU64,
    /// The one cache that CPUs are asked to drain, or [`reclaim::ALL_CACHES`]. Written by the one who reclaims.
    drain_request: AtomicU16,
    /// Which caches are debugged.
    debug_rules: debug::Rules,
    /// Places of `banks` up to the last that was ever filled: whoever counts need not look at the others.
    nr_banks: AtomicUsize,
}

impl<M: Machine> Heap<M> {
    /// A heap without memory.
    pub const fn new() -> Self {
        let mut caches = [const { Cache::vacant(0) }; MAX_CACHES];
        let mut id = 0;
        while id < MAX_CACHES {
            caches[id].set_id(id as u16);
            id += 1;
        }
        Self {
            supply: Supply::new(),
            caches,
            banks: [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS],
            reclaimer: AtomicPtr::new(ptr::null_mut()),
            nr_exclusions: AtomicU64::new(0),
            nr_reclaims_begun: AtomicU64::new(0),
            drain_request: AtomicU16::new(reclaim::ALL_CACHES),
            debug_rules: debug::Rules::new(),
            nr_banks: AtomicUsize::new(0),
        }
    }

    /// Opens the size classes. Once, before the first allocation; the frames are initialised.
    pub fn init(&self) {
        for class in 0..NR_CLASSES {
            let size = size_class::size(class);
            // Up to 128 bytes every granule of 8 has its own class; above, the class serves from the one below on.
            let smallest = if size <= 128 { size } else { size_class::size(class - 1) + 1 };
            let settings = Settings::new("size class", size, 8);
            let opened = self.caches[class].open(settings, smallest, self.debug_rules.flags_for(&settings));
            assert!(opened.is_ok(), "size class {class}: {opened:?}");
        }
    }

    /// Makes the bank of CPU `cpu` known to the counters. `cpu` is below [`MAX_CPUS`].
    pub fn add_cpu(&self, cpu: usize, bank: &'static Bank) {
        self.banks[cpu].store(ptr::from_ref(bank).cast_mut(), Ordering::Release);
        self.nr_banks.fetch_max(cpu + 1, Ordering::Release);
    }

    /// The banks of the CPUs that were added, with the CPU's number.
    pub fn banks(&self) -> impl Iterator<Item = (usize, &'static Bank)> {
        self.banks[..self.nr_banks.load(Ordering::Acquire)].iter().enumerate().filter_map(|(cpu, bank)| {
            // SAFETY: only `add_cpu` stores here, from a static reference.
            unsafe { bank.load(Ordering::Acquire).as_ref() }.map(|bank| (cpu, bank))
        })
    }

    /// The frames.
    pub fn frames(&self) -> &Frames<M> {
        &self.supply.frames
    }

    /// What the caches live on.
    pub fn supply(&self) -> &Supply<M> {
        &self.supply
    }

    /// The live caches, with their ids. Not to be kept while a cache of a caller's own is destroyed.
    pub fn caches(&self) -> impl Iterator<Item = (u16, &Cache<M>)> {
        (0..).zip(&self.caches).filter(|(_, cache)| cache.is_live())
    }

    /// Memory for `layout`, contents undefined. Size 0 gets an address of its own.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`].
    #[inline]
    pub fn alloc(&self, layout: Layout) -> Result<NonNull<u8>> {
        match Self::hit(layout) {
            Some(object) => Ok(object),
            None => self.alloc_cold(layout),
        }
    }

    /// Memory for `layout`, full of zeroes.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`].
    pub fn alloc_zeroed(&self, layout: Layout) -> Result<NonNull<u8>> {
        let object = self.alloc(layout)?;
        // SAFETY: just allocated with at least this size.
        unsafe { object.write_bytes(0, layout.size()) };
        Ok(object)
    }

    /// Memory for `layout` if this CPU's loaded magazine has it and nobody is in the middle of using that; takes no lock,
    /// and waits for nobody.
    ///
    /// Context: any, an NMI and a crash included.
    pub fn alloc_now(&self, layout: Layout) -> Option<NonNull<u8>> {
        let magazines = Self::magazines_at(Bank::offset_for(layout.size(), layout.align())?);
        if magazines.is_open() { magazines.pop::<M>() } else { None }
    }

    /// Gives back memory from [`Heap::alloc`] with the same `layout` if this CPU's loaded magazine has room and nobody is in
    /// the middle of using that; false if not, and the caller still has the memory.
    ///
    /// Context: any, an NMI and a crash included.
    ///
    /// # Safety
    ///
    /// Nobody uses the memory any more, if this returns true.
    pub unsafe fn dealloc_now(&self, object: NonNull<u8>, layout: Layout) -> bool {
        let Some(offset) = Bank::offset_for(layout.size(), layout.align()) else { return false };
        let magazines = Self::magazines_at(offset);
        magazines.is_open() && magazines.push::<M>(object)
    }

    /// Gives back memory from [`Heap::alloc`] with the same `layout`.
    ///
    /// # Errors
    ///
    /// What is seen at once to be wrong with it; nothing is freed then. The rest is caught when the object leaves the
    /// magazines, and goes to [`Machine::report`].
    ///
    /// # Safety
    ///
    /// Nobody uses the memory any more.
    #[inline]
    pub unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<()> {
        if Self::hit_free(object, layout) {
            return Ok(());
        }
        // SAFETY: as promised by the caller.
        unsafe { self.free_cold(object, layout) }
    }

    /// A round of this CPU's loaded magazine: the whole hit path of an allocation.
    #[inline(always)]
    fn hit(layout: Layout) -> Option<NonNull<u8>> {
        Self::magazines_at(Bank::offset_for(layout.size(), layout.align())?).pop::<M>()
    }

    /// Puts a round on this CPU's loaded magazine, if there is room: the whole hit path of a free.
    #[inline(always)]
    fn hit_free(object: NonNull<u8>, layout: Layout) -> bool {
        Bank::offset_for(layout.size(), layout.align())
            .is_some_and(|offset| Self::magazines_at(offset).push::<M>(object))
    }

    /// This CPU's magazines that are `offset` bytes into its bank, by the word of [`Bank`].
    #[inline(always)]
    fn magazines_at(offset: usize) -> &'static CpuCache {
        // SAFETY: a cache is at this place in every bank, and the bank is this CPU's and static by the machine's promise.
        unsafe { &*M::bank_at(offset).cast() }
    }

    /// This CPU's magazines of cache `id`.
    #[inline(always)]
    fn mine(id: usize) -> &'static CpuCache {
        debug_assert!(id < MAX_CACHES);
        Self::magazines_at(Bank::offset_of(id))
    }

    #[cold]
    #[inline(never)]
    fn alloc_cold(&self, layout: Layout) -> Result<NonNull<u8>> {
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => self.alloc_slow(class, layout.size()),
            None => self.alloc_large(layout),
        }
    }

    /// As `alloc_cold`, for those who want a null pointer: a [`Result`] comes by way of memory.
    #[cold]
    #[inline(never)]
    fn alloc_cold_or_null(&self, layout: Layout) -> *mut u8 {
        self.alloc_cold(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    /// An object of cache `id` for a request of `size` bytes, which this CPU's loaded magazine does not have.
    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, id: usize, size: usize) -> Result<NonNull<u8>> {
        let cache = &self.caches[id];
        // The last try takes no magazine: its frames may be the ones that the object's slab needs.
        self.or_reclaim_and(|| cache.alloc_slow(&self.supply, size), || cache.alloc_direct(&self.supply, size))
            .inspect_err(|_| cache.count_failure())
    }

    /// Frees what the loaded magazine had no room for, or none for any.
    ///
    /// # Safety
    ///
    /// Nobody uses the object any more.
    #[cold]
    #[inline(never)]
    unsafe fn free_cold(&self, object: NonNull<u8>, layout: Layout) -> Result<()> {
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => self.caches[class].free_slow(&self.supply, object, layout.size()),
            // SAFETY: as promised by the caller.
            None => unsafe { self.free_large(object, Some(layout.size())) },
        }
    }

    /// As `free_cold`, with a complaint going to [`Machine::report`].
    ///
    /// # Safety
    ///
    /// Nobody uses the object any more.
    #[cold]
    #[inline(never)]
    unsafe fn free_cold_or_report(&self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        let freed = unsafe { self.free_cold(object, layout) };
        if let Err(error) = freed
            && !self.is_debugged_size(layout)
            && !self.is_guarded(object)
        {
            M::report(error);
        }
    }

    /// Takes an object of cache `id` back.
    #[inline(always)]
    fn free_to(&self, id: usize, object: NonNull<u8>, size: usize) -> Result<()> {
        if Self::mine(id).push::<M>(object) {
            return Ok(());
        }
        self.caches[id].free_slow(&self.supply, object, size)
    }

    /// One frame to be used as `kind`, after a reclaim if need be.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`].
    pub fn alloc_frame(&self, kind: Kind) -> Result<Frame> {
        self.or_reclaim(|| self.frames().alloc(kind))
    }

    /// A run of frames to be used as `kind`, after a reclaim if need be.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], or [`Error::BadRequest`] for what can never be had.
    pub fn alloc_run(&self, request: RunRequest, kind: Kind) -> Result<FrameRange> {
        self.or_reclaim(|| self.frames().alloc_run(request, kind))
    }
}

impl<M: Machine> Default for Heap<M> {
    fn default() -> Self {
        Self::new()
    }
}
