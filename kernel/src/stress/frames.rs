//! Frames under stress: single, in runs, aligned, below an address, zeroed; and now and then every last one.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use kernel::rng::SplitMix64;
use mm::error::Error;
use mm::frame::{Frame, FrameRange, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;

use super::verdict::Failure;
use super::{Counts, Run};
use crate::machine::HEAP;

/// Frames of a batch: more than a page magazine holds.
const BATCH: usize = 96;
/// Pages of the longest run that is tried when all memory is taken.
const LONGEST_RUN: usize = 1 << 18;

/// A batch of single frames: all different, each keeps what was written to it, and one that was asked for zeroed is.
pub(super) fn batch(run: &Run, random: &mut SplitMix64) {
    let mut frames = [None; BATCH];
    let nr_frames = random.within(&(1..=BATCH as u64)) as usize;
    let salt = random.next_u64();
    for place in &mut frames[..nr_frames] {
        let Ok(frame) = HEAP.alloc_frame(Kind::Owned) else {
            run.refused();
            break;
        };
        // SAFETY: the frame is ours, and the direct map covers it.
        unsafe { word_of(frame).write_volatile(salt ^ frame.addr()) };
        *place = Some(frame);
    }
    for frame in frames.into_iter().flatten() {
        // SAFETY: as above.
        let found = unsafe { word_of(frame).read_volatile() };
        if found != salt ^ frame.addr() {
            let addr = word_of(frame).addr().get();
            run.failures.add(Failure::Contents { addr, expected: salt ^ frame.addr(), found });
        }
        free(run, frame);
    }
    check_zeroed(run);
}

fn check_zeroed(run: &Run) {
    let Ok(frame) = HEAP.frames().alloc_zeroed(Kind::Owned) else { return };
    for i in 0..PAGE_SIZE / 8 {
        // SAFETY: inside the frame, which is ours.
        let (at, found) = unsafe { (word_of(frame).add(i), word_of(frame).add(i).read_volatile()) };
        if found != 0 {
            run.failures.add(Failure::NotZero { addr: at.addr().get(), found });
            break;
        }
    }
    free(run, frame);
}

/// A run of frames, perhaps aligned, perhaps below 4 GiB or 16 MiB.
pub(super) fn run_of_frames(run: &Run, random: &mut SplitMix64) {
    let request = RunRequest {
        nr_pages: random.within(&(1..=64)) as usize,
        align_pages: 1 << random.below(8),
        below: *random.pick(&[None, None, Some(1 << 32), Some(16 << 20)]).unwrap_or(&None),
    };
    match HEAP.frames().alloc_run(request, Kind::Owned) {
        Ok(range) => {
            let is_aligned = (range.start().number() as usize).is_multiple_of(request.align_pages);
            let is_below = request.below.is_none_or(|below| range.end_number() * PAGE_SIZE as u64 <= below);
            if !is_aligned || !is_below || range.nr_pages() as usize != request.nr_pages {
                run.failures.add(Failure::Misplaced { addr: range.start().addr() as usize });
            }
            free_run(run, range);
        }
        Err(Error::OutOfMemory { .. }) => run.refused(),
        Err(error) => run.failures.add(Failure::Refused { error }),
    }
}

/// Takes all memory there is, in runs as long as can be had, sees that a request is refused, and gives all back.
pub(super) fn exhaust(run: &Run) {
    Counts::add(&run.counts.nr_exhaustions, 1);
    run.is_exhausting.store(true, Ordering::Release);
    let mut taken: Option<FrameRange> = None;
    let mut nr_pages = LONGEST_RUN;
    loop {
        let range = match nr_pages {
            1 => HEAP.frames().alloc(Kind::Owned).ok().and_then(|frame| FrameRange::new(frame, 1)),
            _ => HEAP.frames().alloc_run(RunRequest::pages(nr_pages), Kind::Owned).ok(),
        };
        match range {
            Some(range) => {
                // The runs are linked through their own first words: there is no memory for a list.
                // SAFETY: the frames are ours.
                unsafe { word_of(range.start()).cast::<Option<FrameRange>>().write(taken) };
                taken = Some(range);
            }
            None if nr_pages == 1 => break,
            None => nr_pages /= 2,
        }
    }
    // Everything is taken, so this fails, unless another CPU gave something back just now; it must not do harm.
    if let Ok(frame) = HEAP.alloc_frame(Kind::Owned) {
        free(run, frame);
    }
    while let Some(range) = taken {
        // SAFETY: written above, and the frames are still ours.
        taken = unsafe { word_of(range.start()).cast::<Option<FrameRange>>().read() };
        free_run(run, range);
    }
    run.is_exhausting.store(false, Ordering::Release);
}

fn word_of(frame: Frame) -> NonNull<u64> {
    HEAP.frames().virt(frame).cast()
}

fn free(run: &Run, frame: Frame) {
    // SAFETY: the frame is ours, and not used any more.
    if let Err(error) = unsafe { HEAP.frames().free(frame, Kind::Owned) } {
        run.failures.add(Failure::Refused { error });
    }
}

fn free_run(run: &Run, range: FrameRange) {
    // SAFETY: the frames are ours, and not used any more.
    if let Err(error) = unsafe { HEAP.frames().free_run(range, Kind::Owned) } {
        run.failures.add(Failure::Refused { error });
    }
}
