//! `stress`: all CPUs at once do everything the allocator and the address space can do, and check what they see.
//!
//! A run is a seed, a number of operations and a number of CPUs: operation k of worker w depends on these alone, so the
//! line it ends with repeats it. (What the CPUs do to one another depends on timing, as it must.) A duration only says
//! when to stop handing operations out.
//!
//! | file | what it does |
//! |---|---|
//! | [`worker`] | picks operations |
//! | [`blocks`] | objects: random sizes, patterns written and verified, handed to other CPUs, bursts, resizing |
//! | [`frames`] | frames: single, in runs, aligned, zeroed; and all of them, until none is left |
//! | [`pages`] | mapped pages that all CPUs read: the stale-TLB detector; rights that are taken away |
//! | [`verdict`] | what must not happen, and the first time it did |

mod blocks;
mod frames;
mod pages;
mod verdict;
mod worker;

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kernel::args::{ArgError, Args, Budget};
use kernel::figures::Count;

use crate::baseline::Baseline;
use crate::console::println;
use crate::shell::{Command, Status};
use crate::time::{self, Deadline};
use crate::{input, machine, workers};

use pages::Published;
use verdict::Failures;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "stress",
    usage: "[duration or operations] [seed=N] [cpus=N]",
    help: "all CPUs allocate, free, map, unmap, call one another, and check",
    details: "Examples: stress 5s; stress 1m cpus=2 (a minute); stress 100k seed=7 (operations). The default is 2s.\n\
              Operations are divided among the CPUs, rounded up; the line that repeats a timed run gives each CPU as\n\
              many as the busiest one had.\n\
              Ends with PASS or FAIL and a line that repeats the run. Leaves every frame where it was.\n\
              With chaos=drop-ipi on the kernel command line it must fail: stale translations are found.",
    run: stress,
}];

const DEFAULT_NS: u64 = 2_000_000_000;

/// What is run. Prints as the command that repeats it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Operations of each worker.
    nr_ops_each: u64,
    seed: u64,
    nr_workers: u64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stress {} seed={} cpus={}",
            self.nr_ops_each.saturating_mul(self.nr_workers),
            self.seed,
            self.nr_workers
        )
    }
}

/// The plan of the run that is on, in atomics for a crash report. No workers: no run.
static RUNNING: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// The run that is on, as it would be repeated from what has been done so far.
pub fn running() -> Option<Plan> {
    let [nr_workers, seed, nr_ops_each] = RUNNING.each_ref().map(|value| value.load(Ordering::Relaxed));
    (nr_workers > 0).then_some(Plan { nr_ops_each, seed, nr_workers })
}

fn set_running(plan: Plan) {
    for (place, value) in RUNNING.iter().zip([plan.nr_workers, plan.seed, plan.nr_ops_each]) {
        place.store(value, Ordering::Relaxed);
    }
}

/// What all workers share.
struct Run {
    plan: Plan,
    /// When to stop, if that is a matter of time.
    deadline: Option<Deadline>,
    is_over: AtomicBool,
    /// One worker has taken all memory, and is about to give it back.
    is_exhausting: AtomicBool,
    /// Operations done by each worker that has ended, added up.
    nr_ops: AtomicU64,
    /// The most operations that one worker did: what a repetition has to cover.
    most_ops: AtomicU64,
    exchange: blocks::Exchange,
    published: Published,
    failures: Failures,
    counts: Counts,
}

/// What was done, for the last line.
#[derive(Default)]
struct Counts {
    nr_remote_frees: AtomicU64,
    nr_unmaps: AtomicU64,
    nr_remaps: AtomicU64,
    nr_probes: AtomicU64,
    nr_calls: AtomicU64,
    nr_refused: AtomicU64,
    nr_exhaustions: AtomicU64,
}

impl Counts {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

impl Run {
    /// Counts a request that was refused, and waits for memory if another worker has it all: to be refused again and
    /// again, each time after a reclaim on all CPUs, proves no more than once.
    fn refused(&self) {
        Counts::add(&self.counts.nr_refused, 1);
        machine::wait_until(|| !self.is_exhausting.load(Ordering::Acquire), || false);
    }
}

fn stress<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let budget = args.budget()?.unwrap_or(Budget::TimeNs(DEFAULT_NS));
    let nr_cpus = workers::nr_available() as u64;
    let seed = args.number("seed", 0..=u64::MAX)?.unwrap_or_else(arch::tsc::read);
    let nr_workers = args.number("cpus", 1..=nr_cpus)?.unwrap_or(nr_cpus);
    args.finish(usage)?;
    let (nr_ops_each, deadline) = match budget {
        Budget::TimeNs(ns) => (u64::MAX, Some(Deadline::after_ns(ns))),
        Budget::Operations(nr_ops) => (nr_ops.div_ceil(nr_workers), None),
    };
    Ok(run(Plan { nr_ops_each, seed, nr_workers }, deadline))
}

