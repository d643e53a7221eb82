//! Which of the CPUs that a bootloader lists are told to come, and under which number.
//!
//! The list is not believed: entries may be missing, wild, listed twice, listed under an id that another has, or more
//! than there is room for. Each entry gets one [`Fate`], and only a CPU whose entry and APIC id are nobody else's is
//! told to come.
//!
//! Numbers are dense and follow the APIC ids, whatever the order of the list: neighbours in a cluster of the x2APIC get
//! neighbouring numbers, so that one interrupt command reaches them. The CPU that boots is number 0 wherever it stands.
//!
//! Called by: boot, once, on the first CPU.

use core::fmt;

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the CPU that boots.
    First,
    /// It is told to come.
    Start {
        /// Its number, from 1 on.
        cpu: usize,
    },
    /// It is parked: fewer CPUs were asked for.
    NotAsked,
    /// It is parked: there are numbers for so many CPUs and no more.
    NoRoom,
    /// It is parked: there was no memory for it.
    NoMemory,
    /// It is parked: interrupts in this mode cannot name its APIC id.
    OutOfReach,
    /// It is parked: its APIC id is that of an entry before it.
    SameId {
        /// Place of the other in the list.
        as_entry: usize,
    },
    /// Left alone: it is an entry that was listed before.
    SameEntry {
        /// Place of the other in the list.
        as_entry: usize,
    },
    /// Left alone: there is no entry where the list points.
    NoEntry,
}

impl Fate {
    /// Whether its CPU is to wait in the kernel's own code, where it takes part in nothing.
    pub fn is_parked(&self) -> bool {
        matches!(self, Self::NotAsked | Self::NoRoom | Self::NoMemory | Self::OutOfReach | Self::SameId { .. })
    }

    /// Whether the list is at fault, and not a limit of ours.
    pub fn is_flaw(&self) -> bool {
        matches!(self, Self::SameId { .. } | Self::SameEntry { .. } | Self::NoEntry)
    }
}

/// Why it is not among the CPUs; empty for those that are.
impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First | Self::Start { .. } => Ok(()),
            Self::NotAsked => f.write_str("not asked for, by cpus="),
            Self::NoRoom => f.write_str("more than this kernel can use"),
            Self::NoMemory => f.write_str("no memory for it"),
            Self::OutOfReach => f.write_str("an APIC id that xAPIC mode cannot name"),
            Self::SameId { as_entry } => write!(f, "has the same APIC id as entry {as_entry}"),
            Self::SameEntry { as_entry } => write!(f, "the same as entry {as_entry}"),
            Self::NoEntry => f.write_str("points at no entry"),
        }
    }
}

/// One entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the list, from 0 on.
    pub place: usize,
    /// Where its block is; what it is compared by. `None` if the list points at nothing that can be a block.
    pub block: Option<usize>,
    /// The APIC id that the block tells; of no meaning without one.
    pub apic_id: u32,
    /// What [`plan`] made of it.
    pub fate: Fate,
}

impl Entry {
    /// An entry of which nothing is decided yet.
    pub fn new(place: usize, block: Option<usize>, apic_id: u32) -> Self {
        Self { place, block, apic_id, fate: Fate::NoEntry }
    }
}

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Numbers of CPUs that there are, the first CPU's included.
    pub nr_cpus: usize,
    /// How many CPUs were asked for, the first one included.
    pub nr_asked: usize,
    /// The highest APIC id that an interrupt can name.
    pub max_apic_id: u32,
}

/// Decides the fate of each entry for a machine whose first CPU has the APIC id `first`. Returns whether that one is
/// listed. Leaves the entries in the order of their APIC ids, those without a block last.
///
/// Costs what two sorts cost, whatever the list holds.
pub fn plan(entries: &mut [Entry], first: u32, limits: Limits) -> bool {
    entries.sort_unstable_by_key(|entry| (entry.block.is_none(), entry.block, entry.place));
    let mut before: Option<Entry> = None;
    for entry in entries.iter_mut() {
        entry.fate = match (entry.block, before) {
            (None, _) => Fate::NoEntry,
            (block, Some(other)) if other.block == block => Fate::SameEntry { as_entry: other.place },
            _ => Fate::First,
        };
        if !entry.fate.is_flaw() {
            before = Some(*entry);
        }
    }
    entries.sort_unstable_by_key(|entry| (entry.block.is_none(), entry.apic_id, entry.place));
    let (mut nr_started, mut is_listed) = (0, false);
    let mut before: Option<Entry> = None;
    for entry in entries.iter_mut().filter(|entry| !entry.fate.is_flaw()) {
        entry.fate = match before {
            Some(other) if other.apic_id == entry.apic_id => Fate::SameId { as_entry: other.place },
            _ if entry.apic_id == first => Fate::First,
            _ if entry.apic_id > limits.max_apic_id => Fate::OutOfReach,
            _ if nr_started + 1 >= limits.nr_asked => Fate::NotAsked,
            _ if nr_started + 1 >= limits.nr_cpus => Fate::NoRoom,
            _ => {
                nr_started += 1;
                Fate::Start { cpu: nr_started }
            }
        };
        is_listed |= entry.fate == Fate::First;
        if !entry.fate.is_flaw() {
            before = Some(*entry);
        }
    }
    is_listed
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
