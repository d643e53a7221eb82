//! Work for idle CPUs: long jobs that their idle loops pick up, where a cross-call would run in an interrupt handler.
//!
//! ```text
//!   slot[cpu]:  Closed -> Free -> Claimed -> Posted -> Running -> Free ...
//!               idle loop   starter   starter    idle loop   idle loop
//!                opens it   claims    has filled   takes it    is done
//!   running[starter]: the CPUs that have yet to finish a job of its
//! ```
//!
//! Jobs may borrow from the stack of whoever starts them: they are started within a [`WorkSlots::scope`], which does
//! not end before all of them have. To find that out nobody reads a slot, which may long serve somebody else: each
//! starter has a set of its own, from which a CPU removes itself when it is done.
//!
//! Invariants: a slot's job is written by whoever claimed it, and read by its CPU after it was posted. A CPU in a
//! starter's set has that starter's job, or is about to leave the set. A CPU runs one scope at a time.
//!
//! Lock order: none, there is no lock. Context: [`scope`](WorkSlots::scope) and [`run_one`](WorkSlots::run_one) run in
//! normal code, never in an interrupt handler.

use core::marker::PhantomData;

use crossbeam_utils::CachePadded;

use crate::cpu::{CpuId, MAX_CPUS};
use crate::cpu_set::{AtomicCpuSet, CpuSet};
use crate::hardware::{Hardware, IpiKind};
use crate::mutant::{self, Mutant};
use crate::per_cpu::PerCpu;
use crate::poll::{AbortOnUnwind, Poll};
use crate::sync::{AtomicU8, Ordering, UnsafeCell};

/// Why a job was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// This CPU has no idle loop that looks for work, or does not exist.
    Closed {
        /// The CPU.
        cpu: CpuId,
    },
    /// This CPU has a job already.
    Busy {
        /// The CPU.
        cpu: CpuId,
    },
    /// This is the CPU the scope runs on: it would never get to the job. Call the job instead.
    Own {
        /// The CPU.
        cpu: CpuId,
    },
}

const CLOSED: u8 = 0;
const FREE: u8 = 1;
const CLAIMED: u8 = 2;
const POSTED: u8 = 3;
const RUNNING: u8 = 4;

/// A job, its lifetime erased, and who started it. Valid until its CPU has left the starter's set.
#[derive(Clone, Copy)]
struct Job {
    function: &'static (dyn Fn(CpuId) + Sync),
    starter: CpuId,
}

struct CpuWork {
    state: AtomicU8,
    job: UnsafeCell<Option<Job>>,
    /// As a starter: the CPUs that have yet to finish a job of this one's.
    running: CachePadded<AtomicCpuSet>,
}

// SAFETY: `job` is what makes this not `Sync`. `state` hands it back and forth: it is written by the one who moved the
// state from Free to Claimed, read by its CPU after Posted, and not touched otherwise; Acquire and Release on `state`
// order the accesses. What it refers to is `Sync`.
unsafe impl Sync for CpuWork {}
// SAFETY: what moves is a reference to something that is `Sync`.
unsafe impl Send for CpuWork {}

impl CpuWork {
    const_unless_loom! {
        fn new() -> Self {
            Self {
                state: AtomicU8::new(CLOSED),
                job: UnsafeCell::new(None),
                running: CachePadded::new(AtomicCpuSet::new()),
            }
        }
    }
}

/// One slot for a job on each CPU. One static of the kernel.
pub struct WorkSlots<const N: usize = MAX_CPUS> {
    cpus: PerCpu<CpuWork, N>,
}

impl<const N: usize> WorkSlots<N> {
    const_unless_loom! {
        /// All slots closed.
        pub fn new() -> Self {
            Self { cpus: PerCpu::from_slots(array_of!(CachePadded::new(CpuWork::new()); N)) }
        }
    }

    /// Opens this CPU's slot: its idle loop calls [`run_one`](Self::run_one) from here on. Once; later calls do nothing.
    pub fn open<H: Hardware>(&self, hw: &H) {
        let state = &self.cpus.remote(hw.this_cpu()).state;
        let _ = state.compare_exchange(CLOSED, FREE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether a job waits for this CPU.
    ///
    /// The idle loop asks with interrupts off, directly before `sti; hlt`: the interrupt that comes with a job posted
    /// after this look then ends the `hlt`.
    pub fn has_work<H: Hardware>(&self, hw: &H) -> bool {
        self.cpus.remote(hw.this_cpu()).state.load(Ordering::Relaxed) == POSTED
    }

    /// Runs the job that waits for this CPU, if there is one, then wakes whoever started it. Whether there was one.
    pub fn run_one<H: Hardware>(&self, hw: &H) -> bool {
        let me = hw.this_cpu();
        let work = self.cpus.remote(me);
        if work.state.load(Ordering::Acquire) != POSTED {
            return false;
        }
        work.state.store(RUNNING, Ordering::Relaxed);
        // SAFETY: the state is Posted or Running, so that only this CPU touches the job.
        let job = work.job.with(|job| unsafe { *job });
        let job = job.unwrap_or_else(|| panic!("cpu {me} was posted no job"));
        if mutant::is(Mutant::JobFreedEarly) {
            work.state.store(FREE, Ordering::Release);
            self.cpus.remote(job.starter).running.remove(me, Ordering::Release);
        }
        let finish = Finish { slots: self, hw, me, starter: job.starter };
        (job.function)(me);
        drop(finish);
        true
    }

    /// Runs `body` with a [`Scope`] to start jobs in, and returns when the body and all those jobs are done.
    ///
    /// The jobs may borrow whatever outlives the scope:
    ///
    /// ```
    /// # fn example<H: smp::Hardware>(slots: &smp::WorkSlots<8>, hw: &H) -> Result<(), smp::StartError> {
    /// use core::sync::atomic::{AtomicUsize, Ordering};
    /// let sum = AtomicUsize::new(0);
    /// let job = |cpu: smp::CpuId| {
    ///     sum.fetch_add(cpu.index(), Ordering::Relaxed);
    /// };
    /// slots.scope(hw, |scope| smp::CpuId::first(8).skip(1).try_for_each(|cpu| scope.start(cpu, &job)))?;
    /// assert_eq!(sum.into_inner(), 28);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// and nothing that does not:
    ///
    /// ```compile_fail
    /// # fn example<H: smp::Hardware>(slots: &smp::WorkSlots<8>, hw: &H, cpu: smp::CpuId) {
    /// slots.scope(hw, |scope| {
    ///     let local = 1;
    ///     let job = |_: smp::CpuId| assert_eq!(local, 1);
    ///     scope.start(cpu, &job)
    /// });
    /// # }
    /// ```
    ///
    /// The last wait polls. A body that wants to halt meanwhile does so itself, as long as
    /// [`Scope::running`] is not empty: each CPU that finishes sends this one an interrupt.
    pub fn scope<'env, H, R>(
        &'env self,
        hw: &'env H,
        body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env, H, N>) -> R,
    ) -> R
    where
        H: Hardware,
    {
        let starter = hw.this_cpu();
        let _wait = WaitForJobs { slots: self, hw, starter };
        body(&Scope { slots: self, hw, starter, scope: PhantomData, env: PhantomData })
    }
}

