//! A meeting point: nobody leaves before all have come.
//!
//! One word: the upper half counts meetings, the lower half who has arrived. One read-modify-write to arrive tells a
//! CPU which meeting it is in and whether it is the last; the last one opens the next meeting with one store. A sense
//! kept per CPU would be one more thing to keep in step, and could be stale for a CPU that skipped a meeting.
//!
//! Called by: stress and benchmarks. Context: any but NMI; waiters serve their CPU through
//! [`relax`](crate::Hardware::relax), so shootdowns go on meanwhile. There is no watchdog: what the others do before
//! they arrive may take any time.

use crossbeam_utils::CachePadded;

use crate::hardware::Hardware;
use crate::mutant::{self, Mutant};
use crate::poll::Poll;
use crate::sync::{AtomicU64, Ordering};

/// A reusable barrier.
#[derive(Debug)]
pub struct Barrier {
    /// Meetings so far in the upper 32 bits, CPUs that have arrived for the next in the lower.
    state: CachePadded<AtomicU64>,
    nr_cpus: u32,
}

impl Barrier {
    const_unless_loom! {
        /// A barrier for `nr_cpus` CPUs.
        ///
        /// # Panics
        /// If `nr_cpus` is 0: nobody could arrive.
        pub fn new(nr_cpus: u32) -> Self {
            assert!(nr_cpus > 0, "a barrier for no CPU");
            Self { state: CachePadded::new(AtomicU64::new(0)), nr_cpus }
        }
    }

    /// Waits until all CPUs have called this; what each did before happened before what any does after. `true` for
    /// exactly one of them, the last to arrive.
    pub fn wait<H: Hardware>(&self, hw: &H) -> bool {
        let before = self.state.fetch_add(1, mutant::weaken(Mutant::BarrierArriveRelaxed, Ordering::AcqRel));
        let meeting = before >> 32;
        let arrived = before as u32 + 1;
        if arrived == self.nr_cpus {
            let order = mutant::weaken(Mutant::BarrierOpenRelaxed, Ordering::Release);
            self.state.store(meeting.wrapping_add(1) << 32, order);
            return true;
        }
        let mut pace = Poll::default();
        while self.state.load(Ordering::Acquire) >> 32 == meeting {
            pace.step(hw);
        }
        false
    }
}
