//! How long single operations take: one in some is timed, and goes into a log-linear histogram of its CPU's.
//!
//! A pass of its own, as whatever reads the clock disturbs: [`Timed`] stands between a workload and its contender, counts
//! allocations and frees down, and reads the TSC around the one that is due. The distance is random around its mean, so
//! that no rhythm of a workload is always met at the same beat. Under emulation a reading takes a lock that all virtual
//! CPUs share, so the mean distance grows with the number of those that run at a time. Every eighth time the clock alone is
//! timed, there and then: what is printed beside the percentiles and subtracted from none.
//!
//! Called by: [`super::allocators`], [`super::round`] around what it measures.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use arch::tsc;
use kernel::histogram::Histogram;
use smp::MAX_CPUS;
use spin::mutex::SpinMutex;
use workloads::Peer;
use workloads::objects::Faults;
use workloads::sizes::Random;

use super::contenders::{Contender, MAX_LINEUP};
use super::meta;
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use super::round::{Harness, Round, Turn};
use super::subject::latency_of;
use super::workload::{Game, Shape};
use crate::per_cpu;

/// Operations between two that are timed, on one CPU, in the mean.
const DISTANCE: u64 = 16;
/// Operations of all CPUs in a round, at least.
const LEAST_OPS: u64 = 12_000;
/// Of so many that are due, one times the clock alone.
const CLOCK_SHARE: u64 = 8;

/// One kind of operation on one CPU.
struct Gauge {
    nr_left: u64,
    histogram: Histogram,
}

/// What a CPU has timed.
struct Sampler {
    distance: u64,
    random: Random,
    nr_due: u64,
    alloc: Gauge,
    free: Gauge,
    clock: Histogram,
}

impl Gauge {
    const fn new() -> Self {
        Self { nr_left: 1, histogram: Histogram::new() }
    }
}

impl Sampler {
    fn new() -> Self {
        let (alloc, free) = (Gauge::new(), Gauge::new());
        Self { distance: 1, random: Random::new(0, 0), nr_due: 0, alloc, free, clock: Histogram::new() }
    }

    fn reset(&mut self, distance: u64, seed: u64, number: usize) {
        (self.distance, self.random, self.nr_due) = (distance, Random::new(seed, number), 0);
        for gauge in [&mut self.alloc, &mut self.free] {
            gauge.nr_left = distance;
            gauge.histogram.clear();
        }
        self.clock.clear();
    }

    /// Does `operation` of the kind that `gauge` picks, and times it if it is due.
    #[inline(always)]
    fn sample<R>(&mut self, gauge: fn(&mut Self) -> &mut Gauge, operation: impl FnOnce() -> R) -> R {
        let left = &mut gauge(self).nr_left;
        *left -= 1;
        if *left > 0 {
            return operation();
        }
        // Half the mean, and up to the mean more.
        let next = self.distance / 2 + 1 + (self.random.draw() >> 33) % self.distance;
        gauge(self).nr_left = next;
        self.nr_due += 1;
        if self.nr_due % CLOCK_SHARE == 1 {
            let start = tsc::read_serialised();
            let ticks = tsc::read_serialised().wrapping_sub(start);
            self.clock.record(ticks);
            return operation();
        }
        let start = tsc::read_serialised();
        let result = operation();
        let ticks = tsc::read_serialised().wrapping_sub(start);
        gauge(self).histogram.record(ticks);
        result
    }
}

/// Where each CPU finds its sampler while it measures; null otherwise.
static CURRENT: [AtomicPtr<Sampler>; MAX_CPUS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS];

/// `P`, some of whose operations are timed while a round measures.
pub(super) struct Timed<P>(PhantomData<P>);

