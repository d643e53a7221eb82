//! Unmapping, and the token that keeps the frames of an unmapped range until no TLB knows it any more.

use super::walk::{LeafTable, Step};
use super::{Entry, Format, Level, PageTable, Tables};
use crate::arena::VirtRange;
use crate::error::{Error, Result};
use crate::frame::{Frame, FrameRange, PAGE_SIZE};
use core::sync::atomic::{AtomicU64, Ordering};

/// The proof that a shootdown round has ended.
///
/// # Safety
/// [`covers`](Self::covers) may say true only if every CPU that can use the page tables has, after round `since` was the
/// newest begun, dropped all it remembered of `range` (or stands where it must do so before it can use any of it), and
/// has said so. The walker hands out frames on the strength of that.
pub unsafe trait ShootdownDone {
    /// Whether this round was begun after round `since` and flushed all of `range`.
    fn covers(&self, range: VirtRange, since: u64) -> bool;
}

/// Adjacent physical memory that was mapped by one leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Physical address of the first byte.
    pub phys: u64,
    /// How many pages of 4 KiB.
    pub nr_pages: usize,
}

impl Extent {
    /// Its frames; `None` if some of it lies above what a frame number reaches, as device memory may.
    pub fn frames(self) -> Option<FrameRange> {
        FrameRange::new(Frame::containing(self.phys)?, u32::try_from(self.nr_pages).ok()?)
    }
}

/// A range that is out of the page tables and may still be in a TLB.
///
/// Having an `Unmapped` tells you:
/// - no entry maps the range any more, and none will before the token is spent;
/// - its frames are not free yet, and nobody else will free them;
/// - some CPU may still read and write them through the range until a shootdown that was begun after the unmapping has
///   ended.
///
/// Many tokens may be spent on the proof of one round. One that is dropped unspent keeps its frames for ever: safe, but
/// a leak, so debug builds panic.
#[must_use = "the frames stay out of use until the token is spent on a shootdown"]
#[derive(Debug)]
pub struct Unmapped<'t, F: Format, T: Tables> {
    table: &'t PageTable<F, T>,
    range: VirtRange,
    since: u64,
    /// The table with all of the range's entries, if that is one; tables stay, so that no walk is due to find it again.
    leaf_table: Option<LeafTable>,
}

impl<F: Format, T: Tables> Unmapped<'_, F, T> {
    /// The range that was unmapped: what the shootdown must flush.
    pub fn range(&self) -> VirtRange {
        self.range
    }

    /// The round that was the newest when the entries had been cleared; only a later one will do.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Spends the token: empties the entries and hands their memory to `sink`, leaf by leaf in ascending order.
    ///
    /// # Panics
    /// If `proof` does not cover the range: then its frames could still be written to by their old addresses.
    #[inline(always)]
    pub fn release(self, proof: &impl ShootdownDone, mut sink: impl FnMut(Extent)) {
        let (table, range, since, leaf_table) = (self.table, self.range, self.since, self.leaf_table);
        core::mem::forget(self);
        if !proof.covers(range, since) {
            not_flushed(range, since);
        }
        match leaf_table {
            Some(leaf_table) if range.nr_pages() == 1 => sink(table.empty(table.first_entry(leaf_table, range), range)),
            Some(leaf_table) => Self::release_in(table, leaf_table, range, sink),
            None => Self::release_spread(table, range, sink),
        }
    }

    /// As `release`, of pages whose entries all lie in `leaf_table`.
    #[inline(never)]
    fn release_in(table: &PageTable<F, T>, leaf_table: LeafTable, range: VirtRange, mut sink: impl FnMut(Extent)) {
        for (_, entry) in table.entries(leaf_table, range) {
            sink(table.empty(entry, range));
        }
    }

    /// As `release`, of leaves that are spread over tables, or large.
    #[inline(never)]
    fn release_spread(table: &PageTable<F, T>, range: VirtRange, mut sink: impl FnMut(Extent)) {
        let done = table.visit(range, |slot| {
            let Entry::Quarantined { phys } = slot.decoded else {
                panic!("{:#x} was to be in quarantine, and is {:?}", slot.addr(), slot.decoded);
            };
            slot.entry.store(0, Ordering::Release);
            sink(Extent { phys, nr_pages: slot.level.nr_pages() as usize });
            Ok(Step::Over)
        });
        assert_eq!(done, Ok(()), "releasing {range:x?}");
    }
}

/// Out of the way of those that were, as `not_flushed` is.
#[cold]
#[inline(never)]
fn not_in_quarantine(range: VirtRange, value: u64) -> ! {
    panic!("an entry of {range:x?} was to be in quarantine, and is {value:#x}");
}

/// Out of the way of those that were: so is the place where a message would look for its values.
#[cold]
#[inline(never)]
fn not_flushed(range: VirtRange, since: u64) -> ! {
    panic!("{range:x?}, unmapped after round {since}, was not flushed since");
}

