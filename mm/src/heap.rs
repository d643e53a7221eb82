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
//! Context of everything here: any but an NMI, interrupt handlers included.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::bank::{Bank, MAX_CACHES, MAX_CPUS};
use crate::cache::{Cache, Settings};
use crate::cpu_cache::CpuCache;
use crate::error::{Error, Result};
use crate::frame::{Frame, FrameRange, PAGE_SIZE};
use crate::frame_bitmap::RunRequest;
use crate::frame_table::Kind;
use crate::frames::Frames;
use crate::lock::Lock;
use crate::machine::Machine;
use crate::size_class::{self, NR_CLASSES};
use crate::supply::Supply;

/// Alignment of what [`Heap::malloc`] returns, in bytes: enough for any scalar.
const MALLOC_ALIGN: usize = 16;

/// The allocator, whole. One static of the kernel.
#[derive(Debug)]
pub struct Heap<M> {
    supply: Supply<M>,
    /// Size classes first, then those that callers made.
    caches: [Cache<M>; MAX_CACHES],
    /// Held while a cache is opened or closed.
    opening: Lock<(), M>,
    banks: [AtomicPtr<Bank>; MAX_CPUS],
    /// Bank of the CPU that reclaims, or null.
    reclaimer: AtomicPtr<Bank>,
    /// Reclaims so far.
    nr_reclaims: AtomicU64,
}

/// A cache of a caller's own. Having it means: the cache is live, and destroying it is this owner's to do.
#[derive(Debug)]
pub struct CacheHandle {
    id: u16,
}

