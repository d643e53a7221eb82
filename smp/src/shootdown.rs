//! TLB shootdown: making every CPU forget translations that are no longer in the page tables.
//!
//! ```text
//!   initiator                                      every other running CPU
//!   (page-table entries are cleared already)
//!   generation += n              announce          (IPI handler, or a wait loop, or the way out of idle)
//!   log[g] = range               what to flush     pending = false           before the generation is read,
//!   full fence                                     full fence                or a request is lost
//!   for each running CPU:                          g = generation
//!     pending = true, if it was not -> target      flush what the log says of seen+1..=g, or everything
//!   one send_ipi(targets)                          seen = g   (Release)      the acknowledgement
//!   the same, for this CPU
//!   until for each: seen >= g, or idle, or offline
//! ```
//!
//! Invariants:
//! - `generation` only grows. It is compared by distance, so that it may wrap.
//! - `seen` of a CPU is written by that CPU alone, with interrupts off, and never moves back. `seen >= g` means that
//!   no translation removed before generation g was announced is left in that CPU's TLB.
//! - `pending` false and `seen < generation` on a running CPU means that whoever announced the newest generation has
//!   yet to look at that CPU. It never means that nobody will.
//! - An idle or offline CPU has acknowledged in advance: it touches no dynamic mapping before it has caught up. The two
//!   full fences make this a handshake (Dekker's): either the initiator sees the CPU running and waits for it, or the
//!   CPU, on its way out of idle, sees the new generation.
//! - Nobody writes a shared line to acknowledge. A round costs one shared read-modify-write, and one for each target.
//!
//! Where the hardware can flush all TLBs by itself, and is asked to, a round is none of this: see `broadcast`.
//!
//! Dynamic mappings are those that are ever unmapped or downgraded. The table frames behind them are never freed, so
//! an idle CPU's paging-structure caches can do no harm. The direct map, kernel text, and the stack and per-CPU area of
//! a CPU that is alive do not count: what a CPU needs to wake up it may touch while idle.
//!
//! Mapping a page that was not present needs no round: the processor caches no absent entry (Intel SDM vol. 3,
//! "Optional Invalidation").
//!
//! Lock order: none, there is no lock. Called by: the kernel's unmap path, IPI handler, idle loop, and the slow path of
//! its spin locks. Context: any but NMI, interrupts on or off.

mod broadcast;
mod counters;
mod log;
mod page_range;
mod presence;
mod round;
mod service;
mod settings;

use crossbeam_utils::CachePadded;

use crate::cpu::{CpuId, MAX_CPUS};
use crate::cpu_set::CpuSet;
use crate::mutant::{self, Mutant};
use crate::per_cpu::PerCpu;
use crate::sync::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

pub use counters::{Counter, CounterValues, Counters};
pub use page_range::{PAGE_SIZE, PageRange};
pub use presence::Presence;
pub use round::Round;
pub use settings::{Mode, Settings};

use log::Log;

/// The state of all shootdowns. One static of the kernel.
///
/// `N` is the number of CPUs there is room for, [`MAX_CPUS`] in the kernel and 2 or 3 in the models.
#[derive(Debug)]
pub struct Shootdown<const N: usize = MAX_CPUS> {
    /// The newest generation announced. Pairs Release (announce) with Acquire (service): whoever reads a generation
    /// also sees the page-table entries that were cleared before it.
    generation: CachePadded<AtomicU64>,
    /// Rounds that the hardware has run: see `broadcast`.
    broadcasts: CachePadded<AtomicU64>,
    log: CachePadded<Log>,
    cpus: PerCpu<Slot, N>,
    /// One more than the highest index that ever joined: how far loops over CPUs go.
    nr_cpus: CachePadded<AtomicUsize>,
    settings: CachePadded<Settings>,
}

/// One CPU's part. Two lines side by side, so that one address leads to both.
#[derive(Debug)]
struct Slot {
    state: CachePadded<CpuState>,
    counters: CachePadded<Counters>,
}

impl Slot {
    const_unless_loom! {
        fn new() -> Self {
            Self { state: CachePadded::new(CpuState::new()), counters: CachePadded::new(Counters::new()) }
        }
    }
}

