//! Deadlines on wrapping clocks, and the report that names who is late.
//!
//! A wait for other CPUs goes through three stages: after T the interrupt is sent again, after another T the kernel dumps
//! the CPU by NMI, after two more the machine stops with its number. Each stage counts from the one before, as seen by the
//! waiter: a virtual machine that was paused for an hour gets its three warnings at the usual distance instead of all at
//! once.
//!
//! What is waited for may also be something that one CPU at a time does, and not in answer to an interrupt: [`wait_for`].

use core::fmt;

use crate::cpu::CpuId;
use crate::cpu_set::CpuSet;
use crate::hardware::Hardware;
use crate::poll::Poll;

/// What a wait does about being late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Send the interrupt again: T after the start.
    Resend,
    /// Have the CPU dumped: T after that.
    Report,
    /// Give up: 2T after that.
    Stuck,
}

/// The deadlines of one wait.
#[derive(Debug)]
pub struct Watchdog {
    start_ticks: u64,
    stage_ticks: u64,
    next: Stage,
    timeout_ticks: u64,
}

/// Ticks from `from` to `to` on a wrapping clock. A clock that went backwards, as between unsynchronised CPUs, gives 0.
pub(crate) const fn elapsed_ticks(from: u64, to: u64) -> u64 {
    let ticks = to.wrapping_sub(from);
    if ticks > u64::MAX / 2 { 0 } else { ticks }
}

impl Watchdog {
    /// A wait that starts now, with patience `timeout_ticks`. `u64::MAX` never expires.
    pub const fn new(now_ticks: u64, timeout_ticks: u64) -> Self {
        Self { start_ticks: now_ticks, stage_ticks: now_ticks, next: Stage::Resend, timeout_ticks }
    }

    /// The stage that has been reached since the last call, if any. Each comes once; [`Stage::Stuck`] may repeat.
    pub const fn check(&mut self, now_ticks: u64) -> Option<Stage> {
        let patience_ticks = match self.next {
            Stage::Resend | Stage::Report => self.timeout_ticks,
            Stage::Stuck => self.timeout_ticks.saturating_mul(2),
        };
        if elapsed_ticks(self.stage_ticks, now_ticks) < patience_ticks {
            return None;
        }
        let reached = self.next;
        self.stage_ticks = now_ticks;
        self.next = match reached {
            Stage::Resend => Stage::Report,
            Stage::Report | Stage::Stuck => Stage::Stuck,
        };
        Some(reached)
    }

    /// How long the wait has lasted.
    pub const fn waited_ticks(&self, now_ticks: u64) -> u64 {
        elapsed_ticks(self.start_ticks, now_ticks)
    }

    /// Looks at the clock and does what is due: `resend`, or a report with what `late` finds.
    pub(crate) fn tick<H: Hardware>(
        &mut self,
        hw: &H,
        waiting_for: WaitingFor,
        late: impl FnOnce() -> CpuSet,
        resend: impl FnOnce(&CpuSet),
    ) {
        let now_ticks = hw.now_ticks();
        let Some(stage) = self.check(now_ticks) else { return };
        let late = late();
        // Everybody may have answered since the caller last looked.
        let Some(first_late) = late.first() else { return };
        let waited_ticks = self.waited_ticks(now_ticks);
        let report = LateReport { waiter: hw.this_cpu(), first_late, late, waiting_for, waited_ticks };
        match stage {
            Stage::Resend => resend(&late),
            Stage::Report => hw.late(&report),
            Stage::Stuck => hw.stuck(&report),
        }
    }
}

/// Waits until `is_over` says that what `cpu` is at has ended, of which `waiting_for` tells; others are served meanwhile, by
/// [`Hardware::relax`]. There is no interrupt to send again: the CPU is dumped, and the machine stopped, as in other waits.
///
/// Each thing waited for is one call: a CPU that ends one and is at the next is not late.
///
/// Context: any but NMI, interrupts on or off, under no ranked lock.
pub fn wait_for<H: Hardware>(hw: &H, cpu: CpuId, waiting_for: WaitingFor, is_over: impl Fn() -> bool) {
    let mut pace = Poll::default();
    let mut watchdog = None;
    while !is_over() {
        let watchdog = watchdog.get_or_insert_with(|| Watchdog::new(hw.now_ticks(), hw.watchdog_ticks()));
        if pace.step(hw) {
            let late = || if is_over() { CpuSet::EMPTY } else { CpuSet::of(cpu) };
            watchdog.tick(hw, waiting_for, late, |_| ());
        }
    }
}

