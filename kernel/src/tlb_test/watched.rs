//! This machine as `smp` sees it, with a clock of its own and a way of losing an interrupt.
//!
//! Time is counted in looks at the clock, so that what a watchdog does about a lost interrupt can be tested in
//! milliseconds, and stands still when the test has seen what it wanted: a slow host then makes it slow, not wrong.
//!
//! Called by: cases that wait for rounds by [`smp::Shootdown`] themselves.

use core::cell::Cell;

use smp::{Broadcast, CpuId, CpuSet, Hardware, IpiKind, LateReport};

use crate::crash;
use crate::machine::Cpu;

/// Looks at the clock after which a watchdog loses patience. Each is some thousand loads after the one before.
const PATIENCE_LOOKS: u64 = 50;

/// See the module. One CPU waits by it.
pub(super) struct Watched<'a> {
    loses_first: bool,
    on_late: &'a dyn Fn(),
    nr_sent: Cell<u64>,
    nr_late: Cell<u64>,
    late: Cell<Option<(CpuId, Option<u64>)>>,
    nr_looks: Cell<u64>,
    stands_still: Cell<bool>,
}

impl<'a> Watched<'a> {
    /// The first interrupt is lost, and the clock stops with the second.
    pub(super) fn losing_first() -> Self {
        Self { loses_first: true, ..Self::until_late(&|| {}) }
    }

    /// No interrupt is lost. When a CPU is reported as late, the clock stops, and `on_late` is called.
    pub(super) fn until_late(on_late: &'a dyn Fn()) -> Self {
        Self {
            loses_first: false,
            on_late,
            nr_sent: Cell::new(0),
            nr_late: Cell::new(0),
            late: Cell::new(None),
            nr_looks: Cell::new(0),
            stands_still: Cell::new(false),
        }
    }

    /// Interrupts that were asked for, a lost one included.
    pub(super) fn nr_sent(&self) -> u64 {
        self.nr_sent.get()
    }

    /// Reports that a CPU is late.
    pub(super) fn nr_late(&self) -> u64 {
        self.nr_late.get()
    }

    /// The CPU that was reported last, and where it was, if it said so.
    pub(super) fn late_cpu(&self) -> Option<(CpuId, Option<u64>)> {
        self.late.get()
    }
}

// SAFETY: all but the clock and the interrupts is `Cpu`'s, and an interrupt less or a slow clock endangers nothing.
unsafe impl Hardware for Watched<'_> {
    fn this_cpu(&self) -> CpuId {
        Cpu.this_cpu()
    }

    fn send_ipi(&self, kind: IpiKind, targets: &CpuSet) -> usize {
        let nr_before = self.nr_sent.replace(self.nr_sent.get() + 1);
        if self.loses_first && nr_before == 0 {
            return 0;
        }
        self.stands_still.set(self.loses_first);
        Cpu.send_ipi(kind, targets)
    }

    fn flush_page(&self, address: usize) {
        Cpu.flush_page(address);
    }

    fn flush_all(&self) {
        Cpu.flush_all();
    }

    fn broadcast(&self) -> Option<impl Broadcast> {
        Cpu.broadcast()
    }

    fn without_interrupts<R>(&self, f: impl FnOnce() -> R) -> R {
        Cpu.without_interrupts(f)
    }

    fn relax(&self) {
        Cpu.relax();
    }

    fn now_ticks(&self) -> u64 {
        self.nr_looks.set(self.nr_looks.get() + u64::from(!self.stands_still.get()));
        self.nr_looks.get()
    }

    fn watchdog_ticks(&self) -> u64 {
        PATIENCE_LOOKS
    }

    fn late(&self, report: &LateReport) {
        self.stands_still.set(true);
        self.late.set(Some((report.first_late, crash::ask_where(report.first_late))));
        self.nr_late.set(self.nr_late.get() + 1);
        (self.on_late)();
    }

    fn stuck(&self, report: &LateReport) -> ! {
        Cpu.stuck(report)
    }
}
