//! The arena of all CPUs: magazines of short ranges before it, its lock, and the pages that it wants, from the heap.
//!
//! ```text
//!   1 to 8 pages: this CPU's magazine ─► depot ─► arena         longer, or with constraints: arena
//! ```
//!
//! The arena's lock is held for the steps of one operation, or of a batch, and never while memory is had: what the arena
//! wants is fetched beforehand, with the lock open. A free wants nothing.
//!
//! Lock order: address-space arena, above the frame bitmap; interrupts off. Context: any but an NMI. Called by: the
//! kernel's address space.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::quantum::{Quantum, Ranges, range_at, round_at};
use super::states::{State, States, ZeroedPages};
use super::{Arena, Policy, Request, VirtRange};
use crate::bank::{Bank, MAX_QUANTA};
use crate::cpu_cache::CpuCache;
use crate::error::{Error, Result};
use crate::frame::{Frame, PAGE_SIZE};
use crate::frame_table::Kind;
use crate::heap::Heap;
use crate::latency::Operation;
use crate::lock::Lock;
use crate::machine::Machine;
use crate::magazine_layer::{Source, pop_slow, push_slow};

/// How an arena is to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which free segment is taken, where a request does not say.
    pub policy: Policy,
    /// Whether short ranges come from magazines. Without, an address is reused as late as the policy lets it.
    pub has_quantum_caches: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { policy: Policy::Instant, has_quantum_caches: true }
    }
}

/// Kernel address space, of all CPUs. See the module.
#[derive(Debug)]
pub struct SharedArena<M: Machine> {
    pub(super) heap: &'static Heap<M>,
    pub(super) arena: Lock<Arena, M>,
    pub(super) states: States,
    pub(super) quanta: [Quantum<M>; MAX_QUANTA],
    /// Sizes that have magazines: all or none.
    pub(super) nr_quanta: usize,
    policy: Policy,
}

impl<M: Machine> SharedArena<M> {
    /// An arena over `span`, with pages from `heap`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if the heap has no two pages for it.
    ///
    /// # Safety
    ///
    /// Of all arenas of this machine, one has quantum caches: a CPU's bank has room for the magazines of one.
    pub unsafe fn new(heap: &'static Heap<M>, span: VirtRange, options: Options) -> Result<Self> {
        let shared = Self {
            heap,
            arena: Lock::new(Arena::new()),
            states: States::new(span.start()),
            quanta: core::array::from_fn(Quantum::new),
            nr_quanta: if options.has_quantum_caches { MAX_QUANTA } else { 0 },
            policy: options.policy,
        };
        shared.add_span(span)?;
        Ok(shared)
    }

    /// Adds addresses.
    ///
    /// # Errors
    ///
    /// As [`Arena::add_span`].
    pub fn add_span(&self, span: VirtRange) -> Result<()> {
        self.with_tags(|arena| arena.add_span(span))
    }

    /// Takes `nr_pages` pages, wherever they are.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] for no pages; [`Error::OutOfMemory`] for want of addresses, after the magazines of all CPUs have
    /// given theirs back, or of memory for a tag.
    #[inline]
    pub fn alloc(&self, nr_pages: usize) -> Result<VirtRange> {
        let index = nr_pages.wrapping_sub(1);
        let round = if index < self.nr_quanta { Self::magazines(index).pop::<M>() } else { None };
        if let Some(round) = round
            && self.states.take_out(round.addr().get(), nr_pages)
        {
            return Ok(range_at(round, nr_pages));
        }
        self.alloc_slow(nr_pages, round)
    }