/// What a CPU is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingFor {
    /// To acknowledge this shootdown generation.
    Shootdown {
        /// The generation not yet acknowledged.
        generation: u64,
    },
    /// To run the function of a cross-call.
    Call,
    /// To let others reclaim memory: one CPU at a time does.
    Reclaim,
    /// To make free what waits for a shootdown: one CPU at a time does.
    Purge,
}

/// Who waits for whom, for what and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateReport {
    /// The CPU that waits.
    pub waiter: CpuId,
    /// The first CPU that is late.
    pub first_late: CpuId,
    /// Every CPU that is late.
    pub late: CpuSet,
    /// What for.
    pub waiting_for: WaitingFor,
    /// Ticks since the wait began.
    pub waited_ticks: u64,
}

impl LateReport {
    /// The same as a sentence for people, by a clock that has `ticks_per_ms`; a slower one shows 0 ms for ever.
    pub fn in_ms(&self, ticks_per_ms: u64) -> impl fmt::Display + '_ {
        Sentence { report: self, waited: self.waited_ticks / ticks_per_ms.max(1), unit: "ms" }
    }
}

/// The time is in ticks: this crate does not know how many there are in a second.
impl fmt::Display for LateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Sentence { report: self, waited: self.waited_ticks, unit: "ticks" }.fmt(f)
    }
}

/// A report, and the time that it tells.
struct Sentence<'a> {
    report: &'a LateReport,
    waited: u64,
    unit: &'static str,
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report: LateReport { waiter, late, waiting_for, .. }, waited, unit } = self;
        match waiting_for {
            WaitingFor::Shootdown { generation } => write!(f, "cpu {late} has not acked generation {generation}")?,
            WaitingFor::Call => write!(f, "cpu {late} has not run a cross-call")?,
            WaitingFor::Reclaim => write!(f, "cpu {late} has not ended its reclaim of memory")?,
            WaitingFor::Purge => write!(f, "cpu {late} has not ended its purge of what is unmapped")?,
        }
        write!(f, " for {waited} {unit}, cpu {waiter} waits")
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn stages_come_once_each_in_order() {
        let mut dog = Watchdog::new(1000, 100);
        assert_eq!(dog.check(1000), None);
        assert_eq!(dog.check(1099), None);
        assert_eq!(dog.check(1100), Some(Stage::Resend));
        assert_eq!(dog.check(1199), None);
        assert_eq!(dog.check(1200), Some(Stage::Report));
        assert_eq!(dog.check(1399), None);
        assert_eq!(dog.check(1400), Some(Stage::Stuck));
        assert_eq!(dog.waited_ticks(1400), 400);
    }

    #[test]
    fn the_clock_may_wrap_during_a_wait() {
        let mut dog = Watchdog::new(u64::MAX - 10, 100);
        assert_eq!(dog.check(u64::MAX), None);
        assert_eq!(dog.check(88), None);
        assert_eq!(dog.check(89), Some(Stage::Resend));
        assert_eq!(dog.waited_ticks(89), 100);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_expire() {
        let mut dog = Watchdog::new(1000, 100);
        assert_eq!(dog.check(990), None);
        assert_eq!(dog.waited_ticks(990), 0);
    }

    #[test]
    fn a_long_pause_of_the_whole_machine_does_not_skip_stages() {
        let mut dog = Watchdog::new(0, 100);
        assert_eq!(dog.check(1_000_000), Some(Stage::Resend));
        assert_eq!(dog.check(1_000_001), None);
        assert_eq!(dog.check(1_000_100), Some(Stage::Report));
        assert_eq!(dog.check(1_000_101), None);
    }

    #[test]
    fn boundless_patience_never_expires() {
        let mut dog = Watchdog::new(0, u64::MAX);
        assert_eq!(dog.check(u64::MAX / 2), None);
        assert_eq!(dog.check(u64::MAX), None);
    }

    #[test]
    fn a_report_reads_as_a_sentence() {
        let late: CpuSet = [3, 5].map(|i| CpuId::new(i).unwrap()).into_iter().collect();
        let report = LateReport {
            waiter: CpuId::BOOT,
            first_late: CpuId::new(3).unwrap(),
            late,
            waiting_for: WaitingFor::Shootdown { generation: 412 },
            waited_ticks: 7,
        };
        assert_eq!(report.to_string(), "cpu 3,5 has not acked generation 412 for 7 ticks, cpu 0 waits");
        let later = LateReport { waiting_for: WaitingFor::Call, waited_ticks: 7_200, ..report };
        assert_eq!(later.in_ms(1000).to_string(), "cpu 3,5 has not run a cross-call for 7 ms, cpu 0 waits");
    }
}
