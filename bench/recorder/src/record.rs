//! `record`: from the settings to the file, top-down.
//!
//! Order matters: what can be refused is refused before anything is changed; the janitor stands ready before events flow;
//! buffers are closed before their instance is removed.
//!
//! Called by: the program.

use crate::collect::{Collector, Found};
use crate::command::{self, Command};
use crate::decode::{Decoder, EVENTS, OLDER_EVENTS};
use crate::error::{Error, IoExt};
use crate::instance::{Instance, Settings, Stats};
use crate::janitor::Janitor;
use crate::ledger::{Counts, Ledger};
use crate::merge;
use crate::output::Output;
use crate::page::PageLayout;
use crate::signals;
use crate::slab_pages;
use crate::tracefs::{self, Tracefs};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trace::Kind;
use trace::check::Summary;

/// How long events may lie in a buffer that does not fill up.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// What to record.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the recording goes.
    pub out: PathBuf,
    /// What may stand there is replaced.
    pub is_replaced: bool,
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Each CPU's buffer; nothing for what suits this machine.
    pub buffer_mib: Option<u64>,
    /// The most events that are kept.
    pub max_events: u64,
    /// The command's processes only.
    pub is_command_only: bool,
    /// Pages of slabs are left out.
    pub is_without_slab_pages: bool,
    /// Where tracefs is, if not where it is mounted.
    pub tracefs: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What is in the file.
    pub summary: Summary,
    /// What became of the kernel's events.
    pub counts: Counts,
    /// Pages of slabs were left out.
    pub is_without_slab_pages: bool,
    /// How many CPUs the machine has; the format folds those beyond 64.
    pub nr_cpus: u16,
    /// Of each CPU, what the kernel says of its buffer, and what the pages said.
    pub cpus: Vec<CpuOutcome>,
    /// Each CPU's buffer in KiB.
    pub buffer_kib: u64,
    /// How long events were flowing.
    pub elapsed: Duration,
    /// Recording stopped at the limit, before the command ended.
    pub is_full: bool,
    /// The command's exit status, as a shell has it.
    pub exit_code: u8,
}

/// Of one CPU.
#[derive(Clone, Copy, Debug)]
pub struct CpuOutcome {
    /// Its number.
    pub cpu: u16,
    /// What the kernel counted.
    pub stats: Stats,
    /// Events that we read.
    pub nr_read: u64,
    /// Places where pages said that events are missing.
    pub nr_gaps: u64,
    /// How many, as far as they said.
    pub nr_missed: u64,
    /// Times that were before the time in front.
    pub nr_steps_back: u64,
}

impl Outcome {
    /// Events that happened and are not in the recording.
    pub fn nr_lost(&self) -> u64 {
        // Two counts of the same; a kernel may know only one of them.
        self.cpus.iter().map(|cpu| cpu.stats.nr_lost().max(cpu.nr_missed)).sum()
    }
}

