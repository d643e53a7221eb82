//! Guarded objects: now and then an allocation gets a page of its own, with an unmapped page on either side.
//!
//! ```text
//!   page    0     1        2     3        4     ...     128
//!           │hole │ slot 0 │hole │ slot 1 │hole │ ... │ hole │
//!   a page  │object|pattern........│   or   │........pattern|object│   in turns
//! ```
//!
//! The object lies at one edge of its page, so that the first byte beyond that edge faults; the rest of the page is
//! filled with a pattern that is verified at the free. A freed object's page is unmapped at once, and its slot waits
//! behind all the others: a use after free faults. Who allocated and who freed is kept for the report of the fault.
//! Sampling makes it cheap enough for a machine at work: the idea is KFENCE's (Linux, `mm/kfence`).
//!
//! An object of a cache has the size of the cache's objects here too, since a free on the hit path puts it on a magazine
//! as any other, and the next who asks for that size may get it. It is recognised when it leaves the magazine.
//!
//! Invariants: a slot is in the ring, or live, or on its way; its page is mapped while it is live. Lock order: the ring's
//! lock is held for a few stores only, nothing is taken under it. Called by: [`crate::cache`] on its slow paths.
//! Off, it costs a load and a test there.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::debug::object::{FRESH, REDZONE, damage};
use crate::debug::{Damage, MAX_SITES, Track};
use crate::error::{Error, Result};
use crate::frame::PAGE_SIZE;
use crate::lock::Lock;
use crate::machine::Machine;

/// Guarded objects at once.
pub const NR_SLOTS: usize = 64;

/// Pages of the pool, the holes included.
pub const NR_PAGES: usize = 2 * NR_SLOTS + 1;

const VACANT: u8 = 0;
const LIVE: u8 = 1;
const FREEING: u8 = 2;
const FREED: u8 = 3;

/// A track that a report may read at any moment, torn at worst.
#[derive(Debug)]
struct TrackCell {
    seq: AtomicU64,
    cpu: AtomicU32,
    nr_sites: AtomicU32,
    sites: [AtomicUsize; MAX_SITES],
}

impl TrackCell {
    const fn new() -> Self {
        Self {
            seq: AtomicU64::new(0),
            cpu: AtomicU32::new(0),
            nr_sites: AtomicU32::new(0),
            sites: [const { AtomicUsize::new(0) }; MAX_SITES],
        }
    }

    fn store(&self, track: &Track) {
        self.seq.store(track.seq, Ordering::Relaxed);
        self.cpu.store(track.cpu, Ordering::Relaxed);
        self.nr_sites.store(track.sites().len() as u32, Ordering::Relaxed);
        for (cell, &site) in self.sites.iter().zip(track.sites()) {
            cell.store(site, Ordering::Relaxed);
        }
    }

    fn load(&self) -> Option<Track> {
        let sites: [usize; MAX_SITES] = core::array::from_fn(|i| self.sites[i].load(Ordering::Relaxed));
        let nr_sites = (self.nr_sites.load(Ordering::Relaxed) as usize).min(MAX_SITES);
        let seq = self.seq.load(Ordering::Relaxed);
        (seq > 0).then(|| Track::new(seq, self.cpu.load(Ordering::Relaxed), &sites[..nr_sites]))
    }
}

#[derive(Debug)]
struct Slot {
    state: AtomicU8,
    cache: AtomicU16,
    /// Bytes of the object, and of these asked for.
    size: AtomicU32,
    requested: AtomicU32,
    /// Where in its page the object starts.
    offset: AtomicU32,
    allocated: TrackCell,
    freed: TrackCell,
}

impl Slot {
    const fn new() -> Self {
        Self {
            state: AtomicU8::new(VACANT),
            cache: AtomicU16::new(0),
            size: AtomicU32::new(0),
            requested: AtomicU32::new(0),
            offset: AtomicU32::new(0),
            allocated: TrackCell::new(),
            freed: TrackCell::new(),
        }
    }
}

/// The slots that are free, the longest freed one first.
#[derive(Debug)]
struct Ring {
    slots: [u8; NR_SLOTS],
    first: usize,
    len: usize,
    /// Counts allocations and frees.
    seq: u64,
    nr_allocs: u64,
}

/// The guarded objects of all caches.
#[derive(Debug)]
pub struct Guards<M> {
    /// One visit in so many gets a guarded object; 0: none does.
    interval: AtomicU32,
    nr_visits: AtomicU32,
    is_reserving: AtomicBool,
    /// The pool's first page, or null.
    pool: AtomicPtr<u8>,
    ring: Lock<Ring, M>,
    slots: [Slot; NR_SLOTS],
}

/// What is known of the guarded object that an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Address of the object.
    pub addr: usize,
    /// The cache it is of.
    pub cache: u16,
    /// Bytes of it.
    pub size: usize,
    /// Of these, asked for by the first who got it.
    pub requested: usize,
    /// Where the address lies, in bytes from the object's start.
    pub offset: isize,
    /// Who got it from the pool.
    pub allocated: Option<Track>,
    /// Who freed it, if it is free.
    pub freed: Option<Track>,
}

