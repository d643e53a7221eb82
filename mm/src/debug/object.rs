//! A debugged object in its place: the patterns around it and the record behind it.
//!
//! Every function here that takes a place is called under the debug lock of its cache, or before anybody else can see
//! the slab. What the functions read may be what a broken program wrote: nothing is believed, and the record is sealed
//! by a sum over its words.

use core::ptr::NonNull;

use super::{Damage, DebugFlags, Fault, Track};
use crate::frame::PAGE_SIZE;

/// Fills free objects.
pub(crate) const FREED: u8 = 0x6b;
/// Fills fresh objects.
pub(crate) const FRESH: u8 = 0x5a;
/// Fills redzones.
pub(crate) const REDZONE: u8 = 0xbb;

/// A redzone's bytes at least.
const REDZONE_BYTES: usize = 32;

/// Where an object is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    /// In its slab.
    Free = 0x4652_4545,
    /// On the way out or back: the constructor or the destructor has it.
    Between = 0x4d4f_5645,
    /// With a user.
    Live = 0x4c49_5645,
    /// Kept out of use, because it was written when nobody had it.
    Retired = 0x4741_5354,
}

/// What is kept of an object.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Record {
    state: u32,
    /// Not 0: it was found damaged and repaired by a check, and is not handed out again.
    is_spoiled: u32,
    /// Bytes asked for.
    pub(crate) requested: usize,
    pub(crate) allocated: Track,
    pub(crate) freed: Track,
    seal: usize,
}

impl Record {
    const BLANK: Self =
        Self { state: 0, is_spoiled: 0, requested: 0, allocated: Track::NOBODY, freed: Track::NOBODY, seal: 0 };
    /// In place of one that was overwritten.
    const CONDEMNED: Self = Self { is_spoiled: 1, ..Self::BLANK };
    const WORDS: usize = size_of::<Self>() / size_of::<usize>();

    fn sum(&self, addr: usize) -> usize {
        // SAFETY: a record is made of integers without padding (`repr(C)`, all fields are 4 or 8 bytes and aligned).
        let words = unsafe { &*core::ptr::from_ref(self).cast::<[usize; Self::WORDS]>() };
        words[..Self::WORDS - 1]
            .iter()
            .fold(addr, |sum, word| (sum ^ word).rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn is_in(&self, state: State) -> bool {
        self.state == state as u32
    }

    /// Whether it stands for one that was overwritten.
    pub(crate) fn is_condemned(&self) -> bool {
        self.is_in(State::Retired) && self.allocated.seq == 0
    }

    pub(crate) fn is_spoiled(&self) -> bool {
        self.is_spoiled != 0
    }
}

// The seal is the last word, and nothing in between is padding.
const _: () =
    assert!(size_of::<Track>() == 16 + 8 * super::MAX_SITES && size_of::<Record>() == 24 + 2 * size_of::<Track>());

/// How the objects of a debugged cache lie in their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectLayout {
    pub(crate) flags: DebugFlags,
    /// Bytes of an object.
    size: usize,
    /// Bytes before it.
    pub(crate) left: usize,
    /// From one place to the next.
    pub(crate) stride: usize,
}

impl ObjectLayout {
    /// For objects of `size` bytes, a multiple of 8, which keep the alignment that their size gives them: the largest
    /// power of two that divides it, up to a page. At most 9 pages and a little for [`crate::size_class::MAX_CLASS_SIZE`].
    pub(crate) const fn new(flags: DebugFlags, size: usize) -> Self {
        let align = 1 << size.trailing_zeros();
        let align = if align < PAGE_SIZE { align } else { PAGE_SIZE };
        let redzone = if flags.has(DebugFlags::REDZONE) { REDZONE_BYTES } else { 0 };
        let left = redzone.next_multiple_of(align);
        let stride = (left + size + redzone + size_of::<Record>()).next_multiple_of(align);
        Self { flags, size, left, stride }
    }

    fn record_at(&self, object: NonNull<u8>) -> NonNull<Record> {
        // SAFETY: callers pass objects; the record is the end of the object's place. Places are multiples of 8.
        unsafe { object.add(self.stride - self.left - size_of::<Record>()) }.cast()
    }

