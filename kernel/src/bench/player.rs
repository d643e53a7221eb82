//! How a contender plays a recording: by the player of the `replay` command, with objects of its own.
//!
//! Called by: [`super::contenders`], a line of its for each; [`super::replays`].

use core::alloc::Layout;
use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::histogram::Histogram;
use kernel::trace::Action;
use mm::error::{Error, Result};
use mm::size_class;
use workloads::Peer;

use super::solo::timed;
use crate::machine::HEAP;
use crate::replay::{self, End, Objects, Stage, Unwatched, Watcher};

/// Of the first CPU's allocations and frees one in so many is timed.
pub(super) const EVERY: u64 = 4;

/// How a contender plays; a line of its in the list of contenders.
pub(super) struct Entry {
    /// Plays the stream of one player.
    pub(super) play: fn(&Stage<'_>, usize),
    /// The same, and times some of its calls.
    pub(super) sample: fn(&Stage<'_>, usize, &mut Sampler<'_>),
    /// Ends it, when all have played.
    pub(super) end: fn(&Stage<'_>) -> End,
}

impl Entry {
    /// With objects from `P`.
    pub(super) const fn of<P: Peer>() -> Self {
        Self {
            play: |stage, player| replay::play_stream::<From<P>>(stage, player, &mut Unwatched),
            sample: |stage, player, sampler| replay::play_stream::<From<P>>(stage, player, sampler),
            end: |stage| stage.end::<From<P>>(),
        }
    }
}

/// Objects from `P`; those that no slab holds are pages.
struct From<P>(PhantomData<P>);

impl<P: Peer> Objects for From<P> {
    #[inline(always)]
    fn alloc(layout: Layout) -> Result<NonNull<u8>> {
        if is_pages(layout) {
            return HEAP.alloc(layout);
        }
        NonNull::new(P::alloc(layout)).ok_or(Error::OutOfMemory { bytes: layout.size() })
    }

    #[inline(always)]
    unsafe fn free(object: NonNull<u8>, layout: Layout) -> Result<()> {
        if is_pages(layout) {
            // SAFETY: as promised by the caller.
            return unsafe { HEAP.dealloc(object, layout) };
        }
        // SAFETY: as promised by the caller.
        unsafe { P::dealloc(object.as_ptr(), layout) };
        Ok(())
    }
}

/// Whether no slab holds what `layout` asks for.
#[inline(always)]
pub(super) fn is_pages(layout: Layout) -> bool {
    size_class::index_for(layout.size(), layout.align()).is_none()
}

/// Times some of what it sees.
pub(super) struct Sampler<'a> {
    /// Of allocations, and of frees.
    pub(super) histograms: &'a mut [Histogram],
    nr_seen: u64,
}

impl<'a> Sampler<'a> {
    /// Samples go to two histograms: of allocations, and of frees.
    pub(super) fn new(histograms: &'a mut [Histogram]) -> Self {
        Self { histograms, nr_seen: 0 }
    }
}

impl Watcher for Sampler<'_> {
    #[inline(always)]
    fn during<R>(&mut self, action: Action, work: impl FnOnce() -> R) -> R {
        self.nr_seen += 1;
        if !self.nr_seen.is_multiple_of(EVERY) {
            return work();
        }
        let (result, ticks) = timed(work);
        self.histograms[usize::from(action == Action::Free)].record(ticks);
        result
    }
}
