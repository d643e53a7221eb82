//! Interrupts to CPUs that do not exist: refused where CPUs have numbers, dropped where they have APIC ids; and the next
//! interrupt to one that does exist arrives.
//!
//! For each CPU there is an id that nobody has and whose low byte is that CPU's: an id that is cut off on its way would
//! lead there. No other shootdown is under way, so that none may be taken by anybody.

use arch::apic::{Mode, SendError};
use smp::{CpuId, CpuSet, MAX_CPUS, StartError};

use super::company::{call, everybody};
use super::verdict::{Failure, Figures, Run, expect};
use super::window::Window;
use crate::machine::{self, CALLS, Cpu, SHOOTDOWNS, WORK};
use crate::per_cpu::PerCpu;
use crate::{per_cpu, traps, workers};

/// What is put above the low byte of a CPU's APIC id: more than an xAPIC can name, and than machines have that this kernel
/// runs on.
const ABOVE: u32 = 0x7700;
/// An id that an xAPIC can name, below the broadcast's 255.
const ABSENT_XAPIC: u32 = 0xfe;

/// See the file.
pub(super) fn nobody(run: &Run) -> Result<Figures, Failure> {
    let absent = CpuId::first(MAX_CPUS).find(|&cpu| per_cpu::of(cpu).is_none());
    absent.map_or(Ok(()), refuses)?;

    let nr_taken = || per_cpu::all().map(|area| SHOOTDOWNS.counters(area.cpu).ipis_taken.get()).sum::<u64>();
    let before = nr_taken();
    let nr_sent = send_to_nobody()?;
    // Whoever runs a job with interrupts on has taken all that was sent before.
    workers::run(workers::nr_available(), &|_| {}, || {});
    expect("shootdown interrupts taken", nr_taken() - before, (0, 0))?;

    // Nothing is stuck: who does exist can be told and called.
    let window = Window::new()?;
    window.step(&Cpu);
    call(&everybody(), &|_| run.note(window.read().map(drop)))?;
    let nr_errors = machine::apic().map_or(0, |apic| apic.take_errors().bits());
    run.result(Figures::of([("interrupts to nobody", nr_sent), ("errors of the local APIC", nr_errors.into())]))
}

/// A CPU number that is nobody's is refused.
fn refuses(absent: CpuId) -> Result<(), Failure> {
    if CALLS.call(&Cpu, &CpuSet::of(absent), &|_| {}).is_ok() {
        return Err(Failure::Request { what: "a cross-call to a CPU that does not exist was accepted" });
    }
    if WORK.scope(&Cpu, |scope| scope.start(absent, &|_| {})) != Err(StartError::Closed { cpu: absent }) {
        return Err(Failure::Request { what: "a job for a CPU that does not exist was accepted" });
    }
    Ok(())
}

/// Sends shootdown interrupts to APIC ids that nobody has; returns how many.
fn send_to_nobody() -> Result<u64, Failure> {
    let Some(apic) = machine::apic() else { return Err(Failure::Missing { what: "a local APIC" }) };
    let is_absent = |id: u32| per_cpu::all().map(PerCpu::apic_id).all(|used| used != id);
    let mut nr_sent = 0;
    for id in per_cpu::all().map(|area| ABOVE | area.apic_id() & 0xff).filter(|&id| is_absent(id)) {
        match (apic.mode(), apic.send(id, traps::SHOOTDOWN)) {
            (Mode::X2Apic, Ok(_)) => nr_sent += 1,
            (Mode::X2Apic, Err(_)) => {
                return Err(Failure::Request {
                    what: "an interrupt to an id that no CPU has was not taken by the local APIC",
                });
            }
            (_, Err(SendError::DestinationTooWide { apic_id })) if apic_id == id => {}
            _ => return Err(Failure::Request { what: "an id that an xAPIC cannot name was not refused" }),
        }
    }
    if apic.mode() != Mode::X2Apic && is_absent(ABSENT_XAPIC) {
        apic.send(ABSENT_XAPIC, traps::SHOOTDOWN).map_err(|_| Failure::Request {
            what: "an interrupt to an id that no CPU has was not taken by the local APIC",
        })?;
        nr_sent += 1;
    }
    Ok(nr_sent)
}
