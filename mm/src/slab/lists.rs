//! The lists of one cache's slabs, and the bits of their objects: all that happens under the cache's slab lock.
//!
//! A list for the slabs of which no object is out, and one for each quarter of fill. Allocation takes from the fullest
//! quarter that has a slab, in O(1), so the nearly empty ones drain and go back to the frames (Bonwick 1994, section
//! 3.2, keeps one list in order of fill; jemalloc and mimalloc show what the order is worth).
//!
//! Invariants: a slab's list follows from its `nr_out` alone ([`list_of`]); a full one is in none. Every descriptor is
//! sealed when the lock is released, and its seal is checked before a word of it is used: see [`super::containment`].

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, Release};

use super::SlabCounters;
use super::containment::{Home, Place};
use crate::debug::object::ObjectLayout;
use crate::error::Result;
use crate::frame::{Frame, FrameRange};
use crate::frame_table::{Descriptor, FrameTable, NIL, NO_CACHE};
use crate::geometry::Geometry;
use crate::machine::Machine;

/// The list of slabs without an object out.
const EMPTY: usize = 0;
/// Lists of slabs with some objects out and some in, by quarters: `1..=NR_PARTIAL`.
const NR_PARTIAL: usize = 4;
const NR_LISTS: usize = 1 + NR_PARTIAL;

/// Damage that one call deals with before it gives up. Each is dealt with for good, so more can only come from someone
/// who goes on writing.
pub(super) const MAX_REPAIRS: usize = 8;

/// Objects that are put back at once, at most: what bounds the time under the lock.
pub(super) const MAX_RUN: usize = 8;

/// What [`Lists::put_run`] did.
pub(super) struct Put {
    pub(super) nr_objects: usize,
    /// No object of their slab is out any more.
    pub(super) is_empty: bool,
}

#[derive(Debug)]
pub(super) struct Lists {
    pub(super) geometry: Option<Geometry>,
    /// How objects of a debugged cache lie in their places.
    pub(super) debug: Option<ObjectLayout>,
    /// First slab of each list, by frame number.
    heads: [u32; NR_LISTS],
    /// The least number of empty slabs since the interval began: what nobody needed in it.
    least_empty: u64,
    /// The slab that this refill has taken from last.
    last_refilled_from: u32,
    pub(super) counters: SlabCounters,
}

/// The list in which a slab with so many objects out belongs; none if it is full.
fn list_of(nr_out: u16, nr_objects: u16) -> Option<usize> {
    match nr_out {
        0 => Some(EMPTY),
        _ if nr_out >= nr_objects => None,
        _ => Some(1 + usize::from(nr_out) * NR_PARTIAL / usize::from(nr_objects)),
    }
}

fn list_of_slab(descriptor: &Descriptor) -> Option<usize> {
    list_of(descriptor.nr_out.load(Relaxed), descriptor.nr_objects.load(Relaxed))
}

impl Lists {
    /// No slabs, of objects as `geometry` says, if it is known yet.
    pub(super) const fn new(geometry: Option<Geometry>) -> Self {
        Self {
            geometry,
            debug: None,
            heads: [NIL; NR_LISTS],
            least_empty: 0,
            last_refilled_from: NIL,
            counters: SlabCounters::ZERO,
        }
    }

    /// Enough empty slabs to give one back: keeping a few saves making them anew at the edge. A debugged cache's are
    /// checked before they go, in a reclaim.
    pub(super) fn has_empty_to_spare(&self) -> bool {
        self.debug.is_none() && self.counters.nr_empty > 1 + self.counters.nr_slabs / 8
    }

    /// Ends the interval that began with the last call; returns how many empty slabs nobody needed in it.
    pub(super) fn end_interval(&mut self) -> u64 {
        core::mem::replace(&mut self.least_empty, self.counters.nr_empty)
    }

    /// Objects that are taken from here on belong to a new refill, or to the same if `nr_refills` is 0.
    pub(super) fn count_refill(&mut self, nr_refills: u64) {
        if nr_refills > 0 {
            self.last_refilled_from = NIL;
        }
        self.counters.nr_refills += nr_refills;
        self.counters.nr_visits += nr_refills;
    }

    /// From here on objects that are put belong to a new flush, or to the same if `nr_flushes` is 0.
    pub(super) fn count_flush(&mut self, nr_flushes: u64) {
        self.counters.nr_flushes += nr_flushes;
        self.counters.nr_visits += nr_flushes;
    }

