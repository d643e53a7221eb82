//! How a free segment is found, by each policy.
//!
//! Instant fit looks at one list: in that of the next power of two every segment fits (Bonwick and Adams, section 4.4.2).
//! Only if there is none, or the bounds cut through the arena, are segments looked at one by one.
//!
//! Next fit goes round within a reach of twice the pages that are in use: it then begins at the lowest address again. Page
//! tables are never freed, and their number shall stay in proportion to what is in use.
//!
//! Invariant: the rotor's tag is in the list by address. Called by: [`super`].

use super::Arena;
use super::free_lists::{list_of, sure_list};
use super::request::{Policy, Wanted};
use super::tag::{TagRef, Use};

/// Least pages within which next fit goes round: the reach of one leaf table, 2 MiB.
pub(super) const MIN_REACH: u64 = 512;

/// A free segment, and the page in it at which the range begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) tag: TagRef,
    pub(super) page: u64,
}

/// Where next fit goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotor {
    /// The segment that holds `page`, or ends there.
    pub(super) tag: Option<TagRef>,
    page: u64,
    /// Pages that it has passed by since it began at the lowest address.
    travelled: u64,
}

impl Rotor {
    pub(super) const fn new() -> Self {
        Self { tag: None, page: 0, travelled: 0 }
    }

    /// A range was placed by next fit, `tag` with its guard.
    pub(super) fn advance(&mut self, tag: TagRef, start: u64, end: u64) {
        self.travelled += if self.tag.is_some() && start >= self.page { end - self.page } else { end - start };
        self.tag = Some(tag);
        self.page = end;
    }
}

impl Arena {
    /// A place for what is wanted, by its policy.
    #[inline]
    pub(super) fn find(&mut self, wanted: &Wanted) -> Option<Place> {
        match wanted.policy {
            Policy::Instant => self.instant_fit(wanted).or_else(|| self.scan(wanted, Policy::Instant)),
            Policy::Best => self.scan(wanted, Policy::Best),
            Policy::Next => self.next_fit(wanted),
        }
    }

    #[inline]
    fn instant_fit(&self, wanted: &Wanted) -> Option<Place> {
        if !wanted.is_unbounded(self.bounds.start, self.bounds.end) {
            return None;
        }
        let list = self.free.first_filled(sure_list(wanted.sure_pages()))?;
        self.place_in(self.free.head(list)?, wanted)
    }

    fn place_in(&self, tag: TagRef, wanted: &Wanted) -> Option<Place> {
        let page = wanted.place(self.tags[tag].start, self.tags[tag].end)?;
        Some(Place { tag, page })
    }

    /// Goes through the lists that may have a place, from that of the smallest segments on: for the first place, or for
    /// the smallest segment with one.
    #[cold]
    fn scan(&self, wanted: &Wanted, policy: Policy) -> Option<Place> {
        let size_of = |place: &Place| self.tags[place.tag].end - self.tags[place.tag].start;
        let mut from = list_of(wanted.with_guard());
        while let Some(list) = self.free.first_filled(from) {
            let mut places = self.free.iter(&self.tags, list).filter_map(|tag| self.place_in(tag, wanted));
            // All in a further list are larger.
            let found = if policy == Policy::Best { places.min_by_key(size_of) } else { places.next() };
            if found.is_some() {
                return found;
            }
            from = list + 1;
        }
        None
    }

    fn next_fit(&mut self, wanted: &Wanted) -> Option<Place> {
        let reach = MIN_REACH.max(2 * self.nr_taken());
        if self.rotor.travelled + wanted.with_guard() > reach {
            self.rotor = Rotor::new();
        }
        let Some(here) = self.rotor.tag else { return self.first_between(self.first, None, wanted) };
        // What is left of the segment in which the last range ended; then all behind; then all from the lowest on.
        let rest = match self.tags[here].kind {
            Use::Free => wanted.place(self.tags[here].start.max(self.rotor.page), self.tags[here].end),
            _ => None,
        };
        if let Some(page) = rest {
            return Some(Place { tag: here, page });
        }
        let behind = self.tags[here].next;
        self.first_between(behind, None, wanted).or_else(|| self.first_between(self.first, behind, wanted))
    }

    /// The first place by address in the segments from `first` on, those from `end` on excluded.
    fn first_between(&self, first: Option<TagRef>, end: Option<TagRef>, wanted: &Wanted) -> Option<Place> {
        let mut next = first;
        while let Some(tag) = next.filter(|_| next != end) {
            if self.tags[tag].kind == Use::Free
                && let Some(place) = self.place_in(tag, wanted)
            {
                return Some(place);
            }
            next = self.tags[tag].next;
        }
        None
    }
}
