//! The memory map: sorted, aligned, without overlap where it must be, and usable memory that is memory.

use limine::memory_map::{Entry, EntryType};
use limine::response::MemoryMapResponse;

use super::report::Report;
use super::requests::{HHDM, MEMORY_MAP, revision};

pub(super) use limine::memory_map::EntryType as Kind;

/// Shorthand.
pub(super) const BOOTLOADER_RECLAIMABLE: EntryType = EntryType::BOOTLOADER_RECLAIMABLE;

/// The map, and where the direct map starts.
pub(super) struct Memory {
    pub(super) entries: &'static [&'static Entry],
    pub(super) hhdm: u64,
}

impl Memory {
    /// True if all of a physical range has this type.
    pub(super) fn is_all(&self, base: u64, size: u64, kind: EntryType) -> bool {
        let end = base.saturating_add(size);
        let mut at = base;
        for entry in self.entries.iter().filter(|entry| entry.entry_type == kind) {
            if entry.base <= at && at < entry.base + entry.length {
                at = entry.base + entry.length;
            }
        }
        at >= end
    }

    /// True if a pointer into the direct map leads to reclaimable memory.
    pub(super) fn is_response<T: ?Sized>(&self, pointer: *const T) -> bool {
        let address = pointer.cast::<u8>() as u64;
        address >= self.hhdm && self.is_all(address - self.hhdm, 1, BOOTLOADER_RECLAIMABLE)
    }
}

pub(super) fn name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::USABLE => "usable",
        EntryType::RESERVED => "reserved",
        EntryType::ACPI_RECLAIMABLE => "acpi reclaimable",
        EntryType::ACPI_NVS => "acpi nvs",
        EntryType::BAD_MEMORY => "bad",
        EntryType::BOOTLOADER_RECLAIMABLE => "bootloader reclaimable",
        EntryType::EXECUTABLE_AND_MODULES => "executable and modules",
        EntryType::FRAMEBUFFER => "framebuffer",
        _ => "unknown",
    }
}

/// Checks the map. `None` if there is none to check anything else against.
pub(super) fn check(report: &mut Report) -> Option<Memory> {
    let response: Option<&'static MemoryMapResponse> = MEMORY_MAP.get_response();
    report.check(response.is_some(), format_args!("memory map: answered"));
    let hhdm = HHDM.get_response().map(|response| response.offset());
    report.check(hhdm.is_some(), format_args!("direct map: answered"));
    let memory = Memory { entries: response?.entries(), hhdm: hhdm? };
    let hhdm = memory.hhdm;
    report.check(
        hhdm >= 0xffff_8000_0000_0000 && hhdm.is_multiple_of(4096),
        format_args!("direct map: starts at {hhdm:#x}"),
    );
    for entry in memory.entries {
        report.note(format_args!("{:#14x} + {:#14x} {}", entry.base, entry.length, name(entry.entry_type)));
    }
    let pairs = || memory.entries.windows(2);
    report.check(pairs().all(|pair| pair[0].base <= pair[1].base), format_args!("memory map: sorted"));
    report.check(memory.entries.iter().all(|e| e.length > 0), format_args!("memory map: no empty entry"));
    let ours = |entry: &&&Entry| matches!(entry.entry_type, EntryType::USABLE | EntryType::BOOTLOADER_RECLAIMABLE);
    let aligned = memory.entries.iter().filter(ours).all(|e| e.base % 4096 == 0 && e.length % 4096 == 0);
    report.check(aligned, format_args!("memory map: usable and reclaimable entries are whole pages"));
    let overlaps = |a: &Entry, b: &Entry| a.base < b.base + b.length && b.base < a.base + a.length;
    let apart = memory.entries.iter().enumerate().filter(|(_, entry)| ours(entry)).all(|(index, entry)| {
        memory.entries.iter().enumerate().all(|(other, e)| other == index || !overlaps(entry, e))
    });
    report.check(apart, format_args!("memory map: usable and reclaimable entries overlap nothing"));
    let page_0 = memory.entries.iter().any(|e| e.entry_type == EntryType::USABLE && e.base < 4096);
    report.check(revision() > 2 || !page_0, format_args!("memory map: page 0 is not usable"));
    let in_place = memory.is_response(memory.entries.as_ptr()) && memory.entries.iter().all(|&e| memory.is_response(e));
    report.check(in_place, format_args!("memory map: lies in reclaimable memory"));
    let usable = || memory.entries.iter().filter(|entry| entry.entry_type == EntryType::USABLE);
    let total: u64 = usable().map(|entry| entry.length).sum();
    report.check(total > 0, format_args!("memory map: {} KiB usable", total >> 10));
    let is_memory = usable().all(|e| holds(hhdm + e.base) && holds(hhdm + e.base + e.length - 4096));
    report.check(is_memory, format_args!("memory map: first and last usable pages hold what is written"));
    Some(memory)
}

/// Writes every word of a page and reads it back.
fn holds(page: u64) -> bool {
    let words = page as *mut u64;
    let value = |index: u64| (page ^ index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // SAFETY: a usable page, which is this kernel's, mapped writable in the direct map.
    unsafe {
        (0..512).for_each(|index| words.add(index).write_volatile(value(index as u64)));
        (0..512).all(|index| words.add(index).read_volatile() == value(index as u64))
    }
}
