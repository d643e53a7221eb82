//! The page tables: what the direct map covers, and what else is mapped.

use super::memory_map::{Kind, Memory, name};
use super::report::Report;
use super::requests::revision;

const FOUR_GIB: u64 = 1 << 32;
/// PAT entries.
const WRITE_BACK: u64 = 0;
const WRITE_COMBINING: u64 = 5;

/// What a virtual address leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mapping {
    pub(super) physical: u64,
    /// Bytes of the page.
    pub(super) size: u64,
    pub(super) write: bool,
    pub(super) execute: bool,
    pub(super) user: bool,
    /// Index into the PAT.
    pub(super) cache: u64,
}

/// Walks the tables at `root`.
pub(super) fn walk(memory: &Memory, root: u64, address: u64) -> Option<Mapping> {
    let (mut table, mut write, mut user, mut execute) = (root & !0xfff, true, true, true);
    for level in (0..4).rev() {
        let index = address >> (12 + 9 * level) & 511;
        // SAFETY: page tables are reclaimable memory, mapped in the direct map; nobody changes them meanwhile.
        let entry = unsafe { ((memory.hhdm + table + index * 8) as *const u64).read_volatile() };
        if entry & 1 == 0 {
            return None;
        }
        write &= entry & 2 != 0;
        user &= entry & 4 != 0;
        execute &= entry >> 63 == 0;
        if level == 0 || entry & 0x80 != 0 {
            let size = 4096 << (9 * level);
            let pat = if level == 0 { entry >> 7 & 1 } else { entry >> 12 & 1 };
            let physical = (entry & 0x000f_ffff_ffff_f000 & !(size - 1)) + address % size;
            return Some(Mapping { physical, size, write, execute, user, cache: entry >> 3 & 3 | pat << 2 });
        }
        table = entry & 0x000f_ffff_ffff_f000;
    }
    None
}

/// Walks a range that must be mapped at `offset` as the protocol says: supervisor, rwx, write-back.
///
/// # Errors
/// The first address that is not, and what is there instead.
fn mapped(memory: &Memory, root: u64, base: u64, end: u64, offset: u64) -> Result<(), (u64, Option<Mapping>)> {
    let mut at = base;
    while at < end {
        let found = walk(memory, root, offset.wrapping_add(at));
        let cache = if is_framebuffer(memory, at) { WRITE_COMBINING } else { WRITE_BACK };
        let is_right = |m: &Mapping| m.physical == at && m.write && m.execute && !m.user && m.cache == cache;
        let Some(mapping) = found.filter(is_right) else { return Err((at, found)) };
        at += mapping.size - at % mapping.size;
    }
    Ok(())
}

fn is_framebuffer(memory: &Memory, at: u64) -> bool {
    let mut framebuffers = memory.entries.iter().filter(|entry| entry.entry_type == Kind::FRAMEBUFFER);
    framebuffers.any(|e| e.base & !0xfff <= at && at < e.base + e.length)
}

fn is_covered(kind: Kind) -> bool {
    match revision() {
        0 => true,
        1 | 2 => !matches!(kind, Kind::RESERVED | Kind::BAD_MEMORY),
        _ => matches!(kind, Kind::USABLE | Kind::BOOTLOADER_RECLAIMABLE | Kind::EXECUTABLE_AND_MODULES),
    }
}

/// Checks the direct map, and the identity mapping of revision 0.
pub(super) fn check(report: &mut Report, memory: &Memory, root: u64) {
    let in_low_4_gib_anyway = revision() <= 2;
    if in_low_4_gib_anyway {
        let gap = mapped(memory, root, 0, FOUR_GIB, memory.hhdm);
        report.check(gap.is_ok(), format_args!("direct map: first 4 GiB, {gap:x?}"));
    }
    for entry in memory.entries {
        if !is_covered(entry.entry_type) {
            continue;
        }
        let (base, end) = (entry.base & !0xfff, (entry.base + entry.length).next_multiple_of(4096));
        let base = if in_low_4_gib_anyway { base.max(FOUR_GIB) } else { base };
        if base < end {
            let gap = mapped(memory, root, base, end, memory.hhdm);
            report.check(
                gap.is_ok(),
                format_args!("direct map: {base:#x} to {end:#x} {}, {gap:x?}", name(entry.entry_type)),
            );
        }
    }
    if revision() == 0 {
        let gap = mapped(memory, root, 4096, FOUR_GIB, 0);
        report.check(gap.is_ok(), format_args!("identity mapping: page 1 to 4 GiB, {gap:x?}"));
        report.check(walk(memory, root, 0).is_none(), format_args!("identity mapping: page 0 is not there"));
    } else {
        let nothing = (0..256).all(|index| walk(memory, root, index << 39).is_none());
        let low = (0..1024).all(|page| walk(memory, root, page << 12).is_none());
        report.check(nothing && low, format_args!("identity mapping: gone"));
    }
    if revision() == 3 {
        let hole = |entry: &&&limine::memory_map::Entry| !is_covered(entry.entry_type);
        let hidden = memory.entries.iter().filter(hole).all(|e| walk(memory, root, memory.hhdm + e.base).is_none());
        report.check(hidden, format_args!("direct map: nothing but memory"));
    }
}
