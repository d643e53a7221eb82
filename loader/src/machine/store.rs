//! The loader's memory: whole pages from the map, and small things packed into pages of their own.
//!
//! Invariants: everything handed out lies below 4 GiB, so that the identity mapping and 32-bit registers reach it, and
//! is handed out once. Small things are reclaimable memory, as the protocol wants its responses.
//!
//! Called by: all of the boot path.

use loader::memory::{Kind, Map, MemoryError, PAGE};
use loader::paging::Frames;
use loader::protocol::HHDM;

use super::physical::{LIMIT, slice_mut};

/// Small things are packed into pieces of this many bytes.
const PIECE: u64 = 16 * 1024;

/// Types for which all zero bytes are a value, and which have no padding or pointers to keep.
///
/// # Safety
/// Zero bytes are a valid value of the type.
pub(super) unsafe trait Zeroable: Copy {}

macro_rules! zeroable {
    ($($type:ty),*) => {$(
        // SAFETY: integers, and structures of integers, may be zero.
        unsafe impl Zeroable for $type {}
    )*};
}

zeroable!(u8, u64, loader::protocol::MpInfo, loader::protocol::MemoryMapEntry, loader::protocol::File);

/// Where memory comes from.
pub(super) struct Store {
    /// What is free and what is not.
    pub(super) map: Map,
    next: u64,
    end: u64,
}

impl Store {
    pub(super) fn new(map: Map) -> Self {
        Self { map, next: 0, end: 0 }
    }

    /// `bytes`, rounded up to pages, content undefined; their physical address.
    pub(super) fn pages(&mut self, bytes: u64, kind: Kind) -> Result<u64, MemoryError> {
        self.map.allocate(bytes, PAGE, kind, LIMIT)
    }

    /// Zeroed values in reclaimable memory.
    pub(super) fn array<T: Zeroable>(&mut self, count: usize) -> Result<&'static mut [T], MemoryError> {
        let bytes = (count * size_of::<T>()).next_multiple_of(16).max(16) as u64;
        if bytes > self.end - self.next {
            let piece = bytes.max(PIECE).next_multiple_of(PAGE);
            self.next = self.pages(piece, Kind::Reclaimable)?;
            self.end = self.next + piece;
        }
        let base = self.next;
        self.next += bytes;
        // SAFETY:
        // - `base` is in a piece of usable memory below `LIMIT` that was taken from the map, and `next` moves past it,
        //   so it is mapped, not null and nobody else's;
        // - it is aligned to 16, which is enough for every `Zeroable` type;
        // - bytes may hold anything before they are zeroed.
        unsafe { slice_mut::<u8>(base, bytes as usize) }.fill(0);
        // SAFETY: as above; the bytes are zero, which `T: Zeroable` makes values; the byte view is gone.
        Ok(unsafe { slice_mut(base, count) })
    }

    /// A response in reclaimable memory; its address in the direct map.
    pub(super) fn place<T: Copy>(&mut self, value: T) -> Result<u64, MemoryError> {
        let bytes = self.array::<u8>(size_of::<T>())?;
        let address = bytes.as_ptr() as u64;
        // SAFETY: `array` gave exactly these bytes, aligned to 16, to this call alone.
        unsafe { (address as *mut T).write(value) };
        Ok(address + HHDM)
    }

    /// A zero-terminated copy of some text; its address in the direct map.
    pub(super) fn string(&mut self, text: impl Iterator<Item = u8> + Clone) -> Result<u64, MemoryError> {
        let copy = self.array::<u8>(text.clone().count() + 1)?;
        copy.iter_mut().zip(text).for_each(|(to, from)| *to = from);
        Ok(copy.as_ptr() as u64 + HHDM)
    }
}

impl Frames for &mut Store {
    fn frame(&mut self) -> Result<u64, MemoryError> {
        let frame = self.pages(PAGE, Kind::Reclaimable)?;
        // SAFETY: a fresh page below `LIMIT`, nobody else's; zeroes are as good as anything.
        unsafe { slice_mut::<u64>(frame, 512) }.fill(0);
        Ok(frame)
    }

    fn entry(&mut self, table: u64, index: usize) -> &mut u64 {
        // SAFETY: `table` came from `frame`, as the trait asks; the borrow of `self` keeps the entry unshared.
        let table = unsafe { slice_mut::<u64>(table, 512) };
        &mut table[index]
    }
}
