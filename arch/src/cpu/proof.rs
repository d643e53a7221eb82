//! The proof types: zero-sized, copyable, made only by [`Features::detect`](super::Features::detect).

macro_rules! proofs {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(());

        impl $name {
            /// CPUID said yes.
            pub(super) const fn proven() -> Self {
                Self(())
            }
        }
    )*};
}

proofs! {
    /// CPUID leaf 1 EDX bit 9: there is a local APIC, so IA32_APIC_BASE exists.
    OnChipApic
    /// CPUID leaf 1 ECX bit 21: the x2APIC interface exists. Necessary to use it, not sufficient: IA32_APIC_BASE says
    /// whether it is on.
    X2Apic
    /// CPUID leaf 0x8000_0001 EDX bit 26: a level-3 page-table entry may be a 1 GiB leaf.
    Pages1GiB
    /// CPUID leaf 0x8000_0001 EDX bit 20: EFER.NXE exists, and with it bit 63 of a page-table entry.
    NoExecute
    /// CPUID leaf 7 EBX bit 7: the kernel can be kept from executing user pages.
    Smep
    /// CPUID leaf 7 EBX bit 20: the kernel can be kept from touching user pages.
    Smap
    /// CPUID leaf 7 ECX bit 2: user code can be kept from reading descriptor-table addresses.
    Umip
    /// CPUID leaf 0x8000_0007 EDX bit 8: the TSC ticks at one rate through all power states.
    InvariantTsc
    /// CPUID leaf 1 EDX bit 13: entries can be global, so that a CR3 reload keeps them.
    GlobalPages
    /// CPUID leaf 1 ECX bit 17: TLB entries can carry a process-context identifier.
    Pcid
    /// CPUID leaf 7 EBX bit 10: the INVPCID instruction.
    Invpcid
    /// CPUID leaf 7 EBX bit 0: RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE.
    FsGsBase
    /// CPUID leaf 0x8000_0001 EDX bit 27: the RDTSCP instruction.
    Rdtscp
    /// CPUID leaf 1 ECX bit 30: the RDRAND instruction.
    Rdrand
    /// CPUID leaf 1 EDX bit 7: machine-check exceptions, and CR4.MCE to enable them.
    MachineCheck
    /// CPUID leaf 1 EDX bit 12: memory-type range registers.
    Mtrr
    /// CPUID leaf 6 ECX bit 0: IA32_MPERF and IA32_APERF, the CPU's nominal and actual ticks.
    RateCounters
}
