//! Checks every invariant of the arena, for tests.

use super::free_lists::{NR_LISTS, list_of};
use super::tag::Use;
use super::{Arena, GUARD};

impl Arena {
    /// Checks every invariant of the module, in time proportional to the segments. For tests.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check_invariants(&self) {
        let (mut nr_tags, mut nr_free, mut nr_allocated, mut nr_in_use, mut nr_pages) = (0, 0, 0, 0, 0);
        let mut before: Option<(Use, u64, u64)> = None;
        let mut span_end = 0;
        let mut next = self.first;
        let mut prev = None;
        let mut has_rotor = self.rotor.tag.is_none();
        while let Some(tag) = next {
            let it = &self.tags[tag];
            assert_eq!(it.prev, prev, "the one before {it:?}");
            assert!(it.start < it.end, "{it:?} is empty");
            match it.kind {
                Use::Spare => panic!("{it:?} is among the segments"),
                Use::Span => {
                    assert!(it.start >= span_end, "{it:?} overlaps a span that ends at {span_end:#x}");
                    assert!(is_covered(before, span_end), "a span ends at {span_end:#x}, its segments {before:x?}");
                    span_end = it.end;
                    nr_pages += it.end - it.start;
                }
                Use::Free | Use::Allocated => {
                    let due = match before {
                        Some((Use::Span, start, _)) => start + GUARD,
                        Some((_, _, end)) => end,
                        None => panic!("{it:?} is before its span"),
                    };
                    assert_eq!(it.start, due, "{it:?} does not begin where the last one ends");
                    assert!(it.end <= span_end, "{it:?} is past the end of its span at {span_end:#x}");
                    let is_free = it.kind == Use::Free;
                    let both_free = is_free && before.is_some_and(|(kind, ..)| kind == Use::Free);
                    assert!(!both_free, "{it:?} and the one before it are free");
                    if !is_free {
                        assert!(it.end - it.start > GUARD, "{it:?} is a guard alone");
                        assert_eq!(self.hash.find(&self.tags, it.start), Some(tag), "{it:?} is not in the table");
                        nr_in_use += it.end - it.start - GUARD;
                        nr_allocated += 1;
                    }
                    nr_free += usize::from(is_free);
                }
            }
            has_rotor |= self.rotor.tag == Some(tag);
            before = Some((it.kind, it.start, it.end));
            nr_tags += 1;
            prev = next;
            next = it.next;
        }
        assert!(is_covered(before, span_end), "the last span ends at {span_end:#x}, its segments {before:x?}");
        assert!(has_rotor, "the rotor's tag {:?} is not among the segments", self.rotor.tag);
        assert_eq!((nr_in_use, nr_pages), (self.nr_pages_in_use, self.nr_pages), "pages in use, and in all");
        assert_eq!(nr_tags + self.tags.nr_spare(), self.tags.nr_made(), "tags in use, and spare");
        self.hash.check_invariants(&self.tags, nr_allocated);
        self.check_lists(nr_free);
    }

    fn check_lists(&self, nr_free: usize) {
        let mut nr_listed = 0;
        for list in 0..NR_LISTS {
            let mut back = None;
            for tag in self.free.iter(&self.tags, list) {
                let it = &self.tags[tag];
                assert_eq!(it.kind, Use::Free, "{it:?} is in free list {list}");
                assert_eq!(list_of(it.end - it.start), list, "{it:?} is in free list {list}");
                assert_eq!(it.back, back, "the one before {it:?} in free list {list}");
                back = Some(tag);
                nr_listed += 1;
            }
            assert_eq!(self.free.first_filled(list) == Some(list), back.is_some(), "the bit of list {list}");
            assert_eq!(self.free.end(list), back, "the end of list {list}");
        }
        assert_eq!(nr_listed, nr_free, "segments in free lists, and by address");
    }
}

/// Whether the last segment of a span ends where the span does; a span of one page has none.
fn is_covered(last: Option<(Use, u64, u64)>, span_end: u64) -> bool {
    match last {
        Some((Use::Span, start, end)) => end == span_end && end - start <= GUARD,
        Some((_, _, end)) => end == span_end,
        None => true,
    }
}
