//! The console: text out on the first serial port, one line of a CPU at a time.
//!
//! Lock order: the console is last; nothing is taken while it is held. A crash report takes it by force.
//! Called by: everything that prints. Not from an NMI handler, but for the one of a CPU that has crashed.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use arch::serial::Serial;
use spin::mutex::SpinMutex;
use spin::relax::RelaxStrategy;

use crate::machine;

/// A wait for the console serves other CPUs' requests, as every wait does.
struct Serve;

impl RelaxStrategy for Serve {
    fn relax() {
        machine::relax_and_serve();
    }
}

static CONSOLE: SpinMutex<Serial, Serve> = SpinMutex::new(Serial::com1());

/// Set for good when the machine has crashed: only the reporting CPU speaks then, and it does not wait.
static IS_FORCED: AtomicBool = AtomicBool::new(false);

/// Sets the port up. Once, before anything is printed.
pub fn init() {
    // A failing loop-back test means at worst that nobody listens: a real machine may have no port.
    let _ = CONSOLE.lock().init();
}

/// Has everything printed from here on go out at once, whoever holds the console.
pub fn force() {
    IS_FORCED.store(true, Ordering::Release);
}

/// Prints; see the macros.
pub fn write(text: fmt::Arguments<'_>) {
    if IS_FORCED.load(Ordering::Acquire) {
        // A port that takes nothing drops text; there is nobody to tell.
        let _ = Serial::com1().write_fmt(text);
        return;
    }
    // Interrupts stay as they are: no handler of this kernel prints, and one that crashes does not wait.
    let _ = CONSOLE.lock().write_fmt(text);
}

/// Prints, even if an interrupt landed on this CPU's own printing: waits for a while, then speaks up in between.
pub fn write_impatiently(text: fmt::Arguments<'_>) {
    const MAX_TURNS: u32 = 2_000_000;
    for _ in 0..MAX_TURNS {
        if IS_FORCED.load(Ordering::Acquire) {
            break;
        }
        if let Some(mut console) = CONSOLE.try_lock() {
            let _ = console.write_fmt(text);
            return;
        }
        machine::relax_and_serve();
    }
    let _ = Serial::com1().write_fmt(text);
}

/// Prints bytes as they are: what the line editor echoes.
pub fn write_bytes(bytes: &[u8]) {
    let _ = CONSOLE.lock().send(bytes);
}

/// Prints without a line end.
macro_rules! print {
    ($($arg:tt)*) => { $crate::console::write(format_args!($($arg)*)) };
}

/// Prints a line.
macro_rules! println {
    () => { $crate::console::write(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::console::write(format_args!("{}\n", format_args!($($arg)*))) };
}

/// Prints a line of the boot log, with the time since the kernel was entered.
macro_rules! log {
    ($($arg:tt)*) => {
        $crate::console::write(format_args!("[{}] {}\n", $crate::time::SinceEntry::now(), format_args!($($arg)*)))
    };
}

pub(crate) use {log, print, println};
