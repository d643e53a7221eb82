//! What taking and giving back frames costs at every fill, from 64 MiB to 16 TiB of modelled memory.
//!
//! `cargo run --release -p mm --example frame_search`
//!
//! Fills: `top-down` takes frames as the allocator does, so what is free lies at the bottom; `random` leaves single free
//! frames anywhere, the worst case for runs. Times are the least of several repeats, wall clock, one thread. Columns:
//! - `one`: `take_one` and `put_one` of the same frame;
//! - `batch`: the same by batches of 64, for each frame;
//! - `run 8`, `run 512`: `take_run` and `put_run`, or `-` and the time of the refusal if there is no such run.

use mm::frame::{Frame, FrameRange, PAGE_SIZE};
use mm::frame_bitmap::{FrameBitmap, RunRequest};
use std::hint::black_box;
use std::time::Instant;

const BATCH: usize = 64;

fn main() {
    let max_gib: u64 = std::env::args().nth(1).map_or(16 << 10, |text| text.parse().expect("GiB of memory at most"));
    println!(
        "{:>9} {:>9} {:>8} {:>8} {:>8} {:>14} {:>14}",
        "memory", "fill", "in use", "one", "batch", "run 8", "run 512"
    );
    for log_frames in [14, 18, 20, 22, 25, 28, 32] {
        if (1u64 << log_frames) * PAGE_SIZE as u64 > max_gib << 30 {
            break;
        }
        let nr_frames = 1usize << log_frames;
        let mut storage = vec![0; FrameBitmap::words_needed(nr_frames)];
        for permille in [10, 500, 990, 999] {
            for fill in ["top-down", "random"] {
                measure(&mut storage, nr_frames, fill, permille);
            }
        }
    }
}

fn measure(storage: &mut [u64], nr_frames: usize, fill: &str, permille: usize) {
    let mut frames = FrameBitmap::new(storage, nr_frames).expect("storage of the right size");
    frames.add_range(range(1, nr_frames - 1)).expect("a new range");
    match fill {
        "top-down" => {
            let first = 1 + (nr_frames - 1) / 1000 * (1000 - permille);
            frames.claim_range(range(first, nr_frames - first)).expect("free frames");
        }
        _ => free_at_random(&mut frames, nr_frames, permille),
    }
    let one = least(1000, || {
        let frame = frames.take_one().expect("a free frame");
        frames.put_one(black_box(frame)).expect("a frame that is out");
    });
    let mut batch = [Frame::new(0); BATCH];
    let nr_got = frames.take_batch(&mut batch);
    frames.put_batch(&batch[..nr_got]).expect("frames that are out");
    let batched = least(50, || {
        let nr_taken = frames.take_batch(&mut batch);
        frames.put_batch(black_box(&batch[..nr_taken])).expect("frames that are out");
    });
    let run = |frames: &mut FrameBitmap<'_>, nr_pages| {
        let mut is_served = true;
        let nanos = least(1, || match frames.take_run(RunRequest::pages(nr_pages)) {
            Ok(run) => frames.put_run(black_box(run)).expect("a run that is out"),
            Err(_) => is_served = false,
        });
        format!("{}{nanos:.0}", if is_served { "" } else { "- " })
    };
    let (run_8, run_512) = (run(&mut frames, 8), run(&mut frames, 512));
    let memory = (nr_frames * PAGE_SIZE) >> 20;
    let memory = if memory < 1024 { format!("{memory} MiB") } else { format!("{} GiB", memory >> 10) };
    let in_use = format!("{:.1} %", permille as f64 / 10.0);
    let batched = batched / nr_got as f64;
    println!("{memory:>9} {fill:>9} {in_use:>8} {one:>8.1} {batched:>8.1} {run_8:>14} {run_512:>14}");
}

/// Leaves `permille` of the frames in use, spread at random.
fn free_at_random(frames: &mut FrameBitmap<'_>, nr_frames: usize, permille: usize) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as usize % nr_frames
    };
    // Beyond some millions of frames a pattern repeats: what is being measured does not look that far.
    if permille <= 500 {
        let nr_used = (nr_frames / 1000 * permille).min(1 << 24);
        (0..nr_used).for_each(|_| {
            // Hitting a frame twice changes nothing.
            let _ = frames.claim_range(range(random().max(1), 1));
        });
    } else {
        frames.claim_range(range(1, nr_frames - 1)).expect("free frames");
        let nr_free = (nr_frames / 1000 * (1000 - permille)).min(1 << 24);
        (0..nr_free).for_each(|_| {
            let _ = frames.put_one(Frame::new(random() as u32));
        });
    }
}

/// Nanoseconds of one `body`: the least of several repeats of `nr_turns` each.
fn least(nr_turns: u32, mut body: impl FnMut()) -> f64 {
    let repeats = (0..15).map(|_| {
        let began = Instant::now();
        (0..nr_turns).for_each(|_| body());
        began.elapsed().as_nanos() as f64 / nr_turns as f64
    });
    repeats.fold(f64::INFINITY, f64::min)
}

fn range(start: usize, nr_pages: usize) -> FrameRange {
    FrameRange::new(Frame::new(start as u32), nr_pages as u32).expect("a range inside")
}
