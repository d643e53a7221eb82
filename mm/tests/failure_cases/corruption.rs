//! AF24: metadata that was overwritten is found out, reported, and contained: never followed.
//!
//! The wild writes go where the allocator's own metadata lies, by its layout, as those of a driver gone astray would.
//! Miri cannot follow them: they and the allocator access the same bytes as atomics of different sizes.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mm::error::{Error, Metadata};
use mm::frame::{Frame, PAGE_SIZE};
use mm::frame_table::Kind;
use mm::size_class;

use crate::common::{TestHeap, take_reports};
use crate::traffic::Traffic;

/// Cache ids from here on are those of magazines.
const FIRST_MAGAZINE_ID: u16 = mm::bank::MAX_CACHES as u16;

/// Bytes of a magazine by cache id less the first.
const MAGAZINE_BYTES: [usize; 6] = [32, 64, 128, 256, 512, 1024];

/// The words of a frame's descriptor; see the frame table for what is where.
fn words(test: &TestHeap, frame: Frame) -> &[AtomicU64; 8] {
    let descriptor = test.heap.frames().table().get(frame).expect("a frame that was handed out");
    // SAFETY: a descriptor is 64 bytes, all of them atomic integers or padding, aligned to 64.
    unsafe { &*std::ptr::from_ref(descriptor).cast() }
}

/// First frames of the slabs of the cache with this id.
fn slabs(test: &TestHeap, id: u16) -> Vec<Frame> {
    slabs_where(test, |cache| cache == id)
}

fn slabs_where(test: &TestHeap, is_wanted: impl Fn(u16) -> bool) -> Vec<Frame> {
    let mut found = Vec::new();
    test.heap.frames().table().for_each(|frame, descriptor| {
        let is_slab = descriptor.kind() == Kind::Slab && descriptor.run_length().is_some();
        if is_slab && is_wanted((words(test, frame)[0].load(Relaxed) >> 16) as u16) {
            found.push(frame);
        }
    });
    found
}

/// Headers of all magazines there are, as two words each.
fn magazines(test: &TestHeap) -> Vec<NonNull<[AtomicU64; 2]>> {
    let mut found = Vec::new();
    for slab in slabs_where(test, |cache| (FIRST_MAGAZINE_ID..FIRST_MAGAZINE_ID + 6).contains(&cache)) {
        let words = words(test, slab);
        let kind = (words[0].load(Relaxed) >> 16) as u16 - FIRST_MAGAZINE_ID;
        let bytes = MAGAZINE_BYTES[usize::from(kind)];
        for index in 0..PAGE_SIZE / bytes {
            if words[3 + index / 64].load(Relaxed) & (1 << (index % 64)) != 0 {
                // SAFETY: an object of the slab.
                found.push(unsafe { test.heap.frames().virt(slab).add(index * bytes) }.cast());
            }
        }
    }
    found
}

fn header(magazine: NonNull<[AtomicU64; 2]>) -> &'static [AtomicU64; 2] {
    // SAFETY: memory of a slab, which the test heap keeps for as long as the test uses it.
    unsafe { magazine.as_ref() }
}

/// The fields of a slab's descriptor: word, first bit, bits.
const FIELDS: [(&str, usize, u32, u32); 12] = [
    ("kind", 0, 0, 8),
    ("cache", 0, 16, 16),
    ("nr_pages", 0, 32, 32),
    ("next", 1, 0, 32),
    ("prev", 1, 32, 32),
    ("nr_out", 2, 0, 16),
    ("nr_objects", 2, 16, 16),
    ("out[0]", 3, 0, 64),
    ("out[1]", 4, 0, 64),
    ("out[2]", 5, 0, 64),
    ("out[3]", 6, 0, 64),
    ("seal", 7, 0, 64),
];

/// Values that a field may be overwritten with: near, far and wild.
fn wild_values(old: u64, nr_bits: u32) -> Vec<u64> {
    let mask = if nr_bits == 64 { u64::MAX } else { (1 << nr_bits) - 1 };
    let mut values: Vec<_> =
        [old ^ 1, old.wrapping_add(1), old.wrapping_sub(1), 0, 1, mask, 0xdead_beef_0bad_f00d, old << 1]
            .into_iter()
            .map(|value| value & mask)
            .filter(|&value| value != old)
            .collect();
    values.sort();
    values.dedup();
    values
}

