//! The bitmap against a `Vec<bool>`, at every step.

use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// Runs `body` on a bitmap whose storage held rubbish.
fn with_bitmap<T>(nr_bits: usize, body: impl FnOnce(&mut Bitmap<'_>) -> T) -> T {
    let mut storage = vec![0xdead_beef_dead_beef; Bitmap::words_needed(nr_bits)];
    body(&mut Bitmap::new(&mut storage, nr_bits).unwrap())
}

fn fill(bitmap: &mut Bitmap<'_>, model: &[bool]) {
    for (index, _) in model.iter().enumerate().filter(|(_, is_set)| **is_set) {
        bitmap.set(index);
    }
}

fn naive_run(model: &[bool], nr: usize, align: usize, range: Range<usize>, direction: Direction) -> Option<usize> {
    let high = range.end.min(model.len());
    let mut starts = (range.start..high)
        .filter(|start| start % align == 0 && start + nr <= high && model[*start..start + nr].iter().all(|bit| *bit));
    match direction {
        Direction::Upwards => starts.next(),
        Direction::Downwards => starts.next_back(),
    }
}

#[test]
fn storage_is_a_thirtieth_more_than_the_bits() {
    assert_eq!(Bitmap::words_needed(0), 2);
    assert_eq!(Bitmap::words_needed(64), 2);
    assert_eq!(Bitmap::words_needed(65), 2 + 1 + 1);
    let words_for_16_tib = Bitmap::words_needed(1 << 32);
    assert!(words_for_16_tib < (1 << 26) + (1 << 26) / 30, "{words_for_16_tib}");
}

#[test]
fn too_little_storage_and_too_many_bits_are_refused() {
    let mut storage = vec![0; Bitmap::words_needed(1000)];
    let storage_len = storage.len();
    assert!(Bitmap::new(&mut storage, 1000).is_ok());
    assert_eq!(Bitmap::new(&mut storage[1..], 1000).err(), Some(Error::BadRequest { value: storage_len - 1 }));
    assert_eq!(Bitmap::new(&mut [], 0).err(), Some(Error::BadRequest { value: 0 }));
    assert_eq!(Bitmap::new(&mut storage, usize::MAX).err(), Some(Error::BadRequest { value: usize::MAX }));
}

#[test]
fn an_empty_bitmap_answers_none() {
    with_bitmap(0, |bitmap| {
        bitmap.check_invariants();
        assert_eq!(bitmap.first_set_at_or_after(0), None);
        assert_eq!(bitmap.last_set_before(usize::MAX), None);
        assert_eq!((bitmap.take_first(), bitmap.take_last(), bitmap.count()), (None, None, 0));
        assert_eq!(bitmap.find_run(1, 1, 0..usize::MAX, Direction::Upwards), None);
        assert!(!bitmap.get(0) && !bitmap.get(usize::MAX));
    });
}

#[test]
fn requests_without_meaning_find_nothing() {
    with_bitmap(200, |bitmap| {
        bitmap.set_range(0..200);
        for direction in [Direction::Upwards, Direction::Downwards] {
            for (nr, align) in [(0, 1), (1, 0), (1, 3), (201, 1), (usize::MAX, 1), (1, 1 << 63)] {
                let found = bitmap.find_run(nr, align, 1..usize::MAX, direction);
                assert_eq!(found, None, "{nr} bits aligned to {align}, {direction:?}");
            }
            #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
            let reversed = 100..50;
            assert_eq!(bitmap.find_run(1, 1, reversed, direction), None);
            assert_eq!(bitmap.find_run(200, 1 << 63, 0..200, direction), Some(0));
        }
    });
}

#[test]
#[should_panic(expected = "bits 100..101 of a bitmap of 100")]
fn setting_past_the_end_panics_with_values() {
    with_bitmap(100, |bitmap| bitmap.set(100));
}

/// All patterns of 10 bits, across the end of a word, with every request that can tell them apart.
#[test]
#[cfg_attr(miri, ignore)]
fn short_runs_are_right_for_every_pattern() {
    for pattern in 0..1 << 10u32 {
        let mut model = vec![false; 130];
        for bit in 0..10 {
            model[58 + bit] = pattern >> bit & 1 != 0;
        }
        with_bitmap(130, |bitmap| {
            fill(bitmap, &model);
            for direction in [Direction::Upwards, Direction::Downwards] {
                for nr in 1..=4 {
                    for (align, range) in
                        [(1, 0..130), (2, 0..130), (4, 0..130), (1, 60..66), (2, 59..67), (64, 0..128)]
                    {
                        let expected = naive_run(&model, nr, align, range.clone(), direction);
                        let found = bitmap.find_run(nr, align, range.clone(), direction);
                        assert_eq!(found, expected, "{pattern:010b}: {nr} at {align} in {range:?}, {direction:?}");
                    }
                }
            }
        });
    }
}

/// One run of every length around the limits of the three searches, at every phase, hidden among decoys too short.
#[test]
#[cfg_attr(miri, ignore)]
fn runs_of_every_length_are_found_among_decoys() {
    for nr in [62, 63, 64, 65, 66, 125, 126, 127, 128, 129, 191, 192, 300] {
        for phase in 0..64 {
            with_bitmap(4096, |bitmap| {
                let decoys = |bitmap: &mut Bitmap<'_>, range: Range<usize>| {
                    let mut at = range.start;
                    while at + nr < range.end {
                        bitmap.set_range(at..at + nr - 1);
                        at += nr;
                    }
                };
                let start = 1500 + phase;
                decoys(bitmap, 3..start - 1);
                bitmap.set_range(start..start + nr);
                decoys(bitmap, start + nr + 1..4090);
                bitmap.check_invariants();
                for direction in [Direction::Upwards, Direction::Downwards] {
                    assert_eq!(bitmap.find_run(nr, 1, 0..4096, direction), Some(start), "{nr} at phase {phase}");
                    assert_eq!(bitmap.find_run(nr, 1, 0..start + nr - 1, direction), None, "{nr} cut off above");
                    assert_eq!(bitmap.find_run(nr, 1, start + 1..4096, direction), None, "{nr} cut off below");
                }
            });
        }
    }
}

