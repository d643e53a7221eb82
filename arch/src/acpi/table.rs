//! The root pointer, the root table, and what all tables share: a header with a length and a checksum.

use super::{AcpiError, PhysicalMemory};

/// Bytes of the header that every table but the RSDP starts with.
pub(super) const HEADER_LEN: u32 = 36;
/// No static table of a real machine comes near; a length beyond is a broken one.
const MAX_LEN: u32 = 1 << 20;

/// The root table: the list of all others.
#[derive(Debug)]
pub struct Root<'m, M> {
    table: Table<'m, M>,
    entry_len: u32,
}

/// One table, whole and checksummed.
#[derive(Debug)]
pub struct Table<'m, M> {
    memory: &'m M,
    phys: u64,
    len: u32,
}

impl<M> Clone for Table<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Table<'_, M> {}

impl<'m, M: PhysicalMemory> Root<'m, M> {
    /// Follows the RSDP at `rsdp_phys` to the XSDT, or to the RSDT where there is no sound XSDT.
    ///
    /// # Errors
    /// [`AcpiError`], of the RSDP or of the last root tried.
    pub fn find(memory: &'m M, rsdp_phys: u64) -> Result<Self, AcpiError> {
        let unreadable = AcpiError::Unreadable { phys: rsdp_phys };
        let mut first = [0; 20];
        if !memory.read(rsdp_phys, &mut first) {
            return Err(unreadable);
        }
        if first[..8] != *b"RSD PTR " {
            return Err(AcpiError::WrongSignature { phys: rsdp_phys, found: [first[0], first[1], first[2], first[3]] });
        }
        if sum(&first) != 0 {
            return Err(AcpiError::BadChecksum { phys: rsdp_phys });
        }
        let mut whole = [0; 36];
        let has_xsdt = first[15] >= 2 && memory.read(rsdp_phys, &mut whole) && sum(&whole) == 0;
        let xsdt_phys = le_u64(&whole[24..]);
        if has_xsdt
            && xsdt_phys != 0
            && let Ok(table) = Table::at(memory, xsdt_phys, *b"XSDT")
        {
            return Ok(Self { table, entry_len: 8 });
        }
        let rsdt_phys = u64::from(le_u32(&first[16..]));
        Ok(Self { table: Table::at(memory, rsdt_phys, *b"RSDT")?, entry_len: 4 })
    }

    /// The addresses it lists.
    fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        (HEADER_LEN..self.table.len).step_by(self.entry_len as usize).filter_map(|offset| match self.entry_len {
            8 => self.table.u64_at(offset),
            _ => self.table.u32_at(offset).map(u64::from),
        })
    }

    /// The first sound table with `signature`.
    ///
    /// # Errors
    /// [`AcpiError::NotFound`]; or what is wrong with the table, if it is listed and not sound.
    pub fn table(&self, signature: [u8; 4]) -> Result<Table<'m, M>, AcpiError> {
        let mut error = AcpiError::NotFound { signature };
        for phys in self.addresses() {
            match Table::at(self.table.memory, phys, signature) {
                Ok(table) => return Ok(table),
                Err(AcpiError::WrongSignature { .. } | AcpiError::Unreadable { .. }) => {}
                Err(other) => error = other,
            }
        }
        Err(error)
    }
}

impl<'m, M: PhysicalMemory> Table<'m, M> {
    fn at(memory: &'m M, phys: u64, signature: [u8; 4]) -> Result<Self, AcpiError> {
        let mut header = [0; 8];
        if !memory.read(phys, &mut header) {
            return Err(AcpiError::Unreadable { phys });
        }
        let found = [header[0], header[1], header[2], header[3]];
        if found != signature {
            return Err(AcpiError::WrongSignature { phys, found });
        }
        let len = le_u32(&header[4..]);
        let is_sane = (HEADER_LEN..=MAX_LEN).contains(&len) && phys.checked_add(u64::from(len)).is_some();
        if !is_sane {
            return Err(AcpiError::BadLength { phys, length: len });
        }
        let table = Self { memory, phys, len };
        match table.checksum() {
            Some(0) => Ok(table),
            Some(_) => Err(AcpiError::BadChecksum { phys }),
            None => Err(AcpiError::Unreadable { phys }),
        }
    }

    fn checksum(&self) -> Option<u8> {
        let mut total = 0u8;
        let mut buffer = [0; 64];
        for offset in (0..self.len).step_by(buffer.len()) {
            let part = &mut buffer[..(self.len - offset).min(64) as usize];
            self.read(offset, part)?;
            total = total.wrapping_add(sum(part));
        }
        Some(total)
    }

    /// The physical address.
    pub fn phys(&self) -> u64 {
        self.phys
    }

    /// Bytes, header included.
    pub fn len_bytes(&self) -> u32 {
        self.len
    }

    /// Fills `buffer` from `offset`; `None` where that leaves the table.
    pub(super) fn read(&self, offset: u32, buffer: &mut [u8]) -> Option<()> {
        let end = u64::from(offset) + buffer.len() as u64;
        (end <= u64::from(self.len) && self.memory.read(self.phys + u64::from(offset), buffer)).then_some(())
    }

    fn array_at<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Some(bytes)
    }

    pub(super) fn u8_at(&self, offset: u32) -> Option<u8> {
        self.array_at(offset).map(u8::from_le_bytes)
    }

    pub(super) fn u16_at(&self, offset: u32) -> Option<u16> {
        self.array_at(offset).map(u16::from_le_bytes)
    }

    pub(super) fn u32_at(&self, offset: u32) -> Option<u32> {
        self.array_at(offset).map(u32::from_le_bytes)
    }

    pub(super) fn u64_at(&self, offset: u32) -> Option<u64> {
        self.array_at(offset).map(u64::from_le_bytes)
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |total, &byte| total.wrapping_add(byte))
}

fn le_u32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn le_u64(bytes: &[u8]) -> u64 {
    u64::from(le_u32(bytes)) | u64::from(le_u32(&bytes[4..])) << 32
}
