//! Peers made for one CPU, each behind one lock, the way small kernels use them.
//!
//! The lock is an unfair test-and-test-and-set. Each peer gets a block of its own, all at once, before the first round.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use workloads::Peer;
use workloads::heaps::{Buddy, LinkedList, Rlsf, SoloHeap, Talc};

use crate::host::map_memory;

/// Bytes of each peer's block: a power of two, as the buddy system wants it.
const BLOCK_BYTES: usize = 256 << 20;

/// A value behind a lock that is waited for by spinning.
pub(crate) struct Spin<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` lets one thread at a time at the value.
unsafe impl<T: Send> Sync for Spin<T> {}

impl<T> Spin<T> {
    const fn new(value: T) -> Self {
        Self { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        while self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            let mut nr_turns = 0_u32;
            while self.locked.load(Ordering::Relaxed) {
                nr_turns += 1;
                // The holder may have lost its CPU to another process.
                if nr_turns < 1000 { std::hint::spin_loop() } else { std::thread::yield_now() }
            }
        }
        // SAFETY: the lock is held, and no peer calls back into its own lock.
        let result = f(unsafe { &mut *self.value.get() });
        self.locked.store(false, Ordering::Release);
        result
    }
}

/// A heap of which there is one in the process, behind a lock.
pub(crate) trait Single: SoloHeap {
    /// The one.
    fn single() -> &'static Spin<Self>;
}

/// The one `H` of the process.
pub(crate) struct Locked<H>(PhantomData<H>);

macro_rules! single {
    ($($heap:ty),*) => {
        $(impl Single for $heap {
            #[inline(always)]
            fn single() -> &'static Spin<Self> {
                static SINGLE: Spin<$heap> = Spin::new(<$heap>::EMPTY);
                &SINGLE
            }
        })*

        /// Gives each its block. Once, before the first round.
        pub(crate) fn init() {
            $(init_one::<$heap>();)*
        }
    };
}

single!(Talc, LinkedList, Buddy, Rlsf);

fn init_one<H: Single>() {
    // SAFETY: the block is mapped, BLOCK_BYTES long, this heap's alone and lives for ever.
    let is_taken = H::single().with(|heap| unsafe { heap.add_block(map_memory(BLOCK_BYTES), BLOCK_BYTES) });
    assert!(is_taken, "{} takes no block of {BLOCK_BYTES} bytes", H::NAME);
}

impl<H: Single> Peer for Locked<H> {
    const NAME: &'static str = H::NAME;

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        H::single().with(|heap| heap.alloc(layout)).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    unsafe fn dealloc(object: *mut u8, layout: Layout) {
        let Some(object) = NonNull::new(object) else { return };
        // SAFETY: as promised by the caller.
        H::single().with(|heap| unsafe { heap.free(object, layout) });
    }
}
