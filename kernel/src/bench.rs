//! `bench`: the heap and other allocators, and what the machine below costs, in one boot, on the same workloads, in turns.
//!
//! Bounded by operations, never by time. A run is its workloads, numbers of CPUs, operations, repetitions and a seed;
//! times are given as ratios, counts are exact. Every object carries a stamp from allocation to free, and memory must
//! be as it was at the end.
//!
//! | file | what |
//! |---|---|
//! | [`plan`] | what is played and how, chosen once |
//! | [`reporter`], [`tables`], [`meta`] | where all parts hand in what they measured; how it looks; what ran |
//! | [`keeper`] | the run in short, for `qr` |
//! | [`allocators`] | the part of the allocators: who, what, how often |
//! | [`workload`], [`shapes`] | what they play: the list, and the part of one CPU |
//! | [`contenders`], [`locked`] | who plays: the list and ours; those behind a lock |
//! | [`damaged`], [`refusing`] | who is wrong on purpose: hands out memory that is in use; hands out none |
//! | [`arena`] | memory of those that want some of their own |
//! | [`round`], [`barrier`], [`measure`] | once; where its CPUs meet; in turns, many times |
//! | [`latency`], [`waste`] | single operations, timed; memory held for what is live |
//! | [`counts`] | locks, depot visits, hits |
//! | [`frames`], [`fills`], [`filling`] | single and adjacent frames; single ones at every fill of memory; its filling |
//! | [`mapping`], [`ipi`], [`shootdown`] | pages mapped and unmapped; interrupts; rounds of shootdowns |
//! | [`replays`], [`player`] | recordings, played by all contenders; how one does |
//! | [`solo`], [`team`], [`company`] | operations timed one by one; by several CPUs; what the others do meanwhile |
//! | [`subject`], [`asked`] | what these measure, as records name it; counts beside it |
//!
//! A further part is a [`Part`] in a file of its own and a line in [`PARTS`].

mod allocators;
mod arena;
mod asked;
mod barrier;
mod company;
mod contenders;
mod counts;
mod damaged;
mod filling;
mod fills;
mod frames;
mod ipi;
mod keeper;
mod latency;
mod locked;
mod mapping;
mod measure;
mod meta;
mod plan;
mod player;
mod refusing;
mod replays;
mod reporter;
mod round;
mod shapes;
mod shootdown;
mod solo;
mod subject;
mod tables;
mod team;
mod waste;
mod workload;

use kernel::args::{ArgError, Args};
use kernel::figures::Bytes;
use kernel::fixed::Fixed;
use mm::frame::PAGE_SIZE;
use records::End;

use crate::baseline::{Baseline, Difference};
use crate::console::{print, println};
use crate::machine::HEAP;
use crate::shell::{Command, Status};
use crate::{input, workers};

pub use keeper::with_last_run;
use plan::{MAX_SWEEP, Plan, Stop, Sweep};
use reporter::{Form, Reporter};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "bench",
    usage: "[list|quick] [workload..] [--cpus 1,2,4] [--contender a,b] [--ops N] [--reps R] [--seed S] [--json]",
    help: "the heap beside other allocators, and the machine below",
    details: "`bench list` shows workloads and contenders; all are played if none is named. CPUs: 1, 2, 4 and so on to all.\n\
              In a repetition every contender plays N operations on each CPU; after two that warm up, R are measured, 10 if\n\
              nothing is said. Without --ops each finds N while it warms up, and what they found is printed. `quick`: 15 seconds.\n\
              Times are per operation: lower is better. `x first` is the time over that of the first row of a group,\n\
              repetition by repetition. Single operations are timed in rounds of their own.\n\
              Examples: bench; bench quick; bench pair64 larson --cpus 1,2,4,8; bench --json --contender heap,talc.\n\
              Ends with PASS or FAIL; fails if an object is damaged or memory is not as it was. Ctrl-C stops it, with status 1.",
    run: bench,
}];

/// Some workloads that belong together, and how they are played.
struct Part {
    /// Names, and a line on each.
    workloads: &'static [(&'static str, &'static str)],
    /// Plays those of its workloads that the plan wants, on each of its numbers of CPUs. All that it takes is back when it
    /// returns. Asks [`Reporter::progress`] or [`input::is_cancelled`] often enough to end within a second of Ctrl-C; what
    /// was measured until then has been handed in.
    play: fn(&Plan<'_>, &mut Reporter) -> Result<(), Stop>,
}

/// All parts, in the order in which they are played.
static PARTS: [&Part; 7] =
    [&allocators::PART, &replays::PART, &waste::PART, &frames::PART, &mapping::PART, &ipi::PART, &shootdown::PART];

const DEFAULT_REPS: u64 = 10;
const QUICK_REPS: u64 = 5;
const DEFAULT_SEED: u64 = 1;
const NR_WARM_UPS: usize = 2;

/// The names of all workloads, of all parts.
pub fn names() -> impl Iterator<Item = &'static str> {
    PARTS.iter().flat_map(|part| part.workloads).map(|(name, _)| *name)
}

