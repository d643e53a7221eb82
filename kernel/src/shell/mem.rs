//! `mem`: where every frame is, and whether the sum is right.

use kernel::args::{ArgError, Args};
use kernel::figures::{Bytes, Count};
use mm::account::Account;
use mm::frame::PAGE_SIZE;
use mm::frame_table::Kind;

use super::{Command, Status};
use crate::console::println;
use crate::machine::HEAP;
use crate::others::{BootMemory, boot_memory};
use crate::space;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "mem",
    usage: "[--json]",
    help: "where every frame is; fails if they do not add up",
    details: "usable = kernel + page tables + slabs + large + page magazines + mapped + free, to the frame; and\n\
              quarantined, if a slab was overwritten and is out of use.\n\
              Each use counts its own frames; the frame table is counted beside that, and must agree.",
    run: mem,
}];

/// The identity, in frames.
struct Identity {
    boot: BootMemory,
    account: Account,
    nr_tables: u64,
}

impl Identity {
    fn take() -> Self {
        Self { boot: boot_memory(), account: HEAP.account(), nr_tables: space::nr_tables() }
    }

    fn kernel(&self) -> u64 {
        self.boot.nr_metadata + self.account.nr_used(Kind::Owned)
    }

    fn parts(&self) -> [(&'static str, u64); 8] {
        let account = &self.account;
        [
            ("kernel", self.kernel()),
            ("page tables", account.nr_used(Kind::PageTable)),
            ("slabs", account.nr_used(Kind::Slab)),
            ("large", account.nr_used(Kind::Large)),
            ("page magazines", account.nr_cached),
            ("mapped", account.nr_used(Kind::Mapped)),
            ("free", account.nr_free),
            ("quarantined", account.nr_used(Kind::Quarantined)),
        ]
    }

    /// Frames that are usable and in none of the parts; negative if some are in two.
    fn difference(&self) -> i64 {
        self.boot.nr_usable as i64 - self.parts().iter().map(|(_, nr_frames)| *nr_frames as i64).sum::<i64>()
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
        print_json(&identity, complaint.is_none());
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
    println!(
        "  {:<16} {:>11} frames  {:>10}",
        "usable",
        Count(identity.boot.nr_usable),
        Bytes(identity.boot.nr_usable * PAGE_SIZE as u64)
    );
    let is_shown = |&(name, nr_frames): &(&str, u64)| nr_frames > 0 || name != "quarantined";
    for (name, nr_frames) in identity.parts().into_iter().filter(is_shown) {
        line(name, nr_frames);
        if name == "slabs" {
            print_slabs(identity);
        }
    }
}

fn print_slabs(identity: &Identity) {
    let slabs = &identity.account.slabs;
    let parts = [
        ("out", slabs.out),
        ("in magazines", slabs.in_magazines),
        ("in depots", slabs.in_depot),
        ("free", slabs.free),
        ("magazines", slabs.magazines),
        ("ends", slabs.unused),
    ];
    for (name, nr_bytes) in parts {
        println!("    of these {name:<13} {:>21}", Bytes(nr_bytes));
    }
}

fn print_json(identity: &Identity, is_ok: bool) {
    let slabs = &identity.account.slabs;
    println!(
        "{{\"kind\":\"mem\",\"ok\":{is_ok},\"usable\":{},\"kernel\":{},\"page_tables\":{},\"slabs\":{},\"large\":{},\
         \"page_magazines\":{},\"mapped\":{},\"free\":{},\"quarantined\":{},\"slab_bytes\":{{\"out\":{},\"in_magazines\":{},\
         \"in_depots\":{},\"free\":{},\"magazines\":{},\"unused\":{}}}}}",
        identity.boot.nr_usable,
        identity.parts()[0].1,
        identity.parts()[1].1,
        identity.parts()[2].1,
        identity.parts()[3].1,
        identity.parts()[4].1,
        identity.parts()[5].1,
        identity.parts()[6].1,
        identity.parts()[7].1,
        slabs.out,
        slabs.in_magazines,
        slabs.in_depot,
        slabs.free,
        slabs.magazines,
        slabs.unused
    );
}
