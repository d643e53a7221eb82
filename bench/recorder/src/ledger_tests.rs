//! Tests of `ledger`: each of its rules, and any events at all against the kernel's own checker.

use super::*;
use proptest::prelude::*;
use trace::check::{ObjectState, Summary};
use trace::{Event, Trace};

const PAGE: u64 = 4096;
const A: u64 = 0xffff_8880_0000_1000;

fn record(call: Call, key: u64, size: u32, cpu: u16) -> Record {
    Record { time_ns: 0, key, size, cpu, call, is_own: false }
}

fn checked(bytes: &[u8]) -> (Summary, Vec<Event>) {
    let trace = Trace::parse(bytes).expect("a good header");
    let mut scratch = vec![ObjectState::NEW; trace.header().nr_objects as usize];
    let checked = trace.validate(&mut scratch).expect("a good recording");
    (*checked.summary(), trace.events().collect())
}

/// (allocation or free, kind, cpu, id, size)
type Short = (Action, Kind, u8, u32, u32);

fn play(records: &[Record]) -> (Vec<Short>, Counts) {
    let mut ledger = Ledger::new(PAGE, 4);
    records.iter().for_each(|record| ledger.add(record));
    let (bytes, counts) = ledger.finish();
    let (summary, events) = checked(&bytes);
    assert_eq!(summary.nr_objects, counts.nr_objects + counts.nr_page_runs);
    assert_eq!(counts.nr_records, records.len() as u64);
    (events.iter().map(|e| (e.action, e.kind, e.cpu, e.id, e.size_bytes)).collect(), counts)
}

use Action::{Alloc, Free};
use Kind::{Object, PageRun};

#[test]
fn an_object_and_a_page_run_come_and_go() {
    let (events, counts) = play(&[
        record(Call::Kmalloc, A, 57, 0),
        record(Call::CacheAlloc, A + 64, 192, 1),
        record(Call::PageAlloc, 8, 3, 1),
        record(Call::Free, A, 0, 3),
        record(Call::Free, A + 64, 0, 1),
        record(Call::PageFree, 8, 3, 2),
    ]);
    let wanted = [
        (Alloc, Object, 0, 0, 57),
        (Alloc, Object, 1, 1, 192),
        (Alloc, PageRun, 1, 2, 32768),
        (Free, Object, 3, 0, 0),
        (Free, Object, 1, 1, 0),
        (Free, PageRun, 2, 2, 0),
    ];
    assert_eq!(events, wanted);
    assert_eq!(counts, Counts { nr_records: 6, nr_objects: 2, nr_page_runs: 1, ..Counts::default() });
}

#[test]
fn a_free_whose_allocation_was_not_seen_is_left_out() {
    let (events, counts) = play(&[record(Call::Free, A, 0, 0), record(Call::PageFree, 8, 0, 0)]);
    assert_eq!((events.len(), counts.nr_unseen_allocs), (0, 2));
}

#[test]
fn an_object_handed_out_again_without_a_free_is_freed_first() {
    let (events, counts) =
        play(&[record(Call::Kmalloc, A, 64, 0), record(Call::CacheAlloc, A, 96, 2), record(Call::Free, A, 0, 1)]);
    let wanted =
        [(Alloc, Object, 0, 0, 64), (Free, Object, 2, 0, 0), (Alloc, Object, 2, 1, 96), (Free, Object, 1, 1, 0)];
    assert_eq!(events, wanted);
    assert_eq!((counts.nr_reused, counts.nr_live_at_end), (1, 0));
}

#[test]
fn page_runs_of_which_a_page_is_handed_out_again_are_freed_first() {
    let (events, counts) = play(&[
        record(Call::PageAlloc, 8, 2, 0),
        record(Call::PageAlloc, 12, 0, 0),
        record(Call::PageAlloc, 10, 2, 3),
        record(Call::PageFree, 10, 2, 3),
    ]);
    let ids: Vec<_> = events.iter().map(|&(action, _, cpu, id, _)| (action, cpu, id)).collect();
    assert_eq!(ids, [(Alloc, 0, 0), (Alloc, 0, 1), (Free, 3, 0), (Free, 3, 1), (Alloc, 3, 2), (Free, 3, 2)]);
    assert_eq!(counts.nr_reused, 2);
}

