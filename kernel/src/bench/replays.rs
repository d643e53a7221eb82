//! `replay`: the recordings that were loaded, played by every contender in turns: what a real kernel asked of its
//! allocators, by the player of the `replay` command.
//!
//! Objects come from the contender; runs of pages, and objects larger than a slab holds, from the frames whoever plays, so
//! that all play the same. A contender without room for a recording is left out, and a remark says so. With more than one
//! CPU the events start in the recorded order, so that a CPU waits for its turn: that is part of every contender's time. A damaged recording fails the run.
//! Every object is stamped and checked. Percentiles come from a pass of their own, in which the first CPU times one in
//! [`super::player::EVERY`] of its allocations and frees.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel::figures::Bytes;
use kernel::fixed::Fixed;
use kernel::histogram::Histogram;
use kernel::trace::Trace;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use records::Throughput;
use spin::mutex::SpinMutex;

use super::Part;
use super::arena::Arenas;
use super::barrier::Barrier;
use super::contenders::{Contender, Lineup, MAX_LINEUP};
use super::counts::Counts;
use super::plan::{Plan, Stop};
use super::player::{Entry, Sampler, is_pages};
use super::reporter::Reporter;
use super::solo::{timed, timer_ticks};
use super::subject::latency_of;
use crate::bootinfo::{self, Module};
use crate::machine::HEAP;
use crate::replay::{self, End, Failure, Score, Scratch, Stage};
use crate::workers;

/// Memory for a contender, at least.
const LEAST_ARENA: usize = 8 << 20;
/// Names of what is timed, in the order of the histograms.
const OPERATIONS: [&str; 2] = ["alloc", "free"];

/// The part.
pub(super) static PART: Part =
    Part { workloads: &[("replay", "recordings that were loaded as modules, played by every contender")], play };

/// What contenders came to in one replay after another.
#[derive(Default)]
struct Cell {
    is_out: bool,
    milliticks: Vec<u64>,
    counts: Counts,
}

/// Memory for the samples of all.
struct Samples {
    cells: [Cell; MAX_LINEUP],
    histograms: Vec<Histogram>,
}

impl Samples {
    fn new(nr_reps: usize) -> Result<Self, Stop> {
        let mut samples = Self { cells: Default::default(), histograms: Vec::new() };
        for cell in &mut samples.cells {
            cell.milliticks.try_reserve_exact(nr_reps).map_err(|_| Stop::OutOfMemory)?;
        }
        samples.histograms.try_reserve_exact(OPERATIONS.len()).map_err(|_| Stop::OutOfMemory)?;
        samples.histograms.resize_with(OPERATIONS.len(), Histogram::new);
        Ok(samples)
    }
}

fn play(plan: &Plan<'_>, reporter: &mut Reporter) -> Result<(), Stop> {
    if bootinfo::get().modules().next().is_none() {
        reporter.remark(format_args!("replay: no recording was loaded (modules=FILE)"));
        return Ok(());
    }
    reporter.heading(
        "Recordings of real machines",
        "ticks of a CPU for an event, an allocation or a free; lower is better. With other CPUs it waits for\n\
         its turn. x first: time over the first row's, where the middle halves do not overlap. Runs of pages\n\
         come from the frames for all.",
    );
    let mut samples = Samples::new(plan.nr_reps)?;
    let lineup = Lineup::new(plan);
    for module in bootinfo::get().modules() {
        if let Err(why) = play_module(module, plan, &lineup, reporter, &mut samples) {
            match why {
                Why::Stop(stop) => return Err(stop),
                Why::Refused(refusal) => {
                    // For one that is damaged no larger machine helps.
                    let nr_bad = u64::from(matches!(refusal, replay::Refusal::Damaged(_)));
                    reporter.fail(format_args!("replay:{}: {refusal}", module.name.as_str()), nr_bad);
                }
            }
        }
    }
    Ok(())
}

/// Why a recording was not played to the end of the sweep.
enum Why {
    Stop(Stop),
    Refused(replay::Refusal),
}

