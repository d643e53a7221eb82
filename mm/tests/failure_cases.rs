//! The ways in which allocators fail, one test or more for each, by their number in the list of failure cases.
//!
//! Bad frees in one file, memory and magazines at their limits in the second, interrupts in the third, counters in the
//! fourth, overwritten metadata in the fifth. Cases of debug checks (writes out of bounds, after a free), of TLBs and of single-stepped interrupts are not
//! for the host.

mod common;

#[path = "failure_cases/bad_frees.rs"]
mod bad_frees;
#[path = "failure_cases/corruption.rs"]
mod corruption;
#[path = "failure_cases/counters.rs"]
mod counters;
#[path = "failure_cases/debug_checks.rs"]
mod debug_checks;
#[path = "failure_cases/guarded.rs"]
mod guarded;
#[path = "failure_cases/interrupts.rs"]
mod interrupts;
#[path = "failure_cases/limits.rs"]
mod limits;
#[path = "failure_cases/snapshots.rs"]
mod snapshots;

use std::alloc::Layout;
use std::ptr::NonNull;

use common::{Host, TestHeap};
use mm::heap::Heap;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a valid layout")
}

/// Frees an object of 64 bytes, or what is passed for one; what is wrong with it is seen when it leaves the magazines.
fn free64(heap: &Heap<Host>, object: NonNull<u8>) {
    // SAFETY: the tests use no object after its free, or the free is the mistake under test and is caught later.
    unsafe { heap.dealloc(object, layout(64, 8)) }.expect("the magazine takes it");
}

fn alloc64(heap: &Heap<Host>) -> NonNull<u8> {
    heap.alloc(layout(64, 8)).expect("memory")
}

/// No frame is lost or in two places, whatever was freed wrongly.
fn check_frames(test: &TestHeap) {
    test.heap.reclaim();
    let account = test.heap.account();
    assert_eq!((account.difference(), account.disagreement()), (0, None), "{account:?}");
}
