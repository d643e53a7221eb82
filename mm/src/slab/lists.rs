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

use super::containment::{Home, Place};
use super::{NO_CACHE, SlabCounters};
use crate::debug::object::ObjectLayout;
use crate::error::{Error, Metadata, Result};
use crate::frame::{Frame, FrameRange};
use crate::frame_table::{Descriptor, FrameTable, NIL};
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

#[derive(Debug)]
pub(super) struct Lists {
    pub(super) geometry: Option<Geometry>,
    /// How objects of a debugged cache lie in their places.
    pub(super) debug: Option<ObjectLayout>,
    /// First slab of each list, by frame number.
    heads: [u32; NR_LISTS],
    /// The least number of empty slabs since the interval began: what nobody needed in it.
    least_empty: u64,
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
        Self { geometry, debug: None, heads: [NIL; NR_LISTS], least_empty: 0, counters: SlabCounters::ZERO }
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
            let base = home.frames.virt(slab);
            let last = n + nr_taken;
            let taken = take_from(descriptor, |index| {
                if n == last {
                    return false;
                }
                // SAFETY: the index is below the slab's number of objects, so the object lies inside its pages.
                objects[n] = unsafe { base.add(geometry.offset_of(index)) };
                n += 1;
                true
            });
            if to != Some(from) {
                self.unlink(table, slab, from);
                self.counters.nr_empty -= u64::from(from == EMPTY);
                self.least_empty = self.least_empty.min(self.counters.nr_empty);
            }
            descriptor.nr_out.store(nr_out + taken, Relaxed);
            self.counters.nr_out += u64::from(taken);
            self.counters.nr_taken += u64::from(taken);
            self.counters.nr_refill_slabs += 1;
            match to {
                Some(to) if to != from => self.link(table, slab, to),
                _ => descriptor.seal(slab),
            }
        }
        n
    }

    /// Puts one object back; true if no object of its slab is out any more.
    pub(super) fn put<M: Machine>(&mut self, home: Home<'_, M>, object: NonNull<u8>) -> Result<bool> {
        let table = home.table();
        for _ in 0..MAX_REPAIRS {
            let (slab, index) = match self.locate(home, object)? {
                Place::Slab(slab, index) => (slab, index),
                Place::Quarantined(slab, index) => {
                    clear_bit(table.of(slab), index);
                    self.counters.nr_quarantined_out = self.counters.nr_quarantined_out.saturating_sub(1);
                    return Ok(false);
                }
            };
            let descriptor = table.of(slab);
            let (nr_out, nr_objects) = (descriptor.nr_out.load(Relaxed), descriptor.nr_objects.load(Relaxed));
            let (from, to) = (list_of(nr_out, nr_objects), list_of(nr_out - 1, nr_objects));
            if from != to {
                let from_holds = from.is_none_or(|from| self.neighbours_hold(home, slab, from));
                if !from_holds || to.is_some_and(|to| !self.head_holds(home, to)) {
                    self.contain(home, slab.number());
                    continue;
                }
                if let Some(from) = from {
                    self.unlink(table, slab, from);
                }
            }
            clear_bit(descriptor, index);
            descriptor.nr_out.store(nr_out - 1, Relaxed);
            self.counters.nr_out -= 1;
            self.counters.nr_put += 1;
            self.count_flushed(descriptor);
            match to {
                Some(to) if from != Some(to) => self.link(table, slab, to),
                _ => descriptor.seal(slab),
            }
            self.counters.nr_empty += u64::from(nr_out == 1);
            return Ok(nr_out == 1);
        }
        Err(Error::Corrupt { what: Metadata::SlabList, addr: object.addr().get() })
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

    /// Puts `slab` at the head of `list`, and seals it. The present head holds.
    fn link(&mut self, table: &FrameTable, slab: Frame, list: usize) {
        let descriptor = table.of(slab);
        descriptor.next.store(self.heads[list], Relaxed);
        descriptor.prev.store(NIL, Relaxed);
        if self.heads[list] != NIL {
            let old = Frame::new(self.heads[list]);
            table.of(old).prev.store(slab.number(), Relaxed);
            table.of(old).seal(old);
        }
        descriptor.seal(slab);
        self.heads[list] = slab.number();
        self.counters.nr_partial += u64::from(list != EMPTY);
    }

    /// Takes `slab` out of `list`. It and its neighbours hold; the caller seals it.
    fn unlink(&mut self, table: &FrameTable, slab: Frame, list: usize) {
        let descriptor = table.of(slab);
        let (next, prev) = (descriptor.next.load(Relaxed), descriptor.prev.load(Relaxed));
        self.counters.nr_partial -= u64::from(list != EMPTY);
        if next != NIL {
            let next = Frame::new(next);
            table.of(next).prev.store(prev, Relaxed);
            table.of(next).seal(next);
        }
        if prev == NIL {
            self.heads[list] = next;
        } else {
            let prev = Frame::new(prev);
            table.of(prev).next.store(next, Relaxed);
            table.of(prev).seal(prev);
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

/// Offers free objects of a slab, in ascending order, until `accept` declines; marks the accepted ones out.
fn take_from(slab: &Descriptor, mut accept: impl FnMut(usize) -> bool) -> u16 {
    let nr_objects = usize::from(slab.nr_objects.load(Relaxed));
    let mut taken = 0;
    for (i, word) in slab.out.iter().enumerate() {
        if i * 64 >= nr_objects {
            break;
        }
        let existing = existing_bits(nr_objects, i);
        let mut out = word.load(Relaxed);
        while out & existing != existing {
            let bit = (!out & existing).trailing_zeros() as usize;
            if !accept(i * 64 + bit) {
                word.store(out, Relaxed);
                return taken;
            }
            out |= 1 << bit;
            taken += 1;
        }
        word.store(out, Relaxed);
    }
    taken
}

/// The bits of word `i` that stand for objects, in a slab of `nr_objects`.
pub(super) fn existing_bits(nr_objects: usize, i: usize) -> u64 {
    match nr_objects.saturating_sub(i * 64) {
        64.. => u64::MAX,
        nr_bits => (1 << nr_bits) - 1,
    }
}
