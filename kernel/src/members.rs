//! Who is who: the bootloader's list of CPUs, and where each of it stands.
//!
//! Written once, by [`crate::others`]; where a CPU stands is looked up anew each time, as late ones may still come.
//!
//! Called by: `others`, and the commands that show CPUs.

use alloc::vec::Vec;
use core::fmt;

use arch::acpi::Readiness;
use arch::entry::ApStart;
use kernel::figures::Things;
use kernel::roster::Fate;
use kernel::shown;
use smp::CpuId;
use spin::Once;

use crate::bootinfo::mp::NoList;
use crate::devices;
use crate::per_cpu::{self, State};

/// An entry of the bootloader's list, and what became of it.
#[derive(Clone, Copy)]
pub struct Member {
    /// Its place in the list.
    pub place: usize,
    /// The APIC id that the list tells; of no meaning for [`Fate::NoEntry`].
    pub apic_id: u32,
    /// What was decided.
    pub fate: Fate,
    /// What its CPU was called with, if it is to be one of the kernel's.
    pub start: Option<&'static ApStart>,
}

impl Member {
    /// The number of the CPU that it is, or was to be.
    pub fn cpu(&self) -> Option<CpuId> {
        match self.fate {
            Fate::Start { cpu } => CpuId::new(cpu),
            _ => None,
        }
    }

    /// Where it stands now. `None` for the first CPU, which was not started.
    pub fn standing(&self) -> Option<Standing> {
        Some(match (self.fate, self.cpu().and_then(per_cpu::of)) {
            (Fate::First, _) => return None,
            (Fate::Start { .. }, Some(area)) => match area.state() {
                State::Failed => match self.start.and_then(ApStart::refused_id) {
                    None => Standing::Absent,
                    Some(apic_id) if apic_id == self.apic_id => Standing::Late,
                    Some(apic_id) => Standing::Stranger { apic_id },
                },
                state => Standing::Is(state),
            },
            (fate, _) => Standing::Out(fate),
        })
    }
}

/// Where a CPU that was listed stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is one of the kernel's.
    Is(State),
    /// It was called and did not come.
    Absent,
    /// It came when nobody waited any more, and parks.
    Late,
    /// Another came in its place, and parks.
    Stranger {
        /// The other's APIC id.
        apic_id: u32,
    },
    /// It was not called to be one of the kernel's.
    Out(Fate),
}

/// One word.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(state) => write!(f, "{state:?}"),
            Self::Absent | Self::Stranger { .. } => f.write_str("Failed"),
            Self::Late => f.write_str("Late"),
            Self::Out(fate) if fate.is_parked() => f.write_str("Parked"),
            Self::Out(_) => f.write_str("Ignored"),
        }
    }
}

impl Standing {
    /// Whether it says nothing that is the entry's own, so that several are told together.
    pub fn may_share_a_line(&self) -> bool {
        !matches!(self, Self::Stranger { .. })
    }

    /// Why it is not online.
    pub fn reason(&self) -> impl fmt::Display + '_ {
        shown::by(move |f| match self {
            Self::Is(_) => Ok(()),
            Self::Absent => f.write_str("did not come"),
            Self::Late => f.write_str("came too late, and parks"),
            Self::Stranger { apic_id } => write!(f, "one with APIC id {apic_id} came in its place, and parks"),
            Self::Out(fate) => fmt::Display::fmt(fate, f),
        })
    }
}

/// What [`roster`] returns; set by `others`.
pub static ROSTER: Once<Vec<Member>> = Once::new();

/// What [`list`] returns; set by `others`.
pub static LIST: Once<List> = Once::new();

/// The bootloader's list in the order of the APIC ids, with what became of each entry; empty before the CPUs were
/// started, and where there is no list.
pub fn roster() -> &'static [Member] {
    ROSTER.get().map_or(&[], |members| members)
}

/// What the bootloader's list was.
pub fn list() -> List {
    LIST.get().copied().unwrap_or(List::Read)
}

/// The bootloader's list as a whole. Shown, it says why a CPU is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// It has entries; they are in the [`roster`].
    Read,
    /// It has none.
    Empty,
    /// There was no memory to read it.
    TooLong {
        /// How many entries it has.
        nr_listed: usize,
    },
    /// It is not there.
    Missing(NoList),
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("ACPI names it, and the bootloader does not list it"),
            Self::Empty => f.write_str("the bootloader's list is empty"),
            Self::TooLong { nr_listed } => write!(f, "no memory for the bootloader's list of {nr_listed} CPUs"),
            Self::Missing(why) => why.fmt(f),
        }
    }
}

/// APIC ids of CPUs that ACPI names as usable and that no entry tells, the first CPU's aside; where ACPI names more than
/// are kept, none.
pub fn unlisted() -> impl Iterator<Item = u32> {
    let in_tables = devices::get().and_then(|devices| devices.cpus.all()).unwrap_or_default();
    let enabled = in_tables.iter().filter(|cpu| cpu.readiness == Readiness::Enabled).map(|cpu| cpu.apic_id);
    let is_first = |apic_id| per_cpu::of(CpuId::BOOT).is_some_and(|area| area.apic_id() == apic_id);
    let is_listed = |apic_id| roster().iter().any(|member| member.fate != Fate::NoEntry && member.apic_id == apic_id);
    enabled.filter(move |&apic_id| !is_first(apic_id) && !is_listed(apic_id))
}

/// CPUs that this machine has and that were not kept out by `cpus=`, by whoever knows of the most: the bootloader's list,
/// ACPI, or the kernel.
pub fn nr_known() -> usize {
    let nr_kept_out = roster().iter().filter(|member| member.fate == Fate::NotAsked).count();
    let nr_listed = roster().len() - nr_kept_out;
    let nr_in_tables = devices::get().map_or(0, |devices| devices.cpus.nr_enabled()).saturating_sub(nr_kept_out);
    nr_listed.max(nr_in_tables).max(per_cpu::all().count())
}

/// How many CPUs are here, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// How many run the kernel.
    pub nr_online: usize,
    /// How many there should be: see [`nr_known`].
    pub nr_known: usize,
}

impl Attendance {
    /// As it is now.
    pub fn now() -> Self {
        let nr_online = per_cpu::all().filter(|area| area.state() == State::Online).count();
        Self { nr_online, nr_known: nr_known() }
    }

    /// Whether nobody is missing.
    pub fn is_full(&self) -> bool {
        self.nr_online == self.nr_known
    }
}

impl fmt::Display for Attendance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} online", self.nr_online, Things(self.nr_known as u64, "CPU"))
    }
}

impl Member {
    /// Whether it is one of the kernel's CPUs.
    pub fn is_online(&self) -> bool {
        self.standing() == Some(Standing::Is(State::Online))
    }

    /// Whether nobody looks at its block any more: its CPU is one of the kernel's, or somebody came with it and parked.
    /// Of those that were sent to park at once, [parking] knows.
    pub fn has_left(&self) -> bool {
        self.start.is_none_or(|start| self.is_online() || start.nr_refused() > 0)
    }
}
