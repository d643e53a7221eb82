//! Allocators made for one CPU, each behind one lock taken with interrupts off, the way small kernels use them.
//!
//! The lock is `mm`'s own: unfair, waiting with growing pauses, the best there is under emulation, so that nobody can
//! say that the peers were given a bad one. It counts what it is asked.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use mm::lock::Lock;
use workloads::Peer;
use workloads::heaps::{Buddy, LinkedList, Rlsf, SoloHeap, Talc};

use super::arena::Block;
use super::contenders::Contestant;
use super::counts::Counts;
use crate::machine::Cpu;

/// A heap of which there is one in the kernel, behind a lock.
pub(super) trait Single: SoloHeap {
    /// The one.
    fn single() -> &'static Lock<Self, Cpu>;
}

/// The one `H` of the kernel as a contender.
pub(super) struct Locked<H>(PhantomData<H>);

macro_rules! single {
    ($($heap:ty),*) => {
        $(impl Single for $heap {
            #[inline(always)]
            fn single() -> &'static Lock<Self, Cpu> {
                static SINGLE: Lock<$heap, Cpu> = Lock::new(<$heap>::EMPTY);
                &SINGLE
            }
        })*
    };
}

single!(Talc, LinkedList, Buddy, Rlsf);

impl<H: Single> Peer for Locked<H> {
    const NAME: &'static str = H::NAME;

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        H::single().lock().alloc(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    unsafe fn dealloc(object: *mut u8, layout: Layout) {
        let Some(object) = NonNull::new(object) else { return };
        // SAFETY: as promised by the caller.
        unsafe { H::single().lock().free(object, layout) }
    }
}

impl<H: Single> Contestant for Locked<H> {
    const IS_LOCKED_PEER: bool = true;
    const ABOUT: &'static str = H::ABOUT;
    const IS_COMPACT: bool = H::IS_COMPACT;
    const BLOCK: Option<Block> = Some(Block { open: open::<H>, close: close::<H> });

    fn counts() -> Counts {
        Counts::of_lock(H::single())
    }
}

/// # Safety
///
/// As for [`SoloHeap::add_block`], until [`close`].
unsafe fn open<H: Single>(block: NonNull<u8>, nr_bytes: usize) -> bool {
    let mut heap = H::single().lock();
    *heap = H::EMPTY;
    // SAFETY: as promised by the caller; a heap that is empty has had no block.
    unsafe { heap.add_block(block, nr_bytes) }
}

fn close<H: Single>() {
    *H::single().lock() = H::EMPTY;
}