fn run(plan: Plan, deadline: Option<Deadline>) -> Status {
    let Some(baseline) = Baseline::take() else {
        println!("stress: FAIL: memory does not add up before the run");
        return Status::Failed;
    };
    let mut place = Vec::new();
    let (Ok(()), Some(published)) = (place.try_reserve_exact(1), Published::new(plan.nr_workers as usize)) else {
        println!("stress: FAIL: no memory for the run itself");
        return Status::Failed;
    };
    place.push(Run {
        plan,
        deadline,
        is_over: AtomicBool::new(false),
        is_exhausting: AtomicBool::new(false),
        nr_ops: AtomicU64::new(0),
        most_ops: AtomicU64::new(0),
        exchange: blocks::Exchange::new(),
        published,
        failures: Failures::new(),
        counts: Counts::default(),
    });
    let run = &place[0];
    let start_ns = time::now_ns();
    set_running(Plan { nr_ops_each: 0, ..plan });
    workers::run(plan.nr_workers as usize, &|number| worker::work(run, number), || _ = run.is_over(0, 0));
    run.exchange.empty(run);
    set_running(Plan { nr_workers: 0, ..plan });
    let elapsed_ns = time::now_ns() - start_ns;
    // Out of its place, so that the place is back before memory is compared.
    let run = place.remove(0);
    drop(place);
    report(run, baseline, elapsed_ns)
}

fn report(run: Run, baseline: Baseline, elapsed_ns: u64) -> Status {
    let Run { plan, nr_ops, most_ops, exchange, published, failures, counts, .. } = run;
    // The run's own memory must be back before memory is compared.
    drop((exchange, published));
    let difference = baseline.compare();
    let repeat = Plan { nr_ops_each: most_ops.into_inner(), ..plan };
    let nr_ops = nr_ops.into_inner();
    let Counts { nr_remote_frees, nr_unmaps, nr_remaps, nr_probes, nr_calls, nr_refused, nr_exhaustions } = counts;
    println!(
        "stress: {} remote frees, {} unmaps, {} remaps, {} probes, {} calls, {} times all memory taken, {} requests refused",
        Count(nr_remote_frees.into_inner()),
        Count(nr_unmaps.into_inner()),
        Count(nr_remaps.into_inner()),
        Count(nr_probes.into_inner()),
        Count(nr_calls.into_inner()),
        Count(nr_exhaustions.into_inner()),
        Count(nr_refused.into_inner()),
    );
    let stopped = if input::is_cancelled() { " stopped" } else { "" };
    let elapsed_ms = elapsed_ns / 1_000_000;
    let what = format_args!("seed={} ops={nr_ops} cpus={} ms={elapsed_ms}{stopped}", plan.seed, plan.nr_workers);
    let is_pass = match (failures.first(), difference) {
        (None, None) => {
            println!("stress: PASS {what}");
            true
        }
        (Some(failure), _) => {
            println!("stress: FAIL {what} failures={}: {failure}", failures.count());
            false
        }
        (None, Some(difference)) => {
            println!("stress: FAIL {what}: {difference}");
            false
        }
    };
    println!("stress: again with: {repeat}");
    if is_pass { Status::Ok } else { Status::Failed }
}

impl Run {
    /// Whether to stop before the operations are used up. The first worker watches clock and keyboard for all.
    fn is_over(&self, number: usize, nr_done: u64) -> bool {
        /// Operations between two looks at the clock: reading it takes a global lock under emulation.
        const STRIDE: u64 = 64;
        if number == 0 && nr_done.is_multiple_of(STRIDE) {
            RUNNING[2].fetch_max(nr_done + STRIDE, Ordering::Relaxed);
            let is_late = self.deadline.is_some_and(|deadline| deadline.has_passed());
            if is_late || input::is_cancelled() || self.failures.count() > 0 {
                self.is_over.store(true, Ordering::Relaxed);
            }
        }
        self.is_over.load(Ordering::Relaxed)
    }
}
