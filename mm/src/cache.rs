//! A cache: objects of one kind, from this CPU's magazines, the depot, and slabs, in that order.
//!
//! The construction of an object survives its free: a constructor runs when an object leaves a slab for the magazines,
//! the destructor when it goes back (Bonwick and Adams, section 3.1). In between the object is freed and reused as it
//! is.
//!
//! Called by: [`crate::heap`]. Calls: [`crate::magazine_layer`], [`crate::slab`], [`crate::supply`].
//! No lock is held while a constructor, a destructor or a report runs; they may allocate, from this cache too: the
//! CPU's magazines are busy then, and the slabs serve.

mod debugged;
mod guarded;
mod miss;
mod reap;
mod settings;

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::debug::DebugFlags;
use crate::debug::object::ObjectLayout;
use crate::depot::{Depot, DepotCounters};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::geometry::Geometry;
use crate::machine::Machine;
use crate::slab::{SlabCounters, Slabs};
use crate::supply::Supply;

use debugged::Debug;
use settings::Plan;
pub use settings::Settings;

/// New slabs are made for this part of a magazine: a first allocation shall not take pages for dozens of objects, nor
/// the next few come here again.
const GROW_PART: usize = 4;

/// Size of a free whose caller does not know it.
pub(crate) const UNKNOWN_SIZE: usize = usize::MAX;
/// What a reap has given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Magazines of depots, with their rounds.
    pub nr_magazines: u64,
    /// Pages of slabs.
    pub nr_pages: u64,
}

/// A cache, or a vacant place for one.
#[derive(Debug)]
pub struct Cache<M> {
    id: u16,
    is_live: AtomicBool,
    /// Valid while live. Written by [`Cache::open`] only, before `is_live` is set.
    plan: UnsafeCell<Plan>,
    depot: Depot<M>,
    slabs: Slabs<M>,
    /// Objects handed out past the magazines: by interrupts that landed on a holder, and when memory is scarce.
    nr_direct_allocs: AtomicU64,
    nr_direct_frees: AtomicU64,
    /// Rounds that turned out to be no objects of this cache's that were out: frees that were none.
    nr_refused: AtomicU64,
    /// Requests that were refused, by a constructor or for want of memory, after a reclaim.
    nr_failed: AtomicU64,
    nr_reaps: AtomicU64,
    /// What a debugged cache has besides.
    debug: Debug<M>,
    /// Its guarded objects, which are in none of its slabs.
    nr_guarded: AtomicU64,
}

// SAFETY: `plan` is written only while the cache is not live, by the one who opens it; everything else is atomics and
// locks.
unsafe impl<M: Machine> Sync for Cache<M> {}

impl<M: Machine> Cache<M> {
    /// A vacant place.
    pub(crate) const fn vacant(id: u16) -> Self {
        Self {
            id,
            is_live: AtomicBool::new(false),
            plan: UnsafeCell::new(Plan::new(Settings::new("vacant", 16, 8), Geometry::with_pages(16, 1))),
            depot: Depot::new(),
            slabs: Slabs::new(id),
            nr_direct_allocs: AtomicU64::new(0),
            nr_direct_frees: AtomicU64::new(0),
            nr_refused: AtomicU64::new(0),
            nr_failed: AtomicU64::new(0),
            nr_reaps: AtomicU64::new(0),
            debug: Debug::new(),
            nr_guarded: AtomicU64::new(0),
        }
    }

    /// Sets the id, while the array of caches is built.
    pub(crate) const fn set_id(&mut self, id: u16) {
        self.id = id;
        self.slabs.set_id(id);
    }

