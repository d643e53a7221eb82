//! Fills in the responses. What is not answered here stays untouched, as the protocol demands.
//!
//! Called by: `boot`, in the order in which answers become known; the memory map last, since every response is
//! memory too.

use loader::acpi::Rsdp;
use loader::lies::Lie;
use loader::memory::{Kind, MemoryError, PAGE, Range};
use loader::path;
use loader::protocol::{
    Acknowledged, BOOTLOADER_INFO, DATE_AT_BOOT, DIRECT_MAP, ENTRY_POINT, EXECUTABLE_ADDRESS, EXECUTABLE_CMDLINE,
    EXECUTABLE_FILE, FIRMWARE_TYPE, File, HHDM, Id, List, MEMORY_MAP, MODULE_COMPRESSED, MODULE_REQUIRED, MODULES, MP,
    MP_X2APIC, MemoryMapEntry, MpInfo, MpResponse, OneValue, PAGING_MODE, RSDP, STACK_BYTES, STACK_SIZE, TwoValues,
};

use super::clock;
use super::fail::Refusal;
use super::files::Files;
use super::kernel::{Kernel, Request};
use super::mp::{LEFT_OUT, Started};
use super::store::Store;

/// Revision of the module response: internal modules are honoured, compressed ones refused.
const MODULES_REVISION: u64 = 2;
/// Internal modules a kernel may ask for.
const MAX_INTERNAL_MODULES: u64 = 256;
/// Stacks are below this size; more is taken for a mistake.
const MAX_STACK_BYTES: u64 = 1 << 30;
/// A legacy BIOS, or something that the kernel may take for one.
const FIRMWARE_BIOS: u64 = 0;
const FOUR_LEVELS: u64 = 0;

/// Bytes of each stack: 64 KiB, or more if the kernel asks.
pub(super) fn stack_bytes(kernel: &Kernel) -> Result<u64, Refusal> {
    let asked = kernel.request(STACK_SIZE).map_or(0, |request| kernel.member(request, 0));
    if asked > MAX_STACK_BYTES {
        return Err(Refusal::StackSize { bytes: asked });
    }
    Ok(asked.max(STACK_BYTES).next_multiple_of(PAGE))
}

/// The kernel's requests, and the memory that responses are made of.
pub(super) struct Answers<'a> {
    pub(super) kernel: &'a mut Kernel,
    pub(super) store: &'a mut Store,
}

