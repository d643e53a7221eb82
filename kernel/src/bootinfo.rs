//! What the bootloader tells us, copied out of its memory. With [`mp`], the only file that names the Limine protocol.
//!
//! Base revision 2: the newest that Limine 8.2 knows, and Limine 9 and later still answer.
//! Called by: boot, once, on the first CPU. After [`BootInfo::take`] only the list of CPUs is
//! still read in place: [`mp`].

pub mod mp;

use core::ffi::CStr;

use kernel::cmdline::CommandLine;
use kernel::screen::pixels::{BadMode, Mask, Mode as VideoMode};
use limine::BaseRevision;
use limine::framebuffer::MemoryModel;
use limine::memory_map::EntryType;
use limine::paging::Mode;
use limine::request::{
    BootloaderInfoRequest, ExecutableAddressRequest, ExecutableCmdlineRequest, ExecutableFileRequest,
    FramebufferRequest, HhdmRequest, MemoryMapRequest, ModuleRequest, PagingModeRequest, RequestsEndMarker,
    RequestsStartMarker, RsdpRequest,
};
use mm::memory_map::{Region, RegionKind};
use spin::Once;

#[used]
#[unsafe(link_section = ".requests_start_marker")]
static START: RequestsStartMarker = RequestsStartMarker::new();
#[used]
#[unsafe(link_section = ".requests")]
static BASE_REVISION: BaseRevision = BaseRevision::with_revision(2);
#[used]
#[unsafe(link_section = ".requests")]
static BOOTLOADER: BootloaderInfoRequest = BootloaderInfoRequest::new();
#[used]
#[unsafe(link_section = ".requests")]
static DIRECT_MAP: HhdmRequest = HhdmRequest::new();
#[used]
#[unsafe(link_section = ".requests")]
static PAGING: PagingModeRequest = PagingModeRequest::new()
    .with_mode(Mode::FOUR_LEVEL)
    .with_max_mode(Mode::FOUR_LEVEL)
    .with_min_mode(Mode::FOUR_LEVEL);
#[used]
#[unsafe(link_section = ".requests")]
static MEMORY_MAP: MemoryMapRequest = MemoryMapRequest::new();
#[used]
#[unsafe(link_section = ".requests")]
static RSDP: RsdpRequest = RsdpRequest::new();
#[used]
#[unsafe(link_section = ".requests")]
static ADDRESS: ExecutableAddressRequest = ExecutableAddressRequest::new();
#[used]
#[unsafe(link_section = ".requests")]
static FILE: ExecutableFileRequest = ExecutableFileRequest::new();
#[used]
#[unsafe(link_section = ".requests")]
static CMDLINE: ExecutableCmdlineRequest = ExecutableCmdlineRequest::new();
#[used]
#[unsafe(link_section = ".requests")]
static MODULES: ModuleRequest = ModuleRequest::new();
#[used]
#[unsafe(link_section = ".requests")]
static FRAMEBUFFER: FramebufferRequest = FramebufferRequest::new();
#[used]
#[unsafe(link_section = ".requests_end_marker")]
static END: RequestsEndMarker = RequestsEndMarker::new();

/// Entries of the memory map that are kept. Real machines have below 150; with more, the rest is treated as absent.
const MAX_REGIONS: usize = 512;
/// Modules that are kept.
const MAX_MODULES: usize = 32;
/// Bytes of a name that are kept.
const MAX_NAME: usize = 64;
/// Bytes of the command line that are kept.
const MAX_CMDLINE: usize = 4096;

/// A short text, copied.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    const EMPTY: Self = Self { bytes: [0; N], len: 0 };

    fn copy(text: &[u8]) -> Self {
        let len = text.len().min(N);
        let mut bytes = [0; N];
        bytes[..len].copy_from_slice(&text[..len]);
        Self { bytes, len }
    }

    /// The text, up to the first byte that is not UTF-8.
    pub fn as_str(&self) -> &str {
        let bytes = &self.bytes[..self.len];
        match core::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        }
    }
}

/// A file that was loaded beside the kernel. It stays mapped for good.
#[derive(Clone, Copy)]
pub struct Module {
    /// Last part of its path.
    pub name: Text<MAX_NAME>,
    /// Its contents.
    pub bytes: &'static [u8],
}

/// Video memory that the bootloader has set up, at the address where it is mapped: in the direct map, where the kernel's
/// own tables have it as well.
#[derive(Clone, Copy, Debug)]
pub struct Framebuffer {
    /// Physical address.
    pub phys: u64,
    /// Address of the first pixel.
    pub virt: usize,
    /// Its shape.
    pub mode: VideoMode,
}

