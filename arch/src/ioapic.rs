//! The I/O APIC: which CPU gets a device's interrupt, and at which vector.
//!
//! A thin face on `x2apic::ioapic`, which is right about the registers; what it leaves to its user is done here: an
//! entry is masked while it changes (its two halves are two writes), every entry starts masked, and an input or a
//! destination that the hardware cannot name is an error.
//!
//! Works the same under both local APIC modes, with ids up to 254: more needs interrupt remapping.
//! Called by: boot, with a lock around it.

use core::fmt;
use x2apic::ioapic::{IrqFlags, IrqMode, RedirectionTableEntry};

/// One I/O APIC.
#[derive(Debug)]
pub struct IoApic {
    registers: x2apic::ioapic::IoApic,
    gsi_base: u32,
}

/// What an input's signal means (MADT: an ISA line is edge-triggered, active high, unless an override says otherwise).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Active low.
    pub is_active_low: bool,
    /// Level-triggered, else edge.
    pub is_level: bool,
}

impl Signal {
    /// How ISA lines are wired.
    pub const ISA: Self = Self { is_active_low: false, is_level: false };
}

/// A route that the hardware cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// The global interrupt is not one of this I/O APIC's inputs.
    NotOurs {
        /// The global system interrupt asked for.
        gsi: u32,
        /// The first that is ours.
        first: u32,
        /// How many are.
        nr_inputs: u32,
    },
    /// The destination has eight bits, and 255 means everybody.
    DestinationTooWide {
        /// The APIC id asked for.
        apic_id: u32,
    },
    /// Vectors below 16 cannot be delivered, and below 32 they are exceptions.
    BadVector {
        /// The vector asked for.
        vector: u8,
    },
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs { gsi, first, nr_inputs } => {
                write!(f, "the I/O APIC with inputs {first} and up, {nr_inputs} of them, has no input {gsi}")
            }
            Self::DestinationTooWide { apic_id } => write!(f, "APIC id {apic_id} is too large for an I/O APIC"),
            Self::BadVector { vector } => write!(f, "vector {vector:#x} cannot be delivered"),
        }
    }
}

impl IoApic {
    /// The I/O APIC at `base`, whose first input is global interrupt `gsi_base` (both from the MADT). Masks all inputs.
    ///
    /// # Safety
    /// `base` is where its registers are mapped, uncached, for good; no one else uses them.
    pub unsafe fn new(base: *mut u32, gsi_base: u32) -> Self {
        // SAFETY: the caller's promise is the crate's demand.
        let mut io_apic = Self { registers: unsafe { x2apic::ioapic::IoApic::new(base as u64) }, gsi_base };
        io_apic.mask_all();
        io_apic
    }

    /// The version register's low byte: 0x11 to 0x20 for what exists.
    pub fn version(&mut self) -> u8 {
        // SAFETY: the registers are ours by `new`, here and in every block below.
        unsafe { self.registers.version() }
    }

    /// The number of inputs.
    pub fn nr_inputs(&mut self) -> u32 {
        // SAFETY: see `version`.
        u32::from(unsafe { self.registers.max_table_entry() }) + 1
    }

    /// Is `gsi` one of our inputs?
    pub fn has_input(&mut self, gsi: u32) -> bool {
        self.input(gsi).is_ok()
    }

    /// Masks every input.
    pub fn mask_all(&mut self) {
        for input in 0..self.nr_inputs() {
            // SAFETY: see `version`; the input exists, and fits since there are at most 256.
            unsafe { self.registers.disable_irq(input as u8) }
        }
    }

    /// Delivers global interrupt `gsi` to the CPU with `apic_id` at `vector`, from now on.
    ///
    /// # Errors
    /// See [`RouteError`]; nothing changed.
    pub fn route(&mut self, gsi: u32, vector: u8, apic_id: u32, signal: Signal) -> Result<(), RouteError> {
        let input = self.input(gsi)?;
        let entry = masked_entry(vector, apic_id, signal)?;
        // SAFETY: see `version`; the input exists. The old entry is masked before its halves change, the new one is
        // masked until both are written.
        unsafe {
            self.registers.disable_irq(input);
            self.registers.set_table_entry(input, entry);
            self.registers.enable_irq(input);
        }
        Ok(())
    }

    /// Masks global interrupt `gsi`.
    ///
    /// # Errors
    /// [`RouteError::NotOurs`].
    pub fn mask(&mut self, gsi: u32) -> Result<(), RouteError> {
        let input = self.input(gsi)?;
        // SAFETY: see `version`; the input exists.
        unsafe { self.registers.disable_irq(input) }
        Ok(())
    }

    fn input(&mut self, gsi: u32) -> Result<u8, RouteError> {
        let nr_inputs = self.nr_inputs();
        match gsi.checked_sub(self.gsi_base) {
            Some(input) if input < nr_inputs => Ok(input as u8),
            _ => Err(RouteError::NotOurs { gsi, first: self.gsi_base, nr_inputs }),
        }
    }
}

/// A redirection entry to one CPU by physical id, masked.
fn masked_entry(vector: u8, apic_id: u32, signal: Signal) -> Result<RedirectionTableEntry, RouteError> {
    if vector < 32 {
        return Err(RouteError::BadVector { vector });
    }
    if apic_id > 254 {
        return Err(RouteError::DestinationTooWide { apic_id });
    }
    let mut flags = IrqFlags::MASKED;
    flags.set(IrqFlags::LOW_ACTIVE, signal.is_active_low);
    flags.set(IrqFlags::LEVEL_TRIGGERED, signal.is_level);
    let mut entry = RedirectionTableEntry::default();
    entry.set_mode(IrqMode::Fixed);
    entry.set_flags(flags);
    entry.set_vector(vector);
    entry.set_dest(apic_id as u8);
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_isa_entry_is_fixed_physical_edge_high_and_masked() {
        let entry = masked_entry(0x24, 3, Signal::ISA).expect("valid");
        assert_eq!((entry.vector(), entry.dest()), (0x24, 3));
        assert_eq!(entry.flags(), IrqFlags::MASKED);
        assert!(matches!(entry.mode(), IrqMode::Fixed));
    }

    #[test]
    fn an_override_changes_polarity_and_trigger() {
        let entry = masked_entry(0x29, 0, Signal { is_active_low: true, is_level: true }).expect("valid");
        assert_eq!(entry.flags(), IrqFlags::MASKED | IrqFlags::LOW_ACTIVE | IrqFlags::LEVEL_TRIGGERED);
    }

    #[test]
    fn what_the_hardware_cannot_name_is_refused() {
        assert_eq!(masked_entry(31, 0, Signal::ISA).err(), Some(RouteError::BadVector { vector: 31 }));
        for apic_id in [255, 256, 513] {
            assert_eq!(masked_entry(32, apic_id, Signal::ISA).err(), Some(RouteError::DestinationTooWide { apic_id }));
        }
    }
}
