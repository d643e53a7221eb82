//! Rounds that the hardware runs: INVLPGB and TLBSYNC on a machine of two CPUs.

use super::Preemptions::{Any, AtMost};
use super::explore_cpus;
use super::machine::{Cpu, NO_NOTE};
use smp::shootdown::Mode;
use smp::sync::{Ordering, fence};

fn install(cpus: &[Cpu<2>; 2]) {
    cpus[0].machine.wires.install();
    cpus[0].machine.shootdown.settings().set_mode(Mode::Broadcast);
}

/// One CPU unmaps a page that the other reads. The other takes no interrupt, is idle for a while without having to catch
/// up, and reads again.
#[test]
fn a_frame_is_reused_only_after_its_last_reader() {
    explore_cpus::<2>(
        Any,
        install,
        [
            |cpu| {
                cpu.unmap_and_reuse(0);
                cpu.done();
            },
            |cpu| {
                cpu.interrupts_on.set(false);
                cpu.read(0);
                cpu.machine.shootdown.enter_idle(&cpu);
                cpu.answer_broadcasts();
                cpu.machine.shootdown.leave_idle(&cpu);
                cpu.read(0);
                cpu.halt();
            },
        ],
    );
}

/// A CPU that has unmapped a page lazily takes the other's round for proof only if that began afterwards.
#[test]
fn a_round_proves_nothing_about_what_is_unmapped_after_it() {
    explore_cpus::<2>(
        Any,
        install,
        [
            |cpu| {
                let begun = cpu.machine.shootdown.epoch();
                cpu.machine.shootdown.initiate_all(&cpu);
                let since = cpu.machine.note.load(Ordering::Acquire);
                if since != NO_NOTE && begun.wrapping_sub(since) <= u64::MAX / 2 {
                    cpu.reuse_frame_of(1);
                }
            },
            |cpu| {
                cpu.read(1);
                cpu.unmap(1);
                // The kernel clears entries by read-modify-writes, which are full fences.
                fence(Ordering::SeqCst);
                let since = cpu.machine.shootdown.epoch();
                cpu.machine.note.store(since, Ordering::Release);
                cpu.read(1);
                cpu.halt();
            },
        ],
    );
}

/// A round by the hardware, then one by interrupts, while the other CPU is idle and wakes up.
#[test]
fn rounds_of_both_kinds_follow_one_another() {
    explore_cpus::<2>(
        AtMost(2),
        |cpus| {
            install(cpus);
            assert!(cpus[1].read(0) && cpus[1].read(1));
            cpus[1].interrupts_on.set(false);
            cpus[1].machine.shootdown.enter_idle(&cpus[1]);
        },
        [
            |cpu| {
                cpu.unmap_and_reuse(0);
                cpu.machine.shootdown.settings().set_mode(Mode::Coalescing);
                cpu.unmap_and_reuse(1);
            },
            |cpu| {
                cpu.answer_broadcasts();
                cpu.machine.shootdown.leave_idle(&cpu);
                cpu.interrupts_on.set(true);
                cpu.read(0);
                cpu.read_then_window(1);
                cpu.halt();
            },
        ],
    );
}
