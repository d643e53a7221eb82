//! Slabs of one cache: runs of frames cut into objects of one size.
//!
//! ```text
//!   pages      │ object 0 │ object 1 │ object 2 │ ... │ object n-1 │ unused │      objects only
//!   descriptor   out: 1011..0   nr_out, nr_objects, next/prev                     beside them, in the frame table
//! ```
//!
//! Bonwick, "The Slab Allocator" (USENIX 1994), with the state of the free objects kept outside them as in FreeBSD's
//! UMA. An object is "out" while the bit is set, be it with a user or in a magazine; this is where a double or foreign
//! free is caught, at full speed, when the object leaves the magazines.
//!
//! Invariants: a slab with some objects out and some in is in the `partial` list, one with none out in the `empty`
//! list, one with all out in neither; `nr_out` of a slab is the number of bits in its `out`.
//! Called by: [`crate::cache`] with batches, [`crate::supply`]. Lock order: 2 (slab lists of a cache); the frames below
//! are asked only while it is not held.

mod lists;

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::frame::{Frame, FrameRange, PAGE_SIZE};
use crate::frame_bitmap::RunRequest;
use crate::frame_table::{Kind, MAX_OBJECTS, NIL};
use crate::frames::Frames;
use crate::geometry::Geometry;
use crate::lock::Lock;
use crate::machine::Machine;
use crate::size_class::MIN_CLASS_SIZE;
use lists::Lists;

/// Owner of a slab that is on its way back to the frames.
const NO_CACHE: u16 = u16::MAX;

/// The slabs of one cache. See the module.
#[derive(Debug)]
pub struct Slabs<M> {
    id: u16,
    lists: Lock<Lists, M>,
}

/// What a cache's slabs hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabCounters {
    /// Slabs there are.
    pub nr_slabs: u64,
    /// Of these, without an object out.
    pub nr_empty: u64,
    /// Pages of all slabs.
    pub nr_pages: u64,
    /// Objects of all slabs.
    pub nr_objects: u64,
    /// Of these, out: with users or in magazines.
    pub nr_out: u64,
    /// Slabs made so far.
    pub nr_created: u64,
    /// Slabs given back so far.
    pub nr_destroyed: u64,
    /// Batches of objects that left or came back.
    pub nr_visits: u64,
}

impl SlabCounters {
    const ZERO: Self = Self {
        nr_slabs: 0,
        nr_empty: 0,
        nr_pages: 0,
        nr_objects: 0,
        nr_out: 0,
        nr_created: 0,
        nr_destroyed: 0,
        nr_visits: 0,
    };
}

impl<M: Machine> Slabs<M> {
    /// No slabs, and no object size yet; `id` is the owner's mark in the frame table.
    pub(crate) const fn new(id: u16) -> Self {
        Self { id, lists: Lock::new(Lists::new(None)) }
    }

    /// No slabs yet, of objects as `geometry` says.
    pub(crate) const fn with_geometry(id: u16, geometry: Geometry) -> Self {
        Self { id, lists: Lock::new(Lists::new(Some(geometry))) }
    }

    /// Sets the id, while an array of caches is built.
    pub(crate) const fn set_id(&mut self, id: u16) {
        self.id = id;
    }

    /// Sets the object size. The cache has no slabs.
    pub(crate) fn set_geometry(&self, geometry: Geometry) {
        let mut lists = self.lists.lock();
        assert!(lists.counters.nr_slabs == 0, "cache {} has {} slabs", self.id, lists.counters.nr_slabs);
        lists.geometry = Some(geometry);
        lists.counters = SlabCounters::ZERO;
    }

    /// Takes objects: all that the slabs have, up to the length of `objects`, and new slabs until there are `at_least`.
    /// Returns how many; fewer than `at_least` when memory is out.
    ///
    /// Whole slabs are emptied one after the other, so objects of a batch are neighbours.
    pub(crate) fn alloc_batch(&self, frames: &Frames<M>, objects: &mut [NonNull<u8>], at_least: usize) -> usize {
        let mut n = 0;
        let mut grown = None;
        let mut nr_visits = 1;
        loop {
            let geometry = {
                let mut lists = self.lists.lock();
                lists.counters.nr_visits += core::mem::take(&mut nr_visits);
                let geometry = lists.geometry.expect("a cache has an object size before it allocates");
                if let Some(slab) = grown.take() {
                    lists.add_slab(frames.table(), slab);
                }
                n += lists.take(frames, geometry, &mut objects[n..]);
                geometry
            };
            if n >= at_least {
                return n;
            }
            // Not under the lock: the frames below have one of their own.
            match self.make_slab(frames, geometry) {
                Ok(slab) => grown = Some(slab),
                Err(_) => return n,
            }
        }
    }

