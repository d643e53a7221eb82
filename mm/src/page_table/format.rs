//! What the walker needs from below: how an entry looks, and where tables live.

use crate::error::Result;
use core::sync::atomic::AtomicU64;

/// Level of a table or of an entry in it: L4 is the root, entries of L1 map 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Its entries map 4 KiB.
    L1 = 1,
    /// Its entries map 2 MiB, or name a table of L1.
    L2 = 2,
    /// Its entries map 1 GiB (on CPUs that can), or name a table of L2.
    L3 = 3,
    /// The root: its entries name tables of L3.
    L4 = 4,
}

impl Level {
    /// 4 KiB pages that one entry of this level stands for.
    pub const fn nr_pages(self) -> u64 {
        1 << (9 * (self as u32 - 1))
    }

    /// Bytes that one entry of this level stands for.
    pub const fn nr_bytes(self) -> u64 {
        self.nr_pages() << 12
    }

    /// The level of the tables that entries of this level name.
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::L1 => None,
            Self::L2 => Some(Self::L1),
            Self::L3 => Some(Self::L2),
            Self::L4 => Some(Self::L3),
        }
    }

    /// Index of page number `page` in a table of this level.
    pub(super) const fn index_of(self, page: u64) -> usize {
        (page / self.nr_pages()) as usize % 512
    }
}

/// How accesses through a mapping are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cache {
    /// As memory should be.
    WriteBack,
    /// Each access reaches the device, in order.
    Uncached,
    /// Writes are collected: frame buffers.
    WriteCombining,
}

/// What a mapping permits. Every mapping can be read by the kernel, and by nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// Writes are permitted.
    pub writable: bool,
    /// Instruction fetches are permitted.
    pub executable: bool,
    /// How accesses are cached.
    pub cache: Cache,
}

impl Attributes {
    /// Constants, and text that is being read.
    pub const READ_ONLY: Self = Self { writable: false, executable: false, cache: Cache::WriteBack };
    /// Data, heap, stacks.
    pub const READ_WRITE: Self = Self { writable: true, ..Self::READ_ONLY };
    /// Text.
    pub const EXECUTABLE: Self = Self { executable: true, ..Self::READ_ONLY };
    /// Registers of a device.
    pub const DEVICE: Self = Self { cache: Cache::Uncached, ..Self::READ_WRITE };

    /// Whether going from `self` to `new` takes a right away, or changes how accesses are cached: other CPUs must not go
    /// on with what they remember.
    pub(super) fn is_lowered_by(self, new: Self) -> bool {
        self.writable && !new.writable || self.executable && !new.executable || self.cache != new.cache
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing: the entry is free.
    Empty,
    /// The physical address of a table of the level below.
    Table(u64),
    /// A mapping.
    Leaf {
        /// Physical address of its first byte.
        phys: u64,
        /// What it permits.
        attributes: Attributes,
    },
    /// What was a leaf until its range was unmapped, and must be kept until no TLB holds it any more.
    Quarantined {
        /// Physical address of its first byte.
        phys: u64,
    },
    /// The physical address of a table that was taken out of the tree, and must be kept until no CPU remembers it.
    QuarantinedTable(u64),
}

/// How entries are encoded. An implementor is a value, so that it can be the proof that the CPU knows the bits it uses.
///
/// Zero decodes to [`Entry::Empty`] at every level, and what is encoded decodes to itself: attributes that the
/// hardware cannot express must not be changed silently into laxer ones.
pub trait Format {
    /// An entry that names a table. It takes no rights away: the leaf below decides.
    fn table(&self, phys: u64) -> u64;

    /// An entry of `level` (not L4) that maps `phys`, aligned to what such an entry maps.
    fn leaf(&self, level: Level, phys: u64, attributes: Attributes) -> u64;

    /// An entry of `level` that the hardware takes as not present and that remembers `phys`.
    ///
    /// On CPUs with the L1 terminal fault a not-present entry should not hold the plain address of cached memory where
    /// untrusted code runs: store its complement there.
    fn quarantined(&self, level: Level, phys: u64) -> u64;

    /// An entry of `level` (L2 or L3) that the hardware takes as not present and that remembers the table at `table`.
    fn quarantined_table(&self, level: Level, table: u64) -> u64;

    /// What an entry of `level` says. Bits that the hardware sets by itself (accessed, dirty) make no difference.
    fn decode(&self, level: Level, value: u64) -> Entry;

    /// Leaf `value` with other attributes, and with the bits that the hardware has set, and a claim, kept.
    fn with_attributes(&self, level: Level, value: u64, attributes: Attributes) -> u64;

    /// Leaf `value` with or without a mark, which the hardware ignores and which makes no difference to what it says.
    fn with_claim(&self, value: u64, is_claimed: bool) -> u64;
}

/// Where tables live.
pub trait Tables {
    /// Entry `index` of the table at physical address `table`: the same entry every time, until the table is given back.
    ///
    /// # Safety
    /// The table came from [`alloc_table`](Self::alloc_table), and was not given back; `index` is below 512.
    unsafe fn entry(&self, table: u64, index: usize) -> &AtomicU64;

    /// A frame of zeros for a table; its physical address.
    ///
    /// # Errors
    /// `OutOfMemory`.
    fn alloc_table(&self) -> Result<u64>;

    /// Takes back a table that was never linked, so that no walk has seen it: another CPU was faster.
    fn free_table(&self, table: u64);

    /// Number of the newest shootdown round begun so far, by any CPU. Read after entries were cleared: every round with
    /// a higher number was begun later.
    fn newest_round(&self) -> u64;
}
