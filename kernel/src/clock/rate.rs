//! How fast the CPUs run while all of them are busy: turbo, and its end when all cores want it.

use core::sync::atomic::{AtomicU64, Ordering};

use arch::cpu::RateCounters;
use arch::irq;
use arch::rate::RateSample;

use crate::time::Deadline;
use crate::{boot, workers};

/// Long enough for a CPU to leave its idle state's frequency.
const WARM_UP_NS: u64 = 10_000_000;
const INTERVAL_NS: u64 = 10_000_000;

/// The rates of the slowest and of the fastest CPU, in thousandths of the nominal one; `None` where CPUs do not tell, as
/// under most hypervisors. Takes 20 ms on all CPUs.
pub fn actual_per_mille() -> Option<(u64, u64)> {
    let proof = boot::features()?.rate_counters?;
    let (lowest, highest) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
    workers::run(
        workers::nr_available(),
        &|_| {
            if let Some(rate) = of_this_cpu(proof) {
                lowest.fetch_min(rate, Ordering::Relaxed);
                highest.fetch_max(rate, Ordering::Relaxed);
            }
        },
        || {},
    );
    let (lowest, highest) = (lowest.into_inner(), highest.into_inner());
    (lowest <= highest).then_some((lowest, highest))
}

fn of_this_cpu(proof: RateCounters) -> Option<u64> {
    busy(WARM_UP_NS);
    let start = sample(proof);
    busy(INTERVAL_NS);
    sample(proof).per_mille_since(&start)
}

fn sample(proof: RateCounters) -> RateSample {
    let _guard = irq::InterruptGuard::new();
    RateSample::take(proof)
}

/// Arithmetic, not a wait loop: a pause is what a CPU slows down for.
fn busy(duration_ns: u64) {
    let deadline = Deadline::after_ns(duration_ns);
    let mut state = 1u64;
    while !deadline.has_passed() {
        for _ in 0..1000 {
            state = core::hint::black_box(state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1));
        }
    }
}
