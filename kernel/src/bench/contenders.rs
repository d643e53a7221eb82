//! Who is measured: one list, one line each. Every contender is called statically, as a kernel calls its allocator.

use alloc::boxed::Box;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use mm::cache::Settings;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::heap::CacheHandle;
use mm::lock::Lock;
use mm::machine::Machine;
use workloads::Peer;
use workloads::heaps::{Buddy, LinkedList, Rlsf, Talc};

use super::arena::Block;
use super::counts::Counts;
use super::damaged::Damaged;
use super::latency::Timed;
use super::locked::Locked;
use super::plan::Plan;
use super::refusing::Refusing;
use super::round::Round;
use super::{player, shapes, waste};
use crate::machine::{Cpu, HEAP};

/// An allocator of the kernel's that takes part.
pub(super) trait Contestant: Peer {
    /// Somebody else's, behind one lock: what ours is compared with.
    const IS_LOCKED_PEER: bool;
    /// The kernel's own, whose magazines, depots and slabs are counted.
    const IS_OURS: bool = false;
    /// A line for people.
    const ABOUT: &'static str;
    /// How it is given memory of its own; `None` for those that live on the kernel's heap.
    const BLOCK: Option<Block>;

    /// What it has done so far.
    fn counts() -> Counts;

    /// Bytes that it has taken from the machine; `None` if it lives in a block of its own, or is measured under another
    /// name.
    fn held_bytes() -> Option<u64> {
        None
    }

    /// It lives in a block, and holds all of it between its first and its last object.
    const IS_COMPACT: bool = false;

    /// Gives back to the machine what it can; false if it has no call for that.
    fn give_back() -> bool {
        false
    }
}

/// A line of the list.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) is_ours: bool,
    pub(super) is_locked_peer: bool,
    pub(super) block: Option<Block>,
    pub(super) counts: fn() -> Counts,
    /// Plays the part of CPU number so-and-so in a round.
    pub(super) play: fn(&Round<'_>, usize),
    /// Plays a recording.
    pub(super) replay: player::Entry,
    /// The same, and times single operations.
    pub(super) play_timed: fn(&Round<'_>, usize),
    /// Holds more and more, then less; see [`waste`].
    pub(super) hold: fn(&mut waste::Shelf, &mut dyn FnMut(waste::Held)) -> Option<u64>,
}

const fn contender<C: Contestant>() -> Contender {
    Contender {
        name: C::NAME,
        about: C::ABOUT,
        is_ours: C::IS_OURS,
        is_locked_peer: C::IS_LOCKED_PEER,
        block: C::BLOCK,
        counts: C::counts,
        play: shapes::play::<C>,
        replay: player::Entry::of::<C>(),
        play_timed: shapes::play::<Timed<C>>,
        hold: waste::hold::<C>,
    }
}

/// All of them; the heap first.
pub(super) static CONTENDERS: [Contender; NR_CONTENDERS] = [
    contender::<OurHeap>(),
    contender::<Slabs>(),
    contender::<LockedSlabs>(),
    contender::<Locked<Talc>>(),
    contender::<Locked<LinkedList>>(),
    contender::<Locked<Buddy>>(),
    contender::<Locked<Rlsf>>(),
];
pub(super) const NR_CONTENDERS: usize = 7;

/// Who takes part only if it is named: with it every run but `pair` has to fail.
static DAMAGED: Contender = contender::<Damaged>();
/// The same: it has no figures.
static REFUSING: Contender = contender::<Refusing>();
/// Contenders in a run, at most.
pub(super) const MAX_LINEUP: usize = NR_CONTENDERS + 2;

/// All that can be named.
pub(super) fn all() -> impl Iterator<Item = &'static Contender> {
    CONTENDERS.iter().chain([&DAMAGED, &REFUSING])
}

/// Who takes part in a run, in the order of the list.
pub(super) struct Lineup {
    places: [&'static Contender; MAX_LINEUP],
    len: usize,
}

impl Lineup {
    /// Those that the plan wants; all but those that are wrong on purpose if it names none.
    pub(super) fn new(plan: &Plan<'_>) -> Self {
        let is_wanted = |contender: &&Contender| match plan.contenders {
            Some(_) => plan.wants_contender(contender.name),
            None => ![&DAMAGED, &REFUSING].iter().any(|wrong| core::ptr::eq(*contender, *wrong)),
        };
        Self::of(all().filter(is_wanted))
    }

    /// These, of whom there are no more than [`MAX_LINEUP`].
    pub(super) fn of(contenders: impl Iterator<Item = &'static Contender>) -> Self {
        let mut lineup = Self { places: [&DAMAGED; MAX_LINEUP], len: 0 };
        for contender in contenders {
            lineup.places[lineup.len] = contender;
            lineup.len += 1;
        }
        lineup
    }

    /// Who takes part.
    pub(super) fn contenders(&self) -> &[&'static Contender] {
        &self.places[..self.len]
    }
}

/// The kernel's heap, as its global allocator.
struct OurHeap;

impl Peer for OurHeap {
    const NAME: &'static str = "heap";

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: the size is not 0, as promised to `alloc`.
        unsafe { GlobalAlloc::alloc(&HEAP, layout) }
    }

    #[inline(always)]
    unsafe fn dealloc(object: *mut u8, layout: Layout) {
        // Null where memory is out; the heap takes none.
        if object.is_null() {
            return;
        }
        // SAFETY: as promised by the caller, and not null.
        unsafe { GlobalAlloc::dealloc(&HEAP, object, layout) }
    }

