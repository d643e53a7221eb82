//! `bench`: the heap and other allocators, in one boot, on the same workloads, in turns.
//!
//! Bounded by operations, never by time. A run is its workloads, numbers of CPUs, operations, repetitions and a seed;
//! times are given as ratios, counts are exact. Every object carries a stamp from allocation to free, and memory must
//! be as it was at the end.
//!
//! | file | what |
//! |---|---|
//! | [`workload`], [`shapes`] | what is played: the list, and the part of one CPU |
//! | [`contenders`], [`locked`], [`arena`] | who plays: the list, those behind a lock, their memory |
//! | [`round`], [`measure`] | once; in turns, many times |
//! | [`counts`] | locks, depot visits, hits |
//! | [`frames`] | single frames at every fill of memory |
//! | [`report`] | rows for people and for programs |

mod arena;
mod contenders;
mod counts;
mod frames;
mod locked;
mod measure;
mod report;
mod round;
mod shapes;
mod workload;

use kernel::args::{ArgError, Args};
use kernel::units;

use crate::baseline::Baseline;
use crate::console::{print, println};
use crate::shell::{Command, Status};
use crate::{input, workers};

use arena::Arenas;
use frames::NoRows;
use measure::{Group, Plan, Series};
use report::Form;
use round::Harness;
use workload::WORKLOADS;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "bench",
    usage: "[workload..] [--cpus 1,2,4] [--ops N] [--reps R] [--seed S] [--json]",
    help: "the heap beside other allocators, in turns, as ratios",
    details: "Workloads: pair64 pairmix lifo1000 fifo1000 mstress xmalloc larson, and frame; all if none is named.\n\
              Every contender plays N pairs (an allocation and a free) on each CPU in a round, R rounds after two to\n\
              warm up. The default is --cpus 1,2 --ops 10k --reps 10.\n\
              `x heap` is the time over that of our heap, `x best` over that of the best peer behind a lock; locks and\n\
              waits for them are counted for each pair, depot visits for a thousand.\n\
              Examples: bench; bench pair64 larson --cpus 1,2,4,8; bench frame; bench --json --reps 30.\n\
              Ends with PASS or FAIL; fails if an object is damaged or memory is not as it was. Ctrl-C stops it.",
    run: bench,
}];

/// The workload that is no allocator's.
const FRAME: &str = "frame";
/// Numbers of CPUs in one run, at most.
const MAX_SWEEP: usize = 16;
const DEFAULT_PAIRS: u64 = 10_000;
const DEFAULT_REPS: u64 = 10;
const DEFAULT_SEED: u64 = 1;

/// The names of all workloads.
pub fn names() -> impl Iterator<Item = &'static str> {
    WORKLOADS.iter().map(|workload| workload.name).chain([FRAME])
}

/// What to play on how many CPUs.
struct Choice {
    /// By place in the list; the last is the frames.
    workloads: [bool; WORKLOADS.len() + 1],
    cpus: [usize; MAX_SWEEP],
    nr_cpus: usize,
}

impl Choice {
    fn cpus(&self) -> &[usize] {
        &self.cpus[..self.nr_cpus]
    }
}

fn bench<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let cpus = args.option("--cpus", "a list of numbers of CPUs (1,2,4)")?;
    let plan = Plan {
        nr_pairs: args.option_number("--ops", 1..=1 << 40)?.unwrap_or(DEFAULT_PAIRS),
        nr_reps: args.option_number("--reps", 1..=1000)?.unwrap_or(DEFAULT_REPS) as usize,
        seed: args.option_number("--seed", 0..=u64::MAX)?.unwrap_or(DEFAULT_SEED),
    };
    let form = if args.flag("--json") { Form::Json } else { Form::Table };
    let mut choice = Choice { workloads: [false; WORKLOADS.len() + 1], cpus: [0; MAX_SWEEP], nr_cpus: 0 };
    while let Some(word) = args.word() {
        let Some(place) = names().position(|name| name == word) else {
            print!("bench: no workload is called `{word}`; there are:");
            names().for_each(|name| print!(" {name}"));
            println!("; usage: bench {usage}");
            return Ok(Status::Usage);
        };
        choice.workloads[place] = true;
    }
    args.finish(usage)?;
    if choice.workloads == [false; WORKLOADS.len() + 1] {
        choice.workloads = [true; WORKLOADS.len() + 1];
    }
    if let Err(refused) = choose_cpus(&mut choice, cpus) {
        let nr_available = workers::nr_available();
        println!(
            "bench: --cpus expected up to {MAX_SWEEP} numbers from 1 to {nr_available}, got `{refused}`; \
             usage: bench {usage}"
        );
        return Ok(Status::Usage);
    }
    Ok(run(&choice, plan, form))
}

