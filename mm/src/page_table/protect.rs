//! Changing what a mapping permits, and the token that a change for the worse leaves behind.

use super::unmap::ShootdownDone;
use super::walk::Step;
use super::{Attributes, Entry, Format, PageTable, Tables, refuse_writable_code};
use crate::arena::VirtRange;
use crate::error::Result;
use core::sync::atomic::Ordering;

/// What a change of attributes came to.
#[must_use = "a change for the worse is in force only after a shootdown"]
#[derive(Debug)]
pub enum Protected {
    /// The attributes were these already.
    Unchanged,
    /// Rights were added, none taken. No shootdown is due; a CPU that remembers less may fault once, and finds the new
    /// rights when the access is tried again.
    Raised,
    /// Somewhere a right was taken or the cache mode changed: not in force before a shootdown.
    Lowered(Downgraded),
}

/// A range whose page tables permit less than what may still be in a TLB.
///
/// Having a `Downgraded` tells you that some CPU may still use the old rights until a shootdown that was begun after the
/// change has ended. Dropped unspent it panics in debug builds.
#[must_use = "the old rights may be in use until the token is spent on a shootdown"]
#[derive(Debug)]
pub struct Downgraded {
    range: VirtRange,
    since: u64,
}

impl Downgraded {
    /// The range that was changed: what the shootdown must flush.
    pub fn range(&self) -> VirtRange {
        self.range
    }

    /// The round that was the newest when the entries had been changed; only a later one will do.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Spends the token: from here on the new rights are in force everywhere.
    ///
    /// # Panics
    /// If `proof` does not cover the range.
    pub fn spend(self, proof: &impl ShootdownDone) {
        let (range, since) = (self.range, self.since);
        core::mem::forget(self);
        assert!(proof.covers(range, since), "{range:x?}, changed after round {since}, was not flushed since");
    }
}

impl Drop for Downgraded {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            panic!("the change of {:x?} was never spent on a shootdown", self.range);
        }
    }
}

impl<F: Format, T: Tables> PageTable<F, T> {
    /// Gives every page of `range` these attributes. What the hardware noted in the entries stays.
    ///
    /// # Errors
    /// With nothing changed: `BadRequest` with the address for writable and executable attributes; `NotMapped` with the
    /// first address that is not; `WouldSplit` with the first address that shares a large page with addresses outside.
    ///
    /// # Safety
    /// The range is the caller's, and nobody relies on a right that is taken away.
    pub unsafe fn protect(&self, range: VirtRange, attributes: Attributes) -> Result<Protected> {
        refuse_writable_code(range, attributes)?;
        self.check_whole_leaves(range)?;
        let mut change = Change::None;
        let done = self.visit(range, |slot| {
            let Entry::Leaf { attributes: old, .. } = slot.decoded else {
                panic!("{:#x} changed while its owner changed its rights: {:?}", slot.addr(), slot.decoded);
            };
            if old != attributes {
                change = change.max(if old.is_lowered_by(attributes) { Change::Lowered } else { Change::Raised });
                let mut value = slot.value;
                // Each failed try is a bit that the hardware has set meanwhile, or a spurious failure.
                while let Err(now) = slot.entry.compare_exchange_weak(
                    value,
                    self.format.with_attributes(slot.level, value, attributes),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    value = now;
                }
            }
            Ok(Step::Over)
        });
        assert_eq!(done, Ok(()), "changing the rights of {range:x?}");
        Ok(match change {
            Change::None => Protected::Unchanged,
            Change::Raised => Protected::Raised,
            Change::Lowered => Protected::Lowered(Downgraded { range, since: self.tables.newest_round() }),
        })
    }
}

/// The gravest change seen so far, in ascending order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    None,
    Raised,
    Lowered,
}
