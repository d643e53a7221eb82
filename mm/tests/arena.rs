//! The arena of all CPUs: its magazines, what they check, what they give back, and who owns which address at any time.

mod common;
#[path = "arena/corruption.rs"]
mod corruption;
#[path = "arena/shortage.rs"]
mod shortage;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use common::{Host, TestHeap, enter_bank, on_interrupt, take_reports};
use mm::arena::{Options, Policy, RangeState, Request, SharedArena, VirtRange};
use mm::bank::MAX_QUANTA;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::frame_table::Kind;
use proptest::prelude::*;

const BASE: usize = 0xffff_c000_0000_0000;

/// Pages of memory: few for Miri, which would go through the others for minutes whenever all are counted.
const MEMORY: usize = if cfg!(miri) { 128 } else { 1024 };

fn span(nr_pages: usize) -> VirtRange {
    VirtRange::new(BASE, nr_pages).expect("canonical")
}

fn new_arena(test: &TestHeap, nr_pages: usize, options: Options) -> SharedArena<Host> {
    // SAFETY: the only arena of this test's machine.
    unsafe { SharedArena::new(test.heap, span(nr_pages), options) }.expect("memory for the first tags")
}

fn plain() -> Options {
    Options { has_quantum_caches: false, ..Options::default() }
}

fn free(arena: &SharedArena<Host>, range: VirtRange) {
    arena.free(range.start(), range.nr_pages()).expect("ours");
}

/// Panics unless nothing but what magazines hold is out, and nothing at all after they are drained.
fn check_empty(test: &TestHeap, arena: &SharedArena<Host>) {
    let nr_cached: u64 = arena.quantum_counters().map(|counters| counters.nr_cached).sum();
    assert_eq!(arena.sizes().0 as u64, nr_cached, "ranges that are out lie in magazines");
    arena.reclaim();
    assert_eq!(arena.sizes().0, 0);
    arena.check_invariants();
    assert_eq!(take_reports(), []);
    test.heap.reclaim();
    // To count a heap takes Miri longer than most tests here.
    if cfg!(miri) {
        return;
    }
    let account = test.heap.account();
    assert_eq!(account.nr_used(Kind::Tags), arena.nr_frames() as u64, "its frames are counted");
    // Other CPUs keep their page magazines.
    assert_eq!(account.nr_free + account.nr_cached + arena.nr_frames() as u64, account.nr_managed, "{account:?}");
    test.check();
}

#[test]
fn a_steady_state_takes_no_lock() {
    let test = TestHeap::new(MEMORY);
    let arena = new_arena(&test, 1 << 18, Options::default());
    let nr_turns = if cfg!(miri) { 4 } else { 20 };
    for nr_pages in (1..=MAX_QUANTA).step_by(if cfg!(miri) { MAX_QUANTA - 1 } else { 1 }) {
        let turn = || {
            let ranges: Vec<_> = (0..5).map(|_| arena.alloc(nr_pages).expect("addresses")).collect();
            assert!(ranges.iter().all(|range| range.nr_pages() == nr_pages));
            ranges.into_iter().for_each(|range| free(&arena, range));
        };
        (0..3).for_each(|_| turn());
        let (locks, before) = (arena.lock_counts().0, arena.counters());
        (0..nr_turns).for_each(|_| turn());
        assert_eq!(arena.lock_counts().0, locks + 1, "but for the one that counts");
        assert_eq!(arena.counters(), before);
        let counters = arena.quantum_counters().nth(nr_pages - 1).expect("a quantum cache");
        assert_eq!((counters.nr_allocs, counters.nr_frees), ((3 + nr_turns) * 5, (3 + nr_turns) * 5));
    }
    check_empty(&test, &arena);
}

#[test]
fn longer_ranges_and_constrained_ones_come_from_the_arena_itself() {
    let test = TestHeap::new(MEMORY);
    let arena = new_arena(&test, 1 << 18, Options::default());
    let long = arena.alloc(MAX_QUANTA + 1).expect("addresses");
    let aligned = arena.alloc_constrained(&Request { align_pages: 512, ..Request::pages(1) }).expect("addresses");
    assert_eq!(aligned.start() % (512 * PAGE_SIZE), 0);
    assert!(arena.quantum_counters().all(|counters| counters.nr_fetched == 0));
    assert_eq!(arena.size_of(long.start()), Some(MAX_QUANTA + 1));
    assert_eq!(arena.size_of(aligned.start()), Some(1));
    assert_eq!(arena.range_around(long.start() + PAGE_SIZE), Some(long));
    // One page, but no magazine's: it goes back where it came from.
    free(&arena, aligned);
    assert_eq!(arena.free(aligned.start(), 1), Err(Error::DoubleFree { addr: aligned.start() }));
    free(&arena, long);
    check_empty(&test, &arena);
}