/// Records. `program` is this program, for the janitor.
///
/// # Errors
///
/// See [`Error`]; there is then no recording, no instance, and no command that still runs.
pub fn record(request: &Request, program: &Path) -> Result<Outcome, Error> {
    let output = Output::new(&request.out, request.is_replaced)?;
    let tracefs = Tracefs::find(request.tracefs.as_deref())?;
    let formats = formats(&tracefs)?;
    let header_page = tracefs::read(&tracefs.path("events/header_page"))?;
    let layout = PageLayout::parse(&header_page, cfg!(target_endian = "big"))?;
    signals::catch().doing("catch signals for", program)?;

    let events: Vec<&str> = formats.iter().map(|format| format.name.as_str()).collect();
    let nr_cpus = nr_online();
    let buffer_kib = request.buffer_mib.map_or_else(|| suitable_buffer_kib(nr_cpus), |mib| mib.saturating_mul(1024));
    let only_pid = request.is_command_only.then(std::process::id);
    let instance = Instance::create(&tracefs, &events, &Settings { buffer_kib, only_pid })?;
    let janitor = Janitor::start(program, instance.dir())?;
    let cpus = instance.cpus()?;
    let decoder = Decoder::new(&formats, &[std::process::id(), janitor.pid()])?;
    let mut collector = Collector::open(instance.dir(), &cpus, layout, decoder)?;

    let start = Instant::now();
    instance.switch_on()?;
    let mut command = Command::start(&request.command)?;
    let mut stopped_after = None;
    let status = loop {
        let is_any = collector.sweep()?;
        if collector.nr_records() >= request.max_events && stopped_after.is_none() {
            instance.switch_off()?;
            stopped_after = Some(start.elapsed());
        }
        if let Some(status) = command.poll()? {
            break status;
        }
        if !is_any {
            let fds: Vec<_> = collector.fds().chain([command.ended()]).collect();
            signals::wait(&fds, SWEEP_INTERVAL).doing("wait for", instance.dir())?;
        }
    };
    instance.switch_off()?;
    let elapsed = stopped_after.unwrap_or_else(|| start.elapsed());
    while collector.sweep()? {}
    let stats = cpus.iter().map(|&cpu| instance.stats(cpu)).collect::<Result<Vec<_>, _>>()?;
    let mut found = collector.into_found();
    drop(instance);
    drop(janitor);

    // Buffers there are for all CPUs that might be plugged in.
    let highest = found.iter().filter(|found| found.nr_read > 0).map(|found| found.cpu).max();
    let nr_cpus = highest.map_or(1, |cpu| cpu.saturating_add(1)).max(nr_cpus);
    let (bytes, counts) = told(&mut found, nr_cpus, request);
    for (kind, count) in [(Kind::Object, counts.nr_objects), (Kind::PageRun, counts.nr_page_runs)] {
        if count == 0 {
            return Err(Error::NoneSeen { kind, nr_records: counts.nr_records });
        }
    }
    let summary = output.write(&bytes)?;
    let cpus = found.iter().zip(stats).map(|(found, stats)| CpuOutcome {
        cpu: found.cpu,
        stats,
        nr_read: found.nr_read,
        nr_gaps: found.nr_gaps,
        nr_missed: found.nr_missed,
        nr_steps_back: found.nr_steps_back,
    });
    Ok(Outcome {
        summary,
        counts,
        is_without_slab_pages: request.is_without_slab_pages,
        nr_cpus,
        cpus: cpus.collect(),
        buffer_kib,
        elapsed,
        is_full: stopped_after.is_some(),
        exit_code: command::exit_code(status),
    })
}

/// The recording's bytes.
fn told(found: &mut [Found], nr_cpus: u16, request: &Request) -> (Vec<u8>, Counts) {
    let streams: Vec<_> = found.iter_mut().map(|found| std::mem::take(&mut found.records)).collect();
    let page_bytes = signals::page_bytes();
    let map_start = slab_pages::map_start(&streams, page_bytes);
    // The buffers held more than the most events when tracing was stopped; the first of all CPUs are kept.
    let records = || merge::by_time(&streams).take(usize::try_from(request.max_events).unwrap_or(usize::MAX));
    let is_slab = slab_pages::mark(records(), map_start, page_bytes);
    let mut ledger = Ledger::new(page_bytes, nr_cpus).with_slabs(is_slab, !request.is_without_slab_pages);
    records().for_each(|record| ledger.add(&record));
    ledger.finish()
}

fn formats(tracefs: &Tracefs) -> Result<Vec<crate::format::EventFormat>, Error> {
    let mut formats = Vec::new();
    let mut names = Vec::new();
    for name in EVENTS {
        match tracefs.event_format(name)? {
            Some(format) => formats.push(format),
            None => names.push(name),
        }
    }
    if !names.is_empty() {
        return Err(Error::EventsMissing { names });
    }
    for name in OLDER_EVENTS {
        formats.extend(tracefs.event_format(name)?);
    }
    Ok(formats)
}

/// A 64th of the memory that is available, shared by the CPUs, between 1 and 32 MiB for each: that is some 16,000 to
/// 500,000 events.
fn suitable_buffer_kib(nr_cpus: u16) -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available_kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0u64);
    (available_kib / 64 / u64::from(nr_cpus.max(1))).clamp(1 << 10, 32 << 10)
}

/// One more than the number of the last CPU that is online.
fn nr_online() -> u16 {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    last_of_list(&list).map_or(1, |cpu| cpu.saturating_add(1))
}

/// The last number of a list such as `0-3,8-11`.
fn last_of_list(list: &str) -> Option<u16> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cpu_of_a_list_is_found() {
        assert_eq!(last_of_list("0-3,8-11\n"), Some(11));
        assert_eq!([last_of_list("0\n"), last_of_list("0,2"), last_of_list("")], [Some(0), Some(2), None]);
        assert!(nr_online() >= 1);
    }

    #[test]
    fn buffers_are_of_a_sensible_size_on_any_machine() {
        assert!((1 << 10..=32 << 10).contains(&suitable_buffer_kib(1)));
        assert!((1 << 10..=32 << 10).contains(&suitable_buffer_kib(0)));
        assert!(suitable_buffer_kib(u16::MAX) <= suitable_buffer_kib(1));
    }
}
