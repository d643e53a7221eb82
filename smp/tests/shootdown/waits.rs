//! Waits for what another CPU does, other than to acknowledge: watched, and served meanwhile.

use std::sync::atomic::Ordering::Relaxed;

use smp::CpuId;
use smp::watchdog::{WaitingFor, wait_for};

use super::machine::{Machine, pages};

/// Something that one CPU does and others wait for, not in answer to an interrupt.
#[test]
fn a_cpu_that_keeps_others_waiting_is_named_once_and_interrupted_by_nobody() {
    let machine = Machine::<4>::new();
    let [zero, ..] = machine.online_cpus();
    machine.watchdog_ticks.store(10, Relaxed);
    machine.freezes_clock_after_report.store(true, Relaxed);
    let is_reported = || !machine.late_reports.lock().unwrap().is_empty();
    wait_for(&zero, CpuId::new(2).unwrap(), WaitingFor::Purge, is_reported);
    let reports = machine.late_reports.lock().unwrap();
    assert_eq!((reports.len(), machine.nr_ipis.load(Relaxed)), (1, 0));
    let text = reports[0].to_string();
    assert!(text.starts_with("cpu 2 has not ended its purge of what is unmapped for 2"), "{text}");
    assert!(text.ends_with(" ticks, cpu 0 waits"), "{text}");
}

#[test]
#[should_panic(expected = "cpu 1 has not ended its reclaim of memory for 4")]
fn what_never_ends_stops_the_machine() {
    let machine = Machine::<4>::new();
    let [zero, ..] = machine.online_cpus();
    machine.watchdog_ticks.store(10, Relaxed);
    wait_for(&zero, CpuId::new(1).unwrap(), WaitingFor::Reclaim, || false);
}

/// As others that wait do, or two that wait for each other would never end.
#[test]
fn who_waits_for_another_cpu_serves_its_own_requests() {
    let machine = Machine::<2>::new();
    let [zero, one] = machine.online_cpus();
    zero.interrupts_on.set(false);
    assert!(zero.read(3));
    one.unmap(3);
    let round = machine.shootdown.begin(&one, [pages(3, 1)].into_iter());
    let has_flushed = || machine.shootdown.seen(zero.id) == machine.shootdown.generation();
    wait_for(&zero, one.id, WaitingFor::Purge, has_flushed);
    machine.shootdown.wait(&one, round);
    assert!(!machine.tlb_holds(0, 3));
}
