//! The glue: what `mm` and `smp` ask of the machine, answered with `arch`. And the statics that the two crates are.
//!
//! Called by: `mm` ([`Machine`]) and `smp` ([`Hardware`]) through their traits, on every path that leaves pure code.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arch::apic::{self, LocalApic};
use arch::{irq, tlb, tsc};
use mm::bank::Bank;
use mm::debug::Finding;
use mm::error::{Error, Result};
use mm::heap::Heap;
use mm::machine::{Awaited, Machine};
use smp::shootdown::Mode;
use smp::watchdog::{self, WaitingFor};
use smp::{CpuId, CpuSet, CrossCall, Hardware, IpiKind, LateReport, Shootdown, Shorthand, WorkSlots};
use spin::Once;

use crate::console::log;
use crate::per_cpu::This;
use crate::{crash, debug, per_cpu, space, time, traps};

/// All memory of the machine.
#[global_allocator]
pub static HEAP: Heap<Cpu> = Heap::new();
/// Who has to forget which translation.
pub static SHOOTDOWNS: Shootdown = Shootdown::new();
/// Functions to run on other CPUs at once.
pub static CALLS: CrossCall = CrossCall::new();
/// Jobs for idle CPUs.
pub static WORK: WorkSlots = WorkSlots::new();

/// The CPU that runs this code, as `mm` and `smp` see it.
#[derive(Debug)]
pub struct Cpu;

static APIC: Once<LocalApic> = Once::new();

/// Interrupts sent for calls and jobs since boot. An interrupt costs thousands of times what this shared line does.
static NR_OTHER_IPIS: AtomicU64 = AtomicU64::new(0);

/// Interrupts sent to other CPUs since boot, by all; a broadcast is one for each of its targets.
pub fn nr_ipis() -> u64 {
    let for_shootdowns = |area: &per_cpu::PerCpu| SHOOTDOWNS.counters(area.cpu).interrupted.get();
    NR_OTHER_IPIS.load(Ordering::Relaxed) + per_cpu::all().map(for_shootdowns).sum::<u64>()
}

/// Whether an interrupt to all others is one to all but self.
static SHORTHAND: Shorthand = Shorthand::new();

/// Makes the local APIC known. Before the first interrupt is sent or ended.
pub fn set_apic(apic: LocalApic) {
    APIC.call_once(|| apic);
}

/// The local APIC of the CPU that asks; `None` early in boot.
pub fn apic() -> Option<&'static LocalApic> {
    APIC.get()
}

/// What flushes the TLBs of all CPUs without an interrupt; none until [`use_broadcast`].
static BROADCAST: Once<tlb::Broadcast> = Once::new();

/// INVLPGB, as `smp` sees it.
struct Invlpgb(tlb::Broadcast);

impl smp::Broadcast for Invlpgb {
    fn flush(&self, range: smp::PageRange) {
        self.0.flush(range.start(), range.nr_pages());
    }

    fn flush_all(&self) {
        self.0.flush_all();
    }

    fn sync(&self) {
        self.0.sync();
    }
}

/// Makes shootdowns rounds of the hardware from here on.
pub fn use_broadcast(broadcast: tlb::Broadcast) {
    BROADCAST.call_once(|| broadcast);
    SHOOTDOWNS.settings().set_mode(Mode::Broadcast);
}

/// States that every CPU that could take an interrupt runs this kernel.
pub fn allow_shorthand() {
    SHORTHAND.allow(SHOOTDOWNS.online().len());
}

/// Tells the local APIC that the interrupt in service is handled.
#[inline(always)]
pub fn end_of_interrupt() {
    if let Some(apic) = apic() {
        apic.eoi();
    }
}

/// Wakes those of `cpus` that halt, this one aside. Not counted by [`nr_ipis`].
pub fn wake_others(cpus: &CpuSet) {
    let mut others = *cpus;
    others.remove(per_cpu::this().cpu);
    if let (Some(apic), false) = (apic(), others.is_empty()) {
        send(apic, traps::WAKE, &others).unwrap_or_else(|error| panic!("a wake-up to cpu {others}: {error:?}"));
    }
}

/// Whether a CPU that waits looks after its own shootdowns. It does, but for chaos.
static SERVES_SHOOTDOWNS: AtomicBool = AtomicBool::new(true);

