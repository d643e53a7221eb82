//! What happens when a slab's descriptor has been overwritten: it is found out before it is used, and the slab is
//! quarantined.
//!
//! Every touch of a descriptor begins with its seal. One that is broken is never followed: the lists are made anew from
//! the frame table, where each slab says whose it is ([`Descriptor::claim`], which survives the loss of any one word).
//! Slabs that hold are linked and counted again; those that do not become [`Kind::Quarantined`]: nothing is allocated
//! from them or freed to them again, objects of theirs that are still with users are taken back and dropped, and their
//! frames are counted as what they are. The walk takes as long as the frame table is, once for each damage.
//!
//! Not found out: rounds that are overwritten inside a magazine, which the hit path hands out unseen. They are refused
//! when they come back.
//!
//! Called by: [`super::lists`], under the cache's slab lock.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use super::lists::{Lists, MAX_REPAIRS, existing_bits};
use crate::error::{Error, Metadata, Result};
use crate::frame::Frame;
use crate::frame_table::{Descriptor, FrameTable, Kind, NO_CACHE};
use crate::frames::Frames;
use crate::geometry::{Geometry, MAX_SLAB_PAGES};
use crate::machine::Machine;

/// Whose lists these are, and where their slabs lie.
#[derive(Debug)]
pub(super) struct Home<'a, M> {
    pub(super) id: u16,
    pub(super) frames: &'a Frames<M>,
}

impl<M> Clone for Home<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Home<'_, M> {}

/// Where an object lies that is out: in a slab that holds, or in a quarantined one; and its index there.
pub(super) enum Place {
    Slab(Frame, usize),
    Quarantined(Frame, usize),
}

impl<'a, M: Machine> Home<'a, M> {
    pub(super) fn table(self) -> &'a FrameTable {
        self.frames.table()
    }

    /// Whether a slab of ours begins at frame `number`, its seal holds, and it stands as `is_right` wants it.
    pub(super) fn is_linked(self, number: u32, is_right: impl FnOnce(&Descriptor) -> bool) -> bool {
        let slab = Frame::new(number);
        let descriptor = self.table().get(slab);
        descriptor.is_some_and(|descriptor| descriptor.is_sealed_slab(slab, self.id) && is_right(descriptor))
    }

    /// Whether the frames behind the first of `slab`, whose seal holds, say so too.
    pub(super) fn pages_hold(self, slab: Frame) -> bool {
        let nr_pages = self.table().of(slab).nr_pages.load(Relaxed);
        (1..nr_pages).all(|offset| self.tail(slab, offset).is_some_and(|tail| tail.is_tail(Kind::Slab, offset)))
    }

    fn tail(self, slab: Frame, offset: u32) -> Option<&'a Descriptor> {
        self.table().get(Frame::new(slab.number().checked_add(offset)?))
    }
}

impl Lists {
    /// The slab and index of an object that is out. Damage that is met on the way is contained.
    pub(super) fn locate<M: Machine>(&mut self, home: Home<'_, M>, object: NonNull<u8>) -> Result<Place> {
        for _ in 0..MAX_REPAIRS {
            match self.find(home, object) {
                Err(Error::Corrupt { .. }) => {
                    let frame = home.frames.frame_of(object).map_or(0, Frame::number);
                    self.contain(home, frame);
                }
                found => return found,
            }
        }
        Err(Error::Foreign { addr: object.addr().get() })
    }

    /// As `locate`, and damage is an [`Error::Corrupt`].
    #[inline]
    fn find<M: Machine>(&self, home: Home<'_, M>, object: NonNull<u8>) -> Result<Place> {
        let addr = object.addr().get();
        let foreign = Error::Foreign { addr };
        let frame = home.frames.frame_of(object).ok_or(foreign)?;
        let descriptor = home.table().get(frame).ok_or(foreign)?;
        let slab = descriptor.head(frame);
        let head = home.table().get(slab).filter(|head| head.is_slab_with(slab, frame));
        let is_quarantined = head.is_some_and(|head| head.kind() == Kind::Quarantined);
        let Some(head) = head.filter(|head| is_quarantined || head.is_sealed_slab(slab, home.id)) else {
            return Err(self.why_not(home, object, frame));
        };
        let owner = head.cache.load(Relaxed);
        if owner != home.id {
            return Err(Error::WrongCache { addr, owner, given: home.id });
        }
        let offset = addr - home.frames.virt(slab).addr().get();
        let index = self.geometry.and_then(|geometry| geometry.index_of(offset)).ok_or(foreign)?;
        match head.is_out(index) {
            Some(true) if is_quarantined => Ok(Place::Quarantined(slab, index)),
            Some(true) => Ok(Place::Slab(slab, index)),
            Some(false) => Err(Error::DoubleFree { addr }),
            None => Err(foreign),
        }
    }

