//! FADT and HPET: the few fields that this kernel uses. (ACPI 6.5, 5.2.9; IA-PC HPET 1.0a, 3.2.4.)

use super::table::Root;
use super::{AcpiError, PhysicalMemory};
use crate::reboot::ResetRegister;

/// Address space of a generic address: memory.
const SPACE_MEMORY: u8 = 0;
/// Address space of a generic address: I/O ports.
const SPACE_PORT: u8 = 1;
/// FADT flags: the reset register may be used.
const RESET_SUPPORTED: u32 = 1 << 10;

/// What the fixed ACPI description table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fadt {
    /// The PM timer's port.
    pub pm_timer_port: Option<u16>,
    /// The reset register, if it is a port.
    pub reset: Option<ResetRegister>,
}

impl Fadt {
    /// Reads the FADT of `root`. Fields beyond its end count as absent: older tables are shorter.
    ///
    /// # Errors
    /// [`AcpiError`].
    pub fn find<M: PhysicalMemory>(root: &Root<'_, M>) -> Result<Self, AcpiError> {
        let table = root.table(*b"FACP")?;
        let generic_port = |offset| match (table.u8_at(offset), table.u64_at(offset + 4)) {
            (Some(SPACE_PORT), Some(address)) => u16::try_from(address).ok().filter(|&port| port != 0),
            _ => None,
        };
        let legacy_pm_timer = table.u32_at(76).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
        let can_reset = table.u32_at(112).is_some_and(|flags| flags & RESET_SUPPORTED != 0);
        Ok(Self {
            pm_timer_port: generic_port(208).or(legacy_pm_timer),
            reset: generic_port(116)
                .filter(|_| can_reset)
                .and_then(|port| Some(ResetRegister { port, value: table.u8_at(128)? })),
        })
    }
}

/// The high-precision event timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hpet {
    /// Where its registers are.
    pub phys: u64,
}

impl Hpet {
    /// Reads the HPET table of `root`.
    ///
    /// # Errors
    /// [`AcpiError`]; [`AcpiError::NotFound`] also for a table that does not give an address in memory.
    pub fn find<M: PhysicalMemory>(root: &Root<'_, M>) -> Result<Self, AcpiError> {
        let table = root.table(*b"HPET")?;
        match (table.u8_at(40), table.u64_at(44)) {
            (Some(SPACE_MEMORY), Some(phys)) if phys != 0 => Ok(Self { phys }),
            _ => Err(AcpiError::NotFound { signature: *b"HPET" }),
        }
    }
}
