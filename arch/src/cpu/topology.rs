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
