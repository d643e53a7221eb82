//! Storms on real threads, and the comparison with the naive way. Miri runs them too, with fewer steps.

#![cfg(not(any(loom, shuttle)))]

mod machine;

use machine::{Machine, storm};
use smp::Shootdown;
use smp::shootdown::Mode;

const NR_STEPS: usize = if cfg!(miri) { 8 } else { 2000 };

#[test]
fn a_storm_on_two_cpus_finds_nothing_stale() {
    storm::run(&Machine::<2>::new(), 1, NR_STEPS);
}

#[test]
fn a_storm_on_eight_cpus_finds_nothing_stale() {
    let sum = storm::run(&Machine::<8>::new(), 2, NR_STEPS);
    assert!(cfg!(miri) || sum.coalesced > 0, "{sum:?}");
    assert!(sum.shootdowns > 0 && sum.full_flushes > 0 && sum.pages_flushed > 0, "{sum:?}");
}

#[test]
fn a_storm_across_the_wrap_of_generations_finds_nothing_stale() {
    let start = u64::MAX - NR_STEPS as u64;
    let machine = Machine::<4>::with(Shootdown::starting_at(start));
    storm::run(&machine, 3, NR_STEPS);
    assert!(cfg!(miri) || machine.shootdown.generation() < start, "the generation has not wrapped");
}

#[test]
fn a_storm_in_naive_mode_finds_nothing_stale() {
    let machine = Machine::<4>::new();
    machine.shootdown.settings().set_mode(Mode::Naive);
    let sum = storm::run(&machine, 4, NR_STEPS);
    assert_eq!((sum.coalesced, sum.idle_skips), (0, 0));
}

#[test]
fn a_storm_that_the_hardware_flushes_finds_nothing_stale_and_sends_nothing() {
    let machine = Machine::<4>::new();
    machine.wires.install();
    machine.shootdown.settings().set_mode(Mode::Broadcast);
    let sum = storm::run(&machine, 6, NR_STEPS);
    assert_eq!((sum.ipis_sent, sum.broadcasts), (0, sum.shootdowns));
}

#[test]
fn a_storm_whose_mode_changes_finds_nothing_stale() {
    let machine = Machine::<4>::new();
    machine.wires.install();
    std::thread::scope(|s| {
        s.spawn(|| storm::run(&machine, 5, NR_STEPS));
        for mode in [Mode::Naive, Mode::Broadcast, Mode::Coalescing].into_iter().cycle().take(100) {
            machine.shootdown.settings().set_mode(mode);
            std::thread::yield_now();
        }
    });
}
