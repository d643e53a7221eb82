//! All CPUs unmap at once; and the proof that the detector of stale translations detects.

use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arch::probe;
use kernel::rng::SplitMix64;
use mm::frame::PAGE_SIZE;
use smp::Barrier;

use super::company::{call, while_busy};
use super::verdict::{Failure, Figures, Run, expect};
use super::window::Window;
use crate::machine::{Cpu, SHOOTDOWNS};
use crate::space::{self, Attributes};
use crate::{per_cpu, workers};

/// Rounds of which nobody is told: the other CPUs, which compute and therefore flush for no reason of their own, must
/// then read what they remember. A machine on which none ever does would let every case here pass.
pub(super) fn detector(run: &Run) -> Result<Figures, Failure> {
    let window = Window::new()?;
    let others = workers::others();
    let settings = SHOOTDOWNS.settings();
    let are_dropped = settings.drops_ipis();
    let nr_stale = AtomicU64::new(0);
    while_busy(&others, || {
        for _ in 0..run.nr_ops {
            call(&others, &|_| run.note(window.read().map(drop)))?;
            settings.set_drop_ipis(true);
            window.step(&Cpu);
            settings.set_drop_ipis(are_dropped);
            let called = call(&others, &|_| {
                if matches!(window.read(), Err(Failure::Stale { .. })) {
                    nr_stale.fetch_add(1, Ordering::Relaxed);
                }
            });
            // An honest round repairs it.
            SHOOTDOWNS.initiate(&Cpu, core::iter::once(window.range()));
            called?;
            call(&others, &|_| run.note(window.read().map(drop)))?;
        }
        Ok::<_, Failure>(())
    })?;
    let (nr_stale, most) = (nr_stale.into_inner(), run.nr_ops * others.len() as u64);
    expect("stale reads after rounds that nobody was told of", nr_stale, (1, most))?;
    run.result(Figures::of([("stale reads noticed", nr_stale), ("to notice", most)]))
}

/// Pages that a worker maps at a time.
const MAX_PAGES: u64 = 3;
/// Looks at pages before an unmap and after. Enough that a worker sees the same page of another twice, without a round of
/// its own between, by which it would catch up.
const NR_LOOKS: usize = 16;

/// What a worker lets the others look at.
#[derive(Default)]
struct Slot {
    /// Address of its newest page; 0 before the first.
    addr: AtomicUsize,
    /// The newest number that was there and is out of every CPU's sight.
    retired: AtomicU64,
}

/// What all workers share.
struct Storm {
    slots: Vec<Slot>,
    /// Nobody begins before all are there: otherwise the first could be through before the last has woken up.
    start: Barrier,
    /// Numbers of mappings, over the whole storm.
    next_number: AtomicU64,
    nr_looks: AtomicU64,
    nr_seen: AtomicU64,
}

/// Each page begins with the number of its mapping and its own address. Numbers are drawn when the address has been, so
/// that whoever had the address before has retired a smaller one: a CPU that reads a number that was retired before it
/// read has used a translation that all CPUs had acknowledged to be gone.
pub(super) fn storm(run: &Run) -> Result<Figures, Failure> {
    let nr_workers = workers::nr_available();
    let mut slots = Vec::new();
    if slots.try_reserve_exact(nr_workers).is_err() {
        return Err(Failure::Missing { what: "memory for the case itself" });
    }
    slots.resize_with(nr_workers, Slot::default);
    let storm = Storm {
        slots,
        start: Barrier::new(nr_workers as u32),
        next_number: AtomicU64::new(1),
        nr_looks: AtomicU64::new(0),
        nr_seen: AtomicU64::new(0),
    };
    let nr_ops_each = run.nr_ops.div_ceil(nr_workers as u64);
    workers::run(nr_workers, &|number| storm.work(run, number, nr_ops_each), || run.watch());
    run.result(Figures::of([
        ("unmaps", nr_ops_each * nr_workers as u64),
        ("looks", storm.nr_looks.into_inner()),
        ("at a page that was there", storm.nr_seen.into_inner()),
    ]))
}

impl Storm {
    fn work(&self, run: &Run, number: usize, nr_ops: u64) {
        let mut random = SplitMix64::stream(run.seed, number as u64);
        self.start.wait(&Cpu);
        for _ in 0..nr_ops {
            if number == 0 {
                run.watch();
            }
            if run.is_over() {
                return;
            }
            run.note(self.step(run, number, &mut random));
        }
    }

    /// Maps, shows, looks around, unmaps, looks around.
    fn step(&self, run: &Run, owner: usize, random: &mut SplitMix64) -> Result<(), Failure> {
        let drawn = Cell::new(0);
        let fill = |addr: usize, page: core::ptr::NonNull<u8>| {
            if drawn.get() == 0 {
                drawn.set(self.next_number.fetch_add(1, Ordering::Relaxed));
            }
            // SAFETY: the page is a frame that nobody else has yet, seen through the direct map.
            unsafe { page.cast::<[u64; 2]>().write_volatile([drawn.get(), addr as u64]) };
        };
        let nr_pages = random.within(&(1..=MAX_PAGES)) as usize;
        let mapped = space::map_filled(nr_pages, Attributes::READ_WRITE, fill)?;
        let (number, slot) = (drawn.get(), &self.slots[owner]);
        slot.addr.store(mapped.start() + random.below(nr_pages as u64) as usize * PAGE_SIZE, Ordering::Release);
        (0..NR_LOOKS).for_each(|_| self.look(run, random));
        // SAFETY: ours; others look by probes.
        unsafe { space::unmap(mapped) };
        // Release: who sees it retired looks after every CPU has acknowledged.
        slot.retired.store(number, Ordering::Release);
        (0..NR_LOOKS).for_each(|_| self.look(run, random));
        Ok(())
    }

    fn look(&self, run: &Run, random: &mut SplitMix64) {
        let Some(slot) = random.pick(&self.slots) else { return };
        let addr = slot.addr.load(Ordering::Acquire);
        let acknowledged = slot.retired.load(Ordering::Acquire);
        // What is retired may belong to an address that was shown since.
        if addr == 0 || slot.addr.load(Ordering::Acquire) != addr {
            return;
        }
        self.nr_looks.fetch_add(1, Ordering::Relaxed);
        let Some(found) = probe::read_u64(addr) else { return };
        // Another's page now, and perhaps not one of this case's.
        if probe::read_u64(addr + 8) != Some(addr as u64) {
            return;
        }
        self.nr_seen.fetch_add(1, Ordering::Relaxed);
        if found <= acknowledged {
            run.fail(Failure::Unmapped { cpu: per_cpu::this().cpu, found, gone: acknowledged });
        }
    }
}
