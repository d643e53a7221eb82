//! The map of physical memory: read from the firmware's, carved by allocation, shown to the kernel.
//!
//! Invariants: regions are sorted, page-aligned, never empty, never overlap, and neighbours of one kind are merged.
//! Where the firmware's entries overlap, the safest reading wins: memory is usable only if nothing says otherwise.
//! Allocation turns `Usable` into a kind that the direct map covers just as well, so page tables may be built from any
//! later or earlier state of the map.
//!
//! Called by: the binary's `boot`, for all memory it takes.

use core::fmt;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Regions a map can hold; QEMU's has about ten, and each file and each table page may add one.
pub const CAPACITY: usize = 256;
/// Physical addresses end here (52 bits).
const LAST: u64 = 1 << 52;

/// What a region is, with the protocol's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Kind {
    /// Free for the kernel.
    Usable = 0,
    /// Not to be touched.
    Reserved = 1,
    /// ACPI tables; free once they were read.
    AcpiReclaimable = 2,
    /// ACPI's own storage.
    AcpiNvs = 3,
    /// Broken memory.
    Bad = 4,
    /// The loader's: responses, stacks, page tables, its code. Free once the kernel needs none of it.
    Reclaimable = 5,
    /// The kernel's image, its file, and modules.
    ExecutableAndModules = 6,
}

impl Kind {
    /// The kind of an E820 or PVH memory map type; unknown types are reserved.
    pub fn from_e820(number: u32) -> Self {
        match number {
            1 => Self::Usable,
            3 => Self::AcpiReclaimable,
            4 => Self::AcpiNvs,
            5 => Self::Bad,
            _ => Self::Reserved,
        }
    }

    /// Which of two overlapping entries is believed: the higher.
    fn caution(self) -> u8 {
        match self {
            Self::Usable => 0,
            Self::Reclaimable | Self::ExecutableAndModules => 1,
            Self::AcpiReclaimable => 2,
            Self::AcpiNvs => 3,
            Self::Reserved => 4,
            Self::Bad => 5,
        }
    }
}

/// A half-open range of physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub base: u64,
    /// One past the last byte.
    pub end: u64,
}

impl Range {
    /// `size` bytes from `base`, cut off at the end of the physical address space.
    pub fn of(base: u64, size: u64) -> Self {
        let base = base.min(LAST);
        Self { base, end: base.saturating_add(size).min(LAST) }
    }

    /// Every page that the range touches.
    pub fn pages_around(self) -> Self {
        if self.is_empty() {
            self
        } else {
            Self { base: self.base & !(PAGE - 1), end: self.end.next_multiple_of(PAGE) }
        }
    }

    /// Every page that lies wholly inside the range.
    pub fn pages_within(self) -> Self {
        Self { base: self.base.next_multiple_of(PAGE), end: self.end & !(PAGE - 1) }
    }

    /// Bytes in the range.
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.base)
    }

    /// True if there is no byte in the range.
    pub fn is_empty(self) -> bool {
        self.end <= self.base
    }

    fn overlaps(self, other: Self) -> bool {
        self.base < other.end && other.base < self.end
    }
}

/// A range and what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Page-aligned and not empty.
    pub range: Range,
    /// What it is.
    pub kind: Kind,
}

/// Why memory could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryError {
    /// No usable range of `bytes`, aligned to `align`, ends at or below `below`.
    Exhausted {
        /// Bytes asked for.
        bytes: u64,
        /// Alignment asked for.
        align: u64,
        /// Upper bound of the address.
        below: u64,
    },
    /// The map would need more than [`CAPACITY`] regions.
    TooFragmented,
    /// The firmware's map names no usable memory.
    NothingUsable,
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exhausted { bytes, align, below } => {
                write!(f, "out of memory: no {bytes:#x} bytes, aligned to {align:#x}, below {below:#x}")
            }
            Self::TooFragmented => write!(f, "memory map has more than {CAPACITY} regions"),
            Self::NothingUsable => write!(f, "memory map names no usable memory"),
        }
    }
}

/// The map.
#[derive(Clone)]
pub struct Map {
    regions: [Region; CAPACITY],
    nr_regions: usize,
}

