//! Masks every interrupt line: both PICs, and the fixed and lowest-priority entries of every I/O APIC.
//!
//! Called by: `boot`, before interrupts are let in for the first time.

use loader::acpi::{self, Rsdp};

use super::physical::{Identity, LIMIT};
use super::serial::out;

const PIC_MASKS: [u16; 2] = [0x21, 0xa1];
const VERSION: u32 = 1;
const FIRST_ENTRY: u32 = 0x10;
const MASKED: u32 = 1 << 16;

/// Masks all lines.
pub(super) fn mask_all(rsdp: &Rsdp) {
    for port in PIC_MASKS {
        // SAFETY: the mask registers of the PICs, or nobody's ports on machines without them.
        unsafe { out(port, 0xff) };
    }
    let Some(madt) = rsdp.table(&Identity, b"APIC") else { return };
    for base in acpi::io_apics(madt).filter(|&base| base != 0 && base + 0x20 <= LIMIT && base % 16 == 0) {
        // Version register, bits 16 to 23: index of the last entry.
        for entry in 0..=(access(base, VERSION, None) >> 16 & 0xff) {
            let low = access(base, FIRST_ENTRY + 2 * entry, None);
            let delivery_mode = low >> 8 & 7;
            if delivery_mode <= 1 && low & MASKED == 0 {
                access(base, FIRST_ENTRY + 2 * entry, Some(low | MASKED));
            }
        }
    }
}

/// Writes a register of an I/O APIC if there is a `value`; returns what it then holds.
fn access(base: u64, register: u32, value: Option<u32>) -> u32 {
    let (index, window) = (base as *mut u32, (base + 0x10) as *mut u32);
    // SAFETY: the MADT says that an I/O APIC is here; its two registers are mapped, uncached, and masking a line
    // touches no memory.
    unsafe {
        index.write_volatile(register);
        if let Some(value) = value {
            window.write_volatile(value);
        }
        window.read_volatile()
    }
}
