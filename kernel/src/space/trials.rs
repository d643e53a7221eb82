//! Trials of the address space on the machine itself: what every CPU sees of mapping, unmapping, rights, large leaves and
//! remapping; and what happens when memory, or addresses, run out in the middle of it.
//!
//! Each trial leaves memory as it was. Called by: the shell's `space test`.

mod frees;
mod gigabyte;
mod guards;
mod shortage;

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use arch::probe;
use kernel::figures::Things;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::page_table::{Attributes, Level};

use super::Mapped;
use crate::machine::{CALLS, Cpu, HEAP, SHOOTDOWNS};
use crate::{per_cpu, space};

/// What a trial found.
#[derive(Clone, Copy, Debug)]
pub enum Wrong {
    /// An operation was refused, or was not.
    Result {
        /// Which.
        what: &'static str,
        /// With what.
        error: Option<Error>,
    },
    /// Some CPUs saw something else than they should.
    Seen {
        /// What they should see.
        what: &'static str,
        /// Where.
        addr: usize,
        /// In a range of so many pages.
        nr_pages: usize,
        /// How many CPUs.
        nr_cpus: u64,
    },
    /// Leaves have other sizes than they should.
    Leaves {
        /// When.
        what: &'static str,
        /// How many of 4 KiB, 2 MiB, 1 GiB.
        counts: [usize; 3],
    },
    /// Ranges lie in magazines that should be empty, or lie in none that should be full.
    Cached {
        /// When.
        what: &'static str,
        /// How many.
        nr_ranges: u64,
    },
}

impl core::fmt::Display for Wrong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Result { what, error: Some(error) } => write!(f, "{what}: {error}"),
            Self::Result { what, error: None } => write!(f, "{what}: not refused"),
            Self::Seen { what, addr, nr_pages, nr_cpus } => {
                let cpus = Things(*nr_cpus, "CPU");
                let range = Things(*nr_pages as u64, "page");
                write!(f, "{what}: not so for {cpus} at {addr:#x}, of a range of {range}")
            }
            Self::Leaves { what, counts: [small, large, huge] } => {
                write!(f, "{what}: {small} leaves of 4 KiB, {large} of 2 MiB, {huge} of 1 GiB")
            }
            Self::Cached { what, nr_ranges } => write!(f, "{what}: {nr_ranges} ranges in magazines"),
        }
    }
}

type Verdict = Result<(), Wrong>;

/// One trial.
pub struct Trial {
    /// What is tried.
    pub name: &'static str,
    /// How many frames it cannot do without. The trials of all sizes leave out those that do not fit, by themselves.
    nr_frames: usize,
    /// What else it needs and there is not.
    lack: fn() -> Option<&'static str>,
    /// Tries it.
    pub run: fn() -> Verdict,
}

/// Why a trial cannot be run here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// There are not enough free frames.
    Memory,
    /// Anything else.
    Lack(&'static str),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "too little memory",
            Self::Lack(what) => what,
        })
    }
}

impl Trial {
    /// Why it is to be left out, if it is. Gives back all that lies idle before it looks for frames, for the trial and for
    /// its page tables.
    pub fn left_out(&self) -> Option<LeftOut> {
        const TABLES: usize = 16;
        HEAP.reclaim();
        if (self.nr_frames + TABLES) as u64 > HEAP.frames().nr_free() {
            return Some(LeftOut::Memory);
        }
        (self.lack)().map(LeftOut::Lack)
    }
}

/// With so many usable frames a machine must have room for every trial and every size: where one is left out for want of
/// memory all the same, that is a failure. 32 MiB; a machine of 64 MiB has more, and the largest size needs 24.
pub const ENOUGH_FRAMES: u64 = (32 << 20) / PAGE_SIZE as u64;

const fn trial(name: &'static str, nr_frames: usize, run: fn() -> Verdict) -> Trial {
    Trial { name, nr_frames, lack: || None, run }
}

