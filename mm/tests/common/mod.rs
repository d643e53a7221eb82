//! A machine for tests: its memory is a block of the host's, its CPUs are threads, its other CPUs' drains are done by
//! the thread that asks, which is sound as those threads say when they are not allocating.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use mm::bank::Bank;
use mm::debug::{DebugFlags, DebugRules, Finding};
use mm::error::{Error, Result};
use mm::frame::PAGE_SIZE;
use mm::heap::Heap;
use mm::machine::{Awaited, Machine};
use mm::memory_map::{Region, RegionKind};

thread_local! {
    /// A pointer, as Miri goes through all of a bank whenever a reference to it changes hands.
    static BANK: Cell<Option<NonNull<Bank>>> = const { Cell::new(None) };
    static REPORTS: RefCell<Vec<Error>> = const { RefCell::new(Vec::new()) };
    static DRAIN: Cell<Option<fn()>> = const { Cell::new(None) };
    static PURGE: Cell<Option<fn()>> = const { Cell::new(None) };
    static IS_PURGING: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
    static RECLAIM_RANGES: Cell<Option<fn()>> = const { Cell::new(None) };
    /// CPUs that only wait, and the heap they wait on: this thread drains them when it is asked to.
    static PARKED: RefCell<Option<(&'static Heap<Host>, Vec<&'static Bank>)>> = const { RefCell::new(None) };
    static IRQ_DEPTH: Cell<usize> = const { Cell::new(0) };
    static CLOCK: Cell<u64> = const { Cell::new(0) };
    static INTERRUPT: Cell<Option<fn()>> = const { Cell::new(None) };
    static FINDINGS: RefCell<Vec<Finding>> = const { RefCell::new(Vec::new()) };
    static CPU: Cell<usize> = const { Cell::new(0) };
    /// What a walk of the stack finds: the tests say where they are.
    static GUARD_POOL: RefCell<Option<GuardPool>> = const { RefCell::new(None) };
    static SITES: Cell<[usize; 2]> = const { Cell::new([0; 2]) };
}

/// The test machine.
#[derive(Debug)]
pub(crate) struct Host;

