//! The kernel's address space: one set of page tables for all CPUs, and the area in which ranges come and go.
//!
//! ```text
//!   direct map   all of memory, read and write, large pages, where the bootloader put it
//!   dynamic      stacks, device registers, mapped ranges; an unmapped page behind each range
//!   image        text, constants, data of the kernel, each with its own rights
//! ```
//!
//! Invariants: nothing is writable and executable; text is the only thing that is executable. A range belongs to its
//! [`Mapped`], and only its owner changes the leaves. A range that is unmapped gives its frames and its addresses back
//! after every CPU has acknowledged: the token that `mm` returns cannot be spent otherwise.
//!
//! Lock order: the queues of lazy unmapping are taken alone; the arena is above the frame bitmap; neither is held while
//! entries change, nor while other CPUs are waited for.
//! Context: any but an NMI.

mod build;
mod chain;
mod format;
mod frees;
mod guard;
mod large;
mod lazy;
mod pages;
mod pieces;
mod trials;

use core::ptr::NonNull;

use mm::arena::{SharedArena, VirtRange};
use mm::error::{Error, Result};
use mm::frame::{Frame, PAGE_SIZE};
use mm::frame_table::Kind;
use mm::page_table::{Leaf, PageTable, Protected, ShootdownDone, Unmapped};
use smp::PageRange;
use spin::Once;

use crate::machine::{Cpu, HEAP, SHOOTDOWNS};

pub use build::init;
use chain::FrameChain;
use format::{DirectMapTables, X86Format};
use frees::Frees;
pub use guard::{map_page_at, reserve_addresses, unmap_page_at};
pub use large::{
    largest_leaf, leaf_counts, map_large, map_large_filled, map_physical, protect_part, remap_filled, resize,
};
pub use lazy::{MAX_WAITING, Sums, is_purging, lazy_limits, nr_purges, purge, set_lazy_limits, unmap_lazily, waiting};
pub use mm::page_table::{Attributes, Level};
pub use pages::{alloc_pages, free_pages, pages_at, unmap_at};
pub use trials::{ENOUGH_FRAMES, LeftOut, TRIALS, size_left_out};

type Tables = PageTable<X86Format, DirectMapTables>;
type Token = Unmapped<'static, X86Format, DirectMapTables>;

/// Ranges that one round of interrupts can take out together.
pub const MAX_BATCH: usize = 64;

struct Space {
    tables: Tables,
    arena: SharedArena<Cpu>,
}

static SPACE: Once<Space> = Once::new();

fn space() -> &'static Space {
    SPACE.get().expect("the kernel's address space exists")
}

/// A mapped range of the dynamic area.
///
/// Having one tells you that the range is mapped, that nobody else maps or unmaps in it, and that it is yours to unmap.
/// Dropped, it stays mapped for good: see [`Mapped::leak`].
#[must_use = "a range that is dropped stays mapped for good"]
#[derive(Debug)]
pub struct Mapped {
    range: VirtRange,
    /// What its frames are accounted for as; nothing if the memory is not the kernel's to free.
    kind: Option<Kind>,
}

impl Mapped {
    /// Address of its first byte.
    pub fn start(&self) -> usize {
        self.range.start()
    }

    /// Keeps the range for good.
    pub fn leak(self) -> VirtRange {
        self.range
    }
}

/// The proof that a round of shootdowns, begun at epoch `begun`, has flushed `ranges` on every CPU; all there is, if
/// none are named.
struct Done<'a> {
    begun: u64,
    ranges: Option<&'a [Option<VirtRange>]>,
}

// SAFETY: a `Done` is made by `shoot_down` and `lazy::shoot_down_all` only, after a round over these ranges has returned that
// was begun when the epoch was `begun` or later: then every CPU has flushed them, or is idle and flushes before it uses any
// of them. What was cleared when the epoch was `since` was cleared before that round, unless `begun` is less.
unsafe impl ShootdownDone for Done<'_> {
    fn covers(&self, range: VirtRange, since: u64) -> bool {
        // Epochs are compared by distance: they may wrap.
        let is_later = self.begun.wrapping_sub(since) <= u64::MAX / 2;
        is_later && self.ranges.is_none_or(|ranges| ranges.contains(&Some(range)))
    }
}

fn shoot_down(ranges: &[Option<VirtRange>]) -> Done<'_> {
    let begun = SHOOTDOWNS.epoch();
    let pages = ranges.iter().flatten().filter_map(|range| PageRange::new(range.start(), range.nr_pages()));
    SHOOTDOWNS.initiate(&Cpu, pages);
    Done { begun, ranges: Some(ranges) }
}

