//! Joining, leaving, and being idle: the states in which a CPU takes part in rounds, and the ways between them.

use super::Shootdown;
use crate::cpu::CpuId;
use crate::hardware::Hardware;
use crate::mutant::{self, Mutant};
use crate::sync::Ordering;

/// What a CPU says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Presence {
    /// Not joined yet, or left: acknowledges everything, touches no dynamic mapping, takes no interrupts.
    Offline = 0,
    /// Running: every round waits for it.
    Running = 1,
    /// Halted, or about to be: acknowledges everything in advance and catches up when it wakes.
    Idle = 2,
}

/// The states as they are stored: loops over all CPUs compare bytes.
pub(super) const RUNNING: u8 = Presence::Running as u8;
pub(super) const IDLE: u8 = Presence::Idle as u8;

impl Presence {
    pub(super) const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Running,
            2 => Self::Idle,
            _ => Self::Offline,
        }
    }
}

impl<const N: usize> Shootdown<N> {
    /// Makes this CPU take part: publishes it, then flushes everything once.
    ///
    /// In that order. Between the two lies the window in which a round already waits for this CPU, which has not yet
    /// flushed; it must not have touched a dynamic mapping by then. The other order would leave a gap in which a page
    /// is unmapped by somebody who does not yet know this CPU. The CPU can take shootdown interrupts from here on.
    ///
    /// # Panics
    /// If this CPU's index is not below `N`.
    pub fn join<H: Hardware>(&self, hw: &H) {
        hw.without_interrupts(|| {
            let me = hw.this_cpu();
            let state = self.state(me);
            if mutant::is(Mutant::JoinFlushesFirst) {
                self.catch_up(hw, me, Catch::Everything);
            }
            self.nr_cpus.fetch_max(me.index() + 1, Ordering::Relaxed);
            state.presence.store(RUNNING, Ordering::Relaxed);
            if mutant::is(Mutant::JoinFlushesFirst) {
                return;
            }
            // The fence in here orders the two stores above before the generation is read.
            self.catch_up(hw, me, Catch::Everything);
        });
    }

    /// Makes this CPU take no part any more. It touches no dynamic mapping until it joins again, and may ignore
    /// interrupts from here on.
    pub fn leave<H: Hardware>(&self, hw: &H) {
        self.set_absent(hw.this_cpu(), Presence::Offline);
    }

    /// Declares this CPU idle: until [`leave_idle`](Self::leave_idle) it acknowledges every round in advance, and
    /// nobody interrupts it for one.
    ///
    /// Context: interrupts off, and until `leave_idle` the CPU touches no dynamic mapping. So the idle loop is
    /// `cli; enter_idle; sti; hlt`, and every interrupt handler begins with `leave_idle`.
    pub fn enter_idle<H: Hardware>(&self, hw: &H) {
        self.set_absent(hw.this_cpu(), Presence::Idle);
    }

    /// Ends idleness and catches up with what was announced meanwhile. Whether the CPU was idle at all; if not, this
    /// costs one load of its own line.
    ///
    /// Context: any but NMI. The entry of each interrupt handler calls it, before anything that may touch a dynamic
    /// mapping, and so does the idle loop when `hlt` returns.
    pub fn leave_idle<H: Hardware>(&self, hw: &H) -> bool {
        let me = hw.this_cpu();
        let state = self.state(me);
        // A plain look at what this CPU itself wrote; if an interrupt comes now, it does the work below.
        if state.presence(Ordering::Relaxed) != Presence::Idle {
            return false;
        }
        hw.without_interrupts(|| {
            if mutant::is(Mutant::WakeCatchesUpFirst) {
                self.catch_up(hw, me, Catch::Announced);
                state.presence.store(RUNNING, Ordering::Relaxed);
                return;
            }
            state.presence.store(RUNNING, Ordering::Relaxed);
            // The fence in here orders the store above before the generation is read: this CPU's half of the handshake.
            self.catch_up(hw, me, Catch::Announced);
        });
        true
    }

    fn set_absent(&self, me: CpuId, presence: Presence) {
        // Release: this CPU's reads through mappings come before, and pair with the Acquire of whoever waits. It needs
        // no fence: an initiator that still sees this CPU running sends an interrupt, and that wakes it.
        let order = mutant::weaken(Mutant::IdleRelaxed, Ordering::Release);
        self.state(me).presence.store(presence as u8, order);
    }
}

/// How much a CPU flushes to catch up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Catch {
    /// What was announced since it last did.
    Announced,
    /// Everything, whatever was announced: it has been away, and its TLB may hold anything.
    Everything,
}
