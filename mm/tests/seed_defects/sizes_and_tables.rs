//! AD13 to AD20: alignment and sizes of plain allocations, frees of garbage, the lock, page tables.

use super::*;

/// The seed kept a header of two bytes before each object, so that none was aligned to more.
#[test]
fn ad13_memory_is_aligned_for_any_scalar() {
    let test = TestHeap::new(1024);
    for size in (0..3000).step_by(7).chain([4097, 32_768, 32_769, 100_000]) {
        let object = test.heap.malloc(size).expect("memory");
        assert_eq!(object.addr().get() % 16, 0, "{size} bytes");
        // SAFETY: not used any more.
        unsafe { test.heap.free(object) }.expect("ours");
    }
    test.check_empty();
}

/// The seed counted the pages of an allocation in 16 bits.
#[test]
#[cfg_attr(miri, ignore)]
fn ad14_more_than_65535_pages() {
    let nr_pages = 66_000;
    let test = TestHeap::new(70_000);
    let object = test.heap.malloc(nr_pages * PAGE_SIZE).expect("memory");
    assert_eq!(test.heap.usable_size(object), Ok(nr_pages * PAGE_SIZE));
    assert_eq!(test.heap.account().nr_used(Kind::Large), nr_pages as u64);
    // SAFETY: the last byte is inside; then nothing is used any more.
    unsafe {
        object.add(nr_pages * PAGE_SIZE - 1).write(1);
        test.heap.free(object).expect("ours");
    }
    test.check_empty();
}

/// The seed cut sizes to 32 bits, and added two to them without a look.
#[test]
fn ad15_sizes_are_not_cut_and_do_not_wrap() {
    let test = TestHeap::new(128);
    for size in [(1 << 32) + 16, (1 << 32) - 1, 1 << 40, isize::MAX as usize, usize::MAX - 1, usize::MAX] {
        assert_eq!(test.heap.malloc(size), Err(Error::OutOfMemory { bytes: size }));
    }
    let huge = RunRequest::pages((1 << 32) + 1);
    assert!(matches!(test.heap.alloc_run(huge, Kind::Owned), Err(Error::OutOfMemory { .. })));
    test.check_empty();
}

/// The seed took the old size for zero, and copied nothing.
#[test]
fn ad16_a_resize_keeps_the_contents() {
    let test = TestHeap::new(1024);
    let pattern: Vec<u8> = (0..150_000_u32).map(|i| (i * 7 + i / 256) as u8).collect();
    for (old, new) in [(1, 17), (24, 100), (1000, 5000), (30_000, 40_000), (40_000, 150_000), (150_000, 10), (100, 99)]
    {
        let object = test.heap.malloc(old).expect("memory");
        // SAFETY: of `old` bytes, then of `new`; not used any more after the free.
        unsafe {
            object.copy_from_nonoverlapping(NonNull::from(&pattern[..]).cast(), old);
            let object = test.heap.realloc(object, new).expect("memory");
            let n = old.min(new);
            assert_eq!(std::slice::from_raw_parts(object.as_ptr(), n), &pattern[..n], "{old} to {new}");
            test.heap.free(object).expect("ours");
        }
    }
    test.check_empty();
}

/// The seed took an index of a cache from whatever lay before the address, and a second free broke a list in silence.
#[test]
fn ad17_frees_of_garbage_are_named() {
    let test = TestHeap::new(256);
    let object = test.heap.malloc(200).expect("memory");
    // SAFETY: of 200 bytes: what a header would look like.
    unsafe { object.write_bytes(0x7f, 200) };
    for offset in [2, 16, 100, 4096] {
        let wrong = NonNull::new(object.as_ptr().wrapping_add(offset)).expect("not null");
        // SAFETY: refused.
        let refused = unsafe { test.heap.free(wrong) };
        assert!(matches!(refused, Err(Error::Foreign { .. } | Error::DoubleFree { .. })), "{refused:?}");
    }
    // SAFETY: the second is the mistake under test.
    unsafe {
        test.heap.free(object).expect("ours");
        test.heap.free(object).expect("seen only later");
    }
    test.heap.drain_this_cpu();
    assert_eq!(take_reports(), [Error::DoubleFree { addr: object.addr().get() }]);
    // SAFETY: refused.
    assert_eq!(unsafe { test.heap.free(object) }, Err(Error::DoubleFree { addr: object.addr().get() }));
}

/// A machine that writes down what happens to its interrupt flag, with the state of the lock.
struct Recorder;

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Save { is_locked: bool, made: usize },
    Restore { is_locked: bool, saved: usize },
}

thread_local! {
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
    static NEXT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

static OUTER: Lock<u32, Recorder> = Lock::new(0);
static INNER: Lock<u32, Recorder> = Lock::new(0);

fn is_locked(lock: &Lock<u32, Recorder>) -> bool {
    format!("{lock:?}").contains("locked: true")
}

// SAFETY: the machine has no memory, and nothing that uses its bank; nothing interrupts.
unsafe impl Machine for Recorder {
    fn bank() -> &'static Bank {
        unreachable!("a lock needs no bank")
    }

    fn irq_save() -> usize {
        let made = NEXT.get();
        NEXT.set(made + 1);
        EVENTS.with_borrow_mut(|events| events.push(Event::Save { is_locked: is_locked(&INNER), made }));
        made
    }

    unsafe fn irq_restore(saved: usize) {
        EVENTS.with_borrow_mut(|events| events.push(Event::Restore { is_locked: is_locked(&INNER), saved }));
    }

    fn relax(_nr_turns: u32) {
        std::thread::yield_now();
    }

    fn drain_other_cpus() {}

    fn report(error: Error) {
        panic!("{error}");
    }
}

