//! A leaf of 1 GiB: made, taken rights from, split, made again, unmapped, under the eyes of all CPUs.
//!
//! No machine has to have such a piece of free memory for that: the leaf is another view of the gigabyte of physical
//! addresses in which a page of the trial's own lies. Nothing else is touched through it, whatever is there.

use arch::probe;
use mm::frame::{FrameRange, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::page_table::{Attributes, Level};

use super::{RW, Verdict, Wrong, can_be_written, done, everywhere, is_gone, mapped};
use crate::machine::HEAP;
use crate::space::{self, Mapped};

const NR_PAGES: usize = Level::L3.nr_pages() as usize;
/// What the page holds.
const WORD: u64 = 0x1_6162_6162;

/// What there is not, if so, and the trial needs.
pub(super) fn lack() -> Option<&'static str> {
    if space::largest_leaf() < Level::L3 {
        return Some("this CPU has none");
    }
    match space::space().arena.alloc_aligned(NR_PAGES, NR_PAGES) {
        Ok(range) => {
            space::give_back(range);
            None
        }
        Err(_) => Some("too few addresses are free, of four times the memory"),
    }
}

/// A page of the trial's own.
struct Page(FrameRange);

impl Page {
    fn take() -> Result<Self, Wrong> {
        let taken = HEAP.alloc_run(RunRequest::pages(1), Kind::Owned);
        let run = taken.map_err(|error| Wrong::Result { what: "a page", error: Some(error) })?;
        // SAFETY: the frame is ours.
        unsafe { HEAP.frames().virt(run.start()).cast::<u64>().write_volatile(WORD) };
        Ok(Self(run))
    }

    fn phys(&self) -> u64 {
        self.0.start().addr()
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
    let page = Page::take()?;
    let number = page.phys() as usize % Level::L3.nr_bytes() as usize / PAGE_SIZE;
    let start = page.phys() & !(Level::L3.nr_bytes() - 1);
    let view = mapped("mapping", space::map_physical(start, NR_PAGES, RW, Level::L3))?;
    let addr = view.start() + number * PAGE_SIZE;
    let verdict = look_at(&view, number, addr);
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
