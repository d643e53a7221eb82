//! What went wrong, and whether memory is as it was.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel::figures::Count;
use mm::error::Error;
use mm::frame_table::Kind;
use smp::CpuId;
use spin::Once;

use crate::machine::HEAP;
use crate::shell;

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
    first: Once<Failure>,
    count: AtomicU64,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self { first: Once::new(), count: AtomicU64::new(0) }
    }

    pub(super) fn add(&self, failure: Failure) {
        self.first.call_once(|| failure);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn first(&self) -> Option<&Failure> {
        self.first.get()
    }
}

/// Memory before a run.
pub(super) struct Baseline {
    used: [i64; Kind::COUNT],
    nr_live: u64,
    nr_managed: u64,
}

/// Memory that a run did not leave as it found it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Difference {
    /// The account does not add up.
    Account,
    /// Objects that nobody freed, or that were freed twice.
    Objects { before: u64, after: u64 },
    /// Frames in use.
    Frames { kind: usize, before: i64, after: i64 },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Account => f.write_str("memory does not add up after the run; `mem` says why"),
            Self::Objects { before, after } => {
                write!(f, "{} objects were live before the run, {} after", Count(before), Count(after))
            }
            Self::Frames { kind, before, after } => {
                write!(f, "{before} frames of kind {kind} before the run, {after} after")
            }
        }
    }
}

impl Baseline {
    /// Counts, after a reclaim; `None` if the counts do not agree.
    pub(super) fn take() -> Option<Self> {
        HEAP.reclaim();
        if !shell::mem_adds_up() {
            return None;
        }
        let account = HEAP.account();
        let nr_live = HEAP.caches().map(|(id, _)| HEAP.cache_account(id).nr_live).sum();
        Some(Self { used: account.by_kind, nr_live, nr_managed: account.nr_managed })
    }

    /// What is different now.
    pub(super) fn compare(&self) -> Option<Difference> {
        /// Kinds that only grow and shrink with what callers hold. Page tables of the dynamic area are kept, and slabs
        /// keep what their live objects share.
        const KINDS: [Kind; 3] = [Kind::Large, Kind::Mapped, Kind::Owned];
        let Some(now) = Self::take() else { return Some(Difference::Account) };
        if now.nr_live != self.nr_live {
            return Some(Difference::Objects { before: self.nr_live, after: now.nr_live });
        }
        if now.nr_managed != self.nr_managed {
            return Some(Difference::Account);
        }
        KINDS
            .into_iter()
            .map(|kind| kind as usize)
            .find(|&kind| now.used[kind] != self.used[kind])
            .map(|kind| Difference::Frames { kind, before: self.used[kind], after: now.used[kind] })
    }
}
