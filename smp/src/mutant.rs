//! Mutants: one deliberate mistake each, which the models must find.
//!
//! A model that passes proves little until it has been seen to fail. Each variant of [`Mutant`] names one mistake in
//! the shipped source; the line that would make it asks `is`, `weaken` or `fence_unless`. In the kernel and in
//! plain tests these are constant and vanish. Under loom and shuttle the environment variable `SMP_MUTANT` selects one,
//! and `tests/mutants.rs` runs the models once for each and asserts that they fail. Public only for those tests.

use crate::sync::{self, Ordering};

/// One mistake, named for what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The initiator reads `presence` and `pending` without a fence after it announced its generation.
    InitiatorWithoutFence,
    /// A CPU reads the generation without a fence after it cleared `pending` or left idle.
    ServiceWithoutFence,
    /// `pending` is cleared after the generation was read.
    PendingClearedLate,
    /// `seen` is stored before the flush.
    AckBeforeFlush,
    /// `seen` is stored without Release.
    AckRelaxed,
    /// The initiator reads `seen` and `presence` without Acquire.
    WaitRelaxed,
    /// The generation is read without Acquire, so the flush may refill from the old page-table entry.
    GenerationRelaxed,
    /// The service section runs with interrupts on, and `seen` can move backwards.
    ServiceInterruptible,
    /// A log entry is believed without looking at its tag.
    LogTagIgnored,
    /// A CPU catches up first and declares itself running afterwards.
    WakeCatchesUpFirst,
    /// `presence` becomes idle without Release.
    IdleRelaxed,
    /// The wait decides once, at its start, who is idle.
    IdleNotReevaluated,
    /// A CPU joins without a flush of everything.
    JoinWithoutFlush,
    /// A CPU flushes first and joins afterwards.
    JoinFlushesFirst,
    /// A CPU that waits for a lock with interrupts off does not look after its own requests.
    PendingIgnored,
    /// The interrupts are sent before the generation is announced.
    SendBeforePublish,
    /// The hardware is told to flush without a fence after the entries were cleared.
    BroadcastWithoutFence,
    /// The hardware is not waited for.
    BroadcastWithoutSync,
    /// A round that the hardware runs is not counted.
    BroadcastUncounted,
    /// A cross-call is acknowledged before the function ran.
    CallAckBeforeRun,
    /// A cross-call's acknowledgement is stored without Release.
    CallAckRelaxed,
    /// A cross-call's mailbox is emptied without Acquire.
    CallTakenRelaxed,
    /// The target empties its mailbox after it ran what it found.
    CallTakenLate,
    /// A CPU that waits for a cross-call with interrupts off does not look into its own mailbox.
    CallWithoutService,
    /// A job's slot is declared free before the job ran.
    JobFreedEarly,
    /// A finished job is reported without Release.
    JobDoneRelaxed,
    /// The last to reach a barrier opens it without Release.
    BarrierOpenRelaxed,
    /// CPUs arrive at a barrier without Release.
    BarrierArriveRelaxed,
}

/// Whether this build makes the mistake `mutant`: never, outside the models.
#[cfg(not(any(loom, shuttle)))]
#[inline(always)]
pub(crate) const fn is(_mutant: Mutant) -> bool {
    false
}

/// Whether this run of the models makes the mistake `mutant`, as `SMP_MUTANT` says.
///
/// # Panics
/// If the variable names a mutant that does not exist.
#[cfg(any(loom, shuttle))]
pub(crate) fn is(mutant: Mutant) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("SMP_MUTANT").ok()?;
        Some(ALL.into_iter().find(|m| format!("{m:?}") == name).unwrap_or_else(|| panic!("no mutant {name}")))
    }) == Some(mutant)
}

/// `ordering`, or Relaxed in a build that makes the mistake `mutant`.
#[inline(always)]
pub(crate) fn weaken(mutant: Mutant, ordering: Ordering) -> Ordering {
    if is(mutant) { Ordering::Relaxed } else { ordering }
}

/// A full fence, except in a build that makes the mistake `mutant`.
#[inline(always)]
pub(crate) fn fence_unless(mutant: Mutant) {
    if !is(mutant) {
        sync::fence(Ordering::SeqCst);
    }
}

/// Every mutant, for the tests that run them all.
#[cfg(any(loom, shuttle))]
pub const ALL: [Mutant; 28] = {
    use Mutant::*;
    [
        InitiatorWithoutFence,
        ServiceWithoutFence,
        PendingClearedLate,
        AckBeforeFlush,
        AckRelaxed,
        WaitRelaxed,
        GenerationRelaxed,
        ServiceInterruptible,
        LogTagIgnored,
        WakeCatchesUpFirst,
        IdleRelaxed,
        IdleNotReevaluated,
        JoinWithoutFlush,
        JoinFlushesFirst,
        PendingIgnored,
        SendBeforePublish,
        BroadcastWithoutFence,
        BroadcastWithoutSync,
        BroadcastUncounted,
        CallAckBeforeRun,
        CallAckRelaxed,
        CallTakenRelaxed,
        CallTakenLate,
        CallWithoutService,
        JobFreedEarly,
        JobDoneRelaxed,
        BarrierOpenRelaxed,
        BarrierArriveRelaxed,
    ]
};
