//! A trace instance of our own: buffers and settings beside the system's own trace, which is never touched.
//!
//! Invariants: while an [`Instance`] lives, its folder is in tracefs; when it is dropped, tracing is off and the folder is
//! gone. Where the process ends without dropping it (a signal that nobody can catch, a panic), [`crate::janitor`] does it.
//!
//! The clock is `mono`. `local`, the default, is not comparable between CPUs, and a free on one CPU must stand before the
//! next allocation of the same address on another. `global` is ordered, by a lock and a shared line that every event on
//! every CPU writes; `mono` is ordered as well as the machine's clock source, which the kernel itself checks for that, and
//! writes nothing shared.
//!
//! Called by: [`crate::record`].

use crate::error::{Error, IoExt};
use crate::tracefs::{Tracefs, read, write};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PREFIX: &str = "bandolier-";

/// How much is recorded, and of whom.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The ring buffer of each CPU, in KiB.
    pub buffer_kib: u64,
    /// Only what this process and those that it starts ask for, not the whole machine.
    pub only_pid: Option<u32>,
}

/// A trace instance, off until it is switched on.
#[derive(Debug)]
pub struct Instance {
    dir: PathBuf,
}

impl Instance {
    /// Removes what dead recorders left, and makes an instance with these events, which do not flow yet.
    ///
    /// # Errors
    ///
    /// Not permitted; no memory for the buffers; a setting that the kernel does not take.
    pub fn create(tracefs: &Tracefs, events: &[&str], settings: &Settings) -> Result<Instance, Error> {
        let instances = tracefs.path("instances");
        remove_stale(&instances);
        let dir = instances.join(name_for(std::process::id()));
        fs::create_dir(&dir).doing("make", &dir)?;
        let instance = Instance { dir };
        // New instances are switched on.
        instance.set("tracing_on", "0")?;
        instance.set("trace_clock", "mono")?;
        instance.set("buffer_size_kb", &settings.buffer_kib.to_string())?;
        // Names of commands are of no use here, and keeping them costs each context switch. Kernels that have this option
        // for all instances at once keep them.
        let _ = instance.set("trace_options", "norecord-cmd");
        // Where there are fewer events to wait for, the reader has to hurry less. Kernels before 5.0 wake for any.
        let _ = instance.set("buffer_percent", "25");
        if let Some(pid) = settings.only_pid {
            instance.set("options/event-fork", "1")?;
            instance.set("set_event_pid", &pid.to_string())?;
        }
        for event in events {
            instance.set(&format!("events/kmem/{event}/enable"), "1")?;
        }
        Ok(instance)
    }

    /// The folder in tracefs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lets events flow.
    ///
    /// # Errors
    ///
    /// Of the file.
    pub fn switch_on(&self) -> Result<(), Error> {
        self.set("tracing_on", "1")
    }

    /// Stops them. What is in the buffers stays there.
    ///
    /// # Errors
    ///
    /// Of the file.
    pub fn switch_off(&self) -> Result<(), Error> {
        self.set("tracing_on", "0")
    }

    /// The CPUs that have a buffer, by their numbers.
    ///
    /// # Errors
    ///
    /// Of the folder.
    pub fn cpus(&self) -> Result<Vec<u16>, Error> {
        let dir = self.dir.join("per_cpu");
        let names =
            fs::read_dir(&dir).doing("list", &dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut cpus: Vec<u16> = names.filter_map(|name| name.strip_prefix("cpu")?.parse().ok()).collect();
        cpus.sort_unstable();
        Ok(cpus)
    }

    /// What the kernel lost on `cpu`.
    ///
    /// # Errors
    ///
    /// Of the file.
    pub fn stats(&self, cpu: u16) -> Result<Stats, Error> {
        Ok(Stats::parse(&read(&self.dir.join(format!("per_cpu/cpu{cpu}/stats")))?))
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        write(&self.dir.join(name), value)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        remove(&self.dir, Duration::from_secs(1));
    }
}

/// What a CPU's `stats` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events overwritten before they were read.
    pub nr_overrun: u64,
    /// Events that were not written because an interrupt found the page before not finished.
    pub nr_commit_overrun: u64,
    /// Events that were not written because the buffer was full.
    pub nr_dropped: u64,
    /// Events that were read.
    pub nr_read: u64,
}

