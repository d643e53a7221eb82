//! Ranges that the heap has mapped and unmapped by their address alone: large objects, for which no adjacent frames are
//! left. The arena knows how long each is, and the frame table whose.
//!
//! Two frees of one range: the first claims its first leaf, with no lock and interrupts as they are, and the second is
//! refused. Called by: the heap, through [`Machine`](mm::machine::Machine); the trials.

use core::ptr::NonNull;

use mm::arena::VirtRange;
use mm::error::{Error, Result};
use mm::frame::{Frame, PAGE_SIZE};
use mm::frame_table::Kind;
use mm::page_table::{Attributes, Level};

use super::{SPACE, kind_of, large, largest_leaf, lazy, map_as, take_out, zero};
use crate::per_cpu;

/// Pages for the heap, when no adjacent frames are left for all of it: with large leaves, where some are adjacent.
///
/// # Errors
///
/// As [`map`].
pub fn alloc_pages(nr_pages: usize) -> Result<NonNull<u8>> {
    if SPACE.get().is_none() {
        return Err(Error::OutOfMemory { bytes: nr_pages.saturating_mul(PAGE_SIZE) });
    }
    let range = if nr_pages as u64 >= Level::L2.nr_pages() {
        large::map_pieces(Kind::Large, nr_pages, Attributes::READ_WRITE, largest_leaf(), zero)?.leak()
    } else {
        map_as(Kind::Large, nr_pages, Attributes::READ_WRITE, zero)?.leak()
    };
    Ok(NonNull::new(range.start() as *mut u8).expect("the dynamic area does not begin at address 0"))
}

/// Unmaps what starts at `addr`, given by its address alone: a range of the heap's, and nothing else.
///
/// # Errors
///
/// [`Error::InUse`] with the address, if it lies on the stack of a CPU, this one's or another's, or in the guard page of
/// one; [`Error::Foreign`] if no range of the heap's starts there. Nothing is changed then.
///
/// # Safety
///
/// Nobody uses the range any more.
pub unsafe fn unmap_at(addr: usize) -> Result<()> {
    if per_cpu::all().any(|cpu| cpu.has_on_stack(addr) || cpu.is_guard_page(addr)) {
        return Err(Error::InUse { addr });
    }
    // SAFETY: as promised by the caller.
    unsafe { free_pages(addr) }
}

/// Length of the heap's range that starts at `addr`; `None` for the ranges of others, stacks and devices among them.
pub fn pages_at(addr: usize) -> Option<usize> {
    let nr_pages = SPACE.get()?.arena.size_of(addr)?;
    leads_to_large(addr).then_some(nr_pages)
}

/// Whether a page of the heap's is mapped at `addr`.
fn leads_to_large(addr: usize) -> bool {
    let leaf = SPACE.get().and_then(|space| space.tables.translate(addr));
    leaf.and_then(|leaf| Frame::containing(leaf.phys)).is_some_and(|frame| kind_of(frame) == Kind::Large)
}

/// Unmaps the range that starts at `addr`, from [`alloc_pages`], lazily.
///
/// # Errors
///
/// [`Error::Foreign`] if there is none.
///
/// # Safety
///
/// Nobody uses the range any more.
pub unsafe fn free_pages(addr: usize) -> Result<()> {
    let foreign = Error::Foreign { addr };
    pages_at(addr).ok_or(foreign)?;
    let token = {
        // Of two frees of one range the second finds it claimed, or gone. The other waits for nobody, nor do others.
        let claim = SPACE.get().and_then(|space| space.tables.claim(addr)).ok_or(foreign)?;
        // Asked again: another range may lie there since the first look, and the claim may have been of what lay there
        // before. Of one that is the heap's nobody takes the claim away.
        let range = pages_at(addr).and_then(|nr_pages| VirtRange::new(addr, nr_pages)).ok_or(foreign)?;
        if !claim.is_held() {
            return Err(foreign);
        }
        // Out of sight of `pages_at` from here on: the entries are quarantined, and stay so while the token is not spent.
        // SAFETY: as promised by the caller.
        unsafe { take_out(range) }
    };
    lazy::wait_for_purge(token, Some(Kind::Large));
    Ok(())
}