/// Has CPUs that wait serve no shootdowns from here on: see [`kernel::chaos`].
pub fn stop_serving_shootdowns() {
    SERVES_SHOOTDOWNS.store(false, Ordering::Relaxed);
}

/// How long a CPU may take to answer before it is asked again; it is reported after twice that, and the machine gives up
/// after four times that. Far beyond what an honest CPU needs, also where eight virtual CPUs share two real ones.
static PATIENCE_NS: AtomicU64 = AtomicU64::new(10_000_000_000);

/// Sets the patience of waits that begin from here on.
pub fn set_patience_ns(patience_ns: u64) {
    PATIENCE_NS.store(patience_ns, Ordering::Relaxed);
}

/// The patience of waits that begin now.
pub fn patience_ns() -> u64 {
    PATIENCE_NS.load(Ordering::Relaxed)
}

/// One turn of a wait: a pause, and what this CPU owes others.
pub fn relax_and_serve() {
    irq::pause();
    if SERVES_SHOOTDOWNS.load(Ordering::Relaxed) {
        SHOOTDOWNS.service_if_pending(&Cpu);
    }
    CALLS.serve(&Cpu);
}

/// Waits until `is_due`, serving others meanwhile; false if `gives_up` first, which is asked now and then.
///
/// Polls by plain loads, and pauses seldom: under emulation a pause leaves the translated code, takes the lock that a
/// halted CPU needs to wake up, and costs as much as fifty loads.
pub fn wait_until(is_due: impl Fn() -> bool, gives_up: impl Fn() -> bool) -> bool {
    const LOOKS: u32 = 200;
    loop {
        if (0..LOOKS).any(|_| is_due()) {
            return true;
        }
        if gives_up() {
            return false;
        }
        relax_and_serve();
    }
}

// SAFETY: the bank lies in the CPU's own area, which its GS base names and nobody else's does; nothing in this kernel
// moves from CPU to CPU; `irq_save` clears the interrupt flag.
unsafe impl Machine for Cpu {
    #[inline(always)]
    fn bank() -> &'static Bank {
        per_cpu::this().bank()
    }

    #[inline(always)]
    fn bank_at(offset: usize) -> *const u8 {
        This::bank_at(offset)
    }

    #[inline(always)]
    fn add_on_this_cpu<const N: i64>(word: &AtomicU64) -> u64 {
        irq::add_on_this_cpu::<N>(word)
    }

    fn irq_save() -> usize {
        irq::save_and_disable()
    }

    unsafe fn irq_restore(saved: usize) {
        // SAFETY: as promised by the caller.
        unsafe { irq::restore(saved) };
    }

    fn relax(nr_turns: u32) {
        /// Pauses of the longest wait: with more, a waiter sleeps through the release.
        const MAX_PAUSES: u32 = 64;
        for _ in 1..(1 << nr_turns.min(6)).min(MAX_PAUSES) {
            irq::pause();
        }
        relax_and_serve();
    }

    fn wait_for(awaited: Awaited, cpu: usize, is_over: impl Fn() -> bool) {
        let waiting_for = match awaited {
            Awaited::Reclaim => WaitingFor::Reclaim,
            Awaited::Purge => WaitingFor::Purge,
        };
        let cpu = CpuId::new(cpu).unwrap_or_else(|| panic!("cpu {cpu}, who is to end its {awaited:?}"));
        watchdog::wait_for(&Cpu, cpu, waiting_for, is_over);
    }

    fn drain_other_cpus() {
        let mut others = SHOOTDOWNS.online();
        others.remove(per_cpu::this().cpu);
        if others.is_empty() {
            return;
        }
        // A nested call is refused: this CPU is serving a call just now. Whoever made that drains, or needs no drain.
        let _ = CALLS.call(&Cpu, &others, &|_| {
            HEAP.serve_drain();
            space::drain_this_cpu();
        });
    }

    fn report(error: Error) {
        // What was overwritten is out of use already: the machine goes on, and says so.
        if let Error::Corrupt { .. } = error {
            return log!("memory: FAIL: {error}");
        }
        debug::report_late_free(error);
    }

    fn reserve_addresses(nr_pages: usize) -> Option<NonNull<u8>> {
        space::reserve_addresses(nr_pages)
    }

    fn map_page_at(addr: NonNull<u8>) -> Result<()> {
        space::map_page_at(addr.addr().get())
    }

    unsafe fn unmap_page_at(addr: NonNull<u8>) -> Result<()> {
        // SAFETY: as promised by the caller.
        unsafe { space::unmap_page_at(addr.addr().get()) }
    }

    fn report_finding(finding: &Finding) {
        debug::report(finding);
    }

    fn cpu_number() -> usize {
        per_cpu::this().cpu.index()
    }

    fn backtrace(sites: &mut [usize]) -> usize {
        debug::backtrace(sites)
    }

    fn map_pages(nr_pages: usize) -> Result<NonNull<u8>> {
        space::alloc_pages(nr_pages)
    }

    fn mapped_pages(addr: NonNull<u8>) -> Option<usize> {
        space::pages_at(addr.addr().get())
    }

    unsafe fn unmap_pages(addr: NonNull<u8>) -> Result<()> {
        // SAFETY: as promised by the caller.
        unsafe { space::free_pages(addr.addr().get()) }
    }

    fn purge_unmapped() {
        space::purge();
    }

    fn is_purging() -> bool {
        space::is_purging()
    }

    fn reclaim_ranges() {
        space::reclaim_ranges();
    }

    fn timestamp() -> u64 {
        tsc::read_serialised()
    }
}

