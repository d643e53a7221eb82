//! `mem`: where every frame is, and whether the sum is right.

use kernel::args::{ArgError, Args};
use kernel::figures::{Bytes, Count};
use kernel::json;
use mm::account::Account;
use mm::frame::PAGE_SIZE;
use mm::frame_table::Kind;

use super::{Command, Out, Status};
use crate::console::println;
use crate::machine::HEAP;
use crate::reclaim::{BootMemory, boot_memory};
use crate::space;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "mem",
    usage: "[--json]",
    help: "where every frame is; fails if they do not add up",
    details: "usable = kernel + page tables + address tags + slabs + large + page magazines + mapped + free, to the\n\
              frame; and waiting, if ranges are unmapped whose frames wait for the next purge; and\n\
              quarantined, if a slab was overwritten and is out of use; and retired, if `memtest` found frames bad.\n\
              Each use counts its own frames; the frame table is counted beside that, and must agree.",
    run: mem,
}];

/// The identity, in frames.
struct Identity {
    boot: BootMemory,
    account: Account,
    nr_tables: u64,
    /// Frames that are large or mapped to the account, and in truth wait for a purge.
    waiting: space::Sums,
}

impl Identity {
    fn take() -> Self {
        let waiting = space::waiting();
        let account = HEAP.account();
        // Another CPU may purge between the two.
        let at_most = |nr_frames: u64, kind| nr_frames.min(account.nr_used(kind));
        let waiting = space::Sums {
            nr_mapped: at_most(waiting.nr_mapped, Kind::Mapped),
            nr_large: at_most(waiting.nr_large, Kind::Large),
            ..waiting
        };
        Self { boot: boot_memory(), account, nr_tables: space::nr_tables(), waiting }
    }

    fn kernel(&self) -> u64 {
        self.boot.nr_metadata + self.account.nr_used(Kind::Owned)
    }

    /// Where the frames are: a name for people, one for programs, how many.
    fn parts(&self) -> [(&'static str, &'static str, u64); 11] {
        let (account, waiting) = (&self.account, &self.waiting);
        [
            ("kernel", "kernel", self.kernel()),
            ("page tables", "page_table", account.nr_used(Kind::PageTable)),
            ("address tags", "address_tag", account.nr_used(Kind::Tags)),
            ("slabs", "slab", account.nr_used(Kind::Slab)),
            ("large", "large", account.nr_used(Kind::Large) - waiting.nr_large),
            ("page magazines", "page_magazine", account.nr_cached),
            ("mapped", "mapped", account.nr_used(Kind::Mapped) - waiting.nr_mapped),
            ("waiting", "waiting", waiting.nr_mapped + waiting.nr_large),
            ("free", "free", account.nr_free),
            ("quarantined", "quarantined", account.nr_used(Kind::Quarantined)),
            ("retired", "retired", account.nr_used(Kind::Retired)),
        ]
    }

    /// What the slabs' frames are used for, alike, in bytes; and how many bytes of objects lie on guarded pages, in no slab.
    fn slab_parts(&self) -> [(&'static str, &'static str, u64); 9] {
        let slabs = &self.account.slabs;
        [
            ("out", "slab_out", slabs.out),
            ("in magazines", "slab_in_magazines", slabs.in_magazines),
            ("in depots", "slab_in_depots", slabs.in_depot),
            ("free", "slab_free", slabs.free),
            ("magazines", "slab_magazines", slabs.magazines),
            ("ends", "slab_ends", slabs.unused),
            ("lost", "slab_lost", slabs.lost),
            ("quarantined", "slab_quarantined", slabs.quarantined),
            ("guarded", "slab_guarded", slabs.guarded),
        ]
    }

    /// Frames that are usable and in none of the parts; negative if some are in two.
    fn difference(&self) -> i64 {
        self.boot.nr_usable as i64 - self.parts().iter().map(|(.., nr_frames)| *nr_frames as i64).sum::<i64>()
    }

    /// What does not agree, if anything.
    fn complaint(&self) -> Option<Complaint> {
        if self.difference() != 0 {
            return Some(Complaint::Difference(self.difference()));
        }
        if let Some((kind, counted, seen)) = self.account.disagreement() {
            return Some(Complaint::Table { kind, counted, seen });
        }
        if !self.account.adds_up() {
            return Some(Complaint::Slabs);
        }
        let in_use = self.account.nr_used(Kind::PageTable);
        (self.nr_tables != in_use).then_some(Complaint::Tables { counted: self.nr_tables, in_use })
    }
}

