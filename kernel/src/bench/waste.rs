//! Memory that is held for what is in use: more and more objects of mixed sizes, then random ones of them freed, on one CPU;
//! then, where there is a call for that, what is idle given back.
//!
//! For the heap and its slabs what is held are frames that somebody has, beyond those before. A peer lives in a block of
//! its own and never gives anything back: it holds all from the lowest to the highest byte that it ever handed out, which is
//! what a kernel would have had to give it. buddy scatters its objects over the whole of its block, so that nobody can tell;
//! the slabs behind one lock hold what the slabs do. Both are left out, with a remark.

use alloc::vec::Vec;

use records::Waste;
use workloads::objects::{Faults, REFUSED, Slot};
use workloads::sizes::{MIX, Random};

use super::Part;
use super::arena::{self, Arenas};
use super::contenders::{Contestant, Lineup};
use super::plan::{Plan, Stop};
use super::reporter::Reporter;
use crate::machine::HEAP;

/// The part.
pub(super) static PART: Part =
    Part { workloads: &[("waste", "memory held for what is live, as that grows and then shrinks")], play };

/// Live bytes at which is looked: on the way up, and on the way down.
const UP: [u64; 4] = [64 << 10, 256 << 10, 1 << 20, 2 << 20];
const DOWN: [u64; 2] = [512 << 10, 128 << 10];
/// Objects of the mix in as many bytes as the last, and half as many more.
const MAX_LIVE: usize = 9000;

/// Where the objects stand that are live.
pub(super) struct Shelf {
    slots: Vec<Slot>,
    seed: u64,
}

/// What was held at one level.
pub(super) struct Held {
    workload: &'static str,
    live_bytes: u64,
    held_bytes: u64,
}

/// Goes up and down with contender `P`; the count of what was wrong. `None` if it does not know what it holds.
pub(super) fn hold<P: Contestant>(shelf: &mut Shelf, tell: &mut dyn FnMut(Held)) -> Option<u64> {
    let slots = &mut shelf.slots;
    let mut random = Random::new(shelf.seed, 0);
    let before = P::held_bytes();
    if before.is_none() && !P::IS_COMPACT {
        return None;
    }
    let (mut live_bytes, mut faults) = (0, 0);
    // The lowest and the highest address that were ever handed out.
    let mut span = (usize::MAX, 0);
    let mut look = |workload, live_bytes, span: (usize, usize)| {
        let held_bytes = match (P::held_bytes(), before) {
            (Some(now), Some(before)) => now.saturating_sub(before),
            _ => span.1.saturating_sub(span.0) as u64,
        };
        tell(Held { workload, live_bytes, held_bytes });
    };
    for level in UP {
        while live_bytes < level && slots.len() < slots.capacity() {
            let Some(slot) = Slot::alloc::<P>((random.draw() >> 21) as usize % MIX.len()) else {
                faults += REFUSED;
                break;
            };
            live_bytes += slot.size() as u64;
            span = (span.0.min(slot.addr()), span.1.max(slot.addr() + slot.size()));
            slots.push(slot);
        }
        look("waste-grow", live_bytes, span);
    }
    for level in DOWN {
        while live_bytes > level && !slots.is_empty() {
            let place = (((random.draw() >> 32) * slots.len() as u64) >> 32) as usize;
            let slot = slots.swap_remove(place);
            live_bytes -= slot.size() as u64;
            // SAFETY: an object of `P`, taken out of the shelf.
            faults += u64::from(unsafe { slot.free::<P>() } != 0);
        }
        look("waste-shrink", live_bytes, span);
    }
    if P::give_back() {
        look("waste-reclaim", live_bytes, span);
    }
    for slot in slots.drain(..) {
        // SAFETY: as above.
        faults += u64::from(unsafe { slot.free::<P>() } != 0);
    }
    Some(faults)
}

fn play(plan: &Plan<'_>, reporter: &mut Reporter) -> Result<(), Stop> {
    let mut shelf = Shelf { slots: Vec::new(), seed: plan.seed };
    shelf.slots.try_reserve_exact(MAX_LIVE).map_err(|_| Stop::OutOfMemory)?;
    let _arenas = Arenas::open(arena::bytes_for(1)).map_err(|_| Stop::OutOfMemory)?;
    let lineup = Lineup::new(plan);
    reporter.heading(
        "Memory held for objects of 17 to 1024 bytes",
        "as they become more, after random ones were freed, and after a reclaim where there is one;\n\
         held/live: lower is better, 1 is all used. A peer holds the span of its block that it ever used.",
    );
    for (nr_done, contender) in lineup.contenders().iter().enumerate() {
        reporter.progress(nr_done, lineup.contenders().len(), format_args!("memory held by {}", contender.name))?;
        // What others left in magazines would be handed out first.
        HEAP.reclaim();
        let faults = (contender.hold)(&mut shelf, &mut |held| {
            reporter.waste(&Waste {
                workload: held.workload.into(),
                contender: contender.name.into(),
                live_bytes: held.live_bytes,
                held_bytes: held.held_bytes,
            });
        });
        let who = contender.name;
        match faults.map(Faults::of) {
            Some(Faults { nr_bad, nr_refused }) => {
                if nr_refused > 0 {
                    reporter
                        .refuse(format_args!("waste: too little memory for all that {who} was to hold"), nr_refused);
                }
                if nr_bad > 0 {
                    reporter.fail(format_args!("waste: {who} damaged {nr_bad} objects"), nr_bad);
                }
            }
            None => {
                reporter.remark(format_args!("waste: {} is left out: what it holds cannot be told", contender.name))
            }
        }
    }
    Ok(())
}
