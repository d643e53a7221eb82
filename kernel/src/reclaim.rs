//! Memory that boot hands out: all that is usable, and later the bootloader's own, once no CPU can be in it any more.
//!
//! The second part rests on a [`Reclaimable`], which only [`crate::others`] makes, after every CPU has left.
//!
//! Called by: boot, on the first CPU; [`boot_memory`] by whoever accounts for memory.

use core::ops::Range;

use kernel::chaos::Chaos;
use mm::frame::{Frame, FrameRange, PAGE_SIZE};
use mm::memory_map::{RegionKind, ranges_of_kind};
use smp::CpuId;
use spin::Once;

use crate::boot::or_stop;
use crate::bootinfo::BootInfo;
use crate::console::log;
use crate::machine::HEAP;
use crate::others::{Held, Reclaimable};
use crate::{chaos, debug, per_cpu};

/// Physical memory below this is not reclaimed: CPUs that the bootloader started and did not list run there.
const TRAMPOLINE_END: u64 = 1 << 20;

/// Ranges of reclaimable memory that are looked at.
const MAX_LATER: usize = 128;

/// What `chaos=poison-reclaimed` fills it with: `int3`, and an address that is none.
const POISON: u8 = 0xcc;

/// What boot made of the memory map, for `mem`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootMemory {
    /// Usable frames, the reclaimed ones included.
    pub nr_usable: u64,
    /// Of these, the frame bitmap and the frame table.
    pub nr_metadata: u64,
}

static MEMORY: Once<BootMemory> = Once::new();
static RECLAIMED: Once<u64> = Once::new();

/// What boot made of the memory map.
pub fn boot_memory() -> BootMemory {
    let nr_reclaimed = RECLAIMED.get().copied().unwrap_or(0);
    let memory = MEMORY.get().copied().unwrap_or_default();
    BootMemory { nr_usable: memory.nr_usable + nr_reclaimed, ..memory }
}

/// Takes charge of all usable frames, and opens the heap.
pub fn init_memory(info: &BootInfo) {
    let mut later = [const { None }; MAX_LATER];
    for (place, range) in later.iter_mut().zip(ranges_of_kind(info.regions(), RegionKind::BootloaderReclaimable)) {
        *place = Some(range);
    }
    let nr_later = later.iter().flatten().count();
    let later = later.map(|range| range.unwrap_or(FrameRange::new(Frame::new(1), 1).expect("not empty")));
    // SAFETY: the first use, by the first CPU; the direct map covers usable memory, in the bootloader's tables and in
    // ours after; the bootloader uses nothing that it calls usable.
    let initialised = or_stop(unsafe { HEAP.frames().init(info.regions(), &later[..nr_later], info.direct_map) });
    HEAP.add_cpu(CpuId::BOOT.index(), per_cpu::this().bank());
    debug::init();
    HEAP.init();
    MEMORY.call_once(|| BootMemory { nr_usable: initialised.nr_usable, nr_metadata: initialised.nr_metadata });
    log!("memory: {} MiB usable", (initialised.nr_usable * PAGE_SIZE as u64) >> 20);
}

/// Takes over the bootloader's memory, if there is the proof that no CPU is in it. What lies below 1 MiB stays, for CPUs
/// that the bootloader started and lost.
pub fn reclaim(info: &BootInfo, departure: Result<Reclaimable, Held>) {
    let proof = match departure {
        Ok(proof) => proof,
        Err(held) => return log!("memory: the bootloader's is left alone: {held}"),
    };
    let filling = chaos::asked().find(|chaos| *chaos == Chaos::PoisonReclaimed).map_or(0, |_| POISON);
    let mut nr_reclaimed = 0;
    for range in ranges_of_kind(info.regions(), RegionKind::BootloaderReclaimable) {
        if range.start().addr() < TRAMPOLINE_END {
            continue;
        }
        nr_reclaimed += add_but_files(info, range, &proof, filling);
    }
    RECLAIMED.call_once(|| nr_reclaimed);
    let with = if filling == POISON { ", poisoned" } else { "" };
    log!("memory: {} KiB taken over from the bootloader{with}", nr_reclaimed * PAGE_SIZE as u64 / 1024);
}

/// Gives the heap the frames of `range` in which no file lies that is still read; returns how many. Limine 8.2 keeps the
/// kernel's own file, where crash reports find their symbols, in memory that it calls reclaimable.
fn add_but_files(info: &BootInfo, range: FrameRange, _proof: &Reclaimable, filling: u8) -> u64 {
    let (mut from, end) = (u64::from(range.start().number()), range.end_number());
    let mut nr_added = 0;
    while from < end {
        let files = info.files().map(|bytes| frames_of(info, bytes)).filter(|file| file.end > from);
        let file = files.min_by_key(|file| file.start).filter(|file| file.start < end).unwrap_or(end..end);
        let nr_pages = file.start.saturating_sub(from) as u32;
        if let Some(part) = FrameRange::new(Frame::new(from as u32), nr_pages) {
            // An emulator that has run code in a page takes each write to that page for a change of the code, a thousand
            // ticks, until all of the code is written over.
            for frame in part.iter() {
                // SAFETY: every CPU has left the bootloader's stacks, tables and code, by the proof; its answers have been
                // copied. The direct map covers all memory.
                unsafe { HEAP.frames().virt(frame).write_bytes(filling, PAGE_SIZE) };
            }
            // SAFETY: as above.
            if unsafe { HEAP.frames().add(part) }.is_ok() {
                nr_added += u64::from(nr_pages);
            }
        }
        from = file.end;
    }
    nr_added
}

/// Numbers of the frames that `bytes`, seen through the direct map, lie in.
fn frames_of(info: &BootInfo, bytes: &[u8]) -> Range<u64> {
    let start = (bytes.as_ptr() as usize).wrapping_sub(info.direct_map) as u64;
    start / PAGE_SIZE as u64..(start + bytes.len() as u64).div_ceil(PAGE_SIZE as u64)
}