enum Complaint {
    Difference(i64),
    Table { kind: Kind, counted: i64, seen: i64 },
    Slabs,
    Tables { counted: u64, in_use: u64 },
}

impl core::fmt::Display for Complaint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Difference(nr_frames) => write!(f, "{nr_frames} frames are unaccounted for"),
            Self::Table { kind, counted, seen } => {
                write!(f, "{kind:?}: {counted} frames counted, {seen} in the frame table")
            }
            Self::Slabs => f.write_str("the objects of a slab do not add up"),
            Self::Tables { counted, in_use } => {
                write!(f, "{counted} page tables linked, {in_use} frames taken for them")
            }
        }
    }
}

/// What the frames that are not free are used for, and how many.
pub fn uses() -> impl Iterator<Item = (&'static str, u64)> {
    let parts = Identity::take().parts().into_iter();
    parts.filter(|(name, ..)| *name != "free").map(|(name, _, nr_frames)| (name, nr_frames))
}

/// Whether every frame is where it should be, for those who only want to know.
pub fn adds_up() -> bool {
    Identity::take().complaint().is_none()
}

fn mem<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let is_json = args.flag("--json");
    args.finish(usage)?;
    let identity = Identity::take();
    let complaint = identity.complaint();
    if is_json {
        if print_json(&identity, complaint.is_none()).is_err() {
            return Ok(Status::Failed);
        }
    } else {
        print_table(&identity);
        match &complaint {
            None => println!("mem: {} frames, every one accounted for: ok", identity.boot.nr_usable),
            Some(complaint) => println!("mem: FAIL: {complaint}"),
        }
    }
    Ok(if complaint.is_none() { Status::Ok } else { Status::Failed })
}

fn print_table(identity: &Identity) {
    let line = |name: &str, nr_frames: u64| {
        println!("  {name:<16} {:>11} frames  {:>10}", Count(nr_frames), Bytes(nr_frames * PAGE_SIZE as u64));
    };
    line("usable", identity.boot.nr_usable);
    const ONLY_IF_ANY: [&str; 5] = ["waiting", "lost", "quarantined", "guarded", "retired"];
    let is_shown = |&(name, _, size): &(&str, &str, u64)| size > 0 || !ONLY_IF_ANY.contains(&name);
    for (name, _, nr_frames) in identity.parts().into_iter().filter(is_shown) {
        line(name, nr_frames);
        if name == "waiting" {
            println!("    in ranges that are unmapped {:>13}", Count(identity.waiting.nr_ranges));
        }
        if name == "slabs" {
            for (name, _, nr_bytes) in identity.slab_parts().into_iter().filter(is_shown) {
                println!("    of these {name:<13} {:>21}", Bytes(nr_bytes));
            }
        }
    }
    println!("  and since the start:");
    for (name, _, count) in events() {
        println!("    {name:<26} {:>12}", Count(count));
    }
}

/// What happened to frames so far: a name for people, one for programs, how often.
fn events() -> [(&'static str, &'static str, u64); 6] {
    let (frames, pages) = (HEAP.frames(), HEAP.page_counters());
    [
        ("single frames taken", "frame_allocs", pages.nr_allocs),
        ("single frames given back", "frame_frees", pages.nr_frees),
        ("batches moved", "bitmap_batches", pages.nr_visits),
        ("locks of the bitmap", "bitmap_locks", frames.nr_lock_acquisitions()),
        ("of these, found held", "bitmap_contention", frames.nr_lock_contentions()),
        ("reclaims", "reclaims", HEAP.nr_reclaims()),
    ]
}

fn print_json(identity: &Identity, is_ok: bool) -> core::fmt::Result {
    json::line(&mut Out, |object| {
        object.text("kind", "mem");
        object.boolean("ok", is_ok);
        object.number_in("usable", "_frames", identity.boot.nr_usable);
        for (_, name, nr_frames) in identity.parts() {
            object.number_in(name, "_frames", nr_frames);
        }
        object.number("waiting_ranges", identity.waiting.nr_ranges);
        object.number_in("difference", "_frames", identity.difference());
        for (_, name, nr_bytes) in identity.slab_parts() {
            object.number_in(name, "_bytes", nr_bytes);
        }
        for (_, name, count) in events() {
            object.number(name, count);
        }
    })
}
