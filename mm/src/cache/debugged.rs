//! The checks of a debugged cache: every allocation and free of it comes here, one object at a time.
//!
//! The record behind each object says where the object is in its life; it is read and written under the cache's debug
//! lock, so a free that is none is found at once, whichever CPUs are in the game. An object that was written where it
//! must not be is reported, repaired and kept out of use; a bad free is reported and changes nothing.
//!
//! Lock order: the debug lock is taken with no other lock held and none is taken under it. No report, constructor or
//! destructor runs under it.

mod verdict;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::Cache;
use crate::debug::object::{ObjectLayout, State};
use crate::debug::{DebugFlags, Fault, Finding, LiveObject, Moment, Track};
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::machine::Machine;
use crate::supply::Supply;
use verdict::{Suspicion, examine, take_back, take_out};

/// What a debugged cache has besides.
#[derive(Debug)]
pub(super) struct Debug<M> {
    /// Counts allocations and frees; guards the objects' records.
    seq: Lock<u64, M>,
    nr_findings: AtomicU64,
}

impl<M: Machine> Debug<M> {
    pub(super) const fn new() -> Self {
        Self { seq: Lock::new(0), nr_findings: AtomicU64::new(0) }
    }

    pub(super) fn count_finding(&self) {
        self.nr_findings.fetch_add(1, Ordering::Relaxed);
    }
}

impl<M: Machine> Cache<M> {
    /// Whether it has any debug checks.
    pub fn is_debugged(&self) -> bool {
        self.plan().debug.is_some()
    }

    /// Its debug checks.
    pub fn debug_flags(&self) -> DebugFlags {
        self.plan().debug.map_or(DebugFlags::NONE, |layout| layout.flags)
    }

    /// What its debug checks have found so far.
    pub fn nr_findings(&self) -> u64 {
        self.debug.nr_findings.load(Ordering::Relaxed)
    }

    fn here(layout: &ObjectLayout) -> Track {
        Track::here::<M>(layout.flags.has(DebugFlags::AUDIT))
    }

    /// An object of which `size` bytes were asked for, verified, fresh and constructed.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], also when the constructor refused.
    #[cold]
    #[inline(never)]
    pub(super) fn alloc_debugged(&self, supply: &Supply<M>, layout: &ObjectLayout, size: usize) -> Result<NonNull<u8>> {
        let settings = self.settings();
        let out_of_memory = Error::OutOfMemory { bytes: settings.size };
        let size = size.min(settings.size);
        let mut by = Self::here(layout);
        loop {
            let mut place = [NonNull::dangling()];
            if self.slabs.alloc_batch(&supply.frames, &mut place, 1) == 0 {
                return Err(out_of_memory);
            }
            let object = place[0];
            let verdict = {
                let mut seq = self.debug.seq.lock();
                *seq += 1;
                by.seq = *seq;
                // SAFETY: an object of ours that has just left its slab.
                unsafe { take_out(layout, object, size, by) }
            };
            // Kept out of use, it counts as one that a user has.
            self.nr_direct_allocs.fetch_add(1, Ordering::Relaxed);
            if !verdict.is_fit {
                if let Some(suspicion) = verdict.suspicion {
                    self.report_suspicion(Moment::Alloc, object.addr().get(), suspicion, by);
                }
                continue;
            }
            let is_constructed = settings.constructor.is_none_or(|construct| construct(object).is_ok());
            let seq = self.debug.seq.lock();
            // SAFETY: an object of ours that nobody else has.
            let record = unsafe { layout.record(object) };
            if is_constructed {
                if let Some(record) = record {
                    // SAFETY: as above.
                    unsafe { layout.go_on(object, record, State::Live) };
                }
                return Ok(object);
            }
            if let Some(record) = record {
                // SAFETY: as above.
                unsafe { layout.make_free(object, record) };
            }
            drop(seq);
            self.slabs.free_batch(&supply.frames, &[object], M::report);
            self.nr_direct_frees.fetch_add(1, Ordering::Relaxed);
            return Err(out_of_memory);
        }
    }

    /// Takes back an object of which `size` bytes were asked for, after every check there is.
    ///
    /// # Errors
    ///
    /// What is wrong, which has been reported: a bad free, and nothing has changed, or [`Error::Corrupted`], and the
    /// object is out of use.
    #[cold]
    #[inline(never)]
    pub(super) fn free_debugged(
        &self,
        supply: &Supply<M>,
        layout: &ObjectLayout,
        object: NonNull<u8>,
        size: usize,
    ) -> Result<()> {
        let addr = object.addr().get();
        let mut by = Self::here(layout);
        // A double free is for the record to tell, which knows more.
        if let Err(error) = self.slabs.check(&supply.frames, object)
            && !matches!(error, Error::DoubleFree { .. })
        {
            let record = self.slabs.around(&supply.frames, self.geometry(), object).and_then(|object| {
                let _seq = self.debug.seq.lock();
                // SAFETY: an object of ours.
                unsafe { layout.record(object) }
            });
            self.report_suspicion(Moment::Free, addr, Suspicion::bad_free(error, record), by);
            return Err(error);
        }
        let verdict = {
            let mut seq = self.debug.seq.lock();
            *seq += 1;
            by.seq = *seq;
            // SAFETY: an object of ours.
            unsafe { take_back(layout, object, size, by) }
        };
        if !verdict.is_fit {
            let Some(suspicion) = verdict.suspicion else { return Err(Error::Corrupted { addr }) };
            let error = suspicion.error;
            self.report_suspicion(Moment::Free, addr, suspicion, by);
            return Err(error);
        }
        if let Some(destroy) = self.settings().destructor {
            destroy(object);
        }
        {
            let _seq = self.debug.seq.lock();
            // SAFETY: an object of ours that nobody has; it is not in its slab yet.
            unsafe {
                if let Some(record) = layout.record(object) {
                    layout.make_free(object, record);
                }
            }
        }
        let mut result = Ok(());
        self.slabs.free_batch(&supply.frames, &[object], |error| result = Err(error));
        self.nr_direct_frees.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
        result
    }

