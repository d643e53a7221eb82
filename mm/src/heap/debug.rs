//! Debug modes, as the heap's user sees them: which caches are debugged, a walk over their objects, what is still out.
//!
//! The checks themselves are each cache's: see [`crate::debug`].

use core::alloc::Layout;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use super::Heap;
use crate::cache::Settings;
use crate::debug::{DebugFlags, DebugRules, Fault, Finding, LiveObject, Moment, Track};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::size_class;

/// The rules by which caches are opened, or none.
#[derive(Debug)]
pub(super) struct Rules(AtomicPtr<DebugRules>);

impl Rules {
    pub(super) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(super) fn flags_for(&self, settings: &Settings) -> DebugFlags {
        // SAFETY: only `set_debug_rules` stores here, from a static reference.
        let rules = unsafe { self.0.load(Ordering::Acquire).as_ref() };
        rules.map_or(DebugFlags::NONE, |rules| rules(settings.name, settings.size))
    }
}

impl<M: Machine> Heap<M> {
    /// Says which caches are debugged. Before [`Heap::init`], which opens the size classes; caches of callers' own are
    /// asked for as they are made.
    pub fn set_debug_rules(&self, rules: &'static DebugRules) {
        self.debug_rules.0.store(ptr::from_ref(rules).cast_mut(), Ordering::Release);
    }

    /// Checks every object of the debugged caches, live or free; what is wrong is reported, repaired and not handed out
    /// again. Returns how many objects were wrong. Nothing is checked if an interrupt landed on this CPU's own reclaim.
    ///
    /// Context: as [`Heap::reclaim`].
    pub fn check_debugged(&self) -> u64 {
        let Some(_exclusive) = self.exclude_others() else { return 0 };
        self.caches().map(|(_, cache)| cache.check_objects(&self.supply)).sum()
    }

    /// Calls `f` with every object of debugged cache `id` that a user has, in the order of their addresses. `f` frees and
    /// makes no cache.
    pub fn for_each_live(&self, id: u16, f: impl FnMut(&LiveObject)) {
        let Some(_exclusive) = self.exclude_others() else { return };
        if let Some((_, cache)) = self.caches().find(|&(other, _)| other == id) {
            cache.for_each_live(&self.supply, f);
        }
    }

    /// From here on about one in `interval` visits behind a cache's magazines gets a guarded object, where the machine can
    /// map pages one by one; 0: none does. Not in debugged caches. See [`crate::guarded`].
    pub fn set_guard_interval(&self, interval: u32) {
        self.supply.guards.set_interval(interval);
    }

    /// Whether `addr` lies in the pool of guarded objects: a range test.
    #[inline]
    pub fn is_guarded(&self, addr: NonNull<u8>) -> bool {
        self.supply.guards.contains(addr)
    }

    /// What a fault at `addr` is, if it lies in the pool of guarded objects. For the report of a crash: takes no lock.
    pub fn explain_fault(&self, addr: usize) -> Option<Finding> {
        let known = self.supply.guards.explain(addr)?;
        let cache = self.caches.get(usize::from(known.cache)).filter(|cache| cache.is_live());
        Some(Finding {
            fault: Fault::Touch { offset: known.offset },
            moment: Moment::Fault,
            error: Error::Corrupted { addr: known.addr },
            addr: known.addr,
            cache: cache.map_or("gone", |cache| cache.settings().name),
            id: known.cache,
            object_size: known.size,
            requested: Some(known.requested),
            damage: None,
            found: Track::here::<M>(false),
            allocated: known.allocated,
            freed: known.freed,
        })
    }

    /// Frees an object of the pool, whichever cache it is of.
    #[cold]
    #[inline(never)]
    pub(super) fn free_guarded(&self, object: NonNull<u8>) -> Result<()> {
        let id = self.supply.guards.cache_of(object)?;
        let cache = self.caches.get(usize::from(id)).filter(|cache| cache.is_live());
        cache.ok_or(Error::Foreign { addr: object.addr().get() })?.free_guarded_directly(&self.supply, object)
    }

    /// Bytes of a live object of the pool.
    pub(super) fn guarded_size(&self, object: NonNull<u8>) -> Result<usize> {
        let id = self.supply.guards.cache_of(object)?;
        self.supply.guards.check(id, object)?;
        Ok(self.caches[usize::from(id)].object_size())
    }

    /// Whether requests of this layout come from a debugged cache. Those never grow in place: their redzone is in the way.
    pub(super) fn is_debugged_size(&self, layout: Layout) -> bool {
        size_class::index_for(layout.size(), layout.align()).is_some_and(|class| self.caches[class].is_debugged())
    }
}
