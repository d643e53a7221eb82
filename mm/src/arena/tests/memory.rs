//! The arena's own memory: it says when it needs some, and needs it in proportion to the segments.

use super::*;

#[test]
fn without_tags_an_allocation_says_so_and_a_free_needs_none() {
    let mut arena = TestArena::empty();
    let span = VirtRange::new(BASE, 1 << 20).unwrap();
    assert!(matches!(arena.add_span(span), Err(Error::OutOfMemory { .. })));
    assert_eq!(arena.nr_pages_wanted(), 2, "one for tags, one for the table");
    arena.give();
    assert!(!arena.has_tags());
    arena.give();
    arena.add_span(span).unwrap();
    let mut ranges = Vec::new();
    // No page is given from here on.
    let error = loop {
        match arena.alloc(1, Policy::Instant) {
            Ok(range) => ranges.push(range),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::OutOfMemory { bytes: PAGE_SIZE });
    assert_eq!(ranges.len(), 61, "64 tags, less the span's and the last free segment's, and one that must be there");
    assert_eq!((arena.nr_pages_wanted(), arena.has_tags()), (1, false));
    // As many free segments as there can be: a free never splits one.
    ranges.iter().step_by(2).for_each(|range| arena.free(range.start(), 1).unwrap());
    ranges.iter().skip(1).step_by(2).for_each(|range| arena.free(range.start(), 1).unwrap());
    assert_eq!(arena.free_space().largest_pages, (1 << 20) - 2);
    assert!(arena.has_tags());
}

#[test]
fn memory_follows_the_segments_and_not_the_addresses() {
    let nr_ranges: usize = if cfg!(miri) { 600 } else { 100_000 };
    let mut arena = TestArena::new(BASE, 1 << 34);
    assert_eq!(arena.nr_pages_given(), 2, "64 TiB of addresses");
    let ranges: Vec<_> = (0..nr_ranges).map(|_| arena.take(1).unwrap()).collect();
    let needed = nr_ranges.div_ceil(64) + nr_ranges.div_ceil(512);
    let given = arena.nr_pages_given();
    assert!(given <= needed + 4, "{given} pages for {nr_ranges} ranges, {needed} at least");
    ranges.iter().for_each(|range| arena.free(range.start(), 1).unwrap());
    for _ in 0..nr_ranges {
        let range = arena.take(1).unwrap();
        arena.free(range.start(), 1).unwrap();
    }
    assert_eq!(arena.nr_pages_given(), given, "what it has is used again");
}

/// The table grows past one level, and past two if there is time; every range is found on each step.
#[test]
fn a_table_of_many_levels_finds_every_range() {
    let nr_ranges: usize = if cfg!(miri) { 1200 } else { 300_000 };
    let mut arena = TestArena::new(BASE, 1 << 34);
    let ranges: Vec<_> = (0..nr_ranges).map(|i| arena.take(1 + i % 3).unwrap()).collect();
    assert!(ranges.iter().all(|range| arena.size_of(range.start()) == Some(range.nr_pages())));
    arena.check_invariants();
    for (i, range) in ranges.iter().enumerate() {
        if i % 2 == 0 {
            arena.free(range.start(), range.nr_pages()).unwrap();
        }
    }
    let is_right = |(i, range): (usize, &VirtRange)| arena.size_of(range.start()).is_some() == (i % 2 == 1);
    assert!(ranges.iter().enumerate().all(is_right));
}

/// A table that gets no page goes on with the buckets it has.
#[test]
fn a_table_that_cannot_grow_has_longer_chains() {
    let mut arena = TestArena::new(BASE, 1 << 20);
    let nr_ranges = 700;
    let mut ranges = Vec::new();
    while ranges.len() < nr_ranges {
        if !arena.has_tags() {
            arena.give();
        }
        ranges.push(arena.alloc(1, Policy::Instant).unwrap());
    }
    assert_eq!(arena.nr_pages_given(), 1 + (nr_ranges + 3usize).div_ceil(64), "none went into the table");
    arena.check_invariants();
    ranges.iter().for_each(|range| arena.free(range.start(), 1).unwrap());
}
