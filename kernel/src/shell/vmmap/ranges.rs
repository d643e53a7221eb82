//! The ranges of the dynamic area: whose they are, as far as their frames tell, and whether their guards are unmapped.

use core::fmt;

use kernel::report::{self, Cell, Format};
use mm::arena::{RangeState, SharedArena, VirtRange};
use mm::frame::PAGE_SIZE;
use mm::frame_table::Kind;
use mm::page_table::{Attributes, Cache};

use super::{Addr, Rights};
use crate::machine::Cpu;
use crate::shell::Out;
use crate::{per_cpu, space};

/// Ranges that are read at once, with the arena's lock held.
const BATCH: usize = 32;

/// Rows of the summary at most.
const MAX_ROWS: usize = 16;

/// What guards are there, and the first that is none.
#[derive(Clone, Copy, Default)]
pub(super) struct Guards {
    pub(super) nr_ranges: u64,
    pub(super) first: Option<usize>,
}

/// What is to be said of a range.
#[derive(Clone, Copy, PartialEq, Eq)]
struct About {
    /// In a magazine, mapped, in parts, or not at all.
    state: &'static str,
    rights: Option<Attributes>,
    purpose: &'static str,
}

/// Ranges of which the same is to be said.
#[derive(Clone, Copy)]
struct Row {
    about: About,
    nr_ranges: u64,
    nr_pages: u64,
    nr_mapped: u64,
}

/// What a column shows of the rights, which an unmapped range does not have.
struct OrDash(Option<Attributes>);

impl fmt::Display for OrDash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(attributes) => Rights(attributes).fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// Looks at every range that is not free, a batch at a time: no lock is held meanwhile.
fn for_each(arena: &SharedArena<Cpu>, mut look: impl FnMut(RangeState)) {
    let Some(none) = VirtRange::new(PAGE_SIZE, 1) else { return };
    let mut last = None;
    loop {
        let mut batch = [RangeState { range: none, is_cached: false }; BATCH];
        let n = arena.ranges_behind(last, &mut batch);
        batch[..n].iter().for_each(|&state| look(state));
        match batch[..n].last() {
            Some(state) => last = Some(state.range),
            None => return,
        }
    }
}

/// Says what a range is, and how many of its pages are mapped.
fn look_at(RangeState { range, is_cached }: RangeState) -> (About, u64) {
    let mut nr_mapped = 0;
    let mut first = None;
    for leaf in space::leaves(range) {
        nr_mapped += leaf.range.nr_pages() as u64;
        first = first.or(Some(leaf));
    }
    let state = match nr_mapped {
        _ if is_cached => "cached",
        0 => "unmapped",
        n if n < range.nr_pages() as u64 => "in part",
        _ => "mapped",
    };
    let is_stack = || per_cpu::all().any(|area| area.has_on_stack(range.start()));
    let purpose = match first {
        None => "-",
        Some(leaf) if leaf.attributes.cache == Cache::Uncached => "device",
        Some(_) if is_stack() => "stack",
        Some(leaf) => match space::kind_at(leaf.phys) {
            Some(Kind::Large) => "heap",
            Some(Kind::Mapped) => "mapping",
            _ => "other",
        },
    };
    (About { state, rights: first.map(|leaf| leaf.attributes), purpose }, nr_mapped)
}

/// Prints the ranges, all of them or a row for each kind; returns how many are out, and what guard is mapped.
pub(super) fn print(arena: &SharedArena<Cpu>, format: Format, shows_all: bool) -> Result<Guards, fmt::Error> {
    let mut guards = Guards::default();
    let mut rows: [Option<Row>; MAX_ROWS] = [None; MAX_ROWS];
    for_each(arena, |it| {
        let (about, nr_mapped) = look_at(it);
        guards.nr_ranges += u64::from(!it.is_cached);
        guards.first = guards.first.or_else(|| space::mapped_guard(it.range));
        let place = rows.iter().position(|row| row.as_ref().is_none_or(|row| row.about == about));
        let row = &mut rows[place.unwrap_or(MAX_ROWS - 1)];
        let row = row.get_or_insert(Row { about, nr_ranges: 0, nr_pages: 0, nr_mapped: 0 });
        row.nr_ranges += 1;
        row.nr_pages += it.range.nr_pages() as u64;
        row.nr_mapped += nr_mapped;
    });
    if shows_all {
        let columns =
            [("start", "start"), ("pages", "pages"), ("state", "state"), ("rights", "rights"), ("for", "purpose")];
        report::table(&mut Out, format, "vmmap_range", columns, |print| {
            for_each(arena, |it| {
                let (about, _) = look_at(it);
                print([
                    Cell::Text(&Addr(it.range.start())),
                    Cell::Count(it.range.nr_pages() as u64),
                    Cell::Text(&about.state),
                    Cell::Text(&OrDash(about.rights)),
                    Cell::Text(&about.purpose),
                ]);
            });
        })?;
        return Ok(guards);
    }
    let columns = [
        ("ranges for", "purpose"),
        ("state", "state"),
        ("rights", "rights"),
        ("ranges", "ranges"),
        ("pages", "pages"),
        ("mapped", "mapped_pages"),
    ];
    report::table(&mut Out, format, "vmmap_ranges", columns, |print| {
        for row in rows.iter().flatten() {
            print([
                Cell::Text(&row.about.purpose),
                Cell::Text(&row.about.state),
                Cell::Text(&OrDash(row.about.rights)),
                Cell::Count(row.nr_ranges),
                Cell::Count(row.nr_pages),
                Cell::Count(row.nr_mapped),
            ]);
        }
    })?;
    Ok(guards)
}
