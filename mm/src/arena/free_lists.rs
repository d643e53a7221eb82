//! Free segments by size: list `n` has those of 2^n pages and more, up to the next power of two; one word says which
//! lists have any (Bonwick and Adams, section 4.4.2).
//!
//! What becomes free goes to a list's end, and a search begins at its head: an address that was freed waits for its turn.
//!
//! Invariants: a segment is in the list of its size exactly if it is free; bit `n` is set exactly if list `n` has one.
//! Called by: [`super`] when segments change, [`super::search`].

use super::tag::{TagRef, Tags};

/// Lists: there are 2^52 pages.
pub(super) const NR_LISTS: usize = 53;

/// Number of the list for segments of `nr_pages`, at least 1.
#[inline]
pub(super) const fn list_of(nr_pages: u64) -> usize {
    nr_pages.ilog2() as usize
}

/// Number of the first list in which every segment has at least `nr_pages`; may be past the last.
#[inline]
pub(super) const fn sure_list(nr_pages: u64) -> usize {
    u64::BITS as usize - (nr_pages - 1).leading_zeros() as usize
}

/// The lists.
#[derive(Debug)]
pub(super) struct FreeLists {
    /// Head and end of each.
    ends: [(Option<TagRef>, Option<TagRef>); NR_LISTS],
    are_filled: u64,
}

impl FreeLists {
    pub(super) const fn new() -> Self {
        Self { ends: [(None, None); NR_LISTS], are_filled: 0 }
    }

    /// Puts a free segment at the end of the list of its size.
    #[inline]
    pub(super) fn insert(&mut self, tags: &mut Tags, tag: TagRef) {
        let list = list_of(tags[tag].end - tags[tag].start);
        let (head, end) = &mut self.ends[list];
        tags[tag].link = None;
        tags[tag].back = *end;
        match end.replace(tag) {
            Some(before) => tags[before].link = Some(tag),
            None => *head = Some(tag),
        }
        self.are_filled |= 1 << list;
    }

    /// Takes a segment out of the list of its size.
    #[inline]
    pub(super) fn remove(&mut self, tags: &mut Tags, tag: TagRef) {
        let list = list_of(tags[tag].end - tags[tag].start);
        let (back, link) = (tags[tag].back, tags[tag].link);
        match back {
            Some(back) => tags[back].link = link,
            None => self.ends[list].0 = link,
        }
        match link {
            Some(link) => tags[link].back = back,
            None => self.ends[list].1 = back,
        }
        if back.is_none() && link.is_none() {
            self.are_filled &= !(1 << list);
        }
    }

    /// Makes the free segment `start..end`. It keeps its place if it stays in its list.
    #[inline]
    pub(super) fn resize(&mut self, tags: &mut Tags, tag: TagRef, start: u64, end: u64) {
        let old = tags[tag].end - tags[tag].start;
        let stays = list_of(old) == list_of(end - start);
        if !stays {
            self.remove(tags, tag);
        }
        tags[tag].start = start;
        tags[tag].end = end;
        if !stays {
            self.insert(tags, tag);
        }
    }

    /// Number of the first list from `list` on that has a segment.
    #[inline]
    pub(super) fn first_filled(&self, list: usize) -> Option<usize> {
        let filled = self.are_filled.checked_shr(list as u32).unwrap_or(0);
        (filled != 0).then(|| list + filled.trailing_zeros() as usize)
    }

    /// Head of a list.
    #[inline]
    pub(super) fn head(&self, list: usize) -> Option<TagRef> {
        self.ends[list].0
    }

    /// Last of a list.
    pub(super) fn end(&self, list: usize) -> Option<TagRef> {
        self.ends[list].1
    }

    /// The segments of a list, from its head.
    pub(super) fn iter<'a>(&self, tags: &'a Tags, list: usize) -> impl Iterator<Item = TagRef> + use<'a> {
        core::iter::successors(self.head(list), |&tag| tags[tag].link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_sure_list_and_none_below_every_segment_is_large_enough() {
        for nr_pages in (2..300).chain([1 << 51, (1 << 51) + 1]) {
            let (sure, own) = (sure_list(nr_pages), list_of(nr_pages));
            assert!(1 << sure >= nr_pages && 1 << (sure - 1) < nr_pages, "{nr_pages} pages: list {sure}");
            assert!(sure == own && nr_pages.is_power_of_two() || sure == own + 1, "{nr_pages} pages: list {sure}");
        }
    }
}
