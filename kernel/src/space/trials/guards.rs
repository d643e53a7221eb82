//! A trial of what `vmmap` says of guard pages: a mapped one is found, and only where it is one.

use mm::arena::VirtRange;
use mm::frame::PAGE_SIZE;
use mm::page_table::Level;

use super::super::{Token, shoot_down, space, take_out};
use super::{RW, Verdict, Wrong, mapped};
use crate::space;

pub(super) fn found() -> Verdict {
    const NR_PAGES: usize = 40;
    let whole = mapped("mapping", space::map(NR_PAGES, RW))?;
    let range = whole.range;
    let result = of(range);
    // SAFETY: the trial's own.
    unsafe { space::unmap(whole) };
    result
}

fn of(range: VirtRange) -> Verdict {
    let wrong = |what| Err(Wrong::Result { what, error: None });
    if space::mapped_guard(range).is_some() {
        return wrong("no guard of a range that is mapped is mapped");
    }
    // As if the range had taken the place of one of half its length since somebody looked.
    let gone = VirtRange::new(range.start(), range.nr_pages() / 2);
    if gone.and_then(space::mapped_guard).is_some() {
        return wrong("a range that is gone has no guard");
    }
    // Nobody has the page behind a range, so nobody minds.
    let guard = range.start() + range.nr_pages() * PAGE_SIZE;
    let Some(page) = VirtRange::new(guard, 1) else { return Ok(()) };
    let Some(leaf) = space().tables.translate(range.start()) else { return wrong("a page that is mapped") };
    if let Err(error) = space().tables.map(page, leaf.phys, RW, Level::L1) {
        return Err(Wrong::Result { what: "mapping a guard page", error: Some(error) });
    }
    let found = space::mapped_guard(range);
    // SAFETY: nobody uses the guard page.
    let token: Token = unsafe { take_out(page) };
    token.release(&shoot_down(&[Some(page)]), |_| ());
    if found == Some(guard) { Ok(()) } else { wrong("a guard page that is mapped") }
}
