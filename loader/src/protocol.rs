//! The wire format of the Limine boot protocol, written after its specification (`PROTOCOL.md`).
//!
//! A request is an array of 64-bit words inside the kernel: `id[4]`, `revision`, `response`, then members of its own.
//! A response is one of the structures below; all pointers in it are higher-half direct map addresses.
//!
//! Used by: `requests` (finding), the binary's `answers` (filling in).

/// Where the higher-half direct map starts: physical address 0 is seen here.
pub const HHDM: u64 = 0xffff_8000_0000_0000;
/// Kernels live at or above this address; the last 2 GiB of the address space.
pub const KERNEL_SPACE: u64 = 0xffff_ffff_8000_0000;
/// The newest base revision this loader knows.
pub const NEWEST_REVISION: u64 = 3;
/// Stacks are at least this large.
pub const STACK_BYTES: u64 = 64 * 1024;

/// First two words of a base revision tag; the third is the revision asked for.
pub const BASE_REVISION_MAGIC: [u64; 2] = [0xf956_2b2d_5c95_a6c8, 0x6a7b_3849_4453_6bdc];
/// First two words of every request.
pub const COMMON_MAGIC: [u64; 2] = [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b];
/// Requests before this marker do not count.
pub const START_MARKER: [u64; 4] =
    [0xf6b8_f4b3_9de7_d1ae, 0xfab9_1a69_40fc_b9cf, 0x785c_6ed0_15d3_e316, 0x181e_920a_7852_b9d9];
/// Requests after this marker do not count.
pub const END_MARKER: [u64; 2] = [0xadc0_e053_1bb1_0d03, 0x9572_709f_3176_4c62];

/// Word of a request that holds its revision.
pub const REQUEST_REVISION: usize = 4;
/// Word of a request that receives the pointer to the response.
pub const REQUEST_RESPONSE: usize = 5;
/// First word of a request's own members.
pub const REQUEST_MEMBERS: usize = 6;

/// Words 2 and 3 of a request: which feature it asks for.
pub type Id = [u64; 2];

/// Name and version of the loader.
pub const BOOTLOADER_INFO: Id = [0xf550_38d8_e2a1_202f, 0x2794_26fc_f5f5_9740];
/// The kernel's command line.
pub const EXECUTABLE_CMDLINE: Id = [0x4b16_1536_e598_651e, 0xb390_ad4a_2f1f_303a];
/// BIOS or UEFI.
pub const FIRMWARE_TYPE: Id = [0x8c2f_75d9_0bef_28a8, 0x7045_a468_8eac_00c3];
/// Larger stacks. Member 0: bytes.
pub const STACK_SIZE: Id = [0x224e_f046_0a8e_8926, 0xe1cb_0fc2_5f46_ea3d];
/// Where the direct map starts.
pub const DIRECT_MAP: Id = [0x48dc_f1cb_8ad2_b852, 0x6398_4e95_9a98_244b];
/// Four or five levels of page tables. Members: preferred, then from revision 1 maximum and minimum.
pub const PAGING_MODE: Id = [0x95c1_a0ed_ab09_44cb, 0xa4e5_cb38_42f7_488a];
/// Start the other processors. Member 0: flags, bit 0 asks for x2APIC.
pub const MP: Id = [0x95a6_7b81_9a1b_857e, 0xa0b6_1b72_3b6a_73e0];
/// The memory map.
pub const MEMORY_MAP: Id = [0x67cf_3d9d_378a_806f, 0xe304_acdf_c50c_3c62];
/// Another entry point. Member 0: its address.
pub const ENTRY_POINT: Id = [0x13d8_6c03_5a1c_d3e1, 0x2b0c_aa89_d8f3_026a];
/// The kernel's own ELF file.
pub const EXECUTABLE_FILE: Id = [0xad97_e90e_83f1_ed67, 0x31eb_5d1c_5ff2_3b69];
/// Further files. From revision 1, members: number of internal modules, pointer to pointers to them.
pub const MODULES: Id = [0x3e7e_2797_02be_32af, 0xca1c_4f3b_d128_0cee];
/// ACPI's root pointer.
pub const RSDP: Id = [0xc5e7_7b6b_397e_7b43, 0x2763_7845_accd_cf3c];
/// Time of boot from the real-time clock.
pub const DATE_AT_BOOT: Id = [0x5027_46e1_84c0_88aa, 0xfbc5_ec83_e632_7893];
/// Where the kernel was put.
pub const EXECUTABLE_ADDRESS: Id = [0x71ba_7686_3cc5_5f63, 0xb264_4a48_c516_a487];

/// Bit 0 of the MP request's and response's flags.
pub const MP_X2APIC: u64 = 1;
/// Internal module flag: refuse to boot when the file is missing.
pub const MODULE_REQUIRED: u64 = 1;
/// Internal module flag: the file is compressed (deprecated; refused).
pub const MODULE_COMPRESSED: u64 = 2;

/// Answer that only carries its revision (stack size, entry point).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Acknowledged {
    /// Response revision.
    pub revision: u64,
}

/// Answer with one value: firmware type, direct map offset, paging mode, RSDP address, date, command line.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OneValue {
    /// Response revision.
    pub revision: u64,
    /// The value.
    pub value: u64,
}

/// Answer with two values: name and version, physical and virtual base.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TwoValues {
    /// Response revision.
    pub revision: u64,
    /// The values, in the order of the specification.
    pub values: [u64; 2],
}

/// Answer with a counted array of pointers: memory map, modules.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct List {
    /// Response revision.
    pub revision: u64,
    /// Number of pointers.
    pub count: u64,
    /// Address of the array of pointers.
    pub pointers: u64,
}

/// Answer to the MP request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MpResponse {
    /// Response revision.
    pub revision: u64,
    /// Bit 0: x2APIC is on.
    pub flags: u32,
    /// APIC id of the processor that boots.
    pub bsp_lapic_id: u32,
    /// Processors, the booting one included.
    pub cpu_count: u64,
    /// Address of the array of pointers to [`MpInfo`].
    pub cpus: u64,
}

/// One processor. The kernel writes `goto_address` last, and the parked processor jumps there.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MpInfo {
    /// ACPI processor UID.
    pub processor_id: u32,
    /// Local APIC id.
    pub lapic_id: u32,
    /// The loader's: top of the processor's stack.
    pub reserved: u64,
    /// Zero until the kernel wants the processor.
    pub goto_address: u64,
    /// The kernel's.
    pub extra_argument: u64,
}

/// One region of the memory map.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MemoryMapEntry {
    /// First byte, physical.
    pub base: u64,
    /// Bytes.
    pub length: u64,
    /// Number of the kind, as in `memory::Kind`.
    pub kind: u64,
}

/// A file: the kernel or a module. Media fields stay zero: generic medium, no partition.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct File {
    /// Structure revision.
    pub revision: u64,
    /// Content, page-aligned.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Path with a leading slash, zero-terminated.
    pub path: u64,
    /// Command line, zero-terminated.
    pub cmdline: u64,
    /// Medium, TFTP address, partition, disk identities: all unknown.
    pub origin: [u32; 18],
}

const _: () = {
    // The specification's sizes.
    assert!(size_of::<File>() == 112);
    assert!(size_of::<MpInfo>() == 32);
    assert!(size_of::<MpResponse>() == 32);
};
