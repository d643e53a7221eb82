//! `smp`: each CPU's state, what it did for others' TLBs and they for its own, and who is not there, and why.

use core::fmt;

use kernel::args::{ArgError, Args};
use kernel::figures::Things;
use kernel::json::{self, Object};
use kernel::report::{self, Cell, Column, Format};
use kernel::roster::Fate;
use kernel::shown;
use smp::shootdown::{CounterValues, Mode, Presence};

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
    details: "First what each CPU is: `now` running, or halted until an interrupt comes, or offline; the `interrupts` that it\n\
              took, of all kinds; the generation of TLB shootdowns that it has `seen`, and how many it is `behind` the\n\
              newest: who is halted lags, and flushes as it wakes.\n\
              Then what shootdowns cost it, and all together. Of the `rounds` that it began: `ipis sent` (writes of the\n\
              interrupt command register), CPUs `skipped` as they were halted, or `saved` from an interrupt as one was on\n\
              its way or they had caught up, `waits` for others, and the longest, `max wait`. Of the rounds of others:\n\
              `ipis taken`, and rounds `served` while it waited itself, before the interrupt came. Of all rounds: times\n\
              that it was behind and made `flushes`, of `pages flushed` one by one, or `full flushes` of everything.\n\
              CPUs that are not there, parked ones and what is wrong with the bootloader's list follow, with the reason;\n\
              they make the command fail unless `cpus=` kept them out. The fields of `--json` have the same names.\n\
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
    Ok(if printed.is_ok() && members::Attendance::now().is_full() { Status::Ok } else { Status::Failed })
}

fn print_tables() -> fmt::Result {
    report::table(&mut Out, Format::Text, "smp_cpu", STATES, |row| {
        present().for_each(|area| row(state_cells(area, &Shown::of(area))));
    })?;
    report::table(&mut Out, Format::Text, "smp_cpu", COUNTERS, |row| {
        for area in present() {
            let values = SHOOTDOWNS.counters(area.cpu).values();
            row(counter_cells(&area.cpu, &values));
        }
        row(counter_cells(&"all", &totals()));
    })?;
    println!(
        "generation {}, {} rounds, everything is flushed above {}",
        SHOOTDOWNS.generation(),
        mode(),
        Things(SHOOTDOWNS.settings().full_flush_pages() as u64, "page")
    );
    print_missing();
    println!("{}", members::Attendance::now());
    Ok(())
}

fn mode() -> &'static str {
    match SHOOTDOWNS.settings().mode() {
        Mode::Coalescing => "coalescing",
        Mode::Naive => "naive",
        Mode::Broadcast => "broadcast",
    }
}

/// The CPUs that came. Those that did not have no counters, and may be hundreds.
fn present() -> impl Iterator<Item = &'static PerCpu> {
    per_cpu::all().filter(|area| area.state() != State::Failed)
}

/// A line for each entry whose CPU is not online, and for each CPU that is in no entry; neighbours with the same fate share
/// one.
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
    let mut unlisted = members::unlisted().peekable();
    while let Some(first) = unlisted.next() {
        let mut last = first;
        while let Some(next) = unlisted.next_if(|&next| Some(next) == last.checked_add(1)) {
            last = next;
        }
        println!("APIC id {}: {UNLISTED}: {}", Span(first.into(), last.into()), members::list());
    }
}

/// The state of a CPU that is in no entry.
const UNLISTED: &str = "Unlisted";

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
    now: &'static str,
    seen: u64,
    nr_behind: u64,
}

impl Shown {
    fn of(area: &PerCpu) -> Self {
        let listed = members::roster().iter().find(|member| member.cpu() == Some(area.cpu));
        let state = listed.and_then(Member::standing).unwrap_or(Standing::Is(area.state()));
        let now = match SHOOTDOWNS.presence(area.cpu) {
            Presence::Offline => "offline",
            Presence::Running => "running",
            Presence::Idle => "halted",
        };
        // In this order: a CPU may have seen more than a newest generation that was read before.
        let seen = SHOOTDOWNS.seen(area.cpu);
        Self { state, now, seen, nr_behind: SHOOTDOWNS.generation().wrapping_sub(seen) }
    }
}

