//! Memory of the contenders that want some of their own: a run of frames for each, given back at the end.

use core::ptr::NonNull;

use arch::tlb;
use mm::error::Error;
use mm::frame::{FrameRange, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::machine::Machine;

use super::contenders::{CONTENDERS, NR_CONTENDERS};
use crate::machine::{Cpu, HEAP};
use crate::workers;

/// How a contender takes its memory, and lets go of it.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// Takes so many bytes from there on; false if it does not want them. They are its own until `close`.
    pub(super) open: unsafe fn(NonNull<u8>, usize) -> bool,
    pub(super) close: fn(),
}

/// Having this means: every contender has its memory. Dropping it takes that away.
pub(super) struct Arenas {
    ranges: [Option<FrameRange>; NR_CONTENDERS],
}

/// Bytes for each contender: what the workloads hold on so many CPUs, several times over, and a power of two.
pub(super) fn bytes_for(nr_cpus: usize) -> usize {
    const LEAST: usize = 8 << 20;
    const FOR_EACH_CPU: usize = 1 << 20;
    (nr_cpus * FOR_EACH_CPU).next_power_of_two().max(LEAST)
}

/// Bytes for all contenders that want some.
pub(super) fn all_bytes(nr_cpus: usize) -> usize {
    bytes_for(nr_cpus) * CONTENDERS.iter().filter(|contender| contender.block.is_some()).count()
}

impl Arenas {
    /// Takes `nr_bytes` for each, a multiple of a page, and touches every page: the first touch is dear under emulation.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], with everything given back.
    pub(super) fn open(nr_bytes: usize) -> Result<Self, Error> {
        let mut arenas = Self { ranges: [None; NR_CONTENDERS] };
        for (place, contender) in arenas.ranges.iter_mut().zip(&CONTENDERS) {
            let Some(block) = &contender.block else { continue };
            let range = HEAP.alloc_run(RunRequest::pages(nr_bytes / PAGE_SIZE), Kind::Owned)?;
            *place = Some(range);
            let start = HEAP.frames().virt(range.start());
            for page in 0..nr_bytes / PAGE_SIZE {
                // SAFETY: inside the run, which is ours.
                unsafe { start.add(page * PAGE_SIZE).write_volatile(0) };
            }
            // SAFETY: the run is the contender's from here until it is closed.
            if !unsafe { (block.open)(start, nr_bytes) } {
                return Err(Error::BadRequest { value: nr_bytes });
            }
        }
        Ok(arenas)
    }
}

impl Arenas {
    /// Makes the TLBs of the first `nr_cpus` CPUs large, where they are an emulator's: such a TLB grows only at a flush,
    /// and only if most of it was used since the last. A small one is mapped directly, and a CPU whose stack and
    /// magazines happen to share a place in it pays for that on every access.
    pub(super) fn grow_tlbs(&self, nr_cpus: usize) {
        /// Each may double it.
        const NR_FLUSHES: usize = 6;
        /// Pages touched between two: a TLB twice as large is what comes of it, still small against the host's caches.
        const NR_PAGES: usize = 512;
        let Some(range) = self.ranges.iter().flatten().next() else { return };
        workers::run(
            nr_cpus,
            &|_| {
                for _ in 0..NR_FLUSHES {
                    for frame in range.iter().take(NR_PAGES) {
                        // SAFETY: the frame is this arena's and mapped; what it holds does not matter.
                        unsafe { HEAP.frames().virt(frame).read_volatile() };
                    }
                    tlb::flush_all();
                }
            },
            || {},
        );
    }
}

impl Drop for Arenas {
    fn drop(&mut self) {
        for (place, contender) in self.ranges.iter_mut().zip(&CONTENDERS) {
            let (Some(range), Some(block)) = (place.take(), &contender.block) else { continue };
            (block.close)();
            // SAFETY: the contender has let go of it, and its objects are all freed.
            unsafe { HEAP.frames().free_run(range, Kind::Owned) }.unwrap_or_else(Cpu::report);
        }
    }
}
