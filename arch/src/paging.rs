//! The format of page-table entries, and CR3.
//!
//! ```text
//! 63 no-execute | 52..63 ignored | 12..52 address | 9..12 ignored | 8 global | 7 leaf (PAT at level 1)
//! 6 dirty | 5 accessed | 4 cache-disable | 3 write-through | 2 user | 1 writable | 0 present
//! ```
//! In a leaf of level 2 or 3 the PAT bit is bit 12, below the address (SDM vol. 3, "4-Level Paging and 5-Level
//! Paging").
//!
//! Pure but for CR3. Global and user bits are never set: see `control` and the crate's principles. Tables give every
//! right and leaves take it away, so that a change of rights is a change of one entry.
//! Called by: the kernel's page-table walker, which stores entries as `AtomicU64`.

use core::fmt;
use x86_64::registers::control::{Cr3, Cr4, Cr4Flags};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_DISABLE: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// At level 2 and 3: this is a leaf.
const LARGE: u64 = 1 << 7;
/// PAT bit of a level-1 leaf.
const PAT_SMALL: u64 = 1 << 7;
/// PAT bit of a larger leaf.
const PAT_LARGE: u64 = 1 << 12;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Entries in a table.
pub const NR_ENTRIES: usize = 512;
/// Bytes of a table, and of the smallest page.
pub const PAGE_SIZE: usize = 4096;

/// The level of a table, by what its entries map: 1 maps 4 KiB pages, up to 4 or 5 for the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Page table.
    One = 1,
    /// Page directory.
    Two = 2,
    /// Page-directory-pointer table.
    Three = 3,
    /// PML4.
    Four = 4,
    /// PML5.
    Five = 5,
}

impl Level {
    /// The level of the root table that this CPU walks from.
    pub fn root() -> Self {
        if Cr4::read().contains(Cr4Flags::L5_PAGING) { Self::Five } else { Self::Four }
    }

    /// The next lower level.
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::One => None,
            Self::Two => Some(Self::One),
            Self::Three => Some(Self::Two),
            Self::Four => Some(Self::Three),
            Self::Five => Some(Self::Four),
        }
    }

    /// Bits of an address below what one entry maps.
    pub const fn shift(self) -> u32 {
        12 + 9 * (self as u32 - 1)
    }

    /// Bytes that one entry maps: 4 KiB, 2 MiB, 1 GiB, 512 GiB, 256 TiB.
    pub const fn bytes_per_entry(self) -> u64 {
        1 << self.shift()
    }

    /// The entry, 0 to 511, by which a table of this level translates `address`.
    pub const fn index(self, address: usize) -> usize {
        address >> self.shift() & (NR_ENTRIES - 1)
    }

    /// Can an entry of this level be a leaf? (Level 3 only on a CPU with `cpu::Pages1GiB`.)
    pub const fn has_leaves(self) -> bool {
        self as u32 <= 3
    }
}

/// What a leaf allows. Reading is always allowed, and there is nothing both writable and executable to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    ReadOnly,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    ReadExecute,
}

/// How a leaf's memory is cached, by the PAT layout that `control` loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryType {
    /// Ordinary memory. PAT 0.
    WriteBack,
    /// Device registers. PAT 3: uncached whatever the MTRRs say.
    Uncached,
    /// Frame buffers. PAT 5.
    WriteCombining,
}

/// A leaf that cannot be: an address that is not a multiple of the page size or too wide, or a level without leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLeaf {
    /// The physical address asked for.
    pub phys: u64,
    /// The level asked for.
    pub level: Level,
}

/// One page-table entry, as a value. The tables themselves hold `AtomicU64`s: the CPU writes accessed and dirty bits.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Entry(u64);

impl Entry {
    /// Not present; all other bits are ignored by the CPU, and zero here.
    pub const EMPTY: Self = Self(0);

