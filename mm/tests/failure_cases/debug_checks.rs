//! AF1, AF11, AF12 and AF26 in debugged caches: found at once, with who allocated and who freed. Beside each check, that
//! without its flag the same write is not found.

use std::ptr::NonNull;

use mm::cache::Settings;
use mm::debug::{DebugFlags, DebugRules, Fault, Finding, Moment};
use mm::error::Error;
use mm::frame::PAGE_SIZE;

use crate::common::{TestHeap, at_site, take_findings};
use crate::{check_frames, layout};

pub(crate) static ALL: DebugRules = |_, _| DebugFlags::ALL;
static NO_POISON: DebugRules = |_, _| DebugFlags::REDZONE.with(DebugFlags::AUDIT);
static NO_REDZONE: DebugRules = |_, _| DebugFlags::POISON.with(DebugFlags::AUDIT);
static NO_AUDIT: DebugRules = |_, _| DebugFlags::POISON.with(DebugFlags::REDZONE);

pub(crate) fn alloc(test: &TestHeap, size: usize, site: usize) -> NonNull<u8> {
    at_site(site);
    test.heap.alloc(layout(size, 8)).expect("memory")
}

pub(crate) fn free(test: &TestHeap, object: NonNull<u8>, size: usize, site: usize) -> Result<(), Error> {
    at_site(site);
    // SAFETY: the tests use no object after its free, or that is the mistake under test and meets memory of the heap's.
    unsafe { test.heap.dealloc(object, layout(size, 8)) }
}

fn write(object: NonNull<u8>, offset: isize, len: usize, byte: u8) {
    // SAFETY: not what it should be, which is the test; inside the test heap's memory.
    unsafe { object.offset(offset).write_bytes(byte, len) };
}

pub(crate) fn the_only_finding() -> Finding {
    let findings = take_findings();
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings[0]
}

#[test]
fn af01_double_free_is_found_at_once_with_both_sites_and_cpus() {
    let test = TestHeap::with_rules(256, &ALL);
    let object = alloc(&test, 50, 0x100);
    test.enter_cpu(1);
    free(&test, object, 50, 0x200).expect("ours");
    test.enter_cpu(2);
    let addr = object.addr().get();
    assert_eq!(free(&test, object, 50, 0x300), Err(Error::DoubleFree { addr }));
    let finding = the_only_finding();
    assert_eq!((finding.fault, finding.moment), (Fault::BadFree, Moment::Free));
    assert_eq!((finding.addr, finding.cache, finding.object_size), (addr, "size class", 56));
    assert_eq!(finding.requested, Some(50));
    let (allocated, freed) = (finding.allocated.expect("known"), finding.freed.expect("known"));
    assert_eq!((allocated.cpu, allocated.seq, allocated.sites()), (0, 1, &[0x100, 0x1100][..]));
    assert_eq!((freed.cpu, freed.seq, freed.sites()), (1, 2, &[0x200, 0x1200][..]));
    assert_eq!((finding.found.cpu, finding.found.seq, finding.found.sites()), (2, 3, &[0x300, 0x1300][..]));
    let line = finding.to_string();
    assert!(line.contains("is free already") && line.contains("on cpu 2") && line.contains("`size class`"), "{line}");
    check_frames(&test);
}

#[test]
fn af01_double_free_is_found_at_once_without_any_site_if_nothing_is_audited() {
    let test = TestHeap::with_rules(256, &NO_AUDIT);
    let object = alloc(&test, 64, 0x100);
    free(&test, object, 64, 0x200).expect("ours");
    assert!(free(&test, object, 64, 0x300).is_err());
    let finding = the_only_finding();
    assert_eq!((finding.allocated.expect("known").sites(), finding.freed.expect("known").sites()), (&[][..], &[][..]));
}

