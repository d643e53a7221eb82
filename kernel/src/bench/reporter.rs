//! Where every part of the benchmark hands in what it measured: a table for people, or JSON lines.
//!
//! A part says its heading, tells where it is, and hands over [`records`] values; how they look is decided here and in
//! [`super::tables`] alone. Nothing allocates after [`Reporter::new`], and each record is one write to the console, so
//! that no other CPU's line falls into it.
//!
//! Invariant: with [`Form::Json`] a line begins with a brace if and only if it is a record.

use alloc::vec::Vec;
use core::fmt;

use kernel::samples::{Summary, paired_ratio_milli};
use records::{End, Latency, Meta, Record, Remark, Throughput, Waste};

use super::keeper::Keeper;
use super::plan::Stop;
use super::tables::{self, Kind};
use super::{meta, tables::Context};
use crate::console::{self, print, println};
use crate::time::Deadline;
use crate::{input, shell};

/// Whom it is printed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// People.
    Table,
    /// Programs.
    Json,
}

/// A record as its line.
struct Line<'r, R>(&'r R);

impl<R: Record> fmt::Display for Line<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f)
    }
}

/// One run's output.
pub(super) struct Reporter {
    form: Form,
    context: Context,
    /// The table whose heads stand above.
    kind: Option<Kind>,
    /// A line that says where we are, and that the next one overwrites.
    is_progress_shown: bool,
    /// When a line that says so is due, where none can be overwritten.
    progress_due: Deadline,
    scratch: Vec<u64>,
    /// All of it in short, for `qr`.
    keeper: Keeper,
    nr_rows: u64,
    nr_bad: u64,
    nr_refused: u64,
}

/// Without any line for so long, people begin to wonder.
const QUIET_NS: u64 = 3_000_000_000;

impl Reporter {
    /// For series of `nr_reps` repetitions; `None` if there is no memory.
    pub(super) fn new(form: Form, nr_reps: usize) -> Option<Self> {
        let mut scratch = Vec::new();
        scratch.try_reserve_exact(2 * nr_reps).ok()?;
        scratch.resize(2 * nr_reps, 0);
        let (_, is_emulated) = meta::platform();
        Some(Self {
            form,
            context: Context { host_cpus: meta::host_cpus(), is_emulated },
            kind: None,
            is_progress_shown: false,
            progress_due: Deadline::after_ns(QUIET_NS),
            scratch,
            keeper: Keeper::new(nr_reps),
            nr_rows: 0,
            nr_bad: 0,
            nr_refused: 0,
        })
    }

    /// Takes away the line that says where we are; something is printed now.
    fn clear_progress(&mut self) {
        if core::mem::take(&mut self.is_progress_shown) {
            print!("\r\x1b[K");
        }
        // Records are for programs, which may keep them from whoever waits: they do not tell where we are.
        if self.form == Form::Table {
            self.progress_due = Deadline::after_ns(QUIET_NS);
        }
    }

    fn write<R: Record>(&mut self, record: &R) {
        self.clear_progress();
        print!("{}", Line(record));
    }

    fn heads(&mut self, kind: Kind) {
        self.clear_progress();
        if self.kind.replace(kind) != Some(kind) {
            tables::print_heads(kind, self.context);
        }
    }

    /// What ran, where, and how. First.
    pub(super) fn meta(&mut self, meta: &Meta<'_>) {
        self.keeper.meta(meta);
        match self.form {
            Form::Json => self.write(meta),
            Form::Table => tables::print_meta(meta),
        }
    }

    /// What follows belongs together: a title, and lines on what the columns mean here. For people.
    pub(super) fn heading(&mut self, title: &str, notes: &str) {
        if self.form == Form::Table {
            self.clear_progress();
            self.kind = None;
            println!("\n{title}");
            notes.lines().for_each(|line| println!("  {line}"));
        }
    }

    /// Where we are: step `done` of `all`, and what it is. Shown on a line that the next one overwrites where there is a
    /// terminal, else on one of its own if nothing was printed for a while. Then the screen shows all of it. Not within what
    /// is measured, before that: loops that are timed ask [`input::was_cancelled`], which draws nothing.
    ///
    /// # Errors
    ///
    /// [`Stop::Cancelled`] if Ctrl-C was typed: so a part that tells where it is can be stopped there.
    pub(super) fn progress(&mut self, done: usize, all: usize, what: fmt::Arguments<'_>) -> Result<(), Stop> {
        if input::is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if self.form == Form::Table && shell::is_at_prompt() {
            print!("\r\x1b[K  [{done}/{all}] {what}");
            self.is_progress_shown = true;
        } else if self.progress_due.has_passed() {
            self.progress_due = Deadline::after_ns(QUIET_NS);
            println!("bench: [{done}/{all}] {what}");
        }
        // What follows is measured: nobody draws then.
        console::refresh();
        Ok(())
    }