impl From<Stop> for Why {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<replay::Refusal> for Why {
    fn from(refusal: replay::Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Plays a recording on each number of CPUs, at most those that were recorded.
fn play_module(
    module: &Module,
    plan: &Plan<'_>,
    lineup: &Lineup,
    reporter: &mut Reporter,
    samples: &mut Samples,
) -> Result<(), Why> {
    let file = module.name.as_str();
    let name = Fixed::<64>::of(format_args!("replay:{}", file.strip_suffix(".kmt").unwrap_or(file)));
    let trace = Trace::parse(module.bytes).map_err(replay::Refusal::from)?;
    let mut scratch = Scratch::new(&trace)?;
    let nr_recorded = trace.header().nr_cpus as usize;
    let mut last = 0;
    // On several CPUs they wait for one another, which is not quick.
    let nr_numbers = if plan.is_quick { 1 } else { plan.cpus.numbers().len() };
    for nr_cpus in plan.cpus.numbers()[..nr_numbers].iter().map(|&nr_cpus| nr_cpus.min(nr_recorded)) {
        if core::mem::replace(&mut last, nr_cpus) == nr_cpus {
            continue;
        }
        let score = Score::new(trace, nr_cpus, &mut scratch)?;
        let arenas = open_arenas(&score);
        if arenas.is_none() {
            reporter.remark(format_args!("{}: no room for contenders with memory of their own", name.as_str()));
        }
        let contenders = lineup.contenders();
        let group = Group { name: name.as_str(), nr_cpus, score: &score, contenders, has_arenas: arenas.is_some() };
        if let Some(arenas) = &arenas {
            arenas.grow_tlbs(nr_cpus);
        }
        group.measure(plan, reporter, samples)?;
    }
    Ok(())
}

/// Memory for the contenders that want some of their own: twice the most that is live at once when every object is as
/// large as a power of two. `None` if the recording would not fit beside that.
fn open_arenas(score: &Score<'_, '_>) -> Option<Arenas> {
    let rounded = |size_bytes: u32| {
        let layout = Layout::from_size_align(size_bytes as usize, 8).ok();
        if layout.is_some_and(is_pages) { 0 } else { u64::from(size_bytes.next_power_of_two().max(32)) }
    };
    let nr_bytes = (2 * score.peak_object_bytes(rounded) as usize).next_power_of_two().max(LEAST_ARENA);
    let arenas = Arenas::open(nr_bytes).ok()?;
    let account = HEAP.account();
    ((account.nr_free + account.nr_cached) * PAGE_SIZE as u64 >= score.needed_bytes).then_some(arenas)
}

/// One recording on so many CPUs.
struct Group<'a> {
    name: &'a str,
    nr_cpus: usize,
    score: &'a Score<'a, 'a>,
    contenders: &'a [&'static Contender],
    has_arenas: bool,
}

/// One replay.
struct Played {
    ticks: u64,
    counts: Counts,
    end: End,
}

impl Group<'_> {
    fn measure(&self, plan: &Plan<'_>, reporter: &mut Reporter, samples: &mut Samples) -> Result<(), Why> {
        let mut stage = Stage::new(self.score)?;
        let nr_events = self.score.checked.summary().nr_events;
        for (cell, contender) in samples.cells.iter_mut().zip(self.contenders) {
            cell.milliticks.clear();
            cell.counts = Counts::default();
            cell.is_out = contender.block.is_some() && !self.has_arenas;
        }
        let nr_rounds = plan.nr_warm_ups + plan.nr_reps;
        for rep in 0..nr_rounds {
            reporter.progress(rep, nr_rounds, format_args!("{} on {}", self.name, self.nr_cpus))?;
            for turn in 0..self.contenders.len() {
                // Another one begins each time.
                let index = (turn + rep) % self.contenders.len();
                let cell = &mut samples.cells[index];
                if cell.is_out {
                    continue;
                }
                let played = self.play_once(index, &mut stage, |entry, stage, player| (entry.play)(stage, player));
                if !self.accept(index, &played.end, reporter)? {
                    cell.is_out = true;
                } else if rep >= plan.nr_warm_ups {
                    let milliticks = u128::from(played.ticks) * 1000 / u128::from(nr_events.max(1));
                    cell.milliticks.push(u64::try_from(milliticks).unwrap_or(u64::MAX));
                    cell.counts += played.counts;
                }
            }
        }
        self.report(samples, reporter, nr_events * plan.nr_reps as u64);
        if !plan.cpus.wants_latency(self.nr_cpus) {
            return Ok(());
        }
        for index in 0..self.contenders.len() {
            if !samples.cells[index].is_out {
                self.sample(index, &mut stage, &mut samples.histograms, reporter)?;
            }
        }
        Ok(())
    }

