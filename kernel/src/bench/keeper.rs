//! The run in short, for those who can carry no more out of the machine than what fits on its screen: all records, with
//! quartiles instead of repetitions, compressed.
//!
//! The records are written into memory that is taken before the account of the run begins and given back after it has
//! ended; then what they compress to takes the place of the run before. What finds no room is left out, and a remark
//! in the run says how much.
//!
//! Lock order: the last run is taken alone, by the shell.
//! Called by: [`super::reporter`], for each record; `qr`.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use kernel::fixed::Fixed;
use mm::frame::PAGE_SIZE;
use qr::{pack, summary};
use records::{End, Meta, Record, Remark, Throughput};
use spin::mutex::SpinMutex;

use crate::machine::HEAP;

/// The last run, packed; empty if there was none.
static LAST_RUN: SpinMutex<Vec<u8>> = SpinMutex::new(Vec::new());

/// No run is kept in less.
const MIN_BYTES: usize = 32 << 10;
/// What the last records may take: how many were left out, and how it ended. Their texts are bounded.
const RESERVE_BYTES: usize = 2 << 10;

/// Why a run is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotKept {
    /// There was no memory for its records, or none to compress them.
    NoMemory,
    /// Not even its first and last record fit.
    NoRoom,
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("there is no memory to keep this run for `qr`"),
            Self::NoRoom => f.write_str("this run does not fit what there is to keep it for `qr`"),
        }
    }
}

/// Gives `take` the last run, packed; `None` if there was none.
pub fn with_last_run<R>(take: impl FnOnce(Option<&[u8]>) -> R) -> R {
    let run = LAST_RUN.lock();
    take((!run.is_empty()).then_some(&run[..]))
}

/// The run that is going on.
pub(super) struct Keeper {
    /// Its records, one a line; never grows beyond what was taken.
    text: Vec<u8>,
    /// For the repetitions of one row.
    scratch: Vec<u64>,
    nr_left_out: u64,
}

impl Keeper {
    /// For rows of up to twice `nr_reps` repetitions. Takes its memory: the most that a run may have, or what there is, but
    /// no more than a sixty-fourth of the machine's.
    pub(super) fn new(nr_reps: usize) -> Self {
        let (mut text, mut scratch) = (Vec::new(), Vec::new());
        let mut nr_bytes = pack::MAX_TEXT_BYTES.min(HEAP.frames().nr_managed() as usize * PAGE_SIZE / 64);
        while nr_bytes >= MIN_BYTES && text.try_reserve_exact(nr_bytes).is_err() {
            nr_bytes /= 2;
        }
        if scratch.try_reserve_exact(2 * nr_reps).is_ok() {
            scratch.resize(2 * nr_reps, 0);
        }
        Self { text, scratch, nr_left_out: 0 }
    }

    /// The first record.
    pub(super) fn meta(&mut self, meta: &Meta<'_>) {
        self.record(&summary::meta(meta));
    }

    /// A row: its quartiles.
    pub(super) fn row(&mut self, row: &Throughput<'_>) {
        let Some(scratch) = self.scratch.get_mut(..row.milliticks_per_op.len()) else {
            self.nr_left_out += 1;
            return;
        };
        scratch.copy_from_slice(&row.milliticks_per_op);
        let quartiles = summary::quartiles(scratch);
        let row = summary::row(row, quartiles.as_ref().map_or(&[], |quartiles| quartiles));
        self.record(&row);
    }

    /// Any other record, as it is.
    pub(super) fn record<R: Record>(&mut self, record: &R) {
        let room = self.text.capacity().saturating_sub(RESERVE_BYTES);
        if !self.write(record, room) {
            self.nr_left_out += 1;
        }
    }

    /// Writes a record, unless the text were longer than `most` then; whether it did.
    fn write<R: Record>(&mut self, record: &R, most: usize) -> bool {
        let len = self.text.len();
        let is_written = record.write(&mut Bounded { text: &mut self.text, most }).is_ok();
        if !is_written {
            self.text.truncate(len);
        }
        is_written
    }

    /// The last record, after the account of the run has ended: from here on this is the last run.
    pub(super) fn finish(&mut self, end: &End<'_>) -> Result<(), NotKept> {
        let whole = self.text.capacity();
        if whole < MIN_BYTES {
            return Err(NotKept::NoMemory);
        }
        if self.nr_left_out > 0 {
            let said = Fixed::<96>::of(format_args!("{} records found no room in this summary", self.nr_left_out));
            self.write(&Remark { text: said.as_str().into() }, whole);
        }
        if !self.text.starts_with(b"{\"kind\":\"bench-meta\"") || !self.write(end, whole) {
            return Err(NotKept::NoRoom);
        }
        let text = core::mem::take(&mut self.text);
        // What compresses allocates as if there always were memory; so whether there is, is asked before.
        let mut trial = Vec::<u8>::new();
        trial.try_reserve_exact(pack::working_bytes(text.len())).map_err(|_| NotKept::NoMemory)?;
        drop(trial);
        let packed = pack::pack(&text).map_err(|_| NotKept::NoRoom)?;
        let before = core::mem::replace(&mut *LAST_RUN.lock(), packed);
        drop(before);
        Ok(())
    }
}

/// Text in memory that was taken before.
struct Bounded<'t> {
    text: &'t mut Vec<u8>,
    /// Its length at most, which its capacity is not below.
    most: usize,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > self.most {
            return Err(fmt::Error);
        }
        self.text.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
