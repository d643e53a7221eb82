//! Ending QEMU with a status, by its `isa-debug-exit` device at port 0xf4.
//!
//! QEMU exits with `(code << 1) | 1`, so no code gives success; by convention here 0x10 (status 33) is the good end.

use crate::{irq, port};

const PORT: u16 = 0xf4;

/// The code of a good end: QEMU's status is then 33.
pub const SUCCESS: u8 = 0x10;
/// The code of a bad end: QEMU's status is then 35.
pub const FAILURE: u8 = 0x11;

/// Ends QEMU with `code`. Where the device is missing the write is ignored, and this CPU halts for good.
pub fn exit(code: u8) -> ! {
    // SAFETY: the port is the exit device's under QEMU (as this project starts it), and nobody's on a PC.
    unsafe { port::write_u32(PORT, u32::from(code)) }
    irq::halt_forever()
}

/// Ends QEMU with `code`; returns where the device is missing, as on a real machine.
pub fn try_exit(code: u8) {
    // QEMU ends some time after the write, so what comes next must not happen where it is going to end.
    if has_exit_device() {
        exit(code);
    }
}

/// Whether the device is there: it reads as 0, and a port without one as all ones (QEMU, hw/misc/debugexit.c).
fn has_exit_device() -> bool {
    // SAFETY: the port is the exit device's under QEMU, whose reads do nothing, and nobody's on a PC.
    unsafe { port::read_u8(PORT) == 0 }
}
