//! The arena against a map of what is out.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

/// An address as the kernel would choose one, aligned to 512 GiB.
const BASE: usize = 0xffff_c000_0000_0000;

fn with_arena<T>(base: usize, nr_pages: usize, body: impl FnOnce(&mut Arena<'_>) -> T) -> T {
    let mut storage = vec![!0; Arena::words_needed(nr_pages)];
    let mut arena = Arena::new(&mut storage, VirtRange::new(base, nr_pages).unwrap()).unwrap();
    let result = body(&mut arena);
    arena.check_invariants();
    result
}

fn page(number: usize) -> usize {
    BASE + number * PAGE_SIZE
}

#[test]
fn ranges_are_canonical_by_construction() {
    let low_end = 0x8000_0000_0000;
    assert!(VirtRange::new(0, low_end / PAGE_SIZE).is_some());
    assert!(VirtRange::new(0, low_end / PAGE_SIZE + 1).is_none(), "into the hole");
    assert!(VirtRange::new(low_end, 1).is_none());
    assert!(VirtRange::new(0xffff_7fff_ffff_f000, 1).is_none());
    assert!(VirtRange::new(0xffff_7fff_ffff_f000, 2).is_none());
    let top = VirtRange::new(usize::MAX & !0xfff, 1).unwrap();
    assert_eq!(top.page_numbers(), (1 << 52) - 1..1 << 52);
    assert!(top.contains(usize::MAX) && !top.contains(0) && !top.contains(usize::MAX - 4096));
    assert!(VirtRange::new(usize::MAX & !0xfff, 2).is_none());
    assert!(VirtRange::new(0xffff_8000_0000_0000, usize::MAX).is_none());
    assert!(VirtRange::new(0x1000, 0).is_none());
    assert!(VirtRange::new(0x1001, 1).is_none());
}

#[test]
fn a_guard_stands_before_between_and_behind() {
    with_arena(BASE, 100, |arena| {
        let first = arena.alloc(2, 1).unwrap();
        let second = arena.alloc(1, 1).unwrap();
        assert_eq!((first.start(), first.nr_pages()), (page(1), 2));
        assert_eq!((second.start(), second.nr_pages()), (page(4), 1));
        assert_eq!((arena.size_of(page(1)), arena.size_of(page(2)), arena.size_of(page(3))), (Some(2), None, None));
        assert_eq!(arena.range_around(page(3) - 1), Some(first));
        assert_eq!(arena.range_around(page(3)), None, "a guard");
        assert_eq!(arena.range_around(page(0)), None);
        assert_eq!(arena.range_around(page(9)), None, "free");
        assert_eq!(arena.range_around(usize::MAX), None);
        assert_eq!((arena.nr_ranges(), arena.nr_pages_in_use()), (2, 3));
        assert!(arena.ranges().eq([first, second]));
    });
}

#[test]
fn an_arena_can_be_filled_to_the_last_guard() {
    with_arena(BASE, 100, |arena| {
        assert_eq!(arena.alloc(99, 1), Err(Error::OutOfMemory { bytes: 99 * PAGE_SIZE }));
        assert_eq!(arena.alloc(98, 1), Ok(VirtRange::new(page(1), 98).unwrap()));
        assert_eq!(arena.size_of(page(1)), Some(98));
        assert_eq!(arena.alloc(1, 1), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
        assert_eq!(arena.free(page(1), 98), Ok(()));
        assert_eq!((arena.nr_ranges(), arena.nr_pages_in_use()), (0, 0));
    });
    with_arena(BASE, 1, |arena| assert!(arena.alloc(1, 1).is_err()));
}

#[test]
fn an_arena_at_the_top_of_the_address_space_does_not_wrap() {
    with_arena(usize::MAX - 16 * PAGE_SIZE + 1, 16, |arena| {
        let range = arena.alloc(14, 1).unwrap();
        assert_eq!(range.page_numbers().end, (1 << 52) - 1);
        assert_eq!(arena.range_around(usize::MAX), None);
        assert_eq!(arena.free(range.start(), 14), Ok(()));
    });
}

#[test]
fn freed_addresses_are_reused_last() {
    with_arena(BASE, 1 << 16, |arena| {
        let mut seen = Vec::new();
        for _ in 0..250 {
            let range = arena.alloc(1, 1).unwrap();
            assert!(!seen.contains(&range.start()), "{:#x} again after {}", range.start(), seen.len());
            seen.push(range.start());
            arena.free(range.start(), 1).unwrap();
        }
        assert!(arena.reach == MIN_REACH, "one page at a time stays inside one leaf table");
    });
}

#[test]
fn the_reach_follows_what_is_in_use() {
    with_arena(BASE, 1 << 16, |arena| {
        let ranges: Vec<VirtRange> = (0..1000).map(|_| arena.alloc(3, 1).unwrap()).collect();
        assert_eq!(arena.reach, 8192, "4001 pages are in use");
        for range in ranges {
            arena.free(range.start(), 3).unwrap();
        }
        assert_eq!(arena.alloc(60_000, 1).map(VirtRange::nr_pages), Ok(60_000), "and is no limit");
    });
}

#[test]
fn alignment_is_that_of_the_address() {
    with_arena(BASE, 5000, |arena| {
        assert_eq!(arena.alloc(10, 512).map(VirtRange::start), Ok(page(512)));
        assert_eq!(arena.alloc(10, 512).map(VirtRange::start), Ok(page(1024)));
        assert_eq!(arena.alloc(1, 8192), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
        for align in [0, 3, usize::MAX] {
            assert_eq!(arena.alloc(1, align), Err(Error::BadRequest { value: align }));
        }
    });
    with_arena(BASE + PAGE_SIZE, 5000, |arena| {
        assert_eq!(arena.alloc(1, 2), Err(Error::BadRequest { value: 2 }), "the arena itself is not so aligned");
        assert_eq!(arena.alloc(1, 1).map(VirtRange::start), Ok(page(2)));
    });
}

#[test]
fn bad_input_is_an_error_with_the_value() {
    with_arena(BASE, 100, |arena| {
        let range = arena.alloc(5, 1).unwrap();
        assert_eq!(arena.alloc(0, 1), Err(Error::BadRequest { value: 0 }));
        for nr_pages in [100, usize::MAX / PAGE_SIZE, usize::MAX - 1, usize::MAX] {
            assert_eq!(arena.alloc(nr_pages, 1), Err(Error::OutOfMemory { bytes: nr_pages.saturating_mul(PAGE_SIZE) }));
        }
        for addr in [0, 1, page(0), page(2), page(6), page(1) + 8, page(100), BASE - PAGE_SIZE, usize::MAX] {
            assert_eq!(arena.free(addr, 5), Err(Error::Foreign { addr }));
        }
        assert_eq!(arena.free(page(50), 5), Err(Error::DoubleFree { addr: page(50) }));
        for nr_pages in [0, 4, 6, usize::MAX] {
            let given = nr_pages.saturating_mul(PAGE_SIZE);
            assert_eq!(arena.free(range.start(), nr_pages), Err(Error::WrongSize { addr: range.start(), given }));
        }
        assert_eq!(arena.nr_pages_in_use(), 5);
        assert_eq!(arena.free(range.start(), 5), Ok(()));
        assert_eq!(arena.free(range.start(), 5), Err(Error::DoubleFree { addr: range.start() }));
    });
    let mut storage = vec![0; Arena::words_needed(100) - 1];
    assert!(matches!(Arena::new(&mut storage, VirtRange::new(BASE, 100).unwrap()), Err(Error::BadRequest { .. })));
    assert!(matches!(Arena::new(&mut [], VirtRange::new(BASE, 100).unwrap()), Err(Error::BadRequest { .. })));
}

#[derive(Clone, Debug)]
enum Op {
    Alloc { nr_pages: usize, shift: u32 },
    Free { choice: prop::sample::Index },
    FreeAnywhere { page: usize, nr_pages: usize },
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prop_oneof![5 => 1usize..20, 1 => 1usize..600], 0u32..6).prop_map(|(nr_pages, shift)| Op::Alloc { nr_pages, shift }),
        3 => any::<prop::sample::Index>().prop_map(|choice| Op::Free { choice }),
        1 => (0usize..1010, 0usize..20).prop_map(|(page, nr_pages)| Op::FreeAnywhere { page, nr_pages }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_operation_does_what_a_map_of_ranges_does(
        ops in prop::collection::vec(any_op(), if cfg!(miri) { 1..10 } else { 1..120 }),
    ) {
        with_arena(BASE, 1000, |arena| {
            let mut model: BTreeMap<usize, usize> = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Alloc { nr_pages, shift } => {
                        let is_free = |at: usize| !model.iter().any(|(start, size)| at >= *start && at < start + size + 1);
                        let fits = |at: usize| at > 0 && at + nr_pages < 1000 && (at..=at + nr_pages).all(is_free);
                        match arena.alloc(nr_pages, 1 << shift) {
                            Ok(range) => {
                                let at = (range.start() - BASE) / PAGE_SIZE;
                                prop_assert_eq!(range.nr_pages(), nr_pages);
                                prop_assert_eq!(at % (1 << shift), 0);
                                prop_assert!(fits(at), "{} pages at {} of {:?}", nr_pages, at, model);
                                model.insert(at, nr_pages);
                            }
                            Err(_) => prop_assert!(!(0..1000).step_by(1 << shift).any(fits), "there is room"),
                        }
                    }
                    Op::Free { choice } if !model.is_empty() => {
                        let at = *model.keys().nth(choice.index(model.len())).unwrap();
                        let nr_pages = model.remove(&at).unwrap();
                        prop_assert_eq!(arena.free(page(at), nr_pages), Ok(()));
                    }
                    Op::Free { .. } => {}
                    Op::FreeAnywhere { page: at, nr_pages } => {
                        let is_right = model.get(&at) == Some(&nr_pages);
                        prop_assert_eq!(arena.free(page(at), nr_pages).is_ok(), is_right);
                        if is_right {
                            model.remove(&at);
                        }
                    }
                }
                arena.check_invariants();
                let ranges: Vec<_> = arena.ranges().map(|range| ((range.start() - BASE) / PAGE_SIZE, range.nr_pages())).collect();
                prop_assert!(ranges.iter().copied().eq(model.iter().map(|(start, size)| (*start, *size))));
                prop_assert_eq!(arena.nr_pages_in_use(), model.values().sum::<usize>());
                prop_assert_eq!(arena.nr_ranges(), model.len());
            }
            Ok(())
        })?;
    }
}
