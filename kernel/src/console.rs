//! The console: text out on the first serial port and on the screen, one line of a CPU at a time.
//!
//! Either may be missing. A serial port that fails its loop-back test is left alone where there is a screen: a real
//! machine may have none, and waiting for one that takes nothing would make every line slow. What the screen could not
//! draw at once is drawn by [`refresh`], which whoever waits or works for long calls.
//!
//! Lock order: the console is last; nothing is taken while it is held. A crash report takes it by force.
//! Called by: everything that prints. Not from an NMI handler, but for the one of a CPU that has crashed.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

use arch::serial::{Serial, Warning};
use spin::mutex::SpinMutex;
use spin::relax::RelaxStrategy;

use crate::machine;
use crate::screen::{self, Screen};

/// A wait for the console serves other CPUs' requests, as every wait does.
struct Serve;

impl RelaxStrategy for Serve {
    fn relax() {
        machine::relax_and_serve();
    }
}

static CONSOLE: SpinMutex<Console, Serve> = SpinMutex::new(Console { screen: None, nr_stuck: 0 });

/// Set for good when the machine has crashed: only the reporting CPU speaks then, and it does not wait.
static IS_FORCED: AtomicBool = AtomicBool::new(false);
/// Whether a crash report leaves the screen out for a while.
static IS_SCREEN_SPARED: AtomicBool = AtomicBool::new(false);
/// Whether there is a serial port, as far as one can know.
static HAS_SERIAL: AtomicBool = AtomicBool::new(true);
/// Whether the screen lags behind.
static IS_STALE: AtomicBool = AtomicBool::new(false);
/// Half screens that somebody at the keyboard wants to look back.
static WANTED_BACK: AtomicIsize = AtomicIsize::new(0);

/// Writings in a row that a serial port may fail to take, some 20 ms each, before it is left alone.
const MAX_STUCK: u32 = 8;

/// What the lock guards.
struct Console {
    screen: Option<Screen>,
    nr_stuck: u32,
}

impl Console {
    fn send(&mut self, bytes: &[u8]) {
        if HAS_SERIAL.load(Ordering::Relaxed) {
            let is_taken = Serial::com1().send(bytes).is_ok();
            self.note_serial(is_taken);
        }
        if let Some(screen) = &mut self.screen {
            screen.write(bytes);
        }
    }

    /// Whether the port took what it was given. One that takes nothing again and again is left alone where there is a
    /// screen, so that nobody waits for it.
    fn note_serial(&mut self, is_taken: bool) {
        self.nr_stuck = if is_taken { 0 } else { self.nr_stuck.saturating_add(1) };
        if self.nr_stuck >= MAX_STUCK && self.screen.is_some() {
            HAS_SERIAL.store(false, Ordering::Relaxed);
        }
    }

    /// Draws what was written, or leaves it for later.
    fn catch_up(&mut self) {
        if let Some(screen) = &mut self.screen {
            let is_done = screen.catch_up();
            IS_STALE.store(!is_done, Ordering::Relaxed);
        }
    }

    /// Draws everything, looking where somebody wants to look.
    fn draw(&mut self) {
        if let Some(screen) = &mut self.screen {
            // First: what is asked for from here on makes it stale again.
            IS_STALE.store(false, Ordering::Relaxed);
            screen.look_back(WANTED_BACK.swap(0, Ordering::Relaxed));
            screen.draw();
        }
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if HAS_SERIAL.load(Ordering::Relaxed) {
            let is_taken = Serial::com1().write_str(text).is_ok();
            self.note_serial(is_taken);
        }
        if let Some(screen) = &mut self.screen {
            screen.write(text.as_bytes());
        }
        Ok(())
    }
}

/// The way out for a crash report: no lock, no state.
struct Forced;

impl Write for Forced {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if HAS_SERIAL.load(Ordering::Relaxed) {
            // A port that takes nothing drops text; there is nobody to tell.
            let _ = Serial::com1().write_str(text);
        }
        // Second: should this be what crashes, the port has the text.
        if !IS_SCREEN_SPARED.load(Ordering::Relaxed) {
            screen::write_by_force(text.as_bytes());
        }
        Ok(())
    }
}