    /// Bytes that can be used at `object`: what was asked for, in a debugged cache.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] or [`Error::DoubleFree`], as far as a debugged cache knows.
    pub(crate) fn usable_size(&self, supply: &Supply<M>, object: NonNull<u8>) -> Result<usize> {
        let Some(layout) = &self.plan().debug else { return Ok(self.object_size()) };
        self.slabs.check(&supply.frames, object)?;
        let addr = object.addr().get();
        let _seq = self.debug.seq.lock();
        // SAFETY: an object of ours.
        let record = unsafe { layout.record(object) }.ok_or(Error::Corrupted { addr })?;
        if record.is_in(State::Live) { Ok(record.requested) } else { Err(Error::DoubleFree { addr }) }
    }

    /// Checks every object in every slab; reports, repairs and counts what is wrong. The caller excludes reclaims.
    pub(crate) fn check_objects(&self, supply: &Supply<M>) -> u64 {
        let Some(layout) = &self.plan().debug else { return 0 };
        let mut nr_found = 0;
        self.slabs.for_each_object(&supply.frames, self.geometry(), |object| {
            nr_found += u64::from(self.check_object(layout, object));
        });
        nr_found
    }

    /// Checks an object, wherever it is in its life; whether anything was wrong.
    pub(super) fn check_object(&self, layout: &ObjectLayout, object: NonNull<u8>) -> bool {
        let suspicion = {
            let _seq = self.debug.seq.lock();
            // SAFETY: an object of ours.
            unsafe { examine(layout, object) }
        };
        let is_bad = suspicion.is_some();
        if let Some(suspicion) = suspicion {
            self.report_suspicion(Moment::Check, object.addr().get(), suspicion, Self::here(layout));
        }
        is_bad
    }

    /// Calls `f` with every object that a user has. The caller excludes reclaims.
    pub(crate) fn for_each_live(&self, supply: &Supply<M>, mut f: impl FnMut(&LiveObject)) {
        let Some(layout) = &self.plan().debug else { return };
        self.slabs.for_each_object(&supply.frames, self.geometry(), |object| {
            let record = {
                let _seq = self.debug.seq.lock();
                // SAFETY: an object of ours.
                unsafe { layout.record(object) }
            };
            if let Some(record) = record.filter(|record| record.is_in(State::Live)) {
                f(&LiveObject { addr: object.addr().get(), size: record.requested, allocated: record.allocated });
            }
        });
    }

    /// Before a cache goes: reports what is still out, and lets the objects that were kept out of use go.
    pub(crate) fn settle(&self, supply: &Supply<M>) {
        let Some(layout) = &self.plan().debug else { return };
        self.slabs.for_each_object(&supply.frames, self.geometry(), |object| {
            let addr = object.addr().get();
            let record = {
                let _seq = self.debug.seq.lock();
                // SAFETY: an object of ours; if it is retired nobody has it.
                unsafe {
                    let record = layout.record(object);
                    if let Some(record) = record.filter(|record| record.is_in(State::Retired)) {
                        layout.make_free(object, record);
                    }
                    record
                }
            };
            match record {
                Some(record) if record.is_in(State::Live) => {
                    let error = Error::Busy { nr_objects: self.slab_counters().nr_out as usize };
                    let leak = Suspicion { fault: Fault::Leak, error, damage: None, record: Some(record) };
                    self.report_suspicion(Moment::Destroy, addr, leak, Self::here(layout));
                }
                Some(record) if record.is_in(State::Retired) => {
                    self.slabs.free_batch(&supply.frames, &[object], M::report);
                    self.nr_direct_frees.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        });
        self.slabs.reap(&supply.frames, |_| {});
    }

    fn report_suspicion(&self, moment: Moment, addr: usize, suspicion: Suspicion, found: Track) {
        self.debug.count_finding();
        let Suspicion { fault, error, damage, record } = suspicion;
        let known = |track: Track| (track.seq > 0).then_some(track);
        let allocated = record.and_then(|record| known(record.allocated));
        let freed = record.and_then(|record| known(record.freed));
        M::report_finding(&Finding {
            fault,
            moment,
            error,
            addr,
            cache: self.settings().name,
            id: self.id,
            object_size: self.object_size(),
            requested: record.filter(|record| record.allocated.seq > 0).map(|record| record.requested),
            damage,
            found,
            allocated,
            // An earlier free says nothing about a live object.
            freed: freed.filter(|freed| allocated.is_none_or(|allocated| freed.seq > allocated.seq)),
        });
    }
}
