//! The real-time clock, for the date at boot.
//!
//! Called by: `answers`, only if the kernel asks.

use loader::date::ClockRegisters;

use super::serial::{input, out};

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
/// Seconds, minutes, hours, day, month, year, century.
const REGISTERS: [u8; 7] = [0, 2, 4, 7, 8, 9, 0x32];
const STATUS_A: u8 = 0xa;
const STATUS_B: u8 = 0xb;
const UPDATE_IN_PROGRESS: u8 = 1 << 7;

fn read(register: u8) -> u8 {
    // SAFETY: the clock's index and data ports; reading date and status registers changes nothing.
    unsafe {
        out(INDEX, register);
        input(DATA)
    }
}

/// Seconds since 1970, or `None` without a clock that holds a date.
pub(super) fn unix_time() -> Option<i64> {
    let mut previous = None;
    // Two equal readings in a row, none of them taken during an update. An update takes 2 ms once a second.
    for _ in 0..100_000 {
        if read(STATUS_A) & UPDATE_IN_PROGRESS != 0 {
            continue;
        }
        let values = REGISTERS.map(read);
        if previous.replace(values) == Some(values) {
            return ClockRegisters { values, status_b: read(STATUS_B) }.unix_time();
        }
    }
    None
}
