//! Tests of `trace_check`: each fault by hand, any damage against a naive check, and the recordings of a real kernel.

use super::*;
use crate::fixture::{self, FREE, GOOD, OBJECT, RUN, Raw, good};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn summary(bytes: &[u8]) -> Result<Summary, Damaged> {
    let trace = Trace::parse(bytes)?;
    let mut scratch = vec![ObjectState::NEW; trace.header().nr_objects as usize];
    trace.validate(&mut scratch).map(|checked| *checked.summary())
}

#[test]
fn a_good_recording_is_summed_up() {
    let mut wanted = Summary {
        nr_events: 6,
        nr_objects: 3,
        nr_page_runs: 1,
        peak_live_bytes: 4196,
        peak_live_objects: 2,
        nr_cross_cpu_frees: 1,
        largest_bytes: 4096,
        total_bytes: 4260,
        nr_by_log2_size: [0; NR_SIZE_CLASSES],
    };
    wanted.nr_by_log2_size[6] = 2;
    wanted.nr_by_log2_size[12] = 1;
    assert_eq!(summary(&good()), Ok(wanted));
    assert_eq!(summary(&fixture::bytes(1, 0, 0, &[])), Ok(Summary::new()));
}

#[test]
fn objects_are_known_after_the_check() {
    let bytes = good();
    let mut scratch = [ObjectState { size_bytes: 9, kind: Kind::PageRun, alloc_cpu: 3, free_cpu: 3 }; 5];
    let checked = Trace::parse(&bytes).and_then(|trace| trace.validate(&mut scratch)).expect("a good recording");
    assert_eq!(checked.objects().len(), 3);
    let object = checked.objects()[0];
    assert_eq!((object.size_bytes(), object.kind()), (100, Kind::Object));
    assert_eq!((object.alloc_cpu(), object.free_cpu()), (0, 1));
    assert_eq!(checked.objects()[1].kind(), Kind::PageRun);
    assert_eq!(checked.trace().header().nr_events, 6);
}

#[test]
fn each_fault_names_its_event_and_its_values() {
    let replaced = |index: usize, event: Raw| {
        let mut events = GOOD;
        events[index] = event;
        fixture::bytes(2, 3, 4196, &events)
    };
    for (bytes, message) in [
        (replaced(1, (RUN, 2, 1, 4096)), "event 1: CPU 2, but 2 were recorded"),
        (replaced(3, (OBJECT, 0, 3, 64)), "event 3: object 3, but the header says 3 objects"),
        (replaced(0, (OBJECT, 0, 0, 0)), "event 0: object 0 is allocated with size 0"),
        (replaced(1, (RUN, 1, 1, 0)), "event 1: object 1 is allocated with size 0"),
        (replaced(1, (RUN, 1, 1, 2048)), "event 1: page run 1 has 2048 bytes, which is not 4096 << order"),
        (replaced(1, (RUN, 1, 1, 12288)), "event 1: page run 1 has 12288 bytes, which is not 4096 << order"),
        (replaced(2, (OBJECT | FREE, 1, 0, 7)), "event 2: object 0 is freed with a size, 7"),
        (replaced(3, (OBJECT, 0, 1, 64)), "event 3: object 1 is allocated a second time"),
        (replaced(3, (OBJECT, 0, 0, 64)), "event 3: object 0 is allocated a second time"),
        (replaced(2, (OBJECT | FREE, 1, 2, 0)), "event 2: object 2 is freed before it is allocated"),
        (replaced(4, (OBJECT | FREE, 0, 0, 0)), "event 4: object 0 is freed a second time"),
        (replaced(5, (OBJECT | FREE, 1, 1, 0)), "event 5: page run 1 is freed as an object"),
        (replaced(4, (RUN | FREE, 0, 2, 0)), "event 4: object 2 is freed as a page run"),
        (fixture::bytes(2, 3, 4196, &GOOD[..5]), "event 1: object 1 is allocated here and never freed"),
        (fixture::bytes(2, 4, 4196, &GOOD), "object 3 is never allocated"),
        (fixture::bytes(2, 3, 4197, &GOOD), "the header says 4197 bytes live at the peak, the events make 4196"),
    ] {
        assert_eq!(summary(&bytes).map_err(|damaged| damaged.to_string()), Err(message.to_string()));
    }
    let bytes = good();
    let error = Trace::parse(&bytes).and_then(|trace| trace.validate(&mut [ObjectState::NEW; 2]).map(|_| ()));
    assert_eq!(error, Err(Damaged { event: None, what: Fault::Scratch { len: 2, nr_objects: 3 } }));
}

#[test]
fn the_window_bounds_what_can_be_live() {
    let bytes = good();
    let mut scratch = [ObjectState::NEW; 3];
    let checked = Trace::parse(&bytes).and_then(|trace| trace.validate(&mut scratch)).expect("a good recording");
    let bytes_of = |size: u32, _| u64::from(size);
    for (window, peak) in [(0, 4196), (1, 4196), (2, 4260), (3, 4260), (6, 4260), (u64::MAX, 4260)] {
        assert_eq!(checked.peak_footprint(window, bytes_of), peak, "window {window}");
    }
    let pages = |_, kind| if kind == Kind::PageRun { 1 } else { 0 };
    assert_eq!(checked.peak_footprint(1, pages), 1);
    assert_eq!(checked.peak_footprint(1, |_, _| u64::MAX), u64::MAX, "no overflow");
}

