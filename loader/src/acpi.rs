//! Just enough ACPI to find the processors and the I/O APICs: RSDP, then RSDT or XSDT, then MADT.
//!
//! Nothing is read before its checksum was right; a table that is broken counts as absent.
//! After the ACPI specification 6.5, sections 5.2.5 to 5.2.12; the DMAR flags after Intel's VT-d specification.
//!
//! Called by: the binary's `boot`, `mp` and `interrupts`.

/// Physical memory that can be looked at.
pub trait Physical {
    /// `len` bytes at physical address `base`, or `None` where nothing can be read.
    fn bytes(&self, base: u64, len: usize) -> Option<&[u8]>;
}

/// The root of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rsdp {
    /// Its own physical address.
    pub address: u64,
    root: u64,
    /// Bytes of an address in the root table: 4 in an RSDT, 8 in an XSDT.
    width: usize,
}

impl Rsdp {
    /// The root pointer at `address`, if there is one.
    pub fn at(memory: &impl Physical, address: u64) -> Option<Self> {
        let first = memory.bytes(address, 20)?;
        if &first[..8] != b"RSD PTR " || !sums_to_zero(first) {
            return None;
        }
        if first[15] >= 2 {
            let whole = memory.bytes(address, 36)?;
            let root = u64_at(whole, 24)?;
            if sums_to_zero(whole) && root != 0 {
                return Some(Self { address, root, width: 8 });
            }
        }
        Some(Self { address, root: u32_at(first, 16)?.into(), width: 4 })
    }

    /// Looks for the root pointer where a BIOS leaves it: the first KiB of the EBDA, then 0xe0000 to 0xfffff.
    pub fn search(memory: &impl Physical) -> Option<Self> {
        let ebda = memory.bytes(0x40e, 2).map_or(0, |word| u64::from(u16::from_le_bytes([word[0], word[1]])) << 4);
        let ebda = if (0x8_0000..0xa_0000).contains(&ebda) { ebda..ebda + 1024 } else { 0..0 };
        ebda.chain(0xe_0000..0x10_0000).step_by(16).find_map(|address| Self::at(memory, address))
    }

    /// The first table with this signature.
    pub fn table<'a>(&self, memory: &'a impl Physical, signature: &[u8; 4]) -> Option<&'a [u8]> {
        let root = table_at(memory, self.root, if self.width == 8 { b"XSDT" } else { b"RSDT" })?;
        root[36..].chunks_exact(self.width).find_map(|pointer| {
            let address = pointer.iter().rev().fold(0_u64, |address, &byte| address << 8 | u64::from(byte));
            table_at(memory, address, signature)
        })
    }
}

fn table_at<'a>(memory: &'a impl Physical, address: u64, signature: &[u8; 4]) -> Option<&'a [u8]> {
    let header = memory.bytes(address, 36)?;
    if &header[..4] != signature {
        return None;
    }
    let length = usize::try_from(u32_at(header, 4)?).ok().filter(|&length| length >= 36)?;
    memory.bytes(address, length).filter(|table| sums_to_zero(table))
}

/// A processor that may be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Processor {
    /// ACPI processor UID.
    pub uid: u32,
    /// Local APIC id.
    pub apic_id: u32,
}

/// The processors of a MADT that can be started, each APIC id once.
///
/// Type 9 entries (x2APIC) count only if `x2apic`: an id they are needed for cannot be reached otherwise. An entry
/// counts if exactly one of "enabled" and "online capable" is set.
pub fn processors(madt: &[u8], x2apic: bool) -> impl Iterator<Item = Processor> + Clone + '_ {
    let all = move || {
        madt_entries(madt).filter_map(move |entry| {
            let (processor, flags) = match entry[0] {
                0 if entry.len() >= 8 => {
                    (Processor { uid: entry[2].into(), apic_id: entry[3].into() }, u32_at(entry, 4)?)
                }
                9 if x2apic => (Processor { uid: u32_at(entry, 12)?, apic_id: u32_at(entry, 4)? }, u32_at(entry, 8)?),
                _ => return None,
            };
            let broadcast = if entry[0] == 0 { 0xff } else { u32::MAX };
            (matches!(flags & 3, 1 | 2) && processor.apic_id != broadcast).then_some(processor)
        })
    };
    all()
        .enumerate()
        .filter(move |&(index, processor)| all().take(index).all(|p| p.apic_id != processor.apic_id))
        .map(|p| p.1)
}

/// Makes a processor of a MADT one that is not enabled but online-capable, and all that are neither as well; repairs the
/// checksum. For [`crate::lies`].
pub fn make_online_capable(madt: &mut [u8], apic_id: u32) {
    let mut at = 44;
    while let Some(&[kind, length]) = madt.get(at..at + 2) {
        let length = usize::from(length).max(2);
        let Some(entry) = madt.get_mut(at..at + length) else { break };
        let (id, flags) = match kind {
            0 if length >= 8 => (entry[3].into(), &mut entry[4]),
            9 if length >= 16 => (u32_at(entry, 4).unwrap_or(u32::MAX), &mut entry[8]),
            _ => (u32::MAX, &mut 0),
        };
        if id == apic_id || *flags & 3 == 0 {
            *flags = *flags & !3 | 2;
        }
        at += length;
    }
    if madt.len() > 9 {
        madt[9] = 0;
        madt[9] = madt.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
    }
}

/// Physical addresses of the I/O APICs in a MADT.
pub fn io_apics(madt: &[u8]) -> impl Iterator<Item = u64> + '_ {
    madt_entries(madt).filter(|entry| entry[0] == 1).filter_map(|entry| u32_at(entry, 4).map(u64::from))
}

/// True if a DMAR table says that interrupts are remapped and that x2APIC must stay off.
pub fn forbids_x2apic(dmar: &[u8]) -> bool {
    dmar.get(37).is_some_and(|flags| flags & 3 == 3)
}

/// The records of a MADT: type, length, content. Stops at the first one that cannot be.
fn madt_entries(madt: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let mut rest = madt.get(44..).unwrap_or(&[]);
    core::iter::from_fn(move || {
        let length = usize::from(*rest.get(1)?).max(2);
        let (entry, tail) = rest.split_at_checked(length)?;
        rest = tail;
        Some(entry)
    })
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..offset + 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
#[path = "acpi_tests.rs"]
mod tests;
