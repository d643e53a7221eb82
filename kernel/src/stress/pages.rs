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
//! Ranges are also unmapped lazily: then a stamp is retired only after a purge, and until then the page may be read, with
//! its own stamps or not at all, since nobody has got its frames. They are remapped to other memory with a new number, and
//! those of 2 MiB change the size of their leaves.
//!
//! Called by: [`super::worker`]. No lock is held here.

use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use alloc::vec::Vec;
use arch::probe;
use kernel::rng::SplitMix64;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use smp::{CpuId, CpuSet};

use super::verdict::Failure;
use super::{Counts, Run};
use crate::machine::{CALLS, Cpu};
use crate::space::{self, Attributes, Level, Mapped};
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
    mapped: [Option<Range>; NR_RANGES],
    len: usize,
    /// The number of the published range, if that was unmapped lazily and no purge has ended since.
    going: Option<u64>,
}

struct Range {
    mapped: Mapped,
    nr_pages: usize,
    number: u64,
}

/// Pages of a range that is worth a large leaf.
const LARGE: usize = 512;

impl Ranges {
    pub(super) fn new(owner: usize) -> Self {
        Self { owner, mapped: [const { None }; NR_RANGES], len: 0, going: None }
    }

    /// Maps a range of 1 to 4 pages, or now and then of 512, and lets the others see it; or changes one; at the limit, or
    /// now and then, unmaps some or all.
    pub(super) fn step(&mut self, run: &Run, random: &mut SplitMix64) {
        if self.len == NR_RANGES || self.len > 0 && random.chance(1, 12) {
            let nr_kept = random.below(self.len as u64) as usize;
            return if random.chance(1, 2) {
                self.unmap_lazily_down_to(run, nr_kept, random)
            } else {
                self.unmap_down_to(run, nr_kept)
            };
        }
        if self.len > 0 && random.chance(1, 8) {
            return self.change_one(run, random);
        }
        let nr_pages = if random.chance(1, 64) { LARGE } else { random.within(&(1..=4)) as usize };
        let Some((mapped, number)) = map_stamped(run, nr_pages) else { return run.refused() };
        // One's own TLB must not remember an earlier page at this address either.
        check(run, per_cpu::this().cpu, mapped.start(), number, true);
        let slot = &run.published.slots[self.owner];
        slot.addr.store(mapped.start(), Ordering::Release);
        // What is retired at this address is what this CPU retires from here on.
        self.going = None;
        self.mapped[self.len] = Some(Range { mapped, nr_pages, number });
        self.len += 1;
    }

    /// Has a range lead to other memory, or by leaves of another size.
    fn change_one(&mut self, run: &Run, random: &mut SplitMix64) {
        let Some(Some(range)) = self.mapped[..self.len].get_mut(random.below(self.len as u64) as usize) else { return };
        let addr = range.mapped.start();
        if range.nr_pages == LARGE && random.chance(1, 2) {
            let largest = if random.chance(1, 2) { Level::L1 } else { Level::L2 };
            // SAFETY: ours; others look by probes, which survive a fault.
            match unsafe { space::resize(&range.mapped, largest) } {
                // Single frames are not adjacent, as a rule.
                Ok(()) | Err(Error::OutOfMemory { .. } | Error::BadRequest { .. }) => {}
                Err(error) => run.failures.add(Failure::Refused { error }),
            }
        } else {
            let number = run.published.next_number();
            let fill = |addr: usize, page: NonNull<u8>| fill_with_stamps(number, addr, page);
            // SAFETY: as above.
            match unsafe { space::remap_filled(&range.mapped, Attributes::READ_WRITE, Level::L2, fill) } {
                Ok(()) => {
                    let slot = &run.published.slots[self.owner];
                    let old = core::mem::replace(&mut range.number, number);
                    if slot.addr.load(Ordering::Relaxed) == addr {
                        slot.retired.store(old, Ordering::Release);
                    }
                }
                Err(Error::OutOfMemory { .. }) => run.refused(),
                Err(error) => run.failures.add(Failure::Refused { error }),
            }
        }
        Counts::add(&run.counts.nr_remaps, 1);
        let last = addr + (range.nr_pages - 1) * PAGE_SIZE;
        check(run, per_cpu::this().cpu, addr, range.number, true);
        check(run, per_cpu::this().cpu, last, range.number, true);
    }

    /// Takes the ranges from `nr_kept` on, for their unmapping; and the number of the published one if it is among them.
    fn take_from(&mut self, run: &Run, nr_kept: usize) -> (impl Iterator<Item = Mapped>, Option<u64>) {
        let addr = run.published.slots[self.owner].addr.load(Ordering::Relaxed);
        let going = &mut self.mapped[nr_kept..self.len];
        let published = going.iter().flatten().find(|range| range.mapped.start() == addr).map(|range| range.number);
        Counts::add(&run.counts.nr_unmaps, going.len() as u64);
        self.len = nr_kept;
        (going.iter_mut().filter_map(Option::take).map(|range| range.mapped), published)
    }

    fn unmap_down_to(&mut self, run: &Run, nr_kept: usize) {
        let (going, published) = self.take_from(run, nr_kept);
        // SAFETY: the ranges are ours; others read them by probes, which survive a fault.
        unsafe { space::unmap_batch(going) };
        self.retire(run, published);
    }

    /// The others may go on reading the pages, and find what was in them; half of the time until a purge here and now.
    fn unmap_lazily_down_to(&mut self, run: &Run, nr_kept: usize, random: &mut SplitMix64) {
        let (going, published) = self.take_from(run, nr_kept);
        // SAFETY: as above.
        going.for_each(|mapped| unsafe { space::unmap_lazily(mapped) });
        self.going = published.or(self.going);
        if random.chance(1, 2) {
            space::purge();
            let going = self.going.take();
            self.retire(run, going);
        }
    }

    fn retire(&self, run: &Run, number: Option<u64>) {
        if let Some(number) = number {
            // Release: who sees it retired probes after every CPU has acknowledged.
            run.published.slots[self.owner].retired.store(number, Ordering::Release);
        }
    }

    /// Unmaps everything.
    pub(super) fn clear(&mut self, run: &Run) {
        self.unmap_down_to(run, 0);
    }
}

fn fill_with_stamps(number: u64, addr: usize, page: NonNull<u8>) {
    for i in 0..PAGE_SIZE / 8 {
        // SAFETY: the page is a frame of ours, not yet mapped, seen through the direct map.
        unsafe { page.cast::<u64>().add(i).write_volatile(stamp(number, addr)) };
    }
}

/// Maps pages full of stamps of one new number. It is drawn when the addresses are taken and not before: whoever had
/// them earlier has retired a smaller one.
fn map_stamped(run: &Run, nr_pages: usize) -> Option<(Mapped, u64)> {
    let drawn = Cell::new(None);
    let fill = |addr: usize, page: NonNull<u8>| {
        let number = drawn.get().unwrap_or_else(|| run.published.next_number());
        drawn.set(Some(number));
        fill_with_stamps(number, addr, page);
    };
    let mapped = if nr_pages < LARGE {
        space::map_filled(nr_pages, Attributes::READ_WRITE, fill).ok()?
    } else {
        space::map_large_filled(nr_pages, Attributes::READ_WRITE, Level::L2, fill).ok()?
    };
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
