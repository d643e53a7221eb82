//! A leaf of 1 GiB: made, taken rights from, split, made again, unmapped, under the eyes of all CPUs.
//!
//! No machine has to have such a piece of free memory for that: the leaf is another view of a gigabyte of memory in
//! which a page of the trial's own lies. Nothing else is touched through it.

use arch::probe;
use mm::frame::{FrameRange, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::page_table::{Attributes, Level};

use super::super::build;
use super::{RW, Verdict, Wrong, can_be_written, done, everywhere, is_gone, mapped};
use crate::machine::HEAP;
use crate::space::{self, Mapped};
use crate::{bootinfo, image};

const NR_PAGES: usize = Level::L3.nr_pages() as usize;
/// What the page holds.
const WORD: u64 = 0x1_6162_6162;

/// What there is not, if so, and the trial needs.
pub(super) fn lack() -> Option<&'static str> {
    if space::largest_leaf() < Level::L3 {
        return Some("this CPU has none");
    }
    if Page::take().is_none() {
        return Some("no gigabyte of physical memory is whole and apart from the kernel's image");
    }
    match space::space().arena.alloc_aligned(NR_PAGES, NR_PAGES) {
        Ok(range) => {
            space::give_back(range);
            None
        }
        Err(_) => Some("too few addresses are free, of four times the memory"),
    }
}

/// Whether the gigabyte at physical address `start` is memory all through, so that it has one type (a leaf over several is
/// undefined: Intel SDM volume 3, "Large Page Size Considerations"), and none of the kernel's image, which nobody may write to
/// by another name.
fn is_plain_memory(start: u64) -> bool {
    let Some(info) = bootinfo::try_get() else { return false };
    let end = start + Level::L3.nr_bytes();
    let is_whole = build::next_memory(info, start).is_some_and(|(first, last)| first <= start && last >= end);
    let image = info.image.0..info.image.0 + image::all().len() as u64;
    is_whole && (image.end <= start || image.start >= end)
}

/// A page of the trial's own, in a gigabyte that is [plain memory](is_plain_memory).
struct Page(FrameRange);

impl Page {
    /// `None` if the machine has none.
    fn take() -> Option<Self> {
        /// A page in so many is tried: eight of a gigabyte.
        const STEP_PAGES: usize = NR_PAGES / 8;
        /// Pages of other gigabytes that are kept out of the way meanwhile.
        const MAX_TRIES: usize = 64;
        let mut unfit = [const { None }; MAX_TRIES];
        for place in &mut unfit {
            let request = RunRequest { align_pages: STEP_PAGES, ..RunRequest::pages(1) };
            let page = Self(HEAP.frames().alloc_run(request, Kind::Owned).ok()?);
            if is_plain_memory(page.gigabyte()) {
                // SAFETY: the frame is ours.
                unsafe { HEAP.frames().virt(page.0.start()).cast::<u64>().write_volatile(WORD) };
                return Some(page);
            }
            *place = Some(page);
        }
        None
    }

    /// Where its gigabyte begins.
    fn gigabyte(&self) -> u64 {
        self.0.start().addr() & !(Level::L3.nr_bytes() - 1)
    }

    /// Which page of its gigabyte it is.
    fn number(&self) -> usize {
        self.0.start().number() as usize % NR_PAGES
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more.
        if let Err(error) = unsafe { HEAP.frames().free_run(self.0, Kind::Owned) } {
            panic!("{:?} was just taken, and cannot be freed: {error}", self.0);
        }
    }
}

/// See the file.
pub(super) fn gigabyte() -> Verdict {
    let page = Page::take().ok_or(Wrong::Result { what: "a page", error: None })?;
    let view = mapped("mapping", space::map_physical(page.gigabyte(), NR_PAGES, RW, Level::L3))?;
    let addr = view.start() + page.number() * PAGE_SIZE;
    let verdict = look_at(&view, page.number(), addr);
    // SAFETY: the trial's own; the others look by probes.
    unsafe { space::unmap(view) };
    verdict.and_then(|()| everywhere("a gigabyte that is unmapped is gone", (addr, 1), &is_gone))
}

fn look_at(view: &Mapped, number: usize, addr: usize) -> Verdict {
    let its_page = number..number + 1;
    let page = (addr, 1);
    let holds_word = |addr| probe::read_u64(addr) == Some(WORD);
    let leaves = |what, expected| match space::leaf_counts(view) {
        counts if counts == expected => Ok(()),
        counts => Err(Wrong::Leaves { what, counts }),
    };
    // SAFETY: the trial's own, and nobody looks just now.
    let resize = || done("resizing", unsafe { space::resize(view, Level::L3) });
    // SAFETY: as above; the writes that follow are meant to fail.
    let protect = |rights| done("protecting", unsafe { space::protect(view, rights) });

    // Where a page table stands from an earlier mapping, the leaves are smaller at first.
    resize()?;
    leaves("after mapping a gigabyte", [0, 0, 1])?;
    everywhere("a page of a gigabyte has its contents", page, &holds_word)?;
    everywhere("a page of a gigabyte can be written", page, &can_be_written)?;
    protect(Attributes::READ_ONLY)?;
    leaves("after protecting a gigabyte", [0, 0, 1])?;
    everywhere("a read-only gigabyte cannot be written", page, &|addr| !can_be_written(addr))?;
    protect(RW)?;
    everywhere("a gigabyte can be written again", page, &can_be_written)?;
    // SAFETY: as above.
    done("protecting a part", unsafe { space::protect_part(view, its_page.clone(), Attributes::READ_ONLY) })?;
    leaves("after splitting a gigabyte", [512, 511, 0])?;
    everywhere("a read-only page of a gigabyte cannot be written", page, &|addr| !can_be_written(addr))?;
    everywhere("a page of a split gigabyte has its contents", page, &holds_word)?;
    // SAFETY: a right is added.
    done("protecting a part", unsafe { space::protect_part(view, its_page, RW) })?;
    resize()?;
    leaves("after making a gigabyte whole", [0, 0, 1])?;
    everywhere("a gigabyte that is whole again has its contents", page, &holds_word)
}
