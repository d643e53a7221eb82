//! CRC-32, as Ethernet, gzip and PNG compute it (ITU-T V.42, section 8.1.1.6.2): reflected, polynomial 0x04c11db7.

/// The polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// A checksum of what was added so far.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Crc32 {
    /// Of nothing.
    pub const fn new() -> Self {
        Self(!0)
    }

    /// With a byte more. Bit by bit: a recording has tens of thousands of bytes, and a table would be a kibibyte.
    pub fn add(&mut self, byte: u8) {
        self.0 ^= u32::from(byte);
        for _ in 0..8 {
            self.0 = (self.0 >> 1) ^ (POLYNOMIAL & (self.0 & 1).wrapping_neg());
        }
    }

    /// The checksum.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

/// The checksum of `bytes`.
pub fn of(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    bytes.iter().for_each(|&byte| crc.add(byte));
    crc.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogues() {
        assert_eq!(of(b"123456789"), 0xcbf4_3926);
        assert_eq!(of(b""), 0);
    }
}
