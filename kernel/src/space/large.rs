//! Mappings with large leaves: of memory, and of physical ranges such as a device's. And changing the size of leaves, or
//! the memory below them.
//!
//! A leaf of 2 MiB takes one entry of a TLB where 512 small ones would take as many, and one table less. It needs frames
//! that are adjacent and aligned; where there are none without effort the leaves are smaller, and nobody notices. They are
//! smaller as well where a page table stands from an earlier mapping: tables are taken out by [`resize`] only.
//!
//! Called by: the heap's large mappings, stress. Lock order and context: as [`super`].

use core::ops::Range;
use core::ptr::NonNull;

use mm::arena::VirtRange;
use mm::error::{Error, Result};
use mm::frame::PAGE_SIZE;
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::page_table::{Attributes, Level, Protected};

use super::frees::Frees;
use super::pieces::{Pieces, Place};
use super::{Mapped, give_back, shoot_down, space, take_addresses, zero};
use crate::boot;
use crate::machine::HEAP;

/// The largest leaves that this CPU knows.
pub fn largest_leaf() -> Level {
    let has_1gib = boot::features().is_some_and(|features| features.pages_1gib.is_some());
    if has_1gib { Level::L3 } else { Level::L2 }
}

/// Maps `nr_pages` pages of zeroes at adjacent addresses, by leaves up to `largest` where there are frames for them.
///
/// # Errors
///
/// As [`super::map`].
pub fn map_large(nr_pages: usize, attributes: Attributes, largest: Level) -> Result<Mapped> {
    map_pieces(Kind::Mapped, nr_pages, attributes, largest, zero)
}

/// As [`map_large`], filled as by [`super::map_filled`].
///
/// # Errors
///
/// As [`super::map`].
pub fn map_large_filled(
    nr_pages: usize,
    attributes: Attributes,
    largest: Level,
    fill: impl Fn(usize, NonNull<u8>),
) -> Result<Mapped> {
    map_pieces(Kind::Mapped, nr_pages, attributes, largest, fill)
}

/// As [`map_large_filled`], with frames that are accounted for as `kind`.
pub(super) fn map_pieces(
    kind: Kind,
    nr_pages: usize,
    attributes: Attributes,
    largest: Level,
    fill: impl Fn(usize, NonNull<u8>),
) -> Result<Mapped> {
    super::see_that_there_are(nr_pages)?;
    let largest = largest.min(largest_leaf());
    let range = take_aligned(nr_pages, largest)?;
    let fill_and_map = || {
        let mut pieces = Pieces::alloc(range, kind, largest)?;
        for (part, run) in pieces.places(range) {
            space().tables.reserve(part, run.start().addr(), attributes, largest)?;
        }
        let mut place = Place::at_the_end_of(range);
        while let Some((part, run)) = pieces.pop(&mut place) {
            for (page, frame) in (0..).zip(run.iter()) {
                fill(part.start() + page * PAGE_SIZE, HEAP.frames().virt(frame));
            }
            if let Err(error) = space().tables.map(part, run.start().addr(), attributes, largest) {
                panic!("{part:x?} was reserved, and cannot be mapped: {error}");
            }
        }
        Ok(())
    };
    fill_and_map().inspect_err(|_| give_back(range))?;
    Ok(Mapped { range, kind: Some(kind) })
}

/// Takes addresses that are aligned for leaves up to `largest`, as far as the size is worth it and there are any.
fn take_aligned(nr_pages: usize, largest: Level) -> Result<VirtRange> {
    let levels = [Level::L3, Level::L2].into_iter();
    for level in levels.filter(|level| *level <= largest && nr_pages as u64 >= level.nr_pages()) {
        if let Ok(range) = space().arena.alloc_aligned(nr_pages, level.nr_pages() as usize) {
            return Ok(range);
        }
    }
    take_addresses(nr_pages, 1)
}

/// Maps `nr_pages` pages of physical addresses from `phys` on, which are not the kernel's memory, by leaves up to
/// `largest`.
///
/// # Errors
///
/// [`Error::OutOfMemory`] for want of addresses or page tables; [`Error::BadRequest`] for no pages, and for `phys` if it is
/// not the start of a page, or the range ends beyond what a page table can name.
pub fn map_physical(phys: u64, nr_pages: usize, attributes: Attributes, largest: Level) -> Result<Mapped> {
    let largest = largest.min(largest_leaf());
    // Large leaves need the same alignment of both addresses.
    let worth =
        [Level::L3, Level::L2].into_iter().find(|level| *level <= largest && phys.is_multiple_of(level.nr_bytes()));
    let range = take_aligned(nr_pages, worth.unwrap_or(Level::L1))?;
    space().tables.map(range, phys, attributes, largest).inspect_err(|_| give_back(range))?;
    Ok(Mapped { range, kind: None })
}

