//! A machine made of arrays: what the protocols need from hardware, with nothing left to chance but the schedule.
//!
//! Each CPU has a TLB of one entry for each page, filled from the page-table entry by whatever reads the page and
//! emptied only by a flush. A frame's content is a plain cell: a CPU that reads through a stale translation, or whose
//! reads are not ordered before the frame's reuse, is caught by the owner's stamp, by loom's race detection, or by
//! Miri's. Interrupts are delivered at windows: wherever a CPU reads a page, relaxes, flushes or turns interrupts on.
//!
//! The same machine serves the plain tests, loom and shuttle: only the atomics and `yield_now` differ.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod broadcast;
#[cfg(any(loom, shuttle))]
pub(crate) mod mutants;
pub(crate) mod storm;

use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use smp::shootdown::Presence;
use smp::sync::{AtomicU64, AtomicUsize, Ordering, UnsafeCell, fence, unordered};
use smp::{CpuId, CpuSet, CrossCall, Hardware, IpiKind, LateReport, PageRange, Shootdown, Shorthand, WorkSlots};

#[cfg(loom)]
pub(crate) use loom::thread;
#[cfg(shuttle)]
pub(crate) use shuttle::thread;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::thread;

pub(crate) const PAGE_SIZE: usize = 4096;
/// Few under loom, where each page-table entry is an object of the model.
pub(crate) const NR_PAGES: usize = if cfg!(loom) { 3 } else { 128 };
/// See `max_explored_polls`.
const MAX_EXPLORED_POLLS: usize = 6;
/// What a frame contains once it has been reused.
const REUSED: usize = usize::MAX;
const NO_FRAME: usize = 0;
/// What a note says before it is written.
pub(crate) const NO_NOTE: u64 = u64::MAX / 2;

pub(crate) struct Machine<const N: usize> {
    pub(crate) shootdown: Shootdown<N>,
    pub(crate) calls: CrossCall<N>,
    pub(crate) work: WorkSlots<N>,
    /// The one page table: a frame number for each page.
    ptes: Vec<AtomicUsize>,
    /// Touched by their own CPU alone.
    tlbs: Vec<Vec<unordered::AtomicUsize>>,
    frames: Vec<Frame>,
    /// Interrupt requests: a bit for each kind, however many were sent.
    irr: Vec<AtomicUsize>,
    /// What flushes all TLBs without an interrupt, where there is such a thing.
    pub(crate) wires: broadcast::Wires,
    /// Whether a storm changes the mode of rounds as it goes.
    pub(crate) switches_mode: unordered::AtomicBool,
    /// A number that one CPU of a model leaves for another.
    pub(crate) note: AtomicU64,
    pub(crate) is_done: unordered::AtomicBool,
    /// Whether `relax` serves shootdowns and cross-calls, as the kernel's does. Off where a model is to show that a
    /// protocol serves its own by itself, and where leaving it out keeps the model small.
    pub(crate) relax_serves: unordered::AtomicBool,
    /// Whether an NMI lands before each flush, and its handler reads what the TLB still holds. Only for models in which
    /// nobody leaves idle: an NMI may not touch dynamic mappings on a CPU that has acknowledged in advance.
    pub(crate) nmis_read: unordered::AtomicBool,
    /// Interrupts sent from here on are lost.
    pub(crate) loses_ipis: unordered::AtomicBool,
    /// How often CPUs may poll in vain, all together, before loom stops branching and runs the execution to its end.
    ///
    /// With two CPUs that poll and a third that could end it, there are infinitely many unfair schedules: loom would
    /// explore A, B, A, B, ... for ever. With one CPU that polls it does not need this.
    max_explored_polls: unordered::AtomicUsize,
    nr_polls: unordered::AtomicUsize,
    pub(crate) watchdog_ticks: unordered::AtomicU64,
    pub(crate) late_reports: Mutex<Vec<LateReport>>,
    pub(crate) nr_ipis: unordered::AtomicUsize,
    pub(crate) shorthand: Shorthand,
    /// Interrupts that were sent to all but self.
    pub(crate) nr_shorthands: unordered::AtomicUsize,
    pub(crate) nr_page_flushes: unordered::AtomicUsize,
    /// How many of these there had been when the last interrupt was sent.
    pub(crate) nr_page_flushes_at_send: unordered::AtomicUsize,
    pub(crate) nr_full_flushes: unordered::AtomicUsize,
    /// Time stands still once somebody has been reported as late, so that a test decides what comes of it.
    pub(crate) freezes_clock_after_report: unordered::AtomicBool,
    clock: unordered::AtomicU64,
}

