//! Interrupts to CPUs that do not exist: refused where CPUs have numbers, dropped where they have APIC ids; and the next
//! interrupt to one that does exist arrives.

use arch::apic::{Mode, SendError};
use smp::{CpuId, CpuSet, MAX_CPUS, StartError};

use super::company::{call, everybody};
use super::verdict::{Failure, Figures, Run, expect};
use super::window::Window;
use crate::machine::{self, CALLS, Cpu, SHOOTDOWNS, WORK};
use crate::{per_cpu, traps};

/// An APIC id that no machine has that this kernel runs on, above what an xAPIC can name.
const ABSENT_X2APIC: u32 = 0x7777;
/// One that an xAPIC can name, below the broadcast's 255.
const ABSENT_XAPIC: u32 = 0xfe;

/// See the file.
pub(super) fn nobody(run: &Run) -> Result<Figures, Failure> {
    let Some(apic) = machine::apic() else { return Err(Failure::Missing { what: "a local APIC" }) };
    let absent = CpuId::first(MAX_CPUS).find(|&cpu| per_cpu::of(cpu).is_none());
    if let Some(absent) = absent {
        let set = CpuSet::of(absent);
        if CALLS.call(&Cpu, &set, &|_| {}).is_ok() {
            return Err(Failure::Request { what: "a cross-call to a CPU that does not exist was accepted" });
        }
        if WORK.scope(&Cpu, |scope| scope.start(absent, &|_| {})) != Err(StartError::Closed { cpu: absent }) {
            return Err(Failure::Request { what: "a job for a CPU that does not exist was accepted" });
        }
    }
    let taken_by = |area: &per_cpu::PerCpu| area.nr_interrupts() + SHOOTDOWNS.counters(area.cpu).ipis_taken.get();
    let nr_taken = || per_cpu::all().map(taken_by).sum::<u64>();
    let before = nr_taken();
    let ids = per_cpu::all().map(per_cpu::PerCpu::apic_id);
    let in_use = |id: u32| ids.into_iter().any(|used| used == id);
    let sent = match apic.mode() {
        Mode::X2Apic => apic.send(ABSENT_X2APIC, traps::SHOOTDOWN).is_ok(),
        _ => {
            let refused = apic.send(ABSENT_X2APIC, traps::SHOOTDOWN);
            if refused != Err(SendError::DestinationTooWide { apic_id: ABSENT_X2APIC }) {
                return Err(Failure::Request { what: "an id that an xAPIC cannot name was not refused" });
            }
            in_use(ABSENT_XAPIC) || apic.send(ABSENT_XAPIC, traps::SHOOTDOWN).is_ok()
        }
    };
    if !sent {
        return Err(Failure::Request { what: "an interrupt to an id that no CPU has was not taken by the local APIC" });
    }
    // Whoever is called now has had time for the stray one: the two come in order.
    let all = everybody();
    let window = Window::new()?;
    window.step(&Cpu);
    call(&all, &|_| run.note(window.read().map(drop)))?;
    // Calls, rounds and wake-ups of CPUs that were halting: three for each, and the serial line's.
    let most = 3 * all.len() as u64 + 2;
    expect("interrupts taken", nr_taken() - before, (all.len() as u64 - 1, most))?;
    run.result(Figures::of([
        ("interrupts to nobody", 1),
        ("errors of the local APIC", u64::from(apic.take_errors().bits())),
    ]))
}
