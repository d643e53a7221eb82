//! The frame allocator against two sets, and the requests that tell a good allocator from a bad one.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

fn range(start: u32, nr_pages: u32) -> FrameRange {
    FrameRange::new(Frame::new(start), nr_pages).unwrap()
}

fn addr(number: usize) -> usize {
    number * PAGE_SIZE
}

/// Runs `body` on an allocator for `0..nr_frames` that manages `ranges`.
fn with_frames<T>(nr_frames: usize, ranges: &[(u32, u32)], body: impl FnOnce(&mut FrameBitmap<'_>) -> T) -> T {
    let mut storage = vec![!0; FrameBitmap::words_needed(nr_frames)];
    let mut frames = FrameBitmap::new(&mut storage, nr_frames).unwrap();
    for (start, nr_pages) in ranges {
        frames.add_range(range(*start, *nr_pages)).unwrap();
    }
    let result = body(&mut frames);
    frames.check_invariants();
    result
}

/// Leaves exactly `kept` of frames `1..nr_frames` free.
fn with_only<T>(nr_frames: u32, kept: &[u32], body: impl FnOnce(&mut FrameBitmap<'_>) -> T) -> T {
    with_frames(nr_frames as usize, &[(1, nr_frames - 1)], |frames| {
        frames.claim_range(range(1, nr_frames - 1)).unwrap();
        kept.iter().for_each(|number| frames.put_one(Frame::new(*number)).unwrap());
        body(frames)
    })
}

#[test]
fn single_frames_come_from_the_top_and_runs_from_the_bottom() {
    with_frames(1000, &[(1, 899)], |frames| {
        assert_eq!(frames.take_one(), Ok(Frame::new(899)));
        assert_eq!(frames.take_run(RunRequest::pages(4)), Ok(range(256, 4)), "at or above 1 MiB while that lasts");
        assert_eq!(frames.take_run(RunRequest { below: Some(1 << 20), ..RunRequest::pages(4) }), Ok(range(1, 4)));
        assert_eq!(frames.take_one(), Ok(Frame::new(898)));
        assert_eq!(frames.nr_free(), 889);
    });
}

#[test]
#[cfg_attr(miri, ignore)]
fn runs_keep_off_the_first_4_gib_until_nothing_else_is_left() {
    let four_gib = 1 << 20;
    with_frames(four_gib + 100, &[(1, four_gib as u32 + 99)], |frames| {
        assert_eq!(frames.take_run(RunRequest::pages(60)), Ok(range(four_gib as u32, 60)));
        assert_eq!(frames.take_run(RunRequest::pages(60)), Ok(range(256, 60)));
        let below_1_mib = RunRequest { below: Some(1 << 20), ..RunRequest::pages(250) };
        assert_eq!(frames.take_run(below_1_mib), Ok(range(1, 250)));
        let across = RunRequest { nr_pages: four_gib - 316 + 100, align_pages: 1, below: None };
        assert!(matches!(frames.take_run(across), Err(Error::OutOfMemory { .. })));
        frames.put_run(range(four_gib as u32, 60)).unwrap();
        assert_eq!(frames.take_run(across), Ok(range(316, across.nr_pages as u32)), "a run may cross a floor");
    });
}

#[test]
fn only_separate_frames_free_serves_one_and_refuses_two() {
    let every_other: Vec<u32> = (301..400).step_by(2).collect();
    with_only(500, &every_other, |frames| {
        assert_eq!(frames.take_run(RunRequest::pages(2)), Err(Error::OutOfMemory { bytes: 2 * PAGE_SIZE }));
        let aligned = RunRequest { align_pages: 2, ..RunRequest::pages(1) };
        assert_eq!(frames.take_run(aligned), Err(Error::OutOfMemory { bytes: PAGE_SIZE }));
        assert_eq!(frames.nr_free(), every_other.len());
        assert_eq!(frames.take_run(RunRequest::pages(1)), Ok(range(301, 1)));
        assert_eq!(frames.take_one(), Ok(Frame::new(399)));
    });
}

#[test]
fn the_last_frame_below_a_limit_and_the_last_of_all_are_reachable() {
    with_only(500, &[255, 499], |frames| {
        let below = |limit| RunRequest { below: Some(limit), ..RunRequest::pages(1) };
        assert!(frames.take_run(below(addr(256) as u64 - 1)).is_err(), "its last byte is not below the limit");
        assert_eq!(frames.take_run(below(addr(256) as u64)), Ok(range(255, 1)));
        assert!(frames.take_run(below(0)).is_err());
        assert_eq!(frames.take_run(below(u64::MAX)), Ok(range(499, 1)));
        assert!(frames.take_one().is_err());
    });
}

#[test]
fn runs_do_not_reach_over_holes() {
    with_frames(1000, &[(300, 50), (351, 50)], |frames| {
        assert!(frames.take_run(RunRequest::pages(51)).is_err());
        assert_eq!(frames.take_run(RunRequest::pages(50)), Ok(range(300, 50)));
    });
}

#[test]
fn requests_that_can_never_be_served_are_refused_without_a_panic() {
    with_frames(1000, &[(1, 999)], |frames| {
        let request = |nr_pages, align_pages, below| RunRequest { nr_pages, align_pages, below };
        assert_eq!(frames.take_run(request(0, 1, None)), Err(Error::BadRequest { value: 0 }));
        for align_pages in [0, 3, usize::MAX] {
            let refused = frames.take_run(request(1, align_pages, None));
            assert_eq!(refused, Err(Error::BadRequest { value: align_pages }));
        }
        for nr_pages in [1000, u32::MAX as usize, 1 << 32, (1 << 32) + 1, 1 << 63, usize::MAX] {
            for below in [None, Some(u64::MAX), Some(1 << 20)] {
                let refused = frames.take_run(request(nr_pages, 1, below));
                assert_eq!(refused, Err(Error::OutOfMemory { bytes: nr_pages.saturating_mul(PAGE_SIZE) }));
            }
        }
        for shift in 10..64 {
            assert!(frames.take_run(request(1, 1 << shift, None)).is_err(), "1 << {shift}");
        }
        assert_eq!(frames.nr_free(), 999);
    });
}

#[test]
fn freeing_what_is_not_out_is_an_error_with_the_address() {
    with_frames(1000, &[(1, 99), (200, 100)], |frames| {
        frames.claim_range(range(10, 20)).unwrap();
        frames.claim_range(range(200, 100)).unwrap();
        let nr_free = frames.nr_free();
        for number in [0, 100, 150, 199, 300, 999, 1000, 1 << 20, u32::MAX] {
            let frame = Frame::new(number);
            assert_eq!(frames.put_one(frame), Err(Error::Foreign { addr: addr(number as usize) }));
            assert_eq!(frames.put_run(range(number, 1)), Err(Error::Foreign { addr: addr(number as usize) }));
        }
        assert_eq!(frames.put_one(Frame::new(9)), Err(Error::DoubleFree { addr: addr(9) }));
        assert_eq!(frames.put_run(range(8, 10)), Err(Error::DoubleFree { addr: addr(8) }));
        assert_eq!(frames.put_run(range(20, 11)), Err(Error::DoubleFree { addr: addr(30) }), "partly free");
        assert_eq!(frames.put_run(range(290, 20)), Err(Error::Foreign { addr: addr(300) }), "partly foreign");
        assert_eq!(frames.put_run(range(250, u32::MAX - 250)), Err(Error::Foreign { addr: addr(300) }));
        assert_eq!(frames.put_run(range(1000, 5)), Err(Error::Foreign { addr: addr(1000) }));
        assert_eq!(frames.nr_free(), nr_free);
        assert_eq!(frames.put_run(range(10, 20)), Ok(()));
        assert_eq!(frames.put_run(range(10, 20)), Err(Error::DoubleFree { addr: addr(10) }));
    });
}

#[test]
fn a_batch_with_one_bad_frame_frees_none() {
    with_frames(1000, &[(1, 99)], |frames| {
        let mut batch = [Frame::new(0); 10];
        assert_eq!(frames.take_batch(&mut batch), 10);
        assert_eq!(frames.nr_free(), 89);
        for (bad, error) in [
            (batch[3], Error::DoubleFree { addr: batch[3].addr() as usize }),
            (Frame::new(5), Error::DoubleFree { addr: addr(5) }),
            (Frame::new(500), Error::Foreign { addr: addr(500) }),
        ] {
            let mut with_bad = batch;
            with_bad[7] = bad;
            assert_eq!(frames.put_batch(&with_bad), Err(error));
            assert!(batch.iter().all(|frame| !frames.is_free(*frame)));
            assert_eq!(frames.nr_free(), 89);
        }
        assert_eq!(frames.put_batch(&batch), Ok(()));
        assert_eq!(frames.put_batch(&[]), Ok(()));
        assert_eq!(frames.nr_free(), 99);
    });
}

#[test]
fn a_batch_takes_what_there_is_and_leaves_the_rest_of_the_slots() {
    with_only(500, &[3, 64, 65, 400], |frames| {
        let mut batch = [Frame::new(7); 6];
        assert_eq!(frames.take_batch(&mut batch), 4);
        assert_eq!(batch.map(Frame::number), [400, 65, 64, 3, 7, 7]);
        assert_eq!(frames.take_batch(&mut batch), 0);
        assert_eq!(frames.take_batch(&mut []), 0);
    });
}

#[test]
fn memory_joins_later_but_never_twice() {
    with_frames(1000, &[(1, 99)], |frames| {
        assert_eq!(frames.add_range(range(99, 2)), Err(Error::InUse { addr: addr(99) }));
        assert_eq!(frames.add_range(range(50, 1)), Err(Error::InUse { addr: addr(50) }));
        assert_eq!(frames.add_range(range(0, 1)), Err(Error::Foreign { addr: 0 }));
        assert_eq!(frames.add_range(range(999, 2)), Err(Error::Foreign { addr: addr(999) }));
        assert_eq!((frames.nr_managed(), frames.nr_free()), (99, 99));
        assert_eq!(frames.put_one(Frame::new(150)), Err(Error::Foreign { addr: addr(150) }));
        assert_eq!(frames.add_range(range(150, 850)), Ok(()));
        assert_eq!((frames.nr_managed(), frames.nr_free()), (949, 949));
        assert_eq!(frames.take_one(), Ok(Frame::new(999)));
    });
}

#[test]
fn claims_name_the_first_frame_that_stands_in_the_way() {
    with_frames(1000, &[(1, 99), (101, 99)], |frames| {
        assert_eq!(frames.claim_range(range(90, 20)), Err(Error::Foreign { addr: addr(100) }));
        assert_eq!(frames.claim_range(range(0, 5)), Err(Error::Foreign { addr: 0 }));
        assert_eq!(frames.claim_range(range(20, 5)), Ok(()));
        assert_eq!(frames.claim_range(range(10, 30)), Err(Error::InUse { addr: addr(20) }));
        assert_eq!(frames.nr_free(), 193);
    });
}

#[test]
fn storage_is_checked() {
    let mut storage = vec![0; FrameBitmap::words_needed(1000) - 1];
    assert!(matches!(FrameBitmap::new(&mut storage, 1000), Err(Error::BadRequest { .. })));
    assert!(matches!(FrameBitmap::new(&mut [], 0), Err(Error::BadRequest { .. })));
    assert!(matches!(FrameBitmap::new(&mut storage, usize::MAX), Err(Error::BadRequest { .. })));
    let words_for_16_tib = FrameBitmap::words_needed(1 << 32);
    assert!(words_for_16_tib * 8 < (16 << 40) / 14_000, "0.007 % of memory: {words_for_16_tib} words");
}

#[derive(Clone, Debug)]
enum Op {
    TakeOne,
    TakeBatch(usize),
    TakeRun(RunRequest),
    Claim(FrameRange),
    PutOne(Frame),
    PutBatch(Vec<Frame>),
    PutRun(FrameRange),
    Add(FrameRange),
}

const NR_FRAMES: u32 = 700;

fn any_frame() -> impl Strategy<Value = Frame> {
    (0..NR_FRAMES + 10).prop_map(Frame::new)
}

fn any_frames() -> impl Strategy<Value = FrameRange> {
    (0..NR_FRAMES + 10, prop_oneof![4 => 1u32..9, 1 => 1u32..300]).prop_map(|(start, nr_pages)| range(start, nr_pages))
}

fn any_op() -> impl Strategy<Value = Op> {
    let request = (1usize..40, 0u32..7, prop::option::of(0..700u64 * 4096))
        .prop_map(|(nr_pages, shift, below)| RunRequest { nr_pages, align_pages: 1 << shift, below });
    prop_oneof![
        Just(Op::TakeOne),
        (0usize..80).prop_map(Op::TakeBatch),
        request.prop_map(Op::TakeRun),
        any_frames().prop_map(Op::Claim),
        any_frame().prop_map(Op::PutOne),
        prop::collection::vec(any_frame(), 0..4).prop_map(Op::PutBatch),
        any_frames().prop_map(Op::PutRun),
        any_frames().prop_map(Op::Add),
    ]
}

#[derive(Default)]
struct Model {
    managed: BTreeSet<usize>,
    free: BTreeSet<usize>,
}

impl Model {
    /// Moves `numbers` to the free frames if all of them are out.
    fn put(&mut self, numbers: impl Iterator<Item = usize> + Clone) -> bool {
        let before = self.free.clone();
        let ok = numbers.into_iter().all(|number| self.managed.contains(&number) && self.free.insert(number));
        if !ok {
            self.free = before;
        }
        ok
    }

    /// Takes `numbers` if all of them are free.
    fn take(&mut self, mut numbers: impl Iterator<Item = usize> + Clone) -> bool {
        let ok = numbers.clone().all(|number| self.free.contains(&number));
        if ok {
            numbers.by_ref().for_each(|number| assert!(self.free.remove(&number)));
        }
        ok
    }

    fn has_run(&self, request: RunRequest) -> bool {
        let limit = request.below.map_or(usize::MAX, |below| below as usize / PAGE_SIZE);
        (0..NR_FRAMES as usize).step_by(request.align_pages).any(|start| {
            start + request.nr_pages <= limit
                && (start..start + request.nr_pages).all(|number| self.free.contains(&number))
        })
    }
}

fn apply(frames: &mut FrameBitmap<'_>, model: &mut Model, op: Op) {
    match op {
        Op::TakeOne => {
            let expected = model.free.pop_last();
            assert_eq!(frames.take_one().ok().map(|frame| frame.number() as usize), expected);
        }
        Op::TakeBatch(max) => {
            let mut batch = vec![Frame::new(0); max];
            let nr_taken = frames.take_batch(&mut batch);
            assert_eq!(nr_taken, max.min(model.free.len()));
            assert!(batch[..nr_taken].iter().all(|frame| model.free.pop_last() == Some(frame.number() as usize)));
        }
        Op::TakeRun(request) => match frames.take_run(request) {
            Ok(taken) => {
                assert_eq!(taken.nr_pages() as usize, request.nr_pages);
                assert_eq!(taken.start().number() as usize % request.align_pages, 0);
                assert!(request.below.is_none_or(|below| taken.end_number() * PAGE_SIZE as u64 <= below));
                assert!(model.take(bits_of(taken)), "{taken:?} is not free");
            }
            Err(error) => assert!(!model.has_run(request), "{error} though there is room for {request:?}"),
        },
        Op::Claim(range) => assert_eq!(frames.claim_range(range).is_ok(), model.take(bits_of(range))),
        Op::PutOne(frame) => {
            assert_eq!(frames.put_one(frame).is_ok(), model.put(core::iter::once(frame.number() as usize)));
        }
        Op::PutBatch(batch) => {
            let numbers = batch.iter().map(|frame| frame.number() as usize);
            assert_eq!(frames.put_batch(&batch).is_ok(), model.put(numbers));
        }
        Op::PutRun(range) => assert_eq!(frames.put_run(range).is_ok(), model.put(bits_of(range))),
        Op::Add(range) => {
            let fits = bits_of(range)
                .all(|number| number != 0 && number < NR_FRAMES as usize && !model.managed.contains(&number));
            assert_eq!(frames.add_range(range).is_ok(), fits);
            if fits {
                model.managed.extend(bits_of(range));
                model.free.extend(bits_of(range));
            }
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
    fn every_operation_does_what_two_sets_do(
        ops in prop::collection::vec(any_op(), if cfg!(miri) { 1..8 } else { 1..60 }),
    ) {
        with_frames(NR_FRAMES as usize, &[], |frames| {
            let mut model = Model::default();
            // Most histories start with memory; some operations come before it all the same.
            for op in [Op::TakeOne, Op::Add(range(1, 90)), Op::Add(range(120, 300))].into_iter().chain(ops) {
                apply(frames, &mut model, op);
                frames.check_invariants();
                assert_eq!((frames.nr_free(), frames.nr_managed()), (model.free.len(), model.managed.len()));
                let free: Vec<usize> = (0..NR_FRAMES as usize).filter(|number| frames.free.get(*number)).collect();
                assert!(free.iter().eq(model.free.iter()));
            }
        });
    }
}

#[test]
fn a_walk_takes_each_free_frame_once_and_in_order() {
    const NR: usize = 700;
    let mut storage = vec![0; FrameBitmap::words_needed(NR)];
    let mut frames = FrameBitmap::new(&mut storage, NR).unwrap();
    for (start, nr_pages) in [(3, 5), (60, 200), (500, 1), (502, 198)] {
        frames.add_range(FrameRange::new(Frame::new(start), nr_pages).unwrap()).unwrap();
    }
    let mut walk = Vec::new();
    let mut from = 0;
    while let Some(range) = frames.take_from(from, 128) {
        walk.push((range.start().number(), range.nr_pages()));
        from = range.end_number() as u32;
        frames.check_invariants();
    }
    assert_eq!(walk, [(3, 5), (60, 128), (188, 72), (500, 1), (502, 128), (630, 70)]);
    assert_eq!(frames.nr_free(), 0);
    assert_eq!(frames.take_from(0, 128), None);
    frames.put_one(Frame::new(600)).unwrap();
    assert_eq!(frames.take_from(601, 1), None, "behind the last");
    assert_eq!(frames.take_from(600, 0), None, "no pages");
    assert_eq!(frames.take_from(0, u32::MAX).map(|range| range.nr_pages()), Some(1));
}
