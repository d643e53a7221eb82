//! Changing where a mapped range leads, or the size of its leaves: break before make, by a token.
//!
//! ```text
//!   remap: tables are allocated       finish(proof)
//!   Leaf ───────────► Quarantined ──────────────────► Leaf, or Table of smaller leaves       old extents to the sink
//!   Table of leaves ► QuarantinedTable ─────────────► Leaf                                   and the tables kept
//! ```
//!
//! Never is an old and a new translation of a page to be had at the same time, not even at different sizes: processors may
//! use either, or both mixed, and raise a machine check for it (Intel SDM vol. 3A, "Details of TLB Use" and "Invalidation
//! of TLBs and paging-structure caches"; AMD APM vol. 2, 5.5). So the entries are not present until every CPU has dropped
//! the old ones. Meanwhile an access to the range faults: it is the owner's to keep away from it.
//!
//! The range stays its owner's all the time. Entries in quarantine are not empty, so nobody else can map there.

use super::spares::{Chain, Chains, index};
use super::unmap::{Extent, ShootdownDone};
use super::walk::{Slot, Step};
use super::{Attributes, Entry, Format, Level, PHYS_END, PageTable, Tables, refuse_writable_code};
use crate::arena::VirtRange;
use crate::error::{Error, Result};
use crate::frame::PAGE_SIZE;
use core::ops::Range;
use core::sync::atomic::Ordering;

/// Where a range is to lead: adjacent memory, by leaves as large as may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    first_page: u64,
    phys: u64,
    attributes: Attributes,
    largest: Level,
}

impl Target {
    /// Checks what [`PageTable::map`] and [`PageTable::remap`] are given.
    pub(super) fn new(range: VirtRange, phys: u64, attributes: Attributes, largest: Level) -> Result<Self> {
        let nr_bytes = (range.nr_pages() as u64).saturating_mul(PAGE_SIZE as u64);
        let is_inside = phys.checked_add(nr_bytes).is_some_and(|end| end <= PHYS_END);
        if !phys.is_multiple_of(PAGE_SIZE as u64) || !is_inside {
            return Err(Error::BadRequest { value: phys as usize });
        }
        if largest == Level::L4 {
            return Err(Error::BadRequest { value: largest as usize });
        }
        refuse_writable_code(range, attributes)?;
        Ok(Self { first_page: range.page_numbers().start, phys, attributes, largest })
    }

    fn phys_of(&self, page: u64) -> u64 {
        self.phys + (page - self.first_page) * PAGE_SIZE as u64
    }

    /// Whether a leaf of `level` may map all its pages from `page` on.
    fn fits_at(&self, level: Level, page: u64) -> bool {
        level == Level::L1 || level <= self.largest && self.phys_of(page).is_multiple_of(level.nr_bytes())
    }

    /// Whether one leaf may stand in `slot`.
    pub(super) fn fits(&self, slot: &Slot<'_>) -> bool {
        slot.is_whole() && self.fits_at(slot.level, slot.pages.start)
    }

    /// The leaf of `level` that maps `page` and those behind it.
    pub(super) fn leaf(&self, format: &impl Format, level: Level, page: u64) -> u64 {
        format.leaf(level, self.phys_of(page), self.attributes)
    }
}

/// A range whose leaves are in quarantine, to be followed by others.
///
/// Having a `Remapping` tells you:
/// - no entry maps the range, and nobody else can map in it;
/// - what it led to is not free yet, and some CPU may still use it, until a shootdown that was begun after the change;
/// - what comes after cannot fail: there are tables enough.
///
/// Dropped unspent it leaves the range unusable for ever, so debug builds panic.
#[must_use = "the range is not mapped until the token is spent on a shootdown"]
#[derive(Debug)]
pub struct Remapping<'t, F: Format, T: Tables> {
    table: &'t PageTable<F, T>,
    range: VirtRange,
    since: u64,
    target: Target,
    chains: Chains,
}

