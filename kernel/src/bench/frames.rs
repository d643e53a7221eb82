//! `frame`: single frames, and `frames`: adjacent ones; taken and given back.
//!
//! | workload | contender | what |
//! |---|---|---|
//! | `frame` | `magazine` | one at a time, by way of the CPU's page magazine |
//! | `frame` | `bitmap` | more at a time than a page magazine holds, while more and more of memory is in use |
//! | `frames` | `empty` | a run of so many pages, while memory is as empty as it gets |
//! | `frames` | `full` | the same, with nothing free but room for one such run of each CPU, and some odd frames |
//!
//! What a frame costs must not depend on the fill, and a run takes the lock of the bitmap twice, whatever its length.
//! Every frame or both ends of a run carry a stamp while warming up: no two CPUs may have the same.

use mm::frame::{Frame, FrameRange};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use workloads::objects::REFUSED;

use super::asked::Asked;
use super::filling::Filling;
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use super::solo::{Solo, Stopwatch};
use super::subject::Subject;
use super::team::Work;
use super::{Part, fills};
use crate::machine::HEAP;

/// Pages of a run.
const NR_PAGES: [usize; 4] = [2, 8, 64, 512];
/// The part.
pub(super) static PART: Part = Part {
    workloads: &[
        ("frame", "single frames: by CPUs, and while memory is as empty as it gets, 50, 99 and 99.9 % full"),
        ("frames", "2, 8, 64 and 512 adjacent frames, in an empty memory and in a full one"),
    ],
    play,
};

fn play(plan: &Plan<'_>, reporter: &mut Reporter) -> Result<(), Stop> {
    let mut solo = Solo::new(plan, reporter)?;
    let sweep = plan.cpus.numbers();
    if plan.wants("frame") {
        solo.heading(
            "Single frames",
            "ticks of a CPU for a frame taken and given back; lower is better; magazine: one at a time;\n\
             bitmap: 128 at a time, past the magazine; behind the name thousandths of memory that are in use",
        );
        for (done, &nr_cpus) in sweep.iter().enumerate() {
            solo.reporter.progress(done, sweep.len(), format_args!("frame on {nr_cpus}"))?;
            solo.measure_team(&subject("frame", "magazine", nr_cpus), Asked::of_frames, &Singles)?;
        }
        fills::measure(&mut solo)?;
    }
    if plan.wants("frames") {
        solo.heading(
            "Adjacent frames",
            "ticks of a CPU for a run taken and given back; lower is better; behind the name pages of a run\n\
             full: nothing is free but room for a run of each CPU, and odd frames",
        );
        for (done, &nr_cpus) in sweep.iter().enumerate() {
            solo.reporter.progress(done, sweep.len(), format_args!("frames on {nr_cpus}"))?;
            measure_runs(&mut solo, nr_cpus)?;
        }
    }
    Ok(())
}

fn subject(workload: &'static str, contender: &'static str, nr_cpus: usize) -> Subject {
    Subject::of(workload, contender, nr_cpus, "pair", &["alloc", "free"])
}

/// What runs ask for: page magazines have no part in them.
fn asked_of_bitmap() -> Asked {
    Asked { nr_frames: None, nr_visits: None, ..Asked::of_frames() }
}

/// Writes a stamp of CPU `number` to `frame`, which is the caller's.
fn stamp(frame: Frame, number: usize) {
    // SAFETY: the frame is the caller's, and the direct map covers it.
    unsafe { HEAP.frames().virt(frame).cast::<u64>().write_volatile(frame.addr() ^ number as u64) };
}

/// Whether `frame` has kept its stamp.
fn has_stamp(frame: Frame, number: usize) -> bool {
    // SAFETY: as above.
    unsafe { HEAP.frames().virt(frame).cast::<u64>().read_volatile() == frame.addr() ^ number as u64 }
}

/// Measures runs on `nr_cpus` CPUs, in an empty memory and in a full one.
fn measure_runs(solo: &mut Solo<'_>, nr_cpus: usize) -> Result<(), Stop> {
    let mut filling = Filling::new()?;
    for contender in ["empty", "full"] {
        for &nr_pages in NR_PAGES.iter().step_by(if solo.plan.is_quick { 2 } else { 1 }) {
            let scale = Some(("pages", nr_pages as u64));
            let subject = Subject { scale, weight: 4, ..subject("frames", contender, nr_cpus) };
            // One more, so that a first fit never has to find the only place.
            let hole = nr_pages * (nr_cpus + 1);
            if !filling.fill_around(hole, if contender == "full" { 1000 } else { 0 }) {
                solo.reporter.remark(format_args!("{subject}: left out, there are no {hole} adjacent frames"));
                continue;
            }
            solo.measure_team(&subject, asked_of_bitmap, &Runs { nr_pages })?;
            filling.clear();
        }
    }
    Ok(())
}

/// One frame at a time.
struct Singles;

impl Work for Singles {
    fn operate(&self, number: usize, nr_ops: u64, is_checked: bool) -> u64 {
        let mut nr_bad = 0;
        for _ in 0..nr_ops {
            let Ok(frame) = HEAP.frames().alloc(Kind::Owned) else {
                nr_bad += REFUSED;
                continue;
            };
            if is_checked {
                stamp(frame, number);
                nr_bad += u64::from(!has_stamp(frame, number));
            }
            // SAFETY: ours, and not used any more.
            nr_bad += u64::from(unsafe { HEAP.frames().free(frame, Kind::Owned) }.is_err());
        }
        nr_bad
    }

    fn time(&self, stopwatch: &mut Stopwatch<'_>) -> u64 {
        let Ok(frame) = stopwatch.time(0, || HEAP.frames().alloc(Kind::Owned)) else { return REFUSED };
        // SAFETY: ours, and not used.
        u64::from(stopwatch.time(1, || unsafe { HEAP.frames().free(frame, Kind::Owned) }).is_err())
    }
}

/// One run at a time.
struct Runs {
    nr_pages: usize,
}

impl Runs {
    fn ends(run: FrameRange) -> [Frame; 2] {
        [run.start(), Frame::new((run.end_number() - 1) as u32)]
    }
}

impl Work for Runs {
    fn operate(&self, number: usize, nr_ops: u64, is_checked: bool) -> u64 {
        let mut nr_bad = 0;
        for _ in 0..nr_ops {
            let Ok(run) = HEAP.frames().alloc_run(RunRequest::pages(self.nr_pages), Kind::Owned) else {
                nr_bad += REFUSED;
                continue;
            };
            if is_checked {
                Self::ends(run).into_iter().for_each(|frame| stamp(frame, number));
                nr_bad += Self::ends(run).into_iter().filter(|&frame| !has_stamp(frame, number)).count() as u64;
            }
            // SAFETY: ours, and not used any more.
            nr_bad += u64::from(unsafe { HEAP.frames().free_run(run, Kind::Owned) }.is_err());
        }
        nr_bad
    }

    fn time(&self, stopwatch: &mut Stopwatch<'_>) -> u64 {
        let request = RunRequest::pages(self.nr_pages);
        let Ok(run) = stopwatch.time(0, || HEAP.frames().alloc_run(request, Kind::Owned)) else { return REFUSED };
        // SAFETY: ours, and not used.
        u64::from(stopwatch.time(1, || unsafe { HEAP.frames().free_run(run, Kind::Owned) }).is_err())
    }
}