#[test]
fn what_is_live_at_the_end_is_freed_by_cpu_0_in_the_order_of_its_allocation() {
    let (events, counts) =
        play(&[record(Call::Kmalloc, A + 64, 8, 1), record(Call::PageAlloc, 8, 0, 2), record(Call::Kmalloc, A, 16, 3)]);
    assert_eq!(events[3..], [(Free, Object, 0, 0, 0), (Free, PageRun, 0, 1, 0), (Free, Object, 0, 2, 0)]);
    assert_eq!(counts.nr_live_at_end, 3);
}

#[test]
fn a_page_run_given_back_in_pieces_lives_until_the_last() {
    let (events, counts) = play(&[
        record(Call::PageAlloc, 8, 1, 0),
        record(Call::PageFree, 9, 0, 1),
        record(Call::Kmalloc, A, 8, 0),
        record(Call::PageFree, 8, 0, 2),
    ]);
    assert_eq!(events[2], (Free, PageRun, 2, 0, 0));
    assert_eq!((counts.nr_in_pieces, counts.nr_unseen_allocs), (1, 0));
}

#[test]
fn a_large_kmalloc_is_recorded_once_as_its_page_run() {
    let (events, counts) = play(&[
        record(Call::PageAlloc, 8, 2, 0),
        record(Call::Kmalloc, A, 10_240, 0),
        record(Call::Free, A, 0, 0),
        record(Call::PageFree, 8, 2, 0),
    ]);
    assert_eq!(events, [(Alloc, PageRun, 0, 0, 16384), (Free, PageRun, 0, 0, 0)]);
    assert_eq!((counts.nr_large_kmallocs, counts.nr_unseen_allocs), (1, 0));
}

#[test]
fn a_large_kmalloc_without_a_page_run_of_its_size_before_it_is_an_object() {
    let large = record(Call::Kmalloc, A, 10_240, 0);
    for records in [
        vec![large],
        vec![record(Call::PageAlloc, 8, 2, 1), large],
        vec![record(Call::PageAlloc, 8, 3, 0), large],
        // Claimed by the object between them: a slab's own page.
        vec![record(Call::PageAlloc, 8, 2, 0), record(Call::CacheAlloc, A + (1 << 20), 64, 0), large],
    ] {
        let (events, counts) = play(&records);
        assert!(events.iter().any(|&(_, kind, _, _, size)| (kind, size) == (Object, 10_240)), "{records:?}");
        assert_eq!(counts.nr_large_kmallocs, 0);
    }
    // Two pages are a slab's matter.
    let (events, _) = play(&[record(Call::PageAlloc, 8, 1, 0), record(Call::Kmalloc, A, 8192, 0)]);
    assert_eq!(events[1], (Alloc, Object, 0, 1, 8192));
}

#[test]
fn what_the_recorder_took_is_left_out_with_its_free() {
    let own = |call, key| Record { is_own: true, ..record(call, key, 0, 0) };
    let (events, counts) = play(&[
        own(Call::Kmalloc, A),
        own(Call::PageAlloc, 8),
        record(Call::Free, A, 0, 0),
        record(Call::PageFree, 8, 0, 0),
    ]);
    assert_eq!((events.len(), counts.nr_own, counts.nr_unseen_allocs), (0, 2, 0));
}

