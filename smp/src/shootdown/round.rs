//! The initiator's side: announcing a round, and waiting for it.

use super::{Presence, Shootdown};
use crate::cpu::CpuId;
use crate::cpu_set::CpuSet;
use crate::hardware::{Broadcast, Hardware, IpiKind};
use crate::mutant::{self, Mutant};
use crate::poll::Poll;
use crate::shootdown::presence::{Catch, IDLE, RUNNING};
use crate::shootdown::{Mode, PageRange};
use crate::sync::Ordering;
use crate::watchdog::{WaitingFor, Watchdog};

/// A round that has begun.
///
/// Having a `Round` tells you that this CPU has flushed and that all others have been told. It tells you nothing about
/// their TLBs: only [`Shootdown::wait`] does, and spends it. Dropping it is safe and leaves you without that knowledge.
#[must_use = "other CPUs may use the old translations until the round has been waited for"]
#[derive(Debug)]
pub struct Round {
    generation: u64,
    /// CPUs from here on joined later, and flushed everything then. 0 if there is nobody to wait for.
    nr_cpus: usize,
    /// Whether an idle CPU counts as having acknowledged. It does not where it has been interrupted like the rest.
    idle_is_ack: bool,
    /// The hardware runs it: nobody acknowledges anything.
    is_broadcast: bool,
}

impl Round {
    const fn complete() -> Self {
        Self { generation: 0, nr_cpus: 0, idle_is_ack: true, is_broadcast: false }
    }

    pub(super) const fn broadcast() -> Self {
        Self { is_broadcast: true, ..Self::complete() }
    }
}

impl<const N: usize> Shootdown<N> {
    /// Makes every CPU forget the translations of `ranges` and returns when all have.
    ///
    /// The page-table entries are already changed. When this returns, no CPU reads or writes through the old ones, and
    /// all that any of them did through them happened before: the frames may be reused. All ranges together are one
    /// round, with at most one interrupt to each CPU that is running; ranges without pages are ignored, and a batch
    /// without any page costs nothing.
    ///
    /// Context: any but NMI, interrupts on or off, but under no ranked lock, since it waits for other CPUs. With
    /// interrupts off it serves this CPU's own requests meanwhile.
    pub fn initiate<H: Hardware>(&self, hw: &H, ranges: impl Iterator<Item = PageRange> + Clone) {
        let round = self.begin(hw, ranges);
        self.wait(hw, round);
    }

    /// As [`initiate`](Self::initiate), for every translation there is.
    pub fn initiate_all<H: Hardware>(&self, hw: &H) {
        let round = self.begin_all(hw);
        self.wait(hw, round);
    }

    /// The first half of [`initiate`](Self::initiate): announces, interrupts, and flushes this CPU. Does not wait, so
    /// that the caller can do something useful while the others flush.
    ///
    /// Yields the same ranges each time it is cloned, or pages may be missed. (In [`Mode::Naive`] it waits for all
    /// ranges but the last.)
    pub fn begin<H: Hardware>(&self, hw: &H, ranges: impl Iterator<Item = PageRange> + Clone) -> Round {
        let ranges = ranges.filter(|range| !range.is_empty());
        if self.settings.mode() == Mode::Naive {
            return ranges.fold(Round::complete(), |previous, range| {
                self.wait(hw, previous);
                self.start(hw, 1, core::iter::once(Some(range)))
            });
        }
        let full_flush_pages = self.settings.full_flush_pages();
        let (mut nr_ranges, mut nr_pages) = (0, 0_usize);
        for range in ranges.clone() {
            nr_ranges += 1;
            nr_pages = nr_pages.saturating_add(range.nr_pages());
            if nr_pages > full_flush_pages {
                return self.begin_all(hw);
            }
        }
        if nr_ranges == 0 {
            return Round::complete();
        }
        if let Some(broadcast) = self.broadcast(hw) {
            return self.begin_broadcast(hw, &broadcast, Some(ranges));
        }
        self.start(hw, nr_ranges, ranges.map(Some))
    }

