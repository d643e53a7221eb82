//! `slabs`: what each cache holds, and how often its magazines sufficed.

use kernel::args::{ArgError, Args};
use kernel::figures::{Count, Percent};
use kernel::table::{self, Align};

use super::{Command, Out, Status};
use crate::console::println;
use crate::machine::HEAP;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "slabs",
    usage: "[size or name]",
    help: "the slab caches: objects, magazines, hits",
    details: "Only caches that were ever used are listed. `hits` are operations that this CPU's magazines served\n\
              without a visit to the depot or the slabs. Fails if the objects of a cache do not add up.",
    run: slabs,
}];

fn slabs<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let wanted = args.word();
    args.finish(usage)?;
    let chosen = || {
        HEAP.caches().filter(move |(id, cache)| {
            let is_wanted = wanted
                .is_none_or(|wanted| wanted == cache.settings().name || wanted.parse() == Ok(cache.object_size()));
            is_wanted && (HEAP.cache_account(*id).nr_allocs > 0 || wanted.is_some())
        })
    };
    if chosen().next().is_none() {
        println!("slabs: no cache is called that, or has objects of that size");
        return Ok(Status::Usage);
    }
    let headings = [
        ("size", Align::Right),
        ("name", Align::Left),
        ("out", Align::Right),
        ("magazines", Align::Right),
        ("depot", Align::Right),
        ("free", Align::Right),
        ("pages", Align::Right),
        ("rounds", Align::Right),
        ("operations", Align::Right),
        ("hits", Align::Right),
        ("depot visits", Align::Right),
        ("slab visits", Align::Right),
    ];
    let printed = table::print(&mut Out, headings, |row| {
        for (id, cache) in chosen() {
            let objects = HEAP.cache_account(id);
            let slabs = cache.slab_counters();
            row([
                &cache.object_size(),
                &cache.settings().name,
                &Count(objects.nr_live),
                &Count(objects.nr_in_magazines),
                &Count(objects.nr_in_depot),
                &Count(slabs.nr_objects - slabs.nr_out),
                &Count(slabs.nr_pages),
                &cache.magazine_rounds(),
                &Count(objects.nr_allocs + objects.nr_frees),
                &Percent(objects.hits_per_million(), 1_000_000),
                &Count(objects.nr_depot_visits),
                &Count(objects.nr_slab_visits),
            ]);
        }
    });
    for (id, cache) in chosen() {
        let objects = HEAP.cache_account(id);
        if objects.nr_quarantined + objects.nr_lost > 0 {
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
    Ok(if printed.is_ok() { Status::Ok } else { Status::Failed })
}
