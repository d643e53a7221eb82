//! Damage that was found while a lock was held, kept until the lock is open and it can be reported.
//!
//! Lock order: the last one; what is called with it held takes none. Called by: [`crate::slab`] and [`crate::supply`],
//! which note, and everybody who has just released a lock, who reports.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::lock::Lock;
use crate::machine::Machine;

/// Incidents that can wait at once. Further ones are counted where they happen, but not told one by one; nor is one that
/// comes while another CPU looks.
const MAX_WAITING: usize = 16;

/// Incidents that nobody has been told of. See the module.
#[derive(Debug)]
pub(crate) struct Incidents<M> {
    /// Whether there may be some: the only thing that is looked at when all is well.
    is_any: AtomicBool,
    waiting: Lock<[Option<Error>; MAX_WAITING], M>,
}

impl<M: Machine> Incidents<M> {
    pub(crate) const fn new() -> Self {
        Self { is_any: AtomicBool::new(false), waiting: Lock::new([None; MAX_WAITING]) }
    }

    /// Keeps `error` for the next [`Incidents::report`]. Locks may be held.
    pub(crate) fn note(&self, error: Error) {
        // Not waited for: a waiter serves other CPUs, which may need the lock that is held above.
        if let Some(mut waiting) = self.waiting.try_lock() {
            if let Some(place) = waiting.iter_mut().find(|place| place.is_none()) {
                *place = Some(error);
            }
            self.is_any.store(true, Ordering::Relaxed);
        }
    }

    /// Hands what waits to [`Machine::report`]. No lock is held.
    pub(crate) fn report(&self) {
        if self.is_any.load(Ordering::Relaxed) {
            self.report_all();
        }
    }

    #[cold]
    #[inline(never)]
    fn report_all(&self) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            self.is_any.store(false, Ordering::Relaxed);
            core::mem::replace(&mut *waiting, [None; MAX_WAITING])
        };
        waiting.into_iter().flatten().for_each(M::report);
    }
}
