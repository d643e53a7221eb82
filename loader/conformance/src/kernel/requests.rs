//! What this kernel asks for. The loader finds these by their ids, between the two markers.

use limine::BaseRevision;
use limine::modules::{InternalModule, ModuleFlags};
use limine::mp::RequestFlags;
use limine::request::{
    BootloaderInfoRequest, DateAtBootRequest, ExecutableAddressRequest, ExecutableCmdlineRequest,
    ExecutableFileRequest, FirmwareTypeRequest, HhdmRequest, MemoryMapRequest, ModuleRequest, MpRequest,
    PagingModeRequest, RequestsEndMarker, RequestsStartMarker, RsdpRequest, StackSizeRequest,
};

/// The base revision asked for.
pub(super) const REVISION: u64 = if cfg!(feature = "revision-0") {
    0
} else if cfg!(feature = "revision-1") {
    1
} else if cfg!(feature = "revision-3") {
    3
} else if cfg!(feature = "revision-future") {
    1000
} else {
    2
};
/// The revision in force: what the loader says, or what a loader that does not say it knows at most.
pub(super) fn revision() -> u64 {
    BASE_REVISION.loaded_revision().unwrap_or(REVISION.min(2))
}

/// Bytes of stack asked for.
pub(super) const STACK_BYTES: u64 = 100 * 1024;
/// The command line that tests boot this kernel with.
pub(super) const CMDLINE: &str = "conformance a=b";
/// The string of the internal module.
pub(super) const INTERNAL: &str = "an internal module";
/// x2APIC mode is asked for.
pub(super) const WANTS_X2APIC: bool = !cfg!(feature = "xapic");

#[used]
#[unsafe(link_section = ".requests.start")]
static START: RequestsStartMarker = RequestsStartMarker::new();
#[used]
#[unsafe(link_section = ".requests.end")]
static END: RequestsEndMarker = RequestsEndMarker::new();

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)*) => {$(
        $(#[$doc])*
        #[used]
        #[unsafe(link_section = ".requests")]
        pub(super) static $name: $type = $value;
    )*};
}

requests! {
    BASE_REVISION: BaseRevision = BaseRevision::with_revision(REVISION);
    BOOTLOADER_INFO: BootloaderInfoRequest = BootloaderInfoRequest::new();
    CMDLINE_REQUEST: ExecutableCmdlineRequest = ExecutableCmdlineRequest::new();
    FIRMWARE_TYPE: FirmwareTypeRequest = FirmwareTypeRequest::new();
    STACK_SIZE: StackSizeRequest = StackSizeRequest::new().with_size(STACK_BYTES);
    HHDM: HhdmRequest = HhdmRequest::new();
    PAGING_MODE: PagingModeRequest = PagingModeRequest::new();
    MP: MpRequest = MpRequest::new().with_flags(
        if WANTS_X2APIC { RequestFlags::X2APIC } else { RequestFlags::empty() });
    MEMORY_MAP: MemoryMapRequest = MemoryMapRequest::new();
    FILE: ExecutableFileRequest = ExecutableFileRequest::new();
    MODULES: ModuleRequest = ModuleRequest::new().with_internal_modules(&[&ABSENT, &PRESENT]);
    RSDP: RsdpRequest = RsdpRequest::new();
    DATE: DateAtBootRequest = DateAtBootRequest::new();
    ADDRESS: ExecutableAddressRequest = ExecutableAddressRequest::new();
    /// Nobody answers this one.
    UNKNOWN: [u64; 6] = [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b, 1, 2, 0, 0];
}

/// Not in any archive.
static ABSENT: InternalModule = InternalModule::new()
    .with_path(c"no-such-file")
    .with_flags(if cfg!(feature = "required-module") { ModuleFlags::REQUIRED } else { ModuleFlags::empty() });
/// May be in the archive, beside the kernel.
static PRESENT: InternalModule = InternalModule::new()
    .with_path(c"./pattern-9")
    .with_cmdline(c"an internal module")
    .with_flags(if cfg!(feature = "compressed-module") { ModuleFlags::COMPRESSED } else { ModuleFlags::empty() });

/// After the end marker: not found, so neither a duplicate nor answered.
#[used]
#[unsafe(link_section = ".requests.outside")]
pub(super) static OUTSIDE: HhdmRequest = HhdmRequest::new();

#[cfg(feature = "duplicate-request")]
#[used]
#[unsafe(link_section = ".requests")]
static DUPLICATE: HhdmRequest = HhdmRequest::new();

#[cfg(not(feature = "plain-entry"))]
#[used]
#[unsafe(link_section = ".requests")]
pub(super) static ENTRY: limine::request::EntryPointRequest =
    limine::request::EntryPointRequest::new().with_entry_point(super::state::requested_entry);

/// A list of requests, ended by a null pointer.
#[cfg(feature = "requests-section")]
#[repr(transparent)]
struct List([*const u8; 15]);

// SAFETY: pointers to statics, which nobody follows but the loader, before this kernel runs.
#[cfg(feature = "requests-section")]
unsafe impl Sync for List {}

/// All requests but the unknown and the outside ones.
#[cfg(feature = "requests-section")]
#[used]
#[unsafe(link_section = ".limine_reqs")]
static LIST: List = List([
    (&raw const BOOTLOADER_INFO).cast(),
    (&raw const CMDLINE_REQUEST).cast(),
    (&raw const FIRMWARE_TYPE).cast(),
    (&raw const STACK_SIZE).cast(),
    (&raw const HHDM).cast(),
    (&raw const PAGING_MODE).cast(),
    (&raw const MP).cast(),
    (&raw const MEMORY_MAP).cast(),
    (&raw const FILE).cast(),
    (&raw const MODULES).cast(),
    (&raw const RSDP).cast(),
    (&raw const DATE).cast(),
    (&raw const ADDRESS).cast(),
    #[cfg(not(feature = "plain-entry"))]
    (&raw const ENTRY).cast(),
    #[cfg(feature = "plain-entry")]
    core::ptr::null(),
    core::ptr::null(),
]);