impl Answers<'_> {
    /// Answers the request with this id, if the kernel makes it.
    fn answer<T: Copy>(&mut self, id: Id, response: T) -> Result<(), MemoryError> {
        if let Some(request) = self.kernel.request(id) {
            let response = self.store.place(response)?;
            self.kernel.answer(request, response);
        }
        Ok(())
    }

    fn answer_value(&mut self, id: Id, value: u64) -> Result<(), MemoryError> {
        self.answer(id, OneValue { revision: 0, value })
    }

    /// Loader, firmware, direct map, paging mode, RSDP, clock.
    pub(super) fn about_the_machine(&mut self, rsdp: &Rsdp) -> Result<(), Refusal> {
        let name = self.store.string(b"Bandolier loader".iter().copied())?;
        let version = self.store.string(env!("CARGO_PKG_VERSION").bytes())?;
        self.answer(BOOTLOADER_INFO, TwoValues { revision: 0, values: [name, version] })?;
        self.answer_value(FIRMWARE_TYPE, FIRMWARE_BIOS)?;
        self.answer_value(DIRECT_MAP, HHDM)?;
        self.paging_mode()?;
        // Physical in revision 3, where the direct map does not reach firmware's tables.
        let offset = if self.kernel.revision() == 3 { 0 } else { HHDM };
        self.answer_value(RSDP, rsdp.address + offset)?;
        if self.kernel.request(DATE_AT_BOOT).is_some()
            && let Some(time) = clock::unix_time()
        {
            self.answer_value(DATE_AT_BOOT, time.cast_unsigned())?;
        }
        Ok(())
    }

    fn paging_mode(&mut self) -> Result<(), Refusal> {
        let Some(request) = self.kernel.request(PAGING_MODE) else { return Ok(()) };
        if self.kernel.request_revision(request) >= 1 {
            let (maximum, minimum) = (self.kernel.member(request, 1), self.kernel.member(request, 2));
            if minimum > FOUR_LEVELS || maximum < minimum {
                return Err(Refusal::PagingMode { minimum, maximum });
            }
        }
        Ok(self.answer_value(PAGING_MODE, FOUR_LEVELS)?)
    }

    /// Command line, address, stack size.
    pub(super) fn about_the_kernel(&mut self, cmdline: u64) -> Result<(), Refusal> {
        self.answer_value(EXECUTABLE_CMDLINE, cmdline)?;
        let values = [self.kernel.physical_base, self.kernel.elf.virtual_base()];
        self.answer(EXECUTABLE_ADDRESS, TwoValues { revision: 0, values })?;
        Ok(self.answer(STACK_SIZE, Acknowledged { revision: 0 })?)
    }

    /// Where the kernel is entered.
    pub(super) fn entry_point(&mut self) -> Result<u64, Refusal> {
        let address = match self.kernel.request(ENTRY_POINT) {
            Some(request) => self.kernel.member(request, 0),
            None => self.kernel.elf.entry,
        };
        self.answer(ENTRY_POINT, Acknowledged { revision: 0 })?;
        if self.kernel.elf.is_code(address) { Ok(address) } else { Err(Refusal::EntryOutsideOfCode { address }) }
    }

    /// The kernel's file and the modules: internal ones first, then every other file of the archive.
    pub(super) fn about_files(&mut self, files: &Files, cmdline: u64) -> Result<(), Refusal> {
        let [kernel_file, rest @ ..] = files.list() else { return Ok(()) };
        let kernel_file = File { cmdline, ..*kernel_file };
        let file = self.store.place(kernel_file)?;
        self.answer_value(EXECUTABLE_FILE, file)?;

        let Some(request) = self.kernel.request(MODULES) else { return Ok(()) };
        let has_internal = self.kernel.request_revision(request) >= 1;
        let nr_internal = if has_internal { self.kernel.member(request, 0) } else { 0 };
        if nr_internal > MAX_INTERNAL_MODULES {
            return Err(Refusal::BadModuleList);
        }
        let pointers = self.store.array::<u64>(nr_internal as usize + rest.len())?;
        // A file that an internal module names is not listed a second time.
        let is_taken = self.store.array::<u8>(rest.len())?;
        let mut count = 0;
        for index in 0..nr_internal {
            let module = self.internal_module(request, index)?;
            let path = self.copy_text(module.path)?;
            if module.flags & MODULE_COMPRESSED != 0 {
                return Err(Refusal::ModuleCompressed { path });
            }
            let found = rest.iter().position(|file| path::leads_to(Files::path(&kernel_file), path, Files::path(file)));
            match found {
                Some(found) => {
                    let cmdline = self.copy_text(module.cmdline)?.as_ptr() as u64 + HHDM;
                    pointers[count] = self.store.place(File { cmdline, ..rest[found] })?;
                    count += 1;
                    is_taken[found] = 1;
                }
                None if module.flags & MODULE_REQUIRED != 0 => return Err(Refusal::ModuleMissing { path }),
                None => {}
            }
        }
        for (file, _) in rest.iter().zip(&*is_taken).filter(|&(_, &taken)| taken == 0) {
            pointers[count] = core::ptr::from_ref(file) as u64 + HHDM;
            count += 1;
        }
        if count > 0 {
            let pointers = pointers.as_ptr() as u64 + HHDM;
            self.answer(MODULES, List { revision: MODULES_REVISION, count: count as u64, pointers })?;
        }
        Ok(())
    }

    /// What the kernel's list says of one internal module.
    fn internal_module(&self, request: Request, index: u64) -> Result<InternalModule, Refusal> {
        let word = |address: u64, index: u64| {
            self.kernel.word_at(address.wrapping_add(8 * index)).ok_or(Refusal::BadModuleList)
        };
        let module = word(self.kernel.member(request, 1), index)?;
        Ok(InternalModule { path: word(module, 0)?, cmdline: word(module, 1)?, flags: word(module, 2)? })
    }

    /// A copy of text inside the kernel, followed by a zero byte. No address means no text.
    fn copy_text(&mut self, address: u64) -> Result<&'static [u8], Refusal> {
        if address == 0 {
            return Ok(&self.store.array::<u8>(1)?[..0]);
        }
        let text = self.kernel.text_at(address).ok_or(Refusal::BadModuleList)?;
        let copy = self.store.array::<u8>(text.clone().count() + 1)?;
        copy.iter_mut().zip(text).for_each(|(to, from)| *to = from);
        Ok(&copy[..copy.len() - 1])
    }

    /// The processors that came.
    pub(super) fn about_processors(&mut self, started: Option<Started>) -> Result<(), Refusal> {
        let Some(Started { uses_x2apic, bsp_apic_id, infos, haunted_page, lie }) = started else { return Ok(()) };
        if let Some(page) = haunted_page {
            let range = Range::of(page, PAGE);
            self.store.map.release(range, Kind::Reclaimable)?;
            self.store.map.claim(range, Kind::Reserved)?;
        }
        let made_up = self.store.array::<MpInfo>(lie.map_or(0, Lie::nr_made_up))?;
        let pointers = self.store.array::<u64>(infos.len() + made_up.len())?;
        let mut count = 0;
        let first = infos.iter().position(|info| info.lapic_id == bsp_apic_id).unwrap_or(infos.len());
        if let Some(lie) = lie {
            lie.distort(infos);
            lie.make_up(made_up);
        }
        for info in infos.iter_mut().chain(made_up).filter(|info| info.reserved != LEFT_OUT) {
            pointers[count] = core::ptr::from_mut::<MpInfo>(info) as u64 + HHDM;
            count += 1;
        }
        if let Some(lie) = lie {
            count = lie.relist(&mut pointers[..count], first);
        }
        let response = MpResponse {
            revision: 0,
            flags: if uses_x2apic { MP_X2APIC as u32 } else { 0 },
            bsp_lapic_id: bsp_apic_id,
            cpu_count: count as u64,
            cpus: pointers.as_ptr() as u64 + HHDM,
        };
        match lie.map_or(Some(response), |lie| lie.misreport(response)) {
            Some(response) => Ok(self.answer(MP, response)?),
            None => Ok(()),
        }
    }

    /// The memory map as it is after everything was taken from it.
    pub(super) fn about_memory(&mut self) -> Result<(), Refusal> {
        if self.kernel.request(MEMORY_MAP).is_none() {
            return Ok(());
        }
        // Taking room for the response itself may still split a region or two.
        let room = self.store.map.regions().len() + 4;
        let entries = self.store.array::<MemoryMapEntry>(room)?;
        let pointers = self.store.array::<u64>(room)?;
        let addresses = pointers.as_ptr() as u64 + HHDM;
        let response = self.store.array::<u64>(size_of::<List>() / 8)?;
        // Nothing is allocated from here on.
        let regions = self.store.map.regions();
        for ((region, entry), pointer) in regions.iter().zip(entries).zip(pointers) {
            let (base, length) = (region.range.base, region.range.len());
            *entry = MemoryMapEntry { base, length, kind: region.kind as u64 };
            *pointer = core::ptr::from_mut(entry) as u64 + HHDM;
        }
        response.copy_from_slice(&[0, regions.len() as u64, addresses]);
        if let Some(request) = self.kernel.request(MEMORY_MAP) {
            self.kernel.answer(request, response.as_ptr() as u64 + HHDM);
        }
        Ok(())
    }
}

struct InternalModule {
    path: u64,
    cmdline: u64,
    flags: u64,
}
