//! The target's side: catching up with what was announced.

use super::log::LOG_LEN;
use super::presence::{Catch, IDLE, RUNNING};
use super::settings::Mode;
use super::{Counters, PageRange, Shootdown};
use crate::cpu::CpuId;
use crate::hardware::Hardware;
use crate::mutant::{self, Mutant};
use crate::sync::Ordering;

impl<const N: usize> Shootdown<N> {
    /// Handles a shootdown interrupt: ends idleness, flushes what was announced, and acknowledges it.
    ///
    /// Called by the interrupt handler, first thing, which then sends the end of interrupt. An interrupt that finds
    /// nothing to do, since a wait loop was faster or two requests shared it, returns at once. Context: interrupts off, as
    /// in a handler. An initiator waits for this: it writes no line that other CPUs write, and locks nothing.
    #[inline(always)]
    pub fn service<H: Hardware>(&self, hw: &H) {
        let me = hw.this_cpu();
        let presence = &self.state(me).presence;
        if presence.load(Ordering::Relaxed) == IDLE {
            // The fence below orders this before the generation is read, as in `leave_idle`.
            presence.store(RUNNING, Ordering::Relaxed);
        }
        self.counters(me).ipis_taken.add(1);
        self.catch_up(hw, me, Catch::Announced);
    }

    /// Serves this CPU's own request, if there is one: one load if not.
    ///
    /// Called wherever a CPU may wait with interrupts off: in this crate's wait loops, in
    /// [`relax`](crate::Hardware::relax), and in the slow path of every spin lock, whose holder may be waiting for
    /// this CPU. Context: any but NMI; allowed under any lock, since it takes none.
    #[inline]
    pub fn service_if_pending<H: Hardware>(&self, hw: &H) {
        let me = hw.this_cpu();
        if !self.state(me).pending.load(Ordering::Relaxed) || mutant::is(Mutant::PendingIgnored) {
            return;
        }
        if mutant::is(Mutant::ServiceInterruptible) {
            return self.catch_up(hw, me, Catch::Announced);
        }
        hw.without_interrupts(|| {
            self.counters(me).self_serviced.add(1);
            self.catch_up(hw, me, Catch::Announced);
        });
    }

    /// Flushes up to the newest generation and acknowledges it.
    ///
    /// With interrupts off: an interrupt between the flush and the acknowledgement would run this again, further, and
    /// then the outer one would move `seen` back. Whoever waits for the difference would wait for ever.
    #[inline(always)]
    pub(super) fn catch_up<H: Hardware>(&self, hw: &H, me: CpuId, catch: Catch) {
        let state = self.state(me);
        let counters = self.counters(me);

        // `pending` first, then the generation. An initiator that still finds `pending` true sends nothing, and rests
        // on the read below seeing its generation; the fence orders that read after the store, which Release would not.
        if !mutant::is(Mutant::PendingClearedLate) {
            state.pending.store(false, Ordering::Relaxed);
        }
        mutant::fence_unless(Mutant::ServiceWithoutFence);
        let newest = self.generation.load(mutant::weaken(Mutant::GenerationRelaxed, Ordering::Acquire));
        if mutant::is(Mutant::PendingClearedLate) {
            state.pending.store(false, Ordering::Relaxed);
        }

        let seen = state.seen.load(Ordering::Relaxed);
        if mutant::is(Mutant::AckBeforeFlush) {
            state.acknowledge(newest);
        }
        match catch {
            Catch::Everything if mutant::is(Mutant::JoinWithoutFlush) => {}
            Catch::Everything => flush_all(hw, counters),
            Catch::Announced if seen == newest => return,
            Catch::Announced => match self.log.read(newest) {
                // As nearly always: one request, of a few pages.
                Some(range)
                    if seen.wrapping_add(1) == newest && range.nr_pages() <= self.settings.full_flush_pages() =>
                {
                    counters.flushes.add(1);
                    flush_range(hw, counters, range);
                }
                _ => return self.catch_up_far(hw, me, seen, newest),
            },
        }
        state.acknowledge(newest);
    }

    /// As [`catch_up`](Self::catch_up), for more than one generation, or for one that the log does not know or that asks
    /// for too many pages. Out of line, and to the end: what the handler executes nearly always needs no stack then.
    #[cold]
    #[inline(never)]
    fn catch_up_far<H: Hardware>(&self, hw: &H, me: CpuId, seen: u64, newest: u64) {
        let behind = newest.wrapping_sub(seen);
        if self.settings.mode() == Mode::Naive && behind <= LOG_LEN as u64 {
            // One flush for each generation, as a handler that knows of no other request would do.
            (0..behind).for_each(|i| self.flush_between(hw, me, seen.wrapping_add(i), seen.wrapping_add(i + 1)));
        } else {
            self.flush_between(hw, me, seen, newest);
        }
        self.state(me).acknowledge(newest);
    }

    /// Flushes the pages of generations `seen + 1` to `newest`, or everything if the log does not know or they are too
    /// many.
    fn flush_between<H: Hardware>(&self, hw: &H, me: CpuId, seen: u64, newest: u64) {
        let counters = self.counters(me);
        counters.flushes.add(1);
        let behind = newest.wrapping_sub(seen);
        let fits = behind <= LOG_LEN as u64
            && (1..=behind)
                .try_fold(0, |pages, i| Some(pages + self.log.read(seen.wrapping_add(i))?.nr_pages()))
                .is_some_and(|pages| pages <= self.settings.full_flush_pages());
        if !fits {
            return flush_all(hw, counters);
        }
        for i in 1..=behind {
            // The word may have been overwritten since it was counted.
            let Some(range) = self.log.read(seen.wrapping_add(i)) else { return flush_all(hw, counters) };
            flush_range(hw, counters, range);
        }
    }
}

#[inline(always)]
fn flush_range<H: Hardware>(hw: &H, counters: &Counters, range: PageRange) {
    range.pages().for_each(|page| hw.flush_page(page));
    counters.pages_flushed.add(range.nr_pages());
}

#[inline(always)]
fn flush_all<H: Hardware>(hw: &H, counters: &Counters) {
    hw.flush_all();
    counters.full_flushes.add(1);
}
