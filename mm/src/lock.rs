//! The crate's lock: unfair test-and-test-and-set, taken with interrupts off, waiting with growing pauses.
//!
//! Unfair on purpose: a ticket or MCS lock hands over to one certain waiter, and where that one is a virtual CPU that
//! is not running just then, everybody waits for the host's scheduler. Measured: 3 orders of magnitude.
//!
//! Lock order (take downwards only): depot of a cache, slab lists of a cache, address-space arena, frame bitmap.
//! The locks of the debug modes, and those of a purge queue, are taken alone.
//! No lock is held while waiting for other CPUs; a waiter serves their requests by [`Machine::relax`].

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
// The counters are no part of the protocol: core's, under loom too.
use core::sync::atomic::{AtomicU64, Ordering};

use crate::machine::Machine;
use crate::sync::{AtomicBool, UnsafeCell, open_order};

/// A value that one CPU at a time may touch.
pub struct Lock<T, M> {
    locked: AtomicBool,
    /// Times taken. Written by the holder only.
    nr_acquired: AtomicU64,
    /// Times the taker had to wait. Written by the holder only.
    nr_contended: AtomicU64,
    value: UnsafeCell<T>,
    machine: PhantomData<fn() -> M>,
}

// SAFETY: the lock hands out one reference to the value at a time, on whichever CPU, so it asks of T what moving a T
// from CPU to CPU asks.
unsafe impl<T: Send, M> Sync for Lock<T, M> {}
// SAFETY: as above; the lock owns its T.
unsafe impl<T: Send, M> Send for Lock<T, M> {}

impl<T, M: Machine> Lock<T, M> {
    /// An open lock around `value`.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self {
            locked: AtomicBool::new(false),
            nr_acquired: AtomicU64::new(0),
            nr_contended: AtomicU64::new(0),
            value: UnsafeCell::new(value),
            machine: PhantomData,
        }
    }

    /// An open lock around `value`.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self {
            locked: AtomicBool::new(false),
            nr_acquired: AtomicU64::new(0),
            nr_contended: AtomicU64::new(0),
            value: UnsafeCell::new(value),
            machine: PhantomData,
        }
    }

    /// Takes the lock, interrupts off from here until the guard is dropped.
    ///
    /// Context: any but an NMI. Not twice on one CPU.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T, M> {
        let saved = M::irq_save();
        if !self.try_take() {
            self.wait_and_take();
        }
        bump(&self.nr_acquired);
        Guard { lock: self, saved, not_send: PhantomData }
    }

    /// Whether it was open, and is this CPU's now.
    #[inline]
    fn try_take(&self) -> bool {
        self.locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock, which somebody has. Out of line: what a waiter does on the way (it may serve a shootdown) needs
    /// every register, and whoever finds the lock open shall not save them.
    #[cold]
    #[inline(never)]
    fn wait_and_take(&self) {
        let mut nr_turns = 0;
        loop {
            M::relax(nr_turns);
            nr_turns = nr_turns.saturating_add(1);
            if !self.looks_locked() && self.try_take() {
                break;
            }
        }
        bump(&self.nr_contended);
    }

    /// Takes the lock if nobody has it.
    ///
    /// Context: any, an NMI included.
    pub fn try_lock(&self) -> Option<Guard<'_, T, M>> {
        let saved = M::irq_save();
        if !self.try_take() {
            // SAFETY: saved just now, and nothing came between.
            unsafe { M::irq_restore(saved) };
            return None;
        }
        bump(&self.nr_acquired);
        Some(Guard { lock: self, saved, not_send: PhantomData })
    }

    /// A wait is one of plain loads: only these leave the line shared. Not under loom, where a plain load may answer with
    /// an old value for ever.
    fn looks_locked(&self) -> bool {
        cfg!(not(loom)) && self.locked.load(Ordering::Relaxed)
    }

    /// Times taken so far.
    pub fn nr_acquired(&self) -> u64 {
        self.nr_acquired.load(Ordering::Relaxed)
    }

    /// Times a taker found it held.
    pub fn nr_contended(&self) -> u64 {
        self.nr_contended.load(Ordering::Relaxed)
    }
}

/// Adds one to a counter that has a single writer: a plain load and store, no locked instruction.
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// Having this means: the lock is held by this CPU, and interrupts are off.
#[must_use]
pub struct Guard<'a, T, M: Machine> {
    lock: &'a Lock<T, M>,
    saved: usize,
    /// The interrupt flag it restores is this CPU's.
    not_send: PhantomData<*mut ()>,
}

impl<T, M: Machine> Deref for Guard<'_, T, M> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held, and shared references come from this guard only.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, M: Machine> DerefMut for Guard<'_, T, M> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and the guard is borrowed mutably, so no other reference exists.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, M: Machine> Drop for Guard<'_, T, M> {
    fn drop(&mut self) {
        self.lock.locked.store(false, open_order());
        // SAFETY: `saved` was made by `irq_save` in `lock`; guards are dropped in the reverse of their order.
        unsafe { M::irq_restore(self.saved) };
    }
}

impl<T, M> fmt::Debug for Lock<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("locked", &self.locked).finish_non_exhaustive()
    }
}