// SAFETY: each thread sets its own bank, which no other thread gets, and a thread is a CPU that nothing interrupts.
unsafe impl Machine for Host {
    fn bank() -> &'static Bank {
        // SAFETY: the bank lives as long as the test heap, which the thread's use of the heap does not outlive.
        unsafe { BANK.get().expect("the thread has a bank").as_ref() }
    }

    fn bank_at(offset: usize) -> *const u8 {
        BANK.get().expect("the thread has a bank").as_ptr().cast::<u8>().wrapping_add(offset)
    }

    fn irq_save() -> usize {
        interrupt();
        let depth = IRQ_DEPTH.get();
        IRQ_DEPTH.set(depth + 1);
        depth
    }

    unsafe fn irq_restore(saved: usize) {
        assert_eq!(IRQ_DEPTH.get(), saved + 1, "interrupt flags restored out of order");
        IRQ_DEPTH.set(saved);
        interrupt();
    }

    fn relax(_nr_turns: u32) {
        std::thread::yield_now();
    }

    fn wait_for(awaited: Awaited, cpu: usize, is_over: impl Fn() -> bool) {
        /// What is waited for takes microseconds, or minutes under Miri.
        const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 600 } else { 20 });
        let begun = Instant::now();
        while !is_over() {
            assert!(begun.elapsed() < PATIENCE, "cpu {} waits for cpu {cpu} for ever: {awaited:?}", CPU.get());
            std::thread::yield_now();
        }
    }

    fn drain_other_cpus() {
        assert_eq!(IRQ_DEPTH.get(), 0, "other CPUs asked with interrupts off");
        if let Some(drain) = DRAIN.get() {
            drain();
        }
    }

    fn purge_unmapped() {
        assert_eq!(IRQ_DEPTH.get(), 0, "a purge with interrupts off");
        if let Some(purge) = PURGE.take() {
            purge();
            PURGE.set(Some(purge));
        }
    }

    fn is_purging() -> bool {
        IS_PURGING.get().is_some_and(|is_purging| is_purging())
    }

    fn reclaim_ranges() {
        assert_eq!(IRQ_DEPTH.get(), 0, "ranges asked for with interrupts off");
        if let Some(reclaim) = RECLAIM_RANGES.get() {
            reclaim();
        }
    }

    fn report(error: Error) {
        assert_eq!(IRQ_DEPTH.get(), 0, "a report with a lock held");
        REPORTS.with_borrow_mut(|reports| reports.push(error));
    }

    /// Ticks with each reading: an operation lasts as long as the number of times it asked.
    fn timestamp() -> u64 {
        CLOCK.set(CLOCK.get() + 1);
        CLOCK.get()
    }

    fn reserve_addresses(nr_pages: usize) -> Option<NonNull<u8>> {
        GUARD_POOL.with_borrow_mut(|pool| pool.as_mut().map(|pool| pool.reserve(nr_pages)))
    }

    fn map_page_at(addr: NonNull<u8>) -> Result<()> {
        GUARD_POOL.with_borrow_mut(|pool| pool.as_mut().expect("a pool").set_mapped(addr, true));
        Ok(())
    }

    unsafe fn unmap_page_at(addr: NonNull<u8>) -> Result<()> {
        assert_eq!(IRQ_DEPTH.get(), 0, "other CPUs asked with interrupts off");
        GUARD_POOL.with_borrow_mut(|pool| pool.as_mut().expect("a pool").set_mapped(addr, false));
        Ok(())
    }

    fn cpu_number() -> usize {
        CPU.get()
    }

    fn backtrace(sites: &mut [usize]) -> usize {
        let here = SITES.get();
        sites[..2].copy_from_slice(&here);
        2
    }

    fn report_finding(finding: &Finding) {
        assert_eq!(IRQ_DEPTH.get(), 0, "a finding with a lock held");
        FINDINGS.with_borrow_mut(|findings| findings.push(*finding));
    }
}

/// An interrupt, at the edges of each stretch with interrupts off: where one that waited would come. Not in another.
fn interrupt() {
    if IRQ_DEPTH.get() == 0
        && let Some(handler) = INTERRUPT.take()
    {
        handler();
        INTERRUPT.set(Some(handler));
    }
}

/// From here on `handler` runs on this thread whenever interrupts are about to go off, and when they come on again.
#[allow(dead_code, reason = "not every test binary uses all of the machine")]
pub(crate) fn on_interrupt(handler: Option<fn()>) {
    INTERRUPT.set(handler);
}

/// What draining the other CPUs does from this thread on.
pub(crate) fn on_drain(drain: Option<fn()>) {
    DRAIN.set(drain);
}

/// What says from here on whether this thread purges.
#[allow(dead_code, reason = "not every test binary uses all of the machine")]
pub(crate) fn on_is_purging(is_purging: Option<fn() -> bool>) {
    IS_PURGING.set(is_purging);
}

fn drain_parked() {
    let Some((heap, banks)) = PARKED.with_borrow(Clone::clone) else { return };
    let me = BANK.get();
    for bank in banks {
        if me != Some(NonNull::from(bank)) {
            BANK.set(Some(NonNull::from(bank)));
            heap.serve_drain();
        }
    }
    BANK.set(me);
}

/// What was reported on this thread since the last call.
#[allow(dead_code, reason = "not every test binary uses all of the machine")]
pub(crate) fn take_reports() -> Vec<Error> {
    REPORTS.take()
}

/// Pages of which the test knows which would be mapped.
pub(crate) struct GuardPool {
    pages: Option<(NonNull<u8>, Layout)>,
    mapped: std::collections::BTreeSet<usize>,
}

impl GuardPool {
    fn reserve(&mut self, nr_pages: usize) -> NonNull<u8> {
        let layout = Layout::from_size_align(nr_pages * PAGE_SIZE, PAGE_SIZE).expect("a sane size");
        // SAFETY: the layout has a size.
        let pages = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("the host has memory");
        assert!(self.pages.replace((pages, layout)).is_none(), "one pool is enough");
        pages
    }

