//! What must not happen, and the first time it did.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mm::error::Error;
use smp::CpuId;
use spin::Once;

/// Something that must not happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// A byte of an object is not what was written.
    Contents { addr: usize, expected: u64, found: u64 },
    /// Fresh memory is not zero.
    NotZero { addr: usize, found: u64 },
    /// Memory does not have the alignment or place that was asked for.
    Misplaced { addr: usize },
    /// A CPU read a page through a translation that was removed and acknowledged.
    Stale { cpu: CpuId, addr: usize, found: u64, retired: u64 },
    /// A CPU wrote to a page after the right to was taken away and that was acknowledged.
    Written { cpu: CpuId, addr: usize },
    /// A page that is mapped cannot be read.
    Unreadable { cpu: CpuId, addr: usize },
    /// A call did not run on each CPU once.
    Calls { expected: usize, ran: usize },
    /// The allocator refused what it may not refuse.
    Refused { error: Error },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Contents { addr, expected, found } => {
                write!(f, "memory at {addr:#x} holds {found:#x} and not {expected:#x}")
            }
            Self::NotZero { addr, found } => write!(f, "zeroed memory at {addr:#x} holds {found:#x}"),
            Self::Misplaced { addr } => write!(f, "memory at {addr:#x} is not where it was asked for"),
            Self::Stale { cpu, addr, found, retired } => write!(
                f,
                "stale translation: cpu {cpu} read {found:#x} at {addr:#x} after mapping {retired} was acknowledged gone"
            ),
            Self::Written { cpu, addr } => write!(f, "stale right: cpu {cpu} wrote to {addr:#x}, which is read-only"),
            Self::Unreadable { cpu, addr } => write!(f, "cpu {cpu} cannot read {addr:#x}, which is mapped"),
            Self::Calls { expected, ran } => write!(f, "a call to {expected} CPUs ran {ran} times"),
            Self::Refused { error } => write!(f, "refused: {error}"),
        }
    }
}

/// The failures of a run: how many, and the first.
pub(super) struct Failures {
    is_claimed: AtomicBool,
    first: Once<Failure>,
    count: AtomicU64,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self { is_claimed: AtomicBool::new(false), first: Once::new(), count: AtomicU64::new(0) }
    }

    pub(super) fn add(&self, failure: Failure) {
        // Claimed first: a failure that is found in a cross-call may have interrupted this very function.
        if !self.is_claimed.swap(true, Ordering::AcqRel) {
            self.first.call_once(|| failure);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn first(&self) -> Option<&Failure> {
        self.first.get()
    }
}