/// A recording that keeps every rule, from choices drawn by proptest.
fn any_good() -> impl Strategy<Value = Vec<u8>> {
    (1..=64u32, proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u16>(), any::<bool>()), 0..60)).prop_map(
        |(nr_cpus, choices)| {
            let mut events: Vec<Raw> = Vec::new();
            let (mut live, mut sizes) = (Vec::new(), Vec::new());
            let free = |live: &mut Vec<(u32, u32)>, at: usize, cpu: u8, events: &mut Vec<Raw>| {
                let (id, op) = live.swap_remove(at);
                events.push((op | FREE, cpu, id, 0));
            };
            for (choice, cpu, size, is_run) in choices {
                let cpu = (u32::from(cpu) % nr_cpus) as u8;
                if choice % 3 == 0 && !live.is_empty() {
                    let at = usize::from(choice) % live.len();
                    free(&mut live, at, cpu, &mut events);
                } else {
                    let id = sizes.len() as u32;
                    let (op, size) =
                        if is_run { (RUN, 4096 << (size % 12)) } else { (OBJECT, u32::from(size) % 9000 + 1) };
                    events.push((op, cpu, id, size));
                    live.push((id, op));
                    sizes.push(size);
                }
            }
            while !live.is_empty() {
                free(&mut live, 0, 0, &mut events);
            }
            let (mut now, mut peak) = (0u64, 0u64);
            for &(op, _, id, size) in &events {
                now = now + u64::from(size) - if op & FREE != 0 { u64::from(sizes[id as usize]) } else { 0 };
                peak = peak.max(now);
            }
            fixture::bytes(nr_cpus, sizes.len() as u32, peak, &events)
        },
    )
}