    /// What is wrong with an object that lies in no slab of ours whose seal holds.
    #[cold]
    #[inline(never)]
    fn why_not<M: Machine>(&self, home: Home<'_, M>, object: NonNull<u8>, frame: Frame) -> Error {
        let addr = object.addr().get();
        // A slab of ours that covers the frame, and in which the one or the other word is not ours.
        for offset in 0..MAX_SLAB_PAGES as u32 {
            let Some(slab) = frame.number().checked_sub(offset).map(Frame::new) else { break };
            let claim = home.table().get(slab).and_then(|descriptor| descriptor.claim(slab));
            if claim.is_some_and(|claim| claim.cache == home.id && claim.nr_pages > offset) {
                return Error::Corrupt { what: Metadata::Slab, addr };
            }
        }
        let owner =
            home.table().get(frame).filter(|descriptor| descriptor.kind() == Kind::Slab).and_then(|descriptor| {
                let slab = descriptor.head(frame);
                home.table().get(slab)?.claim(slab)
            });
        match owner {
            Some(claim) if claim.cache != NO_CACHE && claim.cache != home.id => {
                Error::WrongCache { addr, owner: claim.cache, given: home.id }
            }
            _ => Error::Foreign { addr },
        }
    }

    /// Makes the lists and counts anew from the frame table, and quarantines slabs that do not hold. `met` is the frame
    /// at which the damage was met.
    #[cold]
    #[inline(never)]
    pub(super) fn contain<M: Machine>(&mut self, home: Home<'_, M>, met: u32) {
        let Some(geometry) = self.geometry else { return };
        let before = self.counters;
        self.forget();
        home.table().for_each(|slab, descriptor| match descriptor.claim(slab) {
            Some(claim) if claim.cache != home.id => {}
            Some(claim) if claim.is_sealed && home.pages_hold(slab) => self.remember(home.table(), slab),
            Some(claim) => self.quarantine(home, geometry, slab, claim.nr_pages),
            None => {}
        });
        let counters = &mut self.counters;
        counters.nr_quarantined_out += before.nr_out.saturating_sub(counters.nr_out);
        if counters.nr_quarantined == before.nr_quarantined {
            let addr = home.frames.virt(Frame::new(met)).addr().get();
            home.frames.incidents.note(Error::Corrupt { what: Metadata::SlabList, addr });
        }
    }

    fn quarantine<M: Machine>(&mut self, home: Home<'_, M>, geometry: Geometry, slab: Frame, nr_pages: u32) {
        let descriptor = home.table().of(slab);
        let same = if nr_pages as usize == geometry.nr_pages { Some(geometry) } else { geometry.single_page() };
        let nr_objects = same.unwrap_or(geometry).nr_objects;
        // Which objects are out is not known any more: each may come back once.
        for (i, word) in descriptor.out.iter().enumerate() {
            word.store(existing_bits(nr_objects, i), Relaxed);
        }
        descriptor.nr_objects.store(nr_objects as u16, Relaxed);
        descriptor.cache.store(home.id, Relaxed);
        descriptor.set_head(Kind::Quarantined, nr_pages);
        descriptor.unseal(slab);
        for offset in 1..nr_pages {
            if let Some(tail) = home.tail(slab, offset) {
                tail.set_tail(Kind::Quarantined, offset);
            }
        }
        home.frames.reclassify(Kind::Slab, Kind::Quarantined, nr_pages);
        self.counters.nr_quarantined += 1;
        self.counters.nr_quarantined_pages += u64::from(nr_pages);
        let addr = home.frames.virt(slab).addr().get();
        home.frames.incidents.note(Error::Corrupt { what: Metadata::Slab, addr });
    }
}