    /// The first half of [`initiate_all`](Self::initiate_all).
    pub fn begin_all<H: Hardware>(&self, hw: &H) -> Round {
        if let Some(broadcast) = self.broadcast(hw) {
            return self.begin_broadcast(hw, &broadcast, None::<core::iter::Empty<PageRange>>);
        }
        self.start(hw, 1, core::iter::once(None))
    }

    /// The hardware's way, if there is one and it is to be used.
    fn broadcast<H: Hardware>(&self, hw: &H) -> Option<impl Broadcast> {
        let is_wanted = self.settings.mode() == Mode::Broadcast && !self.settings.drops_ipis();
        if is_wanted { hw.broadcast() } else { None }
    }

    /// Announces `nr_requests` generations, one for each request, tells the others, and flushes this CPU.
    ///
    /// All with interrupts off: the log is silent between the announcement and its words, the argument about tags in
    /// `log` rests on this being short, and xAPIC sends are two writes.
    fn start<H: Hardware>(&self, hw: &H, nr_requests: u64, requests: impl Iterator<Item = Option<PageRange>>) -> Round {
        hw.without_interrupts(|| {
            let me = hw.this_cpu();
            let counters = self.counters(me);
            counters.shootdowns.add(1);
            if mutant::is(Mutant::SendBeforePublish) {
                let all = CpuId::first(self.nr_cpus.load(Ordering::Relaxed)).filter(|&cpu| cpu != me).collect();
                hw.send_ipi(IpiKind::Shootdown, &all);
            }

            // Release: the cleared entries are visible to whoever reads this generation or a later one.
            let before = self.generation.fetch_add(nr_requests, Ordering::Release);
            let generation = before.wrapping_add(nr_requests);
            // Only a CPU that is waited for may ask for less than everything: see `log`.
            let is_waited_for = self.state(me).presence(Ordering::Relaxed) == Presence::Running;
            for (i, request) in (1..=nr_requests).zip(requests) {
                self.log.write(before.wrapping_add(i), request.filter(|_| is_waited_for));
            }
            if self.settings.drops_ipis() {
                self.catch_up(hw, me, Catch::Announced);
                return Round::complete();
            }

            // The initiator's half of two handshakes. A CPU that this one sees idle, offline or not joined will read
            // the new generation on its way back. A CPU whose `pending` this one finds true has yet to clear it, and
            // will read the new generation after that.
            mutant::fence_unless(Mutant::InitiatorWithoutFence);
            let nr_cpus = self.nr_cpus.load(Ordering::Relaxed);
            let idle_is_ack = match self.settings.mode() {
                Mode::Coalescing | Mode::Broadcast => {
                    self.tell_those_who_need_it(hw, me, generation, nr_cpus);
                    true
                }
                Mode::Naive => {
                    self.tell_everybody(hw, me, nr_cpus);
                    false
                }
            };
            // Overlaps with the others doing the same.
            self.catch_up(hw, me, Catch::Announced);
            Round { generation, nr_cpus, idle_is_ack, is_broadcast: false }
        })
    }

    fn tell_those_who_need_it<H: Hardware>(&self, hw: &H, me: CpuId, generation: u64, nr_cpus: usize) {
        let counters = self.counters(me);
        let (mut targets, mut nr_targets) = (CpuSet::EMPTY, 0);
        for cpu in CpuId::first(nr_cpus).filter(|&cpu| cpu != me) {
            let state = self.state(cpu);
            // Relaxed, all three: the fence before stands between the announcement and these.
            match state.presence.load(Ordering::Relaxed) {
                RUNNING if state.has_seen(generation) || state.pending.swap(true, Ordering::Relaxed) => {
                    counters.coalesced.add(1);
                }
                RUNNING => {
                    targets.insert(cpu);
                    nr_targets += 1;
                }
                IDLE => counters.idle_skips.add(1),
                _ => {}
            }
        }
        if nr_targets > 0 && !mutant::is(Mutant::SendBeforePublish) {
            counters.interrupted.add(nr_targets);
            counters.ipis_sent.add(hw.send_ipi(IpiKind::Shootdown, &targets));
        }
    }

