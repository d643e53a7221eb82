//! The shootdown protocol. In all models: after `initiate` no CPU reads through the old translation, and what it read
//! before happened before (loom's race detection on the frame's content). A wait that never ends exceeds the bound on
//! branches.

use super::Preemptions::{Any, AtMost};
use super::machine::{Cpu, Machine, pages};
use super::{explore, explore_cpus, thread};
use smp::shootdown::Presence;
use std::sync::atomic::Ordering::Relaxed;

/// One CPU unmaps a page that the other reads, takes interrupts, reads again, and goes idle. Up to the moment of its
/// flush the other may still read: an NMI does.
#[test]
fn a_frame_is_reused_only_after_its_last_reader() {
    explore_cpus::<2>(
        Any,
        |cpus| cpus[0].machine.nmis_read.store(true, Relaxed),
        [
            |cpu| cpu.unmap_and_reuse(0),
            |cpu| {
                cpu.read_then_window(0);
                cpu.read(0);
                cpu.halt();
            },
        ],
    );
}

/// The target never goes idle: it must be reached by interrupts alone. The second round begins while the first is being
/// handled, and may rest on its interrupt or need one of its own.
#[test]
fn every_round_reaches_a_cpu_that_is_running() {
    explore_cpus::<2>(
        Any,
        |_| {},
        [
            |cpu| {
                let rounds = [0, 1].map(|page| {
                    cpu.unmap(page);
                    cpu.machine.shootdown.begin(&cpu, [pages(page, 1)].into_iter())
                });
                rounds.into_iter().for_each(|round| cpu.machine.shootdown.wait(&cpu, round));
                cpu.reuse_frame_of(0);
                cpu.reuse_frame_of(1);
                cpu.done();
            },
            |cpu| {
                cpu.read(0);
                cpu.read(1);
                cpu.run_until_done();
            },
        ],
    );
}

/// The target wakes up and then runs, without looking by itself: either it sees the round on its way out of idle, or
/// the initiator sees it running and interrupts it.
#[test]
fn a_cpu_that_wakes_up_sees_the_round_or_is_interrupted() {
    explore_cpus::<2>(
        Any,
        |cpus| {
            assert!(cpus[1].read(0));
            cpus[1].halt();
        },
        [
            |cpu| {
                cpu.unmap_and_reuse(0);
                cpu.done();
            },
            |cpu| {
                cpu.machine.shootdown.leave_idle(&cpu);
                cpu.interrupts_on.set(true);
                cpu.read(0);
                cpu.run_until_done();
            },
        ],
    );
}

/// An initiator holds a lock for which the target spins with interrupts off, polling its flag.
#[test]
fn a_cpu_that_spins_for_the_initiators_lock_answers() {
    explore_cpus::<2>(
        Any,
        |cpus| assert!(cpus[1].read(0)),
        [
            |cpu| {
                cpu.unmap_and_reuse(0);
                cpu.done();
            },
            |cpu| {
                cpu.interrupts_on.set(false);
                while !cpu.machine.is_done.load(Relaxed) {
                    cpu.read(0);
                    cpu.machine.shootdown.service_if_pending(&cpu);
                    cpu.yield_now();
                }
            },
        ],
    );
}

/// The target polls its flag with interrupts on, as in a lock's slow path, so that an interrupt may land in there.
#[test]
fn progress_never_moves_back() {
    explore_cpus::<2>(
        AtMost(3),
        |cpus| assert!(cpus[1].read(0)),
        [
            |cpu| {
                for page in 0..2 {
                    cpu.unmap_and_reuse(page);
                }
                cpu.done();
            },
            |cpu| {
                let mut seen = 0;
                while !cpu.machine.is_done.load(Relaxed) {
                    cpu.machine.shootdown.service_if_pending(&cpu);
                    let now = cpu.machine.shootdown.seen(cpu.id);
                    assert!(now >= seen, "seen moved from {seen} to {now}");
                    seen = now;
                    cpu.yield_now();
                }
            },
        ],
    );
}

/// Dekker's handshake: the target leaves idle, reads and goes back while the page is unmapped.
#[test]
fn a_cpu_that_wakes_up_sees_the_round_or_is_waited_for() {
    explore_cpus::<2>(
        Any,
        |cpus| {
            assert!(cpus[1].read(0));
            cpus[1].halt();
        },
        [
            |cpu| cpu.unmap_and_reuse(0),
            |cpu| {
                cpu.machine.shootdown.leave_idle(&cpu);
                cpu.read_then_window(0);
                cpu.halt();
            },
        ],
    );
}

