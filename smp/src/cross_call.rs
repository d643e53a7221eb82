//! Cross-calls: running a function on other CPUs, now, in their interrupt handlers.
//!
//! ```text
//!   slot[caller]:    the function, and the set of CPUs that have yet to run it
//!   mailbox[target]: the set of callers that have something for it
//! ```
//!
//! A caller writes its slot, puts its number into each target's mailbox, interrupts those whose mailbox was empty, and
//! waits until its set is empty. A target empties its mailbox at once and runs what each caller's slot says; then it
//! takes itself out of that caller's set, which is the last it touches of the call.
//!
//! One slot for each CPU is enough because a call keeps interrupts off, so that a CPU is in one call at a time. The
//! alternative, nodes on the caller's stack in a list for each target, needs as many nodes as targets, and a lock or a
//! chain of compare-exchanges for each list. As with those, the set names who is late.
//!
//! Invariants:
//! - A slot's function is written by its CPU while its set is empty, and read by members of the set only.
//! - A caller in a mailbox is in the midst of its call. Whoever puts the first number into an empty word of a mailbox
//!   sends the interrupt; the others rest on it, since the target takes the whole word at once.
//! - The function outlives the call: `call` returns, or unwinds, only when the set is empty.
//!
//! Lock order: none, there is no lock. Called by: the kernel, anywhere but in an NMI and under a ranked lock.

use crossbeam_utils::CachePadded;

use crate::cpu::{CpuId, MAX_CPUS};
use crate::cpu_set::{AtomicCpuSet, CpuSet};
use crate::hardware::{Hardware, IpiKind};
use crate::mutant::{self, Mutant};
use crate::per_cpu::PerCpu;
use crate::poll::{AbortOnUnwind, Poll};
use crate::sync::unordered::AtomicBool;
use crate::sync::{Ordering, UnsafeCell};
use crate::watchdog::{WaitingFor, Watchdog};

/// Why a call was refused. Nothing has run then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// This target has not joined.
    Offline {
        /// The target.
        cpu: CpuId,
    },
    /// The caller is itself a function run by a cross-call. Two CPUs doing this would wait for each other for ever.
    Nested {
        /// The caller.
        cpu: CpuId,
    },
}

/// The function of a call, its lifetime erased. Valid as long as its reader is in the caller's set.
type Function = &'static (dyn Fn(CpuId) + Sync);

#[derive(Debug)]
struct CpuCalls {
    mailbox: CachePadded<AtomicCpuSet>,
    slot: CachePadded<Slot>,
    has_joined: AtomicBool,
    /// Touched by this CPU alone.
    is_serving: AtomicBool,
}

struct Slot {
    function: UnsafeCell<Option<Function>>,
    /// CPUs that have yet to run it. Set by the caller, cleared by each target.
    outstanding: AtomicCpuSet,
}

// SAFETY: `function` is what makes a slot not `Sync`. It is written by the slot's own CPU while `outstanding` is empty,
// and read by others only while they are in `outstanding`; both ways the set's atomics order the accesses. What it
// refers to is `Sync`.
unsafe impl Sync for Slot {}
// SAFETY: a slot that moves takes along a reference to something that is `Sync`.
unsafe impl Send for Slot {}

impl core::fmt::Debug for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Slot").field("outstanding", &self.outstanding).finish_non_exhaustive()
    }
}

impl CpuCalls {
    const_unless_loom! {
        fn new() -> Self {
            Self {
                mailbox: CachePadded::new(AtomicCpuSet::new()),
                slot: CachePadded::new(Slot { function: UnsafeCell::new(None), outstanding: AtomicCpuSet::new() }),
                has_joined: AtomicBool::new(false),
                is_serving: AtomicBool::new(false),
            }
        }
    }
}

/// The state of all cross-calls. One static of the kernel.
#[derive(Debug)]
pub struct CrossCall<const N: usize = MAX_CPUS> {
    cpus: PerCpu<CpuCalls, N>,
}

impl<const N: usize> CrossCall<N> {
    const_unless_loom! {
        /// No CPU can be called.
        pub fn new() -> Self {
            Self { cpus: PerCpu::from_slots(array_of!(CachePadded::new(CpuCalls::new()); N)) }
        }
    }

    /// Makes this CPU callable. It can take the interrupt from here on, and stays callable: there is no way back.
    ///
    /// # Panics
    /// If this CPU's index is not below `N`.
    pub fn join<H: Hardware>(&self, hw: &H) {
        self.cpus.remote(hw.this_cpu()).has_joined.store(true, Ordering::Relaxed);
    }

