//! The interrupt command register: what to send, and to whom, as bits.
//!
//! Pure: both back-ends write what this computes (SDM vol. 3, "Interrupt Command Register (ICR)" and "x2APIC Mode ...
//! ICR Operation in x2APIC Mode").
//!
//! ```text
//! 0..8 vector | 8..11 delivery mode | 11 logical | 12 pending (xAPIC) | 14 assert | 18..20 shorthand
//! destination: xAPIC bits 56..64, x2APIC bits 32..64
//! ```

use super::SendError;

const DELIVERY_NMI: u32 = 0b100 << 8;
const DELIVERY_INIT: u32 = 0b101 << 8;
const LOGICAL: u32 = 1 << 11;
/// The only bit of an xAPIC's ICR that the hardware writes: the command before has not been accepted yet.
pub(super) const PENDING: u32 = 1 << 12;
const ASSERT: u32 = 1 << 14;
const SHORTHAND_SELF: u32 = 0b01 << 18;
const SHORTHAND_ALL_BUT_SELF: u32 = 0b11 << 18;

/// The low half of an ICR: everything but the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command(u32);

impl Command {
    /// An NMI. The vector field is ignored by the hardware.
    pub const NMI: Self = Self(DELIVERY_NMI | ASSERT);

    /// Makes its target wait for a start-up message, whatever it does. The vector field must be 0.
    pub const INIT: Self = Self(DELIVERY_INIT | ASSERT);

    /// An ordinary interrupt at `vector`.
    pub const fn fixed(vector: u8) -> Self {
        Self(vector as u32 | ASSERT)
    }

    /// To every CPU but the sender; the destination is ignored.
    pub const fn all_but_self(self) -> Self {
        Self(self.0 | SHORTHAND_ALL_BUT_SELF)
    }

    /// To the sender alone; the destination is ignored.
    pub const fn to_self(self) -> Self {
        Self(self.0 | SHORTHAND_SELF)
    }

    /// The destination is a set of CPUs, not an id.
    pub const fn logical(self) -> Self {
        Self(self.0 | LOGICAL)
    }

    /// The 64 bits to write in x2APIC mode.
    pub const fn for_x2apic(self, destination: u32) -> u64 {
        (destination as u64) << 32 | self.0 as u64
    }

    /// The two halves to write in xAPIC mode, high first.
    ///
    /// # Errors
    /// [`SendError::DestinationTooWide`] for an id above 254, unless a shorthand makes it moot.
    pub const fn for_xapic(self, destination: u32) -> Result<(u32, u32), SendError> {
        if self.0 & SHORTHAND_ALL_BUT_SELF == 0 && destination > 254 {
            return Err(SendError::DestinationTooWide { apic_id: destination });
        }
        Ok((destination << 24, self.0))
    }
}

/// The cluster of an x2APIC id: 16 CPUs with equal upper bits.
#[inline]
pub const fn cluster_of(apic_id: u32) -> u32 {
    apic_id >> 4
}

/// The logical id that the hardware derives from an x2APIC id: cluster in the upper half, one bit in the lower.
///
/// Destinations of one cluster are united by bitwise or. (SDM vol. 3, "Deriving Logical x2APIC ID from the Local x2APIC
/// ID"; ids above 0xFFFFF lose their top bits there, and exist nowhere.)
#[inline]
pub const fn logical_id(apic_id: u32) -> u32 {
    cluster_of(apic_id) << 16 | 1 << (apic_id & 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_interrupt_is_its_vector_and_assert() {
        assert_eq!(Command::fixed(0xf0).for_x2apic(5), 0x0000_0005_0000_40f0);
        assert_eq!(Command::fixed(0xf0).for_xapic(5), Ok((0x0500_0000, 0x40f0)));
    }

    #[test]
    fn an_x2apic_destination_has_32_bits() {
        assert_eq!(Command::fixed(0x40).for_x2apic(0x0002_0201), 0x0002_0201_0000_4040);
    }

    #[test]
    fn an_xapic_destination_has_eight_bits_and_255_is_no_id() {
        assert_eq!(Command::fixed(0x40).for_xapic(254), Ok((0xfe00_0000, 0x4040)));
        for apic_id in [255, 256, 0x7777, u32::MAX] {
            assert_eq!(Command::fixed(0x40).for_xapic(apic_id), Err(SendError::DestinationTooWide { apic_id }));
        }
    }

    #[test]
    fn nmis_set_the_delivery_mode() {
        assert_eq!(Command::NMI.for_x2apic(1), 0x0000_0001_0000_4400);
        assert_eq!(Command::NMI.all_but_self().for_xapic(0), Ok((0, 0x000c_4400)));
    }

    #[test]
    fn init_is_asserted_and_has_no_vector() {
        assert_eq!(Command::INIT.for_x2apic(513), 0x0000_0201_0000_4500);
    }

    #[test]
    fn shorthands_need_no_destination() {
        assert_eq!(Command::fixed(0x31).all_but_self().for_x2apic(0), 0x000c_4031);
        assert_eq!(Command::fixed(0x31).to_self().for_xapic(0), Ok((0, 0x0004_4031)));
    }

    #[test]
    fn a_cluster_is_sixteen_ids_and_one_write() {
        let destination = [0x10, 0x13, 0x1f].iter().fold(0, |set, &id| set | logical_id(id));
        assert_eq!(destination, 0x0001_8009);
        assert_eq!(Command::fixed(0xf1).logical().for_x2apic(destination), 0x0001_8009_0000_48f1);
    }

    #[test]
    fn logical_ids_split_after_four_bits() {
        assert_eq!(logical_id(0), 0x0000_0001);
        assert_eq!(logical_id(15), 0x0000_8000);
        assert_eq!(logical_id(16), 0x0001_0001);
        assert_eq!(logical_id(261), 0x0010_0020);
        assert_eq!(logical_id(513), 0x0020_0002);
        assert_eq!(cluster_of(513), 32);
    }
}