    /// The entry with these bits, as read from a table.
    pub const fn from_raw(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, to be stored.
    pub const fn to_raw(self) -> u64 {
        self.0
    }

    /// Points at the table in frame `phys`. Grants all rights; the leaves restrict.
    ///
    /// # Panics
    /// If `phys` is not the address of a frame: a broken invariant of the walker.
    pub const fn table(phys: u64) -> Self {
        assert!(phys & !ADDRESS == 0, "a page table lies in a frame");
        Self(phys | PRESENT | WRITABLE)
    }

    /// Maps the page at `phys`, of the size that `level` gives. Accessed and dirty are set ahead, so that the CPU does
    /// not spend a locked access on them.
    ///
    /// The no-execute bit is used as if EFER.NXE were set; a kernel on a CPU without it clears the bit by
    /// [`Entry::without_no_execute`].
    ///
    /// # Errors
    /// [`BadLeaf`].
    pub const fn leaf(level: Level, phys: u64, access: Access, memory: MemoryType) -> Result<Self, BadLeaf> {
        if !level.has_leaves() || phys & !leaf_address_mask(level) != 0 {
            return Err(BadLeaf { phys, level });
        }
        let is_small = matches!(level, Level::One);
        let rights = match access {
            Access::ReadOnly => NO_EXECUTE,
            Access::ReadWrite => NO_EXECUTE | WRITABLE,
            Access::ReadExecute => 0,
        };
        let pat = if is_small { PAT_SMALL } else { PAT_LARGE };
        let caching = match memory {
            MemoryType::WriteBack => 0,
            MemoryType::Uncached => CACHE_DISABLE | WRITE_THROUGH,
            MemoryType::WriteCombining => pat | WRITE_THROUGH,
        };
        let size = if is_small { 0 } else { LARGE };
        Ok(Self(phys | PRESENT | ACCESSED | DIRTY | size | rights | caching))
    }

    /// The same without the no-execute bit, which is reserved on a CPU without `cpu::NoExecute`.
    pub const fn without_no_execute(self) -> Self {
        Self(self.0 & !NO_EXECUTE)
    }

    /// The same leaf of `level` with other rights: address and memory type stay.
    pub const fn with_access(self, access: Access) -> Self {
        let rights = match access {
            Access::ReadOnly => NO_EXECUTE,
            Access::ReadWrite => NO_EXECUTE | WRITABLE,
            Access::ReadExecute => 0,
        };
        Self(self.0 & !(NO_EXECUTE | WRITABLE) | rights)
    }

    /// Does the CPU use this entry?
    pub const fn is_present(self) -> bool {
        self.0 & PRESENT != 0
    }

    /// In a table of `level`: is this a page, not a table?
    pub const fn is_leaf(self, level: Level) -> bool {
        self.is_present() && (matches!(level, Level::One) || level.has_leaves() && self.0 & LARGE != 0)
    }

    /// The table that a non-leaf entry points at.
    pub const fn table_address(self) -> u64 {
        self.0 & ADDRESS
    }

    /// The page that a leaf of `level` maps.
    pub const fn leaf_address(self, level: Level) -> u64 {
        self.0 & leaf_address_mask(level)
    }

    /// May the page be written?
    pub const fn is_writable(self) -> bool {
        self.0 & WRITABLE != 0
    }

    /// May the page be executed?
    pub const fn is_executable(self) -> bool {
        self.0 & NO_EXECUTE == 0
    }

    /// A leaf's rights, as the nearest [`Access`]; `None` for a page that is both writable and executable.
    pub const fn access(self) -> Option<Access> {
        match (self.is_writable(), self.is_executable()) {
            (false, false) => Some(Access::ReadOnly),
            (true, false) => Some(Access::ReadWrite),
            (false, true) => Some(Access::ReadExecute),
            (true, true) => None,
        }
    }

    /// A leaf's PAT index, 0 to 7.
    pub const fn pat_index(self, level: Level) -> u8 {
        let pat = if matches!(level, Level::One) { PAT_SMALL } else { PAT_LARGE };
        (self.0 & pat != 0) as u8 * 4 + (self.0 & CACHE_DISABLE != 0) as u8 * 2 + (self.0 & WRITE_THROUGH != 0) as u8
    }

    /// Has the CPU used the entry?
    pub const fn is_accessed(self) -> bool {
        self.0 & ACCESSED != 0
    }

    /// Has the CPU written through the leaf?
    pub const fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }
}

/// Address bits of a leaf: a larger page has fewer, and bit 12 is PAT there.
const fn leaf_address_mask(level: Level) -> u64 {
    ADDRESS & !(level.bytes_per_entry() - 1)
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({:#x})", self.0)
    }
}

/// The physical address of the root table that this CPU walks from.
pub fn root_table() -> u64 {
    Cr3::read_raw().0.start_address().as_u64()
}

/// Makes this CPU walk from the table at `root`. Flushes its whole TLB, as there are no global pages.
///
/// # Safety
/// `root` is a table of [`Level::root`] that maps the running code, the stack, and everything in use, with the rights
/// that use needs; it and its tables stay.
pub unsafe fn set_root_table(root: u64) {
    // SAFETY: the caller's promise. Caching bits of CR3 stay 0: the tables are ordinary memory.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) }
}

#[cfg(test)]
mod tests;