/// All of them.
pub static TRIALS: [Trial; 13] = [
    trial("ranges of 0, 1, 31, 32, 33 and 4096 pages are gone everywhere", 1, sizes),
    trial("read-write to read-only is in force everywhere", 1, rights),
    trial("executable to not executable is in force everywhere", 1, execution),
    trial("a range of 2 MiB leaves is gone everywhere", LARGE_AND_SMALL, large_leaves),
    trial("a part of a large leaf loses its rights, the rest keeps them", PAGES_2MIB, parts),
    Trial {
        lack: gigabyte::lack,
        ..trial("a leaf of 1 GiB is seen, split, made whole and gone everywhere", 1, gigabyte::gigabyte)
    },
    trial("leaves change size and memory under the eyes of all CPUs", PAGES_2MIB, remaps),
    trial("stacks and their guard pages cannot be unmapped", 1, stacks),
    trial("of the frees of one range by all CPUs at once all but one are refused", 8, frees::at_once),
    trial("a guard page that is mapped is found, and one of a range that is gone is none", 4, guards::found),
    trial("out of frames: what waits is purged before a request is refused", 60, shortage::out_of_frames),
    trial(
        "a reclaim empties the magazines of addresses, too",
        shortage::RANGES_AND_MAGAZINES,
        shortage::ranges_in_magazines,
    ),
    trial("out of addresses: what waits is purged before a request is refused", 1, shortage::out_of_addresses),
];

fn mapped(what: &'static str, result: Result<Mapped, Error>) -> Result<Mapped, Wrong> {
    result.map_err(|error| Wrong::Result { what, error: Some(error) })
}

fn done(what: &'static str, result: Result<(), Error>) -> Verdict {
    result.map_err(|error| Wrong::Result { what, error: Some(error) })
}

/// Has every CPU, this one included, look at the first word of the first, middle and last page of a range.
fn everywhere(what: &'static str, range: (usize, usize), sees: &(dyn Fn(usize) -> bool + Sync)) -> Verdict {
    let (start, nr_pages) = range;
    for page in [0, nr_pages / 2, nr_pages - 1] {
        let addr = start + page * PAGE_SIZE;
        let nr_wrong = AtomicU64::new(0);
        let look = || _ = nr_wrong.fetch_add(u64::from(!sees(addr)), Ordering::Relaxed);
        let mut others = SHOOTDOWNS.online();
        others.remove(per_cpu::this().cpu);
        look();
        if !others.is_empty() && CALLS.call(&Cpu, &others, &|_| look()).is_err() {
            return Err(Wrong::Result { what: "calling the other CPUs", error: None });
        }
        match nr_wrong.into_inner() {
            0 => {}
            nr_cpus => return Err(Wrong::Seen { what, addr, nr_pages, nr_cpus }),
        }
    }
    Ok(())
}

fn is_gone(addr: usize) -> bool {
    probe::read_u64(addr).is_none()
}

fn holds_its_address(addr: usize) -> bool {
    probe::read_u64(addr) == Some(addr as u64)
}

fn holds_another_number(addr: usize) -> bool {
    probe::read_u64(addr) == Some(!(addr as u64))
}

/// Writes zeroes where there are zeroes.
fn can_be_written(addr: usize) -> bool {
    // SAFETY: the range is the trial's, and its words keep what they hold.
    probe::read_u64(addr).is_some_and(|word| unsafe { probe::write_u64(addr, word) }.is_some())
}

/// Fills a page with its own address.
fn with_address(addr: usize, page: NonNull<u8>) {
    // SAFETY: the page is a frame that nobody else uses, seen through the direct map.
    unsafe { page.cast::<u64>().write_volatile(addr as u64) };
}

/// Fills a page with something else.
fn with_another_number(addr: usize, page: NonNull<u8>) {
    with_address(!addr, page);
}

/// Fills a page with a function that returns.
fn with_a_function(_addr: usize, page: NonNull<u8>) {
    const RET: u8 = 0xc3;
    // SAFETY: the page is a frame that nobody else uses, seen through the direct map.
    unsafe { page.write_volatile(RET) };
}

const RW: Attributes = Attributes::READ_WRITE;
const SIZES: [usize; 5] = [1, 31, 32, 33, 4096];

