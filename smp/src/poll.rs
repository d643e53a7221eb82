//! How a wait loop spends its time between two looks.
//!
//! Plain loads, and a `pause` only once every [`LOADS_PER_PAUSE`]. Under QEMU's multi-threaded TCG `pause` leaves the
//! translated code and takes the big lock that a waking virtual CPU needs: with a `pause` after each load, waiting for
//! one halted target took 62-78 us instead of 1.6-4.7 us. It must still come now and then, since it is where the
//! kernel's [`relax`](crate::Hardware::relax) serves others and, on real cores, what leaves room to a sibling thread.
//! 200 loads last about 0.5 us under TCG and less on hardware. The clock is read once every [`PAUSES_PER_CLOCK`],
//! because `rdtsc` with eight readers costs up to 5 us there.

use crate::hardware::Hardware;

/// Looks between two calls of `relax`. One in the models, where every look is a branch, and under Miri, which is slow.
const LOADS_PER_PAUSE: u32 = if cfg!(any(loom, shuttle, miri)) { 1 } else { 200 };

/// Calls of `relax` between two looks at the clock.
const PAUSES_PER_CLOCK: u32 = if cfg!(any(loom, shuttle, miri)) { 1 } else { 16 };

/// The pace of one wait loop.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    loads: u32,
    pauses: u32,
}

impl Poll {
    /// To be called after each look that found nothing. `true` means that it is time to look at the clock.
    #[inline]
    pub(crate) fn step<H: Hardware>(&mut self, hw: &H) -> bool {
        self.loads += 1;
        if self.loads < LOADS_PER_PAUSE {
            return false;
        }
        self.loads = 0;
        hw.relax();
        self.pauses += 1;
        if self.pauses < PAUSES_PER_CLOCK {
            return false;
        }
        self.pauses = 0;
        true
    }
}

/// Held during a wait for CPUs that have references to this stack, and forgotten after it.
///
/// If the wait itself unwinds, on a host whose panics do that, the stack goes away under them. A panic while unwinding
/// aborts, so that it does not.
pub(crate) struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        panic!("unwound out of a wait for CPUs that hold references to this stack");
    }
}