impl<F: Format, T: Tables> Remapping<'_, F, T> {
    /// The range: what the shootdown must flush.
    pub fn range(&self) -> VirtRange {
        self.range
    }

    /// The round that was the newest when the entries had been cleared; only a later one will do.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Spends the token: puts the new leaves in place, and hands what the old ones led to to `sink`, leaf by leaf in
    /// ascending order. (If the memory stays and only the size of the leaves changes, it is the same memory: the sink does
    /// nothing then.)
    ///
    /// # Panics
    /// If `proof` does not cover the range.
    pub fn finish(mut self, proof: &impl ShootdownDone, mut sink: impl FnMut(Extent)) {
        let (table, range, since, target) = (self.table, self.range, self.since, self.target);
        let mut chains = core::mem::take(&mut self.chains);
        core::mem::forget(self);
        assert!(proof.covers(range, since), "{range:x?}, broken after round {since}, was not flushed since");
        let done = table.visit_entries(range, |slot| {
            match slot.decoded {
                Entry::Table(below) => return Ok(Step::Into(below)),
                Entry::Quarantined { phys } => {
                    let new = if target.fits(&slot) {
                        target.leaf(&table.format, slot.level, slot.pages.start)
                    } else {
                        table.format.table(table.build(&target, slot.level, slot.pages.start, &mut chains))
                    };
                    // Release: who finds the entry finds the table below it filled, and the memory as it was written.
                    slot.entry.store(new, Ordering::Release);
                    sink(Extent { phys, nr_pages: slot.level.nr_pages() as usize });
                }
                Entry::QuarantinedTable(old) => {
                    let new = target.leaf(&table.format, slot.level, slot.pages.start);
                    slot.entry.store(new, Ordering::Release);
                    table.strip(old, slot.level, &mut sink);
                }
                _ => panic!("{:#x} was to be in quarantine, and is {:?}", slot.addr(), slot.decoded),
            }
            Ok(Step::Over)
        });
        assert_eq!(done, Ok(()), "remapping {range:x?}");
        table.unprepare(chains);
    }
}

impl<F: Format, T: Tables> Drop for Remapping<'_, F, T> {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            panic!("the remapping of {:x?} was never spent on a shootdown", self.range);
        }
    }
}