/// What the others may know of one CPU.
///
/// One line, on purpose: an initiator takes it to set `pending`, the owner takes it back to clear that and to store
/// `seen`, the initiator reads it again. On two lines each round would move both.
#[derive(Debug)]
struct CpuState {
    /// The generation up to which this CPU has flushed. Written by this CPU alone.
    seen: AtomicU64,
    /// An interrupt is on its way that has not been looked at. Set by initiators, cleared by this CPU.
    pending: AtomicBool,
    /// A [`Presence`]. Written by this CPU alone.
    presence: AtomicU8,
}

impl CpuState {
    const_unless_loom! {
        fn new() -> Self {
            Self {
                seen: AtomicU64::new(0),
                pending: AtomicBool::new(false),
                presence: AtomicU8::new(Presence::Offline as u8),
            }
        }
    }

    /// Whether this CPU has flushed for `generation`. Acquire: its reads through the old translations come before.
    fn has_seen(&self, generation: u64) -> bool {
        reached(self.seen.load(mutant::weaken(Mutant::WaitRelaxed, Ordering::Acquire)), generation)
    }

    /// Says that this CPU has flushed for `generation`, and all before it. Release: everything that it read through the
    /// old translations happened before whoever sees this goes on.
    #[inline(always)]
    fn acknowledge(&self, generation: u64) {
        self.seen.store(generation, mutant::weaken(Mutant::AckRelaxed, Ordering::Release));
    }

    fn presence(&self, order: Ordering) -> Presence {
        Presence::from_u8(self.presence.load(order))
    }
}

/// Whether a CPU that is at `seen` has done `generation`: true for anything up to 2^63 behind it.
const fn reached(seen: u64, generation: u64) -> bool {
    seen.wrapping_sub(generation) <= u64::MAX / 2
}

impl<const N: usize> Shootdown<N> {
    const_unless_loom! {
        /// No CPU online, nothing announced, every setting at its default.
        pub fn new() -> Self {
            Self {
                generation: CachePadded::new(AtomicU64::new(0)),
                broadcasts: CachePadded::new(AtomicU64::new(0)),
                log: CachePadded::new(Log::new()),
                cpus: PerCpu::from_slots(array_of!(CachePadded::new(Slot::new()); N)),
                nr_cpus: CachePadded::new(AtomicUsize::new(0)),
                settings: CachePadded::new(Settings::new()),
            }
        }
    }

    /// As [`new`](Self::new), with a generation announced and seen by all already. For tests of the wrap at 2^64.
    pub fn starting_at(generation: u64) -> Self {
        let this = Self::new();
        this.generation.store(generation, Ordering::Relaxed);
        for cpu in CpuId::first(N) {
            this.state(cpu).seen.store(generation, Ordering::Relaxed);
        }
        this
    }

    /// The newest generation announced.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// A number that every round raises as it begins, whoever runs it: for whoever wants to know whether a round began
    /// after something, compared by distance. Entries that were cleared, by an operation that is a full fence, before
    /// this was read are flushed by any round that is begun when it is as large, or larger.
    pub fn epoch(&self) -> u64 {
        // Two counters, read one after the other. Both only grow: who reads them after a round has begun gets more than
        // who read them before it, whatever other rounds do in between.
        self.generation.load(Ordering::Acquire).wrapping_add(self.broadcasts.load(Ordering::Acquire))
    }

    /// The generation up to which `cpu` has flushed.
    pub fn seen(&self, cpu: CpuId) -> u64 {
        self.state(cpu).seen.load(Ordering::Relaxed)
    }

    /// What `cpu` last said of itself.
    pub fn presence(&self, cpu: CpuId) -> Presence {
        self.state(cpu).presence(Ordering::Relaxed)
    }

    /// The CPUs that have joined and not left, idle ones included.
    pub fn online(&self) -> CpuSet {
        let nr_cpus = self.nr_cpus.load(Ordering::Relaxed);
        CpuId::first(nr_cpus).filter(|&cpu| self.presence(cpu) != Presence::Offline).collect()
    }

    #[inline(always)]
    fn state(&self, cpu: CpuId) -> &CpuState {
        &self.cpus.remote(cpu).state
    }

    /// The counters of `cpu`, written by that CPU alone.
    pub fn counters(&self, cpu: CpuId) -> &Counters {
        &self.cpus.remote(cpu).counters
    }

    /// What can be tuned, and the hooks of experiments.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl<const N: usize> Default for Shootdown<N> {
    fn default() -> Self {
        Self::new()
    }
}
