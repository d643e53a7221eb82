//! The part of the allocators: every wanted workload, on every number of CPUs, with all contenders in turns.

use super::Part;
use super::arena::{self, Arenas};
use super::contenders::CONTENDERS;
use super::measure::{Group, Series};
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use super::round::Harness;
use super::workload::{NAMES, WORKLOADS};

/// The part.
pub(super) static PART: Part = Part { workloads: &NAMES, play };

fn play(plan: &Plan<'_>, reporter: &mut Reporter) -> Result<(), Stop> {
    let most = plan.cpus.most();
    let harness = Harness::new(most).ok_or(Stop::OutOfMemory)?;
    let mut series = Series::new(plan.nr_reps).ok_or(Stop::OutOfMemory)?;
    let arenas = Arenas::open(arena::bytes_for(most)).map_err(|_| Stop::OutOfMemory)?;
    reporter.heading(
        "Allocators",
        "ticks of a CPU for one of its own pairs (an allocation and a free), median of the repetitions: lower is better\n\
         x first: time over the heap's; locks, waits and IPIs of a pair; depot visits of 1000",
    );
    let nr_groups = WORKLOADS.iter().filter(|workload| plan.wants(workload.name)).count() * plan.cpus.numbers().len();
    let mut nr_done = 0;
    for workload in WORKLOADS.iter().filter(|workload| plan.wants(workload.name)) {
        for &nr_cpus in plan.cpus.numbers() {
            arenas.grow_tlbs(nr_cpus);
            let tell = |reporter: &mut Reporter| {
                reporter.progress(nr_done, nr_groups, format_args!("{} on {nr_cpus} CPUs", workload.name))
            };
            let group = Group::measure(workload, nr_cpus, plan, &harness, &mut series, &mut || tell(reporter))?;
            report(&group, &series, reporter);
            nr_done += 1;
        }
    }
    Ok(())
}

/// Hands the rows in, and says who is how much ahead.
fn report(group: &Group, series: &Series, reporter: &mut Reporter) {
    let rows = group.rows(series);
    reporter.rows(&rows);
    let is_peer = |index: &usize| CONTENDERS[*index].is_locked_peer;
    let mut best: Option<(u64, usize)> = None;
    for index in (0..rows.len()).filter(is_peer) {
        let median = reporter.median(&rows[index]).unwrap_or(u64::MAX);
        best = best.filter(|(least, _)| *least <= median).or(Some((median, index)));
    }
    if let Some((_, best)) = best
        && let Some(milli) = reporter.ratio(&rows[best], &rows[0])
    {
        reporter.sentence(format_args!(
            "bench: {} on {}: the {} is {} times as fast as the best locked, {}",
            group.workload.name,
            group.nr_cpus,
            rows[0].contender,
            kernel::figures::Ratio(milli, 1000),
            rows[best].contender
        ));
    }
}