/// A page that is mapped again after it was unmapped: the first idling must not count for the second round.
#[test]
fn idling_once_acknowledges_no_later_round() {
    explore_cpus::<2>(
        AtMost(3),
        |cpus| {
            assert!(cpus[1].read(0) && cpus[1].read(1));
            cpus[1].halt();
        },
        [
            |cpu| {
                cpu.unmap_and_reuse(0);
                cpu.unmap_and_reuse(1);
            },
            |cpu| {
                for page in 0..2 {
                    cpu.machine.shootdown.leave_idle(&cpu);
                    cpu.read_then_window(page);
                    cpu.halt();
                }
            },
        ],
    );
}

/// Two CPUs unmap at once, with interrupts off, each having read the other's page.
#[test]
fn two_initiators_with_interrupts_off_serve_each_other() {
    fn part(cpu: Cpu<2>, mine: usize) {
        cpu.interrupts_on.set(false);
        cpu.read(1 - mine);
        cpu.unmap_and_reuse(mine);
        cpu.read(1 - mine);
        cpu.halt();
    }
    explore_cpus::<2>(AtMost(3), |_| {}, [|cpu| part(cpu, 0), |cpu| part(cpu, 1)]);
}

/// Two initiators share one target, and perhaps one interrupt.
#[test]
fn an_interrupt_shared_by_two_rounds_serves_both() {
    explore_cpus::<3>(
        AtMost(2),
        |cpus| assert!(cpus[2].read(0) && cpus[2].read(1)),
        [
            |cpu| {
                cpu.unmap_and_reuse(0);
                cpu.halt();
            },
            |cpu| {
                cpu.unmap_and_reuse(1);
                cpu.halt();
            },
            |cpu| {
                while (0..2).any(|other| cpu.machine.shootdown.presence(id(other)) != Presence::Idle) {
                    cpu.window();
                    cpu.read(0);
                    cpu.yield_now();
                }
            },
        ],
    );
}

fn id(index: usize) -> smp::CpuId {
    smp::CpuId::new(index).unwrap()
}

/// The ring's words are in use: under loom there are two, and generations 1 and 2 have asked for another page.
#[test]
fn a_word_of_an_older_generation_is_not_taken_for_a_new_one() {
    explore_cpus::<2>(
        Any,
        |cpus| {
            cpus[1].halt();
            cpus[0].machine.shootdown.initiate(&cpus[0], [pages(2, 1)].into_iter());
            cpus[0].machine.shootdown.initiate(&cpus[0], [pages(2, 1)].into_iter());
            cpus[1].machine.shootdown.leave_idle(&cpus[1]);
            cpus[1].interrupts_on.set(true);
            assert!(cpus[1].read(0));
        },
        [
            |cpu| cpu.unmap_and_reuse(0),
            |cpu| {
                // Finds the new generation by itself, perhaps before its word is written.
                cpu.interrupts_on.set(false);
                cpu.machine.shootdown.enter_idle(&cpu);
                cpu.machine.shootdown.leave_idle(&cpu);
                cpu.interrupts_on.set(true);
                cpu.read_then_window(0);
                cpu.halt();
            },
        ],
    );
}

/// A CPU whose TLB holds anything comes online while the page is unmapped.
#[test]
fn a_cpu_that_joins_sees_the_round_or_is_waited_for() {
    explore(Any, || {
        let machine = Machine::<2>::new();
        machine.relax_serves.store(false, Relaxed);
        let [zero, one] = [0, 1].map(|index| machine.cpu(index));
        machine.shootdown.join(&zero);
        assert!(one.read(0));
        let other = thread::spawn(move || {
            one.machine.shootdown.join(&one);
            one.read_then_window(0);
            one.halt();
        });
        zero.unmap_and_reuse(0);
        other.join().unwrap();
    });
}

/// The target goes idle for good while waited for, with the interrupt unanswered.
#[test]
fn a_cpu_that_goes_idle_ends_the_wait() {
    explore_cpus::<2>(
        Any,
        |cpus| assert!(cpus[1].read(0)),
        [
            |cpu| cpu.unmap_and_reuse(0),
            |cpu| {
                cpu.interrupts_on.set(false);
                cpu.read(0);
                cpu.halt();
            },
        ],
    );
}

/// A batch of two ranges, begun and waited for separately, with the target idling in between.
#[test]
fn a_batch_is_one_round() {
    explore_cpus::<2>(
        Any,
        |cpus| assert!(cpus[1].read(0) && cpus[1].read(1)),
        [
            |cpu| {
                cpu.unmap(0);
                cpu.unmap(1);
                let round = cpu.machine.shootdown.begin(&cpu, [pages(0, 1), pages(1, 1)].into_iter());
                cpu.machine.shootdown.wait(&cpu, round);
                cpu.reuse_frame_of(0);
                cpu.reuse_frame_of(1);
            },
            |cpu| {
                cpu.window();
                cpu.read(0);
                cpu.read(1);
                cpu.halt();
            },
        ],
    );
}
