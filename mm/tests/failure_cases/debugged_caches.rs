//! Which caches are debugged, and what a debugged cache says when it goes while objects of it are out.

use mm::cache::Settings;
use mm::debug::{DebugFlags, DebugRules, Fault};
use mm::error::Error;

use crate::common::{TestHeap, at_site, take_findings};
use crate::debug_checks::{ALL, alloc, free, the_only_finding};

#[test]
fn checks_are_chosen_by_name_and_size_and_the_other_caches_keep_their_magazines() {
    static RULES: DebugRules =
        |name, size| if size == 64 || name == "mine" { DebugFlags::ALL } else { DebugFlags::NONE };
    let test = TestHeap::with_rules(256, &RULES);
    let mine = test.heap.create_cache(Settings::new("mine", 100, 8)).expect("room for a cache");
    let debugged: Vec<_> =
        test.heap.caches().filter(|(_, cache)| cache.is_debugged()).map(|(_, cache)| cache.object_size()).collect();
    assert_eq!(debugged, [64, 104]);
    let pairs = |size| {
        for _ in 0..100 {
            let object = alloc(&test, size, 0x100);
            free(&test, object, size, 0x200).expect("ours");
        }
        test.heap.cache_account(mm::size_class::index(size) as u16).nr_direct
    };
    assert_eq!((pairs(64), pairs(72)), (200, 0));
    test.heap.destroy_cache(mine).expect("nothing is out");
    test.check_empty();
}

#[test]
fn leaks_are_listed_with_their_sites_and_reported_when_the_cache_is_destroyed() {
    let test = TestHeap::with_rules(256, &ALL);
    let cache = test.heap.create_cache(Settings::new("leaky", 100, 8)).expect("room for a cache");
    let mut objects = Vec::new();
    for site in [0x100, 0x200, 0x100] {
        at_site(site);
        objects.push(test.heap.cache_alloc(&cache).expect("memory"));
    }
    // SAFETY: not used any more.
    unsafe { test.heap.cache_free(&cache, objects.remove(1)) }.expect("ours");
    let mut live = Vec::new();
    test.heap.for_each_live(cache.id(), |object| live.push((object.addr, object.size, object.allocated.sites()[0])));
    assert_eq!(live, [(objects[0].addr().get(), 100, 0x100), (objects[1].addr().get(), 100, 0x100)]);
    let (cache, error) = test.heap.destroy_cache(cache).expect_err("objects are out");
    assert_eq!(error, Error::Busy { nr_objects: 2 });
    let findings = take_findings();
    assert_eq!(
        findings.iter().map(|finding| finding.addr).collect::<Vec<_>>(),
        live.iter().map(|l| l.0).collect::<Vec<_>>()
    );
    assert!(findings.iter().all(|f| f.fault == Fault::Leak && f.allocated.expect("known").sites()[0] == 0x100));
    // One comes back, the other is corrupted: out of use, but it does not keep the cache from going.
    // SAFETY: not used any more; the write is the mistake under test.
    unsafe {
        test.heap.cache_free(&cache, objects[0]).expect("ours");
        objects[1].add(100).write(1);
        assert!(test.heap.cache_free(&cache, objects[1]).is_err());
    }
    assert_eq!(the_only_finding().fault, Fault::Overrun);
    test.heap.destroy_cache(cache).expect("nothing is out");
    test.check_empty();
}
