//! AF11 and AF12 for guarded objects: which page is mapped when, what is said of an address, and that an object is
//! recognised wherever it is freed. That an access to an unmapped page faults is the machine's part, tested there.

use std::collections::BTreeSet;
use std::ptr::NonNull;

use mm::cache::Settings;
use mm::debug::{Fault, Moment};
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::guarded::NR_SLOTS;

use crate::common::{TestHeap, at_site, is_guard_page_mapped, take_findings, take_reports, with_guard_pool};
use crate::{check_frames, layout};

/// A heap in which every visit behind the magazines gets a guarded object.
fn guarded_heap(interval: u32) -> TestHeap {
    let test = TestHeap::new(512);
    with_guard_pool();
    test.heap.set_guard_interval(interval);
    test
}

fn guarded(test: &TestHeap, size: usize) -> NonNull<u8> {
    at_site(0x100);
    let object = test.heap.alloc(layout(size, 8)).expect("memory");
    assert!(test.heap.is_guarded(object));
    object
}

#[test]
fn af11_an_object_ends_where_its_page_ends_or_starts_where_it_starts_and_beside_it_is_nothing() {
    let test = guarded_heap(1);
    let mut edges = BTreeSet::new();
    for (size, class) in [(64, 64), (50, 56), (1000, 1024), (4096, 4096)] {
        for _ in 0..2 {
            let object = guarded(&test, size);
            let addr = object.addr().get();
            edges.insert((addr.is_multiple_of(PAGE_SIZE), (addr + class).is_multiple_of(PAGE_SIZE)));
            assert!(is_guard_page_mapped(addr) && is_guard_page_mapped(addr + class - 1));
            let page = addr & !(PAGE_SIZE - 1);
            assert!(!is_guard_page_mapped(page - 1) && !is_guard_page_mapped(page + PAGE_SIZE));
            // SAFETY: live; then not used any more.
            unsafe {
                object.write_bytes(1, size);
                test.heap.free(object).expect("ours");
            }
            assert!(!is_guard_page_mapped(addr), "unmapped at once");
            test.check();
        }
    }
    assert!(edges.contains(&(true, false)) && edges.contains(&(false, true)), "{edges:?}");
    test.heap.set_guard_interval(0);
    let usual = test.heap.alloc(layout(64, 8)).expect("memory");
    assert!(!test.heap.is_guarded(usual));
    // SAFETY: not used any more.
    unsafe { test.heap.free(usual) }.expect("ours");
    test.check_empty();
    assert_eq!((take_findings().len(), take_reports().len()), (0, 0));
}

#[test]
fn af11_a_fault_beside_an_object_is_explained() {
    let test = guarded_heap(1);
    let (right, left) = (guarded(&test, 64), guarded(&test, 64));
    let explain = |addr: usize| test.heap.explain_fault(addr).expect("in the pool");
    let behind = explain(right.addr().get() + 64 + 3);
    assert_eq!((behind.fault, behind.addr), (Fault::Touch { offset: 67 }, right.addr().get()));
    assert_eq!((behind.cache, behind.object_size, behind.moment), ("size class", 64, Moment::Fault));
    assert_eq!((behind.allocated.expect("known").sites()[0], behind.freed), (0x100, None));
    assert!(behind.to_string().contains("touched 4 bytes past the end"), "{behind}");
    let before = explain(left.addr().get() - 1);
    assert_eq!((before.fault, before.addr), (Fault::Touch { offset: -1 }, left.addr().get()));
    assert!(before.to_string().contains("touched 1 bytes before"), "{before}");
    assert_eq!(test.heap.explain_fault(0x1000), None);
    // SAFETY: not used any more.
    unsafe { test.heap.free(right).and(test.heap.free(left)) }.expect("ours");
    test.check_empty();
}

#[test]
fn af11_bytes_written_beside_an_object_in_its_page_are_found_when_it_is_freed() {
    let test = guarded_heap(1);
    for _ in 0..2 {
        let object = guarded(&test, 64);
        let is_right = (object.addr().get() + 64).is_multiple_of(PAGE_SIZE);
        // SAFETY: not what it should be, which is the test; the page is the object's alone.
        unsafe {
            if is_right {
                object.sub(7).write(1)
            } else {
                object.add(64).write(1)
            }
            at_site(0x200);
            test.heap.free(object).expect("freed all the same");
        }
        let findings = take_findings();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].fault, if is_right { Fault::Underrun } else { Fault::Overrun });
        assert_eq!(findings[0].damage.expect("known").offset, if is_right { -7 } else { 64 });
        assert_eq!(findings[0].found.sites()[0], 0x200);
        assert!(!is_guard_page_mapped(object.addr().get()));
    }
    test.check_empty();
}

