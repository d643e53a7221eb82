//! A contender for which there is never memory: to see that a run says so, and shows no figures of it.
//!
//! Only if it is named (`--contender refusing`).

use core::alloc::Layout;
use core::ptr;

use workloads::Peer;

use super::arena::Block;
use super::contenders::Contestant;
use super::counts::Counts;

/// An allocator that refuses every request.
pub(super) struct Refusing;

impl Peer for Refusing {
    const NAME: &'static str = "refusing";

    fn alloc(_layout: Layout) -> *mut u8 {
        ptr::null_mut()
    }

    unsafe fn dealloc(_object: *mut u8, _layout: Layout) {}
}

impl Contestant for Refusing {
    const IS_LOCKED_PEER: bool = false;
    const ABOUT: &'static str =
        "refuses every request; only if it is named, and then it has remarks instead of figures";
    const BLOCK: Option<Block> = None;

    fn counts() -> Counts {
        Counts::default()
    }
}
