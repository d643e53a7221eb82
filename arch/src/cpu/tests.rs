use super::*;
use raw_cpuid::CpuIdResult;

const NOTHING: CpuIdResult = CpuIdResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/// A CPU that answers from a list of `(leaf, subleaf, [eax, ebx, ecx, edx])` and zero elsewhere.
fn cpu(leaves: &'static [(u32, u32, [u32; 4])]) -> Features {
    Features::from_cpuid(&CpuId::with_cpuid_fn(move |leaf, subleaf| {
        leaves
            .iter()
            .find(|&&(l, s, _)| (l, s) == (leaf, subleaf))
            .map_or(NOTHING, |&(_, _, [eax, ebx, ecx, edx])| CpuIdResult { eax, ebx, ecx, edx })
    }))
}

/// "GenuineIntel" in EBX, EDX, ECX.
const INTEL: [u32; 3] = [0x756e_6547, 0x6c65_746e, 0x4965_6e69];

#[test]
fn a_bare_cpu_proves_nothing() {
    let features = cpu(&[(0, 0, [1, INTEL[0], INTEL[1], INTEL[2]]), (1, 0, [0, 7 << 24, 0, 0])]);
    assert_eq!(features.vendor.as_str(), "GenuineIntel");
    assert_eq!(features.apic_id, 7);
    assert_eq!((features.physical_address_bits, features.linear_address_bits), (36, 48));
    assert!(features.x2apic.is_none() && features.no_execute.is_none() && features.smap.is_none());
    assert!(features.pages_1gib.is_none() && features.invariant_tsc.is_none() && features.umip.is_none());
    assert!(features.hypervisor.is_none() && features.tsc_frequency.is_none() && features.rate_counters.is_none());
    assert_eq!(features.topology.leaf, 0);
}

#[test]
fn each_bit_proves_its_own_feature() {
    let features = cpu(&[
        (0, 0, [7, INTEL[0], INTEL[1], INTEL[2]]),
        (1, 0, [0, 0, 1 << 21, 1 << 13]),
        (6, 0, [0, 0, 1, 0]),
        (7, 0, [0, 1 << 7 | 1 << 20, 1 << 2, 0]),
        (0x8000_0000, 0, [0x8000_0008, 0, 0, 0]),
        (0x8000_0001, 0, [0, 0, 0, 1 << 20 | 1 << 26]),
        (0x8000_0007, 0, [0, 0, 0, 1 << 8]),
        (0x8000_0008, 0, [48 << 8 | 46, 0, 0, 0]),
    ]);
    assert!(features.x2apic.is_some() && features.global_pages.is_some() && features.pcid.is_none());
    assert!(features.rate_counters.is_some() && features.mtrr.is_none());
    assert!(features.smep.is_some() && features.smap.is_some() && features.umip.is_some());
    assert!(features.invpcid.is_none() && features.fsgsbase.is_none() && features.rdtscp.is_none());
    assert!(features.pages_1gib.is_some() && features.no_execute.is_some() && features.invariant_tsc.is_some());
    assert_eq!((features.physical_address_bits, features.linear_address_bits), (46, 48));
}

#[test]
fn the_crystal_gives_the_tsc_frequency() {
    // 24 MHz * 216 / 2, as a 2.592 GHz part reports it.
    let features = cpu(&[
        (0, 0, [0x16, INTEL[0], INTEL[1], INTEL[2]]),
        (0x15, 0, [2, 216, 24_000_000, 0]),
        (0x16, 0, [2600, 0, 0, 0]),
    ]);
    assert_eq!(features.tsc_frequency, Some(Frequency { hz: 2_592_000_000, source: Source::CpuidCrystal }));
}

#[test]
fn without_a_crystal_the_base_frequency_stands_in() {
    let features =
        cpu(&[(0, 0, [0x16, INTEL[0], INTEL[1], INTEL[2]]), (0x15, 0, [2, 216, 0, 0]), (0x16, 0, [2600, 0, 0, 0])]);
    assert_eq!(features.tsc_frequency, Some(Frequency { hz: 2_600_000_000, source: Source::CpuidBaseFrequency }));
}

#[test]
fn a_hypervisor_names_itself_and_its_tsc() {
    let features = cpu(&[
        (0, 0, [7, INTEL[0], INTEL[1], INTEL[2]]),
        (1, 0, [0, 0, 1 << 31, 0]),
        // "TCGTCGTCGTCG"
        (0x4000_0000, 0, [0x4000_0010, 0x5447_4354, 0x4354_4743, 0x4743_5447]),
        (0x4000_0010, 0, [2_000_000, 1_000_000, 0, 0]),
    ]);
    assert_eq!(features.hypervisor.map(|h| h.to_string()).as_deref(), Some("QEMU TCG"));
    assert_eq!(features.tsc_frequency, Some(Frequency { hz: 2_000_000_000, source: Source::Hypervisor }));
}

#[test]
fn an_unknown_hypervisor_keeps_its_own_name() {
    let name = hypervisor_name(&Hypervisor::Unknown(0x6464_6242, 0x0000_0107, 0));
    assert_eq!(name.as_str(), "Bbdd??");
}

#[test]
fn leaf_0x0b_splits_ids_above_255() {
    let features = cpu(&[
        (0, 0, [0x0b, INTEL[0], INTEL[1], INTEL[2]]),
        (1, 0, [0, 5 << 24, 0, 0]),
        (0x0b, 0, [1, 2, 0x0100, 0x205]),
        (0x0b, 1, [8, 8, 0x0201, 0x205]),
    ]);
    assert_eq!(features.apic_id, 0x205);
    assert_eq!(features.topology, Topology { thread_bits: 1, package_bits: 8, leaf: 0x0b });
    assert_eq!(features.topology.place(0x205), Place { package: 2, core: 2, thread: 1 });
}

#[test]
fn absurd_shift_counts_do_not_panic() {
    let topology = Topology { thread_bits: 40, package_bits: 77, leaf: 0x1f };
    assert_eq!(topology.place(0x205), Place { package: 0, core: 0, thread: 0x205 });
}

#[test]
fn the_host_can_be_asked() {
    let features = Features::detect();
    assert!(!features.vendor.as_str().is_empty());
    assert!((32..=52).contains(&features.physical_address_bits));
}

#[test]
fn broadcast_flushes_come_with_their_maximum() {
    let of = |leaves| cpu(leaves).tlb_broadcast.map(|broadcast| broadcast.max_pages());
    let amd = |edx| [(0x8000_0000, 0, [0x8000_0008, 0, 0, 0]), (0x8000_0008, 0, [48 << 8 | 48, 1 << 3, 0, edx])];
    assert_eq!(of(Box::leak(Box::new(amd(7)))), Some(8));
    assert_eq!(of(Box::leak(Box::new(amd(0)))), Some(1), "a maximum of 0 is one page");
    assert_eq!(of(&[(0x8000_0000, 0, [0x8000_0008, 0, 0, 0]), (0x8000_0008, 0, [48 << 8 | 48, 0, 0, 7])]), None);
}
