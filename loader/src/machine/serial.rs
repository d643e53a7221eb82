//! COM1, for the one line that a refusal or a warning is.
//!
//! The port is left alone until there is something to say: the console belongs to the kernel.
//! Called by: `fail`. Context: any, interrupts off.

use core::arch::asm;
use core::fmt;

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const READY_TO_SEND: u8 = 1 << 5;

/// The first serial port, ready to send.
pub(super) struct Com1(());

impl Com1 {
    /// 115200 baud, 8 bits, no parity.
    pub(super) fn init() -> Self {
        for (register, value) in [(1, 0), (3, 0x80), (0, 1), (1, 0), (3, 3), (2, 7), (4, 3)] {
            // SAFETY: the port is COM1's; nobody else uses it while the loader runs.
            unsafe { out(COM1 + register, value) };
        }
        Self(())
    }
}

impl fmt::Write for Com1 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // Bounded, so that a machine whose port is stuck still gets to its exit.
            for _ in 0..1_000_000 {
                // SAFETY: reading the line status of COM1 changes nothing that matters here.
                if unsafe { input(LINE_STATUS) } & READY_TO_SEND != 0 {
                    break;
                }
            }
            // SAFETY: as in `init`.
            unsafe { out(COM1, byte) };
        }
        Ok(())
    }
}

/// Writes to an I/O port.
///
/// # Safety
/// The device behind the port must not be made to break memory safety by it.
pub(super) unsafe fn out(port: u16, value: u8) {
    // SAFETY: the caller answers for the device.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads from an I/O port.
///
/// # Safety
/// As for [`out`].
pub(super) unsafe fn input(port: u16) -> u8 {
    let value: u8;
    // SAFETY: the caller answers for the device.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}