/// The sizes for which there are frames, and half as many again for page tables and all else.
fn sizes_that_fit() -> impl Iterator<Item = usize> {
    let nr_free = HEAP.frames().nr_free();
    SIZES.into_iter().filter(move |&nr_pages| nr_pages as u64 * 3 / 2 <= nr_free)
}

/// The size that the trials leave out for want of memory, if there is one.
pub fn size_left_out() -> Option<usize> {
    let largest = sizes_that_fit().last();
    SIZES.into_iter().find(|&nr_pages| Some(nr_pages) > largest)
}

fn sizes() -> Verdict {
    match space::map(0, RW) {
        Err(Error::BadRequest { value: 0 }) => {}
        other => return Err(Wrong::Result { what: "a range of no pages", error: other.err() }),
    }
    for nr_pages in sizes_that_fit() {
        for is_lazy in [false, true] {
            let mapped = mapped("mapping", space::map_filled(nr_pages, RW, with_address))?;
            let range = (mapped.start(), nr_pages);
            let seen = everywhere("a fresh page has its contents", range, &holds_its_address);
            // SAFETY: the trial's own; the others look by probes.
            unsafe { if is_lazy { space::unmap_lazily(mapped) } else { space::unmap(mapped) } }
            seen?;
            if is_lazy {
                space::purge();
            }
            everywhere("an unmapped page is gone", range, &is_gone)?;
        }
    }
    Ok(())
}

fn rights() -> Verdict {
    for nr_pages in sizes_that_fit() {
        let mapped = mapped("mapping", space::map(nr_pages, RW))?;
        let range = (mapped.start(), nr_pages);
        let verdict = everywhere("a fresh page can be written", range, &can_be_written)
            // SAFETY: the writes that follow are meant to fail.
            .and_then(|()| done("protecting", unsafe { space::protect(&mapped, Attributes::READ_ONLY) }))
            .and_then(|()| everywhere("a read-only page cannot be written", range, &|addr| !can_be_written(addr)))
            // SAFETY: a right is added.
            .and_then(|()| done("protecting", unsafe { space::protect(&mapped, RW) }))
            .and_then(|()| everywhere("a page can be written again", range, &can_be_written));
        // SAFETY: the trial's own.
        unsafe { space::unmap(mapped) };
        verdict?;
    }
    Ok(())
}

fn execution() -> Verdict {
    for nr_pages in sizes_that_fit() {
        let mapped = mapped("mapping", space::map_filled(nr_pages, Attributes::EXECUTABLE, with_a_function))?;
        let range = (mapped.start(), nr_pages);
        // SAFETY: the page holds a function that returns at once.
        let runs = |addr: usize| unsafe { probe::call(addr) };
        let verdict = everywhere("code can be executed", range, &runs)
            // SAFETY: the calls that follow are meant to fail.
            .and_then(|()| done("protecting", unsafe { space::protect(&mapped, Attributes::READ_ONLY) }))
            .and_then(|()| everywhere("data cannot be executed", range, &|addr| !runs(addr)));
        // SAFETY: the trial's own.
        unsafe { space::unmap(mapped) };
        verdict?;
    }
    Ok(())
}

const PAGES_2MIB: usize = 512;
/// Two leaves of 2 MiB and a few of 4 KiB.
const LARGE_AND_SMALL: usize = 2 * PAGES_2MIB + 5;

fn large_leaves() -> Verdict {
    let zeroed = mapped("mapping", space::map_large(PAGES_2MIB + 1, RW, space::largest_leaf()))?;
    let range = (zeroed.start(), PAGES_2MIB + 1);
    let seen = everywhere("a page of zeroes holds zeroes", range, &|addr| probe::read_u64(addr) == Some(0));
    // SAFETY: the trial's own; the others look by probes.
    unsafe { space::unmap(zeroed) };
    seen?;
    for is_lazy in [false, true] {
        let nr_pages = LARGE_AND_SMALL;
        let mapped = mapped("mapping", space::map_large_filled(nr_pages, RW, Level::L2, with_address))?;
        let counts = space::leaf_counts(&mapped);
        let range = (mapped.start(), nr_pages);
        let seen = everywhere("a fresh page has its contents", range, &holds_its_address);
        // SAFETY: the trial's own; the others look by probes.
        unsafe { if is_lazy { space::unmap_lazily(mapped) } else { space::unmap(mapped) } }
        space::purge();
        seen?;
        everywhere("an unmapped page is gone", range, &is_gone)?;
        // How many are large is a matter of what memory is free and where tables stand; but all pages are there.
        if counts[0] + counts[1] * PAGES_2MIB != nr_pages {
            return Err(Wrong::Leaves { what: "after mapping 4 MiB and 5 pages", counts });
        }
    }
    Ok(())
}