/// Sets port and screen up. Once, before anything is printed.
pub fn init() {
    let warning = Serial::com1().init();
    let mut console = CONSOLE.lock();
    let found = screen::find();
    let bad = found.as_ref().err().copied();
    console.screen = found.unwrap_or(None);
    // With no screen the port is all there is, so it is used whatever the test says.
    let is_missing = matches!(warning, Some(Warning::LoopbackFailed { .. }));
    HAS_SERIAL.store(!is_missing || console.screen.is_none(), Ordering::Relaxed);
    drop(console);
    if let Some(error) = bad {
        println!("screen: not used: {error}");
    }
}

/// Whether there is a serial port.
pub fn has_serial() -> bool {
    HAS_SERIAL.load(Ordering::Relaxed)
}

/// Gives the screen memory for scrollback, and says what it is. Once, when there is memory.
pub fn keep_scrollback() {
    // Memory first, the console second: nothing is taken while it is held.
    let cells = with_screen(|screen| screen.size()).and_then(screen::cells_with_scrollback);
    let said = with_screen(|screen| {
        if let Some(cells) = cells {
            screen.keep_scrollback(cells);
        }
        (screen.pixels(), screen.size())
    });
    if let Some(((width, height, nr_bits), (columns, rows))) = said {
        log!("screen: {width}x{height}, {nr_bits} bits a pixel, {columns} columns and {rows} rows of text");
    }
    if !has_serial() {
        log!("serial: there is no port");
    }
}

/// Uses the screen no more: its memory cannot be reached any longer.
pub fn give_up_screen() {
    CONSOLE.lock().screen = None;
    screen::turn_off();
    HAS_SERIAL.store(true, Ordering::Relaxed);
}

/// Does something with the screen, if there is one.
pub fn with_screen<R>(with: impl FnOnce(&mut Screen) -> R) -> Option<R> {
    CONSOLE.lock().screen.as_mut().map(with)
}

/// Whether the screen shows less than was printed, or not what somebody wants to look at.
pub fn is_stale() -> bool {
    IS_STALE.load(Ordering::Relaxed)
}

/// Draws what the screen still lacks, unless another CPU is at it. For whoever is about to wait.
pub fn refresh() {
    if is_stale()
        && let Some(mut console) = CONSOLE.try_lock()
    {
        console.draw();
    }
}

/// As [`refresh`], if the last drawing was long enough ago. For whoever works and looks in now and then.
pub fn refresh_in_passing() {
    if is_stale()
        && let Some(mut console) = CONSOLE.try_lock()
    {
        match WANTED_BACK.load(Ordering::Relaxed) {
            0 => console.catch_up(),
            _ => console.draw(),
        }
    }
}

/// Somebody wants to look back by so many half screens, or ahead if negative. In interrupt handlers too: it is done by
/// the next refresh.
pub fn look_back(nr_halves: isize) {
    WANTED_BACK.fetch_add(nr_halves, Ordering::Relaxed);
    IS_STALE.store(true, Ordering::Relaxed);
}

/// Has everything printed from here on go out at once, whoever holds the console.
pub fn force() {
    if !IS_FORCED.swap(true, Ordering::AcqRel) {
        screen::forget_by_force();
    }
}

/// Has what a crash report prints from here on go to the serial line alone, or to both again. What scrolls off the screen
/// of a machine that has stopped is lost, and the beginning of a report is worth more than its details.
pub fn spare_screen(is_spared: bool) {
    IS_SCREEN_SPARED.store(is_spared, Ordering::Relaxed);
}

/// Prints; see the macros.
pub fn write(text: fmt::Arguments<'_>) {
    if IS_FORCED.load(Ordering::Acquire) {
        let _ = Forced.write_fmt(text);
        return;
    }
    // Interrupts stay as they are: no handler of this kernel prints, and one that crashes does not wait.
    let mut console = CONSOLE.lock();
    let _ = console.write_fmt(text);
    console.catch_up();
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
            console.catch_up();
            return;
        }
        machine::relax_and_serve();
    }
    let _ = Forced.write_fmt(text);
}

/// Prints bytes as they are: what the line editor echoes.
pub fn write_bytes(bytes: &[u8]) {
    let mut console = CONSOLE.lock();
    console.send(bytes);
    console.catch_up();
}

/// Writes to the screen alone: a colour for what follows, which programs that read the serial line do not want.
pub fn colour(sequence: &str) {
    with_screen(|screen| screen.write(sequence.as_bytes()));
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
