//! The part of the allocators: every wanted workload, on every number of CPUs, with all contenders in turns; then once more,
//! with single operations timed.

use alloc::vec::Vec;

use kernel::figures::Ratio;

use super::Part;
use super::arena::{self, Arenas};
use super::contenders::{BulkCache, Contender, Lineup, MAX_LINEUP};
use super::latency::{self, Samplers};
use super::measure::{self, Absence, Group, Series};
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use super::round::Harness;
use super::workload::{Game, NAMES, games};

/// Operations of each CPU in a round of each contender; 0 of those that are left out.
type Ops = [u64; MAX_LINEUP];

/// The part.
pub(super) static PART: Part = Part { workloads: &NAMES, play };

fn play(plan: &Plan<'_>, reporter: &mut Reporter) -> Result<(), Stop> {
    let most = plan.cpus.most();
    let harness = Harness::new(most).ok_or(Stop::OutOfMemory)?;
    let mut series = Series::new(plan.nr_reps).ok_or(Stop::OutOfMemory)?;
    let mut samplers = Samplers::new(most).ok_or(Stop::OutOfMemory)?;
    let mut ops_of_games: Vec<Ops> = Vec::new();
    let nr_games = games(plan).count();
    ops_of_games.try_reserve_exact(nr_games).map_err(|_| Stop::OutOfMemory)?;
    let arenas = Arenas::open(arena::bytes_for(most)).map_err(|_| Stop::OutOfMemory)?;
    let _bulk = BulkCache::open().map_err(|_| Stop::OutOfMemory)?;
    let lineup = Lineup::new(plan);
    let contenders = lineup.contenders();

    reporter.heading(
        "Allocators",
        "ticks of a CPU for one of its own pairs (an allocation and a free), median of the repetitions;\n\
         lower is better. spread: of the middle half. x first: time over the first row's. locks, waits\n\
         for them and IPIs of a pair, depot visits of 1000; hits: operations that magazines served.\n\
         Behind `pair` stand bytes.",
    );
    for (nr_done, game) in games(plan).enumerate() {
        arenas.grow_tlbs(game.nr_cpus);
        let mut tell =
            || reporter.progress(nr_done, nr_games, format_args!("{} on {}", game.workload.name, game.nr_cpus));
        let group = Group::measure(game, contenders, plan, &harness, &mut series, &mut tell)?;
        report(&game, &group, contenders, plan, &series, reporter);
        ops_of_games.push(group.nr_ops);
    }

    let is_timed = |(game, _): &(Game, Ops)| game.size.is_none() && plan.cpus.wants_latency(game.nr_cpus);
    let timed = games(plan).zip(ops_of_games.iter().copied()).filter(is_timed);
    if timed.clone().next().is_none() {
        return Ok(());
    }
    reporter.heading(
        "Single operations of these, one in some timed",
        "ticks, lower is better. clock: what two readings of the clock alone took there and then (median);\n\
         it is in every other figure. Of `bulk` an operation is a batch of 128.",
    );
    let nr_timed = timed.clone().count();
    for (nr_done, (game, nr_ops)) in timed.enumerate() {
        let tell = |reporter: &mut Reporter| {
            reporter.progress(nr_done, nr_timed, format_args!("single, {} on {}", game.workload.name, game.nr_cpus))
        };
        let pass = latency::Pass { plan, harness: &harness, contenders };
        pass.measure(&game, &nr_ops, &mut samplers, reporter, tell)?;
    }
    Ok(())
}

/// Hands the rows in, and says who is how much ahead, and who is left out.
fn report(
    game: &Game,
    group: &Group,
    contenders: &[&'static Contender],
    plan: &Plan<'_>,
    series: &Series,
    reporter: &mut Reporter,
) {
    let (name, size, nr_cpus) = (game.workload.name, Bytes(game.size), game.nr_cpus);
    let is_present = |index: &usize| group.nr_ops[*index] > 0;
    let players = Lineup::of((0..contenders.len()).filter(is_present).map(|index| contenders[index]));
    let players = players.contenders();
    let rows = group.rows(contenders, series);
    let rows = &rows[..players.len()];
    reporter.rows(rows);
    for (index, contender) in contenders.iter().enumerate() {
        let who = contender.name;
        match group.absence(index) {
            None => continue,
            Some(Absence::TooSlow) => reporter.remark(format_args!(
                "{name}{size} on {nr_cpus}: {who} is left out: {} operations take it more than {} ms",
                game.shape.least_ops(),
                measure::affordable_ns(plan) / 1_000_000
            )),
            Some(Absence::Refused(nr_refused)) => reporter.refuse(
                format_args!(
                    "{name}{size} on {nr_cpus}: {who} has no figures: too little memory, {nr_refused} refused"
                ),
                nr_refused,
            ),
        }
        let nr_bad = group.nr_bad(index);
        if nr_bad > 0 {
            reporter.fail(format_args!("{name}{size} on {nr_cpus}: {who} damaged {nr_bad} objects"), nr_bad);
        }
    }
    let mut best: Option<(u64, usize)> = None;
    for index in (0..rows.len()).filter(|&index| players[index].is_locked_peer) {
        let median = reporter.median(&rows[index]).unwrap_or(u64::MAX);
        best = best.filter(|(least, _)| *least <= median).or(Some((median, index)));
    }
    let ops = || group.nr_ops[..contenders.len()].iter().copied().filter(|&nr_ops| nr_ops > 0);
    let ops = Span(ops().min().unwrap_or(0), ops().max().unwrap_or(0));
    match (players, best) {
        ([first, ..], Some((_, best))) if first.is_ours => {
            let milli = reporter.ratio(&rows[best], &rows[0]).unwrap_or(0);
            reporter.sentence(format_args!(
                "bench: {name}{size} on {nr_cpus}, {ops} each: the {} is {} times as fast as the best locked, {}",
                first.name,
                Ratio(milli, 1000),
                players[best].name
            ));
        }
        _ => reporter.sentence(format_args!("bench: {name}{size} on {nr_cpus}, {ops} operations on each CPU")),
    }
}

/// Numbers from one to the other.
struct Span(u64, u64);

impl core::fmt::Display for Span {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self(least, most) = *self;
        if least == most { write!(f, "{least}") } else { write!(f, "{least}-{most}") }
    }
}

/// A size behind a name, where there is one.
struct Bytes(Option<usize>);

impl core::fmt::Display for Bytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.map_or(Ok(()), |size| write!(f, " {size}"))
    }
}
