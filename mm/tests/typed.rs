//! Typed caches: what a constructor made survives a free, and is undone when the object goes back to the slabs.

mod common;

use std::cell::Cell;

use common::{Host, TestHeap, take_reports};
use mm::error::{Error, Result};
use mm::typed::{Cache, Construct};

thread_local! {
    static NR_CONSTRUCTED: Cell<usize> = const { Cell::new(0) };
    static NR_DROPPED: Cell<usize> = const { Cell::new(0) };
    static NR_MAY_BE_MADE: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[derive(Debug)]
#[repr(align(64))]
struct Inode {
    nr_uses: usize,
    name: [u8; 100],
}

impl Construct for Inode {
    const NAME: &'static str = "inode";

    fn construct() -> Result<Self> {
        if NR_CONSTRUCTED.get() == NR_MAY_BE_MADE.get() {
            return Err(Error::BadRequest { value: 1 });
        }
        NR_CONSTRUCTED.set(NR_CONSTRUCTED.get() + 1);
        Ok(Self { nr_uses: 0, name: [b'-'; 100] })
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        assert_eq!(self.name, [b'-'; 100], "an object that was never constructed is dropped");
        NR_DROPPED.set(NR_DROPPED.get() + 1);
    }
}

type Inodes<const PLACE: usize> = Cache<Inode, Host, PLACE>;

/// A static cache on the heap of a test.
fn inodes<const PLACE: usize>(test: &TestHeap) -> &'static Inodes<PLACE> {
    // SAFETY: each test has a heap of its own, and two caches of one place are of one type.
    Box::leak(Box::new(unsafe { Inodes::new(test.heap) }))
}

#[test]
fn objects_are_constructed_once_and_dropped_when_they_go_back_to_the_slabs() {
    let test = TestHeap::new(512);
    let inodes = inodes::<0>(&test);
    inodes.open().expect("a free place");
    for _ in 0..1000 {
        let mut inode = inodes.alloc().expect("memory");
        assert!(std::ptr::from_ref(&*inode).is_aligned() && inode.name == [b'-'; 100]);
        inode.nr_uses += 1;
    }
    assert!(NR_CONSTRUCTED.get() < 200, "{} constructed for 1000 uses of one", NR_CONSTRUCTED.get());
    let held: Vec<_> = (0..300).map(|_| inodes.alloc().expect("memory")).collect();
    assert_eq!(held.iter().map(|inode| inode.nr_uses).sum::<usize>(), 1000, "what an object counted was lost");
    assert_eq!(inodes.close(), Err(Error::Busy { nr_objects: 300 }));
    drop(held);
    inodes.close().expect("nothing is out");
    assert_eq!(NR_CONSTRUCTED.get(), NR_DROPPED.get());
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn a_constructor_that_refuses_fails_the_allocation_and_nothing_else() {
    let test = TestHeap::new(512);
    let inodes = inodes::<3>(&test);
    inodes.open().expect("a free place");
    NR_MAY_BE_MADE.set(10);
    let held: Vec<_> = std::iter::from_fn(|| inodes.alloc().ok()).collect();
    assert_eq!(held.len(), 10);
    assert!(matches!(inodes.alloc(), Err(Error::OutOfMemory { .. })));
    NR_MAY_BE_MADE.set(usize::MAX);
    drop(inodes.alloc().expect("may be made again"));
    drop(held);
    inodes.close().expect("nothing is out");
    assert_eq!(NR_CONSTRUCTED.get(), NR_DROPPED.get());
    test.check_empty();
}

#[test]
fn a_place_is_one_caches_and_is_free_again_when_it_is_closed() {
    let test = TestHeap::new(512);
    let (first, second) = (inodes::<1>(&test), inodes::<1>(&test));
    assert!(matches!(first.close(), Err(Error::BadRequest { .. })), "it is not open");
    first.open().expect("a free place");
    assert!(matches!(second.open(), Err(Error::InUse { .. })));
    assert_eq!(first.id(), second.id());
    drop(first.alloc().expect("memory"));
    first.close().expect("nothing is out");
    second.open().expect("free again");
    drop(second.alloc().expect("memory"));
    second.close().expect("nothing is out");
    // Those that take any place leave the first ones alone while there are others.
    let any = test.heap.create_cache(mm::cache::Settings::new("any", 64, 8)).expect("a place");
    assert!(any.id() > first.id());
    test.heap.destroy_cache(any).expect("nothing is out");
    test.check_empty();
}

#[test]
fn objects_may_be_dropped_on_another_cpu() {
    let test = TestHeap::new(512);
    let inodes = inodes::<2>(&test);
    inodes.open().expect("a free place");
    let bank = test.bank(1);
    let held: Vec<_> = (0..100).map(|_| inodes.alloc().expect("memory")).collect();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            common::enter_bank(bank);
            drop(held);
        });
    });
    test.park_other_cpus();
    inodes.close().expect("nothing is out");
    test.check_empty();
}

#[test]
fn a_cache_that_is_not_open_hands_out_nothing() {
    let test = TestHeap::new(512);
    let inodes = inodes::<4>(&test);
    assert!(matches!(inodes.alloc(), Err(Error::BadRequest { .. })), "before it is opened");
    inodes.open().expect("a free place");
    drop(inodes.alloc().expect("memory"));
    inodes.close().expect("nothing is out");
    assert!(matches!(inodes.alloc(), Err(Error::BadRequest { .. })), "after it is closed");
    // Others do not get a place with a name, however many there are.
    let others: Vec<_> =
        std::iter::from_fn(|| test.heap.create_cache(mm::cache::Settings::new("other", 64, 8)).ok()).collect();
    assert!(others.len() > 10 && others.iter().all(|other| usize::from(other.id()) >= usize::from(inodes.id()) + 12));
    for other in others {
        test.heap.destroy_cache(other).expect("nothing is out");
    }
    test.check_empty();
}
