//! Splitting the large leaves at the ends of a range, so that rights can be changed or pages unmapped inside one.
//!
//! ```text
//!   range                    ├──────────────┤
//!   leaves before   │         2 MiB         │  2 MiB  │
//!   leaves after    │4K│4K│..│4K│ ...    │4K│  2 MiB  │
//! ```
//!
//! The memory and the rights stay. Break before make, as in [`super::remap`]; the tables that come are filled before
//! anything is broken, so that the leaves are gone for no longer than the round takes.

use super::unmap::ShootdownDone;
use super::walk::Slot;
use super::{Attributes, Entry, Format, Level, PageTable, Tables};
use crate::arena::VirtRange;
use crate::error::{Error, Result};
use crate::frame::PAGE_SIZE;
use core::ops::Range;
use core::sync::atomic::Ordering;

/// A leaf that is in quarantine, and the table that comes in its place.
#[derive(Clone, Copy, Debug)]
struct Part {
    all: VirtRange,
    new_table: u64,
}

/// One or two large leaves that are in quarantine, to be followed by smaller ones that map the same.
///
/// Having a `Splitting` tells you what a [`Remapping`](super::Remapping) does, of [`ranges`](Self::ranges).
#[must_use = "the leaves are not mapped until the token is spent on a shootdown"]
#[derive(Debug)]
pub struct Splitting<'t, F: Format, T: Tables> {
    table: &'t PageTable<F, T>,
    since: u64,
    parts: [Option<Part>; 2],
}

impl<F: Format, T: Tables> Splitting<'_, F, T> {
    /// What the leaves map, all of it: what the shootdown must flush.
    pub fn ranges(&self) -> [Option<VirtRange>; 2] {
        self.parts.map(|part| part.map(|part| part.all))
    }

    /// The round that was the newest when the entries had been cleared; only a later one will do.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Spends the token: the smaller leaves are in place.
    ///
    /// # Panics
    /// If `proof` does not cover the ranges.
    pub fn finish(self, proof: &impl ShootdownDone) {
        let (table, since, parts) = (self.table, self.since, self.parts);
        core::mem::forget(self);
        for Part { all, new_table } in parts.into_iter().flatten() {
            assert!(proof.covers(all, since), "{all:x?}, broken after round {since}, was not flushed since");
            let slot = table.slot_at(all.page_numbers().start);
            let is_ours = matches!(slot.decoded, Entry::Quarantined { .. });
            assert!(is_ours, "{:#x} was to be in quarantine, and is {:?}", slot.addr(), slot.decoded);
            // Release: who finds the table finds it filled.
            slot.entry.store(table.format.table(new_table), Ordering::Release);
        }
    }
}

impl<F: Format, T: Tables> Drop for Splitting<'_, F, T> {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            panic!("the splitting of {:x?} was never spent on a shootdown", self.ranges());
        }
    }
}

impl<F: Format, T: Tables> PageTable<F, T> {
    /// Begins to split the leaves that reach over the ends of `range`: takes them out, so that a shootdown can follow, and
    /// then [`Splitting::finish`]. `None` if none does: then [`unmap`](Self::unmap) and [`protect`](Self::protect) will
    /// not answer `WouldSplit`. Takes four tables at most.
    ///
    /// # Errors
    /// With no leaf changed: `NotMapped` with the first or last page's address if that is not; what
    /// [`Tables::alloc_table`] says.
    ///
    /// # Safety
    /// The leaves at both ends of the range are the caller's, whole, and nobody uses them until the splitting is finished.
    pub unsafe fn split(&self, range: VirtRange) -> Result<Option<Splitting<'_, F, T>>> {
        let pages = range.page_numbers();
        let mut parts = [None; 2];
        let ends = [pages.start, pages.end - 1];
        for (page, i) in ends.into_iter().zip(0..) {
            let slot = self.slot_at(page);
            let Entry::Leaf { phys, attributes } = slot.decoded else {
                self.unbuild_parts(&parts);
                return Err(Error::NotMapped { addr: page as usize * PAGE_SIZE });
            };
            let is_first = parts.iter().flatten().all(|part: &Part| !part.all.contains(page as usize * PAGE_SIZE));
            if !is_first || !is_cut(&slot.pages, &pages) {
                continue;
            }
            match self.build_split(&slot, phys, attributes, &pages) {
                Ok(part) => parts[i] = part,
                Err(error) => {
                    self.unbuild_parts(&parts);
                    return Err(error);
                }
            }
        }
        if parts.iter().all(Option::is_none) {
            return Ok(None);
        }
        for part in parts.iter().flatten() {
            let slot = self.slot_at(part.all.page_numbers().start);
            let Entry::Leaf { phys, .. } = slot.decoded else {
                panic!("{:#x} changed while its owner split it: {:?}", slot.addr(), slot.decoded);
            };
            // A swap and SeqCst: as in `unmap`.
            slot.entry.swap(self.format.quarantined(slot.level, phys), Ordering::SeqCst);
        }
        Ok(Some(Splitting { table: self, since: self.tables.newest_round(), parts }))
    }

    fn build_split(
        &self,
        slot: &Slot<'_>,
        phys: u64,
        attributes: Attributes,
        pages: &Range<u64>,
    ) -> Result<Option<Part>> {
        let all = VirtRange::new(slot.addr(), slot.level.nr_pages() as usize);
        let (Some(all), Some(below)) = (all, slot.level.below()) else { return Ok(None) };
        let new_table = self.build_around(below, slot.pages.start, phys, attributes, pages)?;
        Ok(Some(Part { all, new_table }))
    }

    /// A table with entries of `level` that maps `phys` and what follows from `page` on, with leaves as large as they can be
    /// without reaching over an end of `pages`.
    fn build_around(
        &self,
        level: Level,
        page: u64,
        phys: u64,
        attributes: Attributes,
        pages: &Range<u64>,
    ) -> Result<u64> {
        let (table, _) = self.take_table(level)?;
        for i in 0..512 {
            let first = page + i * level.nr_pages();
            let phys = phys + i * level.nr_bytes();
            let value = match level.below().filter(|_| is_cut(&(first..first + level.nr_pages()), pages)) {
                None => self.format.leaf(level, phys, attributes),
                Some(below) => match self.build_around(below, first, phys, attributes, pages) {
                    Ok(next) => self.format.table(next),
                    Err(error) => {
                        self.unbuild(level, table);
                        return Err(error);
                    }
                },
            };
            self.entry(table, i as usize).store(value, Ordering::Relaxed);
        }
        Ok(table)
    }

    fn unbuild_parts(&self, parts: &[Option<Part>; 2]) {
        for part in parts.iter().flatten() {
            if let Some(level) = self.slot_at(part.all.page_numbers().start).level.below() {
                self.unbuild(level, part.new_table);
            }
        }
    }

    /// Keeps a table with entries of `level` that was built and not linked, and those below, for later.
    fn unbuild(&self, level: Level, table: u64) {
        for i in 0..512 {
            let value = self.entry(table, i).swap(0, Ordering::Relaxed);
            if let (Entry::Table(next), Some(below)) = (self.format.decode(level, value), level.below()) {
                self.unbuild(below, next);
            }
        }
        self.keep_table(level, table);
    }
}

/// Whether some of `leaf` lies in `range` and some does not.
fn is_cut(leaf: &Range<u64>, range: &Range<u64>) -> bool {
    let meets = leaf.start < range.end && range.start < leaf.end;
    let is_inside = range.start <= leaf.start && leaf.end <= range.end;
    meets && !is_inside
}