impl Stats {
    fn parse(text: &str) -> Stats {
        let number = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Stats {
            nr_overrun: number("overrun"),
            nr_commit_overrun: number("commit overrun"),
            nr_dropped: number("dropped events"),
            nr_read: number("read events"),
        }
    }

    /// Events that happened and were not read.
    pub fn nr_lost(&self) -> u64 {
        self.nr_overrun + self.nr_commit_overrun + self.nr_dropped
    }
}

/// Switches the instance in `dir` off and removes it, for as long as its files are still open elsewhere. Whether it is
/// gone.
pub(crate) fn remove(dir: &Path, patience: Duration) -> bool {
    let start = Instant::now();
    loop {
        let _ = write(&dir.join("tracing_on"), "0");
        match fs::remove_dir(dir) {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::NotFound => return true,
            // Somebody still has a file of it open; there is no way to be told when not.
            Err(_) if start.elapsed() < patience => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => return false,
        }
    }
}

/// The name of an instance of the process `pid`. Its start is part of it, as numbers of processes come again.
fn name_for(pid: u32) -> String {
    format!("{PREFIX}{pid}-{}", started_at(pid).unwrap_or_default())
}

/// When the process `pid` started, in clock ticks since the system did; nothing if there is none.
fn started_at(pid: u32) -> Option<u64> {
    start_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/PID/stat` (proc(5)). The second is the program's name in parentheses, and may have any in it.
fn start_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Removes the instances of recorders whose process is gone, whatever other process has its number now. One that still
/// records, in a container where it has another number, has files open, and the kernel does not let it be removed; but it
/// would be switched off, so that is not done.
fn remove_stale(instances: &Path) {
    let Ok(entries) = fs::read_dir(instances) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            let (pid, start) = name.strip_prefix(PREFIX)?.split_once('-')?;
            Some((pid.parse().ok()?, start.parse().ok()?))
        });
        let is_stale = |(pid, start): (u32, u64)| started_at(pid) != Some(start);
        if owner.is_some_and(is_stale) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_start() {
        let stat = "4213 (a) b (c) S 1 4213 4213 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 10 11 12";
        assert_eq!(start_in(stat), Some(987_654));
        assert_eq!([start_in(""), start_in("1 (init"), start_in("1 (init) S 0")], [None; 3]);
        let own = std::process::id();
        assert!(started_at(own).is_some_and(|ticks| ticks > 0), "this process runs");
        assert_eq!(name_for(own), name_for(own));
    }

    #[test]
    fn what_is_left_of_a_process_whose_number_another_one_has_is_removed() {
        let own = std::process::id();
        let folder = std::env::temp_dir().join(format!("bandolier-stale-{own}"));
        let start = started_at(own).expect("this process runs");
        let [alive, reused, gone] = [(own, start), (own, start - 1), (u32::MAX, 1)];
        let path = |(pid, start)| folder.join(format!("{PREFIX}{pid}-{start}"));
        for dir in [path(alive), path(reused), path(gone), folder.join("perf"), folder.join("bandolier-mine")] {
            fs::create_dir_all(dir).expect("a temporary folder");
        }
        remove_stale(&folder);
        assert!(path(alive).exists(), "that of a process that runs stays");
        assert!(!path(reused).exists() && !path(gone).exists(), "those of the dead are removed");
        assert!(
            folder.join("perf").exists() && folder.join("bandolier-mine").exists(),
            "others' are not ours to remove"
        );
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn stats_are_read_by_their_names() {
        let text = "entries: 0\noverrun: 12\ncommit overrun: 3\nbytes: 96\noldest event ts: 22497.636855\n\
                    now ts: 22500.581093\ndropped events: 4\nread events: 1000\n";
        let wanted = Stats { nr_overrun: 12, nr_commit_overrun: 3, nr_dropped: 4, nr_read: 1000 };
        assert_eq!(Stats::parse(text), wanted);
        assert_eq!(wanted.nr_lost(), 19);
        assert_eq!(Stats::parse("garbage"), Stats::default());
    }
}