    /// Takes a new slab in, in which no object is out.
    pub(super) fn add_slab<M: Machine>(&mut self, home: Home<'_, M>, slab: Frame) {
        if !self.head_holds(home, EMPTY) {
            self.contain(home, self.heads[EMPTY]);
        }
        let descriptor = home.table().of(slab);
        // Release: a walk over debugged objects that sees the owner sees their records.
        descriptor.cache.store(home.id, Release);
        descriptor.seal(slab);
        self.link(home.table(), slab, EMPTY);
        self.counters.nr_created += 1;
        self.count(descriptor);
    }

    fn count(&mut self, descriptor: &Descriptor) {
        let nr_out = descriptor.nr_out.load(Relaxed);
        self.counters.nr_slabs += 1;
        self.counters.nr_empty += u64::from(nr_out == 0);
        self.counters.nr_pages += u64::from(descriptor.nr_pages.load(Relaxed));
        self.counters.nr_objects += u64::from(descriptor.nr_objects.load(Relaxed));
        self.counters.nr_out += u64::from(nr_out);
        self.counters.max_objects = self.counters.max_objects.max(self.counters.nr_objects);
    }

    /// Takes an empty slab out of its list and of the counts; it is no cache's from here.
    pub(super) fn detach_empty<M: Machine>(&mut self, home: Home<'_, M>) -> Option<FrameRange> {
        for _ in 0..MAX_REPAIRS {
            let number = self.heads[EMPTY];
            if number == NIL {
                return None;
            }
            let slab = Frame::new(number);
            if !self.head_holds(home, EMPTY) || !self.neighbours_hold(home, slab, EMPTY) || !home.pages_hold(slab) {
                self.contain(home, number);
                continue;
            }
            let table = home.table();
            let descriptor = table.of(slab);
            self.unlink(table, slab, EMPTY);
            descriptor.cache.store(NO_CACHE, Relaxed);
            descriptor.unseal(slab);
            let nr_pages = descriptor.nr_pages.load(Relaxed);
            self.counters.nr_slabs -= 1;
            self.counters.nr_empty -= 1;
            self.least_empty = self.least_empty.min(self.counters.nr_empty);
            self.counters.nr_destroyed += 1;
            self.counters.nr_pages -= u64::from(nr_pages);
            self.counters.nr_objects -= u64::from(descriptor.nr_objects.load(Relaxed));
            return FrameRange::new(slab, nr_pages);
        }
        None
    }

    /// Takes objects out of partial slabs, the fullest first, then out of empty ones.
    pub(super) fn take<M: Machine>(
        &mut self,
        home: Home<'_, M>,
        geometry: Geometry,
        objects: &mut [NonNull<u8>],
    ) -> usize {
        let table = home.table();
        let mut n = 0;
        let mut nr_repairs = 0;
        while n < objects.len() && nr_repairs < MAX_REPAIRS {
            let Some(from) = (0..NR_LISTS).rev().find(|&list| self.heads[list] != NIL) else { break };
            let slab = Frame::new(self.heads[from]);
            if !self.head_holds(home, from) || !self.neighbours_hold(home, slab, from) {
                self.contain(home, slab.number());
                nr_repairs += 1;
                continue;
            }
            let descriptor = table.of(slab);
            let (nr_out, nr_objects) = (descriptor.nr_out.load(Relaxed), descriptor.nr_objects.load(Relaxed));
            let nr_taken = usize::from(nr_objects - nr_out).min(objects.len() - n);
            let to = list_of(nr_out + nr_taken as u16, nr_objects);
            if to.is_some_and(|to| to != from && !self.head_holds(home, to)) {
                self.contain(home, to.map_or(NIL, |to| self.heads[to]));
                nr_repairs += 1;
                continue;
            }
            let taken = take_from(descriptor, home.frames.virt(slab), geometry, &mut objects[n..n + nr_taken]);
            n += usize::from(taken);
            descriptor.nr_out.store(nr_out + taken, Relaxed);
            descriptor.seal(slab);
            if to != Some(from) {
                self.unlink(table, slab, from);
                self.counters.nr_empty -= u64::from(from == EMPTY);
                self.least_empty = self.least_empty.min(self.counters.nr_empty);
            }
            self.counters.nr_out += u64::from(taken);
            self.counters.nr_taken += u64::from(taken);
            self.counters.nr_refill_slabs += u64::from(self.last_refilled_from != slab.number());
            self.last_refilled_from = slab.number();
            if let Some(to) = to
                && to != from
            {
                self.link(table, slab, to);
            }
        }
        n
    }

