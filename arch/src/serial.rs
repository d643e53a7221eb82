//! The 16550 UART: bytes out, bytes in, an interrupt when some came in.
//!
//! A [`Serial`] is a port number and nothing else, so that a crash report can make its own and force its way past the
//! console's lock. Two CPUs that write at once mix their bytes and break nothing else.
//!
//! Called by: the kernel's console. Context: any, NMI included; waiting for room is bounded.

use crate::port;
use core::fmt;

/// The first serial port of a PC. Its interrupt is ISA line 4.
pub const COM1: u16 = 0x3f8;
/// ISA line of COM1.
pub const COM1_IRQ: u8 = 4;

// Registers, as offsets.
const DATA: u16 = 0;
const DIVISOR_LOW: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const DIVISOR_HIGH: u16 = 1;
const INTERRUPT_IDENTIFICATION: u16 = 2;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

const LINE_8N1: u8 = 0x03;
const LINE_DIVISOR_ACCESS: u8 = 0x80;
/// FIFOs on and emptied, receive interrupt at 1 byte: a prompt wants each key at once.
const FIFO_ON: u8 = 0x07;
const FIFO_WORKS: u8 = 0xc0;
const FIFO_DEPTH: usize = 16;
const MODEM_LOOPBACK: u8 = 0x1e;
/// DTR, RTS, and OUT2, which gates the interrupt line on a PC.
const MODEM_ONLINE: u8 = 0x0b;
const RECEIVE_INTERRUPT: u8 = 0x01;
const STATUS_RECEIVED: u8 = 0x01;
const STATUS_OVERRUN: u8 = 0x02;
const STATUS_TRANSMIT_EMPTY: u8 = 0x20;

/// 115200 baud: a byte is about 87 us, sixteen are 1.4 ms. More port reads than that takes, each about a microsecond.
const MAX_POLLS: u32 = 20_000;
const LOOPBACK_BYTE: u8 = 0xae;

/// A UART by its first port.
#[derive(Clone, Copy, Debug)]
pub struct Serial {
    base: u16,
}

/// What [`Serial::init`] noticed. None of it stops the port from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A byte sent in loop-back did not come back: perhaps no UART there, so output may be lost.
    LoopbackFailed {
        /// What came instead, `None` if nothing did.
        received: Option<u8>,
    },
    /// The FIFOs did not turn on: an 8250 or 16450, one byte at a time.
    NoFifo,
}

/// The transmitter stayed full for the whole bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck;

/// A byte received, and whether some before it were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The byte.
    pub byte: u8,
    /// The FIFO overran since the last look.
    pub has_overrun: bool,
}

impl Serial {
    /// The UART at `base`.
    ///
    /// # Safety
    /// The eight ports from `base` are a UART's, or nobody's.
    pub const unsafe fn new(base: u16) -> Self {
        Self { base }
    }

    /// The first serial port, whose ports are a UART's or nobody's on every PC.
    pub const fn com1() -> Self {
        Self { base: COM1 }
    }

    fn read(&self, register: u16) -> u8 {
        // SAFETY: a register of our UART; reading has its documented effect, nothing more.
        unsafe { port::read_u8(self.base + register) }
    }

    fn write(&self, register: u16, value: u8) {
        // SAFETY: a register of our UART.
        unsafe { port::write_u8(self.base + register, value) }
    }

    /// Sets 115200 baud, 8 bits, no parity, one stop bit, FIFOs on, interrupts off, and tests by loop-back.
    pub fn init(&self) -> Option<Warning> {
        self.write(INTERRUPT_ENABLE, 0);
        self.write(LINE_CONTROL, LINE_DIVISOR_ACCESS);
        self.write(DIVISOR_LOW, 1);
        self.write(DIVISOR_HIGH, 0);
        self.write(LINE_CONTROL, LINE_8N1);
        self.write(FIFO_CONTROL, FIFO_ON);
        let loopback = self.test_loopback();
        // The loop-back left its byte or its status behind.
        self.write(FIFO_CONTROL, FIFO_ON);
        self.write(MODEM_CONTROL, MODEM_ONLINE);
        if loopback != Some(LOOPBACK_BYTE) {
            return Some(Warning::LoopbackFailed { received: loopback });
        }
        (self.read(INTERRUPT_IDENTIFICATION) & FIFO_WORKS != FIFO_WORKS).then_some(Warning::NoFifo)
    }

    fn test_loopback(&self) -> Option<u8> {
        self.write(MODEM_CONTROL, MODEM_LOOPBACK);
        self.write(DATA, LOOPBACK_BYTE);
        (0..MAX_POLLS).find_map(|_| self.receive()).map(|r| r.byte)
    }

    /// Sends `bytes`, a FIFO's worth at a time, waiting for room in between.
    ///
    /// # Errors
    /// [`Stuck`] if the transmitter takes nothing for the whole bound; the rest of `bytes` is dropped.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Stuck> {
        // Asked each time rather than remembered: the value stays a port number, and a crash report needs no `init`.
        let has_fifo = self.read(INTERRUPT_IDENTIFICATION) & FIFO_WORKS == FIFO_WORKS;
        for chunk in bytes.chunks(if has_fifo { FIFO_DEPTH } else { 1 }) {
            self.wait_until_empty()?;
            for &byte in chunk {
                self.write(DATA, byte);
            }
        }
        Ok(())
    }

    /// "Transmitter holding register empty" means, with FIFOs on, that all sixteen places are free.
    fn wait_until_empty(&self) -> Result<(), Stuck> {
        match (0..MAX_POLLS).any(|_| self.read(LINE_STATUS) & STATUS_TRANSMIT_EMPTY != 0) {
            true => Ok(()),
            false => Err(Stuck),
        }
    }

    /// The next byte received, if there is one.
    pub fn receive(&self) -> Option<Received> {
        let status = self.read(LINE_STATUS);
        // Where no device answers a read gives all ones, which would be an endless stream of bytes.
        (status != 0xff && status & STATUS_RECEIVED != 0)
            .then(|| Received { byte: self.read(DATA), has_overrun: status & STATUS_OVERRUN != 0 })
    }

    /// An interrupt for each byte received, on ISA line 4 for COM1. Drain with [`Serial::receive`] until `None`: the
    /// line is edge-triggered, and stays high while bytes are left.
    pub fn enable_receive_interrupt(&self) {
        self.write(INTERRUPT_ENABLE, RECEIVE_INTERRUPT);
    }

    /// No more interrupts.
    pub fn disable_interrupts(&self) {
        self.write(INTERRUPT_ENABLE, 0);
    }
}

/// Text goes out with CR before each LF, as terminals want it.
impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (i, line) in text.as_bytes().split(|&b| b == b'\n').enumerate() {
            if i > 0 {
                self.send(b"\r\n").map_err(|Stuck| fmt::Error)?;
            }
            self.send(line).map_err(|Stuck| fmt::Error)?;
        }
        Ok(())
    }
}