/// Its content names the page that owns it, or says that it has been reused.
struct Frame(UnsafeCell<usize>);

// SAFETY: the content is written only when no CPU can reach the frame through a TLB. That is what is being tested, and
// checked by stamps, by loom and by Miri.
unsafe impl Sync for Frame {}
// SAFETY: a number.
unsafe impl Send for Frame {}

impl<const N: usize> Machine<N> {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(Shootdown::new())
    }

    pub(crate) fn with(shootdown: Shootdown<N>) -> Arc<Self> {
        let machine = Self {
            shootdown,
            calls: CrossCall::new(),
            work: WorkSlots::new(),
            ptes: (0..NR_PAGES).map(|page| AtomicUsize::new(page + 1)).collect(),
            tlbs: (0..N).map(|_| (0..NR_PAGES).map(|_| unordered::AtomicUsize::new(NO_FRAME)).collect()).collect(),
            frames: (0..=NR_PAGES + N).map(|frame| Frame(UnsafeCell::new(frame.wrapping_sub(1)))).collect(),
            irr: (0..N).map(|_| AtomicUsize::new(0)).collect(),
            wires: broadcast::Wires::new(N),
            switches_mode: unordered::AtomicBool::new(false),
            note: AtomicU64::new(NO_NOTE),
            is_done: unordered::AtomicBool::new(false),
            relax_serves: unordered::AtomicBool::new(true),
            nmis_read: unordered::AtomicBool::new(false),
            loses_ipis: unordered::AtomicBool::new(false),
            max_explored_polls: unordered::AtomicUsize::new(if N > 2 { MAX_EXPLORED_POLLS } else { usize::MAX }),
            nr_polls: unordered::AtomicUsize::new(0),
            watchdog_ticks: unordered::AtomicU64::new(u64::MAX),
            late_reports: Mutex::new(Vec::new()),
            nr_ipis: unordered::AtomicUsize::new(0),
            shorthand: Shorthand::new(),
            nr_shorthands: unordered::AtomicUsize::new(0),
            nr_page_flushes: unordered::AtomicUsize::new(0),
            nr_page_flushes_at_send: unordered::AtomicUsize::new(usize::MAX),
            nr_full_flushes: unordered::AtomicUsize::new(0),
            freezes_clock_after_report: unordered::AtomicBool::new(false),
            clock: unordered::AtomicU64::new(0),
        };
        Arc::new(machine)
    }

    /// The CPU with this index, offline, with interrupts on.
    pub(crate) fn cpu(self: &Arc<Self>, index: usize) -> Cpu<N> {
        Cpu { machine: self.clone(), id: CpuId::new(index).unwrap(), interrupts_on: Cell::new(true) }
    }

    /// All CPUs, online in every protocol.
    pub(crate) fn online_cpus(self: &Arc<Self>) -> [Cpu<N>; N] {
        std::array::from_fn(|index| {
            let cpu = self.cpu(index);
            self.shootdown.join(&cpu);
            self.calls.join(&cpu);
            cpu
        })
    }

    pub(crate) fn tlb_holds(&self, cpu: usize, page: usize) -> bool {
        self.tlbs[cpu][page].load(Relaxed) != NO_FRAME
    }
}

/// A CPU of the machine, to be moved into the thread that plays it.
pub(crate) struct Cpu<const N: usize> {
    pub(crate) machine: Arc<Machine<N>>,
    pub(crate) id: CpuId,
    pub(crate) interrupts_on: Cell<bool>,
}

pub(crate) fn pages(start: usize, nr_pages: usize) -> PageRange {
    PageRange::new(start * PAGE_SIZE, nr_pages).unwrap()
}

impl<const N: usize> Cpu<N> {
    fn tlb(&self) -> &[unordered::AtomicUsize] {
        &self.machine.tlbs[self.id.index()]
    }

