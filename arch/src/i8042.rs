//! The keyboard controller of a PC (i8042, "PS/2"): scan codes in, an interrupt when some came in.
//!
//! Many machines have none any more, or firmware that plays one for a USB keyboard, more or less well. So every wait is
//! bounded, what does not answer is taken as absent, and of what answers only the least is asked: the second port (a
//! mouse) is turned off, the first is tested and turned on, and whether codes are translated to set 1 is read back
//! rather than assumed. The keyboard itself is not reset: that takes up to half a second, and it works without.
//!
//! Called by: the kernel's input, on the first CPU. Context: [`Keyboard8042::receive`] may be called in an interrupt
//! handler; that only one caller does at a time is what its `&mut` says.

use crate::port;
use core::fmt;

/// ISA line of the keyboard.
pub const IRQ: u8 = 1;

const DATA: u16 = 0x60;
/// Status when read, command when written.
const COMMAND: u16 = 0x64;

const STATUS_OUTPUT_FULL: u8 = 0x01;
const STATUS_INPUT_FULL: u8 = 0x02;
/// The byte that waits is the second port's.
const STATUS_SECOND_PORT: u8 = 0x20;

const READ_CONFIGURATION: u8 = 0x20;
const WRITE_CONFIGURATION: u8 = 0x60;
const DISABLE_SECOND_PORT: u8 = 0xa7;
const TEST_CONTROLLER: u8 = 0xaa;
const TEST_FIRST_PORT: u8 = 0xab;
const DISABLE_FIRST_PORT: u8 = 0xad;
const ENABLE_FIRST_PORT: u8 = 0xae;
const CONTROLLER_WORKS: u8 = 0x55;
const PORT_WORKS: u8 = 0x00;

const FIRST_INTERRUPT: u8 = 0x01;
/// "The power-on test has passed": the firmware's, kept set.
const SYSTEM_FLAG: u8 = 0x04;
const SECOND_CLOCK_OFF: u8 = 0x20;
const TRANSLATE: u8 = 0x40;

/// To the keyboard: defaults (scan code set 2), then report keys.
const SET_DEFAULTS: u8 = 0xf6;
const ENABLE_SCANNING: u8 = 0xf4;
const ACKNOWLEDGED: u8 = 0xfa;

/// Looks at the status, each about a microsecond: a keyboard takes up to 20 ms to answer.
const MAX_POLLS: u32 = 50_000;
/// Bytes that can wait in the controller and behind it.
const MAX_LEFT: u32 = 64;

/// A keyboard at the first port of a controller that answered. There is one, and it cannot be copied: who holds it is the
/// one who takes its bytes.
#[derive(Debug)]
pub struct Keyboard8042 {
    is_translated: bool,
    has_acknowledged: bool,
}

/// Why there is no keyboard to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Nothing is at the ports.
    NoController,
    /// The controller does not answer, or does not take what it is told.
    Silent {
        /// The command that it was told.
        command: u8,
    },
    /// The controller found itself, or the line to the keyboard, broken.
    Broken {
        /// The test's command.
        command: u8,
        /// What it answered.
        answer: u8,
    },
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoController => f.write_str("there is no controller"),
            Self::Silent { command } => write!(f, "the controller does not answer command {command:#04x}"),
            Self::Broken { command, answer } => {
                write!(f, "the controller answered command {command:#04x} with {answer:#04x}")
            }
        }
    }
}

fn status() -> u8 {
    // SAFETY: the status of the keyboard controller, or of nobody; reading it has no effect.
    unsafe { port::read_u8(COMMAND) }
}

fn data() -> u8 {
    // SAFETY: takes the byte that waits, which is what this driver is for.
    unsafe { port::read_u8(DATA) }
}

fn wait_for_room(command: u8) -> Result<(), Absent> {
    match (0..MAX_POLLS).any(|_| status() & STATUS_INPUT_FULL == 0) {
        true => Ok(()),
        false => Err(Absent::Silent { command }),
    }
}

fn tell(command: u8) -> Result<(), Absent> {
    wait_for_room(command)?;
    // SAFETY: a command of the controller, to which there is room; what each does is said at its use.
    unsafe { port::write_u8(COMMAND, command) }
    Ok(())
}