    /// Makes slabs until `nr_objects` objects are in slabs.
    pub(crate) fn grow(&self, frames: &Frames<M>, nr_objects: usize) -> Result<()> {
        loop {
            let geometry = {
                let lists = self.lists.lock();
                let nr_in = lists.counters.nr_objects - lists.counters.nr_out;
                if nr_in >= nr_objects as u64 {
                    return Ok(());
                }
                lists.geometry.expect("a cache has an object size before it grows")
            };
            let slab = self.make_slab(frames, geometry)?;
            self.lists.lock().add_slab(frames.table(), slab);
        }
    }

    /// A new slab, in no list yet. Falls back to a single page when no longer run of frames is left.
    fn make_slab(&self, frames: &Frames<M>, geometry: Geometry) -> Result<Frame> {
        let make = |geometry: Geometry| {
            let frame = if geometry.nr_pages == 1 {
                frames.alloc(Kind::Slab)?
            } else {
                frames.alloc_run(RunRequest::pages(geometry.nr_pages), Kind::Slab)?.start()
            };
            let slab = frames.table().of(frame);
            slab.nr_out.store(0, Relaxed);
            slab.nr_objects.store(geometry.nr_objects as u16, Relaxed);
            slab.out.iter().for_each(|word| word.store(0, Relaxed));
            slab.cache.store(self.id, Relaxed);
            Ok(frame)
        };
        make(geometry).or_else(|error| geometry.single_page().map_or(Err(error), make))
    }

    /// Puts objects back. A bad one is handed to `report`, with the lock released, and skipped.
    pub(crate) fn free_batch(&self, frames: &Frames<M>, objects: &[NonNull<u8>], mut report: impl FnMut(Error)) {
        let mut rest = objects;
        let mut released = NIL;
        let mut nr_visits = 1;
        while !rest.is_empty() {
            let mut lists = self.lists.lock();
            lists.counters.nr_visits += core::mem::take(&mut nr_visits);
            let mut error = None;
            while let [object, tail @ ..] = rest {
                rest = tail;
                match lists.put(self.id, frames, *object) {
                    Ok(Some(empty)) if lists.has_empty_to_spare() => {
                        lists.detach_empty(frames.table(), empty);
                        frames.table().of(empty).next.store(released, Relaxed);
                        released = empty.number();
                    }
                    Ok(_) => {}
                    Err(bad) => {
                        error = Some(bad);
                        break;
                    }
                }
            }
            drop(lists);
            if let Some(bad) = error {
                report(bad);
            }
        }
        release_chain(frames, released);
    }

    /// Whether `object` is one of this cache's and out.
    pub(crate) fn check(&self, frames: &Frames<M>, object: NonNull<u8>) -> Result<()> {
        let lists = self.lists.lock();
        lists.find(self.id, frames, object).map(|_| ())
    }

    /// Gives the empty slabs back to the frames; returns how many pages.
    pub(crate) fn reap(&self, frames: &Frames<M>) -> u64 {
        let mut released = NIL;
        let mut nr_pages = 0;
        {
            let mut lists = self.lists.lock();
            while lists.empty != NIL {
                let slab = Frame::new(lists.empty);
                nr_pages += u64::from(frames.table().of(slab).nr_pages.load(Relaxed));
                lists.detach_empty(frames.table(), slab);
                frames.table().of(slab).next.store(released, Relaxed);
                released = slab.number();
            }
        }
        release_chain(frames, released);
        nr_pages
    }

    /// What the slabs hold now.
    pub fn counters(&self) -> SlabCounters {
        self.lists.lock().counters
    }
}

/// Frees slabs that are in no list, linked by `next`.
fn release_chain<M: Machine>(frames: &Frames<M>, mut number: u32) {
    while number != NIL {
        let slab = Frame::new(number);
        let descriptor = frames.table().of(slab);
        number = descriptor.next.load(Relaxed);
        let range = FrameRange::new(slab, descriptor.nr_pages.load(Relaxed)).expect("a slab has pages");
        // SAFETY: no object of the slab is out, and the slab is in no list, so nobody can reach it.
        if let Err(error) = unsafe { frames.free_run(range, Kind::Slab) } {
            panic!("the {} pages of empty slab {:#x} cannot be freed: {error}", range.nr_pages(), slab.number());
        }
    }
}

// A page of the smallest objects has a bit for each.
const _: () = assert!(PAGE_SIZE / MIN_CLASS_SIZE <= MAX_OBJECTS);
