//! Page tables for tests, in frames of a test heap: entries nearly as x86-64 has them, and a clock of rounds.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;

use mm::arena::VirtRange;
use mm::error::Result;
use mm::frame::{Frame, PAGE_SIZE};
use mm::frame_table::Kind;
use mm::heap::Heap;
use mm::page_table::{Attributes, Cache, Entry, Format, Level, ShootdownDone, Tables};

use crate::common::Host;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const UNCACHED: u64 = 1 << 4;
const LARGE: u64 = 1 << 7;
const QUARANTINED: u64 = 1 << 9;
const QUARANTINED_TABLE: u64 = 1 << 10;
const CLAIMED: u64 = 1 << 11;
const NO_EXECUTE: u64 = 1 << 63;
const ADDR: u64 = 0x000f_ffff_ffff_f000;

/// How entries look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits;

impl Format for Bits {
    fn table(&self, phys: u64) -> u64 {
        phys | PRESENT | WRITABLE
    }

    fn leaf(&self, level: Level, phys: u64, attributes: Attributes) -> u64 {
        let writable = if attributes.writable { WRITABLE } else { 0 };
        let executable = if attributes.executable { 0 } else { NO_EXECUTE };
        let cache = if attributes.cache == Cache::WriteBack { 0 } else { UNCACHED };
        let large = if level == Level::L1 { 0 } else { LARGE };
        phys | PRESENT | writable | executable | cache | large
    }

    fn quarantined(&self, _level: Level, phys: u64) -> u64 {
        phys | QUARANTINED
    }

    fn quarantined_table(&self, _level: Level, table: u64) -> u64 {
        table | QUARANTINED_TABLE
    }

    fn decode(&self, level: Level, value: u64) -> Entry {
        let phys = value & ADDR;
        if value == 0 {
            Entry::Empty
        } else if value & (PRESENT | QUARANTINED_TABLE) == QUARANTINED_TABLE {
            Entry::QuarantinedTable(phys)
        } else if value & PRESENT == 0 {
            Entry::Quarantined { phys }
        } else if level != Level::L1 && value & LARGE == 0 {
            Entry::Table(phys)
        } else {
            let cache = if value & UNCACHED == 0 { Cache::WriteBack } else { Cache::Uncached };
            let attributes = Attributes { writable: value & WRITABLE != 0, executable: value & NO_EXECUTE == 0, cache };
            Entry::Leaf { phys, attributes }
        }
    }

    fn with_attributes(&self, level: Level, value: u64, attributes: Attributes) -> u64 {
        self.leaf(level, value & ADDR, attributes) | value & CLAIMED
    }

    fn with_claim(&self, value: u64, is_claimed: bool) -> u64 {
        if is_claimed { value | CLAIMED } else { value & !CLAIMED }
    }
}

/// Tables in frames of the heap.
#[derive(Clone, Debug)]
pub(crate) struct HeapTables {
    heap: &'static Heap<Host>,
    round: Cell<u64>,
    /// Tables taken from the heap and not given back, for the test to free in the end.
    taken: std::rc::Rc<std::cell::RefCell<Vec<Frame>>>,
}

impl HeapTables {
    pub(crate) fn new(heap: &'static Heap<Host>) -> Self {
        Self { heap, round: Cell::new(1), taken: std::rc::Rc::default() }
    }

    /// Tables in use.
    pub(crate) fn nr_taken(&self) -> usize {
        self.taken.borrow().len()
    }

    /// Frees all tables. The tree made of them is used no more.
    pub(crate) fn free_all(&self) {
        for frame in self.taken.take() {
            // SAFETY: no walk starts any more.
            unsafe { self.heap.frames().free(frame, Kind::PageTable) }.expect("a table");
        }
    }
}

impl Tables for HeapTables {
    unsafe fn entry(&self, table: u64, index: usize) -> &AtomicU64 {
        assert!(index < 512, "entry {index}");
        let frame = Frame::containing(table).expect("a table's frame");
        assert!(self.taken.borrow().contains(&frame), "a walk through {table:#x}, which is no table");
        // SAFETY: a page of the heap's that is a table until `free_all`, so 512 aligned words, used as atomics only.
        unsafe { self.heap.frames().virt(frame).cast::<AtomicU64>().add(index).as_ref() }
    }

    fn alloc_table(&self) -> Result<u64> {
        let frame = self.heap.alloc_frame(Kind::PageTable)?;
        // SAFETY: a whole frame of ours.
        unsafe { self.heap.frames().virt(frame).write_bytes(0, PAGE_SIZE) };
        self.taken.borrow_mut().push(frame);
        Ok(frame.addr())
    }

    fn free_table(&self, table: u64) {
        let frame = Frame::containing(table).expect("a table's frame");
        self.taken.borrow_mut().retain(|&taken| taken != frame);
        // SAFETY: never linked.
        unsafe { self.heap.frames().free(frame, Kind::PageTable) }.expect("a table");
    }

    fn newest_round(&self) -> u64 {
        self.round.get()
    }
}

/// A finished round that flushed everything: nothing here has a TLB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flushed(pub(crate) u64);

// SAFETY: no CPU remembers translations of these tables.
unsafe impl ShootdownDone for Flushed {
    fn covers(&self, _range: VirtRange, since: u64) -> bool {
        self.0 > since
    }
}
