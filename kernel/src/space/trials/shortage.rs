//! Trials in which memory, or addresses, run out in the middle of an operation, and of what is given back before.

use mm::error::Error;
use mm::frame::FrameRange;
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::page_table::{Attributes, Level};

use super::{RW, Verdict, Wrong, everywhere, holds_its_address, is_gone, mapped, with_address};
use crate::machine::HEAP;
use crate::space;

/// All free frames, linked through their own first words.
struct AllFrames {
    taken: Option<FrameRange>,
}

impl AllFrames {
    fn take() -> Self {
        HEAP.reclaim();
        let mut all = Self { taken: None };
        let mut nr_pages = 1 << 18;
        while nr_pages > 0 {
            match HEAP.frames().alloc_run(RunRequest::pages(nr_pages), Kind::Owned) {
                Ok(run) => {
                    // SAFETY: the frames are ours.
                    unsafe { HEAP.frames().virt(run.start()).cast::<Option<FrameRange>>().write(all.taken) };
                    all.taken = Some(run);
                }
                Err(_) => nr_pages /= 2,
            }
        }
        all
    }
}

impl Drop for AllFrames {
    fn drop(&mut self) {
        while let Some(run) = self.taken {
            // SAFETY: written in `take`, and the frames are still ours.
            self.taken = unsafe { HEAP.frames().virt(run.start()).cast::<Option<FrameRange>>().read() };
            // SAFETY: nobody uses them.
            if let Err(error) = unsafe { HEAP.frames().free_run(run, Kind::Owned) } {
                panic!("{run:?} was just taken, and cannot be freed: {error}");
            }
        }
    }
}

pub(super) fn out_of_frames() -> Verdict {
    let kept = mapped("mapping", space::map_filled(20, RW, with_address))?;
    let going = mapped("mapping", space::map(40, RW))?;
    let range = (going.start(), 40);
    let all = AllFrames::take();
    let refused = match space::map(8, RW) {
        Err(Error::OutOfMemory { .. }) => Ok(()),
        Err(error) => Err(Wrong::Result { what: "mapping without memory", error: Some(error) }),
        Ok(mapped) => {
            // SAFETY: the trial's own.
            unsafe { space::unmap(mapped) };
            Err(Wrong::Result { what: "mapping without memory", error: None })
        }
    };
    // SAFETY: the trial's own.
    unsafe { space::unmap_lazily(going) };
    // There is memory only if what waits is purged.
    let again = mapped("mapping what waits", space::map_filled(30, RW, with_address));
    let verdict = refused.and(again).and_then(|again| {
        let seen = everywhere("a fresh page has its contents", (again.start(), 30), &holds_its_address);
        // SAFETY: the trial's own.
        unsafe { space::unmap_lazily(again) };
        seen
    });
    // SAFETY: as above. Without memory, too.
    unsafe { space::unmap(kept) };
    space::purge();
    drop(all);
    verdict.and_then(|()| everywhere("an unmapped page is gone", range, &is_gone))
}

/// Ranges of one page in magazines, those of the other CPUs and of the depot included.
fn nr_cached() -> u64 {
    space::arena().and_then(|arena| arena.quantum_counters().next()).map_or(0, |counters| counters.nr_cached)
}

/// Ranges for the next trial: more than the two magazines that this CPU keeps hold, so that the depot gets some.
const NR_RANGES: u64 = 300;
/// The frames that it needs: one for each range, and those of the magazines.
pub(super) const RANGES_AND_MAGAZINES: usize = NR_RANGES as usize + 32;

pub(super) fn ranges_in_magazines() -> Verdict {
    let mut ranges = [const { None }; NR_RANGES as usize];
    let is_mapped = ranges.iter_mut().try_for_each(|place| {
        *place = Some(mapped("mapping", space::map(1, RW))?);
        Ok(())
    });
    // SAFETY: the trial's own.
    unsafe { space::unmap_batch(ranges.into_iter().flatten()) };
    is_mapped?;
    let before = nr_cached();
    HEAP.reclaim();
    match (before, nr_cached()) {
        (NR_RANGES.., 0) => Ok(()),
        (NR_RANGES.., nr_ranges) => Err(Wrong::Cached { what: "after a reclaim", nr_ranges }),
        (nr_ranges, _) => Err(Wrong::Cached { what: "after unmapping", nr_ranges }),
    }
}

pub(super) fn out_of_addresses() -> Verdict {
    /// 256 MiB: the dynamic area has 1 to 64 GiB.
    const NR_PAGES: usize = 1 << 16;
    /// Beyond all memory and devices; nobody looks there.
    const PHYS: u64 = 1 << 38;
    let map = || space::map_physical(PHYS, NR_PAGES, Attributes::DEVICE, Level::L2);
    let mut ranges = [const { None }; 256];
    let mut error = None;
    for place in &mut ranges {
        match map() {
            Ok(mapped) => *place = Some(mapped),
            Err(refusal) => {
                error = Some(refusal);
                break;
            }
        }
    }
    let mut verdict = match (error, ranges[0].take()) {
        (Some(Error::OutOfMemory { .. }), Some(first)) => {
            // SAFETY: the trial's own.
            unsafe { space::unmap_lazily(first) };
            mapped("mapping at addresses that wait", map()).map(|mapped| ranges[0] = Some(mapped))
        }
        (error, _) => Err(Wrong::Result { what: "mapping without addresses", error }),
    };
    // What is left is no more than the guard pages.
    if verdict.is_ok()
        && map().is_ok_and(|mapped| {
            ranges[255] = Some(mapped);
            true
        })
    {
        verdict = Err(Wrong::Result { what: "mapping without addresses", error: None });
    }
    // SAFETY: the trial's own.
    unsafe { space::unmap_batch(ranges.into_iter().flatten()) };
    verdict
}
