//! What QEMU hands over: PVH start info with command line, initrd, RSDP and memory map.
//!
//! After Xen's `public/arch-x86/hvm/start_info.h`. The memory map says nothing of the loader, the start info or the
//! initrd; `memory_map` takes them out of it. Nothing else in it is trusted to be sorted, aligned or without overlap.
//! A module's own command line is not looked at: qboot leaves garbage there. Nor need the tables be aligned.
//!
//! Called by: `boot`, first of all.

use loader::acpi::Physical;
use loader::memory::{Kind, Map, Range};

use super::fail::Refusal;
use super::physical::{Identity, LIMIT, slice};

const MAGIC: u32 = 0x336e_c578;
/// A command line without an end is cut off here.
const CMDLINE_MAX: u64 = 64 * 1024;

#[repr(C, packed)]
struct Header {
    magic: u32,
    version: u32,
    flags: u32,
    nr_modules: u32,
    modules: u64,
    cmdline: u64,
    rsdp: u64,
    memory_map: u64,
    nr_memory_map_entries: u32,
    reserved: u32,
}

#[repr(C, packed)]
struct Module {
    base: u64,
    size: u64,
    cmdline: u64,
    reserved: u64,
}

#[repr(C, packed)]
struct MemoryMapEntry {
    base: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __image_end: u8;
}

/// The start info, checked. What it refers to stays where it is until the map from `memory_map` says otherwise.
pub(super) struct StartInfo {
    /// The initrd.
    pub(super) archive: Range,
    /// The kernel's command line.
    pub(super) cmdline: &'static [u8],
    /// Physical address of the RSDP; 0 if unknown.
    pub(super) rsdp: u64,
    memory_map: &'static [MemoryMapEntry],
    header: Range,
    modules: Range,
}

/// Reads the start info at `address`.
pub(super) fn read(address: u64) -> Result<StartInfo, Refusal> {
    let header: &Header = items(address, 1).and_then(<[_]>::first).ok_or(Refusal::NoStartInfo)?;
    if header.magic != MAGIC {
        return Err(Refusal::NoStartInfo);
    }
    if header.version < 1 || header.memory_map == 0 || header.nr_memory_map_entries == 0 {
        return Err(Refusal::NoMemoryMap);
    }
    let count = header.nr_memory_map_entries as usize;
    let memory_map = items(header.memory_map, count).ok_or(Refusal::NoMemoryMap)?;
    if header.nr_modules == 0 {
        return Err(Refusal::NoArchive);
    }
    let module: &Module = items(header.modules, 1).and_then(<[_]>::first).ok_or(Refusal::NoArchive)?;
    let archive = Range::of(module.base, module.size);
    if archive.is_empty() || archive.base == 0 {
        return Err(Refusal::NoArchive);
    }
    if module.size > LIMIT || archive.end > LIMIT {
        return Err(Refusal::OutOfReach { what: "initrd", address: module.base });
    }
    let address_of_cmdline = header.cmdline;
    let cmdline = match address_of_cmdline {
        0 => &[],
        address if address >= LIMIT => return Err(Refusal::OutOfReach { what: "command line", address }),
        address => {
            let room = CMDLINE_MAX.min(LIMIT - address) as usize;
            // SAFETY: the range is mapped, as it ends at or below `LIMIT`; nobody writes there before it is copied.
            let text = unsafe { slice::<u8>(address, room) };
            text.split(|&byte| byte == 0).next().unwrap_or(text)
        }
    };
    let range = |base, size: usize| Range::of(base, size as u64);
    Ok(StartInfo {
        archive,
        cmdline,
        rsdp: header.rsdp,
        memory_map,
        header: range(address, size_of::<Header>()),
        modules: range(header.modules, header.nr_modules as usize * size_of::<Module>()),
    })
}

impl StartInfo {
    /// The firmware's map, less what is in use: the loader, the start info, the archive.
    ///
    /// The loader's code is not reclaimable, though nobody needs it any more. An emulator keeps what it has translated of
    /// it, and drops that piece by piece when somebody writes there, for each piece on all processors: with 64 of them
    /// these 18 pages took a kernel that cleared them half a second, as much as all the rest of its boot.
    pub(super) fn memory_map(&self) -> Result<Map, Refusal> {
        let entries = self.memory_map.iter();
        let mut map = Map::new(entries.map(|entry| (Range::of(entry.base, entry.size), Kind::from_e820(entry.kind))))?;
        let text = Range { base: (&raw const __image_start) as u64, end: (&raw const __text_end) as u64 };
        let image = Range { base: text.end, end: (&raw const __image_end) as u64 };
        map.claim(text, Kind::ExecutableAndModules)?;
        let list = self.memory_map.as_ptr_range();
        let list = Range { base: list.start as u64, end: list.end as u64 };
        let cmdline = Range::of(self.cmdline.as_ptr() as u64, self.cmdline.len() as u64 + 1);
        for range in [image, self.header, self.modules, list, cmdline, self.archive] {
            map.claim(range, Kind::Reclaimable)?;
        }
        Ok(map)
    }

    /// The archive's bytes.
    pub(super) fn archive_bytes(&self) -> Option<&[u8]> {
        Identity.bytes(self.archive.base, self.archive.len() as usize)
    }
}

/// A table of the start info, unless it is out of reach.
fn items<T>(address: u64, count: usize) -> Option<&'static [T]> {
    let end = address.checked_add((count as u64).checked_mul(size_of::<T>() as u64)?)?;
    if address == 0 || align_of::<T>() != 1 || end > LIMIT {
        return None;
    }
    // SAFETY:
    // - not null, aligned as packed structures are anywhere, and mapped as it ends at or below `LIMIT`;
    // - `T` is one of the structures above, made of integers: any bytes are a value;
    // - the map keeps everything else away from it (`memory_map`), and nobody wrote before that.
    Some(unsafe { slice(address, count) })
}
