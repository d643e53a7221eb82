//! Mapped pages under stress, and the stale-TLB detector.
//!
//! ```text
//!   owner                                     everybody else
//!   fill a page with stamps, map it, publish
//!                                             read retired; read the page by a probe that survives a fault
//!   unmap: every CPU acknowledges
//!   retired = the stamp's number              a stamp that is retired, or of another address: stale
//! ```
//!
//! A stamp is a number that grows over the whole run, and the page it was made for; it is in the page before anybody can
//! see the page. So a CPU that reads a stamp whose number was retired *before* it read has used a translation that was
//! removed and acknowledged. A page that another owner has mapped meanwhile at the same address has a younger stamp.
//!
//! Called by: [`super::worker`]. No lock is held here.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use alloc::vec::Vec;
use arch::probe;
use kernel::rng::SplitMix64;
use mm::frame::PAGE_SIZE;
use smp::{CpuId, CpuSet};

use super::verdict::Failure;
use super::{Counts, Run};
use crate::machine::{CALLS, Cpu};
use crate::space::{self, Attributes, Mapped};
use crate::{per_cpu, workers};

/// Marks a word as a stamp.
const MAGIC: u64 = 0xba5;
/// Bits of a stamp: magic 12, page 24, number 28.
const NUMBER_BITS: u32 = 28;
const PAGE_BITS: u32 = 24;
/// Ranges that a worker keeps mapped.
const NR_RANGES: usize = 24;

fn stamp(number: u64, page_addr: usize) -> u64 {
    let page = (page_addr / PAGE_SIZE) as u64 & ((1 << PAGE_BITS) - 1);
    MAGIC << (PAGE_BITS + NUMBER_BITS) | page << NUMBER_BITS | number & ((1 << NUMBER_BITS) - 1)
}

/// What a word that was read at `addr` says: the number of the stamp, and whether it was made for this page.
fn read_stamp(word: u64, addr: usize) -> Option<(u64, bool)> {
    let number = word & ((1 << NUMBER_BITS) - 1);
    (word >> (PAGE_BITS + NUMBER_BITS) == MAGIC).then(|| (number, stamp(number, addr) == word))
}

/// Whether stamp `number` is older than `least`: by distance, as stamps have few bits and wrap.
fn is_older(number: u64, least: u64) -> bool {
    number.wrapping_sub(least) & (1 << (NUMBER_BITS - 1)) != 0
}

/// What each worker lets the others look at.
pub(super) struct Published {
    slots: Vec<Slot>,
    /// The next stamp's number. From 1, so that nothing is retired at first.
    next_number: AtomicU64,
}

#[derive(Default)]
struct Slot {
    /// Address of a page that is mapped or was; 0 before the first.
    addr: AtomicUsize,
    /// The newest number that was at that address and is gone from every CPU's sight.
    retired: AtomicU64,
}

impl Published {
    /// `None` without memory.
    pub(super) fn new(nr_workers: usize) -> Option<Self> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(nr_workers).ok()?;
        slots.resize_with(nr_workers, Slot::default);
        Some(Self { slots, next_number: AtomicU64::new(1) })
    }

    fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }
}

/// The ranges that one worker has mapped, the oldest first: with the number of its stamps each. An array, since another
/// worker may have taken all memory just when this one maps.
pub(super) struct Ranges {
    owner: usize,
    mapped: [Option<(Mapped, u64)>; NR_RANGES],
    len: usize,
}

impl Ranges {
    pub(super) fn new(owner: usize) -> Self {
        Self { owner, mapped: [const { None }; NR_RANGES], len: 0 }
    }

    /// Maps a range of 1 to 4 pages and lets the others see it; at the limit, or now and then, unmaps some or all.
    pub(super) fn step(&mut self, run: &Run, random: &mut SplitMix64) {
        if self.len == NR_RANGES || self.len > 0 && random.chance(1, 12) {
            let nr_kept = random.below(self.len as u64) as usize;
            return self.unmap_down_to(run, nr_kept);
        }
        let nr_pages = random.within(&(1..=4)) as usize;
        let Some((mapped, number)) = map_stamped(run, nr_pages) else { return run.refused() };
        // One's own TLB must not remember an earlier page at this address either.
        check(run, per_cpu::this().cpu, mapped.start(), number, true);
        let slot = &run.published.slots[self.owner];
        slot.addr.store(mapped.start(), Ordering::Release);
        self.mapped[self.len] = Some((mapped, number));
        self.len += 1;
    }

    fn unmap_down_to(&mut self, run: &Run, nr_kept: usize) {
        let slot = &run.published.slots[self.owner];
        let addr = slot.addr.load(Ordering::Relaxed);
        let going = &mut self.mapped[nr_kept..self.len];
        let published = going.iter().flatten().find(|(mapped, _)| mapped.start() == addr).map(|(_, number)| *number);
        Counts::add(&run.counts.nr_unmaps, going.len() as u64);
        // SAFETY: the ranges are ours; others read them by probes, which survive a fault.
        unsafe { space::unmap_batch(going.iter_mut().filter_map(Option::take).map(|(mapped, _)| mapped)) };
        self.len = nr_kept;
        if let Some(number) = published {
            // Release: who sees it retired probes after every CPU has acknowledged.
            slot.retired.store(number, Ordering::Release);
        }
    }

