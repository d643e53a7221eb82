//! Who is measured: one list, one line each. Every contender is called statically, as a kernel calls its allocator.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use mm::error::Error;
use mm::lock::Lock;
use mm::machine::Machine;
use workloads::Peer;
use workloads::heaps::{Buddy, LinkedList, Rlsf, Talc};

use super::arena::Block;
use super::counts::Counts;
use super::locked::Locked;
use super::round::Round;
use super::shapes;
use crate::machine::{Cpu, HEAP};

/// An allocator of the kernel's that takes part.
pub(super) trait Contestant: Peer {
    /// Somebody else's, behind one lock: what ours is compared with.
    const IS_LOCKED_PEER: bool;
    /// How it is given memory of its own; `None` for those that live on the kernel's heap.
    const BLOCK: Option<Block>;

    /// What it has done so far.
    fn counts() -> Counts;
}

/// A line of the list.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) is_locked_peer: bool,
    pub(super) block: Option<Block>,
    pub(super) counts: fn() -> Counts,
    /// Plays the part of CPU number so-and-so in a round.
    pub(super) play: fn(&Round<'_>, usize),
}

const fn contender<C: Contestant>() -> Contender {
    Contender {
        name: C::NAME,
        is_locked_peer: C::IS_LOCKED_PEER,
        block: C::BLOCK,
        counts: C::counts,
        play: shapes::play::<C>,
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
}

impl Contestant for OurHeap {
    const IS_LOCKED_PEER: bool = false;
    const BLOCK: Option<Block> = None;

    fn counts() -> Counts {
        Counts::of_heap()
    }
}

/// The kernel's slabs, every object by way of the lock of its size class: the heap with its magazines off.
struct Slabs;

impl Peer for Slabs {
    const NAME: &'static str = "slabs";

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        HEAP.alloc_direct(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
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
    const BLOCK: Option<Block> = None;

    fn counts() -> Counts {
        Counts::of_heap()
    }
}

/// The same behind one lock, as small kernels have it.
struct LockedSlabs;

/// Taken before every lock of the heap; what is done under it waits for no other CPU.
static ONE_LOCK: Lock<(), Cpu> = Lock::new(());

impl Peer for LockedSlabs {
    const NAME: &'static str = "slabs-locked";

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        let _guard = ONE_LOCK.lock();
        Slabs::alloc(layout)
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
    const BLOCK: Option<Block> = None;

    fn counts() -> Counts {
        // The machine's interrupts are in both.
        Counts { nr_ipis: 0, ..Counts::of_heap() } + Counts::of_lock(&ONE_LOCK)
    }
}