fn parts() -> Verdict {
    let mapped = mapped("mapping", space::map_large_filled(PAGES_2MIB, RW, Level::L2, with_address))?;
    let (start, part) = (mapped.start(), 100..103);
    let inside = (start + part.start * PAGE_SIZE, part.len());
    let before = (start, part.start);
    let behind = (start + part.end * PAGE_SIZE, PAGES_2MIB - part.end);
    let verdict = everywhere("a fresh page can be written", (start, PAGES_2MIB), &can_be_written)
        .and_then(|()| everywhere("a fresh page can be written", inside, &can_be_written))
        .and_then(|()| {
            // SAFETY: the trial's own, and nobody looks just now; the writes that follow are meant to fail.
            let result = unsafe { space::protect_part(&mapped, part.clone(), Attributes::READ_ONLY) };
            done("protecting a part", result)
        })
        .and_then(|()| everywhere("a read-only page cannot be written", inside, &|addr| !can_be_written(addr)))
        .and_then(|()| everywhere("the pages before can be written", before, &can_be_written))
        .and_then(|()| everywhere("the pages behind can be written", behind, &can_be_written))
        .and_then(|()| everywhere("all hold what they did", (start, PAGES_2MIB), &holds_its_address));
    // SAFETY: the trial's own.
    unsafe { space::unmap(mapped) };
    verdict
}

fn remaps() -> Verdict {
    let mapped = mapped("mapping", space::map_large_filled(PAGES_2MIB, RW, Level::L2, with_address))?;
    let range = (mapped.start(), PAGES_2MIB);
    let is_adjacent = space::leaf_counts(&mapped)[1] == 1;
    let mut verdict = everywhere("a fresh page has its contents", range, &holds_its_address);
    for largest in [Level::L1, Level::L2, Level::L1] {
        let expected = if largest == Level::L1 { [PAGES_2MIB, 0, 0] } else { [0, 1, 0] };
        verdict = verdict
            // SAFETY: the trial's own, and nobody looks just now.
            .and_then(|()| match unsafe { space::resize(&mapped, largest) } {
                Err(Error::BadRequest { .. }) if !is_adjacent => Ok(false),
                other => done("resizing", other).map(|()| true),
            })
            .and_then(|is_resized| match space::leaf_counts(&mapped) {
                counts if is_resized && counts != expected => Err(Wrong::Leaves { what: "after resizing", counts }),
                _ => everywhere("a resized page has its contents", range, &holds_its_address),
            });
    }
    verdict = verdict
        // SAFETY: the trial's own, and nobody looks just now.
        .and_then(|()| match unsafe { space::remap_filled(&mapped, RW, Level::L2, with_another_number) } {
            Err(Error::OutOfMemory { .. }) => Ok(()),
            other => done("remapping", other)
                .and_then(|()| everywhere("a remapped page has its contents", range, &holds_another_number)),
        });
    // SAFETY: the trial's own.
    unsafe { space::unmap(mapped) };
    verdict.and_then(|()| everywhere("an unmapped page is gone", range, &is_gone))
}

fn stacks() -> Verdict {
    for area in per_cpu::all() {
        let (bottom, top) = area.stack_bounds();
        for addr in [bottom, top - PAGE_SIZE, bottom - PAGE_SIZE] {
            // SAFETY: it is refused, or the trial has failed, and the machine with it.
            match unsafe { space::unmap_at(addr) } {
                Err(Error::InUse { addr: named }) if named == addr => {}
                other => return Err(Wrong::Result { what: "unmapping a stack", error: other.err() }),
            }
        }
    }
    Ok(())
}
