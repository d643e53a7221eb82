//! Rounds by the hardware: every CPU's TLB is flushed by instructions of the initiator, and nobody is interrupted.
//!
//! ```text
//!   (page-table entries are cleared already)
//!   broadcasts += 1
//!   full fence
//!   flush on all CPUs                         (INVLPGB: goes on at once)
//!   ...
//!   wait until all have                       (TLBSYNC)
//! ```
//!
//! Such a round leaves `generation`, `seen` and `pending` alone, and is complete by itself: it reaches idle and offline
//! CPUs as well, so that nobody has to catch up with it later. Rounds of both kinds may run at the same time, and the mode
//! may change at any time: each round does all of its own work.
//!
//! It is counted all the same. Whoever unmaps lazily notes [`Shootdown::epoch`] after clearing the entries, and takes a
//! round that began at that number or later for proof that they are flushed everywhere. Without a count, a round whose
//! flush came before the entries were cleared would look just like one that came after.

use super::{PageRange, Round, Shootdown};
use crate::hardware::{Broadcast, Hardware};
use crate::mutant::{self, Mutant};
use crate::sync::Ordering;

impl<const N: usize> Shootdown<N> {
    /// Begins a round over `ranges`, or over everything.
    pub(super) fn begin_broadcast<H: Hardware>(
        &self,
        hw: &H,
        broadcast: &impl Broadcast,
        ranges: Option<impl Iterator<Item = PageRange>>,
    ) -> Round {
        if !mutant::is(Mutant::BroadcastUncounted) {
            // Release, as for a generation: who reads this number sees what was cleared before it.
            self.broadcasts.fetch_add(1, Ordering::Release);
        }
        // The entries are cleared, and the round counted, before any CPU flushes and walks the tables anew.
        mutant::fence_unless(Mutant::BroadcastWithoutFence);
        match ranges {
            Some(ranges) => ranges.for_each(|range| broadcast.flush(range)),
            None => broadcast.flush_all(),
        }
        hw.without_interrupts(|| {
            let counters = self.counters(hw.this_cpu());
            counters.shootdowns.add(1);
            counters.broadcasts.add(1);
        });
        Round::broadcast()
    }

    /// Waits for the rounds of this CPU that the hardware runs.
    pub(super) fn wait_for_broadcast<H: Hardware>(&self, hw: &H) {
        if let Some(broadcast) = hw.broadcast()
            && !mutant::is(Mutant::BroadcastWithoutSync)
        {
            broadcast.sync();
        }
    }
}