impl<const N: usize> Default for WorkSlots<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Where jobs are started. Having one tells you that its [`WorkSlots::scope`] waits for all of them.
pub struct Scope<'scope, 'env: 'scope, H: Hardware, const N: usize> {
    slots: &'env WorkSlots<N>,
    hw: &'env H,
    starter: CpuId,
    // Invariant in both, as in `std::thread::Scope`: neither may be shortened to pass a reference that ends too early.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope, H: Hardware, const N: usize> Scope<'scope, '_, H, N> {
    /// Gives `job` to the idle loop of `cpu`, and wakes it. The job gets the number of the CPU it runs on.
    ///
    /// # Errors
    /// [`StartError`]; the job has not been given to anybody then.
    pub fn start(&'scope self, cpu: CpuId, job: &'scope (dyn Fn(CpuId) + Sync)) -> Result<(), StartError> {
        if cpu == self.starter {
            return Err(StartError::Own { cpu });
        }
        if cpu.index() >= N {
            return Err(StartError::Closed { cpu });
        }
        let running = &self.slots.cpus.remote(self.starter).running;
        // A CPU frees its slot before it leaves the set. Started in between, the new job would go uncounted.
        if running.contains(cpu, Ordering::Acquire) {
            return Err(StartError::Busy { cpu });
        }
        let work = self.slots.cpus.remote(cpu);
        match work.state.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => {}
            Err(CLOSED) => return Err(StartError::Closed { cpu }),
            Err(_) => return Err(StartError::Busy { cpu }),
        }
        // SAFETY: only the lifetime changes. The reference is dropped when `cpu` has left `running`, and the scope does
        // not end, not even by unwinding, before that; 'scope outlives the scope's end.
        let function = unsafe { core::mem::transmute::<&(dyn Fn(CpuId) + Sync), &'static (dyn Fn(CpuId) + Sync)>(job) };
        // SAFETY: the state is Claimed, by us, so that only this CPU touches the job.
        work.job.with_mut(|slot| unsafe { *slot = Some(Job { function, starter: self.starter }) });
        running.insert(cpu, Ordering::Relaxed);
        work.state.store(POSTED, Ordering::Release);
        self.hw.send_ipi(IpiKind::Wake, &CpuSet::of(cpu));
        Ok(())
    }

    /// The CPUs that have yet to finish a job of this scope. What those that are missing did happened before.
    pub fn running(&self) -> CpuSet {
        self.slots.cpus.remote(self.starter).running.snapshot(Ordering::Acquire)
    }
}

/// Declares a job done when dropped, also if it unwinds.
struct Finish<'a, H: Hardware, const N: usize> {
    slots: &'a WorkSlots<N>,
    hw: &'a H,
    me: CpuId,
    starter: CpuId,
}

impl<H: Hardware, const N: usize> Drop for Finish<'_, H, N> {
    fn drop(&mut self) {
        if !mutant::is(Mutant::JobFreedEarly) {
            // In this order, so that a scope that has ended leaves free slots behind.
            self.slots.cpus.remote(self.me).state.store(FREE, Ordering::Release);
            // Release: what the job did comes before. The last access to the scope.
            let order = mutant::weaken(Mutant::JobDoneRelaxed, Ordering::Release);
            self.slots.cpus.remote(self.starter).running.remove(self.me, order);
        }
        self.hw.send_ipi(IpiKind::Wake, &CpuSet::of(self.starter));
    }
}

/// Waits for all jobs of a starter when dropped.
struct WaitForJobs<'a, H: Hardware, const N: usize> {
    slots: &'a WorkSlots<N>,
    hw: &'a H,
    starter: CpuId,
}

impl<H: Hardware, const N: usize> Drop for WaitForJobs<'_, H, N> {
    fn drop(&mut self) {
        let abort = AbortOnUnwind;
        let mut pace = Poll::default();
        while !self.slots.cpus.remote(self.starter).running.is_empty(Ordering::Acquire) {
            pace.step(self.hw);
        }
        core::mem::forget(abort);
    }
}