/// Why a framebuffer is not used.
#[derive(Clone, Copy, Debug)]
pub enum BadFramebuffer {
    /// It has no plain colours.
    Model,
    /// Its shape makes no sense.
    Mode(BadMode),
    /// It lies outside the direct map.
    Address(usize),
}

impl core::fmt::Display for BadFramebuffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Model => f.write_str("its memory model is not RGB"),
            Self::Mode(mode) => mode.fmt(f),
            Self::Address(addr) => write!(f, "its address {addr:#x} is not in the direct map"),
        }
    }
}

/// The first framebuffer; `None` if there is none. May be asked before [`BootInfo::take`].
///
/// # Errors
///
/// Why it cannot be used.
pub fn framebuffer() -> Option<Result<Framebuffer, BadFramebuffer>> {
    let found = FRAMEBUFFER.get_response()?.framebuffers().next()?;
    if found.memory_model() != MemoryModel::RGB {
        return Some(Err(BadFramebuffer::Model));
    }
    let mode = VideoMode {
        width: found.width() as usize,
        height: found.height() as usize,
        pitch: found.pitch() as usize,
        nr_bits: found.bpp(),
        masks: [
            Mask { size: found.red_mask_size(), shift: found.red_mask_shift() },
            Mask { size: found.green_mask_size(), shift: found.green_mask_shift() },
            Mask { size: found.blue_mask_size(), shift: found.blue_mask_shift() },
        ],
    };
    let virt = found.addr() as usize;
    let phys = DIRECT_MAP.get_response().and_then(|response| virt.checked_sub(response.offset() as usize));
    Some(match (mode.checked(), phys) {
        (Err(error), _) => Err(BadFramebuffer::Mode(error)),
        (_, None) => Err(BadFramebuffer::Address(virt)),
        (Ok(mode), Some(phys)) => Ok(Framebuffer { phys: phys as u64, virt, mode }),
    })
}

/// The value of an option of the command line, before [`BootInfo::take`].
pub fn early_option(key: &str) -> Option<&'static str> {
    raw_cmdline().and_then(|line| CommandLine::from_bytes(line.to_bytes()).get(key))
}

/// The command line, where the bootloader has it.
fn raw_cmdline() -> Option<&'static CStr> {
    // Limine 8.2 knows no request for it, and gives it with the file.
    CMDLINE.get_response().map(|response| response.cmdline()).or_else(|| Some(FILE.get_response()?.file().string()))
}

/// What the bootloader tells. Owns copies; nothing here lies in the bootloader's memory.
pub struct BootInfo {
    /// Name and version of the bootloader.
    pub bootloader: (Text<MAX_NAME>, Text<MAX_NAME>),
    /// Where physical address 0 is mapped.
    pub direct_map: usize,
    regions: [Region; MAX_REGIONS],
    /// Whether a region is memory, used or not, that the direct map has to reach.
    is_memory: [bool; MAX_REGIONS],
    nr_regions: usize,
    /// Entries of the map that found no place here.
    pub nr_regions_dropped: usize,
    /// Physical and virtual address of the kernel's image.
    pub image: (u64, usize),
    /// The kernel's own ELF file.
    pub kernel_file: &'static [u8],
    cmdline: Text<MAX_CMDLINE>,
    modules: [Option<Module>; MAX_MODULES],
    /// Files that found no place here.
    pub nr_modules_dropped: usize,
    /// Physical address of the ACPI root pointer.
    pub rsdp_phys: Option<u64>,
}

/// Why the kernel cannot boot on what it was told.
#[derive(Clone, Copy, Debug)]
pub enum BootError {
    /// The bootloader does not know base revision 2.
    BaseRevision {
        /// What it loaded us with, if it says.
        loaded: Option<u64>,
    },
    /// A request without which nothing works has no response.
    NoResponse {
        /// Which.
        request: &'static str,
    },
}

impl core::fmt::Display for BootError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BaseRevision { loaded: Some(loaded) } => {
                write!(f, "the bootloader speaks base revision {loaded} of the Limine protocol, this kernel needs 2")
            }
            Self::BaseRevision { loaded: None } => {
                f.write_str("the bootloader does not know base revision 2 of the Limine protocol")
            }
            Self::NoResponse { request } => write!(f, "the bootloader did not answer the {request} request"),
        }
    }
}

static INFO: Once<BootInfo> = Once::new();

/// What [`BootInfo::take`] copied.
pub fn get() -> &'static BootInfo {
    INFO.get().expect("taken first thing at boot")
}

