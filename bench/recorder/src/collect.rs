//! Reads the ring buffers of all CPUs while events flow.
//!
//! Whole binary pages from `trace_pipe_raw`, one `read` each: a page has some sixty events, where the text that the
//! kernel would print for them has a hundred bytes for each. One thread for all CPUs; what it cannot keep up with waits in
//! the buffers, and what these cannot hold the kernel overwrites and counts.
//!
//! Invariant: each CPU's records are in the order in which it wrote them.
//!
//! Called by: [`crate::record`].

use crate::decode::{Decoder, Record};
use crate::error::{Error, IoExt};
use crate::page::{Missed, PageLayout};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Pages of one CPU in a row, before the next CPU has its turn.
const PAGES_PER_TURN: usize = 256;

/// Readers of all CPUs, and what they have read.
#[derive(Debug)]
pub struct Collector {
    layout: PageLayout,
    decoder: Decoder,
    cpus: Vec<Cpu>,
    page: Vec<u8>,
    nr_records: u64,
}

/// One CPU's.
#[derive(Debug)]
struct Cpu {
    file: File,
    found: Found,
}

/// What was read of one CPU.
#[derive(Debug, Default)]
pub struct Found {
    /// Its number.
    pub cpu: u16,
    /// Its records in its order.
    pub records: Vec<Record>,
    /// Events read.
    pub nr_read: u64,
    /// Places where events are missing.
    pub nr_gaps: u64,
    /// How many are missing there, as far as the pages say.
    pub nr_missed: u64,
    /// Records whose time is before that of the one in front.
    pub nr_steps_back: u64,
}

impl Collector {
    /// Opens the buffers of `cpus` in the instance at `dir`.
    ///
    /// # Errors
    ///
    /// A buffer cannot be opened.
    pub fn open(dir: &Path, cpus: &[u16], layout: PageLayout, decoder: Decoder) -> Result<Collector, Error> {
        let open = |&cpu: &u16| {
            let path = dir.join(format!("per_cpu/cpu{cpu}/trace_pipe_raw"));
            let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).doing("open", &path)?;
            Ok(Cpu { file, found: Found { cpu, ..Found::default() } })
        };
        let cpus = cpus.iter().map(open).collect::<Result<_, Error>>()?;
        Ok(Collector { layout, decoder, cpus, page: vec![0; layout.page_bytes()], nr_records: 0 })
    }

    /// What becomes readable when a buffer fills up.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.cpus.iter().map(|cpu| cpu.file.as_fd())
    }

    /// How many records there are.
    pub fn nr_records(&self) -> u64 {
        self.nr_records
    }

    /// Takes what is in the buffers now, within limits; whether there was anything.
    ///
    /// # Errors
    ///
    /// A page cannot be read, or is none.
    pub fn sweep(&mut self) -> Result<bool, Error> {
        let mut is_any = false;
        for cpu in &mut self.cpus {
            for _ in 0..PAGES_PER_TURN {
                let length = match cpu.file.read(&mut self.page) {
                    Ok(0) => break,
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    // A CPU that is not there any more.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => break,
                    Err(error) => return Err(error).doing("read", Path::new("trace_pipe_raw")),
                };
                is_any = true;
                let page = self.page.get(..length).unwrap_or_default();
                cpu.found.take(page, &self.layout, &self.decoder, &mut self.nr_records)?;
            }
        }
        Ok(is_any)
    }

    /// What was read, CPU by CPU. Closes the buffers.
    pub fn into_found(self) -> Vec<Found> {
        self.cpus.into_iter().map(|cpu| cpu.found).collect()
    }
}

impl Found {
    fn take(&mut self, page: &[u8], layout: &PageLayout, decoder: &Decoder, nr_records: &mut u64) -> Result<(), Error> {
        let cpu = self.cpu;
        let missed = layout.read(page, |time_ns, payload| {
            self.nr_read += 1;
            if let Some(record) = decoder.decode(time_ns, cpu, payload) {
                self.nr_steps_back += u64::from(self.records.last().is_some_and(|last| last.time_ns > time_ns));
                self.records.push(record);
                *nr_records += 1;
            }
        });
        match missed.map_err(|fault| Error::Page { cpu, fault })? {
            Missed::None => {}
            Missed::Some => self.nr_gaps += 1,
            Missed::Count(count) => {
                self.nr_gaps += 1;
                self.nr_missed = self.nr_missed.saturating_add(count);
            }
        }
        Ok(())
    }
}