#[test]
fn a_bad_free_of_a_range_from_a_magazine_is_an_error_with_its_address() {
    let test = TestHeap::new(MEMORY);
    let arena = new_arena(&test, 1 << 18, Options::default());
    let range = arena.alloc(3).expect("addresses");
    let addr = range.start();
    for nr_pages in [0, 1, 2, 4, 8, 9, usize::MAX] {
        let given = nr_pages.saturating_mul(PAGE_SIZE);
        assert_eq!(arena.free(addr, nr_pages), Err(Error::WrongSize { addr, given }));
    }
    for wrong in [addr + 1, addr + PAGE_SIZE, addr + 3 * PAGE_SIZE, BASE, BASE - PAGE_SIZE, 0, usize::MAX] {
        for nr_pages in [1, 3, 100] {
            assert_eq!(arena.free(wrong, nr_pages), Err(Error::Foreign { addr: wrong }), "{wrong:#x} {nr_pages}");
        }
    }
    assert_eq!((arena.size_of(addr), arena.size_of(addr + PAGE_SIZE)), (Some(3), None));
    free(&arena, range);
    for nr_pages in [1, 3, 100] {
        assert_eq!(arena.free(addr, nr_pages), Err(Error::DoubleFree { addr }), "in a magazine, as {nr_pages}");
    }
    assert_eq!((arena.size_of(addr), arena.range_around(addr)), (None, None), "nobody's");
    arena.reclaim();
    assert_eq!(arena.free(addr, 3), Err(Error::DoubleFree { addr }), "back in the arena");
    check_empty(&test, &arena);
}

#[test]
fn of_many_who_free_one_range_at_once_one_succeeds() {
    let nr_turns = if cfg!(miri) { 3 } else { 300 };
    let test = TestHeap::new(MEMORY);
    let arena = new_arena(&test, 1 << 18, Options::default());
    let banks = [test.bank(1), test.bank(2), test.bank(3)];
    for _ in 0..nr_turns {
        let range = arena.alloc(2).expect("addresses");
        let nr_freed = AtomicUsize::new(0);
        thread::scope(|scope| {
            for bank in banks {
                let (arena, nr_freed) = (&arena, &nr_freed);
                scope.spawn(move || {
                    enter_bank(bank);
                    match arena.free(range.start(), 2) {
                        Ok(()) => _ = nr_freed.fetch_add(1, Ordering::Relaxed),
                        Err(error) => assert_eq!(error, Error::DoubleFree { addr: range.start() }),
                    }
                });
            }
        });
        assert_eq!(nr_freed.into_inner(), 1);
    }
    for cpu in 1..4 {
        test.enter_cpu(cpu);
        arena.drain_this_cpu();
    }
    test.enter_cpu(0);
    check_empty(&test, &arena);
}

thread_local! {
    static ARENA: Cell<Option<&'static SharedArena<Host>>> = const { Cell::new(None) };
    static OTHER_CPU: Cell<Option<(&'static mm::bank::Bank, &'static mm::bank::Bank)>> = const { Cell::new(None) };
    static NR_INTERRUPTS: Cell<usize> = const { Cell::new(0) };
    static HEAP: Cell<Option<&'static mm::heap::Heap<Host>>> = const { Cell::new(None) };
    static NR_DRAINS: Cell<usize> = const { Cell::new(0) };
}

