//! Console input: bytes from the serial port and from the keyboard, put into one ring by their interrupts.
//!
//! A source whose interrupt cannot be routed to this CPU is looked at whenever somebody asks for a byte; the shell then
//! keeps looking instead of halting. The keyboard's keys are turned into the bytes that a terminal sends.
//!
//! Lock order: the sources are taken with interrupts off and nothing is taken while they are held; a handler that finds
//! them taken waits for another CPU, never for its own. They make all that fill the ring one producer.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arch::i8042::{Absent, Keyboard8042};
use arch::irq::InterruptGuard;
use arch::serial::Serial;
use kernel::keyboard::{CodeSet, Keyboard, LayoutName, Press};
use kernel::ring::Ring;
use smp::CpuId;
use spin::mutex::SpinMutex;

use crate::console::{self, log};
use crate::{bootinfo, idle, machine, per_cpu};

/// Ctrl-C.
const INTERRUPT_BYTE: u8 = 3;

/// Room for a paste of some lines while the shell is busy.
static RING: Ring<4096> = Ring::new();
static SOURCES: SpinMutex<Sources> = SpinMutex::new(Sources { keyboard: None });
/// Whether every source interrupts. Not so before they are set up.
static HAS_INTERRUPT: AtomicBool = AtomicBool::new(false);
static IS_CANCELLED: AtomicBool = AtomicBool::new(false);
/// Whether a command runs, so that Ctrl-C is meant for it.
static IS_RUNNING: AtomicBool = AtomicBool::new(false);

struct Sources {
    keyboard: Option<(Keyboard8042, Keyboard)>,
}

impl Sources {
    fn drain(&mut self) {
        if console::has_serial() {
            while let Some(received) = Serial::com1().receive() {
                take(received.byte);
            }
        }
        let Some((controller, keyboard)) = &mut self.keyboard else { return };
        while let Some(code) = controller.receive() {
            match keyboard.feed(code) {
                Press::Nothing => {}
                Press::Bytes(bytes) => bytes.as_slice().iter().for_each(|&byte| take(byte)),
                Press::LookBack => console::look_back(1),
                Press::LookAhead => console::look_back(-1),
            }
        }
    }
}

fn take(byte: u8) {
    if byte == INTERRUPT_BYTE && IS_RUNNING.load(Ordering::Relaxed) {
        // For the command, not for the line that is typed next.
        IS_CANCELLED.store(true, Ordering::Relaxed);
        return;
    }
    // A full ring counts what it drops.
    RING.put(byte);
}

/// Looks for a keyboard. Once, before [`enable_interrupts`].
pub fn init_keyboard() {
    let keyboard = match Keyboard8042::init() {
        Ok(keyboard) => keyboard,
        // Nobody misses what nobody has.
        Err(Absent::NoController) => return,
        Err(error) => return log!("keyboard: not used: {error}"),
    };
    let wanted = bootinfo::get().cmdline().get("keyboard");
    let layout = wanted.and_then(LayoutName::find).unwrap_or(LayoutName::US);
    let set = if keyboard.is_translated() { CodeSet::One } else { CodeSet::Two };
    if !keyboard.has_acknowledged() {
        log!("keyboard: there is a controller, but no keyboard has answered");
    }
    let _guard = InterruptGuard::new();
    SOURCES.lock().keyboard = Some((keyboard, Keyboard::new(set, layout)));
}

/// What is known of the keyboard.
#[derive(Clone, Copy, Debug)]
pub struct KeyboardFacts {
    /// Its codes come in set 1; in set 2 otherwise.
    pub is_translated: bool,
    /// It has answered; where it has not, perhaps none is plugged in.
    pub has_acknowledged: bool,
}

/// What is known of the keyboard, if there is one. The controller itself stays behind the lock.
pub fn keyboard() -> Option<KeyboardFacts> {
    let _guard = InterruptGuard::new();
    SOURCES.lock().keyboard.as_ref().map(|(controller, _)| KeyboardFacts {
        is_translated: controller.is_translated(),
        has_acknowledged: controller.has_acknowledged(),
    })
}

/// Has the sources whose interrupts are routed interrupt for each byte from here on.
pub fn enable_interrupts(is_serial_routed: bool, is_keyboard_routed: bool) {
    let _guard = InterruptGuard::new();
    let mut sources = SOURCES.lock();
    if is_serial_routed {
        Serial::com1().enable_receive_interrupt();
    }
    let is_keyboard_ready = match &mut sources.keyboard {
        None => true,
        Some((keyboard, _)) => is_keyboard_routed && keyboard.enable_interrupt().is_ok(),
    };
    HAS_INTERRUPT.store((is_serial_routed || !console::has_serial()) && is_keyboard_ready, Ordering::Relaxed);
    // Bytes that came before would hold the lines up without a further edge.
    sources.drain();
}

/// The sources' interrupt handler.
pub fn on_interrupt() {
    SOURCES.lock().drain();
}

fn drain() {
    let _guard = InterruptGuard::new();
    SOURCES.lock().drain();
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

/// Waits for the next byte; meanwhile the screen shows all that was printed. On the first CPU only, interrupts on.
pub fn wait_for_byte() -> u8 {
    loop {
        // A command may be over: it is not the one to be cancelled.
        if let Some(byte) = wait_or_cancel(|| false) {
            return byte;
        }
    }
}

/// Waits for the next byte, or for Ctrl-C while a command runs: `None` then. On the first CPU only, interrupts on.
pub fn wait_for_key() -> Option<u8> {
    wait_or_cancel(|| IS_CANCELLED.load(Ordering::Relaxed))
}

fn wait_or_cancel(is_cancelled: impl Fn() -> bool) -> Option<u8> {
    loop {
        if let Some(byte) = next_byte() {
            return Some(byte);
        }
        if is_cancelled() {
            return None;
        }
        console::refresh();
        if has_interrupt() {
            idle::wait_unless(|| has_byte() || console::is_stale() || is_cancelled());
        } else {
            machine::relax_and_serve();
        }
    }
}

/// Whether Ctrl-C was typed since [`start_command`]. On the first CPU it also shows what was printed lately.
pub fn is_cancelled() -> bool {
    if !has_interrupt() {
        drain();
    }
    if console::is_stale() && per_cpu::this().cpu == CpuId::BOOT {
        console::refresh_in_passing();
    }
    IS_CANCELLED.load(Ordering::Relaxed)
}

/// As [`is_cancelled`], for loops that are timed: nothing is drawn, and ports are left alone. Where input does not come by
/// interrupt, every so many looks ask the ports after all, so that Ctrl-C ends the longest loop. On the first CPU only.
pub fn was_cancelled() -> bool {
    /// With 256 operations of 20 ns between two looks, some tens of milliseconds.
    const LOOKS_OF_A_DRAIN: u32 = 4096;
    static NR_LOOKS: AtomicU32 = AtomicU32::new(0);
    if !has_interrupt() && NR_LOOKS.fetch_add(1, Ordering::Relaxed) % LOOKS_OF_A_DRAIN == LOOKS_OF_A_DRAIN - 1 {
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