    /// `refused` is what this CPU's magazine held on top, if that was no range.
    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, nr_pages: usize, refused: Option<NonNull<u8>>) -> Result<VirtRange> {
        let index = nr_pages.wrapping_sub(1);
        if let Some(round) = refused {
            self.quanta[index].refuse(round);
        }
        if index < self.nr_quanta
            && let Some(range) = self.alloc_quantum(index)
        {
            return Ok(range);
        }
        self.or_reclaim(|arena| arena.alloc(nr_pages, self.policy))
    }

    /// A range by way of this CPU's magazines; `None` if this is an interrupt that landed on their holder, and if there are
    /// no addresses, or no memory.
    fn alloc_quantum(&self, index: usize) -> Option<VirtRange> {
        let supply = self.heap.supply();
        let watch = supply.latency.start::<M>(Operation::Alloc, None);
        let held = Self::magazines(index).try_hold::<M>()?;
        let source = Ranges { arena: self, index };
        loop {
            let round = pop_slow(&source, supply, &held, &watch)?;
            if self.states.take_out(round.addr().get(), index + 1) {
                return Some(range_at(round, index + 1));
            }
            self.quanta[index].refuse(round);
        }
    }

    /// Takes `nr_pages` pages, the first at a multiple of `align_pages` pages.
    ///
    /// # Errors
    ///
    /// As [`alloc`](Self::alloc); [`Error::BadRequest`] for an alignment that is no power of two.
    #[inline]
    pub fn alloc_aligned(&self, nr_pages: usize, align_pages: usize) -> Result<VirtRange> {
        if align_pages == 1 {
            return self.alloc(nr_pages);
        }
        self.alloc_constrained(&Request { align_pages, policy: self.policy, ..Request::pages(nr_pages) })
    }

    /// Takes pages as `request` says, past the magazines. Its policy is the request's own.
    ///
    /// # Errors
    ///
    /// As [`Arena::alloc_constrained`].
    pub fn alloc_constrained(&self, request: &Request) -> Result<VirtRange> {
        self.or_reclaim(|arena| arena.alloc_constrained(request))
    }

    /// Gives back the range that starts at `addr` and has `nr_pages` pages.
    ///
    /// # Errors
    ///
    /// With nothing changed: `Foreign` if no range starts there, `DoubleFree` if that page is free or the range is in a
    /// magazine, `WrongSize` if the range there has another size.
    #[inline]
    pub fn free(&self, addr: usize, nr_pages: usize) -> Result<()> {
        let index = nr_pages.wrapping_sub(1);
        if index < self.nr_quanta
            && self.states.put_back(addr, nr_pages)
            && let Some(round) = round_at(addr)
        {
            if !Self::magazines(index).push::<M>(round) {
                self.free_slow(index, round);
            }
            return Ok(());
        }
        self.free_past_magazines(addr, nr_pages)
    }

    #[cold]
    #[inline(never)]
    fn free_slow(&self, index: usize, round: NonNull<u8>) {
        let supply = self.heap.supply();
        let watch = supply.latency.start::<M>(Operation::Free, None);
        let source = Ranges { arena: self, index };
        let held = Self::magazines(index).try_hold::<M>();
        if held.is_none_or(|held| !push_slow(&source, supply, &held, &watch, round)) {
            source.give_back(supply, &[Some(round)]);
            self.quanta[index].nr_direct_frees.fetch_add(1, Relaxed);
        }
    }

    /// Frees what was not handed out by a magazine of that size, and finds out what is wrong with it if it was by another.
    #[cold]
    #[inline(never)]
    fn free_past_magazines(&self, addr: usize, nr_pages: usize) -> Result<()> {
        match self.states.get(addr) {
            State::Other => self.arena.lock().free(addr, nr_pages),
            State::Cached { .. } => Err(Error::DoubleFree { addr }),
            State::Out { .. } => Err(Error::WrongSize { addr, given: nr_pages.saturating_mul(PAGE_SIZE) }),
        }
    }

    /// Gives a range back that nobody has seen.
    pub(super) fn give_back(&self, range: VirtRange) {
        if let Err(error) = self.arena.lock().free(range.start(), range.nr_pages()) {
            panic!("{range:x?} cannot go back to the arena: {error}");
        }
    }

    /// This CPU's magazines of ranges of `index + 1` pages.
    #[inline(always)]
    fn magazines(index: usize) -> &'static CpuCache {
        debug_assert!(index < MAX_QUANTA);
        // SAFETY: a cache is at this place in every bank, and the bank is this CPU's and static by the machine's promise;
        // no other arena uses it, as promised to `new`.
        unsafe { &*M::bank_at(Bank::offset_of_ranges(index)).cast() }
    }

    /// Does `operation` on the arena; if there are no addresses, once more when all magazines are empty.
    fn or_reclaim<T>(&self, operation: impl Fn(&mut Arena) -> Result<T>) -> Result<T> {
        match self.with_tags(&operation) {
            Err(Error::OutOfMemory { .. }) if self.nr_quanta > 0 => {
                self.reclaim();
                self.with_tags(&operation)
            }
            other => other,
        }
    }

    /// Does `operation` on the arena, which has tags enough by then, or as many as can be had.
    fn with_tags<T>(&self, operation: impl Fn(&mut Arena) -> Result<T>) -> Result<T> {
        self.refill(|| self.heap.alloc_frame(Kind::Tags).ok());
        operation(&mut self.arena.lock())
    }

    /// Gives the arena the pages that it wants, as far as there are any.
    pub(super) fn refill(&self, alloc: impl Fn() -> Option<Frame>) {
        loop {
            let nr_wanted = self.arena.lock().nr_pages_wanted();
            let Some(frame) = (nr_wanted > 0).then(&alloc).flatten() else { break };
            let page = self.heap.frames().virt(frame);
            // SAFETY: the frame is the arena's for good from here on, and seen through the direct map.
            unsafe { self.arena.lock().give_page(page) };
        }
    }

    /// A frame for the arena, without a reclaim.
    pub(super) fn frames_alloc(&self) -> Option<Frame> {
        self.heap.frames().alloc(Kind::Tags).ok()
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    /// Gives back what this CPU's magazines hold. What an interrupt finds busy is skipped. [`Machine::drain_other_cpus`] has
    /// each CPU call it.
    pub fn drain_this_cpu(&self) {
        for index in 0..self.nr_quanta {
            if let Some(held) = Self::magazines(index).try_hold::<M>() {
                Ranges { arena: self, index }.drain(self.heap.supply(), &held);
            }
        }
    }

    /// Gives back what all magazines hold.
    ///
    /// Context: any but an NMI; no lock of this crate held. Waits for the other CPUs; those are left alone by an interrupt
    /// that landed on a reclaim, and while this CPU is drained for another.
    pub fn reclaim(&self) {
        // The same request drains the heap's caches, which may not be while one is opened or closed, or all are counted.
        let exclusive = self.heap.exclude_others();
        if exclusive.is_some() {
            M::drain_other_cpus();
        }
        self.reclaim_here();
    }

    /// Gives back what this CPU's magazines and the depots hold. The arena has the ranges again, and their tags; the memory
    /// of the magazines is free: 64 of each size lie in the depots at most, 256 KiB in all. The pages of tags and of ranges'
    /// states stay.
    ///
    /// Context: any but an NMI; no lock of this crate held. Waits for nobody. [`Machine::reclaim_ranges`] is to call it.
    pub fn reclaim_here(&self) {
        self.drain_this_cpu();
        for index in 0..self.nr_quanta {
            Ranges { arena: self, index }.empty_depot(self.heap.supply());
            self.quanta[index].depot.after_reap();
        }
    }

    /// Pages of the range that starts at `addr`; `None` if none does.
    pub fn size_of(&self, addr: usize) -> Option<usize> {
        match self.states.get(addr) {
            State::Other => self.arena.lock().size_of(addr),
            State::Out { nr_pages } => Some(nr_pages),
            State::Cached { .. } => None,
        }
    }

    /// The range in which `addr` lies, wherever in it. In time proportional to the segments, with the lock held.
    pub fn range_around(&self, addr: usize) -> Option<VirtRange> {
        let range = self.arena.lock().range_around(addr)?;
        (!self.is_cached(range)).then_some(range)
    }

    pub(super) fn is_cached(&self, range: VirtRange) -> bool {
        matches!(self.states.get(range.start()), State::Cached { .. })
    }

    /// Checks every invariant of the arena. For tests.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        self.arena.lock().check_invariants();
    }
}

impl<M: Machine> ZeroedPages for SharedArena<M> {
    fn take(&self) -> Option<NonNull<u8>> {
        let page = self.heap.frames().virt(self.frames_alloc()?);
        // SAFETY: the frame is ours, and seen through the direct map.
        unsafe { page.write_bytes(0, PAGE_SIZE) };
        Some(page)
    }

    fn put(&self, page: NonNull<u8>) {
        let Some(frame) = self.heap.frames().frame_of(page) else { panic!("{page:p} is no frame of `take`") };
        // SAFETY: nobody has seen the page.
        if let Err(error) = unsafe { self.heap.frames().free(frame, Kind::Tags) } {
            panic!("a frame that was just allocated cannot be freed: {error}");
        }
    }
}
