//! Every interleaving and every stale value that the memory model allows, of 2 or 3 CPUs: `--cfg loom`.
//!
//! Loom treats SeqCst accesses as acquire and release, so these models also show that nothing here rests on more than
//! that, fences apart. Where a model is bounded, it is by the number of preemptions, and the model says so.

#![cfg(loom)]

mod broadcast;
mod calls;
#[path = "../machine/mod.rs"]
mod machine;
mod meetings;
mod mutants;
mod shootdown;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use loom::thread;
use machine::{Cpu, Machine};

/// How often a model lets the schedule take a CPU away from a thread that could go on.
#[derive(Clone, Copy)]
enum Preemptions {
    /// As often as there are places: the model is exhaustive.
    Any,
    AtMost(usize),
}

fn explore(preemptions: Preemptions, model: impl Fn() + Send + Sync + 'static) {
    let (start, nr_executions) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 3000;
    builder.preemption_bound = match preemptions {
        Preemptions::Any => None,
        Preemptions::AtMost(n) => Some(n),
    };
    let counter = nr_executions.clone();
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{} executions, {:?}", nr_executions.load(Ordering::Relaxed), start.elapsed());
}

/// Explores a machine of `N` CPUs that are all online. CPU 0's part runs on the first thread, the others' on their own.
fn explore_cpus<const N: usize>(preemptions: Preemptions, setup: fn(&[Cpu<N>; N]), parts: [fn(Cpu<N>); N]) {
    explore(preemptions, move || {
        let machine = Machine::<N>::new();
        machine.relax_serves.store(false, Ordering::Relaxed);
        let cpus = machine.online_cpus();
        setup(&cpus);
        let mut played = cpus.into_iter().zip(parts);
        let (first, part) = played.next().unwrap();
        let others: Vec<_> = played.map(|(cpu, part)| thread::spawn(move || part(cpu))).collect();
        part(first);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}