    /// Makes the place a cache. The heap keeps two from opening one place at once.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] for a size or alignment that slabs cannot have.
    pub(crate) fn open(&self, settings: Settings, smallest_request: usize, flags: DebugFlags) -> Result<()> {
        assert!(!self.is_live(), "cache {} is live already", self.id);
        let object_size = settings.object_size()?;
        let debug = (!flags.is_empty()).then(|| ObjectLayout::new(flags, object_size));
        let geometry = match debug {
            Some(ObjectLayout { stride, left, .. }) => Geometry::new(stride, stride).with_left(left),
            None => Geometry::new(object_size, smallest_request.min(object_size)),
        };
        self.slabs.set_geometry(geometry, debug);
        self.depot.set_object_size(geometry.object_size);
        // SAFETY: not live, so nobody reads it; one opener at a time by the heap's lock.
        unsafe { self.plan.get().write(Plan { object_size, debug, ..Plan::new(settings, geometry) }) };
        // Release pairs with `is_live`: who sees it live sees the plan.
        self.is_live.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes the place vacant. No object is out, no magazine is left.
    pub(crate) fn close(&self) {
        self.is_live.store(false, Ordering::Release);
    }

    /// Whether there is a cache here.
    pub fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Acquire)
    }

    fn plan(&self) -> &Plan {
        // SAFETY: only written while not live, and users have the cache from a heap that opened it before.
        unsafe { &*self.plan.get() }
    }

    /// What it was made for.
    pub fn settings(&self) -> &Settings {
        &self.plan().settings
    }

    /// Rounds in a magazine that it would make now.
    pub fn magazine_rounds(&self) -> usize {
        self.depot.rounds()
    }

    /// An object straight from the slabs.
    pub(crate) fn alloc_direct(&self, supply: &Supply<M>, size: usize) -> Result<NonNull<u8>> {
        if let Some(layout) = &self.plan().debug {
            return self.alloc_debugged(supply, layout, size);
        }
        let mut object = [NonNull::dangling()];
        if self.produce(supply, &mut object, 1) == 0 {
            return Err(Error::OutOfMemory { bytes: self.plan().settings.size });
        }
        self.nr_direct_allocs.fetch_add(1, Ordering::Relaxed);
        Ok(object[0])
    }

    /// Puts an object straight back into its slab.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`], [`Error::DoubleFree`] or [`Error::WrongCache`]; nothing has changed then.
    pub(crate) fn free_direct(&self, supply: &Supply<M>, object: NonNull<u8>) -> Result<()> {
        if let Some(destroy) = self.plan().settings.destructor {
            // Looked at beforehand only where something is done to it beforehand: the lock is taken once otherwise.
            self.slabs.check(&supply.frames, object)?;
            destroy(object);
        }
        let mut result = Ok(());
        self.slabs.free_batch(&supply.frames, &[object], |error| result = Err(error));
        self.nr_direct_frees.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
        result
    }

    /// Makes slabs until `nr_objects` are in them.
    pub(crate) fn grow(&self, supply: &Supply<M>, nr_objects: usize) -> Result<()> {
        self.slabs.grow(&supply.frames, nr_objects)
    }

    /// Whether an object of `slab`, one of this cache's, starts at `object` and is out; without a lock, so it may miss a
    /// free that another CPU makes at this moment. That one is caught when the second round leaves the magazines.
    pub(crate) fn check_racy(&self, supply: &Supply<M>, slab: Frame, object: NonNull<u8>) -> Result<()> {
        let addr = object.addr().get();
        let descriptor = supply.frames.table().of(slab);
        let offset = addr - supply.frames.virt(slab).addr().get();
        match self.plan().geometry.index_of(offset).and_then(|index| descriptor.is_out(index)) {
            Some(true) => Ok(()),
            // The free of a debugged object looks for itself, and has more to say.
            _ if self.is_debugged() => Ok(()),
            Some(false) => Err(Error::DoubleFree { addr }),
            None => Err(Error::Foreign { addr }),
        }
    }

    /// Bytes of an object. In a slab it may take more: see [`Cache::geometry`].
    pub fn object_size(&self) -> usize {
        self.plan().object_size
    }

    /// Constructed objects out of the slabs, with new slabs for `at_least` so many; returns how many.
    fn produce(&self, supply: &Supply<M>, objects: &mut [NonNull<u8>], at_least: usize) -> usize {
        let nr_raw = self.slabs.alloc_batch(&supply.frames, objects, at_least);
        let Some(construct) = self.plan().settings.constructor else { return nr_raw };
        let mut nr_ready = 0;
        for i in 0..nr_raw {
            if construct(objects[i]).is_ok() {
                objects.swap(i, nr_ready);
                nr_ready += 1;
            }
        }
        self.slabs.free_batch(&supply.frames, &objects[nr_ready..nr_raw], M::report);
        nr_ready
    }

    /// Destroys objects that leave the magazines and puts them into their slabs; bad ones are reported.
    fn consume(&self, supply: &Supply<M>, objects: &[NonNull<u8>]) {
        let refuse = |error| {
            self.nr_refused.fetch_add(1, Ordering::Relaxed);
            M::report(error);
        };
        let destructor = self.plan().settings.destructor;
        if destructor.is_none() && !supply.guards.has_pool() {
            return self.slabs.free_batch(&supply.frames, objects, refuse);
        }
        // One by one: an object that is here twice must be found free when its second round comes, and not be destroyed
        // again.
        for &object in objects {
            if supply.guards.contains(object) {
                let freed = self.free_guarded(supply, object);
                self.nr_refused.fetch_add(u64::from(freed.is_err()), Ordering::Relaxed);
                continue;
            }
            match self.slabs.check(&supply.frames, object) {
                Ok(()) => {
                    if let Some(destroy) = destructor {
                        destroy(object);
                    }
                    self.slabs.free_batch(&supply.frames, &[object], refuse);
                }
                Err(error) => refuse(error),
            }
        }
    }

    /// As `consume`, of entries of a magazine: one that was overwritten with zeroes is no pointer.
    fn consume_rounds(&self, supply: &Supply<M>, rounds: &[Option<NonNull<u8>>]) {
        if rounds.iter().all(Option::is_some) {
            // SAFETY: no entry is null, and a pointer that is not null is laid out as an option of one.
            let objects = unsafe { core::slice::from_raw_parts(rounds.as_ptr().cast::<NonNull<u8>>(), rounds.len()) };
            return self.consume(supply, objects);
        }
        for round in rounds {
            match round {
                Some(object) => self.consume(supply, &[*object]),
                None => {
                    self.nr_refused.fetch_add(1, Ordering::Relaxed);
                    M::report(Error::Foreign { addr: 0 });
                }
            }
        }
    }

    /// Slab counters.
    pub fn slab_counters(&self) -> SlabCounters {
        self.slabs.counters()
    }

    /// Depot counters.
    pub fn depot_counters(&self) -> DepotCounters {
        self.depot.counters()
    }

    /// Distance of objects, and slab size.
    pub fn geometry(&self) -> Geometry {
        self.plan().geometry
    }

    /// Frees that were counted and turned out to be none.
    pub fn nr_refused(&self) -> u64 {
        self.nr_refused.load(Ordering::Relaxed)
    }

    /// Counts a request that was refused.
    pub(crate) fn count_failure(&self) {
        self.nr_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were refused, when a reclaim had not helped either.
    pub fn nr_failed(&self) -> u64 {
        self.nr_failed.load(Ordering::Relaxed)
    }

    /// Reclaims that came by.
    pub fn nr_reaps(&self) -> u64 {
        self.nr_reaps.load(Ordering::Relaxed)
    }

    /// Times the lock of its slab lists was found held; the depot's is in [`Cache::depot_counters`].
    pub fn nr_slab_contentions(&self) -> u64 {
        self.slabs.nr_lock_contentions()
    }

    /// Allocations and frees that went past the magazines.
    pub fn direct_counters(&self) -> (u64, u64) {
        (self.nr_direct_allocs.load(Ordering::Relaxed), self.nr_direct_frees.load(Ordering::Relaxed))
    }
}
