//! What the record and the patterns of one object say, and what is done about it: under the cache's debug lock.

use core::ptr::NonNull;

use crate::cache::UNKNOWN_SIZE;
use crate::debug::object::{ObjectLayout, Record, State};
use crate::debug::{Damage, Fault, Track};
use crate::error::Error;

/// What was found wrong under the debug lock, to be reported after it.
pub(super) struct Suspicion {
    pub(super) fault: Fault,
    pub(super) error: Error,
    pub(super) damage: Option<Damage>,
    pub(super) record: Option<Record>,
}

impl Suspicion {
    pub(super) fn damaged(object: NonNull<u8>, record: Option<Record>, found: Option<(Fault, Damage)>) -> Self {
        let (fault, damage) = found.map_or((Fault::Record, None), |(fault, damage)| (fault, Some(damage)));
        Self { fault, error: Error::Corrupted { addr: object.addr().get() }, damage, record }
    }

    pub(super) fn bad_free(error: Error, record: Option<Record>) -> Self {
        Self { fault: Fault::BadFree, error, damage: None, record }
    }
}

/// What an object in hand is fit for.
pub(super) struct Verdict {
    /// Fit for what was to be done with it, which has been done; else it is out of use, or the free was none.
    pub(super) is_fit: bool,
    /// What is to be reported: nothing if a check has reported the object before.
    pub(super) suspicion: Option<Suspicion>,
}

impl Verdict {
    const FIT: Self = Self { is_fit: true, suspicion: None };

    fn unfit(suspicion: Option<Suspicion>) -> Self {
        Self { is_fit: false, suspicion }
    }
}

/// A free object, verified and made fresh, or taken out of use.
///
/// # Safety
///
/// An object that has just left its slab; the debug lock is held.
pub(super) unsafe fn take_out(layout: &ObjectLayout, object: NonNull<u8>, size: usize, by: Track) -> Verdict {
    // SAFETY: as promised by the caller.
    unsafe {
        let record = layout.record(object);
        let found = layout.free_damage(object);
        match record {
            Some(record) if record.is_in(State::Free) && found.is_none() && !record.is_spoiled() => {
                layout.make_fresh(object, record, size, by);
                Verdict::FIT
            }
            _ => {
                layout.retire(object, record);
                let was_known =
                    record.is_some_and(|record| record.is_condemned() || record.is_spoiled() && found.is_none());
                Verdict::unfit((!was_known).then(|| Suspicion::damaged(object, record, found)))
            }
        }
    }
}

/// A live object, verified and on its way back, or taken out of use; or the free is none, and nothing has changed.
///
/// # Safety
///
/// An object of the cache's; the debug lock is held.
pub(super) unsafe fn take_back(layout: &ObjectLayout, object: NonNull<u8>, size: usize, by: Track) -> Verdict {
    let addr = object.addr().get();
    // SAFETY: as promised by the caller.
    unsafe {
        let Some(mut record) = layout.record(object) else {
            let found = layout.redzone_damage(object, usize::MAX);
            let mut suspicion = Suspicion::damaged(object, None, found);
            suspicion.fault = Fault::Record;
            layout.retire(object, None);
            return Verdict::unfit(Some(suspicion));
        };
        if record.is_condemned() {
            layout.retire(object, None);
            return Verdict::unfit(None);
        }
        if !record.is_in(State::Live) {
            return Verdict::unfit(Some(Suspicion::bad_free(Error::DoubleFree { addr }, Some(record))));
        }
        if size != UNKNOWN_SIZE && size != record.requested {
            return Verdict::unfit(Some(Suspicion::bad_free(Error::WrongSize { addr, given: size }, Some(record))));
        }
        let found = layout.redzone_damage(object, record.requested);
        if found.is_some() || record.is_spoiled() {
            let suspicion = found.map(|found| Suspicion::damaged(object, Some(record), Some(found)));
            record.freed = by;
            layout.retire(object, Some(record));
            return Verdict::unfit(suspicion);
        }
        record.freed = by;
        layout.go_on(object, record, State::Between);
        Verdict::FIT
    }
}

/// What is wrong with an object, which is repaired then.
///
/// # Safety
///
/// An object of the cache's; the debug lock is held.
pub(super) unsafe fn examine(layout: &ObjectLayout, object: NonNull<u8>) -> Option<Suspicion> {
    // SAFETY: as promised by the caller.
    unsafe {
        let Some(record) = layout.record(object) else {
            layout.condemn(object);
            return Some(Suspicion::damaged(object, None, None));
        };
        if record.is_condemned() {
            return None;
        }
        let found = if record.is_in(State::Free) || record.is_in(State::Retired) {
            layout.free_damage(object)
        } else if record.is_in(State::Live) {
            layout.redzone_damage(object, record.requested)
        } else {
            None
        };
        found.map(|found| {
            if record.is_in(State::Retired) {
                layout.retire(object, Some(record));
            } else {
                layout.repair(object, record);
            }
            Suspicion::damaged(object, Some(record), Some(found))
        })
    }
}