/// The seed took its lock before it masked interrupts, kept the flag in the lock, and unlocked after it unmasked them.
#[test]
fn ad18_a_lock_is_held_only_with_interrupts_off_and_each_holder_has_its_own_flag() {
    {
        let _outer = OUTER.lock();
        let _inner = INNER.lock();
        assert!(is_locked(&OUTER) && is_locked(&INNER));
    }
    let expected = [
        Event::Save { is_locked: false, made: 0 },
        Event::Save { is_locked: false, made: 1 },
        Event::Restore { is_locked: false, saved: 1 },
        Event::Restore { is_locked: false, saved: 0 },
    ];
    assert_eq!(EVENTS.take(), expected, "off before the lock is taken, on after it is open, last in first out");
    // With others at the same lock everyone gets the flag back that it saved itself, in its own order.
    std::thread::scope(|scope| {
        for thread in 0..3 {
            scope.spawn(move || {
                NEXT.set(1000 * thread);
                for _ in 0..500 {
                    *OUTER.lock() += 1;
                    let made = NEXT.get() - 1;
                    let events = EVENTS.take();
                    assert!(matches!(events[..], [Event::Save { made: a, .. }, Event::Restore { saved: b, .. }] if a == made && b == made));
                }
            });
        }
    });
    assert_eq!(*OUTER.lock(), 1500);
}

/// The seed unmapped by way of making tables, cut addresses at 512 bytes, and mapped all memory writable and executable.
#[test]
fn ad19_unmapping_makes_no_tables_and_nothing_is_writable_and_executable() {
    let test = TestHeap::new(256);
    let tables = HeapTables::new(test.heap);
    let table = PageTable::new(Bits, tables.clone()).expect("memory");
    let base = 0xffff_c000_0000_0000_usize;
    let pages = |page: usize, nr_pages| VirtRange::new(base + page * PAGE_SIZE, nr_pages).expect("canonical");
    // SAFETY: nothing is mapped there.
    assert_eq!(unsafe { table.unmap(pages(3, 5)) }.err(), Some(Error::NotMapped { addr: base + 3 * PAGE_SIZE }));
    assert_eq!((table.nr_tables(), tables.nr_taken()), (1, 1), "the root alone");
    let all = Attributes { executable: true, ..Attributes::READ_WRITE };
    assert_eq!(table.map(pages(0, 1), 0x5000, all, Level::L1), Err(Error::BadRequest { value: base }));
    table.map(pages(0, 3), 0x5000, Attributes::READ_WRITE, Level::L1).expect("memory");
    let nr_tables = table.nr_tables();
    // The one in the middle, and no other; memory is cached.
    // SAFETY: nothing is reached by this address.
    let token = unsafe { table.unmap(pages(1, 1)) }.expect("mapped");
    let phys = |page: usize| table.translate(base + page * PAGE_SIZE + 0x7ff).map(|mapping| mapping.phys);
    assert_eq!([phys(0), phys(1), phys(2)], [Some(0x57ff), None, Some(0x77ff)]);
    assert_eq!(
        table.map(pages(1, 1), 0x9000, Attributes::READ_WRITE, Level::L1).err(),
        Some(Error::AlreadyMapped { addr: base + PAGE_SIZE })
    );
    token.release(&Flushed(2), |extent| assert_eq!((extent.phys, extent.nr_pages), (0x6000, 1)));
    assert_eq!(table.translate(base).map(|mapping| mapping.attributes), Some(Attributes::READ_WRITE));
    assert_eq!((table.nr_tables(), tables.nr_taken()), (nr_tables, nr_tables));
    tables.free_all();
    test.check_empty();
}

/// The seed's first mapping sent every page of it to physical address 0.
#[test]
fn ad20_each_page_of_a_range_has_its_own_memory_even_from_physical_address_zero_on() {
    let test = TestHeap::new(256);
    let tables = HeapTables::new(test.heap);
    let table = PageTable::new(Bits, tables.clone()).expect("memory");
    let base = 0xffff_8000_0000_0000_usize;
    let nr_pages = 2 * 512 + 5;
    let range = VirtRange::new(base, nr_pages).expect("canonical");
    table.map(range, 0, Attributes::READ_WRITE, Level::L2).expect("memory");
    for page in 0..nr_pages {
        let mapping = table.translate(base + page * PAGE_SIZE + 1).expect("mapped");
        assert_eq!(mapping.phys, (page * PAGE_SIZE) as u64 + 1);
    }
    assert_eq!(table.leaves(range).count(), 2 + 5, "two of 2 MiB, the rest of 4 KiB");
    // SAFETY: nothing is reached by these addresses.
    let token = unsafe { table.unmap(range) }.expect("mapped, its first page too");
    let mut next = 0;
    token.release(&Flushed(2), |extent| {
        assert_eq!(extent.phys, next);
        next += (extent.nr_pages * PAGE_SIZE) as u64;
    });
    assert_eq!(next, (nr_pages * PAGE_SIZE) as u64);
    tables.free_all();
    test.check_empty();
}
