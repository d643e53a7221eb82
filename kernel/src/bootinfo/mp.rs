//! The list of CPUs that the bootloader hands over, read without trust.
//!
//! Written after the MP feature of the Limine protocol, not taken from the `limine` crate: that one makes references of
//! whatever the list points at. Here a pointer is followed if it is aligned and leads into memory that the bootloader
//! calls its own, which is where the protocol puts all responses; any other is an entry that does not exist.
//!
//! Valid until the bootloader's memory is reclaimed: [`Response`] and what it leads to do not outlive the start of the CPUs.
//! Called by: `others`, on the first CPU.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use arch::entry;
use mm::memory_map::RegionKind;

use super::BootInfo;

/// The most entries that a list may have and be believed.
const MAX_LISTED: u64 = 4096;

const X2APIC: u64 = 1;

/// `limine_mp_request`.
#[repr(C)]
struct Request {
    id: [u64; 4],
    revision: u64,
    response: AtomicPtr<RawResponse>,
    flags: u64,
}

#[used]
#[unsafe(link_section = ".requests")]
static REQUEST: Request = Request {
    id: [0xc7b1_dd30_df4c_8b88, 0x0a82_e883_a194_f07b, 0x95a6_7b81_9a1b_857e, 0xa0b6_1b72_3b6a_73e0],
    revision: 0,
    response: AtomicPtr::new(ptr::null_mut()),
    flags: X2APIC,
};

/// `limine_mp_response`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawResponse {
    revision: u64,
    flags: u32,
    bsp_lapic_id: u32,
    cpu_count: u64,
    cpus: usize,
}

/// `limine_mp_info`: what one CPU of the bootloader's looks at until it is told where to go.
#[repr(C)]
pub struct Block {
    processor_id: u32,
    lapic_id: u32,
    reserved: AtomicU64,
    goto_address: AtomicU64,
    extra_argument: AtomicU64,
}

// To ensure that the entry code finds its argument.
const _: () = assert!(core::mem::offset_of!(Block, extra_argument) == entry::EXTRA_ARGUMENT_OFFSET);
const _: () = assert!(core::mem::offset_of!(Block, goto_address) == 16 && size_of::<Block>() == 32);

impl Block {
    /// The APIC id that the bootloader tells.
    pub fn apic_id(&self) -> u32 {
        self.lapic_id
    }

    /// Calls the CPU that looks at this block, if there is one: it enters by [`entry::other_cpu_entry`].
    pub fn call(&self, start: &'static entry::ApStart) {
        self.extra_argument.store(ptr::from_ref(start) as u64, Ordering::Relaxed);
        // Release: the argument, and all that it leads to, comes first.
        self.goto_address.store(entry::other_cpu_entry as *const () as u64, Ordering::Release);
    }
}

/// The answer to the request.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    info: &'a BootInfo,
    raw: RawResponse,
}

/// Why there is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoList {
    /// The bootloader did not answer.
    NoResponse,
    /// Its answer lies where none can be.
    Astray {
        /// The address.
        address: usize,
    },
}

impl core::fmt::Display for NoList {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoResponse => f.write_str("the bootloader did not answer the request for a list of CPUs"),
            Self::Astray { address } => write!(f, "the bootloader's list of CPUs at {address:#x} is not in its memory"),
        }
    }
}

impl<'a> Response<'a> {
    /// What the bootloader answered.
    ///
    /// # Errors
    ///
    /// [`NoList`].
    pub fn read(info: &'a BootInfo) -> Result<Self, NoList> {
        let address = REQUEST.response.load(Ordering::Acquire) as usize;
        if address == 0 {
            return Err(NoList::NoResponse);
        }
        // SAFETY: bytes of any value are a response, as it is made of integers.
        let raw = unsafe { read(info, address) }.ok_or(NoList::Astray { address })?;
        Ok(Self { info, raw })
    }

    /// Whether the bootloader says that it has turned x2APIC mode on.
    pub fn says_x2apic(&self) -> bool {
        u64::from(self.raw.flags) & X2APIC != 0
    }

    /// The APIC id of the CPU that boots, as told.
    pub fn first_apic_id(&self) -> u32 {
        self.raw.bsp_lapic_id
    }

    /// Entries that the list has, as told.
    pub fn nr_told(&self) -> u64 {
        self.raw.cpu_count
    }

    /// Entries that are looked at. A list that claims to be longer than any machine's is taken to end at its first place
    /// that leads nowhere: what follows it in memory is not a list, though some of it may look like one.
    pub fn nr_listed(&self) -> usize {
        if self.raw.cpu_count <= MAX_LISTED {
            return self.raw.cpu_count as usize;
        }
        (0..MAX_LISTED as usize).take_while(|&place| self.block(place).is_some()).count()
    }

    /// The block that entry `place` points at, if it can be one.
    pub fn block(&self, place: usize) -> Option<&'a Block> {
        let address = self.raw.cpus.checked_add(place.checked_mul(size_of::<usize>())?)?;
        // SAFETY: any eight bytes are an address.
        let address = unsafe { read::<usize>(self.info, address) }?;
        is_in_its_memory::<Block>(self.info, address).then(|| {
            // SAFETY: aligned, in the bootloader's memory, which the direct map covers and nobody has reclaimed; integers
            // all, of which those that change are atomics.
            unsafe { &*ptr::with_exposed_provenance::<Block>(address) }
        })
    }
}

/// A copy of the `T` at `address`, if that is aligned and in the bootloader's memory.
///
/// # Safety
///
/// Bytes of any value are a `T`.
unsafe fn read<T: Copy>(info: &BootInfo, address: usize) -> Option<T> {
    is_in_its_memory::<T>(info, address).then(|| {
        // SAFETY: aligned and in memory that the direct map covers; any value will do, by the caller's word.
        unsafe { *ptr::with_exposed_provenance::<T>(address) }
    })
}

/// Whether a `T` at `address` is aligned and lies in one piece of memory that the bootloader calls its own.
fn is_in_its_memory<T>(info: &BootInfo, address: usize) -> bool {
    let Some(phys) = address.checked_sub(info.direct_map).map(|phys| phys as u64) else { return false };
    let Some(end) = phys.checked_add(size_of::<T>() as u64) else { return false };
    let own = info.regions().iter().filter(|region| region.kind == RegionKind::BootloaderReclaimable);
    address.is_multiple_of(align_of::<T>()) && { own }.any(|region| region.start <= phys && end <= region.end)
}
