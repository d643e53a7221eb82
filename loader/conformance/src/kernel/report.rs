//! Lines on COM1, a verdict, and the way out.

use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

const COM1: u16 = 0x3f8;
const DEBUG_EXIT: u16 = 0xf4;
const PASS: u8 = 0x10;
const FAIL: u8 = 0x11;

/// The first serial port, as the firmware or QEMU set it up.
struct Com1;

impl Write for Com1 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: COM1's ports, used by this kernel alone.
            unsafe {
                while input(COM1 + 5) & 0x20 == 0 {}
                output(COM1, byte);
            }
        }
        Ok(())
    }
}

/// Counts what failed.
pub(super) struct Report {
    nr_checks: u32,
    nr_failed: u32,
}

impl Report {
    pub(super) fn new() -> Self {
        let _ = writeln!(Com1, "conformance: entered");
        Self { nr_checks: 0, nr_failed: 0 }
    }

    /// One promise: kept or not, with what was seen.
    pub(super) fn check(&mut self, kept: bool, what: fmt::Arguments<'_>) {
        self.nr_checks += 1;
        self.nr_failed += u32::from(!kept);
        let _ = writeln!(Com1, "{} {what}", if kept { "ok  " } else { "FAIL" });
    }

    /// Something that is no promise, for the reader.
    pub(super) fn note(&self, what: fmt::Arguments<'_>) {
        let _ = writeln!(Com1, "     {what}");
    }

    /// Says the verdict and leaves QEMU.
    pub(super) fn finish(self) -> ! {
        let verdict = if self.nr_failed == 0 { "PASS" } else { "FAIL" };
        let _ = writeln!(Com1, "conformance: {verdict} ({} of {} checks failed)", self.nr_failed, self.nr_checks);
        exit(if self.nr_failed == 0 { PASS } else { FAIL })
    }
}

fn exit(code: u8) -> ! {
    // SAFETY: the debug exit device's port; without the device nothing happens, and the processor stops.
    unsafe {
        output(DEBUG_EXIT, code);
        loop {
            asm!("cli", "hlt", options(nomem, nostack));
        }
    }
}

/// Reads from an I/O port.
///
/// # Safety
/// The device behind the port must not break memory safety by it.
pub(super) unsafe fn input(port: u16) -> u8 {
    let value: u8;
    // SAFETY: the caller's.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}

/// Writes to an I/O port.
///
/// # Safety
/// As for [`input`].
unsafe fn output(port: u16, value: u8) {
    // SAFETY: the caller's.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Com1, "conformance: FAIL {info}");
    exit(FAIL)
}
