//! Processors that remember translations whenever they like, as real ones may: between any two steps of the walker each
//! may load a leaf into its TLB, or a table into its paging-structure cache, and walk on from a table that it remembers.
//!
//! What they must never see: a page by two leaves of different sizes, or that lead to different memory, at once; memory
//! that has been given back.

use super::super::*;
use super::machine::{LikeX86, Machine};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::vec::Vec;

const NR_CPUS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    level: Level,
    phys: u64,
}

#[derive(Default)]
struct Cpu {
    /// By first page.
    tlb: BTreeMap<u64, Remembered>,
    /// Tables of a level, by the first page of what they stand for.
    tables: BTreeMap<(Level, u64), u64>,
}

struct State {
    cpus: [Cpu; NR_CPUS],
    /// Pages that are looked at.
    pages: Vec<u64>,
    random: u64,
    /// One step in so many does something.
    rarity: u64,
    violation: Option<String>,
}

/// The processors of a [`Machine`].
#[derive(Clone)]
pub(super) struct Tlbs(Arc<Mutex<State>>);

impl Tlbs {
    /// Processors that look at `pages`, all through `table`'s life.
    pub(super) fn watch(machine: &Machine, root: u64, pages: Vec<u64>, seed: u64, rarity: u64) -> Self {
        let state = State { cpus: Default::default(), pages, random: seed | 1, rarity, violation: None };
        let tlbs = Self(Arc::new(Mutex::new(state)));
        let watching = tlbs.clone();
        let watcher = move |machine: &Machine| watching.0.lock().unwrap().step(machine, root);
        assert!(machine.watcher.set(Box::new(watcher)).is_ok(), "watched already");
        tlbs
    }

    /// Every processor forgets what it knows of `range`, and all tables: what a shootdown does.
    pub(super) fn flush(&self, range: VirtRange) {
        let pages = range.page_numbers();
        for cpu in &mut self.0.lock().unwrap().cpus {
            cpu.tlb.retain(|start, leaf| *start >= pages.end || start + leaf.level.nr_pages() <= pages.start);
            cpu.tables.clear();
        }
    }

    /// Every processor loads every page that it can.
    pub(super) fn load_all(&self, machine: &Machine, root: u64) {
        let mut state = self.0.lock().unwrap();
        for cpu in 0..NR_CPUS {
            for page in state.pages.clone() {
                state.load(machine, root, cpu, page, true);
            }
        }
    }

    /// Panics if something was seen that must not be.
    pub(super) fn check(&self) {
        if let Some(violation) = &self.0.lock().unwrap().violation {
            panic!("{violation}");
        }
    }

    /// Panics if a processor can still get at memory that was given back.
    pub(super) fn check_gone(&self, extent: Extent) {
        let end = extent.phys + (extent.nr_pages * PAGE_SIZE) as u64;
        for (number, cpu) in self.0.lock().unwrap().cpus.iter().enumerate() {
            for (page, leaf) in &cpu.tlb {
                let is_apart = leaf.phys >= end || leaf.phys + leaf.level.nr_bytes() <= extent.phys;
                assert!(is_apart, "cpu {number} still reaches {extent:x?} by page {page:#x}: {leaf:x?}");
            }
        }
    }
}

impl State {
    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % n
    }

    fn step(&mut self, machine: &Machine, root: u64) {
        if self.below(self.rarity) == 0 {
            let cpu = self.below(NR_CPUS as u64) as usize;
            let index = self.below(self.pages.len() as u64) as usize;
            let page = self.pages[index];
            let from_root = self.below(2) == 0;
            self.load(machine, root, cpu, page, from_root);
        }
    }

    fn load(&mut self, machine: &Machine, root: u64, cpu: usize, page: u64, from_root: bool) {
        let start_of = |level: Level| page & !(level.nr_pages() - 1);
        let (mut table, mut level) = (root, Level::L4);
        if !from_root {
            for known in [Level::L3, Level::L2, Level::L1] {
                if let Some(&at) = self.cpus[cpu].tables.get(&(known, start_of(known.above()))) {
                    (table, level) = (at, known);
                }
            }
        }
        loop {
            match (LikeX86.decode(level, machine.value(table, level.index_of(page))), level.below()) {
                (Entry::Table(next), Some(below)) => {
                    self.cpus[cpu].tables.insert((below, start_of(level)), next);
                    (table, level) = (next, below);
                }
                (Entry::Leaf { phys, .. }, _) => {
                    return self.remember(cpu, start_of(level), Remembered { level, phys });
                }
                _ => return,
            }
        }
    }

    fn remember(&mut self, cpu: usize, start: u64, new: Remembered) {
        let end = start + new.level.nr_pages();
        for (&other, &old) in &self.cpus[cpu].tlb {
            let is_apart = other >= end || other + old.level.nr_pages() <= start;
            if !is_apart && (other, old) != (start, new) {
                let violation = format!("cpu {cpu} knows {old:x?} at {other:#x} and loads {new:x?} at {start:#x}");
                self.violation.get_or_insert(violation);
            }
        }
        self.cpus[cpu].tlb.insert(start, new);
    }
}

impl Level {
    fn above(self) -> Self {
        match self {
            Self::L1 => Self::L2,
            Self::L2 => Self::L3,
            Self::L3 | Self::L4 => Self::L4,
        }
    }
}