#[test]
fn af12_a_freed_object_stays_unmapped_until_all_other_slots_were_used_and_is_known() {
    let test = guarded_heap(1);
    let object = guarded(&test, 64);
    at_site(0x200);
    // SAFETY: not used any more.
    unsafe { test.heap.free(object) }.expect("ours");
    let addr = object.addr().get();
    for _ in 1..NR_SLOTS {
        let other = guarded(&test, 64);
        assert_ne!(other.addr().get() / PAGE_SIZE, addr / PAGE_SIZE);
        // SAFETY: not used any more.
        unsafe { test.heap.free(other) }.expect("ours");
        let known = test.heap.explain_fault(addr + 5).expect("in the pool");
        assert_eq!(known.fault, Fault::Touch { offset: 5 });
        assert_eq!(known.freed.expect("it is").sites()[0], 0x200);
        assert!(known.to_string().contains("use after free"), "{known}");
    }
    assert_eq!(guarded(&test, 64).addr().get() / PAGE_SIZE, addr / PAGE_SIZE, "now it is its turn");
}

#[test]
fn af01_af05_bad_frees_of_guarded_objects_are_found_with_both_sites() {
    let test = guarded_heap(1);
    let object = guarded(&test, 64);
    let addr = object.addr().get();
    // SAFETY: refused, or not used any more.
    unsafe {
        let inside = object.add(8);
        assert_eq!(test.heap.free(inside), Err(Error::Foreign { addr: addr + 8 }));
        assert_eq!(test.heap.usable_size(inside), Err(Error::Foreign { addr: addr + 8 }));
        assert_eq!(test.heap.usable_size(object), Ok(64));
        take_findings();
        at_site(0x200);
        test.heap.free(object).expect("ours");
        assert_eq!(test.heap.free(object), Err(Error::DoubleFree { addr }));
    }
    let findings = take_findings();
    assert_eq!(findings.len(), 1);
    let sites = |track: Option<mm::debug::Track>| track.expect("known").sites()[0];
    assert_eq!((sites(findings[0].allocated), sites(findings[0].freed)), (0x100, 0x200));
    test.check_empty();
}

#[test]
fn an_object_that_a_magazine_takes_is_recognised_when_it_leaves_it() {
    let test = guarded_heap(40);
    let objects: Vec<_> = (0..3000).map(|_| test.heap.alloc(layout(64, 8)).expect("memory")).collect();
    let nr_guarded = objects.iter().filter(|&&object| test.heap.is_guarded(object)).count();
    assert!(nr_guarded > 0);
    test.check();
    for &object in &objects {
        // SAFETY: not used any more. Into the magazines, as a free on the hit path does.
        unsafe { test.heap.dealloc(object, layout(64, 8)) }.expect("ours");
    }
    let twice = *objects.iter().rev().find(|&&object| test.heap.is_guarded(object)).expect("there are some");
    // SAFETY: the mistake under test.
    let again = unsafe { test.heap.dealloc(twice, layout(64, 8)) };
    // Seen at once past the magazines, and else when they are drained.
    test.heap.reclaim();
    let findings = take_findings();
    assert_eq!(findings.len(), 1, "{again:?} {findings:?}");
    assert_eq!(findings[0].error, Error::DoubleFree { addr: twice.addr().get() });
    test.check_empty();
    assert!(objects.iter().filter(|&&o| test.heap.is_guarded(o)).all(|o| !is_guard_page_mapped(o.addr().get())));
}

#[test]
fn a_cache_with_a_guarded_object_out_does_not_go() {
    thread_local! { static NR_BUILT: std::cell::Cell<isize> = const { std::cell::Cell::new(0) }; }
    let test = guarded_heap(1);
    let settings = Settings {
        constructor: Some(|_| {
            NR_BUILT.set(NR_BUILT.get() + 1);
            Ok(())
        }),
        destructor: Some(|_| NR_BUILT.set(NR_BUILT.get() - 1)),
        ..Settings::new("guarded", 100, 8)
    };
    let cache = test.heap.create_cache(settings).expect("room for a cache");
    let object = test.heap.cache_alloc(&cache).expect("memory");
    assert!(test.heap.is_guarded(object));
    let (cache, error) = test.heap.destroy_cache(cache).expect_err("an object is out");
    assert_eq!(error, Error::Busy { nr_objects: 1 });
    // SAFETY: not used any more.
    unsafe { test.heap.cache_free(&cache, object) }.expect("ours");
    test.heap.destroy_cache(cache).expect("nothing is out");
    assert_eq!(NR_BUILT.get(), 0);
    check_frames(&test);
}

#[test]
fn af25_guarded_objects_are_among_those_with_users() {
    let test = guarded_heap(1);
    let id = mm::size_class::index(64) as u16;
    let objects: Vec<_> = (0..8).map(|_| guarded(&test, 64)).collect();
    for nr_freed in 0..=objects.len() {
        let of = test.heap.cache_statistics(id).expect("a live cache");
        assert_eq!((of.buf_inuse, of.alloc - of.free), ((8 - nr_freed) as u64, (8 - nr_freed) as u64));
        assert_eq!((of.buf_inuse + of.buf_avail, of.buf_total), (of.buf_total, (8 - nr_freed) as u64 + of.buf_avail));
        if let Some(&object) = objects.get(nr_freed) {
            // SAFETY: not used any more.
            unsafe { test.heap.dealloc(object, layout(64, 8)) }.expect("ours");
        }
    }
    test.check_empty();
}
