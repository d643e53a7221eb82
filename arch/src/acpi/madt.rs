//! The MADT: CPUs, I/O APICs, and where ISA lines really go. (ACPI 6.5, 5.2.12.)

use super::table::{HEADER_LEN, Root, Table};
use super::{AcpiError, PhysicalMemory};
use crate::ioapic::Signal;

/// The multiple APIC description table.
#[derive(Debug)]
pub struct Madt<'m, M> {
    table: Table<'m, M>,
}

/// One entry; kinds that this kernel has no use for appear as `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields by their names in the specification")]
pub enum MadtEntry {
    /// Type 0: a CPU with an 8-bit id.
    LocalApic { processor: u8, apic_id: u8, flags: u32 },
    /// Type 1.
    IoApic { id: u8, phys: u32, gsi_base: u32 },
    /// Type 2: an ISA line that arrives elsewhere, or with another signal.
    Override { isa_irq: u8, gsi: u32, signal: Signal },
    /// Type 4: which LINT pin of which CPU (0xff: all) is the NMI.
    LocalApicNmi { processor: u8, lint: u8 },
    /// Type 9: a CPU with a 32-bit id.
    LocalX2Apic { apic_id: u32, processor: u32, flags: u32 },
    /// Any other type.
    Other { kind: u8 },
}

impl<'m, M: PhysicalMemory> Madt<'m, M> {
    /// The MADT of `root`.
    ///
    /// # Errors
    /// [`AcpiError`].
    pub fn find(root: &Root<'m, M>) -> Result<Self, AcpiError> {
        root.table(*b"APIC").map(|table| Self { table })
    }

    /// The entries, in order. Ends early at one that is malformed.
    pub fn entries(&self) -> Entries<'m, M> {
        Entries { table: self.table, offset: HEADER_LEN + 8 }
    }

    /// The global interrupt and signal of ISA line `irq`: its override, or the line itself.
    pub fn isa_route(&self, irq: u8) -> (u32, Signal) {
        self.entries()
            .find_map(|entry| match entry {
                MadtEntry::Override { isa_irq, gsi, signal } if isa_irq == irq => Some((gsi, signal)),
                _ => None,
            })
            .unwrap_or((u32::from(irq), Signal::ISA))
    }
}

/// See [`Madt::entries`].
#[derive(Debug)]
pub struct Entries<'m, M> {
    table: Table<'m, M>,
    offset: u32,
}

impl<M: PhysicalMemory> Iterator for Entries<'_, M> {
    type Item = MadtEntry;

    fn next(&mut self) -> Option<MadtEntry> {
        let table = &self.table;
        let at = self.offset;
        let kind = table.u8_at(at)?;
        let len = table.u8_at(at + 1)?;
        // An entry shorter than its own head would never end; one that leaves the table is not whole.
        if len < 2 || at + u32::from(len) > table.len_bytes() {
            self.offset = u32::MAX;
            return None;
        }
        self.offset = at + u32::from(len);
        let least = match kind {
            0 => 8,
            1 => 12,
            2 => 10,
            4 => 6,
            9 => 16,
            _ => 2,
        };
        if len < least {
            return Some(MadtEntry::Other { kind });
        }
        Some(match kind {
            0 => MadtEntry::LocalApic {
                processor: table.u8_at(at + 2)?,
                apic_id: table.u8_at(at + 3)?,
                flags: table.u32_at(at + 4)?,
            },
            1 => MadtEntry::IoApic {
                id: table.u8_at(at + 2)?,
                phys: table.u32_at(at + 4)?,
                gsi_base: table.u32_at(at + 8)?,
            },
            2 => MadtEntry::Override {
                isa_irq: table.u8_at(at + 3)?,
                gsi: table.u32_at(at + 4)?,
                signal: isa_signal(table.u16_at(at + 8)?),
            },
            4 => MadtEntry::LocalApicNmi { processor: table.u8_at(at + 2)?, lint: table.u8_at(at + 5)? },
            9 => MadtEntry::LocalX2Apic {
                apic_id: table.u32_at(at + 4)?,
                flags: table.u32_at(at + 8)?,
                processor: table.u32_at(at + 12)?,
            },
            _ => MadtEntry::Other { kind },
        })
    }
}

/// MPS INTI flags: polarity in bits 0 and 1, trigger in 2 and 3; 0 means as the bus has it, and ISA is edge, active
/// high.
fn isa_signal(flags: u16) -> Signal {
    Signal { is_active_low: flags & 0b11 == 0b11, is_level: flags >> 2 & 0b11 == 0b11 }
}
