//! How magazines change places: loaded, previous, rack, and those that come from the depot and go there.
//!
//! Invariants: as in [`super`]; `nr_behind` is the sum of the rounds in the previous magazine and the full ones of the
//! rack. Called by: [`crate::magazine_layer`], with the gate held; inlined there for each kind of rounds.

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::Relaxed;

use super::{Held, RACK, SwapPlain, add};
use crate::magazine::Magazine;

impl Held<'_> {
    /// Counts the rounds behind the loaded magazine anew, when some were dropped.
    pub(super) fn count_behind(&self) {
        let mut n = Self::rounds_in(self.previous());
        for place in &self.cache.rack[..self.cache.nr_full.load(Relaxed) as usize] {
            n = n.wrapping_add(Self::rounds_in(NonNull::new(place.load(Relaxed))));
        }
        self.cache.nr_behind.store(n, Relaxed);
    }

    /// Counts rounds that came to the magazines behind the loaded one, or left them.
    #[inline(always)]
    fn add_behind(&self, change: u32) {
        self.cache.nr_behind.store(self.cache.nr_behind.load(Relaxed).wrapping_add(change), Relaxed);
    }

    /// loaded becomes previous, `magazine` becomes loaded; returns what was previous.
    #[inline(always)]
    fn rotate(&self, magazine: NonNull<Magazine>) -> Option<NonNull<Magazine>> {
        let nr_rounds = self.len() as u32;
        let was_loaded = self.unload();
        let was_previous = NonNull::new(self.cache.previous.swap_plain(was_loaded));
        self.cache.nr_previous.store(nr_rounds, Relaxed);
        self.add_behind(nr_rounds.wrapping_sub(Self::rounds_in(was_previous)));
        self.load(magazine);
        was_previous
    }

    /// With the loaded magazine empty: brings a magazine with rounds to its place, from this CPU's own.
    #[inline(always)]
    pub(crate) fn reload_full(&self) -> bool {
        if let Some(magazine) = self.previous().filter(|&magazine| Self::rounds_in(Some(magazine)) > 0) {
            self.cache.previous.store(ptr::null_mut(), Relaxed);
            self.add_behind(Self::rounds_in(Some(magazine)).wrapping_neg());
            self.rotate(magazine);
        } else {
            let nr_full = self.cache.nr_full.load(Relaxed);
            if nr_full == 0 {
                return false;
            }
            let place = &self.cache.rack[nr_full as usize - 1];
            let full = NonNull::new(place.load(Relaxed)).expect("places below nr_full are taken");
            self.cache.nr_full.store(nr_full - 1, Relaxed);
            self.add_behind(Self::rounds_in(Some(full)).wrapping_neg());
            let empty = self.rotate(full);
            place.store(empty.map_or(ptr::null_mut(), NonNull::as_ptr), Relaxed);
        }
        add(&self.cache.nr_swaps, 1);
        true
    }

    /// With the loaded magazine full: brings an empty one to its place, from this CPU's own.
    ///
    /// `rack` is how many magazines this cache may keep in its rack.
    #[inline(always)]
    pub(crate) fn reload_empty(&self, rack: usize) -> bool {
        if let Some(magazine) = self.previous().filter(|&magazine| Self::rounds_in(Some(magazine)) == 0) {
            self.cache.previous.store(ptr::null_mut(), Relaxed);
            self.rotate(magazine);
        } else {
            let nr_full = self.cache.nr_full.load(Relaxed) as usize;
            let Some(empty) = self.empty_in_rack(rack) else { return false };
            self.cache.rack[nr_full].store(ptr::null_mut(), Relaxed);
            self.shelve(empty);
        }
        add(&self.cache.nr_swaps, 1);
        true
    }

    /// Whether a further full magazine would find a place in the rack.
    #[inline(always)]
    pub(crate) fn has_rack_place(&self, rack: usize) -> bool {
        (self.cache.nr_full.load(Relaxed) as usize) < rack.min(RACK)
    }

    #[inline(always)]
    fn empty_in_rack(&self, rack: usize) -> Option<NonNull<Magazine>> {
        if !self.has_rack_place(rack) {
            return None;
        }
        NonNull::new(self.cache.rack[self.cache.nr_full.load(Relaxed) as usize].load(Relaxed))
    }

    /// Loads `empty`; the full previous magazine moves into the free place of the rack (the caller has checked that
    /// there is one and that it is vacant).
    #[inline(always)]
    fn shelve(&self, empty: NonNull<Magazine>) {
        let nr_full = self.cache.nr_full.load(Relaxed) as usize;
        if let Some(full) = self.rotate(empty) {
            let vacant = self.cache.rack[nr_full].swap_plain(full.as_ptr());
            assert!(vacant.is_null(), "rack place {nr_full} holds {vacant:p}");
            self.cache.nr_full.store(nr_full as u32 + 1, Relaxed);
            self.add_behind(Self::rounds_in(Some(full)));
        }
    }

    /// Loads the new empty magazine `empty`, with the loaded one full or absent. The caller has made sure that there is
    /// a vacant place in the rack, or no previous magazine.
    #[inline(always)]
    pub(crate) fn insert_empty(&self, empty: NonNull<Magazine>, rack: usize) {
        if self.has_rack_place(rack) {
            self.shelve(empty);
        } else {
            self.insert(empty);
        }
    }

    /// Takes the previous magazine, which the caller wants to trade in the depot.
    #[inline(always)]
    pub(crate) fn take_previous(&self) -> Option<NonNull<Magazine>> {
        let magazine = NonNull::new(self.cache.previous.swap_plain(ptr::null_mut()));
        let nr_rounds = Self::rounds_in(magazine);
        self.draw(-i64::from(nr_rounds));
        self.add_behind(nr_rounds.wrapping_neg());
        magazine
    }

    /// Puts back what `take_previous` took.
    #[inline(always)]
    pub(crate) fn put_previous(&self, magazine: NonNull<Magazine>) {
        let nr_rounds = Self::rounds_in(Some(magazine));
        self.draw(i64::from(nr_rounds));
        self.cache.previous.store(magazine.as_ptr(), Relaxed);
        self.cache.nr_previous.store(nr_rounds, Relaxed);
        self.add_behind(nr_rounds);
    }

    /// loaded becomes previous (whose place is vacant), `magazine` becomes loaded.
    #[inline(always)]
    pub(crate) fn insert(&self, magazine: NonNull<Magazine>) {
        self.draw(i64::from(Self::rounds_in(Some(magazine))));
        let displaced = self.rotate(magazine);
        assert!(displaced.is_none(), "previous magazine {displaced:?} displaced");
    }
}
