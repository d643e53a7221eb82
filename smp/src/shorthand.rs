//! When one interrupt to "all but self" reaches those that it is for, and nobody else.
//!
//! The shorthand of the interrupt command register goes to every CPU of the machine: to one that is still the bootloader's,
//! and has no handler, or to one that has left. So it stands for a set of targets only if the machine has no other CPU that could
//! take it: those that wait for a start-up message drop it.
//!
//! Called by: the kernel, where it sends an interrupt.

use crate::cpu_set::CpuSet;
use crate::sync::Ordering;
use crate::sync::unordered::AtomicUsize;

/// Whether, and for which targets, the shorthand may be used. One static of the kernel.
#[derive(Debug)]
pub struct Shorthand {
    /// CPUs of the machine that take interrupts, if all of them have run this kernel; 0 otherwise.
    nr_present: AtomicUsize,
}

impl Shorthand {
    /// It may not be used.
    pub const fn new() -> Self {
        Self { nr_present: AtomicUsize::new(0) }
    }

    /// States that `nr_present` CPUs of the machine, this one included, run this kernel, and that no other takes interrupts.
    /// For good: once one of them has left, no set of targets is all of the others.
    pub fn allow(&self, nr_present: usize) {
        self.nr_present.store(nr_present, Ordering::Relaxed);
    }

    /// Whether `targets`, of which this CPU is none and each can take an interrupt, are all other CPUs of the machine.
    #[inline]
    pub fn reaches_only(&self, targets: &CpuSet) -> bool {
        targets.len() + 1 == self.nr_present.load(Ordering::Relaxed)
    }
}

impl Default for Shorthand {
    fn default() -> Self {
        Self::new()
    }
}