/// The columns of what a CPU is: what people read, and the name of the field.
const STATES: [Column; 7] = [
    ("cpu", "cpu"),
    ("apic id", "apic_id"),
    ("state", "state"),
    ("now", "now"),
    ("interrupts", "interrupts"),
    ("seen", "seen"),
    ("behind", "behind"),
];

fn state_cells<'a>(area: &PerCpu, shown: &'a Shown) -> [Cell<'a>; 7] {
    let nr_interrupts = area.nr_interrupts() + SHOOTDOWNS.counters(area.cpu).ipis_taken.get();
    [
        Cell::Id(area.cpu.index() as u64),
        Cell::Id(area.apic_id().into()),
        Cell::Text(&shown.state),
        Cell::Text(&shown.now),
        Cell::Count(nr_interrupts),
        Cell::Count(shown.seen),
        Cell::Count(shown.nr_behind),
    ]
}

/// The counters' columns, behind the CPU's. In at most 120 columns of text.
const COUNTERS: [Column; 12] = [
    ("cpu", "cpu"),
    ("rounds", "rounds"),
    ("ipis sent", "ipis_sent"),
    ("skipped", "skipped"),
    ("saved", "saved"),
    ("waits", "waits"),
    ("max wait", "max_wait"),
    ("ipis taken", "ipis_taken"),
    ("served", "served"),
    ("flushes", "flushes"),
    ("pages flushed", "pages_flushed"),
    ("full flushes", "full_flushes"),
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

/// Writes what the tables show in `columns`, under the same names.
fn write_cells(object: &mut Object<'_>, columns: &[Column], cells: &[Cell<'_>]) {
    columns.iter().zip(cells).for_each(|((_, name), cell)| cell.write(object, name));
}

fn print_objects() -> fmt::Result {
    let write_counters = |object: &mut Object<'_>, values: &CounterValues| {
        // The CPU is written already, or is all of them.
        write_cells(object, &COUNTERS[1..], &counter_cells(&"", values)[1..]);
    };
    for area in present() {
        json::line(&mut Out, |object| {
            object.text("kind", "smp_cpu");
            write_cells(object, &STATES, &state_cells(area, &Shown::of(area)));
            write_counters(object, &SHOOTDOWNS.counters(area.cpu).values());
        })?;
    }
    let write_or_null = |object: &mut Object<'_>, name: &str, number: Option<u64>| match number {
        Some(number) => object.number(name, number),
        None => object.null(name),
    };
    for (member, standing) in missing() {
        json::line(&mut Out, |object| {
            let apic_id = (member.fate != Fate::NoEntry).then_some(member.apic_id.into());
            object.text("kind", "smp_missing");
            object.number("entry", member.place as u64);
            write_or_null(object, "apic_id", apic_id);
            write_or_null(object, "cpu", member.cpu().map(|cpu| cpu.index() as u64));
            object.text("state", standing);
            object.text("reason", standing.reason());
        })?;
    }
    for apic_id in members::unlisted() {
        json::line(&mut Out, |object| {
            object.text("kind", "smp_missing");
            object.null("entry");
            object.number("apic_id", u64::from(apic_id));
            object.null("cpu");
            object.text("state", UNLISTED);
            object.text("reason", members::list());
        })?;
    }
    json::line(&mut Out, |object| {
        let attendance = members::Attendance::now();
        object.text("kind", "smp");
        object.number("online", attendance.nr_online as u64);
        object.number("known", attendance.nr_known as u64);
        object.number("generation", SHOOTDOWNS.generation());
        object.text("mode", mode());
        object.number("flush_pages", SHOOTDOWNS.settings().full_flush_pages() as u64);
        write_counters(object, &totals());
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
    println!("smp: {nr_answers} of {} answered an NMI", Things(nr_asked, "CPU"));
    if nr_answers == nr_asked { Status::Ok } else { Status::Failed }
}
