//! `slabs check` and `slabs leaks`: a walk over the objects of debugged caches.

use kernel::figures::{Bytes, Count};
use mm::debug::Track;
use spin::mutex::SpinMutex;

use super::Status;
use crate::console::println;
use crate::debug::By;
use crate::machine::HEAP;

/// Call sites that are told apart.
const NR_GROUPS: usize = 64;

/// Live objects of one cache that were allocated at one place.
#[derive(Clone, Copy)]
struct Group {
    site: Option<usize>,
    nr_objects: u64,
    nr_bytes: u64,
    /// The oldest of them.
    first: Track,
}

/// The groups of one cache. Static: the shell's stack is no place for it, and the walk allocates nothing.
static GROUPS: SpinMutex<([Option<Group>; NR_GROUPS], usize)> = SpinMutex::new(([None; NR_GROUPS], 0));

/// Verifies every object of the debugged caches.
pub(super) fn check() -> Status {
    if !is_any_debugged() {
        return Status::Usage;
    }
    let nr_wrong = HEAP.check_debugged();
    // Not by the caches' accounts: these count a damaged object, kept out of use, as one that is with a user.
    let mut nr_live = 0_u64;
    for id in debugged() {
        HEAP.for_each_live(id, |_| nr_live += 1);
    }
    println!("slabs: checked, {} live objects among them: {} wrong", Count(nr_live), Count(nr_wrong));
    if nr_wrong == 0 { Status::Ok } else { Status::Failed }
}

/// Lists the live objects of the debugged caches, or of the one that is called or has objects of `wanted`, by who
/// allocated them.
pub(super) fn leaks(wanted: Option<&str>) -> Status {
    if !is_any_debugged() {
        return Status::Usage;
    }
    let mut nr_listed = 0;
    for (id, cache) in HEAP.caches() {
        let is_wanted =
            wanted.is_none_or(|wanted| wanted == cache.settings().name || wanted.parse() == Ok(cache.object_size()));
        if !is_wanted || !cache.is_debugged() {
            continue;
        }
        let mut guard = GROUPS.lock();
        let (groups, nr_groups) = &mut *guard;
        *nr_groups = 0;
        let mut nr_left_out = 0_u64;
        HEAP.for_each_live(id, |object| {
            let site = object.allocated.sites().first().copied();
            let known = groups[..*nr_groups].iter_mut().flatten().find(|group| group.site == site);
            if let Some(group) = known {
                group.nr_objects += 1;
                group.nr_bytes += object.size as u64;
                if object.allocated.seq < group.first.seq {
                    group.first = object.allocated;
                }
            } else if let Some(place) = groups.get_mut(*nr_groups) {
                *place = Some(Group { site, nr_objects: 1, nr_bytes: object.size as u64, first: object.allocated });
                *nr_groups += 1;
            } else {
                nr_left_out += 1;
            }
        });
        let found = &mut groups[..*nr_groups];
        found.sort_unstable_by_key(|group| core::cmp::Reverse(group.map(|group| group.nr_objects)));
        for group in found.iter().flatten() {
            println!(
                "slabs: cache {id} `{}` of {} bytes: {} live objects, {}, the oldest {}",
                cache.settings().name,
                cache.object_size(),
                Count(group.nr_objects),
                Bytes(group.nr_bytes),
                By(&group.first)
            );
            nr_listed += group.nr_objects;
        }
        if nr_left_out > 0 {
            println!("slabs: cache {id}: {} live objects of further places", Count(nr_left_out));
            nr_listed += nr_left_out;
        }
    }
    println!("slabs: {} live objects in debugged caches", Count(nr_listed));
    Status::Ok
}

fn debugged() -> impl Iterator<Item = u16> {
    HEAP.caches().filter(|(_, cache)| cache.is_debugged()).map(|(id, _)| id)
}

fn is_any_debugged() -> bool {
    let is_any = debugged().next().is_some();
    if !is_any {
        println!("slabs: no cache is debugged; boot with debug=slab on the command line");
    }
    is_any
}
