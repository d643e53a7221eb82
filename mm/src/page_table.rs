//! Four levels of page tables: map, unmap, protect, translate, and the life of an entry between them.
//!
//! ```text
//!              map                     unmap                       release(proof)
//!   Empty ─────────────► Leaf ───────────────────► Quarantined ───────────────────► Empty
//!     ▲                  │  ▲                      not present, but still names
//!     │                  └──┘ protect              its frames; in some TLBs the
//!     │                                            page may still be mapped
//!     └ the frames are the mapper's                      the frames go to the sink
//! ```
//!
//! To lead elsewhere or by leaves of another size ([`remap`](PageTable::remap), [`split`](PageTable::split)) is to break
//! and to make again: `Leaf → Quarantined → Leaf`, with a shootdown between; the range is never empty meanwhile.
//!
//! Unmapping allocates nothing: until every CPU has dropped the translation, the entry itself remembers the frames, with
//! its present bit clear. The [`Unmapped`] token stands for such a range, and gives the frames up only for the proof of
//! a finished shootdown. A range that is quarantined cannot be mapped.
//!
//! Generic over how an entry looks ([`Format`]) and where tables live ([`Tables`]), so the same walker runs on a direct
//! map and on a machine made of a `Vec`.
//!
//! Concurrency, without a lock:
//! - The owner of a virtual range (who got it from the [arena](crate::arena)) is the only one to map, unmap or protect
//!   in it. Two owners never share a leaf entry; if they do all the same, the compare-exchange notices and panics.
//! - They do share tables. A missing one is installed by compare-exchange; who loses the race gives its frame back by
//!   [`Tables::free_table`] and uses the winner's. Nobody waits.
//! - Tables are never freed (so no walk, and no paging-structure cache of a CPU, can meet a stale one). Mapping leaves
//!   them where a large leaf would fit later, and uses smaller ones there. Only the owner of all that a table stands for
//!   can take it out, by a remapping; it is used again, at the same level: see [`spares`].
//! - The hardware sets accessed and dirty bits at any time: leaves change by atomic read-modify-write only.
//!
//! No flush on the way from `Empty` to `Leaf`: TLBs do not keep entries that are not present.
//!
//! Invariants: every table is reachable from the root by one path and counted; no leaf is both writable and executable;
//! large leaves are aligned in both address spaces. Every failed call leaves every leaf as it was (tables it added stay).
//!
//! Called by: the kernel's address-space glue. Lock order: none of its own; interrupts as the caller likes.

mod claim;
mod format;
mod protect;
#[cfg(not(loom))]
mod purge_queue;
mod remap;
mod spares;
mod split;
#[cfg(test)]
mod tests;
mod unmap;
mod walk;

use crate::arena::VirtRange;
use crate::error::{Error, Result};
use crate::frame::Frame;
#[cfg(test)]
use crate::frame::PAGE_SIZE;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use remap::Target;
use walk::{Slot, Step};

pub use claim::Claim;
pub use format::{Attributes, Cache, Entry, Format, Level, Tables};
pub use protect::{Downgraded, Protected};
#[cfg(not(loom))]
pub use purge_queue::{DEFAULT_MAX_PAGES, MAX_WAITING, NR_QUEUES, PurgeQueue, Purged, Purging, Put, Waits};
pub use remap::Remapping;
pub use split::Splitting;
pub use unmap::{Extent, ShootdownDone, Unmapped};
pub use walk::{Leaf, Mapping};

/// One past the highest physical address that an entry can hold.
const PHYS_END: u64 = 1 << 52;

/// A tree of page tables, alive for good: dropping the value frees nothing.
#[derive(Debug)]
pub struct PageTable<F, T> {
    format: F,
    tables: T,
    root: u64,
    nr_tables: AtomicUsize,
    /// Tables of L1, and of L2, that were linked once and hang in no tree now: see [`spares`].
    spares: [AtomicU64; 2],
}

impl<F: Format, T: Tables> PageTable<F, T> {
    /// A tree of one table, the root, that maps nothing.
    ///
    /// # Errors
    /// What [`Tables::alloc_table`] says.
    pub fn new(format: F, tables: T) -> Result<Self> {
        let root = tables.alloc_table()?;
        let spares = [const { AtomicU64::new(0) }; 2];
        Ok(Self { format, tables, root, nr_tables: AtomicUsize::new(1), spares })
    }

    /// Physical address of the root table: what a CPU is given to use this tree.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Frames that are tables of this tree, the root included, and those that it keeps for later or is about to link.
    pub fn nr_tables(&self) -> usize {
        self.nr_tables.load(Ordering::Relaxed)
    }

