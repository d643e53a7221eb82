//! The legacy 8259 interrupt controllers: moved out of the way and silenced.
//!
//! Even fully masked they can deliver a spurious interrupt (their inputs 7 and 15), and at reset those would arrive as
//! exceptions 15 and, on the second, as IRQ vectors of the BIOS. So they get vectors of their own first:
//! `FIRST_LEGACY..FIRST_LEGACY + 16`, on which the kernel needs to do nothing, not even an end of interrupt.
//! Called by: boot, once, before interrupts are enabled.

use crate::port;
use crate::traps::vectors;

const FIRST_COMMAND: u16 = 0x20;
const FIRST_DATA: u16 = 0x21;
const SECOND_COMMAND: u16 = 0xa0;
const SECOND_DATA: u16 = 0xa1;
/// ICW1: initialise, an ICW4 follows.
const INITIALISE: u8 = 0x11;
/// ICW3: the second controller hangs at input 2 of the first.
const SECOND_AT_INPUT_2: u8 = 1 << 2;
const CASCADE_IDENTITY: u8 = 2;
/// ICW4: 8086 mode.
const MODE_8086: u8 = 1;

/// Moves the controllers to `vectors::FIRST_LEGACY` and masks every input.
///
/// # Safety
/// Interrupts are off, and nobody relies on the controllers.
pub unsafe fn remap_and_mask() {
    for (command, data, first_vector, wiring) in [
        (FIRST_COMMAND, FIRST_DATA, vectors::FIRST_LEGACY, SECOND_AT_INPUT_2),
        (SECOND_COMMAND, SECOND_DATA, vectors::FIRST_LEGACY + 8, CASCADE_IDENTITY),
    ] {
        // SAFETY: this is the initialisation sequence of the 8259A (ICW1 to ICW4, then the mask), on ports that are its
        // own on every PC and ignored where there is none; the caller gives the controllers up.
        unsafe {
            port::write_u8(command, INITIALISE);
            for word in [first_vector, wiring, MODE_8086, 0xff] {
                port::settle();
                port::write_u8(data, word);
            }
        }
    }
}
