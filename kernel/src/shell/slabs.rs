//! `slabs`: what each cache holds, and how often its magazines sufficed; or everything of one cache.

use kernel::args::{ArgError, Args};
use kernel::figures::Count;
use kernel::report::{self, Cell, Format};
use mm::bank::MAX_CACHES;
use mm::cache::Cache;
use mm::latency::Scope;

use super::{Command, Out, Status, cache_page, latency, slabs_debug};
use crate::console::println;
use crate::machine::{Cpu, HEAP};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "slabs",
    usage: "[size, name or id=N] [--json] | check | leaks",
    help: "the slab caches: objects, magazines, hits",
    details: "Only caches that were ever used are listed. `hits` are operations that this CPU's magazines served\n\
              without a visit to the depot or the slabs. Fails if the objects of a cache do not add up.\n\
              Of a single cache it shows all counters, under the names that illumos has for them.\n\
              `check` verifies every object of the debugged caches (debug=slab on the command line); `leaks`, with a\n\
              size or name for one cache, lists those that are live, by who allocated them.",
    run: slabs,
}];

fn slabs<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let id = args.number("id", 0..=MAX_CACHES as u64 - 1)?;
    let format = Format::json_if(args.flag("--json"));
    let wanted = args.word();
    if wanted == Some("leaks") {
        let cache = args.word();
        args.finish(usage)?;
        return Ok(slabs_debug::leaks(cache));
    }
    args.finish(usage)?;
    if wanted == Some("check") {
        return Ok(slabs_debug::check());
    }
    let chosen = || {
        HEAP.caches().filter(move |(this, cache)| {
            let is_wanted = wanted
                .is_none_or(|wanted| wanted == cache.settings().name || wanted.parse() == Ok(cache.object_size()))
                && id.is_none_or(|id| id == u64::from(*this));
            is_wanted && (HEAP.cache_account(*this).nr_allocs > 0 || wanted.is_some() || id.is_some())
        })
    };
    let is_one_wanted = wanted.is_some() || id.is_some();
    let mut found = chosen();
    let status = match (found.next(), found.next()) {
        (None, _) => {
            println!("slabs: no cache is called that, or has objects of that size");
            return Ok(Status::Usage);
        }
        (Some((id, _)), None) if is_one_wanted => {
            cache_page::print(id, format).max(latency::show(Scope::Cache(id), format))
        }
        _ => list(chosen, format),
    };
    for (id, cache) in chosen() {
        let objects = HEAP.cache_account(id);
        if format == Format::Text && objects.nr_quarantined + objects.nr_lost > 0 {
            println!(
                "slabs: size {}: {} slabs were overwritten and are out of use, {} objects are lost",
                cache.object_size(),
                Count(objects.nr_quarantined),
                Count(objects.nr_lost)
            );
        }
    }
    let wrong = HEAP.caches().find(|&(id, _)| !HEAP.cache_account(id).adds_up());
    if let Some((id, cache)) = wrong {
        println!("slabs: FAIL: cache {id} of size {}: {:?}", cache.object_size(), HEAP.cache_account(id));
        return Ok(Status::Failed);
    }
    Ok(status)
}

/// Prints a line for each of the caches that `chosen` gives.
fn list<C: Iterator<Item = (u16, &'static Cache<Cpu>)>>(chosen: impl Fn() -> C, format: Format) -> Status {
    const COLUMNS: [report::Column; 14] = [
        ("id", "id"),
        ("size", "chunk_size_bytes"),
        ("name", "name"),
        ("out", "buf_inuse"),
        ("magazines", "cpu_rounds"),
        ("depot", "depot_rounds"),
        ("free", "slab_free_bufs"),
        ("pages", "slab_pages"),
        ("partial", "slabs_partial"),
        ("rounds", "magazine_size"),
        ("operations", "operations"),
        ("hits", "hits"),
        ("depot visits", "depot_visits"),
        ("slab visits", "slab_visits"),
    ];
    let printed = report::table(&mut Out, format, "cache_summary", COLUMNS, |row| {
        for (id, cache) in chosen() {
            let objects = HEAP.cache_account(id);
            let slabs = cache.slab_counters();
            row([
                Cell::Id(id.into()),
                Cell::Id(cache.object_size() as u64),
                Cell::Text(&cache.settings().name),
                Cell::Count(objects.nr_live),
                Cell::Count(objects.nr_in_magazines),
                Cell::Count(objects.nr_in_depot),
                Cell::Count(slabs.nr_objects - slabs.nr_out),
                Cell::Count(slabs.nr_pages),
                Cell::Count(slabs.nr_partial),
                Cell::Id(cache.magazine_rounds() as u64),
                Cell::Count(objects.nr_allocs + objects.nr_frees),
                Cell::PerMillion(objects.hits_per_million()),
                Cell::Count(objects.nr_depot_visits),
                Cell::Count(objects.nr_slab_visits),
            ]);
        }
    });
    if printed.is_ok() { Status::Ok } else { Status::Failed }
}
