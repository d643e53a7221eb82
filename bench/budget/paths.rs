//! The paths, and the script that walks each of them.
//!
//! Hits are called three times each. What happens once in a magazine's worth of operations is not aimed at, as that would
//! need to know how long magazines are: objects are taken and freed until everything has happened, and the cache's
//! counters tell what each call was.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::ptr::NonNull;

use mm::account::CacheAccount;
use mm::cache::Settings;
use mm::frame::Frame;
use mm::frame_table::Kind;
use mm::heap::CacheHandle;

use crate::machine::{HEAP, mask};
use crate::ranges;
use crate::step::{Call, Counted, Label};

/// A path of the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Path {
    /// The way in and out of a counted call, and nothing else.
    Nothing = 1,
    /// [`mask`], which windows with interrupts off begin with.
    Mask,
    /// As `AllocRuntime`, with three instructions more: what the gate must notice.
    Fattened,
    AllocRuntime,
    FreeRuntime,
    AllocConstant,
    FreeConstant,
    CacheAlloc,
    CacheFree,
    BulkAlloc,
    BulkFree,
    FrameAlloc,
    FrameFree,
    /// A hit, or loaded and previous magazine changing places.
    AllocLocal,
    FreeLocal,
    /// As these, in a cache with a rack.
    AllocRack,
    FreeRack,
    DepotAlloc,
    DepotFree,
    Refill,
    Spill,
    /// A range of one page, from a magazine and back.
    RangeAlloc,
    RangeFree,
    /// From an arena in so many pieces, and back.
    Alloc10,
    Free10,
    Alloc1k,
    Free1k,
    Alloc100k,
    Free100k,
    Alloc1m,
    Free1m,
}

/// Objects in a bulk.
const BULK: usize = 16;
const SIZE: usize = 64;
/// Objects of this size have no rack.
const RACKLESS_SIZE: usize = 2048;
/// Objects of this size have a short rack, which is soon walked through.
const RACKED_SIZE: usize = 512;

const CONSTANT: Layout = layout(SIZE);

const fn layout(size: usize) -> Layout {
    match Layout::from_size_align(size, 8) {
        Ok(layout) => layout,
        Err(_) => panic!("no such layout"),
    }
}

/// What the compiler knows nothing of but the alignment.
#[inline(always)]
fn runtime(size: usize) -> Layout {
    // SAFETY: the sizes here are small, and 8 is a power of two.
    unsafe { Layout::from_size_align_unchecked(size, 8) }
}

extern "C" fn nothing(a: usize, _: usize) -> usize {
    a
}

extern "C" fn masking(_: usize, _: usize) -> usize {
    mask()
}

extern "C" fn alloc_runtime(size: usize, _: usize) -> usize {
    // SAFETY: the layout has a size.
    unsafe { GlobalAlloc::alloc(&HEAP, runtime(size)) }.expose_provenance()
}

extern "C" fn alloc_fattened(size: usize, _: usize) -> usize {
    // Each costs a store and a load at least.
    black_box(black_box(alloc_runtime(size, 0)))
}

extern "C" fn free_runtime(object: usize, size: usize) -> usize {
    // SAFETY: the script frees what it has from `alloc_runtime`, with the size it had it by.
    unsafe { GlobalAlloc::dealloc(&HEAP, std::ptr::with_exposed_provenance_mut(object), runtime(size)) };
    0
}

extern "C" fn alloc_constant(_: usize, _: usize) -> usize {
    // SAFETY: the layout has a size.
    unsafe { GlobalAlloc::alloc(&HEAP, CONSTANT) }.expose_provenance()
}

extern "C" fn free_constant(object: usize, _: usize) -> usize {
    // SAFETY: as in `free_runtime`.
    unsafe { GlobalAlloc::dealloc(&HEAP, std::ptr::with_exposed_provenance_mut(object), CONSTANT) };
    0
}

/// The handle that the script passes as a word.
#[inline(always)]
fn handle<'a>(cache: usize) -> &'a CacheHandle {
    // SAFETY: the address of a handle that lives as long as the script.
    unsafe { &*std::ptr::with_exposed_provenance(cache) }
}

extern "C" fn cache_alloc(cache: usize, _: usize) -> usize {
    HEAP.cache_alloc(handle(cache)).map_or(0, |object| object.as_ptr().expose_provenance())
}

