//! Every constraint at its edges: alignment, phase, boundaries, bounds.

use super::*;

fn bad(value: usize) -> Result<VirtRange> {
    Err(Error::BadRequest { value })
}

#[test]
fn alignment_is_that_of_the_address() {
    let mut arena = TestArena::new(BASE, 5000);
    let aligned = |nr_pages, align_pages| Request { align_pages, ..Request::pages(nr_pages) };
    assert_eq!(arena.take_as(aligned(10, 512)).map(VirtRange::start), Ok(page(512)));
    assert_eq!(arena.take_as(aligned(10, 512)).map(VirtRange::start), Ok(page(1024)));
    assert_eq!(arena.take_as(aligned(1, 8192)), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
    assert_eq!(arena.take_as(aligned(1, 1 << 63)), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
    for align in [0, 3, usize::MAX] {
        assert_eq!(arena.take_as(aligned(1, align)), bad(align));
    }
    // A start that is not aligned itself does not matter.
    let mut odd = TestArena::new(BASE + PAGE_SIZE, 5000);
    assert_eq!(odd.take_as(aligned(1, 2)).map(VirtRange::start), Ok(page(2)));
    assert_eq!(odd.take_as(aligned(512, 512)).map(VirtRange::start), Ok(page(512)));
}

#[test]
fn what_is_left_before_an_aligned_range_is_not_lost() {
    let mut arena = TestArena::new(BASE, 1025);
    let large = arena.take_as(Request { align_pages: 512, ..Request::pages(512) }).unwrap();
    assert_eq!(large.start(), page(512));
    assert_eq!(arena.take(510), Ok(VirtRange::new(page(1), 510).unwrap()));
    assert_eq!(arena.nr_pages_in_use(), 1022);
    assert_eq!(arena.free_space().largest_pages, 0);
}

#[test]
fn a_phase_is_kept_and_is_below_the_alignment() {
    let mut arena = TestArena::new(BASE, 5000);
    let phased = |align_pages, phase_pages| Request { align_pages, phase_pages, ..Request::pages(3) };
    assert_eq!(arena.take_as(phased(512, 511)).map(VirtRange::start), Ok(page(511)));
    assert_eq!(arena.take_as(phased(512, 511)).map(VirtRange::start), Ok(page(1023)));
    // In a segment that is sure to have a place, though there is one at page 1.
    assert_eq!(arena.take_as(phased(512, 1)).map(VirtRange::start), Ok(page(1537)));
    let best = Request { policy: Policy::Best, ..phased(512, 1) };
    assert_eq!(arena.take_as(best).map(VirtRange::start), Ok(page(1)));
    for phase in [512, 513, usize::MAX] {
        assert_eq!(arena.take_as(phased(512, phase)), bad(phase));
    }
    assert_eq!(arena.take_as(phased(1, 1)), bad(1));
}

#[test]
fn a_boundary_is_not_crossed_but_by_the_guard() {
    let mut arena = TestArena::new(BASE, 200);
    let within = |nr_pages, nocross| Request { nocross_pages: Some(nocross), ..Request::pages(nr_pages) };
    // From page 1 on it would cross; behind the boundary it just fits, its guard on the other side of the next.
    assert_eq!(arena.take_as(within(64, 64)).map(VirtRange::start), Ok(page(64)));
    assert_eq!(arena.take_as(within(63, 64)).map(VirtRange::start), Ok(page(129)), "behind that guard");
    assert_eq!(arena.take_as(within(62, 64)).map(VirtRange::start), Ok(page(1)));
    for nocross in [0, 3, 63, usize::MAX] {
        assert_eq!(arena.take_as(within(1, nocross)), bad(nocross));
    }
    assert_eq!(arena.take_as(within(65, 64)), bad(64), "it would always cross");
    assert_eq!(arena.take_as(within(1, 1)).map(VirtRange::nr_pages), Ok(1));
}

#[test]
fn phase_and_boundary_are_checked_together() {
    let mut arena = TestArena::new(BASE, 500);
    let asked = |nr_pages, align_pages, phase_pages, nocross| Request {
        align_pages,
        phase_pages,
        nocross_pages: Some(nocross),
        ..Request::pages(nr_pages)
    };
    // Boundaries closer than the alignment: where between two it lies is the phase's to say.
    assert_eq!(arena.take_as(asked(5, 64, 12, 16)), bad(16));
    assert_eq!(arena.take_as(asked(4, 64, 12, 16)).map(VirtRange::start), Ok(page(12)));
    assert_eq!(arena.take_as(asked(4, 64, 28, 16)).map(VirtRange::start), Ok(page(28)));
    // Boundaries further apart: the first place behind one is the best there is.
    assert_eq!(arena.take_as(asked(30, 8, 3, 32)), bad(32));
    assert_eq!(arena.take_as(asked(29, 8, 3, 32)).map(VirtRange::start), Ok(page(35)));
    assert_eq!(arena.take_as(asked(29, 8, 3, 32)).map(VirtRange::start), Ok(page(67)));
    assert_eq!(arena.take_as(asked(1, 1, 0, 1 << 63)).map(VirtRange::nr_pages), Ok(1));
}

#[test]
fn bounds_hold_to_the_byte() {
    let mut arena = TestArena::new(BASE, 100);
    let between = |nr_pages, min, max| Request { min, max, ..Request::pages(nr_pages) };
    let none = |nr_pages| Err(Error::OutOfMemory { bytes: bytes(nr_pages) });
    assert_eq!(arena.take_as(between(2, page(50), page(52) - 2)), none(2), "a byte short at the end");
    assert_eq!(arena.take_as(between(2, page(50) + 1, page(52) - 1)), none(2), "a byte short at the start");
    assert_eq!(arena.take_as(between(2, page(50), page(52) - 1)).map(VirtRange::start), Ok(page(50)));
    assert_eq!(arena.take_as(between(2, page(50), page(52) - 1)), none(2), "taken");
    assert_eq!(arena.take_as(between(1, page(52), page(53) - 1)), none(1), "a guard");
    assert_eq!(arena.take_as(between(1, page(53), page(54) - 1)).map(VirtRange::start), Ok(page(53)));
    assert_eq!(arena.take_as(between(1, page(0), page(1) - 1)), none(1), "the first guard");
    assert_eq!(arena.take_as(between(1, page(99), usize::MAX)), none(1), "no room for the guard");
    assert_eq!(arena.take_as(between(1, page(98), usize::MAX)).map(VirtRange::start), Ok(page(98)));
    assert_eq!(arena.take_as(between(1, page(10), page(9))), bad(page(10)));
    assert_eq!(arena.take_as(between(1, 0, BASE - 1)), none(1));
    assert_eq!(arena.take_as(between(1, usize::MAX, usize::MAX)), none(1));
    assert_eq!(arena.take_as(between(usize::MAX, 0, usize::MAX)), none(usize::MAX));
    assert_eq!(arena.take_as(between(0, 0, usize::MAX)), bad(0));
}

#[test]
fn bounds_bind_every_policy() {
    for policy in [Policy::Instant, Policy::Best, Policy::Next] {
        let mut arena = TestArena::new(BASE, 1000);
        let request = Request { min: page(500), max: page(600) - 1, align_pages: 4, policy, ..Request::pages(3) };
        let got: Vec<_> = core::iter::from_fn(|| arena.take_as(request).ok()).map(VirtRange::start).collect();
        assert!(got.iter().copied().eq((0..25).map(|i| page(500 + 4 * i))), "{policy:?}: {got:x?}");
    }
}

#[test]
fn the_highest_and_the_lowest_addresses_can_be_asked_for() {
    let mut arena = TestArena::new(0, 64);
    arena.refill();
    arena.add_span(VirtRange::new(usize::MAX - 64 * PAGE_SIZE + 1, 64).unwrap()).unwrap();
    let low = Request { max: 64 * PAGE_SIZE - 1, ..Request::pages(62) };
    assert_eq!(arena.take_as(low).map(VirtRange::start), Ok(PAGE_SIZE), "page 0 is never handed out");
    let top = usize::MAX - 2 * PAGE_SIZE + 1;
    assert_eq!(arena.take_as(Request { min: top, ..Request::pages(1) }).map(VirtRange::start), Ok(top));
    assert_eq!(arena.take_as(Request { min: top, ..Request::pages(1) }), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
}
