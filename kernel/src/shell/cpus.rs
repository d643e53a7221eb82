//! `cpus`: who is here, and what they did.

use kernel::args::{ArgError, Args};
use kernel::json;
use kernel::report::{self, Cell, Format};

use super::{Command, Out, Status};
use crate::clock;
use crate::console::println;
use crate::machine::SHOOTDOWNS;
use crate::members;
use crate::per_cpu;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "cpus",
    usage: "[--json]",
    help: "the CPUs, their state and their interrupts",
    details: "A CPU that did not come is shown as failed, and makes the command fail. `smp` tells why, and more of each.",
    run: cpus,
}];

fn cpus<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let format = Format::json_if(args.flag("--json"));
    args.finish(usage)?;
    let columns = [
        ("cpu", "cpu"),
        ("apic id", "apic_id"),
        ("state", "state"),
        ("interrupts", "interrupts"),
        ("shootdowns", "shootdowns"),
        ("ipis sent", "ipis_sent"),
        ("pages flushed", "pages_flushed"),
        ("full flushes", "full_flushes"),
    ];
    let printed = report::table(&mut Out, format, "cpu", columns, |row| {
        for area in per_cpu::all() {
            let flushes = SHOOTDOWNS.counters(area.cpu).values();
            row([
                Cell::Id(area.cpu.index() as u64),
                Cell::Id(area.apic_id().into()),
                Cell::Text(&format_args!("{:?}", area.state())),
                Cell::Count(area.nr_interrupts() + flushes.ipis_taken),
                Cell::Count(flushes.shootdowns),
                Cell::Count(flushes.ipis_sent),
                Cell::Count(flushes.pages_flushed),
                Cell::Count(flushes.full_flushes),
            ]);
        }
    });
    let attendance = members::Attendance::now();
    let cores = clock::cores();
    let printed = printed.and_then(|()| match format {
        Format::Text => {
            if let Some(cores) = cores {
                let s = if cores.nr_cores == 1 { "" } else { "s" };
                match cores.threads_per_core {
                    1 => println!("on {} core{s}, one CPU on each", cores.nr_cores),
                    most => println!("on {} core{s}, up to {most} CPUs on each", cores.nr_cores),
                }
            }
            println!("{attendance}");
            Ok(())
        }
        Format::Json => json::line(&mut Out, |object| {
            object.text("kind", "cpus");
            object.number("online", attendance.nr_online as u64);
            object.number("known", attendance.nr_known as u64);
            if let Some(cores) = cores {
                object.number("cores", cores.nr_cores as u64);
                object.number("threads_per_core", cores.threads_per_core as u64);
            }
        }),
    });
    Ok(if printed.is_ok() && attendance.is_full() { Status::Ok } else { Status::Failed })
}
