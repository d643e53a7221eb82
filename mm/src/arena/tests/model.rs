//! The arena against a map of what is out, in random order, with bad frees among the good ones.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Two spans with a hole between them: pages 0 to 599 and 700 to 999.
const SPANS: [core::ops::Range<usize>; 2] = [0..600, 700..1000];

#[derive(Clone, Debug)]
enum Op {
    Alloc {
        nr_pages: usize,
        policy: Policy,
    },
    AllocAs {
        nr_pages: usize,
        align: u32,
        phase: usize,
        nocross: Option<u32>,
        bounds: Option<(usize, usize)>,
        policy: Policy,
    },
    Free {
        choice: prop::sample::Index,
    },
    FreeAnywhere {
        page: usize,
        nr_pages: usize,
    },
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(&[Policy::Instant, Policy::Best, Policy::Next][..])
}

fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![5 => 1usize..20, 1 => 1usize..600]
}

fn any_op() -> impl Strategy<Value = Op> {
    let constrained = (
        any_size(),
        0u32..6,
        0usize..32,
        prop::option::of(0u32..10),
        prop::option::of((0usize..1000, 0usize..1000)),
        any_policy(),
    );
    prop_oneof![
        3 => (any_size(), any_policy()).prop_map(|(nr_pages, policy)| Op::Alloc { nr_pages, policy }),
        3 => constrained.prop_map(|(nr_pages, align, phase, nocross, bounds, policy)| Op::AllocAs {
            nr_pages, align, phase, nocross, bounds, policy
        }),
        5 => any::<prop::sample::Index>().prop_map(|choice| Op::Free { choice }),
        1 => (0usize..1010, 0usize..20).prop_map(|(page, nr_pages)| Op::FreeAnywhere { page, nr_pages }),
    ]
}

/// What is out: start and pages.
type Model = BTreeMap<usize, usize>;

/// Whether `nr_pages` at `at` and their guard are free, by the map.
fn fits(model: &Model, at: usize, nr_pages: usize) -> bool {
    let is_inside = SPANS.iter().any(|span| at > span.start && at + nr_pages < span.end);
    is_inside && model.iter().all(|(start, size)| at + nr_pages < *start || at > start + size)
}

fn check(arena: &mut TestArena, model: &mut Model, request: Request, is_allowed: impl Fn(usize) -> bool) {
    match arena.take_as(request) {
        Ok(range) => {
            let at = (range.start() - BASE) / PAGE_SIZE;
            assert_eq!(range.nr_pages(), request.nr_pages);
            assert!(is_allowed(at), "{request:x?} at page {at}");
            assert!(fits(model, at, request.nr_pages), "{request:x?} at page {at} of {model:?}");
            model.insert(at, request.nr_pages);
        }
        Err(error) => {
            assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
            let place = (0..1000).find(|&at| is_allowed(at) && fits(model, at, request.nr_pages));
            assert_eq!(place, None, "there is room for {request:x?} in {model:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_operation_does_what_a_map_of_ranges_does(
        ops in prop::collection::vec(any_op(), if cfg!(miri) { 1..12 } else { 1..150 }),
    ) {
        let mut arena = TestArena::empty();
        for span in SPANS {
            arena.refill();
            arena.add_span(VirtRange::new(page(span.start), span.len()).unwrap()).unwrap();
        }
        let mut model = Model::new();
        for op in ops {
            match op {
                Op::Alloc { nr_pages, policy } => {
                    check(&mut arena, &mut model, Request { policy, ..Request::pages(nr_pages) }, |_| true);
                }
                Op::AllocAs { nr_pages, align, phase, nocross, bounds, policy } => {
                    let (align_pages, nocross_pages) = (1 << align, nocross.map(|log| 1 << log));
                    let phase_pages = phase % align_pages;
                    let (low, high) = bounds.map_or((0, 1 << 20), |(a, b)| (a.min(b), a.max(b)));
                    let (min, max) = if bounds.is_some() { (page(low), page(high + 1) - 1) } else { (0, usize::MAX) };
                    let request =
                        Request { nr_pages, align_pages, phase_pages, nocross_pages, min, max, policy };
                    let is_allowed = |at: usize| {
                        at % align_pages == phase_pages
                            && nocross_pages.is_none_or(|step: usize| at / step == (at + nr_pages - 1) / step)
                            && at >= low && at + nr_pages <= high + 1
                    };
                    if nocross_pages.is_some_and(|_| !(0..4096).any(|at| {
                        at % align_pages == phase_pages
                            && nocross_pages.is_none_or(|step: usize| at / step == (at + nr_pages - 1) / step)
                    })) {
                        let value = nocross_pages.unwrap();
                        prop_assert_eq!(arena.take_as(request), Err(Error::BadRequest { value }));
                    } else {
                        check(&mut arena, &mut model, request, is_allowed);
                    }
                }
                Op::Free { choice } if !model.is_empty() => {
                    let at = *model.keys().nth(choice.index(model.len())).unwrap();
                    let nr_pages = model.remove(&at).unwrap();
                    prop_assert_eq!(arena.free(page(at), nr_pages), Ok(()));
                }
                Op::Free { .. } => {}
                Op::FreeAnywhere { page: at, nr_pages } => {
                    let addr = page(at);
                    let is_free = SPANS.iter().any(|span| at > span.start && at < span.end)
                        && model.iter().all(|(start, size)| at < *start || at > start + size);
                    let due = match model.get(&at) {
                        Some(&size) if size == nr_pages => Ok(()),
                        Some(_) => Err(Error::WrongSize { addr, given: bytes(nr_pages) }),
                        None if is_free => Err(Error::DoubleFree { addr }),
                        None => Err(Error::Foreign { addr }),
                    };
                    prop_assert_eq!(arena.free(addr, nr_pages), due);
                    if due.is_ok() {
                        model.remove(&at);
                    }
                }
            }
            arena.check_invariants();
            let ranges: Vec<_> = arena.ranges().map(|range| ((range.start() - BASE) / PAGE_SIZE, range.nr_pages())).collect();
            prop_assert!(ranges.iter().copied().eq(model.iter().map(|(start, size)| (*start, *size))));
            prop_assert_eq!(arena.nr_pages_in_use(), model.values().sum::<usize>());
            prop_assert_eq!(arena.nr_ranges(), model.len());
            let nr_free: u64 = arena.free_space().by_power.iter().map(|free| free.nr_pages).sum();
            prop_assert_eq!(nr_free as usize, 898 - model.values().sum::<usize>() - model.len());
        }
    }
}
