//! `vmmap`: what is where in the kernel's address space, and what is left of it.
//!
//! What is printed is counted while others map and unmap; of each range it was true when it was looked at.

mod ranges;
mod regions;

use core::fmt;

use kernel::args::{ArgError, Args};
use kernel::report::{self, Cell, Figure, Format};
use mm::arena::SharedArena;
use mm::frame::PAGE_SIZE;
use mm::page_table::{Attributes, Cache};

use super::{Command, Out, Status};
use crate::console::println;
use crate::machine::Cpu;
use crate::space;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "vmmap",
    usage: "[--all] [--json]",
    help: "the kernel's address space: regions, ranges, what is free; fails if a guard page is mapped",
    details: "Regions by rights, with the sizes of their pages: a row spans all that has its rights, so rows of one region\n\
              overlap where pages with other rights lie between. The ranges of the dynamic area by what they are for, or\n\
              each with --all; free addresses by powers of two; what the arena of addresses did and costs. Checked: that the\n\
              pages before and behind each range are not mapped, and that nothing is writable and executable.",
    run: vmmap,
}];

/// What a mapping permits, as people write it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rights(Attributes);

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.0.writable, self.0.executable) {
            (false, false) => "r--",
            (true, false) => "rw-",
            (false, true) => "r-x",
            (true, true) => "rwx",
        })?;
        f.write_str(match self.0.cache {
            Cache::WriteBack => "",
            Cache::Uncached => " uncached",
            Cache::WriteCombining => " combining",
        })
    }
}

/// An address, as people write it.
struct Addr(usize);

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

fn vmmap<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let shows_all = args.flag("--all");
    let format = Format::json_if(args.flag("--json"));
    args.finish(usage)?;
    let Some(arena) = space::arena() else {
        println!("vmmap: there are no page tables yet");
        return Ok(Status::Failed);
    };
    let checked = regions::print(arena, format).and_then(|has_writable_code| {
        let broken = ranges::print(arena, format, shows_all)?;
        print_free(arena, format)?;
        print_arena(arena, format, broken.nr_ranges)?;
        Ok((has_writable_code, broken))
    });
    let Ok((has_writable_code, broken)) = checked else { return Ok(Status::Failed) };
    if format == Format::Text {
        match broken.first {
            Some(addr) => println!("vmmap: FAIL: the guard page at {} is mapped", Addr(addr)),
            None if has_writable_code => println!("vmmap: FAIL: something is writable and executable"),
            None => println!("vmmap: {} ranges, each between unmapped pages: ok", broken.nr_ranges),
        }
    }
    let is_sound = broken.first.is_none() && !has_writable_code;
    Ok(if is_sound { Status::Ok } else { Status::Failed })
}

/// Free addresses by powers of two.
fn print_free(arena: &SharedArena<Cpu>, format: Format) -> fmt::Result {
    let space = arena.free_space();
    let columns = [("free, pages from", "least_pages"), ("segments", "segments"), ("pages", "pages")];
    report::table(&mut Out, format, "vmmap_free", columns, |row| {
        for (power, free) in (0..).zip(&space.by_power).filter(|(_, free)| free.nr_segments > 0) {
            row([Cell::Count(1 << power), Cell::Count(free.nr_segments), Cell::Count(free.nr_pages)]);
        }
    })
}

/// What the arena did, and what it costs.
fn print_arena(arena: &SharedArena<Cpu>, format: Format, nr_ranges: u64) -> fmt::Result {
    let (nr_cut, nr_pages_cut, nr_pages) = arena.sizes();
    let (nr_locks, nr_contended) = arena.lock_counts();
    let direct = arena.counters();
    let mut sum = mm::arena::QuantumCounters::default();
    for one in arena.quantum_counters() {
        sum.nr_allocs += one.nr_allocs;
        sum.nr_frees += one.nr_frees;
        sum.nr_cached += one.nr_cached;
        sum.nr_fetched += one.nr_fetched;
        sum.nr_returned += one.nr_returned;
        sum.nr_depot_visits += one.nr_depot_visits;
    }
    let size = |nr_pages: usize| Cell::Bytes((nr_pages * PAGE_SIZE) as u64);
    let addresses: &[Figure<'_>] = &[
        ("area", size(nr_pages), "of addresses"),
        ("cut", size(nr_pages_cut), "in ranges, guards aside"),
        ("largest_free", size(arena.free_space().largest_pages as usize), "for one range"),
        ("ranges_out", Cell::Count(nr_ranges), "that somebody has"),
        ("ranges_cached", Cell::Count((nr_cut as u64).saturating_sub(nr_ranges)), "in magazines"),
    ];
    let traffic: &[Figure<'_>] = &[
        ("allocs", Cell::Count((direct.nr_allocs + sum.nr_allocs).saturating_sub(sum.nr_fetched)), "ranges handed out"),
        ("frees", Cell::Count((direct.nr_frees + sum.nr_frees).saturating_sub(sum.nr_returned)), "ranges taken back"),
        ("magazine_allocs", Cell::Count(sum.nr_allocs), "of these from magazines"),
        ("magazine_frees", Cell::Count(sum.nr_frees), "of these into magazines"),
        ("no_place", Cell::Count(direct.nr_failed), "searches that found no free range, then purged or refused"),
        ("fetched", Cell::Count(sum.nr_fetched), "ranges cut for magazines"),
        ("returned", Cell::Count(sum.nr_returned), "ranges that magazines gave back"),
        ("depot_visits", Cell::Count(sum.nr_depot_visits), "for a magazine"),
        ("locks", Cell::Count(nr_locks), "of the arena"),
        ("contended", Cell::Count(nr_contended), "of these, found held"),
    ];
    let memory: &[Figure<'_>] = &[
        ("tag_frames", Cell::Count(arena.nr_frames() as u64), "for tags, their table, and magazines' states"),
        ("table_frames", Cell::Count(space::nr_tables()), "page tables, all regions"),
    ];
    let sections = [("addresses", addresses), ("since the start", traffic), ("memory", memory)];
    report::page(&mut Out, format, "vmmap", &sections)
}