    /// Rows that were measured in turns, repetition by repetition: the first is what the others are compared with.
    pub(super) fn rows(&mut self, rows: &[Throughput<'_>]) {
        for row in rows {
            self.nr_rows += 1;
            self.nr_bad += row.nr_bad;
            self.keeper.row(row);
            match self.form {
                Form::Json => self.write(row),
                Form::Table => {
                    self.heads(Kind::Throughput);
                    let to_first_milli =
                        if rows.len() > 1 && self.is_apart(row, &rows[0]) { self.ratio(row, &rows[0]) } else { None };
                    let summary = self.summary(&row.milliticks_per_op);
                    tables::print_row(row, summary, to_first_milli, self.context);
                }
            }
        }
    }

    /// Whether `row` can be said to be ahead of `first` or behind it. CPUs of a recording wait for their turns, which takes more
    /// time than they do and says nothing of a contender: there it can not where the middle halves overlap.
    fn is_apart(&mut self, row: &Throughput<'_>, first: &Throughput<'_>) -> bool {
        if core::ptr::eq(row, first) || row.unit != "event" || row.cpus == 1 {
            return true;
        }
        match (self.summary(&row.milliticks_per_op), self.summary(&first.milliticks_per_op)) {
            (Some(row), Some(first)) => !row.overlaps(&first),
            _ => false,
        }
    }

    /// The median and quartiles of as many values as were planned, at most twice that.
    fn summary(&mut self, values: &[u64]) -> Option<Summary> {
        let scratch = self.scratch.get_mut(..values.len())?;
        scratch.copy_from_slice(values);
        Summary::of(scratch)
    }

    /// The time of `row` over that of `first`, in thousandths, as the median over the repetitions; `None` if they do not
    /// have as many.
    pub(super) fn ratio(&mut self, row: &Throughput<'_>, first: &Throughput<'_>) -> Option<u64> {
        let (a, b) = (&row.milliticks_per_op, &first.milliticks_per_op);
        if a.len() != b.len() || a.len() > self.scratch.len() {
            return None;
        }
        paired_ratio_milli(a, b, &mut self.scratch)
    }

    /// The median of a row's repetitions, in thousandths of a tick.
    pub(super) fn median(&mut self, row: &Throughput<'_>) -> Option<u64> {
        self.summary(&row.milliticks_per_op).map(|summary| summary.median)
    }

    /// How long single operations took.
    pub(super) fn latency(&mut self, latency: &Latency<'_>) {
        self.keeper.record(latency);
        match self.form {
            Form::Json => self.write(latency),
            Form::Table => {
                self.heads(Kind::Latency);
                tables::print_latency(latency, self.context);
            }
        }
    }

    /// Memory that was held for what was live.
    pub(super) fn waste(&mut self, waste: &Waste<'_>) {
        self.keeper.record(waste);
        match self.form {
            Form::Json => self.write(waste),
            Form::Table => {
                self.heads(Kind::Waste);
                tables::print_waste(waste);
            }
        }
    }

    /// A sentence for people, which programs can work out from the rows.
    pub(super) fn sentence(&mut self, text: fmt::Arguments<'_>) {
        if self.form == Form::Table {
            self.clear_progress();
            println!("{text}");
        }
    }

    /// Something that is not as it should be, or that is missing: in words, for both.
    pub(super) fn remark(&mut self, text: fmt::Arguments<'_>) {
        let text = kernel::fixed::Fixed::<256>::of(text);
        let remark = Remark { text: text.as_str().into() };
        self.keeper.record(&remark);
        match self.form {
            Form::Json => self.write(&remark),
            Form::Table => {
                self.clear_progress();
                println!("bench: {text}");
            }
        }
    }

    /// `nr_bad` things were wrong with what has no row for that: in words.
    pub(super) fn fail(&mut self, text: fmt::Arguments<'_>, nr_bad: u64) {
        self.add_bad(nr_bad);
        self.remark(text);
    }

    /// `nr_refused` requests were refused, so that what they belong to has no figures: in words. That is no fault.
    pub(super) fn refuse(&mut self, text: fmt::Arguments<'_>, nr_refused: u64) {
        self.nr_refused += nr_refused;
        self.remark(text);
    }

    /// Refused requests so far.
    pub(super) fn nr_refused(&self) -> u64 {
        self.nr_refused
    }

    /// Rows so far.
    pub(super) fn nr_rows(&self) -> u64 {
        self.nr_rows
    }

    /// Counts bad objects of what has no row of throughput.
    fn add_bad(&mut self, nr_bad: u64) {
        self.nr_bad += nr_bad;
    }

    /// Bad objects so far.
    pub(super) fn nr_bad(&self) -> u64 {
        self.nr_bad
    }

    /// How it ended. Last.
    pub(super) fn end(&mut self, end: &End<'_>) {
        match self.form {
            Form::Json => self.write(end),
            Form::Table => {
                self.clear_progress();
                tables::print_end(end);
            }
        }
        let kept = self.keeper.finish(end);
        // Who measured nothing has nothing to carry away.
        let is_empty = self.nr_rows == 0;
        if self.form == Form::Table && !is_empty {
            match kept.map(|()| shell::nr_codes()) {
                Ok(Some(nr_codes)) => println!("bench: `qr` shows this run as {nr_codes} QR codes"),
                Ok(None) => {}
                Err(why) => println!("bench: {why}"),
            }
        }
    }
}
