//! From what the kernel's tracepoints said to a recording: who is who, and what was never said.
//!
//! Tracepoints name addresses, which come again; a recording names objects, each allocated once and freed once. The
//! rules:
//! - a free whose allocation was not seen is left out;
//! - an object handed out again without a seen free is freed first, on the CPU that hands it out: frees in bulk have no
//!   tracepoint. So is a page run, when any page of it is handed out again;
//! - what is live at the end is freed at the end, by CPU 0;
//! - a page run that is given back in pieces lives until the last piece;
//! - a `kmalloc` that the slab layer hands on to the page allocator is recorded once, as the page run;
//! - what the recorder asked for itself is left out with its frees, and so is what the format's 24 bits of size cannot
//!   hold: nothing is cut down to fit;
//! - the format knows 64 CPUs: of more, CPU n is recorded as n mod 64.
//!
//! Pages that the slab layer takes for its slabs are page runs like any others: that is what the recorded kernel's page
//! allocator was asked for. They are counted by themselves, and left out where that is wanted.
//!
//! Invariant: the events written so far are those of a recording whose live objects have not been freed yet.
//!
//! Called by: [`crate::record`], with the events of all CPUs in one order.

use crate::decode::{Call, Record};
use crate::pages::{Pages, Piece};
use std::collections::HashMap;
use trace::{Action, HEADER_LEN, Kind, MAGIC, MAX_CPUS};

/// Sizes have 24 bits.
const MAX_SIZE: u64 = (1 << 24) - 1;
/// Addresses below are none: the null pointer, `ZERO_SIZE_PTR`, error values of nothing.
const LOWEST_ADDRESS: u64 = 4096;

/// What became of the kernel's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that came in.
    pub nr_records: u64,
    /// Objects recorded.
    pub nr_objects: u64,
    /// Page runs recorded.
    pub nr_page_runs: u64,
    /// Frees left out: the allocation was before the recording, or was lost.
    pub nr_unseen_allocs: u64,
    /// Frees written because a live object or page run was handed out again.
    pub nr_reused: u64,
    /// Frees written at the end.
    pub nr_live_at_end: u64,
    /// Allocations that failed and frees of nothing, left out.
    pub nr_of_nothing: u64,
    /// Page runs given back in more than one piece.
    pub nr_in_pieces: u64,
    /// Large `kmalloc`s left out because their page run is recorded.
    pub nr_large_kmallocs: u64,
    /// Page runs in which objects were handed out.
    pub nr_slab_runs: u64,
    /// Their bytes.
    pub slab_bytes: u64,
    /// Allocations of the recorder's own, left out.
    pub nr_own: u64,
    /// Allocations left out because their size is 0 or does not fit the format.
    pub nr_too_large: u64,
}

/// One recording in the making.
#[derive(Debug)]
pub struct Ledger {
    page_bytes: u64,
    nr_cpus: u16,
    bytes: Vec<u8>,
    nr_events: u64,
    next_id: u32,
    live_bytes: u64,
    peak_live_bytes: u64,
    objects: HashMap<u64, Entry>,
    pages: Pages<Entry>,
    /// Of each CPU, the page run that it took last, until an object claims it.
    last_run: Vec<Option<u64>>,
    /// Of each page run to come, whether it is a slab's.
    is_slab: std::vec::IntoIter<bool>,
    are_slabs_recorded: bool,
    counts: Counts,
}

/// What is known of something live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Nothing if it is left out.
    id: Option<u32>,
    size_bytes: u32,
}

const LEFT_OUT: Entry = Entry { id: None, size_bytes: 0 };

impl Ledger {
    /// An empty ledger of a machine with that page size and so many CPUs.
    pub fn new(page_bytes: u64, nr_cpus: u16) -> Ledger {
        Ledger {
            page_bytes,
            nr_cpus,
            bytes: vec![0; HEADER_LEN],
            nr_events: 0,
            next_id: 0,
            live_bytes: 0,
            peak_live_bytes: 0,
            objects: HashMap::new(),
            pages: Pages::default(),
            last_run: vec![None; nr_cpus.into()],
            is_slab: Vec::new().into_iter(),
            are_slabs_recorded: true,
            counts: Counts::default(),
        }
    }

    /// Tells which page runs are slabs, as [`crate::slab_pages::mark`] has found, and whether these are recorded.
    #[must_use]
    pub fn with_slabs(self, is_slab: Vec<bool>, are_slabs_recorded: bool) -> Ledger {
        Ledger { is_slab: is_slab.into_iter(), are_slabs_recorded, ..self }
    }

    /// Takes the next event.
    pub fn add(&mut self, record: &Record) {
        self.counts.nr_records += 1;
        let is_slab = record.call == Call::PageAlloc && self.is_slab.next().unwrap_or(false);
        let is_page = matches!(record.call, Call::PageAlloc | Call::PageFree);
        // The number of a page that was not to be had is -1.
        if (is_page && record.key >= 1 << 52) || (!is_page && record.key < LOWEST_ADDRESS) {
            self.counts.nr_of_nothing += 1;
            return;
        }
        match record.call {
            Call::Kmalloc | Call::CacheAlloc => self.object(record),
            Call::Free => self.free_object(record),
            Call::PageAlloc => self.page_run(record, is_slab),
            Call::PageFree => self.free_pages(record),
        }
    }

