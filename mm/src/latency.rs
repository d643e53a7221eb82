//! How long operations take, by how deep they had to go: hit, swap, depot, slab, frame.
//!
//! An operation that this CPU's loaded magazine serves has no clock: that code does not know of this file. What goes
//! further is timed as a whole, from its entry into the slow path to its end, and counts for the deepest layer that it
//! reached. The pop or push that ends it, on the magazine just brought, is the hit path's own, so it is timed too: one
//! sample of a hit for each exchange of magazines, which is as many as there are without touching the hits.
//!
//! Off, which it is at first, it costs a test in the slow path and two words for each CPU. Switched on, each CPU and each
//! cache gets [`Recorders`] of 20 KiB, from frames, and keeps them. A sample includes what reading the clock costs
//! ([`Heap::clock_cost`]), and the time in interrupt handlers, which time their own operations besides.
//!
//! Invariant: `deepest` is the deepest layer of the innermost operation that is being timed on this CPU.
//! Called by: [`crate::cache`], [`crate::slab`]; the reports by the shell. No lock.
//!
//! [`Heap::clock_cost`]: crate::heap::Heap::clock_cost

#[cfg(not(loom))]
mod report;

use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8};

use crate::bank::MAX_CACHES;
use crate::histogram::Recorder;
use crate::machine::Machine;

#[cfg(not(loom))]
pub use report::Scope;

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// An allocation.
    Alloc = 0,
    /// A free.
    Free = 1,
}

/// How deep an operation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Path {
    /// Served by the loaded magazine.
    Hit = 0,
    /// By another magazine of this CPU.
    Swap = 1,
    /// By an exchange of magazines in the depot.
    Depot = 2,
    /// By the slabs of the cache, or those that magazines are made of.
    Slab = 3,
    /// By frames: a slab was made or given back, or the object is too large for slabs.
    Frame = 4,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Alloc, Self::Free];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alloc => "alloc",
            Self::Free => "free",
        }
    }
}

impl Path {
    /// All of them, the shortest first.
    pub const ALL: [Self; 5] = [Self::Hit, Self::Swap, Self::Depot, Self::Slab, Self::Frame];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Swap => "swap",
            Self::Depot => "depot",
            Self::Slab => "slab",
            Self::Frame => "frame",
        }
    }
}

/// A recorder for each operation and path. All zero bytes: no samples.
#[derive(Debug)]
#[repr(C)]
pub struct Recorders([[Recorder; Path::ALL.len()]; Operation::ALL.len()]);

impl Recorders {
    /// The recorder of `operation` by way of `path`.
    pub fn of(&self, operation: Operation, path: Path) -> &Recorder {
        &self.0[operation as usize][path as usize]
    }

    /// Forgets all samples.
    pub fn reset(&self) {
        self.0.iter().flatten().for_each(Recorder::reset);
    }
}

/// A CPU's part, in its bank. All zero bytes: nothing is recorded.
#[derive(Debug)]
pub(crate) struct CpuLatency {
    /// Deepest layer of the operation that is being timed.
    deepest: AtomicU8,
    recorders: AtomicPtr<Recorders>,
}

/// The switch, and the caches' recorders.
#[derive(Debug)]
pub(crate) struct Latency {
    is_on: AtomicBool,
    by_cache: [AtomicPtr<Recorders>; MAX_CACHES],
}

/// Having this means: this operation is being timed. Records it when it is dropped.
pub(crate) struct Stopwatch<'a, M: Machine> {
    latency: &'a Latency,
    operation: Operation,
    /// The cache; `None` for what is no cache's.
    cache: Option<u16>,
    start: u64,
    /// What `deepest` was: another operation's, if this one began in a constructor or interrupted it.
    outer: u8,
    /// The bank it writes to is this CPU's.
    machine: PhantomData<*mut M>,
}

/// Notes that the operation of this CPU that is being timed, if one is, has come to `path`.
pub(crate) fn reach<M: Machine>(path: Path) {
    let deepest = &M::bank().latency.deepest;
    deepest.store(deepest.load(Relaxed).max(path as u8), Relaxed);
}

impl Latency {
    /// Off, without recorders.
    pub(crate) const fn new() -> Self {
        Self { is_on: AtomicBool::new(false), by_cache: [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CACHES] }
    }

    /// Begins to time an operation, if recording is on.
    pub(crate) fn start<M: Machine>(&self, operation: Operation, cache: Option<u16>) -> Option<Stopwatch<'_, M>> {
        if !self.is_on.load(Relaxed) {
            return None;
        }
        let deepest = &M::bank().latency.deepest;
        let outer = deepest.load(Relaxed);
        deepest.store(Path::Hit as u8, Relaxed);
        let start = M::timestamp();
        Some(Stopwatch { latency: self, operation, cache, start, outer, machine: PhantomData })
    }

    fn of_cache(&self, cache: u16) -> Option<&Recorders> {
        read(self.by_cache.get(usize::from(cache))?)
    }
}

/// The recorders at `place`, if there are some.
fn read(place: &AtomicPtr<Recorders>) -> Option<&Recorders> {
    // SAFETY: null, or stored by `Heap::record_latency`, from frames full of zeroes that are never given back.
    // Acquire pairs with that store: who sees the address sees the zeroes.
    unsafe { place.load(Acquire).as_ref() }
}

impl<M: Machine> Stopwatch<'_, M> {
    /// Does `hit`, the hit path's own code, and times it if a magazine has just been brought for it.
    pub(crate) fn time_hit<R>(watch: &Option<Self>, hit: impl FnOnce() -> R) -> R {
        let Some(watch) = watch.as_ref().filter(|watch| watch.deepest().is_some()) else { return hit() };
        let start = M::timestamp();
        let result = hit();
        watch.record(Path::Hit, M::timestamp().saturating_sub(start));
        result
    }

    /// The layer it has come to, if it has left the loaded magazine.
    fn deepest(&self) -> Option<Path> {
        let deepest = M::bank().latency.deepest.load(Relaxed);
        Path::ALL.into_iter().skip(1).find(|&path| path as u8 == deepest)
    }

    fn record(&self, path: Path, ticks: u64) {
        let of_cpu = read(&M::bank().latency.recorders);
        let of_cache = self.cache.and_then(|cache| self.latency.of_cache(cache));
        for recorders in [of_cpu, of_cache].into_iter().flatten() {
            recorders.of(self.operation, path).record(ticks);
        }
    }
}

impl<M: Machine> Drop for Stopwatch<'_, M> {
    fn drop(&mut self) {
        let ticks = M::timestamp().saturating_sub(self.start);
        // One that an interrupt's free made a hit in the meantime went nowhere.
        if let Some(path) = self.deepest() {
            self.record(path, ticks);
        }
        M::bank().latency.deepest.store(self.outer, Relaxed);
    }
}
