//! Every exception and interrupt comes through [`handle`], shootdowns aside, which have [`on_shootdown`].
//!
//! Context: interrupts off. An NMI may come at any instruction, so its path takes no lock and allocates nothing.

use arch::probe;
use arch::traps::{Short, TrapFrame, vectors};

use crate::machine::{self, CALLS, Cpu, SHOOTDOWNS};
use crate::{crash, input, per_cpu};

/// The serial port has input.
pub const SERIAL: u8 = 0x40;
/// The keyboard has input.
pub const KEYBOARD: u8 = 0x42;
/// One past the legacy controllers' vectors.
const LEGACY_END: u8 = vectors::FIRST_LEGACY + 16;
/// The local APIC's timer.
pub const TIMER: u8 = 0x41;
/// Another CPU has announced a shootdown.
pub const SHOOTDOWN: u8 = 0xf0;
/// Another CPU calls.
pub const CALL: u8 = 0xf1;
/// Look whether there is work.
pub const WAKE: u8 = 0xf2;

/// The entry of shootdowns, which does not come through [`handle`].
pub const SHOOTDOWN_ENTRY: Short = Short { vector: SHOOTDOWN, handler: on_shootdown };

/// Flushes and acknowledges. An initiator waits for every target to come through here, so it is short, and locks
/// nothing; both are tested on the machine code.
#[unsafe(no_mangle)]
extern "C" fn on_shootdown() {
    // First: this ends idleness, and until then nothing may be touched that was unmapped while the CPU slept.
    SHOOTDOWNS.service(&Cpu);
    machine::end_of_interrupt();
}

/// The handler of all vectors but [`SHOOTDOWN`].
pub fn handle(frame: &mut TrapFrame) {
    match frame.vector as u8 {
        vectors::NMI => crash::on_nmi(frame),
        vectors::PAGE_FAULT | vectors::GENERAL_PROTECTION | vectors::STACK_SEGMENT if probe::fixup(frame) => {}
        vector if vector < vectors::FIRST_INTERRUPT => crash::exception(frame),
        // What the local APIC or the masked legacy controllers deliver when an interrupt went away too late. No EOI.
        vectors::SPURIOUS | vectors::FIRST_LEGACY..LEGACY_END => {}
        vector => interrupt(vector),
    }
}

fn interrupt(vector: u8) {
    // First: the rest of this function may touch what was unmapped while the CPU slept.
    SHOOTDOWNS.leave_idle(&Cpu);
    let me = per_cpu::this();
    me.count_interrupt();
    match vector {
        CALL => CALLS.serve(&Cpu),
        SERIAL | KEYBOARD => input::on_interrupt(),
        // The interrupt itself was the message.
        WAKE | TIMER => {}
        _ => panic!("interrupt {vector:#x}, which nobody asked for"),
    }
    machine::end_of_interrupt();
}