    /// The record of `object`, `None` if it does not bear its seal.
    ///
    /// # Safety
    ///
    /// An object of a slab with this layout; its cache's debug lock is held, here and below.
    pub(crate) unsafe fn record(&self, object: NonNull<u8>) -> Option<Record> {
        // SAFETY: as promised, the record lies in the place; it is integers, so any bytes are a value.
        let record = unsafe { self.record_at(object).read() };
        (record.seal == record.sum(object.addr().get())).then_some(record)
    }

    unsafe fn write_record(&self, object: NonNull<u8>, state: State, mut record: Record) {
        record.state = state as u32;
        record.seal = record.sum(object.addr().get());
        // SAFETY: as in `record`.
        unsafe { self.record_at(object).write(record) };
    }

    /// Fills the redzones, the slack behind `requested` bytes included.
    unsafe fn fill_redzones(&self, object: NonNull<u8>, requested: usize) {
        if self.flags.has(DebugFlags::REDZONE) {
            let (from, len) = self.right(requested);
            // SAFETY: both lie inside the object's place, before its record.
            unsafe {
                object.sub(self.left).write_bytes(REDZONE, self.left);
                object.add(from).write_bytes(REDZONE, len);
            }
        }
    }

    /// Where the redzone behind `requested` bytes begins, and its length.
    fn right(&self, requested: usize) -> (usize, usize) {
        let end = self.stride - self.left - size_of::<Record>();
        (requested.min(self.size), end - requested.min(self.size))
    }

    unsafe fn fill_object(&self, object: NonNull<u8>, pattern: u8) {
        if self.flags.has(DebugFlags::POISON) {
            // SAFETY: the object, whole.
            unsafe { object.write_bytes(pattern, self.size) };
        }
    }

    /// What is not as it was left in the redzones, and what that means.
    ///
    /// # Safety
    ///
    /// As [`ObjectLayout::record`].
    pub(crate) unsafe fn redzone_damage(&self, object: NonNull<u8>, requested: usize) -> Option<(Fault, Damage)> {
        if !self.flags.has(DebugFlags::REDZONE) {
            return None;
        }
        let (from, len) = self.right(requested);
        // SAFETY: both ranges lie inside the object's place.
        let (left, right) = unsafe {
            (damage(object, -(self.left as isize), self.left, REDZONE), damage(object, from as isize, len, REDZONE))
        };
        left.map(|left| (Fault::Underrun, left)).or(right.map(|right| (Fault::Overrun, right)))
    }

    /// What is not as it was left in a free object and around it.
    ///
    /// # Safety
    ///
    /// As [`ObjectLayout::record`].
    pub(crate) unsafe fn free_damage(&self, object: NonNull<u8>) -> Option<(Fault, Damage)> {
        let inside = if self.flags.has(DebugFlags::POISON) {
            // SAFETY: the object, whole.
            unsafe { damage(object, 0, self.size, FREED) }
        } else {
            None
        };
        // SAFETY: as promised by the caller.
        let found = inside.or_else(|| unsafe { self.redzone_damage(object, self.size) }.map(|(_, damage)| damage));
        found.map(|damage| (Fault::WriteAfterFree, damage))
    }

    /// Makes the place of a fresh slab a free object.
    ///
    /// # Safety
    ///
    /// Nobody else can see the slab.
    pub(crate) unsafe fn init(&self, object: NonNull<u8>) {
        let blank =
            Record { state: 0, is_spoiled: 0, requested: 0, allocated: Track::NOBODY, freed: Track::NOBODY, seal: 0 };
        // SAFETY: as promised by the caller.
        unsafe { self.make_free(object, blank) };
    }

    /// # Safety
    ///
    /// As [`ObjectLayout::record`].
    pub(crate) unsafe fn make_free(&self, object: NonNull<u8>, record: Record) {
        // SAFETY: as promised by the caller.
        unsafe {
            self.fill_redzones(object, self.size);
            self.fill_object(object, FREED);
            self.write_record(object, State::Free, record);
        }
    }