    fn tell_everybody<H: Hardware>(&self, hw: &H, me: CpuId, nr_cpus: usize) {
        for cpu in CpuId::first(nr_cpus).filter(|&cpu| cpu != me) {
            let state = self.state(cpu);
            if state.presence(Ordering::Relaxed) != Presence::Offline {
                // For its wait loops, which must serve this round as any other.
                state.pending.store(true, Ordering::Relaxed);
                self.counters(me).interrupted.add(1);
                self.counters(me).ipis_sent.add(hw.send_ipi(IpiKind::Shootdown, &CpuSet::of(cpu)));
            }
        }
    }

    /// The second half of [`initiate`](Self::initiate): returns when every CPU has acknowledged the round.
    ///
    /// Context: as there. It may be another time and place than where the round began, but the same CPU.
    pub fn wait<H: Hardware>(&self, hw: &H, round: Round) {
        if round.is_broadcast {
            return self.wait_for_broadcast(hw);
        }
        let me = hw.this_cpu();
        // A CPU that has acknowledged once has done so for good, so that one after the other will do.
        let is_late = |cpu: &CpuId| *cpu != me && !self.has_acknowledged(*cpu, &round);
        if CpuId::first(round.nr_cpus).any(|cpu| is_late(&cpu)) {
            self.wait_for_late(hw, &round);
        }
    }

    /// Out of line: the first look at each CPU often finds that all have acknowledged, and then nothing of this is needed.
    #[inline(never)]
    fn wait_for_late<H: Hardware>(&self, hw: &H, round: &Round) {
        let me = hw.this_cpu();
        let mut pace = Poll::default();
        let mut watchdog = Watchdog::new(hw.now_ticks(), hw.watchdog_ticks());
        for cpu in CpuId::first(round.nr_cpus).filter(|&cpu| cpu != me) {
            let was_idle = mutant::is(Mutant::IdleNotReevaluated) && self.presence(cpu) == Presence::Idle;
            while !self.has_acknowledged(cpu, round) && !was_idle {
                // Initiators alone never wait in a circle, since the last to announce has caught up with all before it.
                // But a CPU that waits with interrupts off would hold up later rounds for no reason.
                self.service_if_pending(hw);
                if pace.step(hw) {
                    self.bark(hw, &mut watchdog, round);
                }
            }
        }
        let waited_ticks = watchdog.waited_ticks(hw.now_ticks());
        hw.without_interrupts(|| {
            self.counters(me).waits.add(1);
            self.counters(me).longest_wait_ticks.raise_to(waited_ticks);
        });
    }

    /// Whether `cpu` needs no more waiting for. Looked at anew each time: it may go idle, or leave, while waited for.
    #[inline(always)]
    fn has_acknowledged(&self, cpu: CpuId, round: &Round) -> bool {
        let state = self.state(cpu);
        if state.has_seen(round.generation) {
            return true;
        }
        match state.presence.load(mutant::weaken(Mutant::WaitRelaxed, Ordering::Acquire)) {
            RUNNING => false,
            IDLE => round.idle_is_ack && !mutant::is(Mutant::IdleNotReevaluated),
            _ => true,
        }
    }

    #[cold]
    fn bark<H: Hardware>(&self, hw: &H, watchdog: &mut Watchdog, round: &Round) {
        let me = hw.this_cpu();
        watchdog.tick(
            hw,
            WaitingFor::Shootdown { generation: round.generation },
            || CpuId::first(round.nr_cpus).filter(|&cpu| cpu != me && !self.has_acknowledged(cpu, round)).collect(),
            |late| {
                let writes = hw.send_ipi(IpiKind::Shootdown, late);
                hw.without_interrupts(|| self.counters(me).ipis_sent.add(writes));
            },
        );
    }
}
