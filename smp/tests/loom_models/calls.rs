//! Cross-calls and jobs: each function runs once, before the call returns, and nobody touches the caller's stack after.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::Preemptions::{Any, AtMost};
use super::machine::{Cpu, Machine};
use super::{explore, thread};
use smp::sync::UnsafeCell;
use smp::{CpuId, CpuSet, CrossCall};

/// What a called function borrows: loom checks that its accesses and its owner's are ordered.
struct Borrowed(UnsafeCell<usize>);

// SAFETY: that accesses do not race is what the models check.
unsafe impl Sync for Borrowed {}

impl Borrowed {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn add(&self, n: usize) {
        // SAFETY: loom reports a race before the pointer is used.
        self.0.with_mut(|value| unsafe { *value += n });
    }

    fn get(&self) -> usize {
        // SAFETY: as above.
        self.0.with(|value| unsafe { *value })
    }
}

fn id(index: usize) -> CpuId {
    CpuId::new(index).unwrap()
}

fn call<const N: usize>(cpu: &Cpu<N>, target: usize, n: usize) {
    let borrowed = Borrowed::new();
    borrowed.add(1);
    let result = cpu.machine.calls.call(cpu, &CpuSet::of(id(target)), &|on| {
        assert_eq!(on, id(target));
        borrowed.add(n);
    });
    assert_eq!(result, Ok(()));
    assert_eq!(borrowed.get(), 1 + n);
}

/// Two calls in a row to a CPU that takes interrupts: the second reuses the slot.
#[test]
fn a_call_returns_after_its_function_ran() {
    explore(Any, || {
        let machine = Machine::<2>::new();
        let [zero, one] = machine.online_cpus();
        let other = thread::spawn(move || one.run_until_done());
        call(&zero, 1, 10);
        call(&zero, 1, 20);
        zero.done();
        other.join().unwrap();
    });
}

/// Both CPUs call each other with interrupts off, and go on serving until both calls have returned.
#[test]
fn two_callers_with_interrupts_off_serve_each_other() {
    explore(AtMost(3), || {
        let machine = Machine::<2>::new();
        machine.relax_serves.store(false, Relaxed);
        let cpus = machine.online_cpus();
        cpus.iter().for_each(|cpu| cpu.interrupts_on.set(false));
        let [zero, one] = cpus;
        let nr_done = Arc::new(AtomicUsize::new(0));
        let play = move |cpu: Cpu<2>, target, n| {
            call(&cpu, target, n);
            nr_done.fetch_add(1, Relaxed);
            while nr_done.load(Relaxed) < 2 {
                cpu.machine.calls.serve(&cpu);
                cpu.yield_now();
            }
        };
        let play_other = play.clone();
        let other = thread::spawn(move || play_other(one, 0, 10));
        play(zero, 1, 20);
        other.join().unwrap();
    });
}

/// Two callers share a target, and perhaps one interrupt.
#[test]
fn an_interrupt_shared_by_two_calls_serves_both() {
    explore(AtMost(2), || {
        let machine = Machine::<3>::new();
        let [zero, one, two] = machine.online_cpus();
        let nr_done = Arc::new(AtomicUsize::new(0));
        let count = nr_done.clone();
        let caller = thread::spawn(move || {
            call(&one, 2, 10);
            count.fetch_add(1, Relaxed);
        });
        let count = nr_done.clone();
        let target = thread::spawn(move || {
            while nr_done.load(Relaxed) < 2 {
                two.window();
                two.yield_now();
            }
        });
        call(&zero, 2, 20);
        count.fetch_add(1, Relaxed);
        caller.join().unwrap();
        target.join().unwrap();
    });
}

/// The mailbox alone, without the machine's interrupts: the target polls.
#[test]
fn a_polled_call_sees_what_its_caller_did() {
    explore(Any, || {
        let machine = Machine::<2>::new();
        let [zero, one] = machine.online_cpus();
        one.interrupts_on.set(false);
        let other = thread::spawn(move || {
            while !one.machine.is_done.load(Relaxed) {
                one.machine.calls.serve(&one);
                one.yield_now();
            }
        });
        call(&zero, 1, 10);
        zero.done();
        other.join().unwrap();
    });
}

/// A function that is being served initiates a shootdown towards its caller.
#[test]
fn a_called_function_may_unmap() {
    explore(AtMost(2), || {
        let machine = Machine::<2>::new();
        let [zero, one] = machine.online_cpus();
        assert!(zero.read(0));
        let (one_in_call, done) = (machine.cpu(1), machine.clone());
        one_in_call.interrupts_on.set(false);
        let one_in_call = Shared(one_in_call);
        let other = thread::spawn(move || one.run_until_done());
        let calls: &CrossCall<2> = &zero.machine.calls;
        let result = calls.call(&zero, &CpuSet::of(id(1)), &|_| one_in_call.cpu().unmap_and_reuse(0));
        assert_eq!(result, Ok(()));
        assert!(!zero.read(0));
        done.is_done.store(true, Relaxed);
        other.join().unwrap();
    });
}

/// A CPU's handle, used by the function that runs on that CPU.
struct Shared(Cpu<2>);

// SAFETY: only the function called on that CPU uses it.
unsafe impl Sync for Shared {}

impl Shared {
    fn cpu(&self) -> &Cpu<2> {
        &self.0
    }
}

/// Two jobs in a row on one idle CPU; a scope ends after its job, and leaves the slot free.
#[test]
fn a_scope_ends_after_its_job() {
    explore(Any, || {
        let machine = Machine::<2>::new();
        let [zero, one] = machine.online_cpus();
        machine.work.open(&one);
        let other = thread::spawn(move || {
            for _ in 0..2 {
                while !one.machine.work.run_one(&one) {
                    one.yield_now();
                }
            }
        });
        zero.interrupts_on.set(false);
        for n in [10, 20] {
            let borrowed = Borrowed::new();
            borrowed.add(1);
            let job = |_: CpuId| borrowed.add(n);
            let started = machine.work.scope(&zero, |scope| scope.start(id(1), &job));
            assert_eq!(started, Ok(()));
            assert_eq!(borrowed.get(), 1 + n);
        }
        other.join().unwrap();
    });
}

/// Two starters compete for one CPU: whoever is refused has nothing running, whoever is not has its own job done.
#[test]
fn two_starters_do_not_mix_up_their_jobs() {
    fn start(cpu: Cpu<3>) -> usize {
        let borrowed = Borrowed::new();
        let job = |_: CpuId| borrowed.add(1);
        let started = cpu.machine.work.scope(&cpu, |scope| scope.start(id(2), &job));
        assert_eq!(borrowed.get(), usize::from(started.is_ok()));
        borrowed.get()
    }
    explore(AtMost(2), || {
        let machine = Machine::<3>::new();
        let [zero, one, two] = machine.online_cpus();
        [&zero, &one, &two].into_iter().for_each(|cpu| cpu.interrupts_on.set(false));
        machine.work.open(&two);
        let worker = thread::spawn(move || {
            let mut nr_jobs = 0;
            while !two.machine.is_done.load(Relaxed) {
                nr_jobs += usize::from(two.machine.work.run_one(&two));
                two.yield_now();
            }
            nr_jobs
        });
        let other = thread::spawn(move || start(one));
        let mine = start(zero);
        let nr_started = mine + other.join().unwrap();
        assert!(nr_started > 0);
        machine.is_done.store(true, Relaxed);
        assert_eq!(worker.join().unwrap(), nr_started);
    });
}