/// Reads the list; the word that is no number of CPUs here.
fn choose_cpus<'a>(choice: &mut Choice, list: Option<&'a str>) -> Result<(), &'a str> {
    let nr_available = workers::nr_available();
    let Some(list) = list else {
        choice.nr_cpus = nr_available.min(2);
        choice.cpus[..2].copy_from_slice(&[1, 2]);
        return Ok(());
    };
    for word in list.split(',') {
        let number = units::number(word).ok().filter(|number| (1..=nr_available as u64).contains(number));
        let place = choice.cpus.get_mut(choice.nr_cpus).ok_or(word)?;
        *place = number.ok_or(word)? as usize;
        choice.nr_cpus += 1;
    }
    Ok(())
}

/// What a run came to.
#[derive(Default)]
struct Outcome {
    nr_rows: u64,
    nr_bad: u64,
    is_out_of_memory: bool,
}

fn run(choice: &Choice, plan: Plan, form: Form) -> Status {
    let baseline = Baseline::take();
    form.head(plan);
    let mut outcome = Outcome::default();
    play_all(choice, plan, form, &mut outcome);
    let difference = match &baseline {
        Some(baseline) => baseline.compare(),
        None => Some(crate::baseline::Difference::Account),
    };
    let is_pass = difference.is_none() && outcome.nr_bad == 0 && !outcome.is_out_of_memory;
    form.end(&outcome, is_pass);
    if let Some(difference) = difference {
        form.complain(&difference);
    }
    if is_pass { Status::Ok } else { Status::Failed }
}

/// Plays everything that was chosen until Ctrl-C; whatever it takes is back when it returns.
fn play_all(choice: &Choice, plan: Plan, form: Form, outcome: &mut Outcome) {
    let nr_cpus = choice.cpus().iter().copied().max().unwrap_or(1);
    let wants_allocators = choice.workloads[..WORKLOADS.len()].contains(&true);
    if wants_allocators {
        let harness = Harness::new(nr_cpus);
        let series = Series::new(plan.nr_reps);
        let arenas = Arenas::open(arena::bytes_for(nr_cpus));
        let (Some(harness), Some(mut series), Ok(arenas)) = (harness, series, arenas) else {
            outcome.is_out_of_memory = true;
            return;
        };
        for (workload, _) in WORKLOADS.iter().zip(choice.workloads).filter(|(_, is_chosen)| *is_chosen) {
            for &nr_cpus in choice.cpus() {
                arenas.grow_tlbs(nr_cpus);
                let Some(group) = Group::measure(workload, nr_cpus, plan, &harness, &mut series) else { return };
                form.group(&group);
                outcome.nr_rows += group.cells.len() as u64;
                outcome.nr_bad += group.nr_bad();
            }
        }
    }
    if choice.workloads[WORKLOADS.len()] && !input::is_cancelled() {
        match frames::measure(plan) {
            Ok(rows) => {
                form.frames(&rows);
                outcome.nr_rows += rows.len() as u64;
                outcome.nr_bad += rows.iter().map(|row| row.nr_bad).sum::<u64>();
            }
            Err(NoRows::Stopped) => {}
            Err(NoRows::NoMemory) => outcome.is_out_of_memory = true,
        }
    }
}
