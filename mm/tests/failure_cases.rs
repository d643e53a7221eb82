//! The ways in which allocators fail, one test or more for each, by their number in the list of failure cases.
//!
//! A file for each kind: bad frees, limits of memory and magazines, interrupts, counters, snapshots, overwritten metadata,
//! debug checks, guarded objects. Cases of TLBs are not for the host, and those of single-stepped interrupts are bench's.

mod common;

#[path = "failure_cases/bad_frees.rs"]
mod bad_frees;
#[path = "failure_cases/corruption.rs"]
mod corruption;
#[path = "failure_cases/counters.rs"]
mod counters;
#[path = "failure_cases/crossings.rs"]
mod crossings;
#[path = "failure_cases/debug_checks.rs"]
mod debug_checks;
#[path = "failure_cases/debugged_caches.rs"]
mod debugged_caches;
#[path = "failure_cases/guarded.rs"]
mod guarded;
#[path = "failure_cases/interrupts.rs"]
mod interrupts;
#[path = "failure_cases/limits.rs"]
mod limits;
#[path = "failure_cases/snapshots.rs"]
mod snapshots;
#[path = "failure_cases/traffic.rs"]
mod traffic;

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
