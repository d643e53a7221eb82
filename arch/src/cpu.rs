//! What this CPU can do, as values that prove it.
//!
//! [`Features::detect`] asks CPUID once, early in boot. Each feature is an `Option` of a zero-sized proof: code that
//! needs the feature takes the proof as an argument, so it cannot run where CPUID did not say yes.
//! Invariants: a proof is made nowhere but here. All CPUs are assumed alike; `control::ControlState` checks what we
//! set. Called by: `control`, `apic`, `tlb`, and the kernel's boot.

mod name;
mod proof;
mod topology;

pub use name::Name;
pub use proof::{
    FsGsBase, GlobalPages, InvariantTsc, Invpcid, MachineCheck, Mtrr, NoExecute, OnChipApic, Pages1GiB, Pcid,
    RateCounters, Rdrand, Rdtscp, Smap, Smep, Umip, X2Apic,
};
pub use topology::{Cores, Place, Topology};

use crate::cache::LineFlush;
use crate::tlb::Broadcast;
use crate::tsc::{Frequency, Source};
use raw_cpuid::{CpuId, CpuIdReader, Hypervisor};

/// What CPUID says about the CPU it was asked on.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// The vendor's twelve letters, for example `GenuineIntel`.
    pub vendor: Name,
    /// The brand string, or an empty name where there is none.
    pub brand: Name,
    /// The hypervisor under us, by its name; `None` on bare hardware (or where it hides).
    pub hypervisor: Option<Name>,
    /// This CPU's APIC id by CPUID: all 32 bits where leaf 0x1F or 0x0B exists, else the 8 bits of leaf 1.
    pub apic_id: u32,
    /// Bits of a physical address; bits above it are reserved in page-table entries.
    pub physical_address_bits: u8,
    /// Bits of a linear address the CPU could translate (57 where it has five levels, on or not).
    pub linear_address_bits: u8,
    /// How APIC ids fall into packages, cores and threads.
    pub topology: Topology,
    /// The TSC's frequency, where CPUID gives it (leaf 0x15, or 0x15 with 0x16, or the hypervisor's 0x4000_0010).
    pub tsc_frequency: Option<Frequency>,
    /// A local APIC.
    pub local_apic: Option<OnChipApic>,
    /// x2APIC mode can be used if the firmware or the bootloader turned it on.
    pub x2apic: Option<X2Apic>,
    /// 1 GiB leaves.
    pub pages_1gib: Option<Pages1GiB>,
    /// The no-execute bit.
    pub no_execute: Option<NoExecute>,
    /// Supervisor-mode execution prevention.
    pub smep: Option<Smep>,
    /// Supervisor-mode access prevention.
    pub smap: Option<Smap>,
    /// User-mode instruction prevention.
    pub umip: Option<Umip>,
    /// A TSC of constant rate.
    pub invariant_tsc: Option<InvariantTsc>,
    /// Global pages.
    pub global_pages: Option<GlobalPages>,
    /// Process-context identifiers.
    pub pcid: Option<Pcid>,
    /// The INVPCID instruction.
    pub invpcid: Option<Invpcid>,
    /// RDGSBASE and its kin.
    pub fsgsbase: Option<FsGsBase>,
    /// The RDTSCP instruction.
    pub rdtscp: Option<Rdtscp>,
    /// The RDRAND instruction.
    pub rdrand: Option<Rdrand>,
    /// Machine-check exceptions.
    pub machine_check: Option<MachineCheck>,
    /// Memory-type range registers.
    pub mtrr: Option<Mtrr>,
    /// IA32_MPERF and IA32_APERF.
    pub rate_counters: Option<RateCounters>,
    /// Flushing of cache lines.
    pub line_flush: Option<LineFlush>,
    /// Flushing of all CPUs' TLBs: INVLPGB and TLBSYNC.
    pub tlb_broadcast: Option<Broadcast>,
}

impl Features {
    /// Asks the CPU we run on.
    ///
    /// Context: any. Under a hypervisor each CPUID leaf may be an exit to it: ask once and keep the answer.
    pub fn detect() -> Self {
        Self::from_cpuid(&CpuId::new())
    }