    /// Puts back the first of `objects`, and those behind it that lie in the same slab, up to `MAX_RUN`; at least one.
    pub(super) fn put_run<M: Machine>(&mut self, home: Home<'_, M>, objects: &[NonNull<u8>]) -> Result<Put> {
        let table = home.table();
        let (slab, index) = match self.locate(home, objects[0])? {
            Place::Slab(slab, index) => (slab, index),
            Place::Quarantined(slab, index) => {
                clear_bit(table.of(slab), index);
                self.counters.nr_quarantined_out = self.counters.nr_quarantined_out.saturating_sub(1);
                return Ok(Put { nr_objects: 1, is_empty: false });
            }
        };
        let descriptor = table.of(slab);
        clear_bit(descriptor, index);
        let nr_more = self.clear_more(home, slab, &objects[1..objects.len().min(MAX_RUN)]);
        let nr_put = 1 + nr_more as u16;
        let (nr_out, nr_objects) = (descriptor.nr_out.load(Relaxed), descriptor.nr_objects.load(Relaxed));
        let nr_left = nr_out.wrapping_sub(nr_put);
        descriptor.nr_out.store(nr_left, Relaxed);
        // Sound again from here, whatever list it is in: it would be found to be ours, and sorted in.
        descriptor.seal(slab);
        self.counters.nr_out -= u64::from(nr_put);
        self.counters.nr_put += u64::from(nr_put);
        self.count_flushed(descriptor);
        let (from, to) = (list_of(nr_out, nr_objects), list_of(nr_left, nr_objects));
        if from != to {
            let from_holds = from.is_none_or(|from| self.neighbours_hold(home, slab, from));
            if from_holds && to.is_none_or(|to| self.head_holds(home, to)) {
                if let Some(from) = from {
                    self.unlink(table, slab, from);
                }
                if let Some(to) = to {
                    self.link(table, slab, to);
                }
                self.counters.nr_empty += u64::from(nr_left == 0);
            } else {
                self.contain(home, slab.number());
            }
        }
        Ok(Put { nr_objects: usize::from(nr_put), is_empty: nr_left == 0 })
    }

    /// Marks those first `objects` as back that lie in `slab` and are out; returns how many.
    #[inline]
    fn clear_more<M: Machine>(&self, home: Home<'_, M>, slab: Frame, objects: &[NonNull<u8>]) -> usize {
        let Some(geometry) = self.geometry else { return 0 };
        let descriptor = home.table().of(slab);
        let base = home.frames.virt(slab).addr().get();
        let nr_objects = usize::from(descriptor.nr_objects.load(Relaxed));
        let nr_bytes = geometry.offset_of(nr_objects);
        let mut nr_cleared = 0;
        for object in objects {
            let offset = object.addr().get().wrapping_sub(base);
            // Behind the last object nothing is ours, and the quotient is exact only so far.
            let Some(index) = (offset < nr_bytes).then(|| geometry.index_of(offset)).flatten() else { break };
            let (word, bit) = (&descriptor.out[index / 64 % descriptor.out.len()], 1_u64 << (index % 64));
            let out = word.load(Relaxed);
            if out & bit == 0 {
                break;
            }
            word.store(out & !bit, Relaxed);
            nr_cleared += 1;
        }
        nr_cleared
    }

    /// Counts the slab, unless it has been counted in this flush.
    fn count_flushed(&mut self, descriptor: &Descriptor) {
        // Never 0 in a flush, which is what a new slab has; it would take 2^32 flushes without one to be taken for the same.
        let flush = self.counters.nr_flushes as u32;
        if descriptor.last_flush.load(Relaxed) != flush {
            descriptor.last_flush.store(flush, Relaxed);
            self.counters.nr_flush_slabs += 1;
        }
    }

    /// Whether the first slab of `list`, if it has one, may be used and stands where it should.
    fn head_holds<M: Machine>(&self, home: Home<'_, M>, list: usize) -> bool {
        let head = self.heads[list];
        head == NIL
            || home.is_linked(head, |descriptor| {
                descriptor.prev.load(Relaxed) == NIL && list_of_slab(descriptor) == Some(list)
            })
    }