    /// Whether a replay counts. If not, that is said: as a remark if there was no room, as a fault otherwise.
    fn accept(&self, index: usize, end: &End, reporter: &mut Reporter) -> Result<bool, Stop> {
        let Self { name, nr_cpus, .. } = *self;
        let contender = self.contenders[index].name;
        match end.failure {
            None if end.is_whole(self.score) => return Ok(true),
            Some(Failure::Stopped) => return Err(Stop::Cancelled),
            Some(Failure::Refused { event, error: Error::OutOfMemory { bytes } }) => reporter.remark(format_args!(
                "{name} on {nr_cpus}: {contender} has no {} left at event {event}, and is left out",
                Bytes(bytes as u64)
            )),
            Some(failure) => {
                reporter.fail(format_args!("{name}, {contender}, on {nr_cpus}: no figures: {failure}"), 1);
            }
            None => reporter.fail(
                format_args!("{name}, {contender}, on {nr_cpus}: no figures: events lost or a peak of its own"),
                1,
            ),
        }
        Ok(false)
    }

    /// Has contender `index` play it once, each CPU by `play`.
    fn play_once(
        &self,
        index: usize,
        stage: &mut Stage<'_>,
        play: impl Fn(&Entry, &Stage<'_>, usize) + Sync,
    ) -> Played {
        let contender = self.contenders[index];
        stage.rewind();
        let stage = &*stage;
        // Runs of pages come from the frames whoever plays.
        let counts = || {
            let counts = (contender.counts)();
            if !contender.is_locked_peer {
                return counts;
            }
            let frames = HEAP.frames();
            Counts {
                nr_locks: counts.nr_locks + frames.nr_lock_acquisitions(),
                nr_waits: counts.nr_waits + frames.nr_lock_contentions(),
                ..counts
            }
        };
        let barrier = Barrier::new(self.nr_cpus);
        let ticks = AtomicU64::new(0);
        let counted: SpinMutex<Counts> = SpinMutex::new(Counts::default());
        let job = |player: usize| {
            barrier.meet();
            if player == 0 {
                *counted.lock() = counts();
            }
            barrier.meet();
            let ((), own_ticks) = timed(|| play(&contender.replay, stage, player));
            ticks.fetch_add(own_ticks, Ordering::Relaxed);
            barrier.meet();
            if player == 0 {
                let mut counted = counted.lock();
                *counted = counts() - *counted;
            }
            // Who returns wakes the first CPU, and that is not to be counted.
            barrier.meet();
        };
        workers::run(self.nr_cpus, &job, || {});
        Played { ticks: ticks.into_inner(), counts: counted.into_inner(), end: (contender.replay.end)(stage) }
    }

    /// Hands in a row of each contender that is not out.
    fn report(&self, samples: &Samples, reporter: &mut Reporter, nr_ops: u64) {
        let mut rows: [Throughput<'_>; MAX_LINEUP] = Default::default();
        let mut nr_rows = 0;
        for (cell, contender) in samples.cells.iter().zip(self.contenders).filter(|(cell, _)| !cell.is_out) {
            let of_ours = |count| contender.is_ours.then_some(count);
            rows[nr_rows] = Throughput {
                workload: self.name.into(),
                contender: contender.name.into(),
                cpus: self.nr_cpus as u64,
                unit: "event".into(),
                nr_ops,
                milliticks_per_op: cell.milliticks.as_slice().into(),
                nr_locks: Some(cell.counts.nr_locks),
                nr_waits: Some(cell.counts.nr_waits),
                nr_heap_ops: of_ours(cell.counts.nr_heap_ops),
                nr_depot_visits: of_ours(cell.counts.nr_depot_visits),
                nr_slab_visits: of_ours(cell.counts.nr_slab_visits),
                nr_ipis: Some(cell.counts.nr_ipis),
                ..Throughput::default()
            };
            nr_rows += 1;
        }
        reporter.rows(&rows[..nr_rows]);
    }

    /// One more replay by contender `index`, for percentiles.
    fn sample(
        &self,
        index: usize,
        stage: &mut Stage<'_>,
        histograms: &mut [Histogram],
        reporter: &mut Reporter,
    ) -> Result<(), Stop> {
        histograms.iter_mut().for_each(Histogram::clear);
        let timer_ticks = timer_ticks();
        let sampler = SpinMutex::<_>::new(Sampler::new(histograms));
        let played = self.play_once(index, stage, |entry, stage, player| match player {
            0 => (entry.sample)(stage, player, &mut sampler.lock()),
            _ => (entry.play)(stage, player),
        });
        if !self.accept(index, &played.end, reporter)? {
            return Ok(());
        }
        let histograms = sampler.into_inner().histograms;
        for (operation, histogram) in OPERATIONS.iter().zip(histograms).filter(|(_, histogram)| histogram.count() > 0) {
            let whose = (self.name, self.contenders[index].name, self.nr_cpus);
            reporter.latency(&latency_of(whose, operation, histogram, timer_ticks));
        }
        Ok(())
    }
}
