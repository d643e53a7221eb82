//! Looks at a CPU's magazines before they are used: one whose header was overwritten is dropped, and never followed.
//!
//! The magazines behind the loaded one are full or empty, and their size is sealed: a wild write shows when the magazine's
//! turn comes.
//!
//! Called by: [`crate::cache`] at the head of every way past the loaded magazine, never on the hit path.

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::Relaxed;

use super::{Held, RACK};
use crate::error::Metadata;
use crate::magazine::{Magazine, Notes};

/// Magazines that were dropped, and the rounds in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) nr_magazines: u32,
    pub(crate) nr_rounds: u32,
}

impl Held<'_> {
    /// Looks at what the next exchange will use.
    #[inline]
    pub(crate) fn vet(&self, notes: &impl Notes) -> Option<Dropped> {
        let nr_full = self.cache.nr_full.load(Relaxed) as usize;
        let place = |i: usize| self.cache.rack.get(i).and_then(|place| NonNull::new(place.load(Relaxed)));
        // Below nr_full places are taken, so a vacant one is damage too.
        let full_holds = nr_full == 0 || place(nr_full - 1).is_some_and(|magazine| holds(magazine, Some(true)));
        let is_sound = full_holds
            && self.previous().is_none_or(|magazine| self.previous_holds(magazine))
            && place(nr_full).is_none_or(|magazine| holds(magazine, Some(false)));
        if is_sound { None } else { self.vet_all(notes) }
    }

    /// Whether the previous magazine may be believed: full or empty, as it was when it came to its place.
    #[inline]
    fn previous_holds(&self, magazine: NonNull<Magazine>) -> bool {
        holds(magazine, None) && Self::rounds_in(Some(magazine)) == self.cache.nr_previous.load(Relaxed)
    }

    /// Looks at all magazines but the loaded one, and drops those that do not hold.
    #[cold]
    #[inline(never)]
    pub(crate) fn vet_all(&self, notes: &impl Notes) -> Option<Dropped> {
        let nr_rounds = self.cache.nr_behind.load(Relaxed);
        let nr_full = (self.cache.nr_full.load(Relaxed) as usize).min(RACK);
        let mut nr_magazines = 0;
        if let Some(magazine) = self.previous().filter(|&magazine| !self.previous_holds(magazine)) {
            notes.note(Metadata::Magazine, magazine.addr().get());
            self.cache.previous.store(ptr::null_mut(), Relaxed);
            nr_magazines += 1;
        }
        let mut kept = [None; RACK];
        let mut nr_kept = 0;
        let mut nr_kept_full = 0;
        for (i, place) in self.cache.rack.iter().enumerate() {
            let Some(magazine) = NonNull::new(place.load(Relaxed)) else { continue };
            if holds(magazine, Some(i < nr_full)) {
                kept[nr_kept] = Some(magazine);
                nr_kept += 1;
                nr_kept_full += u32::from(i < nr_full);
            } else {
                notes.note(Metadata::Magazine, magazine.addr().get());
                nr_magazines += 1;
            }
        }
        for (place, magazine) in self.cache.rack.iter().zip(kept) {
            place.store(magazine.map_or(ptr::null_mut(), NonNull::<Magazine>::as_ptr), Relaxed);
        }
        self.cache.nr_full.store(nr_kept_full, Relaxed);
        self.count_behind();
        let nr_rounds = nr_rounds.saturating_sub(self.cache.nr_behind.load(Relaxed));
        // They are here no more, as if they had gone to a slab.
        self.draw(-i64::from(nr_rounds));
        (nr_magazines > 0 || nr_rounds > 0).then_some(Dropped { nr_magazines, nr_rounds })
    }
}

/// Whether `magazine`, one of this CPU's that is not loaded, may be believed.
fn holds(magazine: NonNull<Magazine>, is_full: Option<bool>) -> bool {
    // SAFETY: what this CPU's places name was given to it as a magazine.
    unsafe { Magazine::holds(magazine, is_full) }
}