    /// Runs `function` once on each CPU of `targets`, and returns when all have. Each gets its own number.
    ///
    /// Other CPUs run it in their interrupt handler, or in a wait loop, with interrupts off; this CPU, if it is among
    /// the targets, runs it here, also with interrupts off. What the caller did before happened before the function
    /// runs, and what the function did happened before this returns. The function may borrow from the caller's stack.
    /// It may initiate shootdowns; it may not make cross-calls, wait at a [`Barrier`](crate::Barrier), or take a lock
    /// that code with interrupts on may hold.
    ///
    /// Context: any but NMI, interrupts on or off (they are off meanwhile), under no ranked lock. This CPU serves the
    /// calls of others and its shootdowns while it waits. Idle CPUs are woken.
    ///
    /// # Errors
    /// [`CallError`], before anything has run.
    pub fn call<H: Hardware>(
        &self,
        hw: &H,
        targets: &CpuSet,
        function: &(dyn Fn(CpuId) + Sync),
    ) -> Result<(), CallError> {
        hw.without_interrupts(|| {
            let me = hw.this_cpu();
            let cpu_calls = self.cpus.remote(me);
            if cpu_calls.is_serving.load(Ordering::Relaxed) {
                return Err(CallError::Nested { cpu: me });
            }
            let is_offline =
                |cpu: &CpuId| cpu.index() >= N || !self.cpus.remote(*cpu).has_joined.load(Ordering::Relaxed);
            let mut others = *targets;
            let call_self = others.remove(me);
            if let Some(cpu) = others.iter().find(is_offline) {
                return Err(CallError::Offline { cpu });
            }
            // SAFETY: only the lifetime changes. The reference is handed to the members of `outstanding`, and `pending`
            // below does not let this function end, not even by unwinding, before that set is empty.
            let erased = unsafe { core::mem::transmute::<&(dyn Fn(CpuId) + Sync), Function>(function) };
            // SAFETY: this CPU is in no other call (interrupts are off, and not in one that it serves), so its set is
            // empty and nobody else looks at the slot.
            cpu_calls.slot.function.with_mut(|slot| unsafe { *slot = Some(erased) });
            cpu_calls.slot.outstanding.replace(&others, Ordering::Relaxed);

            let pending = Pending { calls: self, hw, slot: &cpu_calls.slot };
            let mut to_interrupt = CpuSet::EMPTY;
            for cpu in others.iter() {
                // Release: the slot is written. Acquire is not needed to be told apart from an earlier taker's swap.
                if self.cpus.remote(cpu).mailbox.insert(me, Ordering::Release) {
                    to_interrupt.insert(cpu);
                }
            }
            if !to_interrupt.is_empty() {
                hw.send_ipi(IpiKind::Call, &to_interrupt);
            }
            if call_self {
                function(me);
            }
            drop(pending);
            Ok(())
        })
    }

    /// Runs what other CPUs have asked of this one: a few loads if there is nothing.
    ///
    /// Called by the handler of [`IpiKind::Call`], and by [`relax`](crate::Hardware::relax). Does nothing inside a
    /// function that is itself being served, so that the stack stays bounded: what came meanwhile has its interrupt
    /// still pending, since they are off.
    pub fn serve<H: Hardware>(&self, hw: &H) {
        let me = hw.this_cpu();
        let cpu_calls = self.cpus.remote(me);
        if cpu_calls.mailbox.is_empty(Ordering::Relaxed) || cpu_calls.is_serving.load(Ordering::Relaxed) {
            return;
        }
        hw.without_interrupts(|| {
            cpu_calls.is_serving.store(true, Ordering::Relaxed);
            let callers = if mutant::is(Mutant::CallTakenLate) {
                cpu_calls.mailbox.snapshot(Ordering::Acquire)
            } else {
                cpu_calls.mailbox.take(mutant::weaken(Mutant::CallTakenRelaxed, Ordering::Acquire))
            };
            for caller in callers.iter() {
                self.serve_one(me, caller);
            }
            if mutant::is(Mutant::CallTakenLate) {
                cpu_calls.mailbox.take(Ordering::Acquire);
            }
            cpu_calls.is_serving.store(false, Ordering::Relaxed);
        });
    }

    fn serve_one(&self, me: CpuId, caller: CpuId) {
        let slot = &*self.cpus.remote(caller).slot;
        let acknowledgement = Acknowledgement { slot, me };
        // SAFETY: `me` is in the slot's set: the caller put it there before it put itself into the mailbox, and only
        // `acknowledgement` takes it out. So the caller neither writes the slot nor returns before that.
        let function = slot.function.with(|function| unsafe { *function });
        if mutant::is(Mutant::CallAckBeforeRun) {
            slot.outstanding.remove(me, Ordering::Release);
        }
        let function = function.unwrap_or_else(|| panic!("cpu {caller} is in the mailbox of cpu {me} without a call"));
        function(me);
        drop(acknowledgement);
    }
}

impl<const N: usize> Default for CrossCall<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes this CPU out of the caller's set when dropped, also if the function unwinds.
struct Acknowledgement<'a> {
    slot: &'a Slot,
    me: CpuId,
}

impl Drop for Acknowledgement<'_> {
    fn drop(&mut self) {
        // Release: what the function did, and that it is over, comes before. The last access to the call.
        self.slot.outstanding.remove(self.me, mutant::weaken(Mutant::CallAckRelaxed, Ordering::Release));
    }
}

/// A call whose function others may be running: dropping it waits for them.
struct Pending<'a, H: Hardware, const N: usize> {
    calls: &'a CrossCall<N>,
    hw: &'a H,
    slot: &'a Slot,
}

impl<H: Hardware, const N: usize> Drop for Pending<'_, H, N> {
    fn drop(&mut self) {
        let abort = AbortOnUnwind;
        let mut pace = Poll::default();
        let mut watchdog = None;
        while !self.slot.outstanding.is_empty(Ordering::Acquire) {
            let watchdog = watchdog.get_or_insert_with(|| Watchdog::new(self.hw.now_ticks(), self.hw.watchdog_ticks()));
            if !mutant::is(Mutant::CallWithoutService) {
                self.calls.serve(self.hw);
            }
            if pace.step(self.hw) {
                watchdog.tick(
                    self.hw,
                    WaitingFor::Call,
                    || self.slot.outstanding.snapshot(Ordering::Acquire),
                    |late| {
                        self.hw.send_ipi(IpiKind::Call, late);
                    },
                );
            }
        }
        core::mem::forget(abort);
    }
}