#[test]
fn af05_foreign_interior_and_wrong_size_frees_are_found_at_once_and_change_nothing() {
    let test = TestHeap::with_rules(256, &ALL);
    let object = alloc(&test, 64, 0x100);
    let addr = object.addr().get();
    // SAFETY: refused.
    let inside = unsafe { object.add(16) };
    assert_eq!(free(&test, inside, 64, 0x200), Err(Error::Foreign { addr: addr + 16 }));
    let interior = the_only_finding();
    assert_eq!(interior.allocated.expect("the object around it").sites()[0], 0x100);
    assert_eq!(free(&test, object, 63, 0x200), Err(Error::WrongSize { addr, given: 63 }));
    assert_eq!(the_only_finding().requested, Some(64));
    let id = mm::size_class::index(96) as u16;
    assert!(matches!(free(&test, object, 96, 0x200), Err(Error::WrongCache { given, .. }) if given == id));
    assert_eq!(the_only_finding().id, id);
    // SAFETY: refused.
    assert_eq!(unsafe { test.heap.free(inside) }, Err(Error::Foreign { addr: addr + 16 }));
    assert_eq!(the_only_finding().addr, addr + 16);
    free(&test, object, 64, 0x200).expect("still ours");
    test.check_empty();
    assert_eq!(take_findings(), []);
}

/// Writes `len` bytes at `offset` of an object of `size` and frees it. The finding, if there is one, must name the write.
fn overwrite(rules: &'static DebugRules, size: usize, offset: isize, len: usize) -> Option<Finding> {
    let test = TestHeap::with_rules(512, rules);
    let others: Vec<_> = (0..3).map(|_| alloc(&test, size, 0x10)).collect();
    let object = alloc(&test, size, 0x100);
    write(object, offset, len, 0x77);
    let addr = object.addr().get();
    let freed = free(&test, object, size, 0x200);
    let finding = take_findings().first().copied();
    assert_eq!(freed, if finding.is_some() { Err(Error::Corrupted { addr }) } else { Ok(()) });
    if finding.is_some() {
        let next: Vec<_> = (0..50).map(|_| alloc(&test, size, 0x10)).collect();
        assert!(!next.contains(&object), "a corrupted object is kept out of use");
        next.into_iter().for_each(|next| free(&test, next, size, 0x20).unwrap_or_default());
    }
    take_findings();
    others.into_iter().for_each(|other| free(&test, other, size, 0x20).unwrap_or_default());
    take_findings();
    test.check();
    finding
}

#[test]
fn af11_writes_past_and_before_an_object_are_found_when_it_is_freed() {
    for size in [16, 17, 64, 100, 1000, 4096] {
        for (offset, len, fault) in [
            (size as isize, 1, Fault::Overrun),
            (size as isize, 32, Fault::Overrun),
            (size as isize + 7, 1, Fault::Overrun),
            (-1, 1, Fault::Underrun),
            (-16, 16, Fault::Underrun),
        ] {
            let finding = overwrite(&ALL, size, offset, len).expect("found");
            assert_eq!((finding.fault, finding.moment), (fault, Moment::Free), "{size} {offset} {len}");
            let damage = finding.damage.expect("known");
            assert_eq!((damage.offset, damage.nr_bytes, damage.found, damage.expected), (offset, len, 0x77, 0xbb));
            assert_eq!(finding.allocated.expect("known").sites()[0], 0x100);
            assert_eq!(finding.found.sites()[0], 0x200);
            assert_eq!(finding.freed, None, "a live object");
        }
    }
}

#[test]
fn af11_a_write_of_one_byte_into_the_slack_behind_what_was_asked_for_is_found() {
    for size in [1, 50, 57, 1025, 30_000] {
        let finding = overwrite(&ALL, size, size as isize, 1).expect("found");
        assert_eq!((finding.fault, finding.requested), (Fault::Overrun, Some(size)));
    }
}

#[test]
fn af11_a_write_that_takes_the_record_along_is_found_and_nothing_false_is_said() {
    let finding = overwrite(&ALL, 64, 64, 160).expect("found");
    assert_eq!((finding.fault, finding.allocated, finding.freed), (Fault::Record, None, None));
    assert_eq!(finding.damage.expect("known").offset, 64);
}

#[test]
fn af11_a_write_to_the_end_of_the_page_is_found_in_every_object_it_hits() {
    let test = TestHeap::with_rules(512, &ALL);
    let objects: Vec<_> = (0..40).map(|_| alloc(&test, 64, 0x100)).collect();
    let object = objects[3];
    let rest = PAGE_SIZE - object.addr().get() % PAGE_SIZE;
    write(object, 0, rest, 0x77);
    let nr_found = test.heap.check_debugged();
    let findings = take_findings();
    assert_eq!(findings.len() as u64, nr_found);
    assert!(nr_found > 3, "only {nr_found}");
    assert!(findings.iter().all(|finding| finding.moment == Moment::Check && finding.addr >= object.addr().get()));
    assert_eq!(test.heap.check_debugged(), 0, "each is reported once");
    for &object in &objects {
        free(&test, object, 64, 0x200).unwrap_or_default();
    }
    assert_eq!(take_findings(), [], "and not again when it is freed");
    check_frames(&test);
}

