//! A heap with few free frames, and "fail with 0, 1, 2, .. of them until it succeeds" for any operation.

use std::ptr::NonNull;

use mm::cache::Settings;
use mm::error::{Error, Result};
use mm::frame::{Frame, FrameRange, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::heap::{CacheHandle, Heap};

use crate::common::{Host, TestHeap, take_reports};

/// What operations work on.
pub(crate) type H = &'static Heap<Host>;

/// Enough for the largest operation, and few, as every census walks over all.
const NR_PAGES: usize = 192;

const WITNESS_SIZE: usize = 72;

/// What a failure must not change.
#[derive(Debug, PartialEq, Eq)]
struct Census {
    nr_free: u64,
    by_kind: Vec<i64>,
    /// Live objects and objects out of slabs, by cache.
    objects: Vec<(u16, u64, u64)>,
}

/// A heap whose frames can be taken away, with a small and a large object in it that must survive whatever happens.
pub(crate) struct Starved {
    pub(crate) test: TestHeap,
    held: Vec<Frame>,
    cache: CacheHandle,
    small: NonNull<u8>,
    large: FrameRange,
}

impl Starved {
    /// A heap with all its frames.
    pub(crate) fn new() -> Self {
        let test = TestHeap::new(NR_PAGES);
        let cache = test.heap.create_cache(Settings::new("witness", WITNESS_SIZE, 8)).expect("room for a cache");
        let small = test.heap.cache_alloc(&cache).expect("memory");
        let large = test.heap.frames().alloc_run(RunRequest::pages(2), Kind::Owned).expect("memory");
        let this = Self { test, held: Vec::new(), cache, small, large };
        for (witness, size) in this.witnesses() {
            // SAFETY: live, of that size.
            unsafe { witness.write_bytes(0xa5, size) };
        }
        this
    }

    fn witnesses(&self) -> [(NonNull<u8>, usize); 2] {
        let large = self.test.heap.frames().virt(self.large.start());
        [(self.small, WITNESS_SIZE), (large, 2 * PAGE_SIZE)]
    }

    /// Takes all free frames but the lowest `nr_left`, which are adjacent, and leaves these in the bitmap.
    pub(crate) fn starve(&mut self, nr_left: usize) {
        self.starve_but(|index, _| index < nr_left);
        assert_eq!(self.test.heap.frames().nr_free(), nr_left as u64);
    }

    /// Takes all free frames but those that `is_left` by their place in ascending order and number.
    pub(crate) fn starve_but(&mut self, is_left: impl Fn(usize, Frame) -> bool) {
        self.test.heap.reclaim();
        let frames = self.test.heap.frames();
        let mut all: Vec<_> = std::iter::from_fn(|| frames.alloc(Kind::Owned).ok()).collect();
        all.sort();
        for (index, frame) in all.into_iter().enumerate() {
            if is_left(index, frame) {
                // SAFETY: never used.
                unsafe { frames.free(frame, Kind::Owned) }.expect("ours");
            } else {
                self.held.push(frame);
            }
        }
        self.test.heap.reclaim();
    }

    /// Gives back what `starve` took.
    pub(crate) fn feed(&mut self) {
        for frame in self.held.drain(..) {
            // SAFETY: never used.
            unsafe { self.test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
        }
    }

    fn census(&self) -> Census {
        // Twice: the first time destructors may free into magazines that are empty already.
        self.test.heap.reclaim();
        self.test.heap.reclaim();
        self.test.check();
        let account = self.test.heap.account();
        let of_cache = |id| (id, self.test.heap.cache_account(id));
        let objects =
            self.test.heap.caches().map(|(id, _)| of_cache(id)).map(|(id, sum)| (id, sum.nr_live, sum.nr_out));
        Census {
            nr_free: account.nr_free + account.nr_cached,
            by_kind: account.by_kind.to_vec(),
            objects: objects.collect(),
        }
    }

    fn verify(&self) {
        for (witness, size) in self.witnesses() {
            // SAFETY: live, of that size, written in `new`.
            let bytes = unsafe { std::slice::from_raw_parts(witness.as_ptr(), size) };
            assert!(bytes.iter().all(|&byte| byte == 0xa5), "{witness:p} was written to");
        }
    }

    /// Sees that all that is left comes back.
    pub(crate) fn finish(mut self) {
        self.verify();
        self.feed();
        // SAFETY: not used any more.
        unsafe {
            self.test.heap.cache_free(&self.cache, self.small).expect("ours");
            self.test.heap.frames().free_run(self.large, Kind::Owned).expect("ours");
        }
        self.test.heap.destroy_cache(self.cache).expect("nothing out");
        self.test.check_empty();
        assert_eq!(take_reports(), []);
    }
}

/// Runs an operation with 0, 1, 2, .. free frames until it succeeds; returns with how many it did.
///
/// `prepare` makes what it needs while there is memory, and `finish` takes that back; `undo` takes back what `run` made.
/// After each failure: all counts agree, no frame and no object is gone, the witnesses are intact, and with memory given
/// back the same call succeeds.
pub(crate) fn fail_until_it_succeeds<P, R>(
    prepare: impl Fn(H) -> P,
    run: impl Fn(H, &P) -> Result<R>,
    undo: impl Fn(H, &P, R),
    finish: impl Fn(H, P),
) -> usize {
    for nr_left in 0..NR_PAGES / 2 {
        let mut starved = Starved::new();
        let heap = starved.test.heap;
        let prepared = prepare(heap);
        starved.starve(nr_left);
        let before = starved.census();
        let result = run(heap, &prepared);
        starved.test.check();
        let is_enough = result.is_ok();
        match result {
            Ok(done) => undo(heap, &prepared, done),
            Err(error) => assert!(matches!(error, Error::OutOfMemory { .. }), "{error} with {nr_left} frames"),
        }
        assert_eq!(starved.census(), before, "with {nr_left} free frames");
        starved.verify();
        starved.feed();
        if !is_enough {
            let again = run(heap, &prepared).expect("there is memory again");
            starved.test.check();
            undo(heap, &prepared, again);
        }
        finish(heap, prepared);
        starved.finish();
        if is_enough {
            return nr_left;
        }
    }
    panic!("it fails with {} free frames", NR_PAGES / 2 - 1);
}