    fn object(&mut self, record: &Record) {
        if let Some(old) = self.objects.remove(&record.key) {
            self.reuse(old, Kind::Object, record.cpu);
        }
        let run_bytes = self.last_run.get_mut(usize::from(record.cpu)).and_then(Option::take);
        let entry = if record.is_own {
            self.counts.nr_own += 1;
            LEFT_OUT
        } else if record.call == Call::Kmalloc && self.is_page_run(record.size.into(), run_bytes) {
            self.counts.nr_large_kmallocs += 1;
            LEFT_OUT
        } else {
            self.alloc(Kind::Object, record.size.into(), record.cpu)
        };
        self.objects.insert(record.key, entry);
    }

    /// Whether a `kmalloc` of `size` bytes is the page run of `run_bytes` that this CPU took right before. Slabs serve up
    /// to two pages; where they serve more, the run before was no single object's.
    fn is_page_run(&self, size: u64, run_bytes: Option<u64>) -> bool {
        size > 2 * self.page_bytes && run_bytes == size.checked_next_power_of_two()
    }

    fn free_object(&mut self, record: &Record) {
        match self.objects.remove(&record.key) {
            Some(entry) => self.free(entry, Kind::Object, record.cpu),
            None => self.counts.nr_unseen_allocs += 1,
        }
    }

    fn page_run(&mut self, record: &Record, is_slab: bool) {
        let size = self.page_bytes.checked_shl(record.size).filter(|size| size >> record.size == self.page_bytes);
        let nr_pages = 1u64.checked_shl(record.size);
        let (Some(size), Some(nr_pages)) = (size, nr_pages) else {
            self.counts.nr_too_large += 1;
            return;
        };
        for old in self.pages.take_overlapping(record.key, nr_pages) {
            self.reuse(old, Kind::PageRun, record.cpu);
        }
        self.counts.nr_slab_runs += u64::from(is_slab);
        self.counts.slab_bytes += if is_slab { size } else { 0 };
        let entry = if is_slab && !self.are_slabs_recorded {
            LEFT_OUT
        } else if record.is_own && !is_slab {
            self.counts.nr_own += 1;
            LEFT_OUT
        } else {
            self.alloc(Kind::PageRun, size, record.cpu)
        };
        self.pages.insert(record.key, nr_pages, entry);
        if let Some(last) = self.last_run.get_mut(usize::from(record.cpu)) {
            *last = Some(size);
        }
    }

    fn free_pages(&mut self, record: &Record) {
        let nr_pages = 1u64.checked_shl(record.size).unwrap_or(u64::MAX);
        let mut is_seen = false;
        for piece in self.pages.free(record.key, nr_pages) {
            is_seen = true;
            match piece {
                Piece::Part => {}
                Piece::Last { entry, nr_pieces } => {
                    self.counts.nr_in_pieces += u64::from(nr_pieces > 1);
                    self.free(entry, Kind::PageRun, record.cpu);
                }
            }
        }
        self.counts.nr_unseen_allocs += u64::from(!is_seen);
    }

    fn alloc(&mut self, kind: Kind, size: u64, cpu: u16) -> Entry {
        if size == 0 || size > MAX_SIZE || self.next_id == u32::MAX {
            self.counts.nr_too_large += 1;
            return LEFT_OUT;
        }
        let id = self.next_id;
        self.next_id += 1;
        match kind {
            Kind::Object => self.counts.nr_objects += 1,
            Kind::PageRun => self.counts.nr_page_runs += 1,
        }
        self.live_bytes += size;
        self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
        self.write(id, Action::Alloc, kind, cpu, size as u32);
        Entry { id: Some(id), size_bytes: size as u32 }
    }

    fn reuse(&mut self, old: Entry, kind: Kind, cpu: u16) {
        self.counts.nr_reused += u64::from(old.id.is_some());
        self.free(old, kind, cpu);
    }

    fn free(&mut self, entry: Entry, kind: Kind, cpu: u16) {
        if let Some(id) = entry.id {
            self.live_bytes -= u64::from(entry.size_bytes);
            self.write(id, Action::Free, kind, cpu, 0);
        }
    }

    fn write(&mut self, id: u32, action: Action, kind: Kind, cpu: u16, size_bytes: u32) {
        let op = match (kind, action) {
            (Kind::Object, Action::Alloc) => 0,
            (Kind::Object, Action::Free) => 1,
            (Kind::PageRun, Action::Alloc) => 2,
            (Kind::PageRun, Action::Free) => 3,
        };
        let cpu = u32::from(cpu) % MAX_CPUS as u32;
        self.bytes.extend(id.to_le_bytes());
        self.bytes.extend((op | cpu << 2 | size_bytes << 8).to_le_bytes());
        self.nr_events += 1;
    }

    /// Frees what is live, in the order in which it was allocated, and returns the recording's bytes.
    pub fn finish(mut self) -> (Vec<u8>, Counts) {
        let objects = std::mem::take(&mut self.objects).into_values().map(|entry| (Kind::Object, entry));
        let runs = std::mem::take(&mut self.pages).into_entries().map(|entry| (Kind::PageRun, entry));
        let mut live: Vec<_> = objects.chain(runs).filter(|(_, entry)| entry.id.is_some()).collect();
        live.sort_unstable_by_key(|(_, entry)| entry.id);
        self.counts.nr_live_at_end = live.len() as u64;
        for (kind, entry) in live {
            self.free(entry, kind, 0);
        }
        let nr_cpus = u32::from(self.nr_cpus).clamp(1, MAX_CPUS as u32);
        let header = [
            &MAGIC[..],
            &nr_cpus.to_le_bytes(),
            &self.next_id.to_le_bytes(),
            &self.nr_events.to_le_bytes(),
            &self.peak_live_bytes.to_le_bytes(),
        ];
        self.bytes[..HEADER_LEN].copy_from_slice(&header.concat());
        (self.bytes, self.counts)
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