extern "C" fn cache_free(cache: usize, object: usize) -> usize {
    let Some(object) = NonNull::new(std::ptr::with_exposed_provenance_mut(object)) else { return 1 };
    // SAFETY: as in `free_runtime`.
    usize::from(unsafe { HEAP.cache_free(handle(cache), object) }.is_err())
}

extern "C" fn bulk_alloc(cache: usize, objects: usize) -> usize {
    // SAFETY: the address of the script's array of so many.
    let objects = unsafe { &mut *std::ptr::with_exposed_provenance_mut::<[NonNull<u8>; BULK]>(objects) };
    usize::from(HEAP.cache_alloc_bulk(handle(cache), objects).is_err())
}

extern "C" fn bulk_free(cache: usize, objects: usize) -> usize {
    // SAFETY: as in `bulk_alloc`, and filled by it.
    let objects = unsafe { &*std::ptr::with_exposed_provenance::<[NonNull<u8>; BULK]>(objects) };
    // SAFETY: as in `free_runtime`.
    usize::from(unsafe { HEAP.cache_free_bulk(handle(cache), objects) }.is_err())
}

extern "C" fn frame_alloc(_: usize, _: usize) -> usize {
    HEAP.alloc_frame(Kind::Owned).map_or(0, |frame| frame.number() as usize)
}

extern "C" fn frame_free(frame: usize, _: usize) -> usize {
    // SAFETY: as in `free_runtime`.
    usize::from(unsafe { HEAP.frames().free(Frame::new(frame as u32), Kind::Owned) }.is_err())
}

impl Counted {
    pub(crate) fn one(&mut self, path: Path, call: Call, a: usize, b: usize) -> usize {
        let result = self.call(call, a, b);
        self.label(Label { path: path as u32, nr_objects: 1 });
        result
    }
}

/// Walks every path. The heap is fresh.
pub(crate) fn script(counted: &mut Counted) {
    for _ in 0..2 {
        counted.one(Path::Nothing, nothing, 0, 0);
        counted.one(Path::Mask, masking, 0, 0);
    }
    // Some of a magazine is left, so that what follows hits.
    let warm: Vec<_> = (0..2 * BULK).map(|_| alloc_runtime(SIZE, 0)).collect();
    warm[BULK / 2..].iter().for_each(|&object| _ = free_runtime(object, SIZE));
    for _ in 0..3 {
        let object = counted.one(Path::AllocRuntime, alloc_runtime, SIZE, 0);
        counted.one(Path::FreeRuntime, free_runtime, object, SIZE);
        let object = counted.one(Path::Fattened, alloc_fattened, SIZE, 0);
        free_runtime(object, SIZE);
        let object = counted.one(Path::AllocConstant, alloc_constant, 0, 0);
        counted.one(Path::FreeConstant, free_constant, object, 0);
    }
    own_cache(counted);
    frames(counted);
    let rackless = HEAP.create_cache(Settings::new("rackless", RACKLESS_SIZE, 8)).expect("room for a cache");
    behind_the_magazine(counted, &rackless, Path::AllocLocal, Path::FreeLocal);
    let racked = HEAP.create_cache(Settings::new("racked", RACKED_SIZE, 8)).expect("room for a cache");
    behind_the_magazine(counted, &racked, Path::AllocRack, Path::FreeRack);
    slabs(counted);
    ranges::magazines(counted);
    ranges::fragments(counted);
}

fn own_cache(counted: &mut Counted) {
    let cache = HEAP.create_cache(Settings::new("own", SIZE, 8)).expect("room for a cache");
    let word = (&raw const cache).expose_provenance();
    let warm: Vec<_> = (0..4 * BULK).map(|_| cache_alloc(word, 0)).collect();
    warm[BULK..].iter().for_each(|&object| _ = cache_free(word, object));
    let mut objects = [NonNull::<u8>::dangling(); BULK];
    let array = (&raw mut objects).expose_provenance();
    for _ in 0..3 {
        let object = counted.one(Path::CacheAlloc, cache_alloc, word, 0);
        counted.one(Path::CacheFree, cache_free, word, object);
        for (path, call) in [(Path::BulkAlloc, bulk_alloc as Call), (Path::BulkFree, bulk_free)] {
            counted.call(call, word, array);
            counted.label(Label { path: path as u32, nr_objects: BULK as u32 });
        }
    }
}

