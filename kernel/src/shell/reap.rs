//! `reap`: gives back memory that the allocator holds without use.

use kernel::args::{ArgError, Args};
use kernel::figures::Count;

use super::{Command, Status};
use crate::console::println;
use crate::machine::HEAP;
use crate::space;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "reap",
    usage: "[--all]",
    help: "gives back magazines and slabs that nobody used since the last time",
    details: "Ranges that were unmapped and wait for a shootdown; then magazines of the depots and empty slabs that lay\n\
              idle since the last `reap`; CPUs keep what they hold.\n\
              With --all, as when memory is short: every magazine of every CPU, every depot, every empty slab.",
    run: reap,
}];

fn reap<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let is_all = args.flag("--all");
    args.finish(usage)?;
    let before = HEAP.account();
    let purged = space::purge();
    let nr_magazines = if is_all {
        HEAP.reclaim();
        None
    } else {
        Some(HEAP.reap_idle().nr_magazines)
    };
    let after = HEAP.account();
    if purged.nr_ranges > 0 {
        println!("reap: {} unmapped ranges, {} pages", Count(purged.nr_ranges as u64), Count(purged.nr_pages as u64));
    }
    let nr_pages = before.nr_slab_pages.saturating_sub(after.nr_slab_pages);
    match nr_magazines {
        Some(nr_magazines) => {
            println!("reap: {} idle magazines, {} pages of slabs", Count(nr_magazines), Count(nr_pages))
        }
        None => println!(
            "reap: all magazines, {} pages of slabs, {} frames are free",
            Count(nr_pages),
            Count(after.nr_free)
        ),
    }
    Ok(if after.adds_up() { Status::Ok } else { Status::Failed })
}
