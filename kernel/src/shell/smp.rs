//! `smp`: each CPU's state, what it did for others' TLBs and they for its own, and who is not there, and why.

use core::fmt;

use kernel::args::{ArgError, Args};
use kernel::json;
use kernel::report::{self, Cell, Format};
use kernel::roster::Fate;
use kernel::shown;
use smp::shootdown::{CounterValues, Mode};

use super::{Command, Out, Status};
use crate::console::println;
use crate::machine::SHOOTDOWNS;
use crate::members::{self, Member, Standing};
use crate::per_cpu::{self, PerCpu, State};
use crate::{crash, time};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "smp",
    usage: "[nmi | --json]",
    help: "the CPUs in full: state, shootdowns, who is missing and why",
    details: "`seen` is the generation of TLB shootdowns that a CPU has flushed for; one that is halted lags and is\n\
              up to date when it wakes. `rounds`, `sent` (interrupt commands), `skipped` (CPUs that were halted),\n\
              `saved` (CPUs that had an interrupt coming), `waits` and the longest of these are of rounds that it\n\
              began; `taken`, `served` (by itself, before the interrupt came), `flushes`, `pages` and `full` are\n\
              what it flushed. CPUs that are not there, parked ones and what is wrong with the bootloader's list\n\
              follow, with the reason; they make the command fail unless `cpus=` kept them out.\n\
              `smp nmi` sends each other CPU an NMI and shows where it was.",
    run: smp,
}];

fn smp<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let is_nmi = args.flag("nmi");
    // Not beside `nmi`, which answers for people alone.
    let format = Format::json_if(!is_nmi && args.flag("--json"));
    args.finish(usage)?;
    if is_nmi {
        return Ok(ask_all());
    }
    let printed = match format {
        Format::Text => print_tables(),
        Format::Json => print_objects(),
    };
    let nr_online = per_cpu::all().filter(|area| area.state() == State::Online).count();
    let is_full = nr_online == members::nr_known();
    Ok(if printed.is_ok() && is_full { Status::Ok } else { Status::Failed })
}

fn print_tables() -> fmt::Result {
    let columns = [
        ("cpu", "cpu"),
        ("apic id", "apic_id"),
        ("state", "state"),
        ("now", "now"),
        ("interrupts", "interrupts"),
        ("seen", "seen"),
        ("behind", "behind"),
    ];
    report::table(&mut Out, Format::Text, "smp", columns, |row| {
        present().for_each(|area| row(state_cells(area, &Shown::of(area))));
    })?;
    let columns = COUNTERS.map(|(heading, name)| (heading, name));
    report::table(&mut Out, Format::Text, "smp", columns, |row| {
        for area in present() {
            let values = SHOOTDOWNS.counters(area.cpu).values();
            row(counter_cells(&area.cpu, &values));
        }
        row(counter_cells(&"all", &totals()));
    })?;
    let settings = SHOOTDOWNS.settings();
    let mode = match settings.mode() {
        Mode::Coalescing => "coalescing",
        Mode::Naive => "naive",
        Mode::Broadcast => "broadcast",
    };
    println!(
        "generation {}, {mode} rounds, everything is flushed above {} pages",
        SHOOTDOWNS.generation(),
        settings.full_flush_pages()
    );
    print_missing();
    let nr_online = per_cpu::all().filter(|area| area.state() == State::Online).count();
    println!("{nr_online} of {} CPUs online", members::nr_known());
    Ok(())
}

/// The CPUs that came. Those that did not have no counters, and may be hundreds.
fn present() -> impl Iterator<Item = &'static PerCpu> {
    per_cpu::all().filter(|area| area.state() != State::Failed)
}

/// A line for each entry whose CPU is not online; neighbours with the same fate share one.
fn print_missing() {
    let mut missing = missing().peekable();
    while let Some((first, standing)) = missing.next() {
        let mut last = first;
        while let Some((next, _)) = missing.next_if(|(_, other)| *other == standing && standing.may_share_a_line()) {
            last = next;
        }
        let places = Span(first.place as u64, last.place as u64);
        let reason = standing.reason();
        if first.fate == Fate::NoEntry {
            println!("entry {places}: {standing}: {reason}");
        } else {
            let ids = Span(first.apic_id.into(), last.apic_id.into());
            let cpus = first.cpu().zip(last.cpu()).map(|(from, to)| Span(from.index() as u64, to.index() as u64));
            let cpu = shown::by(|f| cpus.as_ref().map_or(Ok(()), |cpus| write!(f, ", cpu {cpus}")));
            println!("entry {places}, APIC id {ids}{cpu}: {standing}: {reason}");
        }
    }
}

/// A number, or the first and the last of a row of them.
struct Span(u64, u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { write!(f, "{}", self.0) } else { write!(f, "{} to {}", self.0, self.1) }
    }
}

/// Entries of the bootloader's list whose CPUs are not online.
fn missing() -> impl Iterator<Item = (&'static Member, Standing)> {
    let standings = members::roster().iter().filter_map(|member| Some((member, member.standing()?)));
    standings.filter(|(_, standing)| *standing != Standing::Is(State::Online))
}