    /// From a cache of 64-byte objects, as nothing else is asked for by the batch.
    #[inline(always)]
    fn alloc_bulk(layout: Layout, objects: &mut [NonNull<u8>]) -> bool {
        debug_assert_eq!(layout.size(), BULK_SIZE, "the one cache for batches");
        bulk_cache().is_some_and(|cache| HEAP.cache_alloc_bulk(cache, objects).is_ok())
    }

    #[inline(always)]
    unsafe fn dealloc_bulk(objects: &[NonNull<u8>], _layout: Layout) {
        let Some(cache) = bulk_cache() else { return };
        // SAFETY: as promised by the caller; they came from this cache.
        unsafe { HEAP.cache_free_bulk(cache, objects) }.unwrap_or_else(Cpu::report);
    }
}

const BULK_SIZE: usize = 64;

/// The heap's cache for batches, or null.
static BULK_CACHE: AtomicPtr<CacheHandle> = AtomicPtr::new(ptr::null_mut());

fn bulk_cache() -> Option<&'static CacheHandle> {
    // SAFETY: null, or what `BulkCache::open` put there; it stays until no round is played any more.
    unsafe { BULK_CACHE.load(Ordering::Acquire).as_ref() }
}

/// Having this means: the heap has a cache for batches. Dropped when no round is played.
pub(super) struct BulkCache(());

impl BulkCache {
    /// Makes the cache.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`].
    pub(super) fn open() -> Result<Self, Error> {
        let handle = HEAP.create_cache(Settings::new("bench-bulk", BULK_SIZE, 8))?;
        BULK_CACHE.store(Box::into_raw(Box::new(handle)), Ordering::Release);
        Ok(Self(()))
    }
}

impl Drop for BulkCache {
    fn drop(&mut self) {
        let handle = BULK_CACHE.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: made by `open` from a box, taken out once; nobody plays.
        let handle = unsafe { Box::from_raw(handle) };
        if let Err((_, error)) = HEAP.destroy_cache(*handle) {
            Cpu::report(error);
        }
    }
}

/// Bytes of all frames that somebody has.
fn frames_in_use() -> u64 {
    (HEAP.frames().nr_managed() - HEAP.frames().nr_free()) * PAGE_SIZE as u64
}

impl Contestant for OurHeap {
    const IS_LOCKED_PEER: bool = false;
    const IS_OURS: bool = true;
    const ABOUT: &'static str = "the kernel's heap, as its global allocator";
    const BLOCK: Option<Block> = None;

    fn counts() -> Counts {
        Counts::of_heap()
    }

    fn held_bytes() -> Option<u64> {
        Some(frames_in_use())
    }

    fn give_back() -> bool {
        HEAP.reclaim();
        true
    }
}

/// The kernel's slabs, every object by way of the lock of its size class: the heap with its magazines off.
struct Slabs;

impl Peer for Slabs {
    const NAME: &'static str = "slabs";

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        let object = alloc_from_slabs(layout);
        if object.is_null() {
            HEAP.reclaim();
            return alloc_from_slabs(layout);
        }
        object
    }

    #[inline(always)]
    unsafe fn dealloc(object: *mut u8, layout: Layout) {
        let Some(object) = NonNull::new(object) else { return };
        // SAFETY: as promised by the caller.
        unsafe { HEAP.dealloc_direct(object, layout) }.unwrap_or_else(|error: Error| Cpu::report(error));
    }
}

impl Contestant for Slabs {
    const IS_LOCKED_PEER: bool = false;
    const IS_OURS: bool = true;
    const ABOUT: &'static str = "its slabs with the magazines off, a lock for each size class";
    const BLOCK: Option<Block> = None;

    fn counts() -> Counts {
        Counts::of_heap()
    }

    fn held_bytes() -> Option<u64> {
        Some(frames_in_use())
    }
}

/// An object of `layout`, or null. Who gets none reclaims, without a lock: the heap, which is measured in the same run, may hold
/// in magazines what slabs without any would have had.
#[inline(always)]
fn alloc_from_slabs(layout: Layout) -> *mut u8 {
    HEAP.alloc_direct(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
}

/// The same behind one lock, as small kernels have it.
struct LockedSlabs;

/// Taken before every lock of the heap; what is done under it waits for no other CPU.
static ONE_LOCK: Lock<(), Cpu> = Lock::new(());

impl Peer for LockedSlabs {
    const NAME: &'static str = "slabs-locked";

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        let alloc = || {
            let _guard = ONE_LOCK.lock();
            alloc_from_slabs(layout)
        };
        let object = alloc();
        if object.is_null() {
            HEAP.reclaim();
            return alloc();
        }
        object
    }

    #[inline(always)]
    unsafe fn dealloc(object: *mut u8, layout: Layout) {
        let _guard = ONE_LOCK.lock();
        // SAFETY: as promised by the caller.
        unsafe { Slabs::dealloc(object, layout) }
    }
}

impl Contestant for LockedSlabs {
    const IS_LOCKED_PEER: bool = false;
    const IS_OURS: bool = true;
    const ABOUT: &'static str = "the same behind one lock";
    const BLOCK: Option<Block> = None;

    fn counts() -> Counts {
        // The machine's interrupts are in both.
        Counts { nr_ipis: 0, ..Counts::of_heap() } + Counts::of_lock(&ONE_LOCK)
    }
}
