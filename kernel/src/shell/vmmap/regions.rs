//! The regions of the address space: what is mapped where, by the leaves of the page tables.

use core::fmt;
use core::ops::Range;

use kernel::report::{self, Cell, Format};
use mm::arena::{SharedArena, VirtRange};
use mm::frame::PAGE_SIZE;
use mm::page_table::{Attributes, Leaf, Level};

use super::{Addr, Rights};
use crate::console::println;
use crate::machine::Cpu;
use crate::shell::Out;
use crate::{image, screen, space};

/// Spans of the arena that are told apart.
const MAX_SPANS: usize = 8;

/// Regions, each with each of its rights, at most.
const MAX_ROWS: usize = 24;

/// What lies where, by address.
struct Places {
    dynamic: [VirtRange; MAX_SPANS],
    nr_dynamic: usize,
    screen: Range<usize>,
}

/// Leaves of one region and with the same rights.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    attributes: Attributes,
    start: usize,
    last: usize,
    /// Of 4 KiB, 2 MiB and 1 GiB.
    nr_leaves: [u64; 3],
}

impl Places {
    fn find(arena: &SharedArena<Cpu>) -> Option<Self> {
        let mut dynamic = [VirtRange::new(PAGE_SIZE, 1)?; MAX_SPANS];
        let nr_dynamic = arena.spans(&mut dynamic);
        let screen =
            screen::framebuffer().map_or(0..0, |screen| screen.virt..screen.virt.saturating_add(screen.mode.len()));
        Some(Self { dynamic, nr_dynamic, screen })
    }

    fn name(&self, addr: usize) -> &'static str {
        let image = [
            (image::requests(), "boot requests"),
            (image::text(), "text"),
            (image::rodata(), "constants"),
            (image::data(), "data"),
        ];
        if self.dynamic[..self.nr_dynamic].iter().any(|span| span.contains(addr)) {
            "dynamic"
        } else if let Some((_, name)) = image.iter().find(|(part, _)| part.contains(&addr)) {
            name
        } else if addr + PAGE_SIZE > self.screen.start && self.screen.contains(&addr.max(self.screen.start)) {
            "screen"
        } else {
            "direct map"
        }
    }
}

/// Prints the regions; whether one is writable and executable.
pub(super) fn print(arena: &SharedArena<Cpu>, format: Format) -> Result<bool, fmt::Error> {
    let places = Places::find(arena).ok_or(fmt::Error)?;
    let mut rows = [None; MAX_ROWS];
    // Both halves: a mapping where none should be is worth a line.
    for half in [VirtRange::new(PAGE_SIZE, (1 << 35) - 1), VirtRange::new(0xffff_8000_0000_0000, 1 << 35)] {
        half.into_iter()
            .flat_map(space::leaves)
            .for_each(|leaf| add(&mut rows, places.name(leaf.range.start()), &leaf));
    }
    let columns = [
        ("region", "region"),
        ("start", "start"),
        ("last", "last"),
        ("rights", "rights"),
        ("mapped", "mapped"),
        ("4 KiB", "leaves_4k"),
        ("2 MiB", "leaves_2m"),
        ("1 GiB", "leaves_1g"),
    ];
    report::table(&mut Out, format, "vmmap_region", columns, |print| {
        for row in rows.iter().flatten() {
            let [small, large, huge] = row.nr_leaves;
            print([
                Cell::Text(&row.name),
                Cell::Text(&Addr(row.start)),
                Cell::Text(&Addr(row.last)),
                Cell::Text(&Rights(row.attributes)),
                Cell::Bytes((small + large * Level::L2.nr_pages() + huge * Level::L3.nr_pages()) * PAGE_SIZE as u64),
                Cell::Count(small),
                Cell::Count(large),
                Cell::Count(huge),
            ]);
        }
    })?;
    let overlap = |one: &Row| {
        let is_other = |other: &&Row| other.name == one.name && other.attributes != one.attributes;
        rows.iter().flatten().filter(is_other).any(|other| one.start <= other.last && other.start <= one.last)
    };
    if format == Format::Text && rows.iter().flatten().any(overlap) {
        println!("rows of one region overlap: each spans all of it that has its rights, and what lies between");
    }
    Ok(rows.iter().flatten().any(|row| row.attributes.writable && row.attributes.executable))
}

/// Adds a leaf to the row of its region and rights. With no row left it goes to the last one's account.
fn add(rows: &mut [Option<Row>; MAX_ROWS], name: &'static str, leaf: &Leaf) {
    let is_same = |row: &Row| row.name == name && row.attributes == leaf.attributes;
    let place = rows.iter().position(|row| row.as_ref().is_none_or(is_same)).unwrap_or(MAX_ROWS - 1);
    let start = leaf.range.start();
    let new = Row { name, attributes: leaf.attributes, start, last: start, nr_leaves: [0; 3] };
    let row = rows[place].get_or_insert(new);
    // The last address: the end may not be one.
    row.last = start + (leaf.range.nr_pages() * PAGE_SIZE - 1);
    row.nr_leaves[match leaf.level {
        Level::L1 => 0,
        Level::L2 => 1,
        Level::L3 | Level::L4 => 2,
    }] += 1;
}