impl Map {
    /// Reads the firmware's entries, in any order, overlapping or empty.
    ///
    /// Usable entries shrink to whole pages, all others grow. Page 0 becomes reserved: the protocol never hands it out.
    ///
    /// # Errors
    /// `TooFragmented`, `NothingUsable`.
    pub fn new(entries: impl Iterator<Item = (Range, Kind)> + Clone) -> Result<Self, MemoryError> {
        let entries = entries
            .map(|(range, kind)| (if kind == Kind::Usable { range.pages_within() } else { range.pages_around() }, kind))
            .filter(|(range, _)| !range.is_empty());
        let mut map = Self {
            regions: [Region { range: Range { base: 0, end: 0 }, kind: Kind::Reserved }; CAPACITY],
            nr_regions: 0,
        };
        let mut from = 0;
        loop {
            // The next address at which any entry starts or ends; between two of these nothing changes.
            let edges = entries.clone().flat_map(|(range, _)| [range.base, range.end]);
            let Some(to) = edges.filter(|&edge| edge > from).min() else { break };
            let here = entries.clone().filter(|(range, _)| range.base <= from && from < range.end);
            if let Some((_, kind)) = here.max_by_key(|(_, kind)| kind.caution()) {
                map.insert(map.nr_regions, Region { range: Range { base: from, end: to }, kind })?;
                map.merge();
            }
            from = to;
        }
        map.claim(Range { base: 0, end: PAGE }, Kind::Reserved)?;
        if map.regions().iter().any(|region| region.kind == Kind::Usable) {
            Ok(map)
        } else {
            Err(MemoryError::NothingUsable)
        }
    }

    /// The regions, sorted by address.
    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.nr_regions]
    }

    /// Takes whatever is usable in the pages that `range` touches.
    ///
    /// # Errors
    /// `TooFragmented`.
    pub fn claim(&mut self, range: Range, kind: Kind) -> Result<(), MemoryError> {
        self.convert(range.pages_around(), Kind::Usable, kind)
    }

    /// Gives back what `claim` took as `kind`: whole pages inside `range` only.
    ///
    /// # Errors
    /// `TooFragmented`.
    pub fn release(&mut self, range: Range, kind: Kind) -> Result<(), MemoryError> {
        self.convert(range.pages_within(), kind, Kind::Usable)
    }

    /// True if every byte of `range` is usable.
    pub fn is_usable(&self, range: Range) -> bool {
        self.regions().iter().any(|region| {
            region.kind == Kind::Usable && region.range.base <= range.base && range.end <= region.range.end
        })
    }

    /// Takes the highest `bytes` (rounded up to pages) that end at or below `below`; returns their address.
    ///
    /// `align` is a power of two.
    ///
    /// # Errors
    /// `Exhausted`, `TooFragmented`.
    pub fn allocate(&mut self, bytes: u64, align: u64, kind: Kind, below: u64) -> Result<u64, MemoryError> {
        let exhausted = MemoryError::Exhausted { bytes, align, below };
        let align = align.max(PAGE);
        let size = bytes.max(1).checked_next_multiple_of(PAGE).ok_or(exhausted)?;
        let fit = |region: &Region| {
            let base = region.range.end.min(below).checked_sub(size)? & !(align - 1);
            (region.kind == Kind::Usable && base >= region.range.base).then_some(base)
        };
        let base = self.regions().iter().rev().find_map(fit).ok_or(exhausted)?;
        self.convert(Range::of(base, size), Kind::Usable, kind)?;
        Ok(base)
    }

    fn convert(&mut self, range: Range, from: Kind, to: Kind) -> Result<(), MemoryError> {
        let mut index = 0;
        while index < self.nr_regions {
            let Region { range: old, kind } = self.regions[index];
            if kind == from && !range.is_empty() && old.overlaps(range) {
                let cut = Range { base: old.base.max(range.base), end: old.end.min(range.end) };
                self.regions[index] = Region { range: cut, kind: to };
                if cut.end < old.end {
                    self.insert(index + 1, Region { range: Range { base: cut.end, end: old.end }, kind })?;
                }
                if old.base < cut.base {
                    self.insert(index, Region { range: Range { base: old.base, end: cut.base }, kind })?;
                    index += 1;
                }
            }
            index += 1;
        }
        self.merge();
        Ok(())
    }

    fn insert(&mut self, index: usize, region: Region) -> Result<(), MemoryError> {
        if self.nr_regions == CAPACITY {
            return Err(MemoryError::TooFragmented);
        }
        self.regions.copy_within(index..self.nr_regions, index + 1);
        self.regions[index] = region;
        self.nr_regions += 1;
        Ok(())
    }

    fn merge(&mut self) {
        let mut kept = 0;
        for index in 1..self.nr_regions {
            let next = self.regions[index];
            let last = &mut self.regions[kept];
            if last.kind == next.kind && last.range.end == next.range.base {
                last.range.end = next.range.end;
            } else {
                kept += 1;
                self.regions[kept] = next;
            }
        }
        self.nr_regions = self.nr_regions.min(kept + 1);
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