    /// Takes interrupts, if they are on and any have come.
    pub(crate) fn window(&self) {
        self.answer_broadcasts();
        if !self.interrupts_on.get() {
            return;
        }
        let irr = &self.machine.irr[self.id.index()];
        while irr.load(Ordering::Relaxed) != 0 {
            // Acquire, as `send_ipi`'s contract promises: what its sender stored is visible in the handler.
            let kinds = irr.swap(0, Ordering::Acquire);
            self.interrupts_on.set(false);
            // Each vector's handler begins with what ends idleness: a shootdown's by its own service.
            if kinds & bit(IpiKind::Shootdown) != 0 {
                self.machine.shootdown.service(self);
            } else {
                self.machine.shootdown.leave_idle(self);
            }
            if kinds & bit(IpiKind::Call) != 0 {
                self.machine.calls.serve(self);
            }
            self.interrupts_on.set(true);
        }
    }

    /// Reads a page as an instruction would: through the TLB, else through the page table, which fills the TLB. Whether
    /// the page was there. Its frame must still be the page's own.
    pub(crate) fn read(&self, page: usize) -> bool {
        self.answer_broadcasts();
        let entry = &self.tlb()[page];
        if entry.load(Relaxed) == NO_FRAME {
            // Acquire pairs with `replace_frame`: the processor's walk and the access that needs it are ordered by dependency.
            entry.store(self.machine.ptes[page].load(Ordering::Acquire), Relaxed);
        }
        let frame = entry.load(Relaxed);
        if frame == NO_FRAME {
            return false;
        }
        // SAFETY: a valid translation; see `Frame`.
        let owner = self.machine.frames[frame].0.with(|owner| unsafe { *owner });
        assert_eq!(owner, page, "cpu {} reads page {page} through a stale translation", self.id);
        true
    }

    /// An NMI handler that reads a page through the TLB.
    fn nmi(&self, page: usize) {
        let is_cached = self.tlb().get(page).is_some_and(|entry| entry.load(Relaxed) != NO_FRAME);
        if is_cached && self.machine.nmis_read.load(Relaxed) {
            self.read(page);
        }
    }

    /// Reads a page and then lets interrupts in.
    pub(crate) fn read_then_window(&self, page: usize) {
        self.read(page);
        self.window();
    }

    pub(crate) fn unmap(&self, page: usize) {
        self.machine.ptes[page].store(NO_FRAME, Ordering::Relaxed);
    }

    fn write(&self, frame: usize, owner: usize) {
        // SAFETY: no CPU has a translation to it any more, if the protocol is right; see `Frame`.
        self.machine.frames[frame].0.with_mut(|content| unsafe { *content = owner });
    }

    /// Gives the frame that was first mapped at `page` to somebody else.
    pub(crate) fn reuse_frame_of(&self, page: usize) {
        self.write(page + 1, REUSED);
    }

    /// The frame that is mapped at `page`, which nobody else maps or unmaps.
    pub(crate) fn frame_at(&self, page: usize) -> usize {
        self.machine.ptes[page].load(Ordering::Relaxed)
    }

    /// A frame that nobody has used yet, one for each CPU.
    pub(crate) fn spare_frame(&self) -> usize {
        1 + NR_PAGES + self.id.index()
    }

    /// Reuses `old_frame`, which was mapped at `page`, and maps `new_frame` there.
    pub(crate) fn replace_frame(&self, page: usize, old_frame: usize, new_frame: usize) {
        self.write(old_frame, REUSED);
        self.write(new_frame, page);
        // Release: the content comes before the translation, as the processor's own order has it.
        self.machine.ptes[page].store(new_frame, Ordering::Release);
    }

    pub(crate) fn unmap_and_reuse(&self, page: usize) {
        self.unmap(page);
        self.machine.shootdown.initiate(self, [pages(page, 1)].into_iter());
        self.reuse_frame_of(page);
    }

    /// Goes idle for good.
    pub(crate) fn halt(&self) {
        self.interrupts_on.set(false);
        self.machine.shootdown.enter_idle(self);
        self.stop_reading();
    }