    /// Makes a free object one of `requested` bytes that is on its way out.
    ///
    /// # Safety
    ///
    /// As [`ObjectLayout::record`]; nobody has the object.
    pub(crate) unsafe fn make_fresh(&self, object: NonNull<u8>, mut record: Record, requested: usize, by: Track) {
        record.requested = requested.min(self.size);
        record.allocated = by;
        // SAFETY: as promised by the caller.
        unsafe {
            self.fill_object(object, FRESH);
            self.fill_redzones(object, record.requested);
            self.write_record(object, State::Between, record);
        }
    }

    /// Notes that an object goes on to `state`, its bytes as they are.
    ///
    /// # Safety
    ///
    /// As [`ObjectLayout::record`].
    pub(crate) unsafe fn go_on(&self, object: NonNull<u8>, record: Record, state: State) {
        // SAFETY: as promised by the caller.
        unsafe { self.write_record(object, state, record) };
    }

    /// Repairs a damaged object that may stay where it is, and marks it so that it is not handed out again.
    ///
    /// # Safety
    ///
    /// As [`ObjectLayout::record`].
    pub(crate) unsafe fn repair(&self, object: NonNull<u8>, mut record: Record) {
        record.is_spoiled = 1;
        // SAFETY: as promised by the caller.
        unsafe {
            if record.is_in(State::Live) {
                self.fill_redzones(object, record.requested);
                self.write_record(object, State::Live, record);
            } else {
                self.make_free(object, record);
            }
        }
    }

    /// Repairs a damaged object and takes it out of use. A record that is not to be trusted is made anew.
    ///
    /// # Safety
    ///
    /// As [`ObjectLayout::record`]; the object is out of its slab.
    pub(crate) unsafe fn retire(&self, object: NonNull<u8>, record: Option<Record>) {
        // SAFETY: as promised by the caller.
        unsafe {
            self.fill_redzones(object, self.size);
            self.fill_object(object, FREED);
            self.write_record(object, State::Retired, record.unwrap_or(Record::CONDEMNED));
        }
    }

    /// Gives an object a new record in place of one that was overwritten. Whether a user has it is not known any more, so
    /// nothing else is touched; whoever meets it next takes it out of use.
    ///
    /// # Safety
    ///
    /// As [`ObjectLayout::record`].
    pub(crate) unsafe fn condemn(&self, object: NonNull<u8>) {
        // SAFETY: as promised by the caller.
        unsafe { self.write_record(object, State::Retired, Record::CONDEMNED) };
    }
}

/// The bytes from `offset` on that are not `expected`.
///
/// # Safety
///
/// `object + offset` has `len` bytes that can be read.
pub(crate) unsafe fn damage(object: NonNull<u8>, offset: isize, len: usize, expected: u8) -> Option<Damage> {
    // SAFETY: as promised by the caller.
    let byte = |i: usize| unsafe { object.offset(offset).add(i).read_volatile() };
    let first = (0..len).find(|&i| byte(i) != expected)?;
    let last = (first..len).rev().find(|&i| byte(i) != expected).unwrap_or(first);
    let damage = Damage { offset: offset + first as isize, nr_bytes: last - first + 1, found: byte(first), expected };
    Some(damage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;
    use crate::size_class::{NR_CLASSES, size};

    #[test]
    fn objects_of_every_class_keep_their_alignment_and_fit_a_slab() {
        for class in 0..NR_CLASSES {
            for flags in [DebugFlags::AUDIT, DebugFlags::REDZONE, DebugFlags::ALL] {
                let layout = ObjectLayout::new(flags, size(class));
                let align = (1 << size(class).trailing_zeros()).min(PAGE_SIZE);
                assert!(layout.left.is_multiple_of(align) && layout.stride.is_multiple_of(align), "{layout:?}");
                let geometry = Geometry::new(layout.stride, layout.stride);
                assert!(geometry.nr_objects > 0 && geometry.object_size == layout.stride);
            }
        }
    }
}