#[inline(always)]
fn timed<R>(gauge: fn(&mut Sampler) -> &mut Gauge, operation: impl FnOnce() -> R) -> R {
    let sampler = CURRENT[per_cpu::this().cpu.index()].load(Ordering::Relaxed);
    if sampler.is_null() {
        return operation();
    }
    // SAFETY: put there by this CPU in `with_sampler`, which holds its lock until it takes it out again; operations of a
    // workload do not nest, and no handler calls this.
    unsafe { &mut *sampler }.sample(gauge, operation)
}

impl<P: Peer> Peer for Timed<P> {
    const NAME: &'static str = P::NAME;

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        timed(|sampler| &mut sampler.alloc, || P::alloc(layout))
    }

    #[inline(always)]
    unsafe fn dealloc(object: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        timed(|sampler| &mut sampler.free, || unsafe { P::dealloc(object, layout) });
    }

    #[inline(always)]
    fn alloc_bulk(layout: Layout, objects: &mut [ptr::NonNull<u8>]) -> bool {
        timed(|sampler| &mut sampler.alloc, || P::alloc_bulk(layout, objects))
    }

    #[inline(always)]
    unsafe fn dealloc_bulk(objects: &[ptr::NonNull<u8>], layout: Layout) {
        // SAFETY: as promised by the caller.
        timed(|sampler| &mut sampler.free, || unsafe { P::dealloc_bulk(objects, layout) });
    }
}

/// What all rounds of a contender came to, over the CPUs.
struct Sums {
    /// In the order of [`OPERATIONS`].
    operations: [Histogram; OPERATIONS.len()],
    clock: Histogram,
    faults: Faults,
}

impl Sums {
    const fn new() -> Self {
        Self {
            operations: [const { Histogram::new() }; OPERATIONS.len()],
            clock: Histogram::new(),
            faults: Faults { nr_bad: 0, nr_refused: 0 },
        }
    }

    fn clear(&mut self) {
        self.operations.iter_mut().chain([&mut self.clock]).for_each(Histogram::clear);
        self.faults = Faults::default();
    }
}

/// A sampler for each CPU of a round, and room for what each contender came to.
pub(super) struct Samplers {
    of_cpu: Vec<SpinMutex<Sampler>>,
    sums: Vec<Sums>,
}

impl Samplers {
    /// For rounds of up to `nr_cpus`, 24 KiB for each and for each contender; `None` if there is no memory.
    pub(super) fn new(nr_cpus: usize) -> Option<Self> {
        let (mut of_cpu, mut sums) = (Vec::new(), Vec::new());
        of_cpu.try_reserve_exact(nr_cpus).ok()?;
        of_cpu.resize_with(nr_cpus, || SpinMutex::new(Sampler::new()));
        sums.try_reserve_exact(MAX_LINEUP).ok()?;
        sums.resize_with(MAX_LINEUP, Sums::new);
        Some(Self { of_cpu, sums })
    }

    /// Calls `work` on CPU number `number` of a round, and has [`Timed`] sample it.
    pub(super) fn with_sampler<R>(&self, number: usize, work: impl FnOnce() -> R) -> R {
        let mut sampler = self.of_cpu[number].lock();
        let current = &CURRENT[per_cpu::this().cpu.index()];
        current.store(&raw mut *sampler, Ordering::Relaxed);
        let result = work();
        current.store(ptr::null_mut(), Ordering::Relaxed);
        result
    }

    fn reset(&self, distance: u64, seed: u64) {
        for (number, sampler) in self.of_cpu.iter().enumerate() {
            sampler.lock().reset(distance, seed, number);
        }
    }

    /// Adds what the CPUs have timed since they were reset to what contender `index` came to.
    fn add_to(&mut self, index: usize) {
        let sums = &mut self.sums[index];
        for sampler in &self.of_cpu {
            let sampler = sampler.lock();
            for (sum, (_, pick)) in sums.operations.iter_mut().zip(OPERATIONS) {
                sum.merge(pick(&sampler));
            }
            sums.clock.merge(&sampler.clock);
        }
    }
}