    /// Whether the neighbours of `slab`, whose seal holds, may be used and point back to it.
    fn neighbours_hold<M: Machine>(&self, home: Home<'_, M>, slab: Frame, list: usize) -> bool {
        let descriptor = home.table().of(slab);
        let (next, prev) = (descriptor.next.load(Relaxed), descriptor.prev.load(Relaxed));
        let next_holds = next == NIL || home.is_linked(next, |next| next.prev.load(Relaxed) == slab.number());
        let prev_holds = if prev == NIL {
            self.heads[list] == slab.number()
        } else {
            home.is_linked(prev, |prev| prev.next.load(Relaxed) == slab.number())
        };
        next_holds && prev_holds
    }

    /// Puts `slab` at the head of `list`. It is sealed, and the present head holds.
    fn link(&mut self, table: &FrameTable, slab: Frame, list: usize) {
        let old = self.heads[list];
        table.of(slab).set_links(old, NIL);
        if old != NIL {
            let old = table.of(Frame::new(old));
            old.set_links(old.next.load(Relaxed), slab.number());
        }
        self.heads[list] = slab.number();
        self.counters.nr_partial += u64::from(list != EMPTY);
    }

    /// Takes `slab` out of `list`; its neighbours hold.
    fn unlink(&mut self, table: &FrameTable, slab: Frame, list: usize) {
        let descriptor = table.of(slab);
        let (next, prev) = (descriptor.next.load(Relaxed), descriptor.prev.load(Relaxed));
        self.counters.nr_partial -= u64::from(list != EMPTY);
        if next != NIL {
            let next = table.of(Frame::new(next));
            next.set_links(next.next.load(Relaxed), prev);
        }
        if prev == NIL {
            self.heads[list] = next;
        } else {
            let prev = table.of(Frame::new(prev));
            prev.set_links(next, prev.prev.load(Relaxed));
        }
    }

    /// Forgets all slabs, before they are found anew in the frame table.
    pub(super) fn forget(&mut self) {
        self.heads = [NIL; NR_LISTS];
        let SlabCounters { nr_slabs, nr_empty, nr_partial, nr_pages, nr_objects, nr_out, .. } = &mut self.counters;
        for counter in [nr_slabs, nr_empty, nr_partial, nr_pages, nr_objects, nr_out] {
            *counter = 0;
        }
    }

    /// Takes a slab in that was found in the frame table, and holds.
    pub(super) fn remember(&mut self, table: &FrameTable, slab: Frame) {
        let descriptor = table.of(slab);
        self.count(descriptor);
        if let Some(list) = list_of_slab(descriptor) {
            self.link(table, slab, list);
        }
    }
}

fn clear_bit(slab: &Descriptor, index: usize) {
    let word = &slab.out[index / 64];
    word.store(word.load(Relaxed) & !(1 << (index % 64)), Relaxed);
}

/// Writes the first free objects of a slab that begins at `base` into `objects`, and marks them out; returns how many.
#[inline]
fn take_from(slab: &Descriptor, base: NonNull<u8>, geometry: Geometry, objects: &mut [NonNull<u8>]) -> u16 {
    let nr_objects = usize::from(slab.nr_objects.load(Relaxed));
    let mut places = objects.iter_mut();
    let mut nr_taken = 0;
    for (i, word) in slab.out.iter().enumerate() {
        let before = word.load(Relaxed);
        let mut free = !before & existing_bits(nr_objects, i);
        let mut taken = 0;
        while free != 0
            && let Some(place) = places.next()
        {
            let bit = free & free.wrapping_neg();
            // SAFETY: the index is below the slab's number of objects, so the object lies inside its pages.
            *place = unsafe { base.add(geometry.offset_of(i * 64 + bit.trailing_zeros() as usize)) };
            free ^= bit;
            taken |= bit;
            nr_taken += 1;
        }
        if taken != 0 {
            word.store(before | taken, Relaxed);
        }
    }
    nr_taken
}

/// The bits of word `i` that stand for objects, in a slab of `nr_objects`.
pub(super) fn existing_bits(nr_objects: usize, i: usize) -> u64 {
    match nr_objects.saturating_sub(i * 64) {
        64.. => u64::MAX,
        nr_bits => (1 << nr_bits) - 1,
    }
}