    /// Lets other CPUs go on, in a loop that waits for one of them.
    pub(crate) fn yield_now(&self) {
        #[cfg(loom)]
        if self.machine.nr_polls.fetch_add(1, Relaxed) >= self.machine.max_explored_polls.load(Relaxed) {
            loom::skip_branch();
        }
        thread::yield_now();
    }

    /// Takes interrupts until `is_done`, as a CPU does that runs something else.
    pub(crate) fn run_until_done(&self) {
        while !self.machine.is_done.load(Relaxed) {
            self.window();
            self.yield_now();
        }
    }

    pub(crate) fn done(&self) {
        self.machine.is_done.store(true, Relaxed);
    }
}

const fn bit(kind: IpiKind) -> usize {
    match kind {
        IpiKind::Shootdown => 1,
        IpiKind::Call => 2,
        IpiKind::Wake => 4,
    }
}

// SAFETY: each `Cpu` is played by one thread, and its handlers run on that thread, when interrupts are on.
unsafe impl<const N: usize> Hardware for Cpu<N> {
    fn this_cpu(&self) -> CpuId {
        self.id
    }

    fn send_ipi(&self, kind: IpiKind, targets: &CpuSet) -> usize {
        assert!(!targets.contains(self.id) && !targets.is_empty(), "cpu {} sends to {targets}", self.id);
        if self.machine.loses_ipis.load(Relaxed) {
            return targets.len();
        }
        fence(Ordering::SeqCst);
        // As the machine has it: the shorthand goes to every other CPU, whatever that runs.
        let is_shorthand = self.machine.shorthand.reaches_only(targets);
        let all_others = || -> CpuSet { CpuId::first(N).filter(|&cpu| cpu != self.id).collect() };
        let reached = if is_shorthand { all_others() } else { *targets };
        let takes_part = |cpu| self.machine.shootdown.presence(cpu) != Presence::Offline;
        assert!(!is_shorthand || reached.iter().all(takes_part), "an interrupt to a CPU that takes no part: {reached}");
        for target in reached.iter() {
            self.machine.irr[target.index()].fetch_or(bit(kind), Ordering::Release);
        }
        self.machine.nr_ipis.fetch_add(targets.len(), Relaxed);
        self.machine.nr_page_flushes_at_send.store(self.machine.nr_page_flushes.load(Relaxed), Relaxed);
        if is_shorthand {
            self.machine.nr_shorthands.fetch_add(1, Relaxed);
        }
        if is_shorthand { 1 } else { targets.len() }
    }

    fn flush_page(&self, address: usize) {
        self.machine.nr_page_flushes.fetch_add(1, Relaxed);
        let page = address / PAGE_SIZE;
        self.nmi(page);
        if let Some(entry) = self.tlb().get(page) {
            entry.store(NO_FRAME, Relaxed);
        }
        self.window();
    }

    fn flush_all(&self) {
        self.machine.nr_full_flushes.fetch_add(1, Relaxed);
        (0..NR_PAGES).for_each(|page| self.nmi(page));
        self.tlb().iter().for_each(|entry| entry.store(NO_FRAME, Relaxed));
        self.window();
    }

    fn broadcast(&self) -> Option<impl smp::Broadcast> {
        self.machine.wires.are_there().then_some(broadcast::Wire(self))
    }

    fn without_interrupts<R>(&self, f: impl FnOnce() -> R) -> R {
        let were_on = self.interrupts_on.replace(false);
        let result = f();
        self.interrupts_on.set(were_on);
        self.window();
        result
    }

    fn relax(&self) {
        self.yield_now();
        if self.machine.relax_serves.load(Relaxed) {
            self.machine.shootdown.service_if_pending(self);
            self.machine.calls.serve(self);
        }
        self.window();
    }

    fn now_ticks(&self) -> u64 {
        let is_frozen = self.machine.freezes_clock_after_report.load(Relaxed)
            && !self.machine.late_reports.lock().unwrap().is_empty();
        self.machine.clock.fetch_add(u64::from(!is_frozen), Relaxed)
    }

    fn watchdog_ticks(&self) -> u64 {
        self.machine.watchdog_ticks.load(Relaxed)
    }

    fn late(&self, report: &LateReport) {
        self.machine.late_reports.lock().unwrap().push(*report);
    }

    fn stuck(&self, report: &LateReport) -> ! {
        panic!("{report}");
    }
}