fn send(byte: u8) -> Result<(), Absent> {
    wait_for_room(byte)?;
    // SAFETY: a byte for the controller after a command that takes one, or for the keyboard.
    unsafe { port::write_u8(DATA, byte) }
    Ok(())
}

fn answer(command: u8) -> Result<u8, Absent> {
    match (0..MAX_POLLS).any(|_| status() & STATUS_OUTPUT_FULL != 0) {
        true => Ok(data()),
        false => Err(Absent::Silent { command }),
    }
}

/// Waits for the answer that is hoped for. Somebody may be typing meanwhile, and a controller that is told to hold keys
/// back may have some already: other bytes are passed over.
fn expect(command: u8, hoped_for: u8) -> Result<(), Absent> {
    let mut last = answer(command)?;
    for _ in 0..MAX_LEFT {
        if last == hoped_for {
            return Ok(());
        }
        match answer(command) {
            Ok(next) => last = next,
            Err(_) => break,
        }
    }
    Err(Absent::Broken { command, answer: last })
}

/// The configuration byte: what is answered twice in a row, for the reason given at [`expect`].
fn configuration() -> Result<u8, Absent> {
    let ask = || {
        empty();
        tell(READ_CONFIGURATION)?;
        answer(READ_CONFIGURATION)
    };
    let mut last = ask()?;
    for _ in 0..MAX_LEFT {
        match ask()? {
            next if next == last => return Ok(next),
            next => last = next,
        }
    }
    Err(Absent::Broken { command: READ_CONFIGURATION, answer: last })
}

/// Takes away what waits.
fn empty() {
    for _ in 0..MAX_LEFT {
        if status() & STATUS_OUTPUT_FULL == 0 {
            return;
        }
        data();
    }
}

impl Keyboard8042 {
    /// Sets the controller up: keyboard on, mouse off, no interrupts.
    ///
    /// # Errors
    /// See [`Absent`].
    pub fn init() -> Result<Self, Absent> {
        // Where no device answers a read gives all ones: that both buffers are full and time has run out on both lines.
        if status() == 0xff {
            return Err(Absent::NoController);
        }
        tell(DISABLE_FIRST_PORT)?;
        tell(DISABLE_SECOND_PORT)?;
        empty();
        tell(TEST_CONTROLLER)?;
        expect(TEST_CONTROLLER, CONTROLLER_WORKS)?;
        // The test may have reset the configuration, so it is written whole.
        tell(WRITE_CONFIGURATION)?;
        send(TRANSLATE | SYSTEM_FLAG | SECOND_CLOCK_OFF)?;
        tell(TEST_FIRST_PORT)?;
        expect(TEST_FIRST_PORT, PORT_WORKS)?;
        tell(ENABLE_FIRST_PORT)?;
        empty();
        // One that says nothing may work all the same.
        let has_acknowledged = [SET_DEFAULTS, ENABLE_SCANNING]
            .into_iter()
            .all(|byte| send(byte).and_then(|()| expect(byte, ACKNOWLEDGED)).is_ok());
        let is_translated = configuration()? & TRANSLATE != 0;
        Ok(Self { is_translated, has_acknowledged })
    }

    /// Whether codes come in set 1; in set 2 otherwise.
    pub fn is_translated(&self) -> bool {
        self.is_translated
    }

    /// Whether the keyboard answered; where it did not, perhaps none is plugged in.
    pub fn has_acknowledged(&self) -> bool {
        self.has_acknowledged
    }

    /// An interrupt for each byte, on ISA line 1.
    ///
    /// # Errors
    /// [`Absent::Silent`]: it has none then.
    pub fn enable_interrupt(&mut self) -> Result<(), Absent> {
        let found = configuration()?;
        tell(WRITE_CONFIGURATION)?;
        send(found | FIRST_INTERRUPT)
    }

    /// The next byte of a scan code. Take until `None`: the line is edge-triggered.
    pub fn receive(&mut self) -> Option<u8> {
        for _ in 0..MAX_LEFT {
            let status = status();
            if status == 0xff || status & STATUS_OUTPUT_FULL == 0 {
                return None;
            }
            let byte = data();
            if status & STATUS_SECOND_PORT == 0 {
                return Some(byte);
            }
        }
        None
    }
}