// SAFETY: what `smp` asks of the machine is done by `arch` on this CPU: see each method.
unsafe impl Hardware for Cpu {
    fn this_cpu(&self) -> CpuId {
        per_cpu::this().cpu
    }

    fn send_ipi(&self, kind: IpiKind, targets: &CpuSet) -> usize {
        let vector = match kind {
            IpiKind::Shootdown => traps::SHOOTDOWN,
            IpiKind::Call => traps::CALL,
            IpiKind::Wake => traps::WAKE,
        };
        let Some(apic) = apic() else { panic!("an interrupt to cpu {targets} before the local APIC is set up") };
        let nr_writes = send(apic, vector, targets)
            .unwrap_or_else(|error| panic!("vector {vector:#x} to cpu {targets}: {error:?}"));
        // Shootdowns have counters of their own, on lines of their own.
        if kind != IpiKind::Shootdown {
            NR_OTHER_IPIS.fetch_add(targets.len() as u64, Ordering::Relaxed);
        }
        nr_writes
    }

    fn flush_page(&self, address: usize) {
        tlb::flush_page(address);
    }

    fn flush_all(&self) {
        tlb::flush_all();
    }

    fn broadcast(&self) -> Option<impl smp::Broadcast> {
        BROADCAST.get().copied().map(Invlpgb)
    }

    fn without_interrupts<R>(&self, f: impl FnOnce() -> R) -> R {
        let _guard = irq::InterruptGuard::new();
        f()
    }

    fn relax(&self) {
        relax_and_serve();
    }

    fn now_ticks(&self) -> u64 {
        tsc::read()
    }

    fn watchdog_ticks(&self) -> u64 {
        time::ticks(patience_ns())
    }

    fn late(&self, report: &LateReport) {
        crash::report_late(report);
    }

    fn stuck(&self, report: &LateReport) -> ! {
        panic!("{}", crash::late(report));
    }
}

/// Sends `vector` to each of `targets`, which are online and not this CPU, with as few writes as the mode allows; returns
/// how many: one to all others of the machine, else one for each cluster, or in xAPIC mode for each CPU.
fn send(apic: &LocalApic, vector: u8, targets: &CpuSet) -> core::result::Result<usize, apic::SendError> {
    if SHORTHAND.reaches_only(targets) {
        return apic.broadcast_all_but_self(vector).map(|nr_writes| nr_writes as usize);
    }
    let apic_id = |cpu| per_cpu::of(cpu).map_or(0, per_cpu::PerCpu::apic_id);
    let mut nr_writes = 0;
    if apic.mode() == apic::Mode::X2Apic {
        // Groups come out whole whatever the order in which the CPUs are numbered.
        let mut rest = *targets;
        while let Some((_, cluster)) = rest.take_group(|cpu| apic::cluster_of(apic_id(cpu))) {
            let destination = cluster.iter().fold(0, |union, cpu| union | apic::logical_id(apic_id(cpu)));
            nr_writes += apic.send_cluster(destination, vector)?;
        }
    } else {
        for cpu in targets.iter() {
            nr_writes += apic.send(apic_id(cpu), vector)?;
        }
    }
    Ok(nr_writes as usize)
}
