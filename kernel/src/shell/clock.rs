//! `clock`: what the TSC's rate is, how well it is known, and whether the CPUs agree.

use arch::tsc::Source;
use kernel::args::{ArgError, Args};
use kernel::clock_choice::{agree, parts_per_million};
use kernel::figures::{Count, Nanos};
use kernel::json;

use super::{Command, Out, Status};
use crate::clock::{self, Reading, Warps};
use crate::console::println;
use crate::{boot, input, time, workers};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "clock",
    usage: "[--json]",
    help: "the TSC measured with every other clock, and compared between CPUs; fails on a contradiction",
    details: "Measures the TSC against the ACPI PM timer, the HPET and the PIT, 10 ms each, whatever CPUID says of it; lets\n\
              pairs of CPUs tell each other the time, up to 20 ms each: a warp is a time that had not come yet on the\n\
              other CPU. The bound is how far apart two clocks can be at most, warps or not.\n\
              Fails if a clock is off by more than 1 %, or clocks warp.",
    run: run_clock,
}];

/// What the other clocks and CPUs say.
struct Found {
    readings: [Option<Reading>; 3],
    read_cost_ticks: u64,
    warps: Option<Warps>,
    rates: Option<(u64, u64)>,
}

fn run_clock<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let is_json = args.flag("--json");
    args.finish(usage)?;
    let Some(frequency) = time::frequency() else {
        println!("clock: no rate is known");
        return Ok(Status::Failed);
    };
    let mut readings = clock::references();
    let found = Found {
        readings: core::array::from_fn(|_| readings.next()),
        read_cost_ticks: clock::read_cost(),
        warps: clock::check_warps(),
        rates: clock::actual_per_mille(),
    };
    let measured = found.readings.iter().flatten().filter_map(|reading| reading.measured?.ok());
    let nr_off = measured.filter(|measured| !agree(frequency.hz, measured.hz)).count();
    let is_ok = nr_off == 0 && found.warps.is_none_or(|warps| warps.max_warp_ticks == 0);
    if is_json {
        let printed = print_json(frequency.hz, frequency.source, &found, is_ok);
        return Ok(if printed.is_ok() && is_ok { Status::Ok } else { Status::Failed });
    }
    print_text(frequency.hz, frequency.source, &found);
    let stopped = if input::is_cancelled() { ", stopped" } else { "" };
    println!("clock: {}{stopped}", if is_ok { "ok" } else { "FAIL" });
    Ok(if is_ok { Status::Ok } else { Status::Failed })
}

fn print_text(hz: u64, source: Source, found: &Found) {
    println!("  {:<22}{} Hz, by {source}", "tsc", Count(hz));
    let is_invariant = boot::features().is_some_and(|features| features.invariant_tsc.is_some());
    println!("  {:<22}{}", "invariant", if is_invariant { "yes" } else { "not by CPUID's word" });
    for Reading { source, measured } in found.readings.iter().flatten() {
        match measured {
            Some(Ok(measured)) => {
                let remark = if agree(hz, measured.hz) { "" } else { ": off" };
                let ppm = parts_per_million(measured.hz, hz);
                println!("  by {source:<19}{} Hz, {ppm:+} ppm{remark}", Count(measured.hz));
            }
            Some(Err(error)) => println!("  by {source:<19}{error}"),
            None => println!("  by {source:<19}not here"),
        }
    }
    let ns = |ticks| Nanos(time::frequency().map_or(0, |frequency| frequency.nanoseconds(ticks)));
    println!("  {:<22}{} ticks, {}", "cost of a reading", found.read_cost_ticks, ns(found.read_cost_ticks));
    match found.warps {
        None => println!("  {:<22}not compared", "warps"),
        Some(warps) => {
            match warps.worst {
                None => println!("  {:<22}none in {} pairs of CPUs", "warps", warps.nr_pairs),
                Some((behind, ahead)) => println!(
                    "  {:<22}up to {} ticks: cpu {behind} is behind cpu {ahead}",
                    "warps",
                    Count(warps.max_warp_ticks)
                ),
            }
            println!("  {:<22}{} ticks, {}", "  apart at most", Count(warps.bound_ticks), ns(warps.bound_ticks));
        }
    }
    match found.rates {
        None => println!("  {:<22}not available: no APERF and MPERF", "rate under load"),
        Some((lowest, highest)) => println!("  {:<22}{lowest} to {highest} per mille of nominal", "rate under load"),
    }
}

fn print_json(hz: u64, source: Source, found: &Found, is_ok: bool) -> core::fmt::Result {
    json::line(&mut Out, |object| {
        object.text("kind", "clock");
        object.boolean("ok", is_ok);
        object.number("hz", hz);
        object.text("source", clock::source_name(source));
        object.boolean("invariant", boot::features().is_some_and(|features| features.invariant_tsc.is_some()));
        for (name, wanted) in [("pm_timer_hz", Source::PmTimer), ("hpet_hz", Source::Hpet), ("pit_hz", Source::Pit)] {
            let reading = found.readings.iter().flatten().find(|reading| reading.source == wanted);
            match reading.and_then(|reading| reading.measured?.ok()) {
                Some(measured) => object.number(name, measured.hz),
                None => object.null(name),
            }
        }
        object.number("read_cost_ticks", found.read_cost_ticks);
        object.number("cpus", workers::nr_available() as u64);
        match found.warps {
            Some(warps) => {
                object.number("max_warp_ticks", warps.max_warp_ticks);
                object.number("bound_ticks", warps.bound_ticks);
            }
            None => {
                object.null("max_warp_ticks");
                object.null("bound_ticks");
            }
        }
        match found.rates {
            Some((lowest, _)) => object.number("actual_rate_per_mille", lowest),
            None => object.null("actual_rate_per_mille"),
        }
    })
}
