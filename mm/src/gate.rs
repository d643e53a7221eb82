//! A length, the lock of what it counts, and a count of operations, in one word of one CPU.
//!
//! ```text
//!   63             16 15      14 13     0
//!  ┌─────────────────┬──────────┬────────┐
//!  │   operations    │ holders  │ length │
//!  └─────────────────┴──────────┴────────┘
//! ```
//!
//! Only the owning CPU writes the word; what it has to be kept from is its own interrupts. To enter adds a holder, by an
//! instruction that no interrupt can split, and then looks: with one holder the caller is alone. A handler that lands
//! on a holder counts two, takes its own away again and goes another way. So a handler leaves the word as it found it,
//! and a holder may load and store it plainly. Two bits are enough: a constructor may
//! try while its allocation holds, and an interrupt may land on that try. An NMI
//! enters only if nobody is inside.
//!
//! Entering, the test for an interrupted holder, and the test for an empty or full magazine are thus three instructions
//! and one comparison; leaving is the store of the new length, which counts the operation with it. Measured against a
//! flag beside a length and two counters: 1.7 ns a pair instead of 2.4.
//!
//! Invariants: at most one holder goes on; the length changes only while held. All zero bytes: open, length 0.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicU64, compiler_fence};

use crate::machine::Machine;

/// One holder, in the word; lengths are below it.
pub(crate) const HOLDER: u64 = 1 << 14;

/// One operation, in the word.
pub(crate) const OPERATION: u64 = 1 << 16;

/// The length and its lock. See the module.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU64);

/// What a gate's word held when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    /// Length and holders: below [`HOLDER`] plus a length only if that is so with one holder.
    #[inline(always)]
    pub(crate) fn len_and_holders(self) -> u64 {
        self.0 % OPERATION
    }

    /// Length and holders as a signed number: above [`HOLDER`] only if there is one holder and a length. With more
    /// holders it is negative.
    #[inline(always)]
    pub(crate) fn len_held_once(self) -> i64 {
        i64::from(self.0 as i16)
    }

    /// The length.
    pub(crate) fn len(self) -> usize {
        (self.0 % HOLDER) as usize
    }

    /// Operations counted since the count was last taken out.
    pub(crate) fn nr_operations(self) -> u64 {
        self.0 / OPERATION
    }
}

impl Gate {
    /// Adds a holder. The caller looks at the number of holders, and retreats unless it is the only one.
    #[inline(always)]
    pub(crate) fn enter<M: Machine>(&self) -> Word {
        let word = Word(M::add_on_this_cpu::<{ HOLDER as i64 }>(&self.0));
        // The other party is a handler on this same CPU: only the compiler could reorder what it sees.
        compiler_fence(SeqCst);
        debug_assert!(word.len_and_holders() >= HOLDER, "more than three holders");
        word
    }

    /// Takes away the holder that `enter` added, and leaves all else as it is.
    #[inline(always)]
    pub(crate) fn retreat<M: Machine>(&self) {
        M::add_on_this_cpu::<{ -(HOLDER as i64) }>(&self.0);
    }

    /// Ends the hold with a new word: the only holder's, `HOLDER` less, and what it has changed.
    #[inline(always)]
    pub(crate) fn leave(&self, word: u64) {
        debug_assert!(Word(word).len_and_holders() < HOLDER, "{word:#x}: a holder is left");
        compiler_fence(SeqCst);
        self.0.store(word, Relaxed);
    }

    /// As `enter`, for those who stay long: true for the only holder, else the gate is as it was.
    pub(crate) fn try_hold<M: Machine>(&self) -> bool {
        let is_alone = self.enter::<M>().len_and_holders() / HOLDER == 1;
        if !is_alone {
            self.retreat::<M>();
        }
        is_alone
    }

    /// The word as it is, for the holder exact, for others recent.
    pub(crate) fn read(&self) -> Word {
        Word(self.0.load(Relaxed))
    }

    /// Sets the length; the holder's to call.
    pub(crate) fn set_len(&self, len: usize) {
        debug_assert!(self.read().len_and_holders() / HOLDER == 1, "set_len {:x}", self.read().0);
        debug_assert!(len < HOLDER as usize, "a length of {len}");
        let word = self.read().0;
        self.0.store(word - word % HOLDER + len as u64, Relaxed);
    }

    /// Counts `n` operations; the holder's to call.
    pub(crate) fn count(&self, n: u64) {
        self.0.store(self.read().0.wrapping_add(n * OPERATION), Relaxed);
    }

    /// Takes the count of operations out, which would overflow in the end (in three days at one each nanosecond); the
    /// holder's to call.
    pub(crate) fn take_count(&self) -> u64 {
        let word = self.read();
        self.0.store(word.len_and_holders(), Relaxed);
        word.nr_operations()
    }

    /// Ends a hold of `try_hold`.
    pub(crate) fn release(&self) {
        self.leave(self.read().0 - HOLDER);
    }
}