#[test]
fn what_does_not_fit_the_format_is_left_out_and_counted() {
    let (events, counts) = play(&[
        record(Call::PageAlloc, 0, 11, 0),
        record(Call::PageAlloc, 1 << 20, 12, 0),
        record(Call::PageAlloc, 1 << 21, 64, 0),
        record(Call::CacheAlloc, A, 0xff_ffff, 0),
        record(Call::CacheAlloc, A + (1 << 20), 0x100_0000, 0),
        record(Call::CacheAlloc, A - 64, 0, 0),
        record(Call::PageFree, 1 << 20, 12, 0),
    ]);
    assert_eq!(events[..2], [(Alloc, PageRun, 0, 0, 8 << 20), (Alloc, Object, 0, 1, 0xff_ffff)]);
    assert_eq!((counts.nr_too_large, counts.nr_unseen_allocs), (4, 0));
}

#[test]
fn slabs_are_counted_and_left_out_where_that_is_wanted() {
    let records = [
        record(Call::PageAlloc, 8, 1, 0),
        // Not to be had: it has its place among the marks all the same.
        record(Call::PageAlloc, u64::MAX, 0, 0),
        record(Call::PageAlloc, 16, 0, 0),
        record(Call::PageFree, 16, 0, 0),
        record(Call::PageFree, 8, 1, 0),
    ];
    for (are_recorded, nr_runs) in [(true, 2), (false, 1)] {
        let mut ledger = Ledger::new(PAGE, 4).with_slabs(vec![true, false, false], are_recorded);
        records.iter().for_each(|record| ledger.add(record));
        let (bytes, counts) = ledger.finish();
        assert_eq!((checked(&bytes).0.nr_page_runs, counts.nr_slab_runs, counts.slab_bytes), (nr_runs, 1, 8192));
        assert_eq!(counts.nr_unseen_allocs, 0);
    }
}

#[test]
fn failed_allocations_and_frees_of_nothing_are_left_out() {
    let (events, counts) = play(&[
        record(Call::Kmalloc, 0, 64, 0),
        record(Call::Free, 0, 0, 0),
        record(Call::Free, 16, 0, 0),
        record(Call::PageAlloc, u64::MAX, 0, 0),
    ]);
    assert_eq!((events.len(), counts.nr_of_nothing), (0, 4));
}

#[test]
fn cpus_beyond_64_are_folded() {
    let mut ledger = Ledger::new(PAGE, 200);
    ledger.add(&record(Call::Kmalloc, A, 8, 130));
    let (bytes, _) = ledger.finish();
    assert_eq!(Trace::parse(&bytes).expect("a good header").header().nr_cpus, 64);
    assert_eq!(checked(&bytes).1[0].cpu, 2);
}

#[test]
fn the_hosts_page_size_is_that_of_its_runs() {
    let mut ledger = Ledger::new(65536, 1);
    ledger.add(&record(Call::PageAlloc, 8, 1, 0));
    assert_eq!(checked(&ledger.finish().0).1[0].size_bytes, 131_072);
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        Just(Call::Kmalloc),
        Just(Call::CacheAlloc),
        Just(Call::Free),
        Just(Call::PageAlloc),
        Just(Call::PageFree)
    ]
}

proptest! {
    /// Few addresses, so that all of them come again in every way; the checker is the kernel's.
    #[test]
    fn any_events_make_a_good_recording(
        events in prop::collection::vec((any_call(), 0..24u64, prop_oneof![0..6u32, Just(9000), any::<u32>()], 0..70u16, any::<bool>()), 0..200),
    ) {
        let mut ledger = Ledger::new(PAGE, 70);
        for (call, key, size, cpu, is_own) in events {
            let is_page = matches!(call, Call::PageAlloc | Call::PageFree);
            let key = if is_page { key } else { key * 4096 };
            ledger.add(&Record { is_own, ..record(call, key, size, cpu) });
        }
        let (bytes, counts) = ledger.finish();
        let (summary, _) = checked(&bytes);
        prop_assert_eq!(summary.nr_page_runs, counts.nr_page_runs);
        prop_assert_eq!(summary.nr_objects, counts.nr_objects + counts.nr_page_runs);
    }
}
