//! Compares the CPUs' clocks with one another: see [`smp::clock_skew`] for what is found and what bound it gives.
//!
//! Every pair of CPUs while they are few; with more of them each with the first. Then two others are compared through the
//! first, so the bound on their distance is the sum of two.

use core::sync::atomic::{AtomicI64, Ordering};

use arch::tsc;
use kernel::chaos::Chaos;
use smp::CpuId;
use smp::clock_skew::{Exchange, Side, Skew};

use crate::machine::Cpu;
use crate::time::Deadline;
use crate::{chaos, input, per_cpu, workers};

/// CPUs up to which every pair is compared: 28 pairs.
const MAX_FOR_ALL_PAIRS: usize = 8;
/// Turns of a pair, unless its time is up first.
const MAX_TURNS: u32 = 2000;
const PAIR_NS: u64 = 20_000_000;

/// What a comparison of all clocks came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Warps {
    /// Pairs compared.
    pub nr_pairs: usize,
    /// The farthest that time was seen to go backwards from one CPU to another; 0 if it never was.
    pub max_warp_ticks: u64,
    /// No two clocks are farther apart than this.
    pub bound_ticks: u64,
    /// The pair with that warp, if there is one: the first clock is behind.
    pub worst: Option<(CpuId, CpuId)>,
}

/// Compares. `None` on one CPU, and if Ctrl-C was typed.
///
/// Context: the shell, on the first CPU, interrupts on; the others idle.
pub fn check() -> Option<Warps> {
    let nr_cpus = workers::nr_available();
    let mut warps = Warps::default();
    // The two largest bounds to the first CPU, when only those are known.
    let mut widest = [0; 2];
    for (first, second) in pairs(nr_cpus) {
        if input::is_cancelled() {
            return None;
        }
        let skew = compare(first, second)?;
        warps.nr_pairs += 1;
        if skew.warp_ticks() > warps.max_warp_ticks {
            warps.max_warp_ticks = skew.warp_ticks();
            // The one whose least gap is negative saw the other's time before its own.
            let is_first_behind = skew.first_ahead_at_most < skew.second_ahead_at_most;
            warps.worst = Some(if is_first_behind { (first, second) } else { (second, first) });
        }
        let bound = skew.bound_ticks();
        warps.bound_ticks = warps.bound_ticks.max(bound);
        widest = [widest[0].max(bound), widest[1].max(bound.min(widest[0]))];
    }
    if nr_cpus > MAX_FOR_ALL_PAIRS {
        warps.bound_ticks = widest[0] + widest[1];
    }
    (warps.nr_pairs > 0).then_some(warps)
}

/// The pairs to compare, of the first `nr_cpus` that are online.
fn pairs(nr_cpus: usize) -> impl Iterator<Item = (CpuId, CpuId)> {
    let nr_firsts = if nr_cpus <= MAX_FOR_ALL_PAIRS { nr_cpus } else { 1 };
    let firsts = workers::online().take(nr_firsts).enumerate();
    firsts.flat_map(|(index, first)| workers::online().skip(index + 1).map(move |second| (first, second)))
}

fn compare(first: CpuId, second: CpuId) -> Option<Skew> {
    const NOTHING: i64 = i64::MAX;
    let exchange = Exchange::new();
    let least = [const { AtomicI64::new(NOTHING) }; 2];
    workers::run_on(&[first, second], &|cpu| {
        let side = if cpu == first { Side::First } else { Side::Second };
        let ahead = ticks_ahead(cpu);
        let (deadline, mut nr_turns) = (Deadline::after_ns(PAIR_NS), 0u32);
        let goes_on = || {
            nr_turns += 1;
            // A look at the clock is dear under emulation.
            nr_turns <= MAX_TURNS && !(nr_turns.is_multiple_of(16) && deadline.has_passed())
        };
        if let Some(gap) = exchange.play(&Cpu, side, || tsc::read_serialised().wrapping_add(ahead), goes_on) {
            least[side as usize].store(gap, Ordering::Relaxed);
        }
    });
    let [first, second] = least.map(AtomicI64::into_inner);
    (first != NOTHING && second != NOTHING).then(|| Skew::from_gaps(first, second))
}

/// By how much chaos wants this CPU's clock read too high.
fn ticks_ahead(of: CpuId) -> u64 {
    debug_assert!(per_cpu::this().cpu == of);
    let ahead = chaos::asked().find_map(|chaos| match chaos {
        Chaos::SkewTsc { cpu, ticks } if cpu == of.index() as u64 => Some(ticks),
        _ => None,
    });
    ahead.unwrap_or(0)
}
