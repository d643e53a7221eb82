//! Walking down the tree: to every entry of a range, to the entry of one address, to every leaf.

use super::{Attributes, Entry, Format, Level, PageTable, Tables};
use crate::arena::VirtRange;
use crate::error::Result;
use crate::frame::PAGE_SIZE;
use core::num::NonZeroU64;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

/// An entry as a walk met it.
pub(super) struct Slot<'t> {
    pub(super) entry: &'t AtomicU64,
    pub(super) value: u64,
    pub(super) decoded: Entry,
    pub(super) level: Level,
    /// Which pages of the range walked it stands for: all of its own, or fewer at the ends of the range.
    pub(super) pages: Range<u64>,
}

impl Slot<'_> {
    /// Whether all that the entry stands for lies in the range.
    pub(super) fn is_whole(&self) -> bool {
        self.pages.end - self.pages.start == self.level.nr_pages()
    }

    /// First address of the range that it stands for.
    pub(super) fn addr(&self) -> usize {
        self.pages.start as usize * PAGE_SIZE
    }
}

/// Physical address of a table of L1: never 0, which is nobody's table.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafTable(NonZeroU64);

/// Where a visit goes on.
pub(super) enum Step {
    /// Behind this entry.
    Over,
    /// In this table, which the entry names by now.
    Into(u64),
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The physical address.
    pub phys: u64,
    /// Level of the leaf: L1 for a page of 4 KiB, L2 for 2 MiB, L3 for 1 GiB.
    pub level: Level,
    /// What it permits.
    pub attributes: Attributes,
}

/// A leaf of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The pages it maps, all of them.
    pub range: VirtRange,
    /// Physical address of the first.
    pub phys: u64,
    /// Its level.
    pub level: Level,
    /// What it permits.
    pub attributes: Attributes,
}

impl<F: Format, T: Tables> PageTable<F, T> {
    /// Where `addr` leads; `None` if it is not mapped, quarantined, or not canonical.
    pub fn translate(&self, addr: usize) -> Option<Mapping> {
        let page = VirtRange::new(addr & !(PAGE_SIZE - 1), 1)?.page_numbers().start;
        let slot = self.slot_at(page);
        match slot.decoded {
            Entry::Leaf { phys, attributes } => {
                let offset = addr as u64 & (slot.level.nr_bytes() - 1);
                Some(Mapping { phys: phys + offset, level: slot.level, attributes })
            }
            _ => None,
        }
    }

    /// The leaves that map some page of `range`, in ascending order; one that reaches over an end comes whole.
    ///
    /// A picture of a moving thing: leaves of other owners may come and go meanwhile.
    pub fn leaves(&self, range: VirtRange) -> impl Iterator<Item = Leaf> {
        let Range { start: mut page, end } = range.page_numbers();
        core::iter::from_fn(move || {
            while page < end {
                let slot = self.slot_at(page);
                page = slot.pages.end;
                if let Entry::Leaf { phys, attributes } = slot.decoded {
                    let range = VirtRange::new(slot.addr(), slot.level.nr_pages() as usize)?;
                    return Some(Leaf { range, phys, level: slot.level, attributes });
                }
            }
            None
        })
    }

    /// Calls `at` for every entry that stands for pages of `range` and names no table, in ascending order.
    pub(super) fn visit<'t>(&'t self, range: VirtRange, mut at: impl FnMut(Slot<'t>) -> Result<Step>) -> Result<()> {
        self.visit_entries(range, |slot| match slot.decoded {
            Entry::Table(below) => Ok(Step::Into(below)),
            _ => at(slot),
        })
    }

    /// As [`visit`](Self::visit), of entries that name tables as well, which `at` may step into or over.
    pub(super) fn visit_entries<'t>(
        &'t self,
        range: VirtRange,
        mut at: impl FnMut(Slot<'t>) -> Result<Step>,
    ) -> Result<()> {
        self.visit_table(self.root, Level::L4, range.page_numbers(), &mut at)
    }

    /// The part of a visit in one table and those below it: at most four calls deep.
    fn visit_table<'t>(
        &'t self,
        table: u64,
        level: Level,
        range: Range<u64>,
        at: &mut impl FnMut(Slot<'t>) -> Result<Step>,
    ) -> Result<()> {
        let mut start = range.start;
        while start < range.end {
            // Page numbers stay below 2^52 and this is at most 2^27 more.
            let end = ((start / level.nr_pages() + 1) * level.nr_pages()).min(range.end);
            let step = at(self.slot(table, level, start..end))?;
            if let (Step::Into(table), Some(below)) = (step, level.below()) {
                self.visit_table(table, below, start..end, at)?;
            }
            start = end;
        }
        Ok(())
    }

    /// The table of L1 with the entries of all pages of `range`; `None` if they are spread over several, or larger.
    #[inline(always)]
    pub(super) fn leaf_table(&self, range: VirtRange) -> Option<LeafTable> {
        let Range { start, end } = range.page_numbers();
        let is_spread = (start ^ (end - 1)) >= Level::L2.nr_pages();
        if is_spread {
            return None;
        }
        let mut table = self.root;
        for level in [Level::L4, Level::L3, Level::L2] {
            // Acquire: as in `slot`.
            let value = self.entry(table, level.index_of(start)).load(Ordering::Acquire);
            let Entry::Table(below) = self.format.decode(level, value) else { return None };
            table = below;
        }
        NonZeroU64::new(table).map(LeafTable)
    }

    /// The entries in `leaf_table` of the pages of `range`, which all lie in it, with their page numbers.
    pub(super) fn entries(&self, leaf_table: LeafTable, range: VirtRange) -> impl Iterator<Item = (u64, &AtomicU64)> {
        let table = leaf_table.0.get();
        range.page_numbers().map(move |page| (page, self.entry(table, Level::L1.index_of(page))))
    }

    /// The first of [`entries`](Self::entries).
    pub(super) fn first_entry(&self, leaf_table: LeafTable, range: VirtRange) -> &AtomicU64 {
        self.entry(leaf_table.0.get(), Level::L1.index_of(range.page_numbers().start))
    }

    /// The entry that names no table and stands for page number `page`, with all its pages.
    pub(super) fn slot_at(&self, page: u64) -> Slot<'_> {
        let (mut table, mut level) = (self.root, Level::L4);
        loop {
            let first = page & !(level.nr_pages() - 1);
            let slot = self.slot(table, level, first..first + level.nr_pages());
            match (slot.decoded, level.below()) {
                (Entry::Table(next), Some(below)) => (table, level) = (next, below),
                _ => return slot,
            }
        }
    }

    /// Entry `index` of `table`: the root, one that an entry names, or one that is about to be linked or was taken out.
    #[inline(always)]
    pub(super) fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        // SAFETY: every table that this module knows of came from `alloc_table`, and is not given back once linked; an
        // index comes from `index_of`, or counts the entries of a table.
        unsafe { self.tables.entry(table, index) }
    }

    fn slot(&self, table: u64, level: Level, pages: Range<u64>) -> Slot<'_> {
        let entry = self.entry(table, level.index_of(pages.start));
        // Acquire: pairs with the exchange that links a table, whose zeros were written before.
        let value = entry.load(Ordering::Acquire);
        Slot { entry, value, decoded: self.format.decode(level, value), level, pages }
    }
}