    /// Maps `range` to the physical memory from `phys` on, with the largest pages up to `largest` that alignment permits
    /// where no table stands yet.
    ///
    /// Mapping alone does no harm: a range that is mapped or quarantined is refused, and using the new addresses takes
    /// unsafe code with its own obligations.
    ///
    /// # Errors
    /// With no leaf changed: `BadRequest` for memory that is not page-aligned or ends past 2^52 (with `phys`), for
    /// writable and executable attributes (with the address), for leaves of the root (with the level); `AlreadyMapped`
    /// with the first address that is mapped or quarantined; what [`Tables::alloc_table`] says.
    ///
    /// # Panics
    /// If somebody else maps in the range at the same time.
    pub fn map(&self, range: VirtRange, phys: u64, attributes: Attributes, largest: Level) -> Result<()> {
        let target = Target::new(range, phys, attributes, largest)?;
        self.prepare(range, |slot| target.fits(slot))?;
        self.install(range, |slot| target.fits(slot).then(|| target.leaf(&self.format, slot.level, slot.pages.start)));
        Ok(())
    }

    /// Adds all tables that [`map`](Self::map) with the same arguments needs, so that it cannot run out of memory any more.
    ///
    /// # Errors
    /// As `map`.
    pub fn reserve(&self, range: VirtRange, phys: u64, attributes: Attributes, largest: Level) -> Result<()> {
        let target = Target::new(range, phys, attributes, largest)?;
        self.prepare(range, |slot| target.fits(slot))
    }

    /// Maps the pages of `range` to `frames`, one after the other, wherever those are.
    ///
    /// # Errors
    /// As [`map`](Self::map), and `BadRequest` with the number of frames if that is not the number of pages.
    ///
    /// # Panics
    /// If somebody else maps in the range at the same time, or if `frames` yields fewer than its length said.
    pub fn map_frames(
        &self,
        range: VirtRange,
        frames: impl ExactSizeIterator<Item = Frame>,
        attributes: Attributes,
    ) -> Result<()> {
        if frames.len() != range.nr_pages() {
            return Err(Error::BadRequest { value: frames.len() });
        }
        refuse_writable_code(range, attributes)?;
        self.reserve_tables(range)?;
        let mut frames = frames;
        self.install(range, |slot| {
            let frame = frames.next().filter(|_| slot.level == Level::L1)?;
            Some(self.format.leaf(slot.level, frame.addr(), attributes))
        });
        Ok(())
    }

    /// Adds all tables that small pages in `range` need, so that [`map_frames`](Self::map_frames) there cannot run out
    /// of memory any more.
    ///
    /// # Errors
    /// `AlreadyMapped` with the first address that is mapped or quarantined; what [`Tables::alloc_table`] says.
    pub fn reserve_tables(&self, range: VirtRange) -> Result<()> {
        self.prepare(range, |slot| slot.level == Level::L1)
    }

    /// First pass of a mapping, the one that can fail: sees that nothing is in the way, and adds the tables above every
    /// place where a leaf `fits`.
    ///
    /// Two passes instead of one with a way back: a leaf that was there for a moment may be in a TLB already.
    fn prepare(&self, range: VirtRange, fits: impl Fn(&Slot<'_>) -> bool) -> Result<()> {
        self.visit(range, |slot| match slot.decoded {
            Entry::Empty if fits(&slot) => Ok(Step::Over),
            Entry::Empty => self.add_table(&slot).map(Step::Into),
            _ => Err(Error::AlreadyMapped { addr: slot.addr() }),
        })
    }

    /// Second pass: puts leaves where the first said there is room.
    fn install(&self, range: VirtRange, mut leaf_for: impl FnMut(&Slot<'_>) -> Option<u64>) {
        let done = self.visit(range, |slot| {
            let leaf = if slot.decoded == Entry::Empty { leaf_for(&slot) } else { None };
            let is_ours = leaf.is_some_and(|leaf| {
                // Release: what was written to the memory before it was mapped is there for who finds the leaf.
                slot.entry.compare_exchange(slot.value, leaf, Ordering::Release, Ordering::Relaxed).is_ok()
            });
            assert!(is_ours, "{:#x} changed while its owner mapped {range:x?}: {:?}", slot.addr(), slot.decoded);
            Ok(Step::Over)
        });
        assert_eq!(done, Ok(()), "installing leaves in {range:x?}");
    }

    /// Puts a table where `slot` is empty, or finds the one that another CPU has put there meanwhile.
    fn add_table(&self, slot: &Slot<'_>) -> Result<u64> {
        let level = slot.level.below().expect("a small page fits always");
        let (table, was_linked) = self.take_table(level)?;
        let entry = self.format.table(table);
        // Release: a walk that finds the entry finds the table zeroed. Acquire: the same, for the winner's table.
        match slot.entry.compare_exchange(slot.value, entry, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(table),
            Err(now) => {
                self.return_table(level, table, was_linked);
                match self.format.decode(slot.level, now) {
                    Entry::Table(winner) => Ok(winner),
                    _ => Err(Error::AlreadyMapped { addr: slot.addr() }),
                }
            }
        }
    }
}

fn refuse_writable_code(range: VirtRange, attributes: Attributes) -> Result<()> {
    if attributes.writable && attributes.executable {
        return Err(Error::BadRequest { value: range.start() });
    }
    Ok(())
}
