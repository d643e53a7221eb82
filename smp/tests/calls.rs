//! Cross-calls, jobs and barriers on real threads: what they refuse, what they run, and what they leave behind.

#![cfg(not(any(loom, shuttle)))]

mod machine;

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use machine::{Cpu, Machine};
use smp::{Barrier, CallError, CpuId, CpuSet, StartError};

fn id(index: usize) -> CpuId {
    CpuId::new(index).unwrap()
}

fn set(indices: &[usize]) -> CpuSet {
    indices.iter().map(|&index| id(index)).collect()
}

/// Plays all CPUs but the first on threads of their own, by `part`, until `body` returns.
fn with_others<const N: usize>(machine: &std::sync::Arc<Machine<N>>, part: fn(&Cpu<N>), body: impl FnOnce(&Cpu<N>)) {
    let mut cpus = machine.online_cpus().into_iter();
    let first = cpus.next().unwrap();
    std::thread::scope(|s| {
        for cpu in cpus {
            s.spawn(move || {
                while !cpu.machine.is_done.load(Relaxed) {
                    part(&cpu);
                    cpu.yield_now();
                }
            });
        }
        body(&first);
        first.done();
    });
}

#[test]
fn a_call_runs_once_on_each_target_and_nowhere_else() {
    let machine = Machine::<8>::new();
    with_others(&machine, Cpu::window, |cpu| {
        for targets in [set(&[]), set(&[0]), set(&[1]), set(&[0, 7]), set(&[1, 2, 3, 4, 5, 6, 7]), set(&[0, 2, 4, 6])] {
            let ran = Mutex::new(Vec::new());
            let result = cpu.machine.calls.call(cpu, &targets, &|on| ran.lock().unwrap().push(on));
            assert_eq!(result, Ok(()));
            let mut ran = ran.into_inner().unwrap();
            ran.sort();
            assert!(targets.iter().eq(ran.iter().copied()), "{targets}: ran on {ran:?}");
        }
    });
}

#[test]
fn a_call_to_an_offline_cpu_runs_nowhere() {
    let machine = Machine::<4>::new();
    let [zero, one] = [0, 1].map(|index| machine.cpu(index));
    machine.calls.join(&zero);
    machine.calls.join(&one);
    for (targets, offline) in [(set(&[1, 2]), 2), (set(&[0, 3]), 3), (set(&[1, 511]), 511)] {
        let result = machine.calls.call(&zero, &targets, &|_| panic!("ran"));
        assert_eq!(result, Err(CallError::Offline { cpu: id(offline) }));
    }
    one.window();
    assert_eq!(machine.nr_ipis.load(Relaxed), 0);
}

#[test]
fn a_called_function_may_not_call() {
    let machine = Machine::<2>::new();
    with_others(&machine, Cpu::window, |cpu| {
        // The inner call is made by CPU 1, under its own name.
        let inner = AtomicUsize::new(0);
        let result = cpu.machine.calls.call(cpu, &set(&[1]), &|_| {
            let one = machine.cpu(1);
            one.interrupts_on.set(false);
            if machine.calls.call(&one, &set(&[0]), &|_| ()) == Err(CallError::Nested { cpu: id(1) }) {
                inner.fetch_add(1, Relaxed);
            }
        });
        assert_eq!((result, inner.into_inner()), (Ok(()), 1));
    });
}

#[test]
fn an_idle_cpu_is_called_and_catches_up_first() {
    let machine = Machine::<2>::new();
    let [zero, one] = machine.online_cpus();
    assert!(one.read(3));
    machine.shootdown.enter_idle(&one);
    zero.unmap_and_reuse(3);
    std::thread::scope(|s| {
        s.spawn(move || one.run_until_done());
        let in_handler = AtomicUsize::new(0);
        let result = machine.calls.call(&zero, &set(&[1]), &|cpu| {
            assert!(!machine.tlb_holds(cpu.index(), 3));
            in_handler.fetch_add(1, Relaxed);
        });
        assert_eq!((result, in_handler.into_inner()), (Ok(()), 1));
        zero.done();
    });
}

#[test]
fn a_cpu_that_does_not_run_a_call_is_interrupted_again_and_then_named() {
    let machine = Machine::<2>::new();
    let [zero, one] = machine.online_cpus();
    machine.watchdog_ticks.store(10, Relaxed);
    machine.freezes_clock_after_report.store(true, Relaxed);
    std::thread::scope(|s| {
        s.spawn(move || {
            // Interrupts off until it is named.
            while one.machine.late_reports.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            one.run_until_done();
        });
        assert_eq!(machine.calls.call(&zero, &set(&[1]), &|_| ()), Ok(()));
        zero.done();
    });
    let reports = machine.late_reports.lock().unwrap();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].to_string().starts_with("cpu 1 has not run a cross-call for "), "{}", reports[0]);
    assert_eq!(machine.nr_ipis.load(Relaxed), 2, "one, and one again");
}

