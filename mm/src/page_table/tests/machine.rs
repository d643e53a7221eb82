//! A machine for the walker: a `Vec` of tables, an entry format like the hardware's, a clock of shootdown rounds.

use super::super::*;
use core::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::vec::Vec;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const WRITE_THROUGH: u64 = 1 << 3;
const UNCACHED: u64 = 1 << 4;
pub(super) const ACCESSED: u64 = 1 << 5;
pub(super) const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const QUARANTINED: u64 = 1 << 9;
const QUARANTINED_TABLE: u64 = 1 << 10;
const CLAIMED: u64 = 1 << 11;
const NO_EXECUTE: u64 = 1 << 63;
const ADDR: u64 = 0x000f_ffff_ffff_f000;

/// Entries as x86-64 has them, with a software bit for quarantine.
#[derive(Debug)]
pub(super) struct LikeX86;

impl LikeX86 {
    fn flags(level: Level, attributes: Attributes) -> u64 {
        let mut flags = PRESENT;
        flags |= if attributes.writable { WRITABLE } else { 0 };
        flags |= if attributes.executable { 0 } else { NO_EXECUTE };
        flags |= if level == Level::L1 { 0 } else { LARGE };
        flags
            | match attributes.cache {
                Cache::WriteBack => 0,
                Cache::WriteCombining => WRITE_THROUGH,
                Cache::Uncached => UNCACHED | WRITE_THROUGH,
            }
    }
}

impl Format for LikeX86 {
    fn table(&self, phys: u64) -> u64 {
        phys | PRESENT | WRITABLE
    }

    fn leaf(&self, level: Level, phys: u64, attributes: Attributes) -> u64 {
        assert_eq!(phys % level.nr_bytes(), 0, "a leaf of {level:?} at {phys:#x}");
        assert!(level != Level::L4 && phys & !ADDR == 0, "a leaf of {level:?} at {phys:#x}");
        phys | Self::flags(level, attributes)
    }

    fn quarantined(&self, _: Level, phys: u64) -> u64 {
        (!phys & ADDR) | QUARANTINED
    }

    fn quarantined_table(&self, _: Level, table: u64) -> u64 {
        table | QUARANTINED_TABLE
    }

    fn decode(&self, level: Level, value: u64) -> Entry {
        if value == 0 {
            return Entry::Empty;
        }
        if value & PRESENT == 0 && value & QUARANTINED_TABLE != 0 {
            return Entry::QuarantinedTable(value & ADDR);
        }
        if value & PRESENT == 0 {
            assert_eq!(value & QUARANTINED, QUARANTINED, "neither present nor quarantined: {value:#x}");
            return Entry::Quarantined { phys: !value & ADDR };
        }
        if level != Level::L1 && value & LARGE == 0 {
            return Entry::Table(value & ADDR);
        }
        let cache = match value & (UNCACHED | WRITE_THROUGH) {
            0 => Cache::WriteBack,
            WRITE_THROUGH => Cache::WriteCombining,
            _ => Cache::Uncached,
        };
        let attributes = Attributes { writable: value & WRITABLE != 0, executable: value & NO_EXECUTE == 0, cache };
        Entry::Leaf { phys: value & ADDR, attributes }
    }

    fn with_attributes(&self, level: Level, value: u64, attributes: Attributes) -> u64 {
        value & (ADDR | ACCESSED | DIRTY | CLAIMED) | Self::flags(level, attributes)
    }

    fn with_claim(&self, value: u64, is_claimed: bool) -> u64 {
        if is_claimed { value | CLAIMED } else { value & !CLAIMED }
    }
}

type Hook = Box<dyn FnOnce(&Machine) + Send>;
type Watcher = Box<dyn Fn(&Machine) + Send + Sync>;

/// The entries of a table, each seen by itself: Miri follows a reference to all of them through each, and would take minutes
/// for a walk.
struct Table(NonNull<[AtomicU64; NR_ENTRIES]>);

const NR_ENTRIES: usize = 512;

// SAFETY: it owns the entries, which are atomics.
unsafe impl Send for Table {}
// SAFETY: as above, and it gives shared references to them only.
unsafe impl Sync for Table {}

impl Table {
    fn new() -> Self {
        Self(NonNull::from(Box::leak(Box::new([const { AtomicU64::new(0) }; NR_ENTRIES]))))
    }

