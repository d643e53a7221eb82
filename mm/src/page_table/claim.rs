//! Claims: of several who come to unmap a range that they know by its address alone, one gets it.
//!
//! A claim is a mark in the leaf at that address, in a bit that the hardware ignores. To take it is one compare-exchange,
//! however long the range is and whoever else unmaps; unmapping takes the mark away with the leaf. Nobody but who asks for
//! claims heeds them: an owner, who needs none, maps and unmaps as ever.
//!
//! Called by: the kernel's frees by address. Lock order: none; interrupts as the caller likes.

use super::{Entry, Format, Level, PageTable, Tables};
use crate::arena::VirtRange;
use crate::frame::PAGE_SIZE;
use core::sync::atomic::{AtomicU64, Ordering};

/// A leaf that is claimed.
///
/// Having one tells you that nobody else gets one of the same leaf, while its owner leaves it alone: to unmap it, to split
/// it or to make it part of a larger one takes the claim away, see [`is_held`](Self::is_held). Drop it when the leaf is unmapped, before the token of
/// that is spent; or to let others have it.
#[must_use = "others can claim the leaf as soon as this is dropped"]
#[derive(Debug)]
pub struct Claim<'t, F: Format, T: Tables> {
    table: &'t PageTable<F, T>,
    entry: &'t AtomicU64,
    level: Level,
}

impl<F: Format, T: Tables> PageTable<F, T> {
    /// Claims the leaf that maps `addr`; `None` if there is none, or if somebody else has.
    pub fn claim(&self, addr: usize) -> Option<Claim<'_, F, T>> {
        let page = VirtRange::new(addr & !(PAGE_SIZE - 1), 1)?.page_numbers().start;
        let slot = self.slot_at(page);
        let claim = |value| {
            let claimed = self.format.with_claim(value, true);
            (self.is_leaf(slot.level, value) && claimed != value).then_some(claimed)
        };
        // Relaxed: a claim is about this word and nothing else. A failed try is a bit that the hardware has set, or
        // somebody who was faster.
        slot.entry.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).ok()?;
        Some(Claim { table: self, entry: slot.entry, level: slot.level })
    }

    fn is_leaf(&self, level: Level, value: u64) -> bool {
        matches!(self.format.decode(level, value), Entry::Leaf { .. })
    }
}

impl<F: Format, T: Tables> Claim<'_, F, T> {
    /// Whether the leaf is claimed still, and a leaf.
    pub fn is_held(&self) -> bool {
        let value = self.entry.load(Ordering::Relaxed);
        self.table.is_leaf(self.level, value) && self.table.format.with_claim(value, true) == value
    }
}

impl<F: Format, T: Tables> Drop for Claim<'_, F, T> {
    fn drop(&mut self) {
        let table = self.table;
        let unclaim = |value| table.is_leaf(self.level, value).then(|| table.format.with_claim(value, false));
        // An entry that is no leaf any more has no mark.
        _ = self.entry.fetch_update(Ordering::Relaxed, Ordering::Relaxed, unclaim);
    }
}