    /// Unmaps everything.
    pub(super) fn clear(&mut self, run: &Run) {
        self.unmap_down_to(run, 0);
    }
}

/// Maps pages full of stamps of one new number. It is drawn when the addresses are taken and not before: whoever had
/// them earlier has retired a smaller one.
fn map_stamped(run: &Run, nr_pages: usize) -> Option<(Mapped, u64)> {
    let drawn = Cell::new(None);
    let fill = |addr: usize, page: core::ptr::NonNull<u8>| {
        let number = drawn.get().unwrap_or_else(|| run.published.next_number());
        drawn.set(Some(number));
        for i in 0..PAGE_SIZE / 8 {
            // SAFETY: the page is a frame of ours, not yet mapped, seen through the direct map.
            unsafe { page.cast::<u64>().add(i).write_volatile(stamp(number, addr)) };
        }
    };
    let mapped = space::map_filled(nr_pages, Attributes::READ_WRITE, fill).ok()?;
    Some((mapped, drawn.get()?))
}

/// Looks at a page that some worker has published.
pub(super) fn probe_one(run: &Run, random: &mut SplitMix64) {
    let Some(slot) = random.pick(&run.published.slots) else { return };
    // The address first, then what is retired there, then the page: a number that is retired by then was
    // acknowledged before this CPU reads.
    let addr = slot.addr.load(Ordering::Acquire);
    if addr == 0 {
        return;
    }
    Counts::add(&run.counts.nr_probes, 1);
    let retired = slot.retired.load(Ordering::Acquire);
    // What is retired may belong to an address that was published since.
    if slot.addr.load(Ordering::Acquire) != addr {
        return;
    }
    check(run, per_cpu::this().cpu, addr, retired + 1, false);
}

/// Reads the page at `addr`: it must hold a stamp of its own, of number `least` or later, or, unless `is_mapped`,
/// nothing.
fn check(run: &Run, cpu: CpuId, addr: usize, least: u64, is_mapped: bool) {
    match probe::read_u64(addr).map(|word| (word, read_stamp(word, addr))) {
        None if is_mapped => run.failures.add(Failure::Unreadable { cpu, addr }),
        None => {}
        Some((found, Some((number, is_own)))) if !is_own || is_older(number, least) => {
            run.failures.add(Failure::Stale { cpu, addr, found, retired: least.saturating_sub(1) });
        }
        // Not a stamp: the address has been given to somebody who is not part of this run.
        Some((found, None)) if is_mapped => {
            run.failures.add(Failure::Stale { cpu, addr, found, retired: least.saturating_sub(1) });
        }
        Some(_) => {}
    }
}

/// The detector at its sharpest: every other CPU reads a page, so that its TLB holds it; then the page loses a right,
/// and is unmapped; after each, every other CPU looks again.
pub(super) fn witness(run: &Run) {
    let Some((mapped, number)) = map_stamped(run, 1) else { return run.refused() };
    let addr = mapped.start();
    let others = others(run);
    call(run, &others, &|cpu| check(run, cpu, addr, number, true));
    // A write of what is there already: it makes the TLB remember a writable page, and harms nobody.
    // SAFETY: the page is this function's own.
    call(run, &others, &|_| _ = unsafe { probe::write_u64(addr, stamp(number, addr)) });
    // SAFETY: the writes below are meant to fail.
    if let Err(error) = unsafe { space::protect(&mapped, Attributes::READ_ONLY) } {
        run.failures.add(Failure::Refused { error });
    }
    call(run, &others, &|cpu| {
        // SAFETY: the page is this function's own; the value is what it holds.
        if unsafe { probe::write_u64(addr, stamp(number, addr)) }.is_some() {
            run.failures.add(Failure::Written { cpu, addr });
        }
    });
    // SAFETY: ours; the others look by probes.
    unsafe { space::unmap(mapped) };
    Counts::add(&run.counts.nr_unmaps, 1);
    call(run, &others, &|cpu| check(run, cpu, addr, number + 1, false));
}

/// The other CPUs that take part.
fn others(run: &Run) -> CpuSet {
    let me = per_cpu::this().cpu;
    workers::online().take(run.plan.nr_workers as usize).filter(|&cpu| cpu != me).collect()
}

/// Has CPUs run a function, and sees that each did, once.
pub(super) fn call(run: &Run, targets: &CpuSet, function: &(dyn Fn(CpuId) + Sync)) {
    let nr_ran = AtomicUsize::new(0);
    let counted = |cpu| {
        function(cpu);
        nr_ran.fetch_add(1, Ordering::Relaxed);
    };
    let (expected, called) = (targets.len(), CALLS.call(&Cpu, targets, &counted));
    let ran = nr_ran.into_inner();
    Counts::add(&run.counts.nr_calls, 1);
    if called.is_err() || ran != expected {
        run.failures.add(Failure::Calls { expected, ran });
    }
}

/// A cross-call to some of the other CPUs that does nothing but count.
pub(super) fn call_some(run: &Run, random: &mut SplitMix64) {
    let targets: CpuSet = others(run).iter().filter(|_| random.chance(1, 2)).collect();
    call(run, &targets, &|_| {});
}