/// The rules of the format, checked in the plainest way: (peak, cross-CPU frees) of a good recording.
fn naive(bytes: &[u8]) -> Option<(u64, u64)> {
    let u32_at = |at: usize| bytes.get(at..at + 4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    let u64_at = |at: usize| Some(u64::from(u32_at(at)?) | u64::from(u32_at(at + 4)?) << 32);
    let (cpus, objects, events, header_peak) = (u32_at(8)?, u32_at(12)?, u64_at(16)?, u64_at(24)?);
    if !bytes.starts_with(b"KMTRACE1") || !(1..=64).contains(&cpus) {
        return None;
    }
    if u128::from(events) * 8 + 32 != bytes.len() as u128 {
        return None;
    }
    let mut seen: BTreeMap<u32, (u32, u32, u32)> = BTreeMap::new();
    let mut freed = std::collections::BTreeSet::new();
    let (mut live, mut peak, mut cross) = (0, 0, 0);
    for at in (32..bytes.len()).step_by(8) {
        let (id, word) = (u32_at(at)?, u32_at(at + 4)?);
        let (op, cpu, size) = (word % 4, word / 4 % 64, word / 256);
        if id >= objects || cpu >= cpus {
            return None;
        }
        if op % 2 == 0 {
            let is_order = (0..12).any(|order| size == 4096 << order);
            if size == 0 || op == 2 && !is_order || seen.insert(id, (op, size, cpu)).is_some() {
                return None;
            }
            live += u64::from(size);
            peak = peak.max(live);
        } else {
            let (alloc_op, alloc_size, alloc_cpu) = *seen.get(&id)?;
            if size != 0 || alloc_op + 1 != op || !freed.insert(id) {
                return None;
            }
            live -= u64::from(alloc_size);
            cross += u64::from(alloc_cpu != cpu);
        }
    }
    let is_whole = seen.len() == objects as usize && freed.len() == seen.len() && peak == header_peak;
    is_whole.then_some((peak, cross))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_good_recording_is_accepted(bytes in any_good(), window in 0..70u64) {
        let trace = Trace::parse(&bytes).expect("a good header");
        let mut scratch = vec![ObjectState::NEW; trace.header().nr_objects as usize];
        let checked = trace.validate(&mut scratch).expect("a good recording");
        let sum = checked.summary();
        prop_assert_eq!(Some((sum.peak_live_bytes, sum.nr_cross_cpu_frees)), naive(&bytes));
        prop_assert_eq!(sum.nr_by_log2_size.iter().sum::<u64>(), sum.nr_objects);

        let cost = |size: u32, _| u64::from(size);
        prop_assert_eq!(checked.peak_footprint(0, cost), sum.peak_live_bytes);
        prop_assert_eq!(checked.peak_footprint(u64::MAX, cost), sum.total_bytes);
        // The definition, counted anew for every number of done events.
        let events: Vec<Event> = trace.events().collect();
        let sum_of = |action, until: usize| -> u64 {
            let counted = events.iter().take(until).filter(|event| event.action == action);
            counted.map(|event| u64::from(checked.objects()[event.id as usize].size_bytes())).sum()
        };
        let live = |done: usize| {
            sum_of(Action::Alloc, done + (window as usize).max(1)) - sum_of(Action::Free, done)
        };
        let peak = (0..=events.len()).map(live).max().unwrap_or(0);
        prop_assert_eq!(checked.peak_footprint(window, cost), peak);
    }

    #[test]
    fn a_changed_byte_is_found_or_harmless(
        bytes in any_good(),
        at in any::<prop::sample::Index>(),
        mask in 1..=255u8,
    ) {
        let mut bad = bytes.clone();
        let at = at.index(bad.len());
        bad[at] ^= mask;
        let found = summary(&bad);
        prop_assert_eq!(found.ok().map(|sum| (sum.peak_live_bytes, sum.nr_cross_cpu_frees)), naive(&bad));
        // A single change of the header, of an id, of an op or of a free's size is always found.
        let is_in_event = at >= 32;
        let is_id = is_in_event && at % 8 < 4;
        let is_op = is_in_event && at % 8 == 4 && mask & 3 != 0;
        let is_cpus = (8..12).contains(&at);
        if !is_in_event && !is_cpus || is_id || is_op {
            prop_assert!(found.is_err(), "byte {} ^ {:#x}", at, mask);
        }
    }

    #[test]
    fn lost_repeated_and_swapped_events_are_found_or_harmless(
        bytes in any_good(),
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
        how in 0..3,
    ) {
        let (head, events) = bytes.split_at(32);
        let mut events: Vec<&[u8]> = events.chunks(8).collect();
        prop_assume!(!events.is_empty());
        let (a, b) = (a.index(events.len()), b.index(events.len()));
        match how {
            0 => _ = events.remove(a),
            1 => events.insert(b, events[a]),
            _ => events.swap(a, b),
        }
        let mut bad = [head, &events.concat()].concat();
        bad[16..24].copy_from_slice(&(events.len() as u64).to_le_bytes());
        let found = summary(&bad).ok().map(|sum| (sum.peak_live_bytes, sum.nr_cross_cpu_frees));
        prop_assert_eq!(found, naive(&bad));
        prop_assert!(how == 2 || found.is_none());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        has_magic in any::<bool>(),
    ) {
        let bytes = if has_magic { [&b"KMTRACE1"[..], &bytes].concat() } else { bytes };
        prop_assert_eq!(summary(&bytes).is_ok(), naive(&bytes).is_some());
    }
}

/// Name, events, objects, peak live bytes, frees on another CPU in percent: the table that comes with the recordings.
const RECORDINGS: [(&str, u64, u64, u64, u64); 5] = [
    ("fork-exec-small", 21_504, 10_752, 2_909_570, 45),
    ("fork-exec", 404_928, 202_464, 7_777_513, 34),
    ("tcp-loopback", 201_658, 100_829, 13_936_358, 26),
    ("file-walk", 453_202, 226_601, 46_044_527, 14),
    ("rust-build", 510_094, 255_047, 552_343_797, 53),
];

/// The recording called `name`, from the project's own test data or from the shared folder beside the project.
fn recording(name: &str) -> Option<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = [root.join("tests/data"), root.join("../shared/traces")];
    let found = places.iter().find_map(|place| std::fs::read(place.join(name).with_extension("kmt")).ok());
    if found.is_none() {
        eprintln!("note: the recording {name} is not here; its check is left out");
    }
    found
}

#[test]
fn the_recordings_of_a_real_kernel_are_accepted() {
    for (name, nr_events, nr_objects, peak_live_bytes, cross_percent) in RECORDINGS {
        let Some(bytes) = recording(name) else { continue };
        let found = summary(&bytes).expect(name);
        assert_eq!(
            (found.nr_events, found.nr_objects, found.peak_live_bytes),
            (nr_events, nr_objects, peak_live_bytes)
        );
        let rounded = (found.nr_cross_cpu_frees * 100 + nr_objects / 2) / nr_objects;
        assert_eq!(rounded, cross_percent, "{name}");
    }
}

#[test]
fn damage_anywhere_in_a_real_recording_is_found_or_harmless() {
    let Some(mut bytes) = recording("fork-exec-small") else { return };
    let mut nr_refused = 0;
    for nth in 0..200 {
        // A prime apart, so all over the recording and at each byte of an event; every eighth time the next bit.
        let (at, bit) = (nth * 7919 % bytes.len(), nth / 8 % 8);
        bytes[at] ^= 1 << bit;
        let found = summary(&bytes);
        assert_eq!(found.ok().map(|sum| (sum.peak_live_bytes, sum.nr_cross_cpu_frees)), naive(&bytes), "byte {at}");
        nr_refused += u32::from(found.is_err());
        bytes[at] ^= 1 << bit;
    }
    assert!(nr_refused > 100, "{nr_refused} of 200");
    assert!(summary(&bytes).is_ok(), "the recording itself is unharmed");
}
