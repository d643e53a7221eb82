//! Everything that is counted of one cache: what `slabs <cache>` shows.
//!
//! The names are those of illumos' `kmem_cache` statistics where it has the figure: see [`mm::statistics`].
//!
//! Called by: `slabs`.

use kernel::report::{self, Cell, Figure, Format};

use super::{Out, Status};
use crate::console::println;
use crate::machine::HEAP;

/// Prints all figures of cache `id`, and those of each CPU that used it.
pub(super) fn print(id: u16, format: Format) -> Status {
    let found = HEAP.caches().find(|&(other, _)| other == id).zip(HEAP.cache_statistics(id));
    let Some(((_, cache), of)) = found else { return Status::Failed };
    let name = cache.settings().name;
    let hits = HEAP.cache_account(id).hits_per_million();
    let is_constructed = if cache.settings().constructor.is_some() { "yes" } else { "no" };
    let identity: &[Figure<'_>] = &[
        ("id", Cell::Id(id.into()), "by which the frame table knows it"),
        ("name", Cell::Text(&name), ""),
        ("constructor", Cell::Text(&is_constructed), ""),
        ("buf_size", Cell::Bytes(of.buf_size), "of an object, as asked for"),
        ("align", Cell::Bytes(of.align), ""),
        ("chunk_size", Cell::Bytes(of.chunk_size), "from one object to the next"),
        ("slab_size", Cell::Bytes(of.slab_size), "of a new slab"),
    ];
    let objects: &[Figure<'_>] = &[
        ("buf_inuse", Cell::Count(of.buf_inuse), "objects with users"),
        ("buf_constructed", Cell::Count(of.buf_constructed), "in magazines and depot: free, and constructed"),
        ("buf_avail", Cell::Count(of.buf_avail), "free: these, and those in slabs"),
        ("buf_total", Cell::Count(of.buf_total), "in all slabs"),
        ("buf_max", Cell::Count(of.buf_max), "the most there were"),
    ];
    let operations: &[Figure<'_>] = &[
        ("alloc", Cell::Count(of.alloc), "objects handed out"),
        ("alloc_fail", Cell::Count(of.alloc_fail), "requests refused"),
        ("alloc_direct", Cell::Count(of.alloc_direct), "of alloc, past the magazines"),
        ("free", Cell::Count(of.free), "objects taken back"),
        ("free_direct", Cell::Count(of.free_direct), "of free, past the magazines"),
        ("free_refused", Cell::Count(of.free_refused), "of free, found later to be none"),
        ("hits", Cell::PerMillion(hits), "served without a visit to depot or slabs"),
    ];
    let magazines: &[Figure<'_>] = &[
        ("magazine_size", Cell::Count(of.magazine_size), "objects in a magazine made now"),
        ("cpu_swaps", Cell::Count(of.cpu_swaps), "exchanges of a CPU's own magazines"),
        ("depot_visits", Cell::Count(of.depot_visits), "exchanges in the depot, or attempts"),
        ("depot_alloc", Cell::Count(of.depot_alloc), "full magazines that CPUs got there"),
        ("depot_free", Cell::Count(of.depot_free), "full magazines that CPUs left there"),
        ("depot_contention", Cell::Count(of.depot_contention), "times its lock was held"),
        ("full_magazines", Cell::Count(of.full_magazines), "in the depot"),
        ("empty_magazines", Cell::Count(of.empty_magazines), "in the depot"),
        ("reap", Cell::Count(of.reap), "times it gave back what it held"),
    ];
    let nr_touched = of.refill_slabs + of.flush_slabs;
    let slabs: &[Figure<'_>] = &[
        ("slabs", Cell::Count(of.slabs), ""),
        ("slabs_empty", Cell::Count(of.slabs_empty), "without an object out"),
        ("slabs_partial", Cell::Count(of.slabs_partial), "with objects out and objects in"),
        ("partial_slabs", Cell::PerMillion(of.partial_slabs_per_million()), "share of these"),
        ("slab_pages", Cell::Count(of.slab_pages), ""),
        ("slab_create", Cell::Count(of.slab_create), "slabs made"),
        ("slab_destroy", Cell::Count(of.slab_destroy), "slabs given back"),
        ("slab_alloc", Cell::Count(of.slab_alloc), "objects that left"),
        ("slab_free", Cell::Count(of.slab_free), "objects that came back"),
    ];
    let locality: &[Figure<'_>] = &[
        ("refills", Cell::Count(of.refills), "batches of objects that left"),
        ("flushes", Cell::Count(of.flushes), "batches of objects that came back"),
        ("slabs_per_refill", Cell::Ratio(of.refill_slabs, of.refills), "slabs that a batch came out of"),
        ("slabs_per_flush", Cell::Ratio(of.flush_slabs, of.flushes), "slabs that a batch went into"),
        ("objects_per_slab_touched", Cell::Ratio(of.slab_alloc + of.slab_free, nr_touched), "more is better"),
    ];
    let sections = [
        ("cache", identity),
        ("objects", objects),
        ("operations", operations),
        ("magazines and depot", magazines),
        ("slabs", slabs),
        ("spatial locality", locality),
    ];
    let printed = report::page(&mut Out, format, "cache", &sections).and_then(|()| print_cpus(id, format));
    if printed.is_ok() { Status::Ok } else { Status::Failed }
}

/// A line for each CPU whose magazines have ever served cache `id`.
fn print_cpus(id: u16, format: Format) -> core::fmt::Result {
    let columns =
        [("cpu", "cpu"), ("rounds", "rounds"), ("allocs", "alloc"), ("frees", "free"), ("swaps", "cpu_swaps")];
    if format == Format::Text {
        println!("  CPUs");
    }
    report::table(&mut Out, format, "cache_cpu", columns, |row| {
        for (cpu, counters) in HEAP.cpu_counters(id).filter(|(_, of)| of.nr_allocs + of.nr_frees > 0) {
            row([
                Cell::Id(cpu as u64),
                Cell::Count(counters.nr_rounds),
                Cell::Count(counters.nr_allocs),
                Cell::Count(counters.nr_frees),
                Cell::Count(counters.nr_swaps),
            ]);
        }
    })
}
