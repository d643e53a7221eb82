//! Whether memory is as it was before something ran: the allocator's own counts, compared.
//!
//! Called by: `stress`, `bench` and `replay`, before and after.

use core::fmt;

use kernel::figures::Count;
use mm::frame_table::Kind;

use crate::machine::HEAP;
use crate::shell;

/// Memory before a run.
pub struct Baseline {
    used: [i64; Kind::COUNT],
    nr_live: u64,
    nr_managed: u64,
}

/// Memory that a run did not leave as it found it.
#[derive(Clone, Copy, Debug)]
pub enum Difference {
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
    pub fn take() -> Option<Self> {
        HEAP.reclaim();
        if !shell::mem_adds_up() {
            return None;
        }
        let account = HEAP.account();
        let nr_live = HEAP.caches().map(|(id, _)| HEAP.cache_account(id).nr_live).sum();
        Some(Self { used: account.by_kind, nr_live, nr_managed: account.nr_managed })
    }

    /// What is different now.
    pub fn compare(&self) -> Option<Difference> {
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