    fn set_mapped(&mut self, addr: NonNull<u8>, is_mapped: bool) {
        let addr = addr.addr().get();
        assert_eq!(addr % PAGE_SIZE, 0);
        let changed = if is_mapped { self.mapped.insert(addr) } else { self.mapped.remove(&addr) };
        assert!(changed, "{addr:#x} is mapped: {}", !is_mapped);
    }
}

impl Drop for GuardPool {
    fn drop(&mut self) {
        if let Some((pages, layout)) = self.pages {
            // SAFETY: allocated in `reserve` with this layout.
            unsafe { dealloc(pages.as_ptr(), layout) };
        }
    }
}

/// From here on this thread's machine can map pages one by one.
#[allow(dead_code, reason = "not every test binary uses all of the machine")]
pub(crate) fn with_guard_pool() {
    GUARD_POOL.set(Some(GuardPool { pages: None, mapped: std::collections::BTreeSet::new() }));
}

/// Whether the page that `addr` of the guard pool lies in is mapped.
#[allow(dead_code, reason = "not every test binary uses all of the machine")]
pub(crate) fn is_guard_page_mapped(addr: usize) -> bool {
    GUARD_POOL.with_borrow(|pool| pool.as_ref().expect("a pool").mapped.contains(&(addr & !(PAGE_SIZE - 1))))
}

/// What debug checks found on this thread since the last call.
#[allow(dead_code, reason = "not every test binary uses all of the machine")]
pub(crate) fn take_findings() -> Vec<Finding> {
    FINDINGS.take()
}

/// From here on this is where the thread allocates and frees.
#[allow(dead_code, reason = "not every test binary uses all of the machine")]
pub(crate) fn at_site(site: usize) {
    SITES.set([site, site + 0x1000]);
}

/// A heap over `nr_pages` of memory, with this thread as CPU 0. Its memory is given back when it is dropped.
pub(crate) struct TestHeap {
    pub(crate) heap: &'static Heap<Host>,
    owner: *mut Heap<Host>,
    memory: NonNull<u8>,
    layout: Layout,
    banks: RefCell<Vec<NonNull<Bank>>>,
}

impl TestHeap {
    pub(crate) fn new(nr_pages: usize) -> Self {
        static NONE: DebugRules = |_, _| DebugFlags::NONE;
        Self::with_rules(nr_pages, &NONE)
    }

    /// With debug checks.
    pub(crate) fn with_rules(nr_pages: usize, rules: &'static DebugRules) -> Self {
        let layout = Layout::from_size_align(nr_pages * PAGE_SIZE, 1 << 16).expect("a sane size");
        // SAFETY: the layout has a size.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("the host has memory");
        let owner = Box::into_raw(new_heap());
        // SAFETY: a heap of ours until the test heap is dropped.
        let heap: &'static Heap<Host> = unsafe { &*owner };
        // The first page of the block is physical address 0, which is never handed out.
        let end = (nr_pages * PAGE_SIZE) as u64;
        let map = [Region { start: PAGE_SIZE as u64, end, kind: RegionKind::Usable }];
        let this = Self { heap, owner, memory, layout, banks: RefCell::new(Vec::new()) };
        this.enter_cpu(0);
        // SAFETY: the block is ours, mapped where it says, and this is the first use.
        unsafe { heap.frames().init(&map, &[], memory.as_ptr().expose_provenance()) }.expect("room for the metadata");
        heap.set_debug_rules(rules);
        heap.init();
        this
    }

    /// Makes this thread CPU number `cpu` from here on.
    pub(crate) fn enter_cpu(&self, cpu: usize) {
        let layout = Layout::new::<Bank>();
        let mut banks = self.banks.borrow_mut();
        while banks.len() <= cpu {
            // SAFETY: a bank has a size; all zero bytes are a valid bank.
            let bank = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("the host has memory").cast::<Bank>();
            // SAFETY: as above, and the bank lives until the test heap is dropped.
            self.heap.add_cpu(banks.len(), unsafe { bank.as_ref() });
            banks.push(bank);
        }
        CPU.set(cpu);
        BANK.set(Some(banks[cpu]));
    }