impl<F: Format, T: Tables> Drop for Unmapped<'_, F, T> {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            panic!("the unmapping of {:x?} was never spent on a shootdown", self.range);
        }
    }
}

impl<F: Format, T: Tables> PageTable<F, T> {
    /// Unmaps `range`. Allocates nothing; cannot fail for lack of anything.
    ///
    /// # Errors
    /// With nothing changed: `NotMapped` with the first address that is not; `WouldSplit` with the first address that
    /// shares a large page with addresses outside the range.
    ///
    /// # Safety
    /// The range is the caller's, and nobody uses what it is mapped to by these addresses any more.
    #[inline(always)]
    pub unsafe fn unmap(&self, range: VirtRange) -> Result<Unmapped<'_, F, T>> {
        match self.leaf_table(range) {
            Some(leaf_table) if range.nr_pages() == 1 => self.unmap_page(leaf_table, range),
            Some(leaf_table) => self.unmap_in(leaf_table, range),
            None => self.unmap_spread(range),
        }
    }

    /// As `unmap`, of leaves that are spread over tables, or large.
    #[inline(never)]
    fn unmap_spread(&self, range: VirtRange) -> Result<Unmapped<'_, F, T>> {
        self.check_whole_leaves(range)?;
        let done = self.visit(range, |slot| {
            let Entry::Leaf { phys, .. } = slot.decoded else {
                panic!("{:#x} changed while its owner unmapped it: {:?}", slot.addr(), slot.decoded);
            };
            // A swap, since the hardware may set bits in the leaf up to the moment it is gone. SeqCst: before the read
            // of the newest round below, whatever the machine.
            slot.entry.swap(self.format.quarantined(slot.level, phys), Ordering::SeqCst);
            Ok(Step::Over)
        });
        assert_eq!(done, Ok(()), "unmapping {range:x?}");
        Ok(Unmapped { table: self, range, since: self.tables.newest_round(), leaf_table: None })
    }

    /// As `unmap`, of one page, whose entry lies in `leaf_table`.
    #[inline(always)]
    fn unmap_page(&self, leaf_table: LeafTable, range: VirtRange) -> Result<Unmapped<'_, F, T>> {
        let entry = self.first_entry(leaf_table, range);
        let phys = self.leaf_at(entry).ok_or(Error::NotMapped { addr: range.start() })?;
        self.quarantine(entry, phys);
        Ok(Unmapped { table: self, range, since: self.tables.newest_round(), leaf_table: Some(leaf_table) })
    }

    /// As `unmap`, of pages whose entries all lie in `leaf_table`: one walk in all, where the general way takes three.
    #[inline(never)]
    fn unmap_in(&self, leaf_table: LeafTable, range: VirtRange) -> Result<Unmapped<'_, F, T>> {
        // None may be unmapped if one cannot be.
        for (page, entry) in self.entries(leaf_table, range) {
            self.leaf_at(entry).ok_or(Error::NotMapped { addr: page as usize * PAGE_SIZE })?;
        }
        for (page, entry) in self.entries(leaf_table, range) {
            let Some(phys) = self.leaf_at(entry) else {
                panic!("{:#x} changed while its owner unmapped it", page as usize * PAGE_SIZE);
            };
            self.quarantine(entry, phys);
        }
        Ok(Unmapped { table: self, range, since: self.tables.newest_round(), leaf_table: Some(leaf_table) })
    }

    /// The memory of a small page that is mapped by `entry`.
    #[inline]
    fn leaf_at(&self, entry: &AtomicU64) -> Option<u64> {
        match self.format.decode(Level::L1, entry.load(Ordering::Relaxed)) {
            Entry::Leaf { phys, .. } => Some(phys),
            _ => None,
        }
    }

    /// Takes a small page out. A swap and SeqCst: as in `unmap_spread`.
    #[inline]
    fn quarantine(&self, entry: &AtomicU64, phys: u64) {
        entry.swap(self.format.quarantined(Level::L1, phys), Ordering::SeqCst);
    }

    /// Empties the quarantined `entry` of a small page of `range`; its memory.
    #[inline(always)]
    fn empty(&self, entry: &AtomicU64, range: VirtRange) -> Extent {
        let value = entry.load(Ordering::Relaxed);
        let Entry::Quarantined { phys } = self.format.decode(Level::L1, value) else { not_in_quarantine(range, value) };
        entry.store(0, Ordering::Release);
        Extent { phys, nr_pages: 1 }
    }

    /// Sees that `range` is mapped all through, by leaves that do not reach out of it.
    pub(super) fn check_whole_leaves(&self, range: VirtRange) -> Result<()> {
        self.visit(range, |slot| match slot.decoded {
            Entry::Leaf { .. } if slot.is_whole() => Ok(Step::Over),
            Entry::Leaf { .. } => Err(Error::WouldSplit { addr: slot.addr() }),
            _ => Err(Error::NotMapped { addr: slot.addr() }),
        })
    }
}

const _: () = assert!(PAGE_SIZE == 1 << 12, "levels count in pages of this size");
