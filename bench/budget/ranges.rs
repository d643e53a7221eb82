//! The paths of address ranges: out of magazines, and out of an arena in any number of pieces.
//!
//! The fragments are as in Bonwick and Adams, section 4.4.5: an arena is filled with ranges of one to eight pages, and every
//! other one is freed, so that no two of the free segments meet. Then ranges of each size come and go.

use std::alloc::{Layout, alloc};
use std::ptr::NonNull;
use std::sync::OnceLock;

use mm::arena::{Arena, Options, Policy, SharedArena, VirtRange};
use mm::frame::PAGE_SIZE;

use crate::machine::{HEAP, Stepped};
use crate::paths::Path;
use crate::step::{Counted, Label};

/// Segments of an arena, and the paths that are counted in it.
pub(crate) const FRAGMENTED: [(usize, Path, Path); 4] = [
    (10, Path::Alloc10, Path::Free10),
    (1_000, Path::Alloc1k, Path::Free1k),
    (100_000, Path::Alloc100k, Path::Free100k),
    (1_000_000, Path::Alloc1m, Path::Free1m),
];

const BASE: usize = 0xffff_c000_0000_0000;

static RANGES: OnceLock<SharedArena<Stepped>> = OnceLock::new();

fn ranges() -> &'static SharedArena<Stepped> {
    let span = VirtRange::new(BASE, 1 << 18).expect("canonical");
    // SAFETY: the only arena of this machine with quantum caches.
    RANGES.get_or_init(|| unsafe { SharedArena::new(&HEAP, span, Options::default()) }.expect("memory for tags"))
}

/// The arena that the script passes as a word.
fn shared<'a>(arena: usize) -> &'a SharedArena<Stepped> {
    // SAFETY: the address of the static.
    unsafe { &*std::ptr::with_exposed_provenance(arena) }
}

extern "C" fn range_alloc(arena: usize, nr_pages: usize) -> usize {
    shared(arena).alloc(nr_pages).map_or(0, VirtRange::start)
}

/// Of one page: a call has two words.
extern "C" fn range_free(arena: usize, addr: usize) -> usize {
    usize::from(shared(arena).free(addr, 1).is_err())
}

/// Counts ranges out of magazines.
pub(crate) fn magazines(counted: &mut Counted) {
    let arena = std::ptr::from_ref(ranges()).expose_provenance();
    let warm: Vec<_> = (0..6).map(|_| range_alloc(arena, 1)).collect();
    warm.iter().for_each(|&addr| assert_eq!(range_free(arena, addr), 0));
    for _ in 0..3 {
        let addr = counted.one(Path::RangeAlloc, range_alloc, arena, 1);
        assert_eq!(counted.one(Path::RangeFree, range_free, arena, addr), 0);
    }
}

/// An arena of one owner, with what the calls pass beside it.
struct Owned {
    arena: Arena,
    /// Pages of the range that is freed next.
    nr_pages: usize,
}

fn owned<'a>(word: usize) -> &'a mut Owned {
    // SAFETY: the address of the script's arena, of which it makes no other use meanwhile.
    unsafe { &mut *std::ptr::with_exposed_provenance_mut(word) }
}

extern "C" fn arena_alloc(word: usize, nr_pages: usize) -> usize {
    owned(word).arena.alloc(nr_pages, Policy::Instant).map_or(0, VirtRange::start)
}

extern "C" fn arena_free(word: usize, addr: usize) -> usize {
    let Owned { arena, nr_pages } = owned(word);
    usize::from(arena.free(addr, *nr_pages).is_err())
}

fn refill(arena: &mut Arena) {
    while arena.nr_pages_wanted() > 0 {
        let layout = Layout::from_size_align(PAGE_SIZE, PAGE_SIZE).expect("a sane layout");
        // SAFETY: the layout has a size; the page is the arena's for good.
        unsafe { arena.give_page(NonNull::new(alloc(layout)).expect("the host has memory")) };
    }
}

/// Counts ranges out of arenas in few pieces and in many.
pub(crate) fn fragments(counted: &mut Counted) {
    for (nr_segments, alloc, free) in FRAGMENTED {
        let mut it = Owned { arena: Arena::new(), nr_pages: 0 };
        refill(&mut it.arena);
        it.arena.add_span(VirtRange::new(BASE, 1 << 30).expect("canonical")).expect("tags");
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut size = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            1 + (random >> 40) as usize % 8
        };
        let mut ranges = Vec::new();
        for _ in 0..nr_segments {
            refill(&mut it.arena);
            ranges.push(it.arena.alloc(size(), Policy::Instant).expect("addresses"));
        }
        for range in ranges.iter().step_by(2) {
            it.arena.free(range.start(), range.nr_pages()).expect("ours");
        }
        refill(&mut it.arena);
        let word = (&raw mut it).expose_provenance();
        for _ in 0..40 {
            let nr_pages = size();
            let addr = counted.call(arena_alloc, word, nr_pages);
            counted.label(Label { path: alloc as u32, nr_objects: 1 });
            assert_ne!(addr, 0, "{nr_pages} pages");
            owned(word).nr_pages = nr_pages;
            assert_eq!(counted.call(arena_free, word, addr), 0);
            counted.label(Label { path: free as u32, nr_objects: 1 });
        }
    }
}
