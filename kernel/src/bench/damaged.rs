//! A contender that is wrong on purpose: it hands out memory that is in use, so that a run with it has to fail.
//!
//! Only if it is named (`--contender damaged`). What it hands out is its own, so that nobody else's memory is harmed.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use mm::size_class::MAX_CLASS_SIZE;
use workloads::Peer;

use super::arena::Block;
use super::contenders::Contestant;
use super::counts::Counts;

/// An allocator that hands out memory that is in use: to see that this is found.
pub(super) struct Damaged;

/// Where its objects begin, a little of it again and again. No multiple of 256 objects of any size, as stamps repeat after
/// so many.
const DAMAGED_BYTES: usize = 449 * 64;

/// All that it hands out, so that nobody else's memory is harmed: an object may lie behind the end of where they begin.
#[repr(align(4096))]
struct Playground(UnsafeCell<[u8; DAMAGED_BYTES + MAX_CLASS_SIZE]>);

// SAFETY: bytes without meaning, of which only pointers are made.
unsafe impl Sync for Playground {}

static PLAYGROUND: Playground = Playground(UnsafeCell::new([0; DAMAGED_BYTES + MAX_CLASS_SIZE]));
static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Peer for Damaged {
    const NAME: &'static str = "damaged";

    fn alloc(layout: Layout) -> *mut u8 {
        if layout.size() > MAX_CLASS_SIZE || layout.align() > 16 {
            return ptr::null_mut();
        }
        let start = NEXT.fetch_add(layout.size().next_multiple_of(16), Ordering::Relaxed) % DAMAGED_BYTES;
        // SAFETY: at most the largest size behind where objects begin: inside the playground.
        unsafe { PLAYGROUND.0.get().cast::<u8>().add(start) }
    }

    unsafe fn dealloc(_object: *mut u8, _layout: Layout) {}
}

impl Contestant for Damaged {
    const IS_LOCKED_PEER: bool = false;
    const ABOUT: &'static str =
        "hands out memory that is in use; only if it is named, and then every run but `pair` has to fail";
    const BLOCK: Option<Block> = None;

    fn counts() -> Counts {
        Counts::default()
    }
}
