//! ACPI's static tables, read without trust: RSDP, XSDT or RSDT, MADT, FADT, HPET.
//!
//! The tables are bytes that firmware left somewhere. Here they are read through a [`PhysicalMemory`] that may refuse
//! any address, lengths are bounded before they are believed, checksums must add up, and every loop ends: whatever is
//! in memory, the answer is a value or an error with the address in it, never a panic. Nothing is cached, nothing is
//! kept: boot reads what it wants, and the memory may be reclaimed afterwards.
//!
//! References: ACPI 6.5, chapter 5.2. Called by: boot (I/O APICs, PM timer, reset register).

mod cpus;
mod fixed;
mod madt;
mod table;

pub use cpus::{Cpu, Cpus, Readiness};
pub use fixed::{Fadt, Hpet};
pub use madt::{Entries, Madt, MadtEntry};
pub use table::{Root, Table};

use core::fmt;

/// Memory by physical address.
pub trait PhysicalMemory {
    /// Fills `buffer` from `phys`, or returns false if any of it cannot be read. Must not fault.
    fn read(&self, phys: u64, buffer: &mut [u8]) -> bool;
}

/// A window in which physical address 0 appears at `offset`: the loader's or the kernel's direct map.
#[derive(Clone, Copy, Debug)]
pub struct DirectMap {
    offset: usize,
    end_phys: u64,
}

impl DirectMap {
    /// The window at `offset`, for addresses below `end_phys`.
    ///
    /// # Safety
    /// While this is used, every physical address below `end_phys` that tables name is mapped, readable, at
    /// `offset + phys`; or the kernel's trap handler calls `probe::fixup`, in which case a hole is an error and no
    /// crash.
    pub const unsafe fn new(offset: usize, end_phys: u64) -> Self {
        Self { offset, end_phys }
    }
}

impl PhysicalMemory for DirectMap {
    fn read(&self, phys: u64, buffer: &mut [u8]) -> bool {
        let is_inside = phys.checked_add(buffer.len() as u64).is_some_and(|end| end <= self.end_phys);
        is_inside
            && buffer.iter_mut().enumerate().all(|(i, byte)| {
                crate::probe::read_u8(self.offset.wrapping_add(phys as usize + i)).map(|found| *byte = found).is_some()
            })
    }
}

/// Why a table could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// The memory refused the read.
    Unreadable {
        /// Where.
        phys: u64,
    },
    /// The signature is another.
    WrongSignature {
        /// Where the table starts.
        phys: u64,
        /// What stands there.
        found: [u8; 4],
    },
    /// The bytes do not add up to 0.
    BadChecksum {
        /// Where the table starts.
        phys: u64,
    },
    /// Shorter than its own header, or longer than any table is.
    BadLength {
        /// Where the table starts.
        phys: u64,
        /// The length it claims.
        length: u32,
    },
    /// The root lists no table of this signature that is sound.
    NotFound {
        /// The signature.
        signature: [u8; 4],
    },
}

impl fmt::Display for AcpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { phys } => write!(f, "no memory answers at {phys:#x}"),
            Self::WrongSignature { phys, found } => {
                write!(f, "the table at {phys:#x} has the signature \"{}\"", found.escape_ascii())
            }
            Self::BadChecksum { phys } => write!(f, "the table at {phys:#x} has a wrong checksum"),
            Self::BadLength { phys, length } => write!(f, "the table at {phys:#x} claims {length} bytes"),
            Self::NotFound { signature } => write!(f, "no table \"{}\" is listed", signature.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests;
