//! What the protocols need from the machine. The kernel fills this in once; the tests have a machine made of arrays.

use crate::cpu::CpuId;
use crate::cpu_set::CpuSet;
use crate::shootdown::PageRange;
use crate::watchdog::LateReport;

/// What an interprocessor interrupt asks its target to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpiKind {
    /// Call [`Shootdown::service`](crate::Shootdown::service).
    Shootdown,
    /// Call [`CrossCall::serve`](crate::CrossCall::serve).
    Call,
    /// Nothing in the handler: leave `hlt`, so that the idle loop looks for work.
    Wake,
}

/// A machine whose CPUs can be made to flush their TLBs without an interrupt: INVLPGB and TLBSYNC.
///
/// Having one tells you that this machine can.
pub trait Broadcast {
    /// Tells all CPUs, this one and halted ones included, to forget their translations for `range`. Does not wait.
    ///
    /// Contract: a CPU that walks the page tables after it has forgotten sees what this CPU stored before a full fence
    /// before the call.
    fn flush(&self, range: PageRange);

    /// As [`flush`](Self::flush), for every translation, global ones included.
    fn flush_all(&self);

    /// Returns when all CPUs have done what this one has asked; what they did through the old translations happened before.
    fn sync(&self);
}

/// The machine, as seen from the CPU that runs this code.
///
/// The kernel's interrupt entry has one duty that no method shows: on a CPU that may have been idle it calls
/// [`Shootdown::leave_idle`](crate::Shootdown::leave_idle) before anything else, for every vector; the handler of
/// [`IpiKind::Shootdown`] begins with [`Shootdown::service`](crate::Shootdown::service), which does that, too.
///
/// # Safety
/// Cross-calls and jobs hand references to other CPUs' stacks around, and who may touch them rests on this:
/// - [`this_cpu`](Self::this_cpu) is the CPU that runs the caller, and no two threads of execution run under the same
///   number, interrupt handlers apart;
/// - within [`without_interrupts`](Self::without_interrupts) no interrupt handler runs on this CPU.
pub unsafe trait Hardware {
    /// The CPU this code runs on. Nobody is ever moved, so the answer stays right.
    fn this_cpu(&self) -> CpuId;

    /// Sends an interrupt to each target and returns how many times it wrote the interrupt command register: 1 for a
    /// shorthand, 1 for each cluster, 1 for each CPU otherwise.
    ///
    /// Contract: every store before the call is visible to all CPUs before any target takes the interrupt. A write to
    /// an x2APIC register orders nothing by itself, so that is `mfence; lfence` before it (Intel SDM vol. 3, "MSR Access in
    /// x2APIC Mode").
    /// The targets are online and never include this CPU. Safe with interrupts on or off.
    fn send_ipi(&self, kind: IpiKind, targets: &CpuSet) -> usize;

    /// Makes this CPU forget its translations for the page that contains `address`: `invlpg`.
    fn flush_page(&self, address: usize);

    /// Makes this CPU forget every translation, global ones included, by whatever its CR4 requires.
    fn flush_all(&self);

    /// How this machine flushes all CPUs' TLBs by itself, if it can.
    fn broadcast(&self) -> Option<impl Broadcast>;

    /// Runs `f` with interrupts off on this CPU and restores the state found. Nests.
    fn without_interrupts<R>(&self, f: impl FnOnce() -> R) -> R;

    /// Called in wait loops, about once every 200 polls: one `pause`, then whatever this CPU owes others.
    ///
    /// The kernel calls [`Shootdown::service_if_pending`](crate::Shootdown::service_if_pending) and
    /// [`CrossCall::serve`](crate::CrossCall::serve) here; both return at once when there is nothing, and neither calls
    /// `relax` in turn, except through a called function that waits. Called with interrupts on or off.
    fn relax(&self);

    /// This CPU's clock. It may wrap. Ticks are whatever [`watchdog_ticks`](Self::watchdog_ticks) is in.
    fn now_ticks(&self) -> u64;

    /// The watchdog's patience T: an interrupt is sent again after T, [`late`](Self::late) follows after another T, and
    /// [`stuck`](Self::stuck) after two more. `u64::MAX` means never, as long as the clock's rate is unknown.
    fn watchdog_ticks(&self) -> u64;

    /// Some CPU is late by 2T: send it an NMI that dumps its state, and print the report. Called at most once a wait.
    fn late(&self, report: &LateReport);

    /// Some CPU is late by 4T and the machine cannot go on: report and stop.
    fn stuck(&self, report: &LateReport) -> !;
}
