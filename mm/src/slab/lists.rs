//! The lists of one cache's slabs, and the bits of their objects: all that happens under the cache's slab lock.

use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use super::{NO_CACHE, SlabCounters};
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::frame_table::{Descriptor, FrameTable, Kind, NIL};
use crate::frames::Frames;
use crate::geometry::Geometry;
use crate::machine::Machine;

#[derive(Debug)]
pub(super) struct Lists {
    pub(super) geometry: Option<Geometry>,
    /// First slab of each list, by frame number.
    partial: u32,
    pub(super) empty: u32,
    pub(super) counters: SlabCounters,
}

impl Lists {
    /// No slabs, of objects as `geometry` says, if it is known yet.
    pub(super) const fn new(geometry: Option<Geometry>) -> Self {
        Self { geometry, partial: NIL, empty: NIL, counters: SlabCounters::ZERO }
    }

    /// Enough empty slabs to give one back: keeping a few saves making them anew at the edge.
    pub(super) fn has_empty_to_spare(&self) -> bool {
        self.counters.nr_empty > 1 + self.counters.nr_slabs / 8
    }

    pub(super) fn add_slab(&mut self, table: &FrameTable, slab: Frame) {
        let descriptor = table.of(slab);
        push(table, &mut self.empty, slab);
        self.counters.nr_slabs += 1;
        self.counters.nr_empty += 1;
        self.counters.nr_created += 1;
        self.counters.nr_pages += u64::from(descriptor.nr_pages.load(Relaxed));
        self.counters.nr_objects += u64::from(descriptor.nr_objects.load(Relaxed));
    }

    /// Takes an empty slab out of its list and of the counts; it is no cache's from here.
    pub(super) fn detach_empty(&mut self, table: &FrameTable, slab: Frame) {
        let descriptor = table.of(slab);
        remove(table, &mut self.empty, slab);
        descriptor.cache.store(NO_CACHE, Relaxed);
        self.counters.nr_slabs -= 1;
        self.counters.nr_empty -= 1;
        self.counters.nr_destroyed += 1;
        self.counters.nr_pages -= u64::from(descriptor.nr_pages.load(Relaxed));
        self.counters.nr_objects -= u64::from(descriptor.nr_objects.load(Relaxed));
    }

    /// Takes objects out of partial slabs, then out of empty ones.
    pub(super) fn take<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        geometry: Geometry,
        objects: &mut [NonNull<u8>],
    ) -> usize {
        let table = frames.table();
        let mut n = 0;
        while n < objects.len() {
            let from_empty = self.partial == NIL;
            let slab = Frame::new(if from_empty { self.empty } else { self.partial });
            if slab.number() == NIL {
                break;
            }
            let base = frames.virt(slab);
            let descriptor = table.of(slab);
            let taken = take_from(descriptor, |index| {
                if n == objects.len() {
                    return false;
                }
                // SAFETY: the index is below the slab's number of objects, so the object lies inside its pages.
                objects[n] = unsafe { base.add(index * geometry.object_size) };
                n += 1;
                true
            });
            self.counters.nr_out += u64::from(taken);
            let nr_out = descriptor.nr_out.load(Relaxed) + taken;
            descriptor.nr_out.store(nr_out, Relaxed);
            let is_full = nr_out == descriptor.nr_objects.load(Relaxed);
            if from_empty {
                remove(table, &mut self.empty, slab);
                self.counters.nr_empty -= 1;
                if !is_full {
                    push(table, &mut self.partial, slab);
                }
            } else if is_full {
                remove(table, &mut self.partial, slab);
            }
        }
        n
    }

    /// The slab and index of an object that is out.
    pub(super) fn find<M: Machine>(&self, id: u16, frames: &Frames<M>, object: NonNull<u8>) -> Result<(Frame, usize)> {
        let addr = object.addr().get();
        let foreign = Error::Foreign { addr };
        let frame = frames.frame_of(object).ok_or(foreign)?;
        let descriptor = frames.table().get(frame).ok_or(foreign)?;
        if descriptor.kind() != Kind::Slab {
            return Err(foreign);
        }
        let slab = descriptor.head(frame);
        let descriptor = frames.table().get(slab).ok_or(foreign)?;
        match descriptor.cache.load(Relaxed) {
            owner if owner == id => {}
            NO_CACHE => return Err(foreign),
            owner => return Err(Error::WrongCache { addr, owner, given: id }),
        }
        let offset = addr - frames.virt(slab).addr().get();
        let geometry = self.geometry.ok_or(foreign)?;
        let index = geometry.index_of(offset).ok_or(foreign)?;
        if index >= usize::from(descriptor.nr_objects.load(Relaxed)) {
            return Err(foreign);
        }
        if descriptor.out[index / 64].load(Relaxed) & (1 << (index % 64)) == 0 {
            return Err(Error::DoubleFree { addr });
        }
        Ok((slab, index))
    }

    /// Puts one object back; returns its slab if no object of that is out any more.
    pub(super) fn put<M: Machine>(
        &mut self,
        id: u16,
        frames: &Frames<M>,
        object: NonNull<u8>,
    ) -> Result<Option<Frame>> {
        let (slab, index) = self.find(id, frames, object)?;
        let table = frames.table();
        let descriptor = table.of(slab);
        let word = &descriptor.out[index / 64];
        word.store(word.load(Relaxed) & !(1 << (index % 64)), Relaxed);
        let was_out = descriptor.nr_out.load(Relaxed);
        descriptor.nr_out.store(was_out - 1, Relaxed);
        self.counters.nr_out -= 1;
        let was_full = was_out == descriptor.nr_objects.load(Relaxed);
        if was_out == 1 {
            if !was_full {
                remove(table, &mut self.partial, slab);
            }
            push(table, &mut self.empty, slab);
            self.counters.nr_empty += 1;
            return Ok(Some(slab));
        }
        if was_full {
            // At the head: it is the fullest, and allocation takes from the head.
            push(table, &mut self.partial, slab);
        }
        Ok(None)
    }
}

/// Offers free objects of a slab, in ascending order, until `accept` declines; marks the accepted ones out.
fn take_from(slab: &Descriptor, mut accept: impl FnMut(usize) -> bool) -> u16 {
    let nr_objects = usize::from(slab.nr_objects.load(Relaxed));
    let mut taken = 0;
    for (i, word) in slab.out.iter().enumerate() {
        if i * 64 >= nr_objects {
            break;
        }
        let existing = if nr_objects - i * 64 >= 64 { u64::MAX } else { (1 << (nr_objects - i * 64)) - 1 };
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

fn link(table: &FrameTable, number: u32, field: impl Fn(&Descriptor) -> &AtomicU32, value: u32) {
    if number != NIL {
        field(table.of(Frame::new(number))).store(value, Relaxed);
    }
}

fn push(table: &FrameTable, head: &mut u32, slab: Frame) {
    let descriptor = table.of(slab);
    descriptor.next.store(*head, Relaxed);
    descriptor.prev.store(NIL, Relaxed);
    link(table, *head, |descriptor| &descriptor.prev, slab.number());
    *head = slab.number();
}

fn remove(table: &FrameTable, head: &mut u32, slab: Frame) {
    let descriptor = table.of(slab);
    let (next, prev) = (descriptor.next.load(Relaxed), descriptor.prev.load(Relaxed));
    link(table, next, |descriptor| &descriptor.prev, prev);
    if prev == NIL {
        assert!(*head == slab.number(), "slab {:#x} heads a list of {:#x}", slab.number(), *head);
        *head = next;
    } else {
        link(table, prev, |descriptor| &descriptor.next, next);
    }
}