fn frames(counted: &mut Counted) {
    let warm: Vec<_> = (0..8).map(|_| frame_alloc(0, 0)).collect();
    for _ in 0..3 {
        let frame = counted.one(Path::FrameAlloc, frame_alloc, 0, 0);
        counted.one(Path::FrameFree, frame_free, frame, 0);
    }
    warm.iter().for_each(|&frame| _ = frame_free(frame, 0));
}

fn account(cache: &CacheHandle) -> CacheAccount {
    HEAP.cache_account(cache.id())
}

/// What the latest call did behind the magazine: by the cache's counters before it and after.
fn label_by_visits(counted: &mut Counted, [before, after]: [&CacheAccount; 2], local: Path, depot: Path) {
    let nr_depot_visits = after.nr_depot_visits - before.nr_depot_visits;
    let nr_slab_visits = after.nr_slab_visits - before.nr_slab_visits;
    match (nr_depot_visits, nr_slab_visits) {
        (0, 0) => counted.label(Label { path: local as u32, nr_objects: 1 }),
        (1, 0) => counted.label(Label { path: depot as u32, nr_objects: 1 }),
        // A visit to both is neither path.
        _ => {}
    }
}

/// With everything full: takes objects until the depot has been visited, then frees them until it has been again.
fn behind_the_magazine(counted: &mut Counted, cache: &CacheHandle, alloc: Path, free: Path) {
    const ENOUGH: usize = 10_000;
    /// The first visit may find no magazine, the second goes the whole way.
    const NR_VISITS: u64 = 2;
    let word = (&raw const *cache).expose_provenance();
    // From the second time on there are magazines, so that no later call makes one.
    for _ in 0..2 {
        let objects: Vec<_> = (0..ENOUGH).map(|_| cache_alloc(word, 0)).collect();
        objects.iter().for_each(|&object| assert_eq!(cache_free(word, object), 0));
    }
    let mut objects = Vec::new();
    let mut now = account(cache);
    let first = now.nr_depot_visits;
    while now.nr_depot_visits < first + NR_VISITS {
        objects.push(counted.call(cache_alloc, word, 0));
        let before = std::mem::replace(&mut now, account(cache));
        label_by_visits(counted, [&before, &now], alloc, Path::DepotAlloc);
    }
    for object in objects {
        if now.nr_depot_visits == first + 2 * NR_VISITS {
            break;
        }
        assert_eq!(counted.call(cache_free, word, object), 0);
        let before = std::mem::replace(&mut now, account(cache));
        label_by_visits(counted, [&before, &now], free, Path::DepotFree);
    }
}

/// Takes objects from slabs that are there, and frees them with everything before the slabs full.
fn slabs(counted: &mut Counted) {
    const NR_OBJECTS: usize = 1000;
    const NR_ROUNDS: usize = 3;
    let cache = HEAP.create_cache(Settings::new("slabs", SIZE, 8)).expect("room for a cache");
    HEAP.cache_grow(&cache, NR_OBJECTS).expect("room for the slabs");
    let word = (&raw const cache).expose_provenance();
    let mut out = vec![cache_alloc(word, 0)];
    let mut before = account(&cache);
    let mut nr_left = NR_ROUNDS;
    while nr_left > 0 {
        out.push(counted.call(cache_alloc, word, 0));
        let after = account(&cache);
        if after.nr_slab_visits > before.nr_slab_visits {
            counted.label(Label { path: Path::Refill as u32, nr_objects: (after.nr_out - before.nr_out) as u32 });
            nr_left -= 1;
        }
        before = after;
    }
    out.extend((0..10_000).map(|_| cache_alloc(word, 0)));
    // Nothing is put back before all is full; from then on a magazine's worth at a time.
    let mut nr_spills = 0;
    for object in out.into_iter().rev() {
        let nr_out = account(&cache).nr_out;
        let is_counted = nr_spills > 0;
        let failed = if is_counted { counted.call(cache_free, word, object) } else { cache_free(word, object) };
        assert_eq!(failed, 0);
        let nr_objects = nr_out - account(&cache).nr_out;
        if nr_objects > 0 {
            if is_counted {
                counted.label(Label { path: Path::Spill as u32, nr_objects: nr_objects as u32 });
            }
            nr_spills += 1;
            if nr_spills > NR_ROUNDS {
                break;
            }
        }
    }
}
