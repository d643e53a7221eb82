//! Console input: bytes from the serial port, put into a ring by its interrupt.
//!
//! Where the interrupt cannot be routed to this CPU the port is looked at whenever somebody asks for a byte; the shell
//! then keeps looking instead of halting.

use core::sync::atomic::{AtomicBool, Ordering};

use arch::serial::Serial;
use kernel::ring::Ring;

/// Ctrl-C.
const INTERRUPT_BYTE: u8 = 3;

/// Room for a paste of some lines while the shell is busy.
static RING: Ring<4096> = Ring::new();
static HAS_INTERRUPT: AtomicBool = AtomicBool::new(false);
static IS_CANCELLED: AtomicBool = AtomicBool::new(false);
/// Whether a command runs, so that Ctrl-C is meant for it.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// Has the port interrupt for each byte from here on.
pub fn enable_interrupt() {
    HAS_INTERRUPT.store(true, Ordering::Relaxed);
    Serial::com1().enable_receive_interrupt();
    // Bytes that came before would hold the line up without a further edge.
    drain();
}

/// The port's interrupt handler.
pub fn on_interrupt() {
    drain();
}

fn drain() {
    while let Some(received) = Serial::com1().receive() {
        if received.byte == INTERRUPT_BYTE && IS_RUNNING.load(Ordering::Relaxed) {
            // For the command, not for the line that is typed next.
            IS_CANCELLED.store(true, Ordering::Relaxed);
            continue;
        }
        // A full ring counts what it drops.
        RING.put(received.byte);
    }
}

/// Whether input comes by interrupt, so that one may halt until it does.
pub fn has_interrupt() -> bool {
    HAS_INTERRUPT.load(Ordering::Relaxed)
}

/// The next byte. On the first CPU only.
pub fn next_byte() -> Option<u8> {
    if !has_interrupt() {
        drain();
    }
    RING.take()
}

/// Whether a byte waits.
pub fn has_byte() -> bool {
    !RING.is_empty()
}

/// Whether Ctrl-C was typed since [`start_command`].
pub fn is_cancelled() -> bool {
    if !has_interrupt() {
        drain();
    }
    IS_CANCELLED.load(Ordering::Relaxed)
}

/// A command starts: an earlier Ctrl-C is not meant for it.
pub fn start_command() {
    IS_CANCELLED.store(false, Ordering::Relaxed);
    IS_RUNNING.store(true, Ordering::Relaxed);
}

/// The command has ended: Ctrl-C is the line editor's again.
pub fn end_command() {
    IS_RUNNING.store(false, Ordering::Relaxed);
}
