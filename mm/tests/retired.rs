//! Walking over all free frames, and taking bad ones out of use for good.

mod common;

use common::TestHeap;
use mm::error::Error;
use mm::frame::{Frame, FrameRange, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;

const NR_FRAMES: usize = 600;

fn take_all(test: &TestHeap) -> Vec<FrameRange> {
    let mut taken: Vec<FrameRange> = Vec::new();
    let mut from = Frame::new(0);
    while let Some(range) = test.heap.frames().take_from(from, 64, Kind::Owned) {
        assert!(range.nr_pages() <= 64 && range.start() >= from, "{range:?} from {from:?}");
        from = Frame::new(range.end_number() as u32);
        taken.push(range);
    }
    taken
}

#[test]
fn bad_frames_are_never_handed_out_again_and_the_account_adds_up() {
    let test = TestHeap::new(NR_FRAMES);
    let frames = test.heap.frames();
    let nr_free = frames.nr_free();
    let taken = take_all(&test);
    assert_eq!(taken.iter().map(|range| u64::from(range.nr_pages())).sum::<u64>(), nr_free, "each frame once");
    assert_eq!(frames.nr_free(), 0);

    // The first and last of a run, two that touch, and none of another.
    let first = taken[0].start().number();
    let bad = [first, first + 30, first + 31, first + 63].map(Frame::new);
    let mut nr_retired = 0;
    for &range in &taken {
        // SAFETY: nobody uses the frames.
        nr_retired += unsafe { frames.retire(range, Kind::Owned, |frame| bad.contains(&frame)) }.expect("ours");
    }
    assert_eq!(nr_retired, 4);
    let account = test.heap.account();
    assert_eq!((account.nr_used(Kind::Retired), account.nr_used(Kind::Owned), account.nr_free), (4, 0, nr_free - 4));
    assert!(account.adds_up(), "{account:?}");

    // All the memory there is, in runs and in single frames: none of them.
    for range in take_all(&test) {
        assert!(!bad.iter().any(|&frame| range.contains(frame)), "{range:?}");
        // SAFETY: nobody uses the frames.
        unsafe { frames.free_run(range, Kind::Owned) }.expect("ours");
    }
    let singles: Vec<Frame> = std::iter::from_fn(|| test.heap.alloc_frame(Kind::Owned).ok()).collect();
    assert_eq!(singles.len() as u64, nr_free - 4);
    assert!(!singles.iter().any(|frame| bad.contains(frame)));
    assert!(frames.alloc_run(RunRequest::pages(1), Kind::Owned).is_err());

    // And a free of one is refused, whatever it is called.
    for kind in [Kind::Owned, Kind::Mapped, Kind::Slab] {
        // SAFETY: nobody uses it.
        let refused = unsafe { frames.free(bad[0], kind) };
        assert_eq!(refused, Err(Error::Foreign { addr: bad[0].number() as usize * PAGE_SIZE }));
    }
    for frame in singles {
        // SAFETY: nobody uses it.
        unsafe { frames.free(frame, Kind::Owned) }.expect("ours");
    }
    assert!(test.heap.account().adds_up());
}

#[test]
fn what_is_not_a_run_of_ours_is_not_retired() {
    let test = TestHeap::new(NR_FRAMES);
    let frames = test.heap.frames();
    let range = frames.take_from(Frame::new(0), 8, Kind::Owned).expect("frames");
    let part = FrameRange::new(range.start(), 4).expect("not empty");
    // SAFETY: nobody uses the frames.
    unsafe {
        assert!(matches!(frames.retire(part, Kind::Owned, |_| true), Err(Error::WrongSize { .. })));
        assert!(matches!(frames.retire(range, Kind::Mapped, |_| true), Err(Error::Foreign { .. })));
        assert_eq!(frames.retire(range, Kind::Owned, |_| false), Ok(0));
        assert!(matches!(frames.retire(range, Kind::Owned, |_| true), Err(Error::DoubleFree { .. })));
    }
    assert_eq!(test.heap.account().nr_used(Kind::Retired), 0);
}
