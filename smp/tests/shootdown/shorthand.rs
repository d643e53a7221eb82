//! When one interrupt reaches all CPUs but the sender: not while a CPU of the machine is missing, nor once one has left.

use std::sync::atomic::Ordering::Relaxed;

use super::initiate;
use super::machine::{Cpu, Machine, pages};

/// Interrupts to all but self since the last call.
fn take_shorthands<const N: usize>(machine: &Machine<N>) -> usize {
    machine.nr_shorthands.swap(0, Relaxed)
}

/// The shorthand would interrupt a CPU that is still the bootloader's, as a machine of this test makes sure.
#[test]
fn no_shorthand_unless_every_cpu_of_the_machine_is_online() {
    let machine = Machine::<4>::new();
    let cpus: [Cpu<4>; 4] = std::array::from_fn(|index| machine.cpu(index));
    cpus[..3].iter().for_each(|cpu| machine.shootdown.join(cpu));
    let round = || {
        let before = machine.shootdown.counters(cpus[0].id).values();
        initiate(&cpus, &[pages(5, 1)]);
        let after = machine.shootdown.counters(cpus[0].id).values();
        (after.interrupted - before.interrupted, after.ipis_sent - before.ipis_sent, take_shorthands(&machine))
    };
    assert_eq!(round(), (2, 2, 0), "one is missing, and nobody has said that all are there");
    machine.shorthand.allow(4);
    assert_eq!(round(), (2, 2, 0), "one is missing all the same");
    machine.shootdown.join(&cpus[3]);
    assert_eq!(round(), (3, 1, 1));
}

/// One that has left may be anywhere.
#[test]
fn no_shorthand_once_a_cpu_has_left_and_none_for_fewer_than_all() {
    let machine = Machine::<4>::new();
    let cpus = machine.online_cpus();
    machine.shorthand.allow(4);
    initiate(&cpus, &[pages(5, 1)]);
    assert_eq!(take_shorthands(&machine), 1);
    machine.shootdown.enter_idle(&cpus[2]);
    initiate(&cpus, &[pages(5, 1)]);
    assert_eq!(take_shorthands(&machine), 0, "it would wake the one that is idle");
    machine.shootdown.leave_idle(&cpus[2]);
    machine.shootdown.leave(&cpus[3]);
    for sender in [&cpus[0], &cpus[1]] {
        let round = machine.shootdown.begin(sender, [pages(5, 1)].into_iter());
        cpus.iter().for_each(Cpu::window);
        machine.shootdown.wait(sender, round);
    }
    assert_eq!(take_shorthands(&machine), 0);
    machine.shootdown.join(&cpus[3]);
    initiate(&cpus, &[pages(5, 1)]);
    assert_eq!(take_shorthands(&machine), 1, "it is back");
}
