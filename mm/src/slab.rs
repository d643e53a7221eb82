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
//! Invariants: a slab with objects in is in the list of its fill, see [`lists`]; one with all out is in none; `nr_out` of
//! a slab is the number of bits in its `out`; its descriptor is sealed, and one whose seal is broken is quarantined, see
//! [`containment`].
//! Called by: [`crate::cache`] with batches, [`crate::supply`]. Lock order: 2 (slab lists of a cache); the frames below
//! are asked only while it is not held.

mod containment;
mod lists;
mod released;

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::debug::object::ObjectLayout;
use crate::error::{Error, Result};
use crate::frame::{Frame, PAGE_SIZE};
use crate::frame_bitmap::RunRequest;
use crate::frame_table::{Kind, MAX_OBJECTS, NO_CACHE};
use crate::frames::Frames;
use crate::geometry::Geometry;
use crate::latency::{self, Path};
use crate::lock::Lock;
use crate::machine::Machine;
use crate::size_class::MIN_CLASS_SIZE;
use containment::Home;
use lists::Lists;
use released::Released;

/// What is done under one hold of the lock, at most: objects that leave, and runs of up to [`lists::MAX_RUN`] objects of
/// one slab that come back. Interrupts are off that long: see the lines `-masked` of `budget.txt`.
const MAX_TAKEN: usize = 24;
const MAX_STEPS: usize = 1;

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
    /// Of these, with some objects out and some in.
    pub nr_partial: u64,
    /// Pages of all slabs.
    pub nr_pages: u64,
    /// Objects of all slabs.
    pub nr_objects: u64,
    /// The most objects that there have been.
    pub max_objects: u64,
    /// Of these, out: with users or in magazines.
    pub nr_out: u64,
    /// Objects that left the slabs so far.
    pub nr_taken: u64,
    /// Objects that came back so far.
    pub nr_put: u64,
    /// Slabs made so far.
    pub nr_created: u64,
    /// Slabs given back so far.
    pub nr_destroyed: u64,
    /// Batches of objects that left or came back.
    pub nr_visits: u64,
    /// Slabs that were overwritten and taken out of use so far. They are in none of the counts above.
    pub nr_quarantined: u64,
    /// Pages of these.
    pub nr_quarantined_pages: u64,
    /// Objects of these that have not come back.
    pub nr_quarantined_out: u64,
    /// Of these, those that left.
    pub nr_refills: u64,
    /// Slabs that they came out of, counted for each batch: few if the objects of a batch are neighbours.
    pub nr_refill_slabs: u64,
    /// Batches that came back.
    pub nr_flushes: u64,
    /// Slabs that they went into, counted for each batch.
    pub nr_flush_slabs: u64,
}

