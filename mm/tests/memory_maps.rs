//! Memory maps of real machines initialise the frame allocator, checked against a naive reading of the same map.
//!
//! The naive reading knows nothing of ranges or bitmaps: it asks for each frame number whether all its bytes are usable
//! and none is anything else. For machines of more than a few GiB it does so around every edge of the map, since
//! between two edges all frames are alike.

// Millions of frames, files, and no unsafe code anywhere below: not a task for Miri.
#![cfg(not(miri))]

use mm::frame::{Frame, FrameRange, PAGE_SIZE};
use mm::frame_bitmap::{FrameBitmap, RunRequest};
use mm::memory_map::{CarveRequest, Region, RegionKind, carve, usable_ranges};
use proptest::prelude::*;
use std::path::Path;

const PAGE: u64 = PAGE_SIZE as u64;

struct Map {
    name: String,
    regions: Vec<Region>,
}

/// Every map in the test data: lines `start end type`, the end included, `#` for comments.
fn maps() -> Vec<Map> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/memmaps");
    let mut maps: Vec<Map> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
            let regions = lines.map(|line| parse(line).unwrap_or_else(|| panic!("{name}: {line}"))).collect();
            Map { name, regions }
        })
        .collect();
    maps.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(maps.len() >= 13, "only {} maps in {}", maps.len(), folder.display());
    maps
}

fn parse(line: &str) -> Option<Region> {
    let mut words = line.split_whitespace();
    let mut number = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let (start, last) = (number()?, number()?);
    let kind = match words.next()? {
        "usable" => RegionKind::Usable,
        "acpi-data" => RegionKind::AcpiReclaimable,
        _ => RegionKind::Reserved,
    };
    Some(Region { start, end: last.wrapping_add(1), kind })
}

/// Whether every byte of frame `number` is usable and none is anything else, looking at each edge inside it.
fn naive_is_usable(regions: &[Region], number: u64) -> bool {
    let (first, last) = (number * PAGE, number * PAGE + PAGE - 1);
    let holds = |region: &Region, byte: u64| match region.start <= region.end {
        true => region.start <= byte && byte < region.end,
        // Wraps: not believed if usable, both ends of the address space if not.
        false => region.kind != RegionKind::Usable && (byte >= region.start || byte < region.end),
    };
    let edges = regions.iter().flat_map(|region| [region.start, region.end]);
    number != 0
        && number < 1 << 32
        && edges.chain([first]).filter(|byte| (first..=last).contains(byte)).all(|byte| {
            let mut holding = regions.iter().filter(|region| holds(region, byte)).peekable();
            holding.peek().is_some() && holding.all(|region| region.kind == RegionKind::Usable)
        })
}

/// Maximal runs of usable frames, found by asking at each frame that an edge of the map touches and its neighbours.
fn naive_ranges(regions: &[Region]) -> Vec<(u64, u64)> {
    let edges = regions.iter().flat_map(|region| [region.start / PAGE, region.end / PAGE]).chain([0, 1 << 32]);
    let mut probes: Vec<u64> = edges.flat_map(|frame| [frame.saturating_sub(1), frame, frame + 1]).collect();
    probes.retain(|frame| *frame <= 1 << 32);
    probes.sort_unstable();
    probes.dedup();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for pair in probes.windows(2) {
        // No edge strictly between two probes, so the first speaks for all up to the second.
        if naive_is_usable(regions, pair[0]) {
            match ranges.last_mut().filter(|range| range.1 == pair[0]) {
                Some(range) => range.1 = pair[1],
                None => ranges.push((pair[0], pair[1])),
            }
        }
    }
    ranges
}

fn ranges_of(regions: &[Region]) -> Vec<(u64, u64)> {
    usable_ranges(regions).map(|range| (range.start().number() as u64, range.end_number())).collect()
}

/// Frames up to the end of memory: what the allocator needs room for.
fn span(regions: &[Region]) -> usize {
    usable_ranges(regions).last().map_or(0, FrameRange::end_number) as usize
}