    /// A bank for another thread, to pass to [`enter_bank`].
    #[allow(dead_code, reason = "not every test binary uses all of the machine")]
    pub(crate) fn bank(&self, cpu: usize) -> &'static Bank {
        let me = BANK.get();
        self.enter_cpu(cpu);
        let bank = Host::bank();
        BANK.set(me);
        bank
    }

    /// What draining the other CPUs does from this thread on.
    #[allow(dead_code, reason = "not every test binary uses all of the machine")]
    pub(crate) fn on_drain(&self, drain: Option<fn()>) {
        on_drain(drain);
    }

    /// What a purge does from this thread on. Not in another.
    #[allow(dead_code, reason = "not every test binary uses all of the machine")]
    pub(crate) fn on_purge(&self, purge: Option<fn()>) {
        PURGE.set(purge);
    }

    /// What a reclaim of ranges does from this thread on.
    #[allow(dead_code, reason = "not every test binary uses all of the machine")]
    pub(crate) fn on_reclaim_of_ranges(&self, reclaim: Option<fn()>) {
        RECLAIM_RANGES.set(reclaim);
    }

    /// From here on the other CPUs known by now wait, and are drained by this thread on request.
    #[allow(dead_code, reason = "not every test binary uses all of the machine")]
    pub(crate) fn park_other_cpus(&self) {
        // SAFETY: the banks live until the test heap is dropped, which clears the list.
        let banks = self.banks.borrow().iter().map(|bank| unsafe { bank.as_ref() }).collect();
        PARKED.set(Some((self.heap, banks)));
        self.on_drain(Some(drain_parked));
    }

    /// Panics unless every count agrees and nothing has been reported.
    pub(crate) fn check(&self) {
        let account = self.heap.account();
        assert!(account.adds_up(), "{account:?}: difference {}, {:?}", account.difference(), account.disagreement());
        for (id, _) in self.heap.caches() {
            let cache = self.heap.cache_account(id);
            assert!(cache.adds_up(), "cache {id}: {cache:?}");
        }
    }

    /// Panics unless a reclaim brings every frame back.
    #[allow(dead_code, reason = "not every test binary uses all of the machine")]
    pub(crate) fn check_empty(&self) {
        self.heap.reclaim();
        let account = self.heap.account();
        assert_eq!(account.nr_free, account.nr_managed, "{account:?}");
        self.check();
    }
}

/// Makes this thread the CPU with that bank.
#[allow(dead_code, reason = "not every test binary uses all of the machine")]
pub(crate) fn enter_bank(bank: &'static Bank) {
    BANK.set(Some(NonNull::from(bank)));
}

impl Drop for TestHeap {
    fn drop(&mut self) {
        BANK.set(None);
        DRAIN.set(None);
        PURGE.set(None);
        IS_PURGING.set(None);
        RECLAIM_RANGES.set(None);
        PARKED.set(None);
        INTERRUPT.set(None);
        GUARD_POOL.set(None);
        // SAFETY: made in `new` by Box; the tests' uses of it end before the test heap's.
        drop(unsafe { Box::from_raw(self.owner) });
        for bank in self.banks.borrow().iter() {
            // SAFETY: allocated in `enter_cpu` with this layout.
            unsafe { dealloc(bank.as_ptr().cast(), Layout::new::<Bank>()) };
        }
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

/// A heap on the host's heap; it is too large for a test thread's stack.
pub(crate) fn new_heap() -> Box<Heap<Host>> {
    static EMPTY: Heap<Host> = Heap::new();
    let mut place = Box::<Heap<Host>>::new_uninit();
    // SAFETY: a heap without memory owns nothing, so a copy of its bytes is another such heap; EMPTY is never used.
    unsafe {
        place.as_mut_ptr().copy_from_nonoverlapping(&raw const EMPTY, 1);
        place.assume_init()
    }
}
