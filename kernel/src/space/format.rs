//! How `mm`'s page-table walker sees x86-64: entries by `arch`, tables through the direct map.

use core::sync::atomic::AtomicU64;

use arch::cpu::NoExecute;
use arch::paging::{self, Access, MemoryType};
use mm::error::Result;
use mm::frame::{Frame, PAGE_SIZE};
use mm::frame_table::Kind;
use mm::page_table::{Attributes, Cache, Entry, Format, Level, Tables};

use crate::machine::{HEAP, SHOOTDOWNS};

/// The entry format. Holding one means that CPUID has the no-execute bit.
#[derive(Clone, Copy, Debug)]
pub(super) struct X86Format {
    _no_execute: NoExecute,
}

/// Physical address bits of an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// A bit of an entry that is not present, so free for us: "this was a leaf".
const QUARANTINED: u64 = 1 << 9;

/// Another: "this named a table".
const QUARANTINED_TABLE: u64 = 1 << 10;

/// A bit that the hardware ignores in every entry: this leaf is claimed.
const CLAIMED: u64 = 1 << 11;

impl X86Format {
    pub(super) fn new(no_execute: NoExecute) -> Self {
        Self { _no_execute: no_execute }
    }
}

fn level_of(level: Level) -> paging::Level {
    match level {
        Level::L1 => paging::Level::One,
        Level::L2 => paging::Level::Two,
        Level::L3 => paging::Level::Three,
        Level::L4 => paging::Level::Four,
    }
}

fn access_of(attributes: Attributes) -> Access {
    match (attributes.writable, attributes.executable) {
        (true, false) => Access::ReadWrite,
        (false, true) => Access::ReadExecute,
        (false, false) => Access::ReadOnly,
        (true, true) => panic!("the walker refuses mappings that are writable and executable"),
    }
}

fn memory_of(cache: Cache) -> MemoryType {
    match cache {
        Cache::WriteBack => MemoryType::WriteBack,
        Cache::Uncached => MemoryType::Uncached,
        Cache::WriteCombining => MemoryType::WriteCombining,
    }
}

impl Format for X86Format {
    fn table(&self, phys: u64) -> u64 {
        paging::Entry::table(phys).to_raw()
    }

    fn leaf(&self, level: Level, phys: u64, attributes: Attributes) -> u64 {
        match paging::Entry::leaf(level_of(level), phys, access_of(attributes), memory_of(attributes.cache)) {
            Ok(entry) => entry.to_raw(),
            Err(error) => panic!("the walker asked for an impossible leaf: {error:?}"),
        }
    }

    fn quarantined(&self, _level: Level, phys: u64) -> u64 {
        // The complement: no plain address in an entry that is not present (L1 terminal fault).
        !phys & ADDRESS | QUARANTINED
    }

    fn quarantined_table(&self, _level: Level, table: u64) -> u64 {
        !table & ADDRESS | QUARANTINED_TABLE
    }

    fn decode(&self, level: Level, value: u64) -> Entry {
        let entry = paging::Entry::from_raw(value);
        if !entry.is_present() {
            let address = !value & ADDRESS;
            return match value & (QUARANTINED | QUARANTINED_TABLE) {
                0 => Entry::Empty,
                QUARANTINED_TABLE => Entry::QuarantinedTable(address),
                _ => Entry::Quarantined { phys: address },
            };
        }
        if !entry.is_leaf(level_of(level)) {
            return Entry::Table(entry.table_address());
        }
        let cache = match entry.pat_index(level_of(level)) {
            // Slots of the PAT as `arch::control` sets it up.
            0 => Cache::WriteBack,
            5 => Cache::WriteCombining,
            _ => Cache::Uncached,
        };
        let attributes = Attributes { writable: entry.is_writable(), executable: entry.is_executable(), cache };
        Entry::Leaf { phys: entry.leaf_address(level_of(level)), attributes }
    }

    fn with_attributes(&self, level: Level, value: u64, attributes: Attributes) -> u64 {
        let Entry::Leaf { phys, .. } = self.decode(level, value) else {
            panic!("{value:#x} is no leaf of {level:?}");
        };
        // A leaf is made accessed and dirty, so there is nothing of the hardware's to keep.
        self.with_claim(self.leaf(level, phys, attributes), value & CLAIMED != 0)
    }

    fn with_claim(&self, value: u64, is_claimed: bool) -> u64 {
        if is_claimed { value | CLAIMED } else { value & !CLAIMED }
    }
}

/// Page tables are frames, and reached through the direct map.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectMapTables;

impl Tables for DirectMapTables {
    #[inline(always)]
    unsafe fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        // SAFETY: the address of a frame of the heap's by the caller's promise.
        let entries = unsafe { HEAP.frames().virt_at(table) }.cast::<AtomicU64>();
        // SAFETY: the frame is a page table, never freed once linked; the index is inside it, by the caller's promise.
        unsafe { entries.add(index).as_ref() }
    }

    fn alloc_table(&self) -> Result<u64> {
        let frame = HEAP.alloc_frame(Kind::PageTable)?;
        // SAFETY: the frame is ours, and the direct map covers it.
        unsafe { HEAP.frames().virt(frame).write_bytes(0, PAGE_SIZE) };
        Ok(frame.addr())
    }

    fn free_table(&self, table: u64) {
        let frame = Frame::containing(table).expect("tables come from `alloc_table`");
        // SAFETY: the table was never linked, so only its allocator knew of it.
        if let Err(error) = unsafe { HEAP.frames().free(frame, Kind::PageTable) } {
            panic!("a page table that was never linked cannot be freed: {error}");
        }
    }

    fn newest_round(&self) -> u64 {
        SHOOTDOWNS.epoch()
    }
}
