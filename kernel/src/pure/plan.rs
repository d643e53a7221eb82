//! Which CPU plays which events of a recording.
//!
//! Recorded CPU `c` plays on player `c % nr_players`: a CPU of its own for each, if there are enough. A stable counting
//! sort gives each player the list of its events in the recorded order, so two recorded CPUs on one player are merged as
//! the machine saw them.
//!
//! That order also makes waiting safe. A free waits for its allocation, which stands before it in the recording, and
//! each player plays in the recorded order; so the earliest event that is not done yet never waits for anybody, and no
//! set of players can wait in a circle. This stays true when players that are far ahead wait for that earliest event
//! ([`Pace`]), which bounds the memory that a replay needs.
//!
//! Called by: the replay command, with index memory that it allocated fallibly (4 bytes an event).

use crate::trace::{MAX_CPUS, Trace};
use core::fmt;

/// The events of each player, by index into the recording.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'i> {
    indices: &'i [u32],
    /// Player `p` plays `indices[ends[p - 1]..ends[p]]`.
    ends: [usize; MAX_CPUS],
    nr_players: usize,
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// There must be 1 to 64 players.
    Players {
        /// How many were asked for.
        nr_players: usize,
    },
    /// The index memory is too small, or an index does not fit 32 bits.
    Indices {
        /// How many entries were lent.
        len: usize,
        /// How many are needed.
        nr_events: u64,
    },
}

/// Hands the events of `trace` to `nr_players` players. `indices` needs an entry for each event; what it holds before
/// does not matter.
///
/// # Errors
/// `Players` or `Indices`, with the values.
pub fn partition<'i>(trace: &Trace<'_>, nr_players: usize, indices: &'i mut [u32]) -> Result<Plan<'i>, PlanError> {
    if nr_players == 0 || nr_players > MAX_CPUS {
        return Err(PlanError::Players { nr_players });
    }
    let events = trace.events();
    let error = PlanError::Indices { len: indices.len(), nr_events: trace.header().nr_events };
    let nr_events = u32::try_from(events.len()).map_err(|_| error)?;
    let indices = indices.get_mut(..events.len()).ok_or(error)?;
    let player_of = |cpu: u8| usize::from(cpu) % nr_players;

    let mut counts = [0usize; MAX_CPUS];
    events.clone().for_each(|event| counts[player_of(event.cpu)] += 1);
    // First where each player's events start; when all are placed, that is where they end.
    let mut next = [0usize; MAX_CPUS];
    for player in 1..MAX_CPUS {
        next[player] = next[player - 1] + counts[player - 1];
    }
    for (event, index) in events.zip(0..nr_events) {
        let slot = &mut next[player_of(event.cpu)];
        indices[*slot] = index;
        *slot += 1;
    }
    Ok(Plan { indices, ends: next, nr_players })
}

impl<'i> Plan<'i> {
    /// How many players there are; some may have nothing to play.
    pub fn nr_players(&self) -> usize {
        self.nr_players
    }

    /// The events of `player`, by index, in the recorded order. A player that is not there plays nothing.
    pub fn player(&self, player: usize) -> &'i [u32] {
        if player >= self.nr_players {
            return &[];
        }
        let start = player.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.indices[start..self.ends[player]]
    }
}

/// How far players may run ahead, in events.
///
/// Each player publishes the index of the event that it plays next ([`Pace::FINISHED`] when there is none); the least
/// of those is the earliest event that is not done. An event may be played when it is less than a window behind that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    window: u64,
}

impl Pace {
    /// What a player without events left publishes.
    pub const FINISHED: u32 = u32::MAX;

    /// Players may be `window` events apart; 0 counts as 1, the recorded order.
    pub const fn new(window: u64) -> Pace {
        Pace { window: if window == 0 { 1 } else { window } }
    }

    /// The window in events, as [`peak_footprint`](crate::trace_check::Checked::peak_footprint) takes it.
    pub const fn window(self) -> u64 {
        self.window
    }