fn bench<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let words = args.text();
    let cpus = args.option("--cpus", "a list of numbers of CPUs (1,2,4)")?;
    let nr_ops = args.option_number("--ops", 1..=1 << 40)?;
    let nr_reps = args.option_number("--reps", 1..=1000)?;
    let seed = args.option_number("--seed", 0..=u64::MAX)?.unwrap_or(DEFAULT_SEED);
    let contenders = args.option("--contender", "names of contenders (heap,talc)")?;
    let mut is_quick = args.flag("--quick");
    let form = if args.flag("--json") { Form::Json } else { Form::Table };
    let mut wanted = 0;
    let mut is_list = false;
    while let Some(word) = args.word() {
        match word {
            "list" => {
                is_list = true;
                continue;
            }
            "quick" => {
                is_quick = true;
                continue;
            }
            _ => {}
        }
        let Some(place) = names().position(|name| name == word) else {
            print!("bench: no workload is called `{word}`; there are:");
            names().for_each(|name| print!(" {name}"));
            println!("; usage: bench {usage}");
            return Ok(Status::Usage);
        };
        wanted |= 1_u64 << place;
    }
    args.finish(usage)?;
    if is_list && (is_quick || wanted != 0) {
        println!("bench: `list` shows all, and plays nothing: it stands alone; usage: bench {usage}");
        return Ok(Status::Usage);
    }
    if is_list {
        list();
        return Ok(Status::Ok);
    }
    let unknown = |name: &&str| contenders::all().all(|contender| contender.name != *name);
    if let Some(name) = contenders.and_then(|list| list.split(',').find(unknown)) {
        println!("bench: no contender is called `{name}`; `bench list` shows them; usage: bench {usage}");
        return Ok(Status::Usage);
    }
    if wanted == 0 {
        wanted = u64::MAX;
    }
    let default_cpus = || Ok(if is_quick { Sweep::ends() } else { Sweep::doubling() });
    let cpus = match cpus.map_or_else(default_cpus, Sweep::parse) {
        Ok(cpus) => cpus,
        Err(refused) => {
            println!(
                "bench: --cpus expected up to {MAX_SWEEP} numbers from 1 to {}, got `{refused}`; usage: bench {usage}",
                workers::nr_available()
            );
            return Ok(Status::Usage);
        }
    };
    let plan = Plan {
        words,
        wanted,
        contenders,
        cpus,
        nr_ops,
        nr_reps: nr_reps.unwrap_or(if is_quick { QUICK_REPS } else { DEFAULT_REPS }) as usize,
        nr_warm_ups: NR_WARM_UPS,
        seed,
        is_quick,
    };
    Ok(run(&plan, form))
}

/// Prints what there is to play, and who plays.
fn list() {
    println!("workloads:");
    PARTS.iter().flat_map(|part| part.workloads).for_each(|(name, about)| println!("  {name:<14} {about}"));
    println!("contenders of allocators:");
    contenders::all().for_each(|contender| println!("  {:<14} {}", contender.name, contender.about));
}

/// All memory that could be allocated.
fn memory_bytes() -> u64 {
    HEAP.frames().nr_managed() * PAGE_SIZE as u64
}

/// What to do where there is no memory for what the benchmark needs itself.
fn no_memory(plan: &Plan<'_>) -> Fixed<160> {
    /// What the kernel, its stacks and the harness take, roughly.
    const BESIDE: usize = 16 << 20;
    let needed = arena::all_bytes(plan.cpus.most());
    let enough_mib = (needed + needed / 2 + BESIDE).next_power_of_two() >> 20;
    let (needed, free) = (Bytes(needed as u64), Bytes(HEAP.frames().nr_free() * PAGE_SIZE as u64));
    Fixed::of(format_args!(
        "no memory for what it needs itself: {needed} for the contenders and some beside, and {free} are free; \
         a larger machine (just mem={enough_mib}M), or `bench frame map`"
    ))
}

fn run(plan: &Plan<'_>, form: Form) -> Status {
    let Some(mut reporter) = Reporter::new(form, plan.nr_reps) else {
        println!("bench: no memory for {} repetitions", plan.nr_reps);
        return Status::Failed;
    };
    let baseline = Baseline::take();
    meta::with_meta(plan, |meta| reporter.meta(meta));
    let wants = |part: &&&Part| part.workloads.iter().any(|(name, _)| plan.wants(name));
    let played = PARTS.iter().filter(wants).try_for_each(|part| (part.play)(plan, &mut reporter));
    let difference = baseline.as_ref().map_or(Some(Difference::Account), Baseline::compare);
    let why = match (played, reporter.nr_bad(), &difference) {
        (Err(Stop::OutOfMemory), ..) => Some(no_memory(plan)),
        (_, 1.., _) => Some(Fixed::of(format_args!("{} objects or recordings were bad", reporter.nr_bad()))),
        (.., Some(difference)) => Some(Fixed::of(format_args!("{difference}"))),
        _ => None,
    };
    if reporter.nr_refused() > 0 {
        let (nr_refused, bytes) = (reporter.nr_refused(), Bytes(memory_bytes()));
        reporter.remark(format_args!(
            "{nr_refused} requests were refused in {bytes} of memory, and what they belong to has no figures; with more there are"
        ));
    }
    let (is_pass, is_stopped) = (why.is_none(), input::is_cancelled());
    reporter.end(&End {
        is_pass,
        is_stopped,
        nr_rows: reporter.nr_rows(),
        nr_bad: reporter.nr_bad(),
        nr_refused: Some(reporter.nr_refused()),
        why: why.as_ref().map(|why| why.as_str().into()),
    });
    // What was stopped has found nothing wrong, and has not done what it was told either.
    if is_pass && !is_stopped { Status::Ok } else { Status::Failed }
}