impl SlabCounters {
    const ZERO: Self = Self {
        nr_slabs: 0,
        nr_empty: 0,
        nr_partial: 0,
        nr_pages: 0,
        nr_objects: 0,
        max_objects: 0,
        nr_out: 0,
        nr_taken: 0,
        nr_put: 0,
        nr_created: 0,
        nr_destroyed: 0,
        nr_visits: 0,
        nr_quarantined: 0,
        nr_quarantined_pages: 0,
        nr_quarantined_out: 0,
        nr_refills: 0,
        nr_refill_slabs: 0,
        nr_flushes: 0,
        nr_flush_slabs: 0,
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

    /// Sets the object size, and how debugged objects lie. The cache has no slabs.
    pub(crate) fn set_geometry(&self, geometry: Geometry, debug: Option<ObjectLayout>) {
        let mut lists = self.lists.lock();
        assert!(lists.counters.nr_slabs == 0, "cache {} has {} slabs", self.id, lists.counters.nr_slabs);
        lists.geometry = Some(geometry);
        lists.debug = debug;
        // What an earlier cache in this place has lost stays lost.
        let SlabCounters { nr_quarantined, nr_quarantined_pages, .. } = lists.counters;
        lists.counters = SlabCounters { nr_quarantined, nr_quarantined_pages, ..SlabCounters::ZERO };
    }

    fn home<'a>(&self, frames: &'a Frames<M>) -> Home<'a, M> {
        Home { id: self.id, frames }
    }

    /// Takes objects: all that the slabs have, up to the length of `objects`, and new slabs until there are `at_least`.
    /// Returns how many; fewer than `at_least` when memory is out.
    ///
    /// Whole slabs are emptied one after the other, so objects of a batch are neighbours.
    pub(crate) fn alloc_batch(&self, frames: &Frames<M>, objects: &mut [NonNull<u8>], at_least: usize) -> usize {
        latency::reach::<M>(Path::Slab);
        let mut n = 0;
        let mut grown = None;
        let mut nr_visits = 1;
        loop {
            let is_dry;
            let (geometry, debug) = {
                let mut lists = self.lists.lock();
                lists.count_refill(core::mem::take(&mut nr_visits));
                let geometry = lists.geometry.expect("a cache has an object size before it allocates");
                if let Some(slab) = grown.take() {
                    lists.add_slab(self.home(frames), slab);
                }
                let wanted = objects.len().min(n + MAX_TAKEN);
                n += lists.take(self.home(frames), geometry, &mut objects[n..wanted]);
                is_dry = n < wanted;
                (geometry, lists.debug)
            };
            frames.incidents.report();
            if n == objects.len() || is_dry && n >= at_least {
                return n;
            }
            if !is_dry {
                continue;
            }
            // Not under the lock: the frames below have one of their own.
            match self.make_slab(frames, geometry, debug) {
                Ok(slab) => grown = Some(slab),
                Err(_) => return n,
            }
        }
    }

    /// Makes slabs until `nr_objects` objects are in slabs.
    pub(crate) fn grow(&self, frames: &Frames<M>, nr_objects: usize) -> Result<()> {
        loop {
            let (geometry, debug) = {
                let lists = self.lists.lock();
                let nr_in = lists.counters.nr_objects - lists.counters.nr_out;
                if nr_in >= nr_objects as u64 {
                    return Ok(());
                }
                (lists.geometry.expect("a cache has an object size before it grows"), lists.debug)
            };
            let slab = self.make_slab(frames, geometry, debug)?;
            self.lists.lock().add_slab(self.home(frames), slab);
            frames.incidents.report();
        }
    }

    /// A new slab, in no list yet. Falls back to a single page when no longer run of frames is left.
    fn make_slab(&self, frames: &Frames<M>, geometry: Geometry, debug: Option<ObjectLayout>) -> Result<Frame> {
        latency::reach::<M>(Path::Frame);
        let make = |geometry: Geometry| {
            let frame = if geometry.nr_pages == 1 {
                frames.alloc(Kind::Slab)?
            } else {
                frames.alloc_run(RunRequest::pages(geometry.nr_pages), Kind::Slab)?.start()
            };
            if let Some(layout) = debug {
                let base = frames.virt(frame);
                for index in 0..geometry.nr_objects {
                    // SAFETY: an object of the slab that nobody sees yet.
                    unsafe { layout.init(base.add(geometry.offset_of(index))) };
                }
            }
            let slab = frames.table().of(frame);
            slab.nr_out.store(0, Relaxed);
            slab.last_flush.store(0, Relaxed);
            slab.nr_objects.store(geometry.nr_objects as u16, Relaxed);
            slab.out.iter().for_each(|word| word.store(0, Relaxed));
            // Nobody's until it is in a list: a walk over the table must not take it in before.
            debug_assert!(slab.cache.load(Relaxed) == NO_CACHE, "frame {:#x} is a cache's", frame.number());
            Ok(frame)
        };
        make(geometry).or_else(|error| geometry.single_page().map_or(Err(error), make))
    }

    /// Puts objects back. A bad one is handed to `report`, with the lock released, and skipped.
    pub(crate) fn free_batch(&self, frames: &Frames<M>, objects: &[NonNull<u8>], mut report: impl FnMut(Error)) {
        latency::reach::<M>(Path::Slab);
        let home = self.home(frames);
        let mut rest = objects;
        let mut nr_visits = 1;
        while !rest.is_empty() {
            let mut released = Released::new();
            let mut error = None;
            let mut nr_steps = 0;
            let mut lists = self.lists.lock();
            lists.count_flush(core::mem::take(&mut nr_visits));
            while !rest.is_empty() && nr_steps < MAX_STEPS && !released.is_full() {
                nr_steps += 1;
                match lists.put_run(home, rest) {
                    Ok(put) => {
                        rest = &rest[put.nr_objects..];
                        if put.is_empty && lists.has_empty_to_spare() {
                            released.extend(lists.detach_empty(home));
                        }
                    }
                    Err(bad) => {
                        rest = &rest[1..];
                        error = Some(bad);
                        break;
                    }
                }
            }
            drop(lists);
            if let Some(bad) = error {
                report(bad);
            }
            released.free(frames);
            frames.incidents.report();
        }
    }

    /// Whether `object` is one of this cache's and out.
    pub(crate) fn check(&self, frames: &Frames<M>, object: NonNull<u8>) -> Result<()> {
        let found = self.check_quietly(frames, object);
        frames.incidents.report();
        found
    }

    /// As `check`, with a lock held above: damage that is met waits to be reported.
    pub(crate) fn check_quietly(&self, frames: &Frames<M>, object: NonNull<u8>) -> Result<()> {
        self.lists.lock().locate(self.home(frames), object).map(|_| ())
    }

    /// Gives the empty slabs back to the frames; returns how many pages. The objects of a debugged cache's go through
    /// `check` before, when nobody can reach them any more.
    pub(crate) fn reap(&self, frames: &Frames<M>, check: impl FnMut(NonNull<u8>)) -> u64 {
        self.give_back(frames, u64::MAX, check)
    }

    /// As `reap`, of as many empty slabs as nobody needed since the last call.
    pub(crate) fn reap_idle(&self, frames: &Frames<M>, check: impl FnMut(NonNull<u8>)) -> u64 {
        let nr_idle = self.lists.lock().end_interval();
        self.give_back(frames, nr_idle, check)
    }

    fn give_back(&self, frames: &Frames<M>, mut nr_slabs: u64, mut check: impl FnMut(NonNull<u8>)) -> u64 {
        let mut nr_pages = 0;
        while nr_slabs > 0 {
            let mut released = Released::new();
            let mut lists = self.lists.lock();
            while nr_slabs > 0 && !released.is_full() {
                let Some(slab) = lists.detach_empty(self.home(frames)) else {
                    nr_slabs = 0;
                    break;
                };
                nr_slabs -= 1;
                nr_pages += u64::from(slab.nr_pages());
                released.extend(Some(slab));
            }
            let debugged = lists.debug.and(lists.geometry);
            drop(lists);
            if let Some(geometry) = debugged {
                released.for_each_object(frames, geometry, &mut check);
            }
            released.free(frames);
            frames.incidents.report();
        }
        nr_pages
    }

    /// Calls `f` with every object, in whatever state. The caller keeps slabs from being given back meanwhile.
    pub(crate) fn for_each_object(&self, frames: &Frames<M>, geometry: Geometry, mut f: impl FnMut(NonNull<u8>)) {
        frames.table().for_each(|frame, descriptor| {
            if descriptor.kind() != Kind::Slab || descriptor.run_length().is_none() {
                return;
            }
            // Acquire pairs with `make_slab`.
            if descriptor.cache.load(Acquire) == self.id {
                let base = frames.virt(frame);
                for index in 0..usize::from(descriptor.nr_objects.load(Relaxed)) {
                    // SAFETY: the slab has so many objects.
                    f(unsafe { base.add(geometry.offset_of(index)) });
                }
            }
        });
    }

    /// The object that `addr` lies in or beside, in its place, if that is one of this cache's.
    pub(crate) fn around(&self, frames: &Frames<M>, geometry: Geometry, addr: NonNull<u8>) -> Option<NonNull<u8>> {
        let frame = frames.frame_of(addr)?;
        let descriptor = frames.table().get(frame).filter(|descriptor| descriptor.kind() == Kind::Slab)?;
        let slab = descriptor.head(frame);
        let descriptor = frames.table().get(slab).filter(|slab| slab.cache.load(Acquire) == self.id)?;
        let base = frames.virt(slab);
        let index = (addr.addr().get() - base.addr().get()) / geometry.object_size;
        // SAFETY: the slab has so many objects.
        (index < usize::from(descriptor.nr_objects.load(Relaxed)))
            .then(|| unsafe { base.add(geometry.offset_of(index)) })
    }

    /// Times the lock of the lists was found held.
    pub(crate) fn nr_lock_contentions(&self) -> u64 {
        self.lists.nr_contended()
    }

    /// What the slabs hold now.
    pub fn counters(&self) -> SlabCounters {
        self.lists.lock().counters
    }
}

// A page of the smallest objects has a bit for each.
const _: () = assert!(PAGE_SIZE / MIN_CLASS_SIZE <= MAX_OBJECTS);