impl CacheHandle {
    /// Its id, by which [`Heap::caches`] knows it.
    pub fn id(&self) -> u16 {
        self.id
    }
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
            opening: Lock::new(()),
            banks: [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS],
            reclaimer: AtomicPtr::new(ptr::null_mut()),
            nr_reclaims: AtomicU64::new(0),
        }
    }

    /// Opens the size classes. Once, before the first allocation; the frames are initialised.
    pub fn init(&self) {
        let _opening = self.opening.lock();
        for class in 0..NR_CLASSES {
            let size = size_class::size(class);
            // Up to 128 bytes every granule of 8 has its own class; above, the class serves from the one below on.
            let smallest = if size <= 128 { size } else { size_class::size(class - 1) + 1 };
            let opened = self.caches[class].open(Settings::new("size class", size, 8), smallest);
            assert!(opened.is_ok(), "size class {class}: {opened:?}");
        }
    }

    /// Makes the bank of CPU `cpu` known to the counters. `cpu` is below [`MAX_CPUS`].
    pub fn add_cpu(&self, cpu: usize, bank: &'static Bank) {
        self.banks[cpu].store(ptr::from_ref(bank).cast_mut(), Ordering::Release);
    }

    /// The banks of the CPUs that were added, with the CPU's number.
    pub fn banks(&self) -> impl Iterator<Item = (usize, &'static Bank)> {
        self.banks.iter().enumerate().filter_map(|(cpu, bank)| {
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

    /// The live caches, with their ids.
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
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => self.alloc_from(class),
            None => self.alloc_large(layout),
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
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => self.free_to(class, object),
            // SAFETY: as promised by the caller.
            None => unsafe { self.free_large(object, Some(layout.size())) },
        }
    }

    #[inline(always)]
    fn alloc_from(&self, id: usize) -> Result<NonNull<u8>> {
        match Self::hit(id) {
            Some(object) => Ok(object),
            None => self.alloc_cold(id),
        }
    }

    /// A round of this CPU's loaded magazine of cache `id`: the whole hit path of an allocation.
    #[inline(always)]
    fn hit(id: usize) -> Option<NonNull<u8>> {
        Self::mine(id).try_hold()?.pop()
    }

    /// Puts a round on this CPU's loaded magazine of cache `id`, if there is room: the whole hit path of a free.
    #[inline(always)]
    fn hit_free(id: usize, object: NonNull<u8>) -> bool {
        Self::mine(id).try_hold().is_some_and(|held| held.push(object))
    }

    #[inline(always)]
    fn mine(id: usize) -> &'static CpuCache {
        debug_assert!(id < MAX_CACHES);
        // SAFETY: ids of size classes and of handles are below MAX_CACHES, the length of the array.
        unsafe { M::bank().caches.get_unchecked(id) }
    }

    #[cold]
    #[inline(never)]
    fn alloc_cold(&self, id: usize) -> Result<NonNull<u8>> {
        let cache = &self.caches[id];
        self.or_reclaim(|| cache.alloc_slow(&self.supply))
    }

    /// As `alloc_cold`, for those who want a null pointer: a [`Result`] comes by way of memory.
    #[cold]
    #[inline(never)]
    fn alloc_cold_or_null(&self, id: usize) -> *mut u8 {
        self.alloc_cold(id).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    fn free_to(&self, id: usize, object: NonNull<u8>) -> Result<()> {
        if Self::hit_free(id, object) {
            return Ok(());
        }
        self.caches[id].free_slow(&self.supply, object)
    }

    /// As `free_to`, with a complaint going to [`Machine::report`].
    #[cold]
    #[inline(never)]
    fn free_cold_or_report(&self, id: usize, object: NonNull<u8>) {
        if let Err(error) = self.caches[id].free_slow(&self.supply, object) {
            M::report(error);
        }
    }

    /// Tries, and when memory is out reclaims and tries again.
    fn or_reclaim<T>(&self, attempt: impl Fn() -> Result<T>) -> Result<T> {
        let before = self.nr_reclaims.load(Ordering::Acquire);
        match attempt() {
            Err(Error::OutOfMemory { .. }) => {
                self.reclaim_since(before);
                attempt()
            }
            other => other,
        }
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

    #[cold]
    #[inline(never)]
    fn alloc_large(&self, layout: Layout) -> Result<NonNull<u8>> {
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
    #[cold]
    #[inline(never)]
    unsafe fn free_large(&self, object: NonNull<u8>, size: Option<usize>) -> Result<()> {
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
    fn large_pages(&self, object: NonNull<u8>) -> Result<usize> {
        let addr = object.addr().get();
        let Some(frame) = self.frames().frame_of(object) else {
            return M::mapped_pages(object).ok_or(Error::Foreign { addr });
        };
        let descriptor = self.frames().table().get(frame).ok_or(Error::Foreign { addr })?;
        match descriptor.kind() {
            Kind::Free | Kind::Cached => Err(Error::DoubleFree { addr }),
            Kind::Large if addr.is_multiple_of(PAGE_SIZE) => {
                descriptor.run_length().map(|nr_pages| nr_pages as usize).ok_or(Error::Foreign { addr })
            }
            _ => Err(Error::Foreign { addr }),
        }
    }

    /// Memory of at least `size` bytes, aligned to 16.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; also for sizes that no address space could hold.
    pub fn malloc(&self, size: usize) -> Result<NonNull<u8>> {
        let layout = Layout::from_size_align(size, MALLOC_ALIGN).map_err(|_| Error::OutOfMemory { bytes: size })?;
        self.alloc(layout)
    }

    /// Gives back memory from any allocating call of this heap, whatever its size.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] or [`Error::DoubleFree`], with the address; nothing is freed then.
    ///
    /// # Safety
    ///
    /// Nobody uses the memory any more.
    pub unsafe fn free(&self, object: NonNull<u8>) -> Result<()> {
        match self.cache_of(object)? {
            Some(id) => self.free_to(usize::from(id), object),
            // SAFETY: as promised by the caller.
            None => unsafe { self.free_large(object, None) },
        }
    }

    /// Bytes that can be used at `object`, a live allocation.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] or [`Error::DoubleFree`].
    pub fn usable_size(&self, object: NonNull<u8>) -> Result<usize> {
        match self.cache_of(object)? {
            Some(id) => Ok(self.caches[usize::from(id)].object_size()),
            None => Ok(self.large_pages(object)? * PAGE_SIZE),
        }
    }

    /// The cache whose object starts at `object`; `None` if it lies in no slab.
    fn cache_of(&self, object: NonNull<u8>) -> Result<Option<u16>> {
        let foreign = Error::Foreign { addr: object.addr().get() };
        let Some(frame) = self.frames().frame_of(object) else { return Ok(None) };
        let descriptor = self.frames().table().get(frame).ok_or(foreign)?;
        if descriptor.kind() != Kind::Slab {
            return Ok(None);
        }
        let slab = descriptor.head(frame);
        let id = self.frames().table().get(slab).ok_or(foreign)?.cache.load(Ordering::Relaxed);
        let cache = self.caches.get(usize::from(id)).filter(|cache| cache.is_live()).ok_or(foreign)?;
        cache.check_racy(&self.supply, slab, object)?;
        Ok(Some(id))
    }

    /// Resizes: in place if the class or the number of pages stays the same, else by a copy.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; the old memory stays as it was. Otherwise as [`Heap::free`].
    ///
    /// # Safety
    ///
    /// `object` is live, and on success only the returned memory is used.
    pub unsafe fn realloc(&self, object: NonNull<u8>, size: usize) -> Result<NonNull<u8>> {
        let usable = self.usable_size(object)?;
        let align = MALLOC_ALIGN;
        let layout = Layout::from_size_align(size, align).map_err(|_| Error::OutOfMemory { bytes: size })?;
        if self.keeps_place(usable, layout) && self.cache_of(object)?.is_none_or(|id| usize::from(id) < NR_CLASSES) {
            return Ok(object);
        }
        let new = self.alloc(layout)?;
        // SAFETY: both are live allocations of at least this many bytes, and distinct.
        unsafe { new.copy_from_nonoverlapping(object, usable.min(size)) };
        // SAFETY: as promised by the caller.
        unsafe { self.free(object) }?;
        Ok(new)
    }

    /// Whether `layout` would get exactly `usable` bytes again.
    fn keeps_place(&self, usable: usize, layout: Layout) -> bool {
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => size_class::size(class) == usable,
            None => layout.size().div_ceil(PAGE_SIZE).checked_mul(PAGE_SIZE) == Some(usable),
        }
    }

    /// Makes a cache.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] for a size or alignment that slabs cannot have; [`Error::OutOfMemory`] if
    /// [`MAX_CACHES`] caches exist.
    pub fn create_cache(&self, settings: Settings) -> Result<CacheHandle> {
        let _opening = self.opening.lock();
        let id = (NR_CLASSES..MAX_CACHES)
            .find(|&id| !self.caches[id].is_live())
            .ok_or(Error::OutOfMemory { bytes: size_of::<Cache<M>>() })?;
        self.caches[id].open(settings, settings.size)?;
        Ok(CacheHandle { id: id as u16 })
    }

    /// An object of `cache`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], also when the constructor refused.
    #[inline]
    pub fn cache_alloc(&self, cache: &CacheHandle) -> Result<NonNull<u8>> {
        self.alloc_from(usize::from(cache.id))
    }

    /// Gives an object of `cache` back, in the state the constructor left it in.
    ///
    /// # Errors
    ///
    /// As [`Heap::dealloc`].
    ///
    /// # Safety
    ///
    /// Nobody uses the object any more.
    #[inline]
    pub unsafe fn cache_free(&self, cache: &CacheHandle, object: NonNull<u8>) -> Result<()> {
        self.free_to(usize::from(cache.id), object)
    }

    /// Makes sure that the next `nr_objects` allocations of `cache` find a slab: takes so many and puts them back, past
    /// the magazines.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; the cache has grown as far as memory went.
    pub fn cache_grow(&self, cache: &CacheHandle, nr_objects: usize) -> Result<()> {
        self.or_reclaim(|| self.caches[usize::from(cache.id)].grow(&self.supply, nr_objects))
    }

    /// Gives back what `cache` holds without use, on every CPU.
    pub fn cache_reap(&self, cache: &CacheHandle) {
        self.reclaim();
        self.caches[usize::from(cache.id)].reap(&self.supply);
    }

    /// Unmakes a cache of which no object is out.
    ///
    /// # Errors
    ///
    /// The handle again, and [`Error::Busy`] with the number of objects that are still out.
    pub fn destroy_cache(&self, handle: CacheHandle) -> core::result::Result<(), (CacheHandle, Error)> {
        let cache = &self.caches[usize::from(handle.id)];
        self.reclaim();
        let _opening = self.opening.lock();
        match cache.slab_counters().nr_out {
            0 => {
                cache.close();
                Ok(())
            }
            nr_out => Err((handle, Error::Busy { nr_objects: nr_out as usize })),
        }
    }

    /// Gives back all that this CPU's magazines hold. What an interrupt finds busy is skipped.
    pub fn drain_this_cpu(&self) {
        for (_, cache) in self.caches() {
            cache.drain_this_cpu(&self.supply);
        }
        self.supply.frames.drain_this_cpu();
    }

    /// Has every CPU give its magazines back, empties the depots, and returns empty slabs to the frames.
    ///
    /// Context: any but an NMI; no lock of this crate held. Waits for the other CPUs.
    pub fn reclaim(&self) {
        self.reclaim_since(self.nr_reclaims.load(Ordering::Acquire));
    }

    /// Reclaims, unless somebody has since `before` reclaims were counted.
    fn reclaim_since(&self, before: u64) {
        let me = ptr::from_ref(M::bank()).cast_mut();
        let mut nr_turns = 0;
        while let Err(holder) =
            self.reclaimer.compare_exchange(ptr::null_mut(), me, Ordering::Acquire, Ordering::Relaxed)
        {
            if holder == me {
                // An interrupt landed on the reclaimer: it cannot wait for what it interrupted.
                return;
            }
            M::relax(nr_turns);
            nr_turns = nr_turns.saturating_add(1);
        }
        if self.nr_reclaims.load(Ordering::Acquire) == before {
            self.drain_this_cpu();
            M::drain_other_cpus();
            for (_, cache) in self.caches() {
                cache.reap(&self.supply);
            }
            self.supply.reap();
            // What the reaping put into this CPU's page magazine.
            self.supply.frames.drain_this_cpu();
            self.nr_reclaims.fetch_add(1, Ordering::Release);
        }
        self.reclaimer.store(ptr::null_mut(), Ordering::Release);
    }

    /// Reclaims so far.
    pub fn nr_reclaims(&self) -> u64 {
        self.nr_reclaims.load(Ordering::Relaxed)
    }
}

impl<M: Machine> Default for Heap<M> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: memory of `alloc` is exclusive, live until freed, and of the layout's size and alignment (class sizes by
// `size_class`, runs by the request); errors come out as null; nothing unwinds.
unsafe impl<M: Machine> GlobalAlloc for Heap<M> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => match Self::hit(class) {
                Some(object) => object.as_ptr(),
                None => self.alloc_cold_or_null(class),
            },
            None => self.alloc_large(layout).map_or(ptr::null_mut(), NonNull::as_ptr),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Heap::alloc_zeroed(self, layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        let Some(object) = NonNull::new(object) else { return };
        match size_class::index_for(layout.size(), layout.align()) {
            Some(class) if Self::hit_free(class, object) => {}
            Some(class) => self.free_cold_or_report(class, object),
            // SAFETY: the caller gives up the memory, by the contract of GlobalAlloc.
            None => unsafe { self.free_large(object, Some(layout.size())) }.unwrap_or_else(M::report),
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (Some(old), Ok(new_layout)) = (NonNull::new(object), Layout::from_size_align(size, layout.align())) else {
            return ptr::null_mut();
        };
        let usable = match size_class::index_for(layout.size(), layout.align()) {
            Some(class) => size_class::size(class),
            None => layout.size().div_ceil(PAGE_SIZE) * PAGE_SIZE,
        };
        if self.keeps_place(usable, new_layout) {
            return object;
        }
        let Ok(new) = Heap::alloc(self, new_layout) else { return ptr::null_mut() };
        // SAFETY: both are live, distinct, and have at least the smaller size.
        unsafe { new.copy_from_nonoverlapping(old, layout.size().min(size)) };
        // SAFETY: the caller gives up the old memory on success.
        unsafe { GlobalAlloc::dealloc(self, object, layout) };
        new.as_ptr()
    }
}