/// What [`BootInfo::take`] copied, if it has been called.
pub fn try_get() -> Option<&'static BootInfo> {
    INFO.get()
}

impl BootInfo {
    /// Copies what the bootloader says.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn take() -> Result<&'static Self, BootError> {
        if !BASE_REVISION.is_supported() {
            return Err(BootError::BaseRevision { loaded: BASE_REVISION.loaded_revision() });
        }
        INFO.try_call_once(Self::copy)
    }

    fn copy() -> Result<Self, BootError> {
        fn need<T>(response: Option<T>, request: &'static str) -> Result<T, BootError> {
            response.ok_or(BootError::NoResponse { request })
        }
        let direct_map = need(DIRECT_MAP.get_response(), "direct-map (HHDM)")?.offset() as usize;
        let map = need(MEMORY_MAP.get_response(), "memory-map")?.entries();
        let address = need(ADDRESS.get_response(), "executable-address")?;
        let file = need(FILE.get_response(), "executable-file")?.file();
        let mut info = Self {
            bootloader: BOOTLOADER.get_response().map_or((Text::EMPTY, Text::EMPTY), |response| {
                (Text::copy(response.name().as_bytes()), Text::copy(response.version().as_bytes()))
            }),
            direct_map,
            regions: [Region { start: 0, end: 0, kind: RegionKind::Reserved }; MAX_REGIONS],
            is_memory: [false; MAX_REGIONS],
            nr_regions: map.len().min(MAX_REGIONS),
            nr_regions_dropped: map.len().saturating_sub(MAX_REGIONS),
            image: (address.physical_base(), address.virtual_base() as usize),
            kernel_file: contents(file),
            cmdline: Text::copy(raw_cmdline().map_or(&[][..], CStr::to_bytes)),
            modules: [None; MAX_MODULES],
            nr_modules_dropped: 0,
            // Below base revision 3 the address is in the direct map.
            rsdp_phys: RSDP.get_response().map(|response| {
                let addr = response.address();
                addr.checked_sub(direct_map).unwrap_or(addr) as u64
            }),
        };
        for ((region, is_memory), entry) in info.regions.iter_mut().zip(&mut info.is_memory).zip(map) {
            *region = Region::with_len(entry.base, entry.length, kind_of(entry.entry_type));
            *is_memory =
                !matches!(entry.entry_type, EntryType::RESERVED | EntryType::BAD_MEMORY | EntryType::FRAMEBUFFER);
        }
        let files = MODULES.get_response().map_or(&[][..], |response| response.modules());
        info.nr_modules_dropped = files.len().saturating_sub(MAX_MODULES);
        for (place, file) in info.modules.iter_mut().zip(files) {
            *place = Some(Module { name: base_name(file.path()), bytes: contents(file) });
        }
        Ok(info)
    }

    /// The memory map.
    pub fn regions(&self) -> &[Region] {
        &self.regions[..self.nr_regions]
    }

    /// The regions that are memory, used or not.
    pub fn memory(&self) -> impl Iterator<Item = &Region> + Clone {
        self.regions().iter().zip(&self.is_memory).filter(|&(_, &is_memory)| is_memory).map(|(region, _)| region)
    }

    /// The kernel command line.
    pub fn cmdline(&'static self) -> CommandLine<'static> {
        CommandLine::new(self.cmdline.as_str())
    }

    /// The files loaded beside the kernel.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.iter().flatten()
    }

    /// The contents of all files that stay in use.
    pub fn files(&self) -> impl Iterator<Item = &'static [u8]> {
        self.modules().map(|module| module.bytes).chain([self.kernel_file])
    }
}

fn kind_of(entry: EntryType) -> RegionKind {
    match entry {
        EntryType::USABLE => RegionKind::Usable,
        EntryType::BOOTLOADER_RECLAIMABLE => RegionKind::BootloaderReclaimable,
        EntryType::ACPI_RECLAIMABLE => RegionKind::AcpiReclaimable,
        _ => RegionKind::Reserved,
    }
}

fn contents(file: &limine::file::File) -> &'static [u8] {
    // SAFETY: the protocol says that `size` bytes at `addr` are the file, mapped, in memory of the type for the
    // executable and modules, which is never reclaimed or written.
    unsafe { core::slice::from_raw_parts(file.addr(), file.size() as usize) }
}

fn base_name(path: &CStr) -> Text<MAX_NAME> {
    let path = path.to_bytes();
    Text::copy(path.rsplit(|&byte| byte == b'/').next().unwrap_or(path))
}