/// As an idle loop.
fn look_for_work<const N: usize>(cpu: &Cpu<N>) {
    cpu.machine.work.open(cpu);
    cpu.machine.work.run_one(cpu);
    cpu.window();
}

#[test]
fn a_scope_waits_for_all_its_jobs() {
    let machine = Machine::<4>::new();
    with_others(&machine, look_for_work, |cpu| {
        for _ in 0..if cfg!(miri) { 3 } else { 200 } {
            let ran = Mutex::new(CpuSet::EMPTY);
            let job = |on: CpuId| {
                std::thread::yield_now();
                ran.lock().unwrap().insert(on);
            };
            cpu.machine.work.scope(cpu, |scope| {
                for index in 1..4 {
                    // Until its idle loop has opened the slot.
                    while scope.start(id(index), &job) == Err(StartError::Closed { cpu: id(index) }) {
                        cpu.yield_now();
                    }
                }
            });
            assert_eq!(ran.into_inner().unwrap(), set(&[1, 2, 3]), "no slot was busy, none forgotten");
        }
    });
}

#[test]
fn a_job_is_refused_where_it_would_not_run() {
    let machine = Machine::<3>::new();
    let [zero, one, _two] = machine.online_cpus();
    machine.work.open(&one);
    let ran = AtomicUsize::new(0);
    let job = |_: CpuId| {
        ran.fetch_add(1, Relaxed);
    };
    machine.work.scope(&zero, |scope| {
        assert_eq!(scope.start(id(0), &job), Err(StartError::Own { cpu: id(0) }));
        assert_eq!(scope.start(id(2), &job), Err(StartError::Closed { cpu: id(2) }));
        assert_eq!(scope.start(id(500), &job), Err(StartError::Closed { cpu: id(500) }));
        assert_eq!(scope.start(id(1), &job), Ok(()));
        assert_eq!(scope.start(id(1), &job), Err(StartError::Busy { cpu: id(1) }));
        assert_eq!(scope.running(), set(&[1]));
        assert!(machine.work.has_work(&one) && !machine.work.has_work(&zero));
        // The idle loop's part, played by this thread.
        assert!(machine.work.run_one(&one) && !machine.work.run_one(&one));
        assert!(scope.running().is_empty());
        assert_eq!(scope.start(id(1), &job), Ok(()));
        machine.work.run_one(&one);
    });
    assert_eq!(ran.into_inner(), 2);
    // A wake-up for each job, and one back to the starter.
    assert_eq!(machine.nr_ipis.load(Relaxed), 4);
}

#[test]
fn a_job_that_panics_still_ends_its_scope() {
    let machine = Machine::<2>::new();
    let [zero, one] = machine.online_cpus();
    machine.work.open(&one);
    let job = |_: CpuId| panic!("the job's own");
    machine.work.scope(&zero, |scope| {
        scope.start(id(1), &job).unwrap();
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| machine.work.run_one(&one)));
        assert!(unwound.is_err() && scope.running().is_empty());
        assert_eq!(scope.start(id(1), &|_| ()), Ok(()));
        machine.work.run_one(&one);
    });
}

#[test]
fn nobody_leaves_a_barrier_before_all_have_come() {
    const NR_CPUS: usize = 6;
    const NR_MEETINGS: usize = if cfg!(miri) { 4 } else { 300 };
    let machine = Machine::<NR_CPUS>::new();
    let barrier = Barrier::new(NR_CPUS as u32);
    let (arrived, nr_last) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|s| {
        for cpu in machine.online_cpus() {
            let (barrier, arrived, nr_last) = (&barrier, &arrived, &nr_last);
            s.spawn(move || {
                for meeting in 1..=NR_MEETINGS {
                    arrived.fetch_add(1, Relaxed);
                    nr_last.fetch_add(usize::from(barrier.wait(&cpu)), Relaxed);
                    let now = arrived.load(Relaxed);
                    assert!((meeting * NR_CPUS..(meeting + 1) * NR_CPUS).contains(&now), "{now} in meeting {meeting}");
                }
            });
        }
    });
    assert_eq!(nr_last.into_inner(), NR_MEETINGS);
}

#[test]
fn a_barrier_for_one_is_open() {
    let machine = Machine::<1>::new();
    let barrier = Barrier::new(1);
    assert!(barrier.wait(&machine.cpu(0)) && barrier.wait(&machine.cpu(0)));
}