impl<M: Machine> Guards<M> {
    /// No guarded objects, and none to come.
    pub(crate) const fn new() -> Self {
        let mut numbers = [0; NR_SLOTS];
        let mut i = 0;
        while i < NR_SLOTS {
            numbers[i] = i as u8;
            i += 1;
        }
        Self {
            interval: AtomicU32::new(0),
            nr_visits: AtomicU32::new(0),
            is_reserving: AtomicBool::new(false),
            pool: AtomicPtr::new(ptr::null_mut()),
            ring: Lock::new(Ring { slots: numbers, first: 0, len: NR_SLOTS, seq: 0, nr_allocs: 0 }),
            slots: [const { Slot::new() }; NR_SLOTS],
        }
    }

    /// From here on about one in `interval` visits to a cache's slow path of allocation gets a guarded object; 0: none.
    pub(crate) fn set_interval(&self, interval: u32) {
        self.interval.store(interval, Ordering::Relaxed);
    }

    /// Whether any visit may get one.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.interval.load(Ordering::Relaxed) != 0
    }

    /// Whether there is a pool, and thus may be guarded objects.
    #[inline]
    pub(crate) fn has_pool(&self) -> bool {
        !self.pool.load(Ordering::Relaxed).is_null()
    }

    /// Whether `addr` lies in the pool, holes included. Two loads' worth: one of the pool's address, and a comparison.
    #[inline]
    pub fn contains(&self, addr: NonNull<u8>) -> bool {
        let pool = self.pool.load(Ordering::Relaxed).addr();
        pool != 0 && addr.addr().get().wrapping_sub(pool) < NR_PAGES * PAGE_SIZE
    }

    /// An object of `size` bytes for `cache`, if one is due and can be had.
    pub(crate) fn alloc(&self, cache: u16, size: usize, requested: usize) -> Option<NonNull<u8>> {
        if size > PAGE_SIZE || !self.is_due() {
            return None;
        }
        let pool = self.pool_or_reserve()?;
        let (number, seq, is_left) = {
            let mut ring = self.ring.lock();
            if ring.len == 0 {
                return None;
            }
            let number = usize::from(ring.slots[ring.first]);
            ring.first = (ring.first + 1) % NR_SLOTS;
            ring.len -= 1;
            ring.seq += 1;
            ring.nr_allocs += 1;
            (number, ring.seq, ring.nr_allocs.is_multiple_of(2))
        };
        // SAFETY: inside the pool.
        let page = unsafe { pool.add((2 * number + 1) * PAGE_SIZE) };
        if M::map_page_at(page).is_err() {
            self.put_back(number);
            return None;
        }
        let offset = if is_left { 0 } else { PAGE_SIZE - size };
        // SAFETY: the page has just been mapped, for this slot alone.
        let object = unsafe {
            page.write_bytes(REDZONE, PAGE_SIZE);
            page.add(offset)
        };
        // SAFETY: as above.
        unsafe { object.write_bytes(FRESH, size) };
        let slot = &self.slots[number];
        slot.cache.store(cache, Ordering::Relaxed);
        slot.size.store(size as u32, Ordering::Relaxed);
        slot.requested.store(requested.min(size) as u32, Ordering::Relaxed);
        slot.offset.store(offset as u32, Ordering::Relaxed);
        slot.allocated.store(&Track::here::<M>(true).with_seq(seq));
        // Release: who finds it live sees the rest.
        slot.state.store(LIVE, Ordering::Release);
        Some(object)
    }

    fn is_due(&self) -> bool {
        let interval = self.interval.load(Ordering::Relaxed);
        interval != 0 && self.nr_visits.fetch_add(1, Ordering::Relaxed) % interval == interval - 1
    }

    fn pool_or_reserve(&self) -> Option<NonNull<u8>> {
        if let Some(pool) = NonNull::new(self.pool.load(Ordering::Acquire)) {
            return Some(pool);
        }
        // One tries at a time; the others go without, for now.
        if self.is_reserving.swap(true, Ordering::Acquire) {
            return None;
        }
        let pool = match NonNull::new(self.pool.load(Ordering::Acquire)) {
            Some(pool) => Some(pool),
            None => M::reserve_addresses(NR_PAGES).inspect(|pool| self.pool.store(pool.as_ptr(), Ordering::Release)),
        };
        self.is_reserving.store(false, Ordering::Release);
        pool
    }

    /// The slot is free, behind all that are.
    fn put_back(&self, number: usize) {
        let mut ring = self.ring.lock();
        let last = (ring.first + ring.len) % NR_SLOTS;
        ring.slots[last] = number as u8;
        ring.len += 1;
    }

    /// The slot whose page `addr` lies in.
    fn slot_at(&self, addr: NonNull<u8>) -> Option<usize> {
        let page = self.page_at(addr.addr().get())?;
        (page % 2 == 1).then_some(page / 2)
    }

    fn page_at(&self, addr: usize) -> Option<usize> {
        let pool = self.pool.load(Ordering::Relaxed).addr();
        let page = addr.wrapping_sub(pool) / PAGE_SIZE;
        (pool != 0 && page < NR_PAGES).then_some(page)
    }

    /// The cache whose object `addr`, of the pool, is or was.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] for an address at which no object was ever.
    pub(crate) fn cache_of(&self, addr: NonNull<u8>) -> Result<u16> {
        let slot = self.slot_at(addr).map(|number| &self.slots[number]);
        let slot = slot.filter(|slot| slot.state.load(Ordering::Acquire) != VACANT);
        slot.map(|slot| slot.cache.load(Ordering::Relaxed)).ok_or(Error::Foreign { addr: addr.addr().get() })
    }

    /// Whether a live object of `cache` starts at `object`, of the pool; its slot.
    ///
    /// # Errors
    ///
    /// As a free of it.
    pub(crate) fn check(&self, cache: u16, object: NonNull<u8>) -> Result<usize> {
        let addr = object.addr().get();
        let number = self.slot_at(object).ok_or(Error::Foreign { addr })?;
        let slot = &self.slots[number];
        let state = slot.state.load(Ordering::Acquire);
        let (owner, offset) = (slot.cache.load(Ordering::Relaxed), slot.offset.load(Ordering::Relaxed));
        if state == VACANT || addr % PAGE_SIZE != offset as usize {
            return Err(Error::Foreign { addr });
        }
        if owner != cache {
            return Err(Error::WrongCache { addr, owner, given: cache });
        }
        if state == LIVE { Ok(number) } else { Err(Error::DoubleFree { addr }) }
    }

    /// Claims a live object of `cache` for its free; what its user wrote beside it.
    ///
    /// # Errors
    ///
    /// As [`Guards::check`]; nothing has changed.
    pub(crate) fn begin_free(&self, cache: u16, object: NonNull<u8>) -> Result<(usize, Option<Damage>)> {
        let addr = object.addr().get();
        let number = self.check(cache, object)?;
        let slot = &self.slots[number];
        if slot.state.compare_exchange(LIVE, FREEING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(Error::DoubleFree { addr });
        }
        let (offset, size) = (slot.offset.load(Ordering::Relaxed) as usize, slot.size.load(Ordering::Relaxed) as usize);
        // SAFETY: the page is mapped while its slot is live or freeing, and its object lies in it.
        let found = unsafe {
            damage(object, -(offset as isize), offset, REDZONE).or(damage(
                object,
                size as isize,
                PAGE_SIZE - offset - size,
                REDZONE,
            ))
        };
        Ok((number, found))
    }

    /// Unmaps the page of a claimed object. Its slot waits behind all others; one that cannot be unmapped never comes back.
    pub(crate) fn finish_free(&self, number: usize, by: Track) {
        let Some(pool) = NonNull::new(self.pool.load(Ordering::Relaxed)) else { return };
        let seq = {
            let mut ring = self.ring.lock();
            ring.seq += 1;
            ring.seq
        };
        self.slots[number].freed.store(&by.with_seq(seq));
        self.slots[number].state.store(FREED, Ordering::Release);
        // SAFETY: inside the pool; the object is its user's no more, and nobody else has the slot.
        if unsafe { M::unmap_page_at(pool.add((2 * number + 1) * PAGE_SIZE)) }.is_ok() {
            self.put_back(number);
        }
    }

    /// What is known of an address of the pool: of the object in its page, or of the nearest one beside a hole. Takes no
    /// lock, so that the report of a crash may ask.
    pub fn explain(&self, addr: usize) -> Option<Guarded> {
        let page = self.page_at(addr)?;
        let candidate = |number: usize| -> Option<Guarded> {
            let slot = self.slots.get(number)?;
            let state = slot.state.load(Ordering::Acquire);
            if state == VACANT {
                return None;
            }
            let start = self.pool.load(Ordering::Relaxed).addr() + (2 * number + 1) * PAGE_SIZE;
            let object = start + slot.offset.load(Ordering::Relaxed) as usize;
            let allocated = slot.allocated.load();
            let freed = slot.freed.load();
            Some(Guarded {
                addr: object,
                cache: slot.cache.load(Ordering::Relaxed),
                size: slot.size.load(Ordering::Relaxed) as usize,
                requested: slot.requested.load(Ordering::Relaxed) as usize,
                offset: addr.wrapping_sub(object) as isize,
                allocated,
                // The free of the slot's last object says nothing about this one.
                freed: freed.filter(|freed| allocated.is_none_or(|allocated| freed.seq > allocated.seq)),
            })
        };
        if page % 2 == 1 {
            return candidate(page / 2);
        }
        let distance = |object: &Guarded| match object.offset {
            before @ ..0 => before.unsigned_abs(),
            behind => (behind as usize).saturating_sub(object.size),
        };
        let left = page.checked_sub(1).and_then(|page| candidate(page / 2));
        left.into_iter().chain(candidate(page / 2)).min_by_key(distance)
    }
}