#[test]
fn af11_a_write_from_the_start_of_the_page_is_found_in_every_object_it_hits() {
    let test = TestHeap::with_rules(512, &ALL);
    let objects: Vec<_> = (0..12).map(|_| alloc(&test, 64, 0x100)).collect();
    let object = objects[7];
    let before = object.addr().get() % PAGE_SIZE;
    write(object, -(before as isize), before, 0x77);
    assert_eq!(free(&test, object, 64, 0x200), Err(Error::Corrupted { addr: object.addr().get() }));
    assert_eq!(the_only_finding().fault, Fault::Underrun);
    let nr_found = test.heap.check_debugged();
    assert_eq!(nr_found, objects.iter().filter(|other| other.addr() < object.addr()).count() as u64);
    assert!(take_findings().iter().all(|finding| finding.fault == Fault::Record));
    objects.into_iter().filter(|&other| other != object).for_each(|other| {
        let is_wrong = other.addr() < object.addr();
        assert_eq!(free(&test, other, 64, 0x200).is_err(), is_wrong);
    });
    assert_eq!(take_findings(), []);
    check_frames(&test);
}

#[test]
fn af11_without_redzones_the_same_writes_are_not_found() {
    for (offset, len) in [(50, 1), (50, 6), (55, 1)] {
        assert_eq!(overwrite(&NO_REDZONE, 50, offset, len), None);
        assert!(overwrite(&ALL, 50, offset, len).is_some());
    }
}

/// Frees an object, writes `len` bytes at `offset`, and allocates again.
fn write_after_free(rules: &'static DebugRules, size: usize, offset: isize, len: usize) -> Option<Finding> {
    let test = TestHeap::with_rules(512, rules);
    let object = alloc(&test, size, 0x100);
    free(&test, object, size, 0x200).expect("ours");
    write(object, offset, len, 0x77);
    let next: Vec<_> = (0..50).map(|_| alloc(&test, size, 0x300)).collect();
    let findings = take_findings();
    assert!(findings.len() < 2, "{findings:#?}");
    assert_eq!(findings.is_empty(), next.contains(&object), "a corrupted object is kept out of use");
    next.into_iter().for_each(|next| free(&test, next, size, 0x400).expect("ours"));
    test.check();
    findings.first().copied()
}

#[test]
fn af12_writes_after_a_free_are_found_by_the_next_allocation() {
    for size in [64, 100, 4096] {
        for (offset, len) in [(0, 8), (50, 1), (size as isize, 1), (-1, 1)] {
            let finding = write_after_free(&ALL, size, offset, len).expect("found");
            assert_eq!((finding.fault, finding.moment), (Fault::WriteAfterFree, Moment::Alloc));
            let damage = finding.damage.expect("known");
            assert_eq!((damage.offset, damage.nr_bytes, damage.found), (offset, len, 0x77));
            assert_eq!(finding.allocated.expect("known").sites()[0], 0x100);
            assert_eq!(finding.freed.expect("known").sites()[0], 0x200);
            assert_eq!(finding.found.sites()[0], 0x300);
        }
    }
}

#[test]
fn af12_without_poison_the_same_writes_are_not_found_but_those_in_the_redzone() {
    assert_eq!(write_after_free(&NO_POISON, 64, 0, 8), None);
    assert_eq!(write_after_free(&NO_POISON, 64, 50, 1), None);
    assert!(write_after_free(&NO_POISON, 64, 64, 1).is_some());
    assert_eq!(write_after_free(&NO_REDZONE, 64, 50, 1).expect("found").fault, Fault::WriteAfterFree);
}

