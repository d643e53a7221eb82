//! The end of a boot that cannot be: one line on the serial port, and QEMU leaves with a failing status.
//!
//! Called by: everything, through `?`.

use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

use loader::archive::ArchiveError;
use loader::elf::ElfError;
use loader::memory::MemoryError;
use loader::paging::MapError;
use loader::requests::RequestError;

use super::serial::{self, Com1};

/// Port of QEMU's isa-debug-exit device, as it is by convention placed.
const DEBUG_EXIT: u16 = 0xf4;
/// What is written there: QEMU leaves with status 39 (twice this, plus one).
pub(super) const REFUSED: u8 = 0x13;

/// Why there will be no kernel.
pub(super) enum Refusal {
    /// The start info is not one.
    NoStartInfo,
    /// The start info has no memory map.
    NoMemoryMap,
    /// No initrd was given.
    NoArchive,
    /// The initrd or another input lies where the loader cannot reach it.
    OutOfReach { what: &'static str, address: u64 },
    /// The CPU has no execute-disable bit.
    NoExecuteDisable,
    /// No ACPI root pointer.
    NoRsdp,
    /// More memory than the direct map has room for.
    TooMuchMemory { top: u64 },
    /// The archive is broken.
    Archive(ArchiveError),
    /// The kernel is.
    Elf(ElfError),
    /// Its requests are.
    Requests(RequestError),
    /// The entry point lies in no executable segment.
    EntryOutsideOfCode { address: u64 },
    /// The kernel wants more levels of page tables than there are.
    PagingMode { minimum: u64, maximum: u64 },
    /// A stack of that size cannot be.
    StackSize { bytes: u64 },
    /// An internal module is not in the archive.
    ModuleMissing { path: &'static [u8] },
    /// An internal module asks to be decompressed.
    ModuleCompressed { path: &'static [u8] },
    /// The list of internal modules points out of the kernel.
    BadModuleList,
    /// Out of memory.
    Memory(MemoryError),
    /// Page tables could not be built.
    Map(MapError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStartInfo => write!(f, "entered without PVH start info: use qemu -kernel"),
            Self::NoMemoryMap => write!(f, "the start info has no memory map"),
            Self::NoArchive => write!(f, "no archive: give a tar file, kernel first, with -initrd"),
            Self::OutOfReach { what, address } => write!(f, "{what} at {address:#x} is out of reach (above 4 GiB)"),
            Self::NoExecuteDisable => write!(f, "this CPU has no execute-disable bit (NX)"),
            Self::NoRsdp => write!(f, "no ACPI root pointer (RSDP): ACPI must be on"),
            Self::TooMuchMemory { top } => write!(f, "memory up to {top:#x} does not fit into the direct map"),
            Self::Archive(error) => write!(f, "{error}"),
            Self::Elf(error) => write!(f, "{error}"),
            Self::Requests(error) => write!(f, "{error}"),
            Self::EntryOutsideOfCode { address } => {
                write!(f, "kernel: entry point {address:#x} is in no executable segment")
            }
            Self::PagingMode { minimum, maximum } => {
                write!(f, "kernel: wants paging mode {minimum} to {maximum}, there is only 0 (four levels)")
            }
            Self::StackSize { bytes } => write!(f, "kernel: asks for stacks of {bytes:#x} bytes"),
            Self::ModuleMissing { path } => write!(f, "kernel: internal module {} is missing", Text(path)),
            Self::ModuleCompressed { path } => {
                write!(f, "kernel: internal module {} is compressed, which is not supported", Text(path))
            }
            Self::BadModuleList => write!(f, "kernel: its list of internal modules points outside of it"),
            Self::Memory(error) => write!(f, "{error}"),
            Self::Map(error) => write!(f, "{error}"),
        }
    }
}

/// Bytes that are probably text.
struct Text(&'static [u8]);

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", byte.escape_ascii()))
    }
}

macro_rules! refusal_from {
    ($($variant:ident($error:ty)),*) => {$(
        impl From<$error> for Refusal {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

refusal_from!(Archive(ArchiveError), Elf(ElfError), Requests(RequestError), Memory(MemoryError), Map(MapError));

/// Says why there will be no kernel, and ends.
pub(super) fn refuse(why: &dyn fmt::Display) -> ! {
    warn(why);
    // SAFETY: the port is the debug exit's, or nobody's.
    unsafe { serial::out(DEBUG_EXIT, REFUSED) };
    halt()
}

/// Says something that the boot survives.
pub(super) fn warn(what: &dyn fmt::Display) {
    // Writing to the port cannot fail.
    let _ = writeln!(Com1::init(), "loader: {what}");
}

/// Stops this processor for good.
pub(super) fn halt() -> ! {
    loop {
        // SAFETY: with interrupts off this stops the processor and touches nothing.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    refuse(info)
}