/// Maps `nr_pages` pages of zeroes at adjacent addresses.
///
/// # Errors
///
/// [`Error::OutOfMemory`] for want of frames or of addresses, [`Error::BadRequest`] for no pages; nothing is mapped then.
pub fn map(nr_pages: usize, attributes: Attributes) -> Result<Mapped> {
    map_filled(nr_pages, attributes, zero)
}

fn zero(_addr: usize, page: NonNull<u8>) {
    // SAFETY: the caller's page is a frame that nobody else uses, seen through the direct map.
    unsafe { page.write_bytes(0, PAGE_SIZE) };
}

/// Maps `nr_pages` pages, each filled by `fill` before anybody can see it. `fill` gets the address that the page will
/// have, and where to write.
///
/// # Errors
///
/// As [`map`].
pub fn map_filled(nr_pages: usize, attributes: Attributes, fill: impl Fn(usize, NonNull<u8>)) -> Result<Mapped> {
    map_as(Kind::Mapped, nr_pages, attributes, fill)
}

/// As [`map_filled`], with frames that are accounted for as `kind`.
fn map_as(kind: Kind, nr_pages: usize, attributes: Attributes, fill: impl Fn(usize, NonNull<u8>)) -> Result<Mapped> {
    let space = space();
    see_that_there_are(nr_pages)?;
    let range = take_addresses(nr_pages, 1)?;
    // The frames first: page tables stay for good, so they are made for a mapping that will be.
    let result = FrameChain::alloc(nr_pages, kind).and_then(|frames| {
        space.tables.reserve_tables(range)?;
        let filled = (0..).zip(frames).map(|(page, frame)| {
            fill(range.start() + page * PAGE_SIZE, HEAP.frames().virt(frame));
            frame
        });
        space.tables.map_frames(range, Exactly { inner: filled, len: nr_pages }, attributes)
    });
    if let Err(error) = result {
        give_back(range);
        return Err(error);
    }
    Ok(Mapped { range, kind: Some(kind) })
}

/// What cannot be had at all must not take everybody's frames on the way to finding out.
fn see_that_there_are(nr_pages: usize) -> Result<()> {
    let is_there = || nr_pages as u64 <= HEAP.frames().nr_free() + HEAP.page_counters().nr_frames;
    if is_there() {
        return Ok(());
    }
    // Whatever it says: another CPU's, which it has waited for, may have freed everything.
    purge();
    if is_there() {
        return Ok(());
    }
    Err(Error::OutOfMemory { bytes: nr_pages.saturating_mul(PAGE_SIZE) })
}

/// An iterator whose length is known from elsewhere.
struct Exactly<I> {
    inner: I,
    len: usize,
}

impl<I: Iterator> Iterator for Exactly<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let item = self.inner.next()?;
        self.len -= 1;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len, Some(self.len))
    }
}

impl<I: Iterator> ExactSizeIterator for Exactly<I> {}

/// Takes addresses from the arena; from those that wait for a purge, if there are no others.
fn take_addresses(nr_pages: usize, align_pages: usize) -> Result<VirtRange> {
    let attempt = || space().arena.alloc_aligned(nr_pages, align_pages);
    match attempt() {
        Err(Error::OutOfMemory { .. }) => {
            // Whatever it says: as above.
            purge();
            attempt()
        }
        result => result,
    }
}

/// Gives addresses back to the arena.
#[inline]
fn give_back(range: VirtRange) {
    if let Err(error) = space().arena.free(range.start(), range.nr_pages()) {
        refused(range, "go back to the arena", error);
    }
}

/// Out of line, and so without a place in memory for what is only told.
#[cold]
#[inline(never)]
fn refused(range: VirtRange, what: &str, error: Error) -> ! {
    panic!("{range:x?} cannot {what}: {error}");
}

/// Unmaps a range, and returns when no CPU can reach its frames any more; they are free then.
///
/// # Safety
///
/// Nobody uses the range any more.
pub unsafe fn unmap(mapped: Mapped) {
    // SAFETY: as promised by the caller.
    unsafe { unmap_batch(core::iter::once(mapped)) };
}

/// Unmaps ranges, up to [`MAX_BATCH`] of them by each round of interrupts.
///
/// # Safety
///
/// Nobody uses the ranges any more.
pub unsafe fn unmap_batch(batch: impl IntoIterator<Item = Mapped>) {
    let mut batch = batch.into_iter().peekable();
    while batch.peek().is_some() {
        let mut tokens = [const { None }; MAX_BATCH];
        let mut ranges = [None; MAX_BATCH];
        for ((token, range), mapped) in tokens.iter_mut().zip(&mut ranges).zip(&mut batch) {
            *range = Some(mapped.range);
            // SAFETY: as promised by the caller, and the range was its owner's to unmap.
            *token = Some((unsafe { take_out(mapped.range) }, mapped.kind));
        }
        let done = shoot_down(&ranges);
        for (token, kind) in tokens.into_iter().flatten() {
            release(token, kind, &done);
        }
    }
}

