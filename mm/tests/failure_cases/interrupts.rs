//! AF17: interrupts whose handlers allocate and free, at the edges of every stretch in which interrupts are off: while the
//! magazines are held, between a look at the slabs and the next, in the middle of a reclaim.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;

use mm::frame::Frame;
use mm::frame_table::Kind;
use mm::heap::Heap;

use crate::common::{Host, TestHeap, on_interrupt, take_reports};
use crate::{free64, layout};

thread_local! {
    static HEAP: Cell<Option<&'static Heap<Host>>> = const { Cell::new(None) };
    static NR_RUNS: Cell<usize> = const { Cell::new(0) };
    static KEPT: RefCell<Vec<NonNull<u8>>> = const { RefCell::new(Vec::new()) };
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

fn heap() -> &'static Heap<Host> {
    HEAP.get().expect("the test has set it")
}

#[test]
fn af17_an_interrupt_that_allocates_and_frees_wherever_interrupts_are_off_or_on_again() {
    let test = TestHeap::new(1024);
    HEAP.set(Some(test.heap));
    on_interrupt(Some(|| {
        NR_RUNS.set(NR_RUNS.get() + 1);
        let heap = heap();
        for size in [64, 9000] {
            if let Ok(object) = heap.alloc(layout(size, 8)) {
                // SAFETY: of `size` bytes.
                unsafe { object.write_bytes(0xee, size) };
                if NR_RUNS.get().is_multiple_of(5) && size == 64 {
                    KEPT.with_borrow_mut(|kept| kept.push(object));
                } else {
                    // SAFETY: not used any more.
                    unsafe { heap.dealloc(object, layout(size, 8)) }.expect("ours");
                }
            }
        }
        if NR_RUNS.get().is_multiple_of(7)
            && let Some(object) = KEPT.with_borrow_mut(Vec::pop)
        {
            free64(heap, object);
        }
        if let Ok(frame) = heap.frames().alloc(Kind::Owned) {
            // SAFETY: not used.
            unsafe { heap.frames().free(frame, Kind::Owned) }.expect("ours");
        }
    }));
    let rounds = if cfg!(miri) { 1 } else { 4 };
    for round in 0..rounds {
        let sizes = [64, 64, 9000, 64, 50_000];
        let objects: Vec<_> = (0..250).map(|i| (sizes[i % 5], i)).collect();
        let objects: Vec<_> = objects
            .into_iter()
            .filter_map(|(size, i)| Some((test.heap.alloc(layout(size, 8)).ok()?, size, i as u8 ^ round)))
            .collect();
        assert!(objects.len() > 100);
        for &(object, size, seed) in &objects {
            // SAFETY: of `size` bytes.
            unsafe { object.write_bytes(seed, size) };
        }
        for (object, size, seed) in objects {
            // SAFETY: live, of `size` bytes, written above; not used any more after the free.
            unsafe {
                assert!(std::slice::from_raw_parts(object.as_ptr(), size).iter().all(|&byte| byte == seed));
                test.heap.dealloc(object, layout(size, 8)).expect("ours");
            }
        }
        test.heap.reclaim();
    }
    on_interrupt(None);
    assert!(NR_RUNS.get() > 100, "{} interrupts", NR_RUNS.get());
    KEPT.take().into_iter().for_each(|object| free64(test.heap, object));
    test.check_empty();
    assert_eq!(take_reports(), []);
}

#[test]
fn af17_an_interrupt_that_takes_and_gives_frames_while_the_page_magazine_is_held() {
    let test = TestHeap::new(1024);
    HEAP.set(Some(test.heap));
    on_interrupt(Some(|| {
        NR_RUNS.set(NR_RUNS.get() + 1);
        // Two taken, one given back.
        let taken = [heap().frames().alloc(Kind::Owned), heap().frames().alloc(Kind::Owned)];
        FRAMES.with_borrow_mut(|frames| frames.extend(taken.into_iter().flatten()));
        let frame = FRAMES.with_borrow_mut(Vec::pop);
        // SAFETY: not used.
        frame.map_or(Ok(()), |frame| unsafe { heap().frames().free(frame, Kind::Owned) }).expect("ours");
    }));
    let mut frames: Vec<_> = (0..300).map(|_| test.heap.alloc_frame(Kind::Owned).expect("memory")).collect();
    for frame in frames.drain(..) {
        // SAFETY: not used.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
    on_interrupt(None);
    assert!(NR_RUNS.get() > 20, "{} interrupts", NR_RUNS.get());
    test.check();
    for frame in FRAMES.take() {
        // SAFETY: not used.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
    test.check_empty();
}
