//! How APIC ids fall into packages, cores and threads.
//!
//! Intel SDM vol. 3, "Detecting Hardware Multi-threading Support and Topology": leaf 0x1F, else 0x0B, gives for each
//! level how far to shift an id to get the id of the next level up. Without either leaf every id is its own package:
//! nothing in the kernel depends on more.

use raw_cpuid::{CpuId, CpuIdReader, ExtendedTopologyLevel, TopologyType};

/// The widths of the fields of an APIC id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Low bits that number the threads of one core.
    pub thread_bits: u32,
    /// Low bits that number the threads of one package (core and thread together).
    pub package_bits: u32,
    /// The CPUID leaf this came from, 0 if none.
    pub leaf: u32,
}

/// How some CPUs fall into cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Cores with at least one of the CPUs.
    pub nr_cores: usize,
    /// The most of the CPUs that one core has: 1 where SMT is off or absent, whatever the ids leave room for.
    pub threads_per_core: usize,
}

/// Where one CPU sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The package (socket).
    pub package: u32,
    /// The core within its package.
    pub core: u32,
    /// The thread within its core.
    pub thread: u32,
}

impl Topology {
    const UNKNOWN: Self = Self { thread_bits: 0, package_bits: 0, leaf: 0 };

    /// Splits an APIC id.
    pub fn place(&self, apic_id: u32) -> Place {
        Place {
            package: apic_id.checked_shr(self.package_bits).unwrap_or(0),
            core: low_bits(apic_id, self.package_bits).checked_shr(self.thread_bits).unwrap_or(0),
            thread: low_bits(apic_id, self.thread_bits),
        }
    }

    /// The core of an APIC id, by a number that no other core of the machine has.
    pub fn core_number(&self, apic_id: u32) -> u32 {
        apic_id.checked_shr(self.thread_bits).unwrap_or(0)
    }

    /// Counts cores among these CPUs. `None` where CPUID does not tell: then each id would seem a core of its own.
    pub fn cores(&self, apic_ids: impl Iterator<Item = u32> + Clone) -> Option<Cores> {
        let mut found = Cores { nr_cores: 0, threads_per_core: 0 };
        for (index, apic_id) in apic_ids.clone().enumerate() {
            let is_sibling = |other: &u32| self.core_number(*other) == self.core_number(apic_id);
            // Each core is counted with its first CPU.
            if !apic_ids.clone().take(index).any(|other| is_sibling(&other)) {
                found.nr_cores += 1;
                found.threads_per_core = found.threads_per_core.max(apic_ids.clone().filter(is_sibling).count());
            }
        }
        (self.leaf != 0 && found.nr_cores > 0).then_some(found)
    }
}

fn low_bits(value: u32, nr_bits: u32) -> u32 {
    value & 1u32.checked_shl(nr_bits).map_or(u32::MAX, |bit| bit - 1)
}

/// Reads the topology, and the full APIC id of the CPU that runs this if a leaf gives it.
pub(super) fn read<R: CpuIdReader>(cpuid: &CpuId<R>) -> (Topology, Option<u32>) {
    if let Some(levels) = cpuid.get_extended_topology_info_v2()
        && let Some(found) = fold(0x1f, levels)
    {
        return found;
    }
    if let Some(levels) = cpuid.get_extended_topology_info()
        && let Some(found) = fold(0x0b, levels)
    {
        return found;
    }
    (Topology::UNKNOWN, None)
}

/// The levels come innermost first; the last shift is the package's, whatever lies between (module, tile, die).
fn fold(leaf: u32, levels: impl Iterator<Item = ExtendedTopologyLevel>) -> Option<(Topology, Option<u32>)> {
    let mut topology = Topology { leaf, ..Topology::UNKNOWN };
    let mut apic_id = None;
    // Eight is more levels than the architecture names; a CPUID that never ends its list ends here.
    for level in levels.take(8) {
        apic_id = Some(level.x2apic_id());
        topology.package_bits = level.shift_right_for_next_apic_id();
        if level.level_type() == TopologyType::SMT {
            topology.thread_bits = level.shift_right_for_next_apic_id();
        }
    }
    apic_id.map(|id| (topology, Some(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMT: Topology = Topology { thread_bits: 1, package_bits: 4, leaf: 0x0b };

    #[test]
    fn siblings_share_a_core() {
        let cores = |ids: &[u32]| SMT.cores(ids.iter().copied());
        assert_eq!(cores(&[0, 1, 2, 3]), Some(Cores { nr_cores: 2, threads_per_core: 2 }));
        assert_eq!(cores(&[0, 2, 4, 16, 18]), Some(Cores { nr_cores: 5, threads_per_core: 1 }), "SMT switched off");
        assert_eq!(cores(&[0, 16, 17]), Some(Cores { nr_cores: 2, threads_per_core: 2 }), "two packages");
    }

    #[test]
    fn what_cpuid_does_not_tell_is_not_guessed() {
        assert_eq!(Topology::UNKNOWN.cores([0, 1].into_iter()), None);
        assert_eq!(SMT.cores(core::iter::empty()), None);
    }
}