/// Frees the frames of a range that is out of every TLB, if they are of a `kind` of ours, and its addresses.
#[inline(always)]
fn release(token: Token, kind: Option<Kind>, done: &Done<'_>) {
    let range = token.range();
    free_frames(token, kind, done);
    give_back(range);
}

/// Frees the frames of a range that is out of every TLB.
#[inline(always)]
fn free_frames(token: Token, kind: Option<Kind>, done: &Done<'_>) {
    let mut frees = kind.map(Frees::new);
    token.release(done, |extent| {
        if let Some(frees) = &mut frees {
            frees.add(extent);
        }
    });
}

/// What a mapped frame is accounted for as.
fn kind_of(frame: Frame) -> Kind {
    HEAP.frames().table().get(frame).map_or(Kind::Free, |descriptor| descriptor.kind())
}

/// # Safety
///
/// Nobody uses the range any more, and it is the caller's.
#[inline(always)]
unsafe fn take_out(range: VirtRange) -> Token {
    // SAFETY: as promised by the caller.
    match unsafe { space().tables.unmap(range) } {
        Ok(token) => token,
        Err(error) => refused(range, "be unmapped", error),
    }
}

/// Changes what a range permits, and returns when the change is in force on every CPU.
///
/// # Errors
///
/// [`Error::BadRequest`] for writable and executable.
///
/// # Safety
///
/// Nobody relies on a right that is taken away.
pub unsafe fn protect(mapped: &Mapped, attributes: Attributes) -> Result<()> {
    // SAFETY: as promised by the caller.
    let change = unsafe { space().tables.protect(mapped.range, attributes) }?;
    match change {
        Protected::Unchanged => {}
        // A CPU that remembers less than there is would fault, and the handler of faults does not look twice.
        Protected::Raised => _ = shoot_down(&[Some(mapped.range)]),
        Protected::Lowered(token) => token.spend(&shoot_down(&[Some(mapped.range)])),
    }
    Ok(())
}

/// Maps the registers of a device at physical address `phys`, uncached, for good.
///
/// # Errors
///
/// As [`map`].
pub fn map_device(phys: u64, nr_bytes: usize) -> Result<*mut u8> {
    let offset = phys as usize % PAGE_SIZE;
    let nr_pages = (offset + nr_bytes).div_ceil(PAGE_SIZE);
    let mapped = map_physical(phys - offset as u64, nr_pages, Attributes::DEVICE, largest_leaf())?;
    Ok((mapped.leak().start() + offset) as *mut u8)
}

/// The addresses of the dynamic area; `None` before the kernel has page tables of its own.
pub fn arena() -> Option<&'static SharedArena<Cpu>> {
    SPACE.get().map(|space| &space.arena)
}

/// The leaves that map some page of `range`, in ascending order. A picture of a moving thing.
pub fn leaves(range: VirtRange) -> impl Iterator<Item = Leaf> {
    SPACE.get().into_iter().flat_map(move |space| space.tables.leaves(range))
}

/// The page before a range that is not free, or the one behind it, if it is mapped; there is nobody to whom it could belong.
pub fn mapped_guard(range: VirtRange) -> Option<usize> {
    let end = range.start().checked_add(range.nr_pages() * PAGE_SIZE)?;
    let is_mapped = |&addr: &usize| VirtRange::new(addr, 1).is_some_and(|page| leaves(page).next().is_some());
    let look = || [range.start() - PAGE_SIZE, end].into_iter().find(is_mapped);
    // The range may be gone by now, and the page somebody's.
    look().and_then(|_| arena()?.look_at(range, look)?)
}

/// What the frame at physical address `phys` is accounted for as; `None` if it is no memory.
pub fn kind_at(phys: u64) -> Option<Kind> {
    Some(HEAP.frames().table().get(Frame::containing(phys)?)?.kind())
}

/// Has this CPU's magazines of addresses give back what they hold.
pub fn drain_this_cpu() {
    if let Some(space) = SPACE.get() {
        space.arena.drain_this_cpu();
    }
}

/// Has this CPU's magazines of addresses, and the depots, give back what they hold.
pub fn reclaim_ranges() {
    if let Some(space) = SPACE.get() {
        space.arena.reclaim_here();
    }
}

/// Physical address of the root table.
pub fn root() -> u64 {
    space().tables.root()
}

/// Times the lock of the addresses was taken, and found held.
pub fn lock_counts() -> (u64, u64) {
    SPACE.get().map_or((0, 0), |space| space.arena.lock_counts())
}

/// Page tables there are.
pub fn nr_tables() -> u64 {
    SPACE.get().map_or(0, |space| space.tables.nr_tables() as u64)
}