/// Runs `body` on a frame allocator filled from the map.
fn with_allocator<T>(regions: &[Region], body: impl FnOnce(&mut FrameBitmap<'_>) -> T) -> T {
    let mut storage = vec![!0; FrameBitmap::words_needed(span(regions))];
    let mut frames = FrameBitmap::new(&mut storage, span(regions)).unwrap();
    for range in usable_ranges(regions) {
        frames.add_range(range).unwrap();
    }
    body(&mut frames)
}

fn shuffled(regions: &[Region], seed: u64) -> Vec<Region> {
    let mut regions = regions.to_vec();
    let mut state = seed;
    for last in (1..regions.len()).rev() {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        regions.swap(last, (state >> 33) as usize % (last + 1));
    }
    regions
}

#[test]
fn every_map_is_read_as_a_naive_model_reads_it() {
    for Map { name, regions } in maps() {
        let ranges = ranges_of(&regions);
        assert_eq!(ranges, naive_ranges(&regions), "{name}");
        let nr_frames: u64 = ranges.iter().map(|(start, end)| end - start).sum();
        let nr_usable_bytes: u64 = regions
            .iter()
            .filter(|region| region.kind == RegionKind::Usable)
            .map(|region| region.end - region.start)
            .sum();
        // At most one frame is lost at each edge, and frame 0.
        let lost = nr_usable_bytes.div_ceil(PAGE) - nr_frames;
        assert!(lost <= 2 * regions.len() as u64, "{name}: {lost} frames lost");
        assert!(nr_frames * PAGE > 500 << 20, "{name}: only {nr_frames} frames");
    }
}

#[test]
fn the_order_of_the_entries_makes_no_difference() {
    for Map { name, regions } in maps() {
        let expected = ranges_of(&regions);
        for seed in 0..20 {
            assert_eq!(ranges_of(&shuffled(&regions, seed)), expected, "{name}, seed {seed}");
        }
    }
}

#[test]
fn every_map_initialises_the_allocator_with_each_usable_frame_and_no_other() {
    for Map { name, regions } in maps() {
        with_allocator(&shuffled(&regions, 1), |frames| {
            let expected = naive_ranges(&regions);
            let nr_expected: u64 = expected.iter().map(|(start, end)| end - start).sum();
            assert_eq!((frames.nr_managed() as u64, frames.nr_free() as u64), (nr_expected, nr_expected), "{name}");
            // At each edge, and with the count above that is every frame.
            for (start, end) in expected {
                for (number, is_usable) in [(start - 1, false), (start, true), (end - 1, true), (end, false)] {
                    if number < 1 << 32 {
                        let frame = Frame::new(number as u32);
                        assert_eq!(frames.is_free(frame), is_usable, "{name}: frame {number:#x}");
                        assert_eq!(frames.is_managed(frame), is_usable, "{name}: frame {number:#x}");
                    }
                }
                let nr_pages = (end - start) as u32;
                let all = FrameRange::new(Frame::new(start as u32), nr_pages).unwrap();
                frames.claim_range(all).unwrap_or_else(|error| panic!("{name}: {all:?}: {error}"));
            }
            assert_eq!(frames.nr_free(), 0, "{name}: frames outside the usable ranges");
        });
    }
}

/// Drains machines of up to 16 GiB to the last frame and marks each frame in a table of its own.
#[test]
fn draining_yields_every_usable_frame_exactly_once_and_refilling_restores_it() {
    let mut nr_drained = 0;
    for Map { name, regions } in maps() {
        if span(&regions) as u64 * PAGE > 17 << 30 {
            continue;
        }
        nr_drained += 1;
        with_allocator(&regions, |frames| {
            let (nr_managed, mut seen) = (frames.nr_managed(), vec![false; span(&regions)]);
            let mut batch = [Frame::new(0); 509];
            let mut taken = Vec::with_capacity(nr_managed);
            loop {
                let nr_taken = frames.take_batch(&mut batch);
                for frame in &batch[..nr_taken] {
                    let was_seen = std::mem::replace(&mut seen[frame.number() as usize], true);
                    assert!(!was_seen, "{name}: {frame:?} came twice");
                }
                taken.extend_from_slice(&batch[..nr_taken]);
                if nr_taken < batch.len() {
                    break;
                }
            }
            assert_eq!((taken.len(), frames.nr_free()), (nr_managed, 0), "{name}");
            assert!(frames.take_one().is_err());
            assert!(frames.take_run(RunRequest::pages(1)).is_err());
            for (start, end) in naive_ranges(&regions) {
                let range = &mut seen[start as usize..end as usize];
                assert!(range.iter().all(|is_seen| *is_seen), "{name}: a frame of {start:#x}..{end:#x} never came");
                range.fill(false);
            }
            assert!(!seen.contains(&true), "{name}: a frame outside the usable ranges came");
            for batch in taken.chunks(400) {
                frames.put_batch(batch).unwrap();
            }
            assert_eq!(frames.nr_free(), nr_managed);
            frames.check_invariants();
        });
    }
    assert!(nr_drained >= 7, "only {nr_drained} maps were small enough");
}

#[test]
fn every_map_serves_runs_of_every_kind_inside_its_usable_ranges() {
    for Map { name, regions } in maps() {
        with_allocator(&regions, |frames| {
            let usable = naive_ranges(&regions);
            for (nr_pages, align_pages, below) in [
                (1, 1, Some(1 << 20)),
                (16, 16, Some(16 << 20)),
                (512, 512, None),
                (512, 512, Some(4 << 30)),
                (3, 1, None),
                (20_000, 1, None),
            ] {
                let request = RunRequest { nr_pages, align_pages, below };
                let run = frames.take_run(request).unwrap_or_else(|error| panic!("{name}: {request:?}: {error}"));
                let (start, end) = (run.start().number() as u64, run.end_number());
                assert!(usable.iter().any(|range| range.0 <= start && end <= range.1), "{name}: {run:?}");
                assert!(below.is_none_or(|below| end * PAGE <= below), "{name}: {run:?} for {request:?}");
                assert_eq!(start % align_pages as u64, 0, "{name}: {run:?} for {request:?}");
            }
            let longest = usable.iter().map(|(start, end)| (end - start) as usize).max().unwrap();
            assert!(frames.take_run(RunRequest::pages(longest + 1)).is_err(), "{name}: a run over a hole");
        });
    }
}

#[test]
fn the_storage_of_the_allocator_is_carved_out_of_every_map() {
    for Map { name, regions } in maps() {
        let nr_bytes = FrameBitmap::words_needed(span(&regions)) * 8;
        let request = CarveRequest { nr_pages: nr_bytes.div_ceil(PAGE_SIZE), align_pages: 1, below: None };
        let carved = carve(&regions, request).unwrap_or_else(|| panic!("{name}: no room for {nr_bytes} bytes"));
        assert_eq!(carved.end_number() as usize, span(&regions), "{name}: at the top");
        with_allocator(&regions, |frames| {
            frames.claim_range(carved).unwrap();
            assert!(!carved.contains(frames.take_one().unwrap()), "{name}");
            let nr_pages = carved.nr_pages() as usize;
            assert!(nr_pages * 10_000 < frames.nr_managed() * 2, "{name}: {nr_pages} pages is more than 0.02 %");
        });
    }
}

fn any_kind() -> impl Strategy<Value = RegionKind> {
    prop_oneof![2 => Just(RegionKind::Usable), 1 => Just(RegionKind::Reserved), 1 => Just(RegionKind::AcpiReclaimable)]
}

/// Bytes around small pages, around the 16 TiB that frame numbers reach, and at the ends of the address space.
fn any_address() -> impl Strategy<Value = u64> {
    let nudge = prop::sample::select(vec![0u64, 0, 0, 1, 0x7ff, 0xfff]);
    prop_oneof![
        12 => (0u64..200, nudge.clone()).prop_map(|(page, nudge)| page * PAGE + nudge),
        2 => (0u64..8, nudge).prop_map(|(page, nudge)| (1 << 44) - 4 * PAGE + page * PAGE + nudge),
        1 => any::<u64>(),
        1 => (0u64..9).prop_map(|below| u64::MAX - below),
    ]
}

fn any_region() -> impl Strategy<Value = Region> {
    (any_address(), any_address(), any_kind(), 0u8..16).prop_map(|(one, other, kind, choice)| match choice {
        // Wraps, or is empty.
        0 => Region { start: one.max(other), end: one.min(other), kind },
        1 => Region { start: one, end: one, kind },
        _ => Region { start: one.min(other), end: one.max(other), kind },
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn hostile_maps_are_read_as_a_naive_model_reads_them(regions in prop::collection::vec(any_region(), 0..30)) {
        prop_assert_eq!(ranges_of(&regions), naive_ranges(&regions));
    }

    #[test]
    fn small_hostile_maps_are_drained_exactly(
        regions in prop::collection::vec(any_region().prop_filter("small", |region| region.end < 1 << 24), 0..30),
    ) {
        with_allocator(&regions, |frames| {
            let mut taken: Vec<u64> = std::iter::from_fn(|| frames.take_one().ok()).map(|frame| frame.number().into()).collect();
            taken.reverse();
            let expected: Vec<u64> = (0..span(&regions) as u64 + 9).filter(|number| naive_is_usable(&regions, *number)).collect();
            prop_assert_eq!(taken, expected);
            Ok(())
        })?;
    }
}

/// A list as long as firmware has ever made it, and longer.
#[test]
fn thousands_of_entries_are_read_in_reasonable_time() {
    let kinds = [RegionKind::Usable, RegionKind::Reserved];
    let regions: Vec<Region> =
        (0..2000u64).map(|index| Region::with_len(index * 3 * PAGE, 3 * PAGE, kinds[index as usize % 2])).collect();
    let began = std::time::Instant::now();
    let ranges = ranges_of(&shuffled(&regions, 5));
    assert_eq!(ranges.len(), 1000);
    assert_eq!(ranges[1], (6, 9));
    let split: Vec<Region> =
        (0..2000u64).map(|index| Region::with_len(PAGE + index * 100, 100, RegionKind::Usable)).collect();
    assert_eq!(ranges_of(&shuffled(&split, 5)), [(1, 1 + 200_000 / PAGE)], "2000 slivers join");
    println!("two maps of 2000 entries in {:?}", began.elapsed());
}