/// Six levels, sparsely set: every single bit is found from afar. Two billion bits take 260 MiB, so not under Miri.
#[test]
#[cfg_attr(miri, ignore)]
fn bits_far_apart_are_found_from_afar() {
    let nr_bits = (1 << 31) - 5;
    with_bitmap(nr_bits, |bitmap| {
        let set = [1, 63, 64, 4095, 1 << 20, (1 << 24) + 7, 1 << 30, nr_bits - 1];
        for index in set {
            assert!(bitmap.set(index));
        }
        let mut upwards = Vec::new();
        while let Some(index) = bitmap.first_set_at_or_after(upwards.last().map_or(0, |last| last + 1)) {
            upwards.push(index);
        }
        assert_eq!(upwards, set);
        for pair in set.windows(2) {
            assert_eq!(bitmap.last_set_before(pair[1]), Some(pair[0]));
            assert_eq!(bitmap.last_set_before(pair[1] + 1), Some(pair[1]));
        }
        assert_eq!(bitmap.take_last(), Some(nr_bits - 1));
        assert_eq!(bitmap.take_last(), Some(1 << 30));
        assert_eq!(bitmap.take_first(), Some(1));
        assert_eq!(bitmap.count(), 5);
    });
}

#[derive(Clone, Debug)]
enum Op {
    Set(usize),
    Clear(usize),
    SetRange(Range<usize>),
    ClearRange(Range<usize>),
    TakeFirst,
    TakeLast,
    TakeLastEach(usize),
}

fn any_range(nr_bits: usize) -> impl Strategy<Value = Range<usize>> {
    (0..=nr_bits, 0..=nr_bits).prop_map(|(one, other)| one.min(other)..one.max(other))
}

fn any_op(nr_bits: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..nr_bits).prop_map(Op::Set),
        (0..nr_bits).prop_map(Op::Clear),
        any_range(nr_bits).prop_map(Op::SetRange),
        any_range(nr_bits).prop_map(Op::ClearRange),
        Just(Op::TakeFirst),
        Just(Op::TakeLast),
        (0..200usize).prop_map(Op::TakeLastEach),
    ]
}

/// Sizes with one to three levels, most with a last word that is not whole.
fn any_history() -> impl Strategy<Value = (usize, Vec<Op>)> {
    prop_oneof![1usize..130, 4000usize..4200].prop_flat_map(|nr_bits| {
        let nr_ops = if cfg!(miri) { 1..8 } else { 1..60 };
        (Just(nr_bits), prop::collection::vec(any_op(nr_bits), nr_ops))
    })
}