#[test]
fn af12_a_write_after_free_is_found_by_a_walk_and_when_the_slab_goes_back() {
    for is_walk in [true, false] {
        let test = TestHeap::with_rules(256, &ALL);
        let object = alloc(&test, 64, 0x100);
        free(&test, object, 64, 0x200).expect("ours");
        write(object, 50, 1, 0x77);
        if is_walk {
            assert_eq!(test.heap.check_debugged(), 1);
        } else {
            test.heap.reclaim();
        }
        let finding = the_only_finding();
        assert_eq!((finding.fault, finding.moment), (Fault::WriteAfterFree, Moment::Check));
        assert_eq!(finding.damage.expect("known").offset, 50);
        if is_walk {
            let next: Vec<_> = (0..50).map(|_| alloc(&test, 64, 0x300)).collect();
            assert!(!next.contains(&object), "kept out of use");
            next.into_iter().for_each(|next| free(&test, next, 64, 0x400).expect("ours"));
            assert_eq!(take_findings(), [], "reported once");
        }
        check_frames(&test);
    }
}

#[test]
fn af26_zeroed_memory_is_zero_after_poison_and_fresh_memory_is_not() {
    let test = TestHeap::with_rules(256, &ALL);
    for size in [1, 50, 64, 4096, 32 * 1024] {
        let bytes = |object: NonNull<u8>| {
            // SAFETY: a live object of that size, all of which the heap has written.
            unsafe { std::slice::from_raw_parts(object.as_ptr(), size) }.to_vec()
        };
        for _ in 0..2 {
            let fresh = alloc(&test, size, 0x100);
            assert_eq!(bytes(fresh), vec![0x5a; size]);
            write(fresh, 0, size, 0x11);
            free(&test, fresh, size, 0x200).expect("ours");
            let zeroed = test.heap.alloc_zeroed(layout(size, 8)).expect("memory");
            assert_eq!(bytes(zeroed), vec![0; size]);
            free(&test, zeroed, size, 0x200).expect("ours");
        }
    }
    test.check_empty();
    assert_eq!(take_findings(), []);
}

#[test]
fn af26_objects_of_no_bytes_are_distinct_and_no_byte_of_them_may_be_written() {
    let test = TestHeap::with_rules(256, &ALL);
    let (a, b) = (alloc(&test, 0, 0x100), alloc(&test, 0, 0x100));
    assert_ne!(a, b);
    write(a, 0, 1, 0x77);
    assert!(free(&test, a, 0, 0x200).is_err());
    assert_eq!(the_only_finding().fault, Fault::Overrun);
    free(&test, b, 0, 0x200).expect("ours");
}

#[test]
fn poison_meets_no_constructed_state() {
    thread_local! { static NR_BUILT: std::cell::Cell<isize> = const { std::cell::Cell::new(0) }; }
    let test = TestHeap::with_rules(256, &ALL);
    let settings = Settings {
        constructor: Some(|object| {
            NR_BUILT.set(NR_BUILT.get() + 1);
            // SAFETY: an object of 48 bytes.
            unsafe { object.cast::<u64>().write(0x0b1ec7) };
            Ok(())
        }),
        destructor: Some(|object| {
            NR_BUILT.set(NR_BUILT.get() - 1);
            // SAFETY: as above.
            assert_eq!(unsafe { object.cast::<u64>().read() }, 0x0b1ec7);
        }),
        ..Settings::new("constructed", 48, 8)
    };
    let cache = test.heap.create_cache(settings).expect("room for a cache");
    for _ in 0..3 {
        let object = test.heap.cache_alloc(&cache).expect("memory");
        // SAFETY: constructed, then not used any more.
        unsafe {
            assert_eq!(object.cast::<u64>().read(), 0x0b1ec7);
            test.heap.cache_free(&cache, object).expect("ours");
        }
        assert_eq!(NR_BUILT.get(), 0, "destroyed when it is freed");
    }
    assert_eq!(take_findings(), []);
    test.heap.destroy_cache(cache).expect("nothing is out");
    test.check_empty();
}

#[test]
fn growing_an_object_moves_it_and_what_was_asked_for_is_what_can_be_used() {
    let test = TestHeap::with_rules(256, &ALL);
    let object = test.heap.malloc(50).expect("memory");
    assert_eq!(test.heap.usable_size(object), Ok(50));
    // SAFETY: live, and only the result is used after.
    let grown = unsafe { test.heap.realloc(object, 56) }.expect("memory");
    assert_ne!(grown, object);
    assert_eq!(test.heap.usable_size(grown), Ok(56));
    // SAFETY: refused; then not used any more.
    unsafe {
        assert!(test.heap.free(object).is_err());
        assert_eq!(the_only_finding().fault, Fault::BadFree);
        test.heap.free(grown).expect("ours");
    }
    test.check_empty();
}
