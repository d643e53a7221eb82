//! What can be tuned, and the hooks of experiments. Read without order: a change takes effect with the next round.

use super::log::MAX_PAGES;
use crate::sync::Ordering;
use crate::sync::unordered::{AtomicBool, AtomicUsize};

/// How rounds are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The protocol as described: one round for a batch, no interrupt to a CPU that has one coming, none to an idle one.
    Coalescing,
    /// What the protocol is measured against, in the same boot: a round for each range, an interrupt of its own to each
    /// online CPU, idle or not, and a flush of its own for each generation. As correct, and slower.
    Naive,
    /// By the hardware, where [`Hardware::broadcast`](crate::Hardware::broadcast) says that it can; as
    /// [`Coalescing`](Self::Coalescing) elsewhere.
    Broadcast,
}

/// The settings of a [`Shootdown`](super::Shootdown).
#[derive(Debug)]
pub struct Settings {
    full_flush_pages: AtomicUsize,
    /// A [`Mode`].
    mode: AtomicUsize,
    drops_ipis: AtomicBool,
}

impl Settings {
    /// The default of [`full_flush_pages`](Self::full_flush_pages).
    ///
    /// Linux uses 33. Under TCG a CR3 reload costs as much as 8.5 `invlpg`, and refilling the TLB after it far more.
    pub const DEFAULT_FULL_FLUSH_PAGES: usize = 32;

    /// The most that [`full_flush_pages`](Self::full_flush_pages) can be: the log has six bits for it.
    pub const MAX_FULL_FLUSH_PAGES: usize = MAX_PAGES;

    pub(super) const fn new() -> Self {
        Self {
            full_flush_pages: AtomicUsize::new(Self::DEFAULT_FULL_FLUSH_PAGES),
            mode: AtomicUsize::new(Mode::Coalescing as usize),
            drops_ipis: AtomicBool::new(false),
        }
    }

    /// The most pages that are flushed one by one; above that, everything at once.
    pub fn full_flush_pages(&self) -> usize {
        self.full_flush_pages.load(Ordering::Relaxed)
    }

    /// Sets [`full_flush_pages`](Self::full_flush_pages). 0 flushes everything every time;
    /// [`MAX_FULL_FLUSH_PAGES`](Self::MAX_FULL_FLUSH_PAGES) is the most there can be.
    pub fn set_full_flush_pages(&self, nr_pages: usize) {
        self.full_flush_pages.store(nr_pages.min(MAX_PAGES), Ordering::Relaxed);
    }

    /// How rounds are run.
    pub fn mode(&self) -> Mode {
        const NAIVE: usize = Mode::Naive as usize;
        const BROADCAST: usize = Mode::Broadcast as usize;
        match self.mode.load(Ordering::Relaxed) {
            NAIVE => Mode::Naive,
            BROADCAST => Mode::Broadcast,
            _ => Mode::Coalescing,
        }
    }

    /// Sets the [`mode`](Self::mode). Rounds that have begun end as they began.
    pub fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as usize, Ordering::Relaxed);
    }

    /// Whether rounds lose their interrupts; see [`set_drop_ipis`](Self::set_drop_ipis).
    pub fn drops_ipis(&self) -> bool {
        self.drops_ipis.load(Ordering::Relaxed)
    }

    /// Breaks the protocol on purpose, so that the detector of stale translations can be seen to work.
    ///
    /// While set, a round announces its generation, writes the log and flushes this CPU as usual. Then no other CPU is
    /// told, by interrupt or by its `pending` flag, and the wait returns at once: **the caller believes that all have
    /// flushed when only this CPU has**, and reuses the frames. Another CPU keeps its stale translations until it
    /// catches up for a reason of its own: a round that it begins itself, a way out of idle, or, once this is unset, an
    /// interrupt of a later round. So a test that is to catch this has the other CPUs read the page before and right
    /// after the unmap, without idling or unmapping in between. Rounds that have begun end as they began.
    pub fn set_drop_ipis(&self, drop_ipis: bool) {
        self.drops_ipis.store(drop_ipis, Ordering::Relaxed);
    }
}