impl<F: Format, T: Tables> PageTable<F, T> {
    /// Begins to have `range`, which is mapped, lead to the memory from `phys` on, with leaves up to `largest`: takes the
    /// old leaves out, so that a shootdown can follow, and then [`Remapping::finish`].
    ///
    /// Where tables stand and a larger leaf fits, they go.
    ///
    /// # Errors
    /// With no leaf changed: as [`map`](Self::map) for what makes no sense; `NotMapped` with the first address that is
    /// not; `WouldSplit` with the first address that shares a large page with addresses outside the range (see
    /// [`split`](Self::split)); what [`Tables::alloc_table`] says.
    ///
    /// # Safety
    /// The range is the caller's, and nobody uses it until the remapping is finished, or what it led to afterwards.
    pub unsafe fn remap(
        &self,
        range: VirtRange,
        phys: u64,
        attributes: Attributes,
        largest: Level,
    ) -> Result<Remapping<'_, F, T>> {
        let target = Target::new(range, phys, attributes, largest)?;
        let mut nr_tables = [0; 2];
        self.visit_entries(range, |slot| match slot.decoded {
            Entry::Table(_) if target.fits(&slot) => {
                let all = VirtRange::new(slot.addr(), slot.level.nr_pages() as usize);
                all.map_or(Ok(()), |all| self.check_whole_leaves(all)).map(|()| Step::Over)
            }
            Entry::Table(below) => Ok(Step::Into(below)),
            Entry::Leaf { .. } if !slot.is_whole() => Err(Error::WouldSplit { addr: slot.addr() }),
            Entry::Leaf { .. } => {
                add_tables_below(&target, slot.level, &slot.pages, &mut nr_tables);
                Ok(Step::Over)
            }
            _ => Err(Error::NotMapped { addr: slot.addr() }),
        })?;
        let chains = self.prepare_tables(nr_tables)?;
        let done = self.visit_entries(range, |slot| {
            let quarantined = match slot.decoded {
                Entry::Table(below) if !target.fits(&slot) => return Ok(Step::Into(below)),
                Entry::Table(below) => self.format.quarantined_table(slot.level, below),
                Entry::Leaf { phys, .. } => self.format.quarantined(slot.level, phys),
                _ => panic!("{:#x} changed while its owner remapped it: {:?}", slot.addr(), slot.decoded),
            };
            // A swap and SeqCst: as in `unmap`.
            slot.entry.swap(quarantined, Ordering::SeqCst);
            Ok(Step::Over)
        });
        assert_eq!(done, Ok(()), "breaking {range:x?}");
        Ok(Remapping { table: self, range, since: self.tables.newest_round(), target, chains })
    }

    /// As [`remap`](Self::remap) to the memory where `range` leads already, with the rights it has: its leaves become as
    /// large as `largest` and alignment permit, or as small as `largest` says.
    ///
    /// # Errors
    /// As `remap`; `BadRequest` with the first address where the memory is not adjacent to that before it, or where the
    /// rights are others.
    ///
    /// # Safety
    /// The range is the caller's, and nobody uses it until the remapping is finished.
    pub unsafe fn resize(&self, range: VirtRange, largest: Level) -> Result<Remapping<'_, F, T>> {
        self.check_whole_leaves(range)?;
        let mut first = None;
        self.visit(range, |slot| {
            let Entry::Leaf { phys, attributes } = slot.decoded else {
                return Err(Error::NotMapped { addr: slot.addr() });
            };
            let offset = (slot.pages.start - range.page_numbers().start) * PAGE_SIZE as u64;
            let (start, rights) = *first.get_or_insert((phys, attributes));
            let is_alike = phys == start + offset && attributes == rights;
            if is_alike { Ok(Step::Over) } else { Err(Error::BadRequest { value: slot.addr() }) }
        })?;
        match first {
            // SAFETY: as promised by the caller, and the memory stays the same.
            Some((phys, attributes)) => unsafe { self.remap(range, phys, attributes, largest) },
            None => Err(Error::NotMapped { addr: range.start() }),
        }
    }

    /// Takes so many tables of L1 and of L2.
    fn prepare_tables(&self, nr_tables: [u64; 2]) -> Result<Chains> {
        let mut chains = Chains::default();
        for (level, nr_tables) in [Level::L1, Level::L2].into_iter().zip(nr_tables) {
            for _ in 0..nr_tables {
                match self.take_table(level) {
                    Ok((table, was_linked)) => self.chain(&mut chains[index(level)], table, was_linked),
                    Err(error) => {
                        self.unprepare(chains);
                        return Err(error);
                    }
                }
            }
        }
        Ok(chains)
    }

    /// Gives back tables that were not needed.
    fn unprepare(&self, mut chains: Chains) {
        for level in [Level::L1, Level::L2] {
            while let Some((table, was_linked)) = self.unchain(&mut chains[index(level)]) {
                self.return_table(level, table, was_linked);
            }
        }
    }

    /// A table that maps what an entry of `level` that stands for `page` and those behind it is to map.
    fn build(&self, target: &Target, level: Level, page: u64, chains: &mut Chains) -> u64 {
        let below = level.below().expect("a small page fits always");
        let chain: &mut Chain = &mut chains[index(below)];
        let (table, _) = self.unchain(chain).expect("tables enough were counted and taken");
        for i in 0..512 {
            let page = page + i * below.nr_pages();
            let value = if target.fits_at(below, page) {
                target.leaf(&self.format, below, page)
            } else {
                self.format.table(self.build(target, below, page, chains))
            };
            self.entry(table, i as usize).store(value, Ordering::Relaxed);
        }
        table
    }

    /// Empties a table that an entry of `level` named, and those below; hands what its leaves led to to `sink`.
    fn strip(&self, table: u64, level: Level, sink: &mut impl FnMut(Extent)) {
        let below = level.below().expect("an entry of L1 names no table");
        for i in 0..512 {
            let entry = self.entry(table, i);
            match self.format.decode(below, entry.swap(0, Ordering::AcqRel)) {
                Entry::Leaf { phys, .. } => sink(Extent { phys, nr_pages: below.nr_pages() as usize }),
                Entry::Table(next) => self.strip(next, below, sink),
                other => panic!("entry {i} of a table that was taken out is {other:?}"),
            }
        }
        self.keep_table(below, table);
    }
}

/// Adds the tables that come below an entry of `level` for `pages`, if no leaf fits there.
fn add_tables_below(target: &Target, level: Level, pages: &Range<u64>, nr_tables: &mut [u64; 2]) {
    let (mut level, mut nr_entries) = (level, 1);
    while !target.fits_at(level, pages.start)
        && let Some(below) = level.below()
    {
        nr_tables[index(below)] += nr_entries;
        // If one of them fits or not, so do all: they differ by multiples of their size.
        (level, nr_entries) = (below, nr_entries * 512);
    }
}