    fn from_cpuid<R: CpuIdReader>(cpuid: &CpuId<R>) -> Self {
        let basic = cpuid.get_feature_info();
        let basic = basic.as_ref();
        let structured = cpuid.get_extended_feature_info();
        let structured = structured.as_ref();
        let extended = cpuid.get_extended_processor_and_feature_identifiers();
        let extended = extended.as_ref();
        let power = cpuid.get_advanced_power_mgmt_info();
        let thermal = cpuid.get_thermal_power_info();
        let thermal = thermal.as_ref();
        let capacity = cpuid.get_processor_capacity_feature_info();
        let (topology, apic_id) = topology::read(cpuid);
        Self {
            vendor: cpuid.get_vendor_info().map_or_else(Name::empty, |v| Name::new(v.as_str())),
            brand: cpuid.get_processor_brand_string().map_or_else(Name::empty, |b| Name::new(b.as_str())),
            hypervisor: cpuid.get_hypervisor_info().map(|h| hypervisor_name(&h.identify())),
            apic_id: apic_id.or(basic.map(|f| u32::from(f.initial_local_apic_id()))).unwrap_or(0),
            // The architecture's least: a CPU without leaf 0x8000_0008 has 36 and 48.
            physical_address_bits: capacity.as_ref().map_or(36, |c| c.physical_address_bits()),
            linear_address_bits: capacity.as_ref().map_or(48, |c| c.linear_address_bits()),
            topology,
            tsc_frequency: tsc_frequency(cpuid),
            local_apic: basic.filter(|f| f.has_apic()).map(|_| OnChipApic::proven()),
            x2apic: basic.filter(|f| f.has_x2apic()).map(|_| X2Apic::proven()),
            pages_1gib: extended.filter(|f| f.has_1gib_pages()).map(|_| Pages1GiB::proven()),
            no_execute: extended.filter(|f| f.has_execute_disable()).map(|_| NoExecute::proven()),
            smep: structured.filter(|f| f.has_smep()).map(|_| Smep::proven()),
            smap: structured.filter(|f| f.has_smap()).map(|_| Smap::proven()),
            umip: structured.filter(|f| f.has_umip()).map(|_| Umip::proven()),
            invariant_tsc: power.filter(|p| p.has_invariant_tsc()).map(|_| InvariantTsc::proven()),
            global_pages: basic.filter(|f| f.has_pge()).map(|_| GlobalPages::proven()),
            pcid: basic.filter(|f| f.has_pcid()).map(|_| Pcid::proven()),
            invpcid: structured.filter(|f| f.has_invpcid()).map(|_| Invpcid::proven()),
            fsgsbase: structured.filter(|f| f.has_fsgsbase()).map(|_| FsGsBase::proven()),
            rdtscp: extended.filter(|f| f.has_rdtscp()).map(|_| Rdtscp::proven()),
            rdrand: basic.filter(|f| f.has_rdrand()).map(|_| Rdrand::proven()),
            machine_check: basic.filter(|f| f.has_mce()).map(|_| MachineCheck::proven()),
            mtrr: basic.filter(|f| f.has_mtrr()).map(|_| Mtrr::proven()),
            rate_counters: thermal.filter(|f| f.has_hw_coord_feedback()).map(|_| RateCounters::proven()),
            tlb_broadcast: capacity
                .as_ref()
                .filter(|c| c.has_invlpgb())
                .map(|c| Broadcast::proven(c.invlpgb_max_pages())),
            line_flush: basic.filter(|f| f.has_clflush()).and_then(|f| {
                LineFlush::proven(f.cflush_cache_line_size(), structured.is_some_and(|f| f.has_clflushopt()))
            }),
        }
    }
}

fn hypervisor_name(hypervisor: &Hypervisor) -> Name {
    match hypervisor {
        Hypervisor::Xen => Name::new("Xen"),
        Hypervisor::VMware => Name::new("VMware"),
        Hypervisor::HyperV => Name::new("Hyper-V"),
        Hypervisor::KVM => Name::new("KVM"),
        Hypervisor::QEMU => Name::new("QEMU TCG"),
        Hypervisor::Bhyve => Name::new("bhyve"),
        Hypervisor::QNX => Name::new("QNX"),
        Hypervisor::ACRN => Name::new("ACRN"),
        Hypervisor::Unknown(ebx, ecx, edx) => Name::from_registers(&[*ebx, *ecx, *edx]),
    }
}

/// The TSC's frequency by CPUID (Intel SDM vol. 3, "Determining the Processor Base Frequency"): crystal times ratio;
/// where the crystal is not given, the base frequency is the TSC's (to 1 MHz or so, hence its own source); the
/// hypervisor's timing leaf last.
fn tsc_frequency<R: CpuIdReader>(cpuid: &CpuId<R>) -> Option<Frequency> {
    if let Some(info) = cpuid.get_tsc_info()
        && info.numerator() != 0
        && info.denominator() != 0
    {
        let crystal_hz = u64::from(info.nominal_frequency());
        if crystal_hz != 0 {
            let hz = crystal_hz * u64::from(info.numerator()) / u64::from(info.denominator());
            return Frequency::new(hz, Source::CpuidCrystal);
        }
        if let Some(base) = cpuid.get_processor_frequency_info()
            && base.processor_base_frequency() != 0
        {
            let hz = u64::from(base.processor_base_frequency()) * 1_000_000;
            return Frequency::new(hz, Source::CpuidBaseFrequency);
        }
    }
    let khz = cpuid.get_hypervisor_info()?.tsc_frequency()?;
    Frequency::new(u64::from(khz) * 1000, Source::Hypervisor)
}

#[cfg(test)]
mod tests;
