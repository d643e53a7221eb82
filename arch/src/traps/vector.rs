//! Vectors by number: their names, and which of them carry an error code.

/// The vectors that `arch` itself, or a handler of its users, refers to.
pub mod vectors {
    /// #DE.
    pub const DIVIDE_ERROR: u8 = 0;
    /// #DB.
    pub const DEBUG: u8 = 1;
    /// The non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// #BP, from INT3.
    pub const BREAKPOINT: u8 = 3;
    /// #UD.
    pub const INVALID_OPCODE: u8 = 6;
    /// #NM.
    pub const DEVICE_NOT_AVAILABLE: u8 = 7;
    /// #DF.
    pub const DOUBLE_FAULT: u8 = 8;
    /// #SS.
    pub const STACK_SEGMENT: u8 = 12;
    /// #GP.
    pub const GENERAL_PROTECTION: u8 = 13;
    /// #PF.
    pub const PAGE_FAULT: u8 = 14;
    /// #MC.
    pub const MACHINE_CHECK: u8 = 18;
    /// The first vector that is no exception.
    pub const FIRST_INTERRUPT: u8 = 32;
    /// Where `pic::remap_and_mask` puts the legacy controllers, 16 vectors that may only ever see a spurious interrupt.
    pub const FIRST_LEGACY: u8 = 32;
    /// What the local APIC delivers when an interrupt went away too late. Needs no EOI.
    pub const SPURIOUS: u8 = 0xff;
}

/// Bit n: the CPU pushes an error code for vector n. #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC, #SX.
/// (SDM vol. 3, table 6-1 "Exceptions and Interrupts"; AMD APM vol. 2, table 8-1 for 29 and 30.)
pub(super) const ERROR_CODE_VECTORS: u32 =
    1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30;

/// Does the CPU push an error code for `vector`?
pub const fn has_error_code(vector: u8) -> bool {
    vector < 32 && ERROR_CODE_VECTORS >> vector & 1 != 0
}

/// The name of an exception, as the manuals give it; `None` for reserved vectors and interrupts.
pub const fn exception_name(vector: u8) -> Option<&'static str> {
    Some(match vector {
        0 => "divide error (#DE)",
        1 => "debug exception (#DB)",
        2 => "non-maskable interrupt (NMI)",
        3 => "breakpoint (#BP)",
        4 => "overflow (#OF)",
        5 => "bound range exceeded (#BR)",
        6 => "invalid opcode (#UD)",
        7 => "device not available (#NM)",
        8 => "double fault (#DF)",
        10 => "invalid TSS (#TS)",
        11 => "segment not present (#NP)",
        12 => "stack-segment fault (#SS)",
        13 => "general protection (#GP)",
        14 => "page fault (#PF)",
        16 => "floating-point error (#MF)",
        17 => "alignment check (#AC)",
        18 => "machine check (#MC)",
        19 => "SIMD floating-point exception (#XM)",
        20 => "virtualization exception (#VE)",
        21 => "control protection (#CP)",
        28 => "hypervisor injection (#HV)",
        29 => "VMM communication (#VC)",
        30 => "security exception (#SX)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_exceptions_carry_error_codes() {
        let with_code: Vec<u8> = (0..=255).filter(|&v| has_error_code(v)).collect();
        assert_eq!(with_code, [8, 10, 11, 12, 13, 14, 17, 21, 29, 30]);
        assert!(with_code.iter().all(|&v| exception_name(v).is_some()));
    }

    #[test]
    fn interrupts_and_reserved_vectors_have_no_name() {
        assert_eq!(exception_name(15), None);
        assert!((32..=255).all(|v| exception_name(v).is_none()));
        assert_eq!(exception_name(vectors::PAGE_FAULT), Some("page fault (#PF)"));
    }
}
