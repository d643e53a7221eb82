//! Building the kernel's page tables: the direct map, the image, video memory, and room for the dynamic area.

use core::ops::Range;

use arch::cpu::{Features, NoExecute};
use arch::paging;
use mm::arena::{SharedArena, VirtRange};
use mm::error::{Error, Result};
use mm::frame::PAGE_SIZE;
use mm::page_table::{Attributes, Cache, Level, PageTable};

use super::format::{DirectMapTables, X86Format};
use super::{SPACE, Space, Tables};
use crate::bootinfo::{BootInfo, Framebuffer};
use crate::console::{self, log};
use crate::machine::{Cpu, HEAP};
use crate::{debug, image, screen};

const GIB: u64 = 1 << 30;
/// Places for the dynamic area, each the start of a 512 GiB slot of the root; the first that the direct map leaves free.
const PLACES: [usize; 3] = [0xffff_c000_0000_0000, 0xffff_a000_0000_0000, 0xffff_e000_0000_0000];

/// Why the kernel has no address space of its own.
#[derive(Clone, Copy, Debug)]
pub enum SpaceError {
    /// This CPU has no no-execute bit, so data could be run.
    NoExecuteMissing,
    /// Memory ran out, or the bootloader's ranges do not fit together.
    Memory(Error),
}

impl From<Error> for SpaceError {
    fn from(error: Error) -> Self {
        Self::Memory(error)
    }
}

impl core::fmt::Display for SpaceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoExecuteMissing => f.write_str("this CPU has no no-execute bit"),
            Self::Memory(error) => write!(f, "the page tables cannot be built: {error}"),
        }
    }
}

/// Builds the tables and loads them on this CPU. The bootloader's tables are not used from here on.
///
/// # Errors
///
/// See [`SpaceError`].
pub fn init(info: &BootInfo, features: &Features) -> core::result::Result<(), SpaceError> {
    let no_execute: NoExecute = features.no_execute.ok_or(SpaceError::NoExecuteMissing)?;
    let tables = PageTable::new(X86Format::new(no_execute), DirectMapTables)?;
    let largest = if features.pages_1gib.is_some() { Level::L3 } else { Level::L2 };
    let memory_end = map_memory(&tables, info, largest)?;
    map_image(&tables, info)?;
    let screen = screen::framebuffer();
    if let Some(framebuffer) = screen
        && let Err(error) = map_framebuffer(&tables, &framebuffer)
    {
        log!("screen: given up, it cannot be mapped: {error}");
        console::give_up_screen();
    }
    let arena = make_arena(info, memory_end, screen)?;
    let root = tables.root();
    SPACE.call_once(|| Space { tables, arena });
    // SAFETY: the new tables map the running code, its data, and this stack, which lies in memory and is addressed
    // through the direct map, all at the addresses they have.
    unsafe { paging::set_root_table(root) };
    Ok(())
}

/// Maps all memory where the bootloader has it, but for the kernel's image: text must not be writable by another name.
/// Returns the end of memory.
fn map_memory(tables: &Tables, info: &BootInfo, largest: Level) -> Result<u64> {
    let image_start = info.image.0;
    let image_end = image_start + image::all().len() as u64;
    let mut end = 0;
    while let Some((range_start, range_end)) = next_memory(info, end) {
        map_direct(tables, info, (range_start, range_end.min(image_start)), largest)?;
        map_direct(tables, info, (range_start.max(image_end), range_end), largest)?;
        end = range_end;
    }
    Ok(end)
}

fn map_direct(tables: &Tables, info: &BootInfo, (start, end): (u64, u64), largest: Level) -> Result<()> {
    if start >= end {
        return Ok(());
    }
    let virt = info.direct_map + start as usize;
    let range = VirtRange::new(virt, ((end - start) as usize) / PAGE_SIZE).ok_or(Error::BadRequest { value: virt })?;
    tables.map(range, start, Attributes::READ_WRITE, largest)
}

/// The next stretch of memory from `from` on, in whole pages; entries that touch or overlap are one stretch.
pub(super) fn next_memory(info: &BootInfo, from: u64) -> Option<(u64, u64)> {
    const PAGE: u64 = PAGE_SIZE as u64;
    let pages = info
        .memory()
        .filter(|region| region.end > region.start)
        .map(|region| (region.start / PAGE * PAGE, region.end.div_ceil(PAGE) * PAGE));
    let start = pages.clone().filter(|&(_, end)| end > from).map(|(start, _)| start.max(from)).min()?;
    let mut end = start;
    while let Some(further) = pages.clone().filter(|&(s, e)| s <= end && e > end).map(|(_, e)| e).max() {
        end = further;
    }
    Some((start, end))
}

/// Maps video memory where the bootloader has it, so that the console never notices the change of tables. Writes to it
/// are collected on their way.
fn map_framebuffer(tables: &Tables, framebuffer: &Framebuffer) -> Result<()> {
    let pages = pages_of(framebuffer);
    let range = VirtRange::new(pages.start, pages.len() / PAGE_SIZE).ok_or(Error::BadRequest { value: pages.start })?;
    let phys = framebuffer.phys - (framebuffer.virt - pages.start) as u64;
    let attributes = Attributes { cache: Cache::WriteCombining, ..Attributes::READ_WRITE };
    tables.map(range, phys, attributes, Level::L2)
}

/// Addresses of the pages of video memory.
fn pages_of(framebuffer: &Framebuffer) -> Range<usize> {
    let end = framebuffer.virt.saturating_add(framebuffer.mode.len());
    framebuffer.virt / PAGE_SIZE * PAGE_SIZE..end.next_multiple_of(PAGE_SIZE)
}

fn map_image(tables: &Tables, info: &BootInfo) -> Result<()> {
    let (phys, virt) = info.image;
    let parts = [
        (image::requests(), Attributes::READ_WRITE),
        (image::text(), Attributes::EXECUTABLE),
        (image::rodata(), Attributes::READ_ONLY),
        (image::data(), Attributes::READ_WRITE),
    ];
    for (addresses, attributes) in parts {
        let Some(range) = VirtRange::new(addresses.start, addresses.len() / PAGE_SIZE) else { continue };
        tables.map(range, phys + (addresses.start - virt) as u64, attributes, Level::L2)?;
    }
    Ok(())
}

/// Addresses for mapped ranges: four times the memory there is, at least 1 GiB, at most 64.
fn make_arena(info: &BootInfo, memory_end: u64, screen: Option<Framebuffer>) -> Result<SharedArena<Cpu>> {
    let nr_bytes =
        (HEAP.frames().nr_managed() * PAGE_SIZE as u64 * 4).next_multiple_of(GIB).clamp(GIB, 64 * GIB) as usize;
    let direct = info.direct_map..info.direct_map + memory_end as usize;
    let is_apart = |place: usize, other: &Range<usize>| place + nr_bytes <= other.start || place >= other.end;
    let screen = screen.map_or(0..0, |framebuffer| pages_of(&framebuffer));
    let start = PLACES.into_iter().find(|&place| is_apart(place, &direct) && is_apart(place, &screen));
    let range = start.and_then(|start| VirtRange::new(start, nr_bytes / PAGE_SIZE));
    let range = range.ok_or(Error::BadRequest { value: info.direct_map })?;
    // SAFETY: the kernel has one arena.
    unsafe { SharedArena::new(&HEAP, range, debug::arena_options()) }
}