/// Operations between two that are timed. Of batches every one is; they are few, and long beside the clock. Under emulation
/// more by the CPUs that run at a time, as these share a lock whenever they read the clock.
fn distance(game: &Game) -> u64 {
    let nr_cpus = game.nr_cpus as u64;
    match meta::platform() {
        _ if game.shape == Shape::Bulk => 1,
        (_, true) => DISTANCE * nr_cpus.min(meta::host_cpus().unwrap_or(nr_cpus)),
        (_, false) => DISTANCE,
    }
}

/// What picks a histogram.
type Pick = fn(&Sampler) -> &Histogram;

/// Operations that are timed, as rows call them.
const OPERATIONS: [(&str, Pick); 2] =
    [("alloc", |sampler| &sampler.alloc.histogram), ("free", |sampler| &sampler.free.histogram)];

/// A pass over all games: what does not change from one to the next.
pub(super) struct Pass<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) harness: &'a Harness,
    pub(super) contenders: &'a [&'static Contender],
}

impl Pass<'_> {
    /// Plays `game` with all contenders in turns, `nr_ops` on each CPU or as many as percentiles want, and hands in what
    /// single operations took. Those with 0 are left out.
    ///
    /// # Errors
    ///
    /// That it was stopped, and nothing is handed in.
    pub(super) fn measure(
        &self,
        game: &Game,
        nr_ops: &[u64; MAX_LINEUP],
        samplers: &mut Samplers,
        reporter: &mut Reporter,
        mut tell: impl FnMut(&mut Reporter) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let Self { plan, harness, contenders } = *self;
        let nr_rounds = if plan.is_quick { 1 } else { 3 };
        // The rarest percentile wants samples, also where rounds are short; a number that was asked for is kept to.
        let least_ops = game.shape.whole(LEAST_OPS / game.nr_cpus as u64);
        let is_present = |index: &usize| nr_ops[*index] > 0;
        samplers.sums.iter_mut().for_each(Sums::clear);
        for rep in 0..=nr_rounds {
            tell(reporter)?;
            // Another one begins each time, as in the rounds before: what drifts hits all alike.
            let places = (0..contenders.len()).map(|place| (place + rep as usize) % contenders.len());
            for index in places.filter(is_present) {
                let seed = plan.seed.wrapping_add(rep);
                samplers.reset(distance(game), seed);
                let turn = Turn { seed, is_checked: false, samplers: Some(&*samplers) };
                let nr_ops = plan.nr_ops.unwrap_or(nr_ops[index].max(least_ops));
                let sample = Round::play(contenders[index], game, nr_ops, turn, harness).ok_or(Stop::Cancelled)?;
                let faults = &mut samplers.sums[index].faults;
                faults.nr_bad += sample.faults.nr_bad;
                faults.nr_refused += sample.faults.nr_refused;
                // The first was to warm up: under emulation code is translated when it first runs.
                if rep > 0 {
                    samplers.add_to(index);
                }
            }
        }
        for index in (0..contenders.len()).filter(is_present) {
            let sums = &samplers.sums[index];
            let (name, who, nr_cpus) = (game.workload.name, contenders[index].name, game.nr_cpus);
            let Faults { nr_bad, nr_refused } = sums.faults;
            if nr_refused > 0 {
                let what = "no figures of single operations: too little memory";
                reporter
                    .refuse(format_args!("{name} on {nr_cpus}: {who} has {what}, {nr_refused} refused"), nr_refused);
            }
            if nr_bad > 0 {
                let what = "objects while single operations were timed";
                reporter.fail(format_args!("{name} on {nr_cpus}: {who} damaged {nr_bad} {what}"), nr_bad);
            }
            if nr_refused > 0 {
                continue;
            }
            let timer_ticks = sums.clock.quantile(1, 2);
            for ((operation, _), histogram) in OPERATIONS.iter().zip(&sums.operations) {
                reporter.latency(&latency_of((name, who, nr_cpus), operation, histogram, timer_ticks));
            }
        }
        Ok(())
    }
}
