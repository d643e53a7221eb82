//! The CPUs that the MADT names, and which of them are there. (ACPI 6.5, 5.2.12.2 and table 5.21, "Local APIC Flags".)
//!
//! ACPI knows three kinds. An *enabled* one can be used. One that is not enabled but *online-capable* (ACPI 6.3 and
//! later) may be plugged in or switched on while the machine runs; whether anything sits there now, the table does not
//! say. An entry with neither flag is to be ignored whole: QEMU fills the free seats of `-smp 4,maxcpus=8` with such
//! entries, and older firmware pads its table with them.
//!
//! What the kernel does with them: `kernel/src/others.rs`. Called by: boot, once.

use super::{Madt, MadtEntry, PhysicalMemory};

/// Bits of an entry's flags.
const ENABLED: u32 = 1 << 0;
const ONLINE_CAPABLE: u32 = 1 << 1;
/// CPUs that are kept.
const MAX_KEPT: usize = 1024;

/// Whether a CPU is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// It may be brought online some day, and need not be there today.
    OnlineCapable,
    /// It is there, and can be started.
    Enabled,
}

impl Readiness {
    /// What the flags of an entry say; nothing for an entry that is to be ignored. Enabled wins: with it the other bit is
    /// reserved.
    pub const fn of(flags: u32) -> Option<Self> {
        match flags {
            _ if flags & ENABLED != 0 => Some(Self::Enabled),
            _ if flags & ONLINE_CAPABLE != 0 => Some(Self::OnlineCapable),
            _ => None,
        }
    }
}

/// A CPU of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its local APIC's id.
    pub apic_id: u32,
    /// Whether it is there.
    pub readiness: Readiness,
}

impl Cpu {
    /// The CPU that an entry describes, if it describes one. The id that means all CPUs is nobody's: firmware pads
    /// tables with it.
    fn of(entry: MadtEntry) -> Option<Self> {
        let (apic_id, flags) = match entry {
            MadtEntry::LocalApic { apic_id, flags, .. } if apic_id != u8::MAX => (apic_id.into(), flags),
            MadtEntry::LocalX2Apic { apic_id, flags, .. } if apic_id != u32::MAX => (apic_id, flags),
            _ => return None,
        };
        Readiness::of(flags).map(|readiness| Self { apic_id, readiness })
    }
}

/// All CPUs of a table, each once: firmware may list one as a type-0 and a type-9 entry.
#[derive(Clone, Copy, Debug)]
pub struct Cpus {
    nr: usize,
    nr_enabled: usize,
    kept: [Cpu; MAX_KEPT],
}

impl Cpus {
    /// No CPUs.
    pub const NONE: Self =
        Self { nr: 0, nr_enabled: 0, kept: [Cpu { apic_id: 0, readiness: Readiness::OnlineCapable }; MAX_KEPT] };

    /// The CPUs of `madt`, in its order.
    pub fn of<M: PhysicalMemory>(madt: &Madt<'_, M>) -> Self {
        let mut cpus = Self::NONE;
        madt.entries().filter_map(Cpu::of).for_each(|cpu| cpus.add(cpu));
        cpus
    }

    fn add(&mut self, cpu: Cpu) {
        let kept = &mut self.kept[..self.nr.min(MAX_KEPT)];
        let was_enabled = match kept.iter_mut().find(|known| known.apic_id == cpu.apic_id) {
            Some(known) => {
                let before = known.readiness;
                known.readiness = before.max(cpu.readiness);
                before == Readiness::Enabled
            }
            None => {
                if let Some(place) = self.kept.get_mut(self.nr) {
                    *place = cpu;
                }
                self.nr += 1;
                false
            }
        };
        self.nr_enabled += usize::from(cpu.readiness == Readiness::Enabled && !was_enabled);
    }

    /// How many are there.
    pub fn nr_enabled(&self) -> usize {
        self.nr_enabled
    }

    /// All of them; `None` if there are more than were kept.
    pub fn all(&self) -> Option<&[Cpu]> {
        self.kept.get(..self.nr)
    }
}
