//! How a cache gives back what it does not use: its magazines on this CPU, its depot, its empty slabs.
//!
//! Called by: [`crate::heap`], in a reclaim and when idle memory is reaped.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::{Cache, Reaped};
use crate::machine::Machine;
use crate::magazine_layer::Source;
use crate::supply::Supply;

impl<M: Machine> Cache<M> {
    /// Gives this CPU's magazines and all their rounds back. False if an interrupt landed on a holder.
    pub(crate) fn drain_this_cpu(&self, supply: &Supply<M>) -> bool {
        let Some(held) = M::bank().caches[usize::from(self.id)].try_hold::<M>() else { return false };
        self.drain(supply, &held);
        true
    }

    /// Empties the depot and gives empty slabs back to the frames.
    pub(crate) fn reap(&self, supply: &Supply<M>) {
        self.empty_depot(supply);
        self.slabs.reap(&supply.frames, |object| self.check_if_debugged(object));
    }

    /// Gives back what nobody needed since the last call: magazines of the depot, then empty slabs. What CPUs hold is
    /// theirs, and in use.
    pub(crate) fn reap_idle(&self, supply: &Supply<M>) -> Reaped {
        let mut reaped = Reaped::default();
        let mut idle = self.depot.end_interval();
        while let Some(magazine) = self.depot.take_idle(&mut idle, supply) {
            self.discard(supply, magazine);
            reaped.nr_magazines += 1;
        }
        supply.frames.incidents.report();
        reaped.nr_pages = self.slabs.reap_idle(&supply.frames, |object| self.check_if_debugged(object));
        reaped
    }

    /// Looks at an object of a debugged cache whose slab goes back to the frames.
    fn check_if_debugged(&self, object: NonNull<u8>) {
        if let Some(layout) = &self.plan().debug {
            self.check_object(layout, object);
        }
    }

    /// Lets the magazines shrink if nobody has met at the depot since the last reap or reclaim. Once in each.
    pub(crate) fn shrink_if_idle(&self) {
        self.nr_reaps.fetch_add(1, Ordering::Relaxed);
        self.depot.after_reap();
    }
}
