//! What the other CPUs do while the first is measured: they are halted, or some of them work.
//!
//! A halted CPU costs an emulator nothing, and a shootdown neither: it has acknowledged in advance. A CPU that works
//! takes every interrupt. Where more of them work than the host has cores, what is measured is the host's scheduler.
//!
//! Context: the shell, on the first CPU, interrupts on.

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use smp::CpuSet;
use smp::shootdown::Presence;

use crate::machine::{self, SHOOTDOWNS};
use crate::{input, per_cpu, workers};

/// The first `nr_cpus` CPUs that can work, without this one.
pub(super) fn others(nr_cpus: usize) -> CpuSet {
    let me = per_cpu::this().cpu;
    workers::online().take(nr_cpus).filter(|&cpu| cpu != me).collect()
}

/// Waits until all of `cpus` have halted; false if Ctrl-C came first.
pub(super) fn wait_until_halted(cpus: &CpuSet) -> bool {
    /// Turns of a loop, some microseconds: from where a CPU says that it is idle to where it is, under emulation too.
    const REST_OF_THE_WAY: u32 = 10_000;
    let is_idle = |cpu| SHOOTDOWNS.presence(cpu) == Presence::Idle;
    if !machine::wait_until(|| cpus.iter().all(is_idle), input::is_cancelled) {
        return false;
    }
    if !cpus.is_empty() {
        (0..REST_OF_THE_WAY).for_each(|turn| _ = black_box(turn));
    }
    true
}

/// How many of `cpus`, which work, have not flushed for the newest round. After a round of this CPU's, nobody else
/// beginning any, that is how many did not acknowledge it.
pub(super) fn nr_behind(cpus: &CpuSet) -> u64 {
    let newest = SHOOTDOWNS.generation();
    let has_flushed = |cpu| SHOOTDOWNS.presence(cpu) == Presence::Running && SHOOTDOWNS.seen(cpu) == newest;
    cpus.iter().filter(|&cpu| !has_flushed(cpu)).count() as u64
}

/// Runs `body` while all of `cpus` work at something of their own, with interrupts on, and wait for nobody.
pub(super) fn while_busy<R>(cpus: &CpuSet, body: impl FnOnce() -> R) -> R {
    let is_over = AtomicBool::new(false);
    let job = || {
        let mut state = [1_u64; 64];
        while !is_over.load(Ordering::Relaxed) {
            toil(black_box(&mut state));
        }
    };
    workers::beside(cpus, &job, || {
        let result = body();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

/// Some microseconds of arithmetic in memory of its own. No pause: under emulation that holds up everybody else.
fn toil(state: &mut [u64; 64]) {
    let mut word = state[0];
    for place in state.iter_mut() {
        word = (word ^ *place).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        *place = word;
    }
}
