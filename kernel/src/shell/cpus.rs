//! `cpus`: who is here, and what they did.

use kernel::args::{ArgError, Args};
use kernel::figures::Count;
use kernel::table::{self, Align};

use super::{Command, Out, Status};
use crate::console::println;
use crate::machine::SHOOTDOWNS;
use crate::others;
use crate::per_cpu::{self, State};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "cpus",
    usage: "",
    help: "the CPUs, their state and their interrupts",
    details: "A CPU that did not come is shown as failed, and makes the command fail.",
    run: cpus,
}];

fn cpus<'a>(args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    args.finish(usage)?;
    let headings = [
        ("cpu", Align::Right),
        ("apic id", Align::Right),
        ("state", Align::Left),
        ("interrupts", Align::Right),
        ("shootdowns", Align::Right),
        ("ipis sent", Align::Right),
        ("pages flushed", Align::Right),
        ("full flushes", Align::Right),
    ];
    let printed = table::print(&mut Out, headings, |row| {
        for area in per_cpu::all() {
            let flushes = SHOOTDOWNS.counters(area.cpu).values();
            row([
                &area.cpu,
                &area.apic_id(),
                &format_args!("{:?}", area.state()),
                &Count(area.nr_interrupts()),
                &Count(flushes.shootdowns),
                &Count(flushes.ipis_sent),
                &Count(flushes.pages_flushed),
                &Count(flushes.full_flushes),
            ]);
        }
    });
    let nr_online = per_cpu::all().filter(|area| area.state() == State::Online).count();
    let nr_known = per_cpu::all().count() + others::nr_left_out();
    println!("{nr_online} of {nr_known} CPUs online");
    Ok(if printed.is_ok() && nr_online == nr_known { Status::Ok } else { Status::Failed })
}
