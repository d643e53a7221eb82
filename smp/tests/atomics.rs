//! Bus locks of a round, counted: one to announce it, one for each CPU that is told, none to acknowledge.
//!
//! `cargo test -p smp --features count-atomics --test atomics`

#![cfg(not(any(loom, shuttle)))]

mod machine;

use machine::{Cpu, Machine, pages};
use smp::shootdown::{Mode, Presence};
use smp::sync::rmws_of;

/// What the machine of the tests adds to a send: it sets a bit for each target.
fn sent<const N: usize>(machine: &Machine<N>) -> u64 {
    machine.nr_ipis.load(std::sync::atomic::Ordering::Relaxed) as u64
}

#[test]
fn a_round_locks_once_and_once_for_each_target_that_runs() {
    for nr_running in 0..8 {
        let machine = Machine::<8>::new();
        let cpus = machine.online_cpus();
        cpus.iter().skip(1 + nr_running).for_each(Cpu::halt);
        // As in a handler; the machine of the tests would take the interrupt in between otherwise.
        cpus[1..].iter().for_each(|cpu| cpu.interrupts_on.set(false));
        let (begin_rmws, round) = rmws_of(|| machine.shootdown.begin(&cpus[0], [pages(3, 1)].into_iter()));
        assert_eq!(begin_rmws - sent(&machine), 1 + nr_running as u64, "{nr_running} running");
        for cpu in &cpus[1..=nr_running] {
            let (handler_rmws, ()) = rmws_of(|| machine.shootdown.service(cpu));
            assert_eq!(handler_rmws, 0, "an acknowledgement");
            assert_eq!(machine.shootdown.presence(cpu.id), Presence::Running);
        }
        let (wait_rmws, ()) = rmws_of(|| machine.shootdown.wait(&cpus[0], round));
        assert_eq!(wait_rmws, 0, "a wait");
    }
}

#[test]
fn a_cpu_that_has_an_interrupt_coming_costs_a_lock_and_no_interrupt() {
    let machine = Machine::<3>::new();
    let cpus = machine.online_cpus();
    cpus[1..].iter().for_each(|cpu| cpu.interrupts_on.set(false));
    let (first, _round) = rmws_of(|| machine.shootdown.begin(&cpus[0], [pages(0, 1)].into_iter()));
    let nr_sent = sent(&machine);
    let (second, _round) = rmws_of(|| machine.shootdown.begin(&cpus[0], [pages(1, 1)].into_iter()));
    assert_eq!((first - nr_sent, second, sent(&machine)), (3, 3, nr_sent));
}

#[test]
fn catching_up_far_behind_and_waking_lock_nothing() {
    let machine = Machine::<2>::new();
    let [zero, one] = machine.online_cpus();
    machine.shootdown.enter_idle(&one);
    (0..100).for_each(|page| machine.shootdown.initiate(&zero, [pages(page, 1)].into_iter()));
    let (rmws, was_idle) = rmws_of(|| machine.shootdown.leave_idle(&one));
    assert_eq!((rmws, was_idle), (0, true));
    one.interrupts_on.set(false);
    let _round = machine.shootdown.begin_all(&zero);
    let (rmws, ()) = rmws_of(|| machine.shootdown.service_if_pending(&one));
    assert_eq!(rmws, 0);
}

#[test]
fn a_round_of_the_hardware_locks_once() {
    let machine = Machine::<4>::new();
    let cpus = machine.online_cpus();
    machine.wires.install();
    machine.shootdown.settings().set_mode(Mode::Broadcast);
    let batch = [pages(0, 1), pages(5, 2)];
    let (rmws, _round) = rmws_of(|| machine.shootdown.begin(&cpus[0], batch.into_iter()));
    // The machine of the tests counts what it is asked by one read-modify-write each.
    assert_eq!(rmws, 1 + batch.len() as u64);
}