    fn entry(&self, index: usize) -> &AtomicU64 {
        assert!(index < NR_ENTRIES, "entry {index}");
        // SAFETY: one of the entries, which live as long as the table.
        unsafe { self.0.cast::<AtomicU64>().add(index).as_ref() }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: made in `new` by Box, and no reference outlives the table.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Tables in a `Vec`; table `i` is at physical address `(i + 1) * PAGE_SIZE`.
pub(super) struct Machine {
    tables: Vec<Table>,
    is_out: Vec<AtomicBool>,
    free: Mutex<Vec<u64>>,
    /// Table allocations that still succeed.
    pub(super) budget: AtomicUsize,
    pub(super) nr_returned: AtomicUsize,
    pub(super) round: AtomicU64,
    /// Runs once, in the middle of the next allocation of a table: between the look at an entry and its exchange.
    pub(super) in_next_alloc: Mutex<Option<Hook>>,
    /// Runs before every access to an entry: what the processors do between two steps of the walker.
    pub(super) watcher: OnceLock<Watcher>,
}

impl Machine {
    pub(super) fn new(nr_tables: usize) -> Self {
        Self {
            tables: (0..nr_tables).map(|_| Table::new()).collect(),
            is_out: (0..nr_tables).map(|_| AtomicBool::new(false)).collect(),
            free: Mutex::new((1..=nr_tables as u64).rev().map(|number| number * PAGE_SIZE as u64).collect()),
            budget: AtomicUsize::new(usize::MAX),
            nr_returned: AtomicUsize::new(0),
            round: AtomicU64::new(7),
            in_next_alloc: Mutex::new(None),
            watcher: OnceLock::new(),
        }
    }

    /// The entry as a processor reads it: without a step of the walker's.
    pub(super) fn value(&self, table: u64, index: usize) -> u64 {
        self.tables[table as usize / PAGE_SIZE - 1].entry(index).load(Ordering::SeqCst)
    }

    pub(super) fn nr_tables_out(&self) -> usize {
        self.tables.len() - self.free.lock().unwrap().len()
    }
}

impl core::fmt::Debug for Machine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "a machine of {} tables", self.tables.len())
    }
}

impl Tables for &Machine {
    unsafe fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        if let Some(watcher) = self.watcher.get() {
            watcher(self);
        }
        let number = table as usize / PAGE_SIZE - 1;
        assert!(self.is_out[number].load(Ordering::Relaxed), "a walk through table {table:#x}, which is free");
        self.tables[number].entry(index)
    }

    fn alloc_table(&self) -> Result<u64> {
        let hook = self.in_next_alloc.lock().unwrap().take();
        if let Some(hook) = hook {
            hook(self);
        }
        let less = |budget: usize| budget.checked_sub(1);
        let out_of_memory = Error::OutOfMemory { bytes: PAGE_SIZE };
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map_err(|_| out_of_memory)?;
        let table = self.free.lock().unwrap().pop().ok_or(out_of_memory)?;
        self.is_out[table as usize / PAGE_SIZE - 1].store(true, Ordering::Relaxed);
        Ok(table)
    }

    fn free_table(&self, table: u64) {
        let number = table as usize / PAGE_SIZE - 1;
        let zeroed = (0..NR_ENTRIES).all(|index| self.tables[number].entry(index).load(Ordering::Relaxed) == 0);
        assert!(zeroed, "table {table:#x} was used");
        assert!(self.is_out[number].swap(false, Ordering::Relaxed), "table {table:#x} is free already");
        self.nr_returned.fetch_add(1, Ordering::Relaxed);
        self.free.lock().unwrap().push(table);
    }

    fn newest_round(&self) -> u64 {
        self.round.load(Ordering::SeqCst)
    }
}

/// A finished round of the one CPU there is.
#[derive(Debug)]
pub(super) struct Round {
    number: u64,
    range: VirtRange,
}

impl Round {
    /// Begins and ends a round that flushes `range`.
    pub(super) fn over(machine: &Machine, range: VirtRange) -> Self {
        Self { number: machine.round.fetch_add(1, Ordering::SeqCst) + 1, range }
    }
}

// SAFETY: nobody caches translations of this machine; the fields say what a real round would have flushed.
unsafe impl ShootdownDone for Round {
    fn covers(&self, range: VirtRange, since: u64) -> bool {
        let (mine, theirs) = (self.range.page_numbers(), range.page_numbers());
        self.number > since && mine.start <= theirs.start && theirs.end <= mine.end
    }
}
