//! Recordings made by hand, for the tests of all that reads them: sound ones and whatever else can be encoded.

use crate::MAGIC;

/// Operation of an object.
pub const OBJECT: u32 = 0;
/// Operation of a page run.
pub const RUN: u32 = 2;
/// Added to an operation: it frees.
pub const FREE: u32 = 1;

/// (op, cpu, id, size)
pub type Raw = (u32, u8, u32, u32);

/// The file with this header and these events.
pub fn bytes(nr_cpus: u32, nr_objects: u32, peak_live_bytes: u64, events: &[Raw]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(nr_cpus.to_le_bytes());
    bytes.extend(nr_objects.to_le_bytes());
    bytes.extend((events.len() as u64).to_le_bytes());
    bytes.extend(peak_live_bytes.to_le_bytes());
    for &(op, cpu, id, size) in events {
        bytes.extend(id.to_le_bytes());
        bytes.extend((op | u32::from(cpu) << 2 | size << 8).to_le_bytes());
    }
    bytes
}

/// Two CPUs, two objects and a page run; 4196 bytes at the peak, one free on another CPU.
pub const GOOD: [Raw; 6] = [
    (OBJECT, 0, 0, 100),
    (RUN, 1, 1, 4096),
    (OBJECT | FREE, 1, 0, 0),
    (OBJECT, 0, 2, 64),
    (OBJECT | FREE, 0, 2, 0),
    (RUN | FREE, 1, 1, 0),
];

/// The file of [`GOOD`].
pub fn good() -> Vec<u8> {
    bytes(2, 3, 4196, &GOOD)
}
