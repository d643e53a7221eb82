//! `replay`: a recording of a real kernel's allocator traffic, played on this one.
//!
//! Each recorded CPU's stream is played by a CPU of its own (by fewer, if there are fewer). Events *start* in the order
//! in which they were recorded and run side by side: so the bytes live at any event are those that were live in the
//! recorded machine, the peak is the recording's to the byte, and no CPU runs ahead and takes memory that the recorded
//! machine never needed. Each object has the recorded size, is stamped, and checked when it is freed; a free waits until
//! its allocation is done.
//!
//! | file | what it does |
//! |---|---|
//! | [`player`] | plays one CPU's stream |
//! | [`object`] | an object: where it comes from, its stamp |
//! | [`score`] | the recording, checked, with the memory that playing it takes |

mod object;
mod player;
mod score;

pub(crate) use object::Objects;
pub(crate) use player::{End, Failure, Stage, Unwatched, Watcher, play as play_stream};
pub(crate) use score::{Refusal, Score, Scratch};

use kernel::args::{ArgError, Args};
use kernel::figures::{Bytes, Count, Percent, Things};
use kernel::trace::Trace;
use mm::frame::PAGE_SIZE;

use crate::baseline::Baseline;
use crate::bootinfo::{self, Module};
use crate::console::{self, println};
use crate::machine::HEAP;
use crate::shell::{Command, Status};
use crate::time::Deadline;
use crate::{time, workers};

use object::OfHeap;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "replay",
    usage: "<module>",
    help: "play a recording of a real kernel's allocations",
    details: "A module is named by its file name; `version` lists them. The recording is checked first, and refused\n\
              if it is damaged or needs more memory than there is. Ends with PASS or FAIL.",
    run: replay,
}];

fn replay<'a>(args: Args<'a>, _usage: &'static str) -> Result<Status, ArgError<'a>> {
    // All of it: a file's name may look like an option or a pair, and have blanks.
    let name = args.rest("the name of a module")?;
    let Some(module) = bootinfo::get().modules().find(|module| module.name.as_str() == name) else {
        println!("replay: there is no module `{name}`; `version` lists them");
        return Ok(Status::Usage);
    };
    Ok(play(module).unwrap_or_else(|refusal| {
        println!("replay: FAIL {name}: {refusal}");
        Status::Failed
    }))
}

/// Allocator counters, summed over all caches.
#[derive(Clone, Copy, Default)]
struct Traffic {
    nr_ops: u64,
    nr_depot_visits: u64,
    nr_slab_visits: u64,
}

impl Traffic {
    fn so_far() -> Self {
        HEAP.caches().map(|(id, _)| HEAP.cache_account(id)).fold(Self::default(), |sum, one| Self {
            nr_ops: sum.nr_ops + one.nr_allocs + one.nr_frees,
            nr_depot_visits: sum.nr_depot_visits + one.nr_depot_visits,
            nr_slab_visits: sum.nr_slab_visits + one.nr_slab_visits,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            nr_ops: self.nr_ops - before.nr_ops,
            nr_depot_visits: self.nr_depot_visits - before.nr_depot_visits,
            nr_slab_visits: self.nr_slab_visits - before.nr_slab_visits,
        }
    }
}

/// Prints a line a second, or fewer where turns are long in coming.
struct Progress {
    second: Deadline,
    start_ns: u64,
}

impl Progress {
    fn new() -> Self {
        Self { second: Deadline::after_ns(1_000_000_000), start_ns: time::now_ns() }
    }
}

impl Watcher for Progress {
    fn look(&mut self, index: u32) {
        if self.second.has_passed() {
            self.second = Deadline::after_ns(1_000_000_000);
            let nr_seconds = (time::now_ns() - self.start_ns) / 1_000_000_000;
            println!("replay: {nr_seconds} s, event {}", Count(index.into()));
        }
        console::refresh_in_passing();
    }
}

fn play(module: &Module) -> Result<Status, score::Refusal> {
    let name = module.name.as_str();
    let trace = Trace::parse(module.bytes)?;
    let nr_players = workers::nr_available().min(trace.header().nr_cpus as usize);
    let mut scratch = score::Scratch::new(&trace)?;
    let score = Score::new(trace, nr_players, &mut scratch)?;
    let summary = score.checked.summary();
    println!(
        "replay: {name}: {} events of {} on {nr_players} of {}, needs about {}",
        Count(summary.nr_events),
        Things(trace.header().nr_cpus.into(), "recorded CPU"),
        Things(workers::nr_available() as u64, "CPU"),
        Bytes(score.needed_bytes)
    );
    let stage = Stage::new(&score)?;
    let Some(baseline) = Baseline::take() else { return Err(score::Refusal::Memory) };
    let before = Traffic::so_far();
    let start_ns = time::now_ns();
    let play = |player| play_stream::<OfHeap>(&stage, player, &mut Progress::new());
    workers::run(nr_players, &play, || player::watch(&stage));
    let elapsed_ns = time::now_ns() - start_ns;
    let traffic = Traffic::so_far().since(before);
    let end = stage.end::<OfHeap>();

    let peak_frame_bytes = end.frames_at_peak * PAGE_SIZE as u64;
    let nr_missed = (traffic.nr_depot_visits + traffic.nr_slab_visits).min(traffic.nr_ops);
    println!(
        "replay: {} objects, {} freed on another CPU than allocated, {} ms",
        Count(summary.nr_objects),
        Count(summary.nr_cross_cpu_frees),
        elapsed_ns / 1_000_000
    );
    println!(
        "replay: peak live {} of {} in the recording; {} frames at peak, waste {}",
        Bytes(end.peak_live_bytes),
        Bytes(trace.header().peak_live_bytes),
        Count(end.frames_at_peak),
        Percent(peak_frame_bytes.saturating_sub(end.peak_live_bytes), peak_frame_bytes)
    );
    println!(
        "replay: magazine hits {:.3}, {} depot visits, {} slab visits",
        Percent(traffic.nr_ops - nr_missed, traffic.nr_ops),
        Count(traffic.nr_depot_visits),
        Count(traffic.nr_slab_visits)
    );
    // The allocator's own word: objects live and frames in use are what they were, and every frame is accounted for.
    let difference = baseline.compare();
    let is_pass = end.is_whole(&score) && difference.is_none();
    println!(
        "replay: {} {name} objects={} events={} peak_live_bytes={} frames_at_peak={} lost={}",
        if is_pass { "PASS" } else { "FAIL" },
        summary.nr_objects,
        end.nr_events,
        end.peak_live_bytes,
        end.frames_at_peak,
        end.nr_lost
    );
    if let Some(difference) = difference {
        println!("replay: {difference}");
    }
    if let Some(failure) = end.failure {
        println!("replay: {failure}");
    }
    Ok(if is_pass { Status::Ok } else { Status::Failed })
}