fn apply(bitmap: &mut Bitmap<'_>, model: &mut [bool], op: Op) {
    let mut put = |range: Range<usize>, value: bool| {
        let nr_changed = model[range.clone()].iter().filter(|bit| **bit != value).count();
        model[range].fill(value);
        nr_changed
    };
    match op {
        Op::Set(index) => assert_eq!(bitmap.set(index), put(index..index + 1, true) == 1),
        Op::Clear(index) => assert_eq!(bitmap.clear(index), put(index..index + 1, false) == 1),
        Op::SetRange(range) => assert_eq!(bitmap.set_range(range.clone()), put(range, true)),
        Op::ClearRange(range) => assert_eq!(bitmap.clear_range(range.clone()), put(range, false)),
        Op::TakeFirst => {
            let first = model.iter().position(|bit| *bit);
            assert_eq!(bitmap.take_first(), first);
            first.inspect(|index| model[*index] = false);
        }
        Op::TakeLast => {
            let last = model.iter().rposition(|bit| *bit);
            assert_eq!(bitmap.take_last(), last);
            last.inspect(|index| model[*index] = false);
        }
        Op::TakeLastEach(max) => {
            let expected: Vec<usize> = (0..model.len()).rev().filter(|index| model[*index]).take(max).collect();
            let mut taken = Vec::new();
            assert_eq!(bitmap.take_last_each(max, |index| taken.push(index)), expected.len());
            assert_eq!(taken, expected);
            expected.iter().for_each(|index| model[*index] = false);
        }
    }
}

/// A map made of alternating runs whose lengths straddle the limits of the searches.
fn any_runs() -> impl Strategy<Value = Vec<bool>> {
    let length = prop_oneof![4 => 1usize..6, 2 => 60usize..70, 2 => 120usize..135, 1 => 190usize..260];
    prop::collection::vec((length, 1usize..70), 1..25).prop_map(|pairs| {
        pairs
            .into_iter()
            .flat_map(|(set, clear)| [vec![true; set], vec![false; clear % 8 + clear / 60 * 40]].concat())
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_operation_does_what_a_vec_of_bool_does((nr_bits, ops) in any_history(), probes in prop::collection::vec(any_range(4300), 8)) {
        let mut model = vec![false; nr_bits];
        with_bitmap(nr_bits, |bitmap| for op in ops {
            apply(bitmap, &mut model, op);
            bitmap.check_invariants();
            assert_eq!(bitmap.count(), model.iter().filter(|bit| **bit).count());
            for probe in &probes {
                let clipped = probe.start.min(nr_bits)..probe.end.min(nr_bits);
                let inside = &model[clipped];
                assert_eq!(bitmap.get(probe.start), model.get(probe.start).copied().unwrap_or(false));
                let first = (probe.start..nr_bits).find(|index| model[*index]);
                assert_eq!(bitmap.first_set_at_or_after(probe.start), first);
                let last = (0..probe.start.min(nr_bits)).rev().find(|index| model[*index]);
                assert_eq!(bitmap.last_set_before(probe.start), last);
                assert_eq!(bitmap.is_range_clear(probe.clone()), inside.iter().all(|bit| !bit));
                assert_eq!(bitmap.is_range_set(probe.clone()), probe.end <= nr_bits && inside.iter().all(|bit| *bit));
            }
        });
    }

    #[test]
    fn runs_are_found_where_a_naive_search_finds_them(model in any_runs(), range in any_range(3000), shift in 0u32..9) {
        with_bitmap(model.len(), |bitmap| {
            fill(bitmap, &model);
            for nr in [1, 2, 3, 5, 33, 61, 63, 64, 65, 66, 100, 126, 127, 128, 130, 190, 191, 200, 255] {
                for direction in [Direction::Upwards, Direction::Downwards] {
                    for (align, range) in [(1, 0..3000), (1 << shift, 0..3000), (1 << shift, range.clone())] {
                        let expected = naive_run(&model, nr, align, range.clone(), direction);
                        let found = bitmap.find_run(nr, align, range.clone(), direction);
                        assert_eq!(found, expected, "{nr} bits aligned to {align} in {range:?}, {direction:?}");
                    }
                }
            }
        });
    }
}
