//! What stands behind a CPU's loaded magazine: its other magazines, the depot, and a source of rounds, in that order,
//! until the pop or push of the hit path succeeds (Bonwick and Adams, section 3.1).
//!
//! What the rounds are is the source's business: objects of slabs ([`crate::cache`]), or ranges of addresses
//! ([`crate::arena`]), at which nothing need be mapped. Nothing here looks at what a round points to.
//!
//! A CPU for which there is no magazine takes from the source and gives to it, and asks for one the next time again. As there
//! is a round for every request then, nobody would reclaim; so these are counted, see [`crate::growth`].
//!
//! The CPU's magazines are held all the while, so an interrupt here goes to the source itself.

use core::ptr::NonNull;

use crate::cpu_cache::{Dropped, Held};
use crate::depot::{Depot, Trade};
use crate::latency::{self, Path, Stopwatch};
use crate::machine::Machine;
use crate::magazine::Magazine;
use crate::supply::Supply;

/// Where rounds come from, and where they go.
pub(crate) trait Source<M: Machine> {
    /// Full and empty magazines that no CPU holds.
    fn depot(&self) -> &Depot<M>;

    /// Magazines in a CPU's rack at most.
    fn rack(&self) -> usize;

    /// Full magazines in the depot at most.
    fn depot_limit(&self) -> u32;

    /// New rounds; how many. None if there are none.
    fn fetch(&self, supply: &Supply<M>, rounds: &mut [NonNull<u8>]) -> usize;

    /// Takes rounds back. One that was overwritten with zeroes is no pointer.
    fn give_back(&self, supply: &Supply<M>, rounds: &[Option<NonNull<u8>>]);

    /// Counts what a CPU had to drop, and has it reported.
    #[inline]
    fn count_dropped(&self, supply: &Supply<M>, dropped: Option<Dropped>) {
        if let Some(Dropped { nr_magazines, nr_rounds }) = dropped {
            self.depot().count_dropped(nr_magazines, nr_rounds);
        }
        supply.frames.incidents.report();
    }

    /// Empties a magazine that the caller owns.
    fn empty(&self, supply: &Supply<M>, magazine: &mut NonNull<Magazine>) {
        // SAFETY: the caller owns the magazine; its first `nr_rounds` entries are rounds, and stay while we read them.
        let rounds = unsafe {
            let nr_rounds = magazine.as_ref().nr_rounds as usize;
            core::slice::from_raw_parts(Magazine::rounds(*magazine).as_ptr().cast(), nr_rounds)
        };
        self.give_back(supply, rounds);
        // SAFETY: the caller owns the magazine.
        unsafe { magazine.as_mut().nr_rounds = 0 };
    }

    /// Empties a magazine that the caller owns, and gives it back.
    fn discard(&self, supply: &Supply<M>, mut magazine: NonNull<Magazine>) {
        self.empty(supply, &mut magazine);
        // SAFETY: it came from the supply, is empty now, and its owner has handed it over.
        unsafe { supply.free_magazine(magazine) };
    }

    /// An empty magazine of the size of the day.
    fn new_magazine(&self, supply: &Supply<M>) -> Option<NonNull<Magazine>> {
        supply.magazine(self.depot().rounds())
    }

    /// `magazine`, unless it has been outgrown: then it goes back to the supply.
    fn unless_outgrown(&self, supply: &Supply<M>, magazine: NonNull<Magazine>) -> Option<NonNull<Magazine>> {
        // SAFETY: the caller owns the magazine.
        if unsafe { magazine.as_ref() }.capacity as usize >= self.depot().rounds() {
            return Some(magazine);
        }
        // SAFETY: an empty magazine of the supply's, which its owner hands over.
        unsafe { supply.free_magazine(magazine) };
        None
    }

    /// Gives the magazines that this CPU holds and all their rounds back.
    fn drain(&self, supply: &Supply<M>, held: &Held<'_>) {
        self.count_dropped(supply, held.vet_all(supply));
        while let Some(magazine) = held.take_any() {
            self.discard(supply, magazine);
        }
    }

    /// Empties the depot.
    fn empty_depot(&self, supply: &Supply<M>) {
        while let Some(magazine) = self.depot().take_any(supply) {
            self.discard(supply, magazine);
        }
        supply.frames.incidents.report();
    }
}

/// A round, with the loaded magazine empty. `None` if the source has none, or no memory is left for a magazine.
#[inline(always)]
pub(crate) fn pop_slow<M: Machine, S: Source<M>>(
    source: &S,
    supply: &Supply<M>,
    held: &Held<'_>,
    watch: &Option<Stopwatch<'_, M>>,
) -> Option<NonNull<u8>> {
    loop {
        if let Some(round) = Stopwatch::time_hit(watch, || held.pop()) {
            return Some(round);
        }
        source.count_dropped(supply, held.vet(supply));
        if held.reload_full() {
            latency::reach::<M>(Path::Swap);
            continue;
        }
        let empty = held.take_previous().and_then(|empty| source.unless_outgrown(supply, empty));
        let traded = source.depot().trade_empty(empty, supply);
        supply.frames.incidents.report();
        match traded {
            Ok(full) => {
                latency::reach::<M>(Path::Depot);
                held.insert(full);
                continue;
            }
            Err(Some(empty)) => held.put_previous(empty),
            Err(None) => {}
        }
        if held.is_unloaded() {
            let Some(empty) = source.new_magazine(supply) else {
                supply.growth.count_miss();
                return None;
            };
            held.insert(empty);
        }
        if held.fill(|rounds| source.fetch(supply, rounds)) == 0 {
            return None;
        }
    }
}

/// Takes a round back, with the loaded magazine full. False if there is no magazine at all, for want of memory: the
/// caller still has the round, and gives it to the source itself.
#[inline(always)]
pub(crate) fn push_slow<M: Machine, S: Source<M>>(
    source: &S,
    supply: &Supply<M>,
    held: &Held<'_>,
    watch: &Option<Stopwatch<'_, M>>,
    round: NonNull<u8>,
) -> bool {
    while !Stopwatch::time_hit(watch, || held.push(round)) {
        source.count_dropped(supply, held.vet(supply));
        if held.reload_empty(source.rack()) {
            latency::reach::<M>(Path::Swap);
            continue;
        }
        if !held.has_rack_place(source.rack())
            && let Some(full) = held.take_previous()
        {
            latency::reach::<M>(Path::Depot);
            // SAFETY: this CPU's until it is traded; it has just been looked at.
            let nr_rounds = unsafe { full.as_ref() }.nr_rounds;
            let traded = source.depot().trade_full(full, nr_rounds, source.depot_limit(), supply);
            supply.frames.incidents.report();
            match traded {
                Trade::Empty(empty) => {
                    if let Some(empty) = source.unless_outgrown(supply, empty) {
                        held.insert(empty);
                        continue;
                    }
                }
                Trade::Stored => {}
                Trade::Refused(mut full) => {
                    source.empty(supply, &mut full);
                    held.insert(full);
                    continue;
                }
            }
        }
        match source.new_magazine(supply) {
            Some(empty) => held.insert_empty(empty, source.rack()),
            // No memory for a magazine: a free must not fail for that.
            None if held.is_unloaded() => {
                supply.growth.count_miss();
                return false;
            }
            None => held.spill(|rounds| source.give_back(supply, rounds)),
        }
    }
    true
}