/// Makes the leaves of a range as large as `largest` and the memory permit, or as small as `largest`. The memory stays.
/// Returns when every CPU sees the new ones; until then accesses fault.
///
/// # Errors
///
/// With nothing changed: [`Error::BadRequest`] with the first address whose memory is not adjacent to that before it or
/// whose rights differ; [`Error::OutOfMemory`] for want of page tables.
///
/// # Safety
///
/// Nobody uses the range meanwhile, but by accesses that survive a fault.
pub unsafe fn resize(mapped: &Mapped, largest: Level) -> Result<()> {
    // SAFETY: as promised by the caller; the range is its owner's.
    let token = unsafe { space().tables.resize(mapped.range, largest.min(largest_leaf())) }?;
    token.finish(&shoot_down(&[Some(mapped.range)]), |_| ());
    Ok(())
}

/// Has a range lead to other memory, adjacent frames that `fill` fills first. Returns when every CPU sees it, and the old
/// frames are free; until then accesses fault.
///
/// # Errors
///
/// With nothing changed: [`Error::OutOfMemory`] if there are no adjacent frames, or for want of page tables;
/// [`Error::Foreign`] if the memory is not the kernel's.
///
/// # Safety
///
/// Nobody uses the range meanwhile, but by accesses that survive a fault, or relies on what was in it afterwards.
pub unsafe fn remap_filled(
    mapped: &Mapped,
    attributes: Attributes,
    largest: Level,
    fill: impl Fn(usize, NonNull<u8>),
) -> Result<()> {
    let range = mapped.range;
    let kind = mapped.kind.ok_or(Error::Foreign { addr: range.start() })?;
    let largest = largest.min(largest_leaf());
    let align_pages = if range.nr_pages() as u64 >= Level::L2.nr_pages() { Level::L2.nr_pages() as usize } else { 1 };
    let run = HEAP.alloc_run(RunRequest { nr_pages: range.nr_pages(), align_pages, below: None }, kind)?;
    for (page, frame) in (0..).zip(run.iter()) {
        fill(range.start() + page * PAGE_SIZE, HEAP.frames().virt(frame));
    }
    // SAFETY: as promised by the caller; the range is its owner's.
    let token = match unsafe { space().tables.remap(range, run.start().addr(), attributes, largest) } {
        Ok(token) => token,
        Err(error) => {
            // SAFETY: nothing maps the run, which was just allocated.
            if let Err(error) = unsafe { HEAP.frames().free_run(run, kind) } {
                panic!("frames that were just allocated cannot be freed: {error}");
            }
            return Err(error);
        }
    };
    let mut frees = Frees::new(kind);
    token.finish(&shoot_down(&[Some(range)]), |old| frees.add(old));
    Ok(())
}

/// Changes what some pages of a range permit, given by their numbers in it, and returns when the change is in force on
/// every CPU. Large leaves of which they are a part are split.
///
/// # Errors
///
/// [`Error::BadRequest`] for writable and executable, and for pages that are none of the range;
/// [`Error::OutOfMemory`] for want of page tables. Nothing is changed then, but leaves may be smaller.
///
/// # Safety
///
/// Nobody relies on a right that is taken away. If a large leaf is split, nobody uses the range meanwhile, but by accesses
/// that survive a fault.
pub unsafe fn protect_part(mapped: &Mapped, pages: Range<usize>, attributes: Attributes) -> Result<()> {
    let bad = Error::BadRequest { value: pages.end };
    if pages.end > mapped.range.nr_pages() {
        return Err(bad);
    }
    let start = mapped.range.start() + pages.start * PAGE_SIZE;
    let part = VirtRange::new(start, pages.len()).ok_or(bad)?;
    // SAFETY: as promised by the caller; the range is its owner's.
    if let Some(token) = unsafe { space().tables.split(part) }? {
        let ranges = token.ranges();
        token.finish(&shoot_down(&ranges));
    }
    // SAFETY: as promised by the caller.
    match unsafe { space().tables.protect(part, attributes) }? {
        Protected::Unchanged => {}
        Protected::Raised => _ = shoot_down(&[Some(part)]),
        Protected::Lowered(token) => token.spend(&shoot_down(&[Some(part)])),
    }
    Ok(())
}

/// Leaves of a range by size, small ones first: how many of 4 KiB, of 2 MiB, of 1 GiB.
pub fn leaf_counts(mapped: &Mapped) -> [usize; 3] {
    let mut counts = [0; 3];
    for leaf in space().tables.leaves(mapped.range) {
        match leaf.level {
            Level::L1 => counts[0] += 1,
            Level::L2 => counts[1] += 1,
            Level::L3 | Level::L4 => counts[2] += 1,
        }
    }
    counts
}