/// Words and numbers that cells refer to.
struct Shown {
    state: Standing,
    is_newest: bool,
}

impl Shown {
    fn of(area: &PerCpu) -> Self {
        let listed = members::roster().iter().find(|member| member.cpu() == Some(area.cpu));
        let state = listed.and_then(Member::standing).unwrap_or(Standing::Is(area.state()));
        Self { state, is_newest: SHOOTDOWNS.seen(area.cpu) == SHOOTDOWNS.generation() }
    }
}

fn state_cells<'a>(area: &PerCpu, shown: &'a Shown) -> [Cell<'a>; 7] {
    let seen = SHOOTDOWNS.seen(area.cpu);
    let now: &dyn fmt::Display = match SHOOTDOWNS.presence(area.cpu) {
        smp::shootdown::Presence::Offline => &"-",
        smp::shootdown::Presence::Running => &"running",
        smp::shootdown::Presence::Idle => &"halted",
    };
    let behind = if shown.is_newest { 0 } else { SHOOTDOWNS.generation().wrapping_sub(seen) };
    [
        Cell::Id(area.cpu.index() as u64),
        Cell::Id(area.apic_id().into()),
        Cell::Text(&shown.state),
        Cell::Text(now),
        Cell::Count(area.nr_interrupts()),
        Cell::Count(seen),
        Cell::Count(behind),
    ]
}

/// The counters' columns, behind the CPU's.
const COUNTERS: [report::Column; 12] = [
    ("cpu", "cpu"),
    ("rounds", "rounds"),
    ("sent", "ipis_sent"),
    ("skipped", "idle_skips"),
    ("saved", "coalesced"),
    ("waits", "waits"),
    ("longest", "longest_wait"),
    ("taken", "ipis_taken"),
    ("served", "self_serviced"),
    ("flushes", "flushes"),
    ("pages", "pages_flushed"),
    ("full", "full_flushes"),
];

fn counter_cells<'a>(cpu: &'a dyn fmt::Display, values: &CounterValues) -> [Cell<'a>; 12] {
    [
        Cell::Text(cpu),
        Cell::Count(values.shootdowns),
        Cell::Count(values.ipis_sent),
        Cell::Count(values.idle_skips),
        Cell::Count(values.coalesced),
        Cell::Count(values.waits),
        Cell::Nanos(longest_wait_ns(values)),
        Cell::Count(values.ipis_taken),
        Cell::Count(values.self_serviced),
        Cell::Count(values.flushes),
        Cell::Count(values.pages_flushed),
        Cell::Count(values.full_flushes),
    ]
}

fn longest_wait_ns(values: &CounterValues) -> u64 {
    time::frequency().map_or(0, |frequency| frequency.nanoseconds(values.longest_wait_ticks))
}

fn totals() -> CounterValues {
    per_cpu::all().fold(CounterValues::default(), |sum, area| sum + SHOOTDOWNS.counters(area.cpu).values())
}

fn print_objects() -> fmt::Result {
    let counters = |object: &mut json::Object<'_>, values: &CounterValues| {
        for ((_, name), cell) in COUNTERS.iter().zip(counter_cells(&"", values)).skip(1) {
            match cell {
                Cell::Nanos(ns) => object.number_in(name, "_ns", ns),
                Cell::Count(count) => object.number(name, count),
                _ => {}
            }
        }
    };
    for area in per_cpu::all() {
        json::line(&mut Out, |object| {
            let shown = Shown::of(area);
            object.text("kind", "smp-cpu");
            object.number("cpu", area.cpu.index() as u64);
            object.number("apic_id", u64::from(area.apic_id()));
            object.text("state", shown.state);
            object.number("interrupts", area.nr_interrupts());
            object.number("seen", SHOOTDOWNS.seen(area.cpu));
            counters(object, &SHOOTDOWNS.counters(area.cpu).values());
        })?;
    }
    for (member, standing) in missing() {
        json::line(&mut Out, |object| {
            object.text("kind", "smp-missing");
            object.number("entry", member.place as u64);
            object.number("apic_id", u64::from(member.apic_id));
            object.text("state", standing);
            object.text("reason", standing.reason());
        })?;
    }
    json::line(&mut Out, |object| {
        object.text("kind", "smp");
        object.number("online", per_cpu::all().filter(|area| area.state() == State::Online).count() as u64);
        object.number("known", members::nr_known() as u64);
        object.number("generation", SHOOTDOWNS.generation());
        counters(object, &totals());
    })
}

/// Asks every other CPU where it is, by NMI.
fn ask_all() -> Status {
    let me = per_cpu::this().cpu;
    let others = per_cpu::all().filter(|area| area.cpu != me && area.state() == State::Online);
    let (mut nr_asked, mut nr_answers) = (0, 0);
    for other in others {
        nr_asked += 1;
        match crash::ask_where(other.cpu) {
            Some(rip) => {
                nr_answers += 1;
                println!("cpu {} is at {}", other.cpu, crash::Place(rip));
            }
            None => println!("cpu {} does not take an NMI", other.cpu),
        }
    }
    println!("smp: {nr_answers} of {nr_asked} CPUs answered an NMI");
    if nr_answers == nr_asked { Status::Ok } else { Status::Failed }
}
