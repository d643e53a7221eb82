//! Peers made for one CPU, each behind one lock, the way small kernels use them.
//!
//! The lock is an unfair test-and-test-and-set. Each peer gets a block of its own, all at once, before the first round.

use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::host::map_memory;
use crate::peers::Peer;

/// Bytes of each peer's block: a power of two, as the buddy system wants it.
const BLOCK_BYTES: usize = 256 << 20;

/// A value behind a lock that is waited for by spinning.
struct Spin<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` lets one thread at a time at the value. What the peers hold besides plain values are pointers into
// their own blocks, which are no thread's.
unsafe impl<T> Sync for Spin<T> {}

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

type Tlsf = rlsf::Tlsf<'static, u32, u32, 32, 32>;

static TALC: Spin<talc::base::Talc<talc::source::Manual, talc::DefaultBinning>> =
    Spin::new(talc::base::Talc::new(talc::source::Manual));
static LINKED_LIST: Spin<linked_list_allocator::Heap> = Spin::new(linked_list_allocator::Heap::empty());
static BUDDY: Spin<buddy_system_allocator::Heap<33>> = Spin::new(buddy_system_allocator::Heap::new());
static RLSF: Spin<Tlsf> = Spin::new(Tlsf::new());

/// Gives each its block. Once, before the first round.
pub(crate) fn init() {
    let claimed = TALC.with(|heap| {
        // SAFETY: the block is this heap's alone.
        unsafe { heap.claim(map_memory(BLOCK_BYTES).as_ptr(), BLOCK_BYTES) }
    });
    assert!(claimed.is_some(), "talc takes no block of {BLOCK_BYTES} bytes");
    // SAFETY: the block is this heap's alone and lives for ever.
    LINKED_LIST.with(|heap| unsafe { heap.init(map_memory(BLOCK_BYTES).as_ptr(), BLOCK_BYTES) });
    // SAFETY: as above.
    BUDDY.with(|heap| unsafe { heap.init(map_memory(BLOCK_BYTES).as_ptr().expose_provenance(), BLOCK_BYTES) });
    let block = map_memory(BLOCK_BYTES).cast::<MaybeUninit<u8>>().as_ptr();
    RLSF.with(|heap| {
        // SAFETY: the block is mapped, BLOCK_BYTES long, this heap's alone and lives for ever.
        heap.insert_free_block(unsafe { std::slice::from_raw_parts_mut(block, BLOCK_BYTES) });
    });
}

fn or_null(object: Option<NonNull<u8>>) -> *mut u8 {
    object.map_or(ptr::null_mut(), NonNull::as_ptr)
}

macro_rules! locked_peer {
    ($(#[$doc:meta])* $peer:ident, $name:literal, $lock:ident, $alloc:expr, $dealloc:expr) => {
        $(#[$doc])*
        pub(crate) struct $peer;

        impl Peer for $peer {
            const NAME: &'static str = $name;

            #[inline(always)]
            fn alloc(layout: Layout) -> *mut u8 {
                or_null($lock.with(|heap| $alloc(heap, layout)))
            }

            #[inline(always)]
            unsafe fn dealloc(object: *mut u8, layout: Layout) {
                // SAFETY: the objects of the workloads come from `alloc`, which they have seen not to be null.
                let object = unsafe { NonNull::new_unchecked(object) };
                $lock.with(|heap| $dealloc(heap, object, layout));
            }
        }
    };
}

locked_peer!(
    /// Talc: best fit by bins, coalescing.
    TalcPeer,
    "talc",
    TALC,
    // SAFETY: no layout of the workloads has size 0.
    |heap: &mut talc::base::Talc<_, _>, layout| unsafe { heap.allocate(layout) },
    // SAFETY: as promised by the caller of `dealloc`.
    |heap: &mut talc::base::Talc<_, _>, object: NonNull<u8>, layout| unsafe { heap.deallocate(object.as_ptr(), layout) }
);
locked_peer!(
    /// linked_list_allocator: first fit in one list.
    LinkedListPeer,
    "linked_list",
    LINKED_LIST,
    |heap: &mut linked_list_allocator::Heap, layout| heap.allocate_first_fit(layout).ok(),
    // SAFETY: as promised by the caller of `dealloc`.
    |heap: &mut linked_list_allocator::Heap, object, layout| unsafe { heap.deallocate(object, layout) }
);
locked_peer!(
    /// buddy_system_allocator: powers of two.
    BuddyPeer,
    "buddy",
    BUDDY,
    |heap: &mut buddy_system_allocator::Heap<33>, layout| heap.alloc(layout).ok(),
    // SAFETY: as promised by the caller of `dealloc`.
    |heap: &mut buddy_system_allocator::Heap<33>, object, layout| unsafe { heap.dealloc(object, layout) }
);
locked_peer!(
    /// rlsf: two-level segregated fit.
    RlsfPeer,
    "rlsf",
    RLSF,
    |heap: &mut Tlsf, layout| heap.allocate(layout),
    // SAFETY: as promised by the caller of `dealloc`.
    |heap: &mut Tlsf, object, layout: Layout| unsafe { heap.deallocate(object, layout.align()) }
);