    /// Whether event `index` may be played while `earliest` is the least that any player has published.
    pub const fn allows(self, index: u32, earliest: u32) -> bool {
        (index as u64) < (earliest as u64).saturating_add(self.window)
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PlanError::Players { nr_players } => write!(f, "{nr_players} CPUs cannot play, 1 to {MAX_CPUS} can"),
            PlanError::Indices { len, nr_events } => {
                write!(f, "planning {nr_events} events needs as many 32-bit indices, there are {len}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SplitMix64;
    use crate::trace::fixture::{self, Raw};
    use crate::trace::{Action, Event};
    use crate::trace_check::ObjectState;
    use proptest::prelude::*;

    #[test]
    fn each_recorded_cpu_plays_on_its_own() {
        let bytes = fixture::good();
        let trace = Trace::parse(&bytes).expect("a good recording");
        let mut indices = [9; 8];
        let plan = partition(&trace, 2, &mut indices).expect("room for 6 events");
        assert_eq!((plan.player(0), plan.player(1)), (&[0, 3, 4][..], &[1, 2, 5][..]));
        assert_eq!((plan.player(2), plan.nr_players()), (&[][..], 2));
        let plan = partition(&trace, 1, &mut indices).expect("room for 6 events");
        assert_eq!(plan.player(0), [0, 1, 2, 3, 4, 5]);
        let plan = partition(&trace, 64, &mut indices).expect("room for 6 events");
        assert_eq!((plan.player(1), plan.player(63)), (&[1, 2, 5][..], &[][..]));
    }

    #[test]
    fn a_plan_that_cannot_be_made_is_refused() {
        let bytes = fixture::good();
        let trace = Trace::parse(&bytes).expect("a good recording");
        for nr_players in [0, 65] {
            let error = partition(&trace, nr_players, &mut [0; 8]).map(|_| ());
            assert_eq!(error, Err(PlanError::Players { nr_players }));
        }
        let error = partition(&trace, 2, &mut [0; 5]).expect_err("6 events");
        assert_eq!(error, PlanError::Indices { len: 5, nr_events: 6 });
        assert_eq!(error.to_string(), "planning 6 events needs as many 32-bit indices, there are 5");
    }

    /// A recording of `nr_objects` objects by `nr_cpus` CPUs with the frees a while behind their allocations.
    fn recorded(seed: u64, nr_cpus: u32, nr_objects: u32) -> Vec<u8> {
        let mut rng = SplitMix64::new(seed);
        let mut events: Vec<Raw> = Vec::new();
        let mut live = Vec::new();
        let (mut next, mut bytes, mut peak) = (0, 0u64, 0);
        while next < nr_objects || !live.is_empty() {
            let cpu = rng.below(nr_cpus.into()) as u8;
            if next < nr_objects && (live.is_empty() || rng.chance(1, 2)) {
                let size = rng.below(5000) as u32 + 1;
                events.push((fixture::OBJECT, cpu, next, size));
                live.push((next, size));
                bytes += u64::from(size);
                peak = peak.max(bytes);
                next += 1;
            } else {
                let (id, size) = live.swap_remove(rng.below(live.len() as u64) as usize);
                events.push((fixture::OBJECT | fixture::FREE, cpu, id, 0));
                bytes -= u64::from(size);
            }
        }
        fixture::bytes(nr_cpus, nr_objects, peak, &events)
    }

    proptest! {
        #[test]
        fn players_share_all_events_in_order(seed in any::<u64>(), nr_cpus in 1..=64u32, nr_players in 1..=64usize) {
            let bytes = recorded(seed, nr_cpus, 100);
            let trace = Trace::parse(&bytes).expect("a good recording");
            let mut indices = vec![0; 200];
            let plan = partition(&trace, nr_players, &mut indices).expect("room for all");
            let mut all: Vec<u32> = (0..nr_players).flat_map(|player| plan.player(player)).copied().collect();
            for player in 0..nr_players {
                let list = plan.player(player);
                prop_assert!(list.is_sorted_by(|a, b| a < b));
                let cpus = list.iter().filter_map(|&index| trace.event(index.into())).map(|event| event.cpu);
                prop_assert!(cpus.map(usize::from).all(|cpu| cpu % nr_players == player));
            }
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..200));
        }

        /// Players in any order, each as far as it may: everything is played, and what is live stays below the bound.
        #[test]
        fn a_paced_replay_ends_within_its_bound(seed in any::<u64>(), nr_players in 1..6usize, window in 0..60u64) {
            let bytes = recorded(seed, 5, 100);
            let trace = Trace::parse(&bytes).expect("a good recording");
            let mut scratch = vec![ObjectState::NEW; 100];
            let checked = trace.validate(&mut scratch).expect("a good recording");
            let mut indices = vec![0; 200];
            let plan = partition(&trace, nr_players, &mut indices).expect("room for all");
            let pace = Pace::new(window);
            let bound = checked.peak_footprint(pace.window(), |size, _| u64::from(size));

            let mut rng = SplitMix64::new(seed ^ 1);
            let mut at = vec![0; nr_players];
            let published = |at: &[usize], player: usize| plan.player(player).get(at[player]).copied();
            let mut is_live = [false; 100];
            let (mut live, mut nr_played) = (0, 0);
            while let Some(earliest) = (0..nr_players).filter_map(|player| published(&at, player)).min() {
                let may_play = |player: &usize| {
                    let Some(index) = published(&at, *player) else { return false };
                    let event = trace.event(index.into()).expect("an index of the plan");
                    pace.allows(index, earliest) && (event.action == Action::Alloc || is_live[event.id as usize])
                };
                let ready: Vec<usize> = (0..nr_players).filter(may_play).collect();
                let player = *rng.pick(&ready).expect("somebody can always play");
                let index = published(&at, player).expect("that one can");
                let Event { action, id, .. } = trace.event(index.into()).expect("an index of the plan");
                let size = u64::from(checked.objects()[id as usize].size_bytes());
                match action {
                    Action::Alloc => live += size,
                    Action::Free => live -= size,
                }
                is_live[id as usize] = action == Action::Alloc;
                prop_assert!(live <= bound, "{} above {}", live, bound);
                at[player] += 1;
                nr_played += 1;
            }
            prop_assert_eq!((nr_played, live), (200, 0));
        }
    }
}
