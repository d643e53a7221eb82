//! Random schedules of 4 to 8 CPUs that do everything at once: `--cfg shuttle`.
//!
//! Shuttle executes every atomic operation in one global order, so that it knows nothing of stale values; those are
//! loom's part. It schedules more CPUs for longer than loom can.

#![cfg(shuttle)]

#[path = "../machine/mod.rs"]
mod machine;
mod mutants;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use machine::{Machine, storm};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use smp::Shootdown;
use smp::shootdown::Mode;

/// Schedules of each model and scheduler. Each is also a storm of its own, with other steps.
const NR_SCHEDULES: usize = 3000;

/// Where the schedules begin: the same on each run, unless `SMP_SEED` says otherwise.
fn seed() -> u64 {
    std::env::var("SMP_SEED").map_or(1, |seed| seed.parse().expect("SMP_SEED is a number"))
}

fn explore(model: impl Fn(u64) + Send + Sync + 'static) {
    let config = || {
        let mut config = shuttle::Config::default();
        config.silence_warnings = true;
        config.stack_size = 0x2_0000;
        config.max_steps = shuttle::MaxSteps::FailAfter(200_000);
        config
    };
    let next = AtomicU64::new(seed());
    let model = std::sync::Arc::new(move || model(next.fetch_add(1, Relaxed)));
    // Uniformly random, and then with few preemptions at places chosen at random, which finds what takes a long turn.
    let random = model.clone();
    shuttle::Runner::new(RandomScheduler::new_from_seed(seed(), NR_SCHEDULES), config()).run(move || random());
    shuttle::Runner::new(PctScheduler::new_from_seed(seed(), 3, NR_SCHEDULES), config()).run(move || model());
}

#[test]
fn a_storm_on_two_cpus() {
    explore(|seed| {
        storm::run(&Machine::<2>::new(), seed, 12);
    });
}

#[test]
fn a_storm_on_four_cpus() {
    explore(|seed| {
        storm::run(&Machine::<4>::new(), seed, 8);
    });
}

#[test]
fn a_storm_on_eight_cpus() {
    explore(|seed| {
        storm::run(&Machine::<8>::new(), seed, 4);
    });
}

#[test]
fn a_storm_across_the_wrap_of_generations() {
    explore(|seed| {
        storm::run(&Machine::<4>::with(Shootdown::starting_at(u64::MAX - 5)), seed, 6);
    });
}

#[test]
fn a_storm_in_naive_mode() {
    explore(|seed| {
        let machine = Machine::<4>::new();
        machine.shootdown.settings().set_mode(Mode::Naive);
        storm::run(&machine, seed, 6);
    });
}

#[test]
fn a_storm_that_the_hardware_flushes() {
    explore(|seed| {
        let machine = Machine::<4>::new();
        machine.wires.install();
        machine.shootdown.settings().set_mode(Mode::Broadcast);
        storm::run(&machine, seed, 6);
    });
}

#[test]
fn a_storm_of_both_kinds_of_round() {
    explore(|seed| {
        let machine = Machine::<4>::new();
        machine.wires.install();
        let settings = machine.shootdown.settings();
        settings.set_mode(if seed % 2 == 0 { Mode::Broadcast } else { Mode::Coalescing });
        storm::run_and_switch(&machine, seed, 6);
    });
}