#[test]
#[cfg_attr(miri, ignore)]
fn af24_each_field_of_a_slab_overwritten_is_one_report_and_one_quarantined_slab() {
    for (size, nr_objects) in [(64, 700), (1300, 60)] {
        let id = size_class::index(size) as u16;
        for (name, word, shift, nr_bits) in FIELDS {
            // Slabs of every fill: full, partial and empty ones.
            for nth in 0..8 {
                for value in 0..8 {
                    let test = TestHeap::new(512);
                    let mut traffic = Traffic::new(&test, 77);
                    (0..nr_objects).for_each(|_| assert!(traffic.alloc(size)));
                    // Half of the slabs lose a few objects, the first ones all.
                    for i in (0..nr_objects / 2).rev() {
                        if i < nr_objects / 5 || i % 3 == 0 {
                            traffic.free_nth(i);
                        }
                    }
                    test.heap.drain_this_cpu();
                    let slabs = slabs(&test, id);
                    let Some(&slab) = slabs.get(nth * slabs.len() / 8) else { continue };
                    let target = &words(&test, slab)[word];
                    let mask = if nr_bits == 64 { u64::MAX } else { ((1 << nr_bits) - 1) << shift };
                    let old = target.load(Relaxed);
                    let Some(&new) = wild_values((old & mask) >> shift, nr_bits).get(value) else { continue };
                    target.store(old & !mask | new << shift, Relaxed);

                    let what = format!("{size} bytes, {name} of slab {nth} {:#x} -> {new:#x}", (old & mask) >> shift);
                    (0..nr_objects).for_each(|_| assert!(traffic.alloc(size), "{what}: memory"));
                    traffic.free_all();
                    test.heap.reclaim();
                    let addr = test.heap.frames().virt(slab).addr().get();
                    assert_eq!(take_reports(), [Error::Corrupt { what: Metadata::Slab, addr }], "{what}");
                    let sum = test.heap.cache_account(id);
                    assert_eq!((sum.nr_quarantined, sum.nr_live, sum.nr_out), (1, 0, 0), "{what}: {sum:?}");
                    let account = test.heap.account();
                    assert_eq!(account.nr_used(Kind::Slab), 0, "{what}: {account:?}");
                    assert_eq!(account.nr_free + account.nr_used(Kind::Quarantined), account.nr_managed, "{what}");
                    test.check();
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn af24_the_frame_of_a_slab_that_is_not_its_first_overwritten_is_contained() {
    let id = size_class::index(1300) as u16;
    for (word, value) in [(0, 0), (0, 0x82), (0, 0x1_0000_0083), (0, 0x1_0000_0002), (0, u64::MAX), (0, 0x5_0000_0082)]
    {
        let test = TestHeap::new(512);
        let mut traffic = Traffic::new(&test, 3);
        (0..60).for_each(|_| assert!(traffic.alloc(1300)));
        let slab = slabs(&test, id)[1];
        let tail = words(&test, Frame::new(slab.number() + 2));
        assert_eq!(tail[0].load(Relaxed), 0x2_ffff_0082, "the third page of a slab, no cache's own");
        tail[word].store(value, Relaxed);
        traffic.free_all();
        test.heap.reclaim();
        let addr = test.heap.frames().virt(slab).addr().get();
        assert_eq!(take_reports(), [Error::Corrupt { what: Metadata::Slab, addr }], "{value:#x}");
        assert_eq!(test.heap.cache_account(id).nr_quarantined, 1);
        test.check();
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn af24_objects_of_a_quarantined_slab_come_back_once() {
    let test = TestHeap::new(512);
    let id = size_class::index(64) as u16;
    let objects: Vec<_> = (0..64).map(|_| crate::alloc64(test.heap)).collect();
    let slab = test.heap.frames().frame_of(objects[40]).expect("ours");
    words(&test, slab)[2].fetch_xor(4, Relaxed);
    crate::free64(test.heap, objects[40]);
    crate::free64(test.heap, objects[40]);
    test.heap.drain_this_cpu();
    let addr = test.heap.frames().virt(slab).addr().get();
    let twice = Error::DoubleFree { addr: objects[40].addr().get() };
    let reports = take_reports();
    assert!(
        reports.contains(&Error::Corrupt { what: Metadata::Slab, addr }) && reports.contains(&twice),
        "{reports:?}"
    );
    assert_eq!(reports.len(), 2);
    // SAFETY: freed above, and refused.
    assert_eq!(unsafe { test.heap.free(objects[40]) }, Err(twice));
    assert_eq!(test.heap.cache_account(id).nr_live, 63);
    for object in objects {
        if object.addr().get() != objects_addr(twice) {
            // SAFETY: not used any more.
            unsafe { test.heap.free(object) }.expect("taken, and dropped");
        }
    }
    crate::check_frames(&test);
    assert_eq!(test.heap.cache_account(id).nr_out, 0);
    test.check();
}

fn objects_addr(error: Error) -> usize {
    match error {
        Error::DoubleFree { addr } => addr,
        other => panic!("{other}"),
    }
}

/// Magazines everywhere: loaded, previous, in the rack, full and empty ones in the depot.
fn scatter_magazines(test: &TestHeap, size: usize) -> Traffic<'_> {
    let mut traffic = Traffic::new(test, 9);
    for cpu in [1, 0] {
        test.enter_cpu(cpu);
        (0..1500).for_each(|_| assert!(traffic.alloc(size)));
    }
    (0..2700).for_each(|_| traffic.free_nth(0));
    test.enter_cpu(1);
    (0..900).for_each(|_| assert!(traffic.alloc(size)));
    test.enter_cpu(0);
    traffic
}

#[test]
#[cfg_attr(miri, ignore)]
fn af24_each_field_of_each_magazine_overwritten_loses_rounds_and_nothing_else() {
    let (mut nr_told, mut nr_lost) = (0, 0);
    for size in [64, 1000] {
        let id = size_class::index(size) as u16;
        let nr_magazines = {
            let test = TestHeap::new(2048);
            let _traffic = scatter_magazines(&test, size);
            magazines(&test).len()
        };
        assert!(nr_magazines > 12, "{nr_magazines}");
        for nth in 0..nr_magazines {
            for (name, word, shift, nr_bits) in [("seal", 0, 0, 64), ("nr_rounds", 1, 0, 32), ("capacity", 1, 32, 32)] {
                let value = [3, 0, 1][nth % 3];
                let test = TestHeap::new(2048);
                let mut traffic = scatter_magazines(&test, size);
                let target = &header(magazines(&test)[nth])[word];
                let mask = if nr_bits == 64 { u64::MAX } else { ((1 << nr_bits) - 1) << shift };
                let old = target.load(Relaxed);
                let values = wild_values((old & mask) >> shift, nr_bits);
                let new = values[value % values.len()];
                target.store(old & !mask | new << shift, Relaxed);

                let what = format!("{size} bytes, {name} of magazine {nth} {:#x} -> {new:#x}", (old & mask) >> shift);
                (0..1700).for_each(|_| assert!(traffic.alloc(size), "{what}: memory"));
                traffic.free_all();
                test.enter_cpu(1);
                (0..300).for_each(|_| assert!(traffic.alloc(size), "{what}: memory"));
                traffic.free_all();
                test.park_other_cpus();
                test.heap.reclaim();
                // A header that is stale, since its magazine is loaded, may be overwritten without any harm.
                let reports = take_reports();
                let is_known =
                    |error: &Error| matches!(error, Error::Corrupt { what: Metadata::Magazine | Metadata::Depot, .. });
                assert!(reports.len() <= 1 && reports.iter().all(is_known), "{what}: {reports:?}");
                let sum = test.heap.cache_account(id);
                assert_eq!((sum.nr_live, sum.nr_out), (0, sum.nr_lost), "{what}: {sum:?}");
                assert!(sum.nr_lost == 0 || reports.len() == 1, "{what}: {sum:?}");
                nr_told += reports.len();
                nr_lost += sum.nr_lost;
                test.check();
            }
        }
    }
    assert!(nr_told > 60 && nr_lost > 1000, "{nr_told} told, {nr_lost} lost: the magazines were not used");
}

/// One word of a descriptor of a slab, of another frame of it, or of a magazine's header becomes something else.
fn overwrite_something(traffic: &mut Traffic<'_>) {
    let (random, value) = (traffic.random(), traffic.random() as u64 ^ (traffic.random() as u64) << 32);
    let test = traffic.test;
    let target = if random.is_multiple_of(3) {
        let magazines = magazines(test);
        let Some(&magazine) = magazines.get((random >> 8) % magazines.len().max(1)) else { return };
        &header(magazine)[random >> 4 & 1]
    } else {
        let slabs = slabs_where(test, |_| true);
        let Some(&slab) = slabs.get((random >> 8) % slabs.len().max(1)) else { return };
        let run = test.heap.frames().table().get(slab).and_then(|descriptor| descriptor.run_length()).unwrap_or(1);
        let offset = if random >> 40 & 1 == 0 { 0 } else { (random >> 41) as u32 % run.clamp(1, 16) };
        let word = if offset > 0 { 0 } else { (random >> 4) % 8 };
        let frame = Frame::new(slab.number() + offset);
        if test.heap.frames().table().get(frame).is_none() {
            return;
        }
        &words(test, frame)[word]
    };
    let old = target.load(Relaxed);
    let new = match value % 4 {
        0 => old ^ 1 << (value >> 8 & 63),
        1 => value,
        2 => 0,
        _ => old.wrapping_add((value >> 8 & 7).wrapping_sub(3)),
    };
    target.store(new, Relaxed);
}

const SIZES: [usize; 5] = [64, 16, 200, 1300, 9000];

fn random_traffic(traffic: &mut Traffic<'_>, nr_ops: usize) {
    for _ in 0..nr_ops {
        let random = traffic.random();
        traffic.test.enter_cpu(random >> 40 & 1);
        if random & 0x1ff == 0 {
            traffic.test.heap.drain_this_cpu();
        }
        if traffic.live.len() < 600 && random >> 9 & 1 == 0 {
            traffic.alloc(SIZES[(random >> 10) % SIZES.len()]);
        } else {
            traffic.free_nth(random >> 10);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn af24_any_single_word_overwritten_in_a_running_heap_leaves_an_account_that_adds_up() {
    let nr_runs = 1500;
    let mut nr_found = 0;
    for run in 0..nr_runs {
        let test = TestHeap::new(768);
        test.enter_cpu(1);
        test.park_other_cpus();
        let mut traffic = Traffic::new(&test, 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(run + 1));
        random_traffic(&mut traffic, 1200);
        overwrite_something(&mut traffic);
        random_traffic(&mut traffic, 600);
        traffic.free_all();
        test.enter_cpu(0);
        test.heap.reclaim();
        let reports = take_reports();
        let is_known = |error: &Error| matches!(error, Error::Corrupt { .. });
        assert!(reports.len() <= 1 && reports.iter().all(is_known), "run {run}: {reports:?}");
        test.check();
        let account = test.heap.account();
        let nr_back = account.nr_free + account.nr_used(Kind::Quarantined) + account.nr_used(Kind::Slab);
        assert_eq!(nr_back, account.nr_managed, "run {run}: {account:?}");
        assert!(!reports.is_empty() || account.nr_free == account.nr_managed, "run {run}: lost without a word");
        nr_found += reports.len() as u64;
    }
    assert!(nr_found > nr_runs / 2, "only {nr_found} of {nr_runs} were found out: the words are not used");
}

#[test]
#[cfg_attr(miri, ignore)]
fn af24_words_overwritten_again_and_again_never_issue_an_object_twice_nor_end_in_a_panic_or_a_loop() {
    let mut nr_reports = 0;
    for run in 0..150 {
        let test = TestHeap::new(1024);
        test.enter_cpu(1);
        test.park_other_cpus();
        let mut traffic = Traffic::new(&test, 0xd134_2543_de82_ef95_u64.wrapping_mul(run + 1));
        for _ in 0..40 {
            random_traffic(&mut traffic, 150);
            overwrite_something(&mut traffic);
        }
        traffic.free_all();
        test.enter_cpu(0);
        test.heap.reclaim();
        nr_reports += take_reports().len();
        assert_eq!(test.heap.account().difference(), 0, "run {run}: a frame is lost or in two places");
    }
    assert!(nr_reports > 1000, "{nr_reports}");
}
