//! Resetting the machine, by one way after the other until one works.

use crate::{irq, port};
use core::arch::asm;

/// A register whose writing resets the machine, from ACPI's FADT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetRegister {
    /// The I/O port. (A register in memory is the kernel's to map; few machines have one.)
    pub port: u16,
    /// What to write.
    pub value: u8,
}

const KEYBOARD_STATUS: u16 = 0x64;
const KEYBOARD_BUSY: u8 = 2;
/// "Pulse output line 0", which is the reset line.
const KEYBOARD_RESET: u8 = 0xfe;
const RESET_CONTROL: u16 = 0xcf9;
const HARD_RESET: u8 = 0x02;
const RESET_CPU: u8 = 0x04;
const MAX_POLLS: u32 = 100_000;

/// Resets: ACPI's register if there is one, the chipset's 0xCF9, the keyboard controller, and last a triple fault,
/// which nothing survives.
///
/// Other CPUs run on until the reset comes: stop them first if that matters.
pub fn reboot(acpi: Option<ResetRegister>) -> ! {
    irq::disable();
    // SAFETY: all of these are meant to reset the machine, and that is what the caller wants.
    unsafe {
        if let Some(ResetRegister { port, value }) = acpi {
            port::write_u8(port, value);
            wait();
        }
        port::write_u8(RESET_CONTROL, HARD_RESET);
        port::write_u8(RESET_CONTROL, HARD_RESET | RESET_CPU);
        wait();
        for _ in 0..MAX_POLLS {
            if port::read_u8(KEYBOARD_STATUS) & KEYBOARD_BUSY == 0 {
                break;
            }
        }
        port::write_u8(KEYBOARD_STATUS, KEYBOARD_RESET);
        wait();
    }
    triple_fault()
}

/// A reset takes a moment to come: about 10 ms of old-device time.
fn wait() {
    for _ in 0..10_000 {
        port::settle();
    }
}

/// An exception with no table to deliver it: the CPU shuts down, and the board resets.
fn triple_fault() -> ! {
    #[repr(C, packed)]
    struct Empty(u16, u64);
    let no_table = Empty(0, 0);
    // SAFETY: the machine ends here, as wanted.
    unsafe { asm!("lidt [{}]", "int3", in(reg) &no_table) }
    irq::halt_forever()
}