/// An arena that lives as long as the thread says.
fn with_static_arena(test: &TestHeap, nr_pages: usize, body: impl FnOnce(&'static SharedArena<Host>)) {
    let owner = Box::into_raw(Box::new(new_arena(test, nr_pages, Options::default())));
    // SAFETY: until it is dropped below, when nobody uses it any more.
    let arena = unsafe { &*owner };
    ARENA.set(Some(arena));
    body(arena);
    on_interrupt(None);
    test.on_drain(None);
    test.on_reclaim_of_ranges(None);
    check_empty(test, arena);
    ARENA.set(None);
    // SAFETY: made above by Box.
    drop(unsafe { Box::from_raw(owner) });
}

#[test]
fn addresses_in_the_magazines_of_other_cpus_are_had_before_a_request_is_refused() {
    let test = TestHeap::new(MEMORY);
    let (me, other) = (test.bank(0), test.bank(1));
    test.enter_cpu(0);
    with_static_arena(&test, 200, |arena| {
        test.enter_cpu(1);
        let theirs: Vec<_> = std::iter::from_fn(|| arena.alloc(1).ok()).collect();
        assert_eq!(theirs.len(), 99, "all there are: two pages each, and the first guard");
        theirs.into_iter().for_each(|range| free(arena, range));
        test.enter_cpu(0);
        OTHER_CPU.set(Some((other, me)));
        test.on_drain(Some(|| {
            let (other, me) = OTHER_CPU.get().expect("set");
            enter_bank(other);
            ARENA.get().expect("set").drain_this_cpu();
            enter_bank(me);
        }));
        let all = arena.alloc(198).expect("all of it, from everybody");
        assert_eq!(arena.alloc(1), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
        free(arena, all);
    });
}

/// The same request drains the heap's caches: nobody may open or close one meanwhile, or count.
#[test]
fn other_cpus_are_drained_with_everybody_excluded_from_reclaiming() {
    let test = TestHeap::new(MEMORY);
    with_static_arena(&test, 200, |arena| {
        HEAP.set(Some(test.heap));
        test.on_drain(Some(|| {
            NR_DRAINS.set(NR_DRAINS.get() + 1);
            HEAP.get().expect("set").reclaim();
        }));
        arena.reclaim();
        assert_eq!((NR_DRAINS.get(), test.heap.nr_reclaims()), (1, 0), "the reclaim in the drain has to do without");
        HEAP.set(None);
    });
}

#[test]
fn an_interrupt_that_lands_on_a_holder_gets_and_frees_ranges() {
    let test = TestHeap::new(MEMORY);
    with_static_arena(&test, 1 << 18, |arena| {
        on_interrupt(Some(|| {
            let arena = ARENA.get().expect("set");
            let range = arena.alloc(2).expect("addresses");
            arena.free(range.start(), 2).expect("ours");
            NR_INTERRUPTS.set(NR_INTERRUPTS.get() + 1);
        }));
        // Three magazines of thirty, and more.
        let nr_ranges = if cfg!(miri) { 100 } else { 200 };
        let ranges: Vec<_> = (0..nr_ranges).map(|_| arena.alloc(2).expect("addresses")).collect();
        ranges.into_iter().for_each(|range| free(arena, range));
        assert!(NR_INTERRUPTS.get() > 20, "{} interrupts", NR_INTERRUPTS.get());
        // Each operation is counted once, by whichever way it went.
        let (direct, magazines) = (arena.counters(), arena.quantum_counters().nth(1).expect("a quantum cache"));
        let nr_allocs = direct.nr_allocs + magazines.nr_allocs - magazines.nr_fetched;
        let nr_frees = direct.nr_frees + magazines.nr_frees - magazines.nr_returned;
        assert_eq!((nr_allocs, nr_frees), (nr_allocs, nr_allocs), "nothing is out");
        assert_eq!(nr_allocs, nr_ranges + NR_INTERRUPTS.get() as u64);
    });
}

#[test]
#[cfg_attr(miri, ignore = "a reclaim for each request takes ten minutes")]
fn without_memory_an_allocation_is_refused_and_every_free_succeeds() {
    let test = TestHeap::new(256);
    let arena = new_arena(&test, 1 << 18, Options::default());
    let mut ranges: Vec<_> = (0..300).map(|i| arena.alloc(1 + i % 12).expect("addresses")).collect();
    let frames: Vec<_> = std::iter::from_fn(|| test.heap.alloc_frame(Kind::Owned).ok()).collect();
    let error = loop {
        match arena.alloc(9) {
            Ok(range) => ranges.push(range),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    ranges.into_iter().for_each(|range| free(&arena, range));
    for frame in frames {
        // SAFETY: not used.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
    check_empty(&test, &arena);
}

#[test]
fn without_quantum_caches_an_address_is_reused_as_late_as_next_fit_lets_it() {
    let test = TestHeap::new(MEMORY);
    let arena = new_arena(&test, 1 << 18, Options { policy: Policy::Next, ..plain() });
    let mut seen = Vec::new();
    for _ in 0..if cfg!(miri) { 60 } else { 250 } {
        let range = arena.alloc(1).expect("addresses");
        assert!(!seen.contains(&range.start()), "{:#x} again after {}", range.start(), seen.len());
        seen.push(range.start());
        free(&arena, range);
    }
    check_empty(&test, &arena);
}

#[test]
fn all_ranges_are_listed_a_buffer_at_a_time() {
    let test = TestHeap::new(MEMORY);
    let arena = new_arena(&test, 1 << 18, Options::default());
    let held: Vec<_> = (0..100).map(|i| arena.alloc(1 + i % 10).expect("addresses")).collect();
    let (kept, freed) = held.split_at(60);
    freed.iter().for_each(|&range| free(&arena, range));
    let mut listed = Vec::new();
    let mut last = None;
    loop {
        let mut buffer = [RangeState { range: span(1), is_cached: false }; 7];
        let n = arena.ranges_behind(last, &mut buffer);
        listed.extend_from_slice(&buffer[..n]);
        let Some(end) = buffer[..n].last() else { break };
        last = Some(end.range);
    }
    assert!(listed.is_sorted_by_key(|state| state.range.start()));
    let mut out: Vec<_> = listed.iter().filter(|state| !state.is_cached).map(|state| state.range.start()).collect();
    let mut due: Vec<_> = kept.iter().map(|range| range.start()).collect();
    out.sort_unstable();
    due.sort_unstable();
    assert_eq!(out, due);
    let nr_cached: u64 = arena.quantum_counters().map(|counters| counters.nr_cached).sum();
    assert_eq!((listed.len() - out.len()) as u64, nr_cached);
    kept.iter().for_each(|&range| free(&arena, range));
    check_empty(&test, &arena);
}

/// Each page has at most one owner at a time, and none is next to another's.
#[test]
fn cpus_never_get_the_same_page_nor_neighbours() {
    const NR_PAGES: usize = 4096;
    let nr_turns = if cfg!(miri) { 40 } else { 20_000 };
    let test = TestHeap::new(MEMORY);
    let arena = new_arena(&test, NR_PAGES, Options::default());
    let owners: Vec<AtomicUsize> = (0..NR_PAGES).map(|_| AtomicUsize::new(0)).collect();
    let banks: Vec<_> = (1..5).map(|cpu| test.bank(cpu)).collect();
    thread::scope(|scope| {
        for (cpu, &bank) in banks.iter().enumerate() {
            let (arena, owners) = (&arena, &owners);
            scope.spawn(move || {
                enter_bank(bank);
                let mut held: Vec<VirtRange> = Vec::new();
                let mut state = 0x9e37_79b9_7f4a_7c15_usize.wrapping_mul(cpu + 1);
                let pages = |range: VirtRange| {
                    let first = (range.start() - BASE) / PAGE_SIZE;
                    // With its guards on both sides.
                    (first - 1, &owners[first..first + range.nr_pages()], first + range.nr_pages())
                };
                for _ in 0..nr_turns {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    if state >> 20 & 1 == 0 && held.len() < 30 {
                        let Ok(range) = arena.alloc(1 + (state >> 30) % 10) else { continue };
                        let (before, inside, behind) = pages(range);
                        for owner in inside {
                            assert_eq!(owner.swap(cpu + 1, Ordering::Relaxed), 0, "{range:x?}");
                        }
                        for guard in [before, behind] {
                            assert_eq!(owners[guard].load(Ordering::Relaxed), 0, "a guard of {range:x?}");
                        }
                        held.push(range);
                    } else if !held.is_empty() {
                        let range = held.swap_remove((state >> 33) % held.len());
                        pages(range).1.iter().for_each(|owner| owner.store(0, Ordering::Relaxed));
                        free(arena, range);
                    }
                }
                held.into_iter().for_each(|range| {
                    pages(range).1.iter().for_each(|owner| owner.store(0, Ordering::Relaxed));
                    free(arena, range);
                });
                arena.drain_this_cpu();
                assert_eq!(take_reports(), []);
            });
        }
    });
    check_empty(&test, &arena);
}

#[derive(Clone, Debug)]
enum Op {
    Alloc { nr_pages: usize },
    Free { choice: prop::sample::Index },
    BadFree { page: usize, nr_pages: usize },
    Cpu { cpu: usize },
    Drain,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 64 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_operation_does_what_a_map_of_ranges_does(
        ops in prop::collection::vec(prop_oneof![
            10 => (1usize..12).prop_map(|nr_pages| Op::Alloc { nr_pages }),
            9 => any::<prop::sample::Index>().prop_map(|choice| Op::Free { choice }),
            3 => (0usize..600, 0usize..12).prop_map(|(page, nr_pages)| Op::BadFree { page, nr_pages }),
            1 => (0usize..3).prop_map(|cpu| Op::Cpu { cpu }),
            1 => Just(Op::Drain),
        ], if cfg!(miri) { 1..20 } else { 1..300 }),
    ) {
        let test = TestHeap::new(MEMORY);
        for cpu in 0..3 {
            test.enter_cpu(cpu);
        }
        let arena = new_arena(&test, 1 << 12, Options::default());
        let mut model: BTreeMap<usize, usize> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Alloc { nr_pages } => {
                    let range = arena.alloc(nr_pages).expect("addresses");
                    let at = (range.start() - BASE) / PAGE_SIZE;
                    let before = model.range(..=at).next_back();
                    prop_assert!(at > 0 && before.is_none_or(|(start, size)| start + size < at));
                    prop_assert!(model.range(at..).next().is_none_or(|(start, _)| at + nr_pages < *start));
                    model.insert(at, nr_pages);
                }
                Op::Free { choice } if !model.is_empty() => {
                    let at = *model.keys().nth(choice.index(model.len())).expect("below the length");
                    let nr_pages = model.remove(&at).expect("a key");
                    prop_assert_eq!(arena.free(BASE + at * PAGE_SIZE, nr_pages), Ok(()));
                }
                Op::Free { .. } => {}
                Op::BadFree { page, nr_pages } => {
                    let addr = BASE + page * PAGE_SIZE;
                    let freed = arena.free(addr, nr_pages);
                    match model.get(&page) {
                        Some(&size) if size == nr_pages => {
                            prop_assert_eq!(freed, Ok(()));
                            model.remove(&page);
                        }
                        Some(_) => prop_assert_eq!(freed, Err(Error::WrongSize { addr, given: nr_pages * PAGE_SIZE })),
                        None => {
                            let is_seen = matches!(freed, Err(Error::Foreign { .. } | Error::DoubleFree { .. }));
                            prop_assert!(is_seen, "{:?}", freed);
                        }
                    }
                }
                Op::Cpu { cpu } => test.enter_cpu(cpu),
                Op::Drain => arena.drain_this_cpu(),
            }
            for (&at, &nr_pages) in &model {
                prop_assert_eq!(arena.size_of(BASE + at * PAGE_SIZE), Some(nr_pages));
            }
            let nr_cached: u64 = arena.quantum_counters().map(|counters| counters.nr_cached).sum();
            prop_assert_eq!(arena.sizes().0, model.len() + nr_cached as usize);
            arena.check_invariants();
        }
        for (at, nr_pages) in model {
            arena.free(BASE + at * PAGE_SIZE, nr_pages).expect("ours");
        }
        for cpu in 0..3 {
            test.enter_cpu(cpu);
            arena.drain_this_cpu();
        }
        check_empty(&test, &arena);
    }
}

#[test]
fn a_range_is_looked_at_only_while_it_is_not_free() {
    let test = TestHeap::new(256);
    for (options, nr_pages) in [(plain(), 3), (plain(), 40)] {
        let arena = new_arena(&test, 1 << 12, options);
        let range = arena.alloc(nr_pages).expect("addresses");
        let part = VirtRange::new(range.start(), nr_pages - 1).expect("canonical");
        let late = VirtRange::new(range.start() + PAGE_SIZE, nr_pages - 1).expect("canonical");
        assert_eq!([part, late].map(|other| arena.look_at(other, || ())), [None, None]);
        assert_eq!(arena.look_at(range, || 7), Some(7));
        free(&arena, range);
        assert_eq!(arena.look_at(range, || 7), None);
    }
}
