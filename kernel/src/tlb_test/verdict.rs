//! What a case finds: figures if all is well, else the first thing that must not have happened.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use kernel::figures::Count;
use mm::error::Error;
use smp::CpuId;
use spin::Once;

use crate::{input, machine};

/// Something that must not happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// A CPU read an older version than one whose predecessors every CPU has acknowledged to be gone.
    Stale { cpu: CpuId, found: u64, acknowledged: u64 },
    /// A CPU read a mapping that was unmapped, as every CPU had acknowledged: mappings are numbered, and of those that lay
    /// there this one, and all before it, were gone.
    Unmapped { cpu: CpuId, found: u64, gone: u64 },
    /// A CPU could not read what is mapped.
    Unreadable { cpu: CpuId, addr: usize },
    /// A CPU could do what it has no right to any more, or cannot do what it may.
    Right { cpu: CpuId, addr: usize, right: &'static str, is_held: bool },
    /// Something was counted that often, where it may only be from .. to.
    Count { what: &'static str, found: u64, allowed: (u64, u64) },
    /// Something did not come, in a time in which it should have come a thousand times.
    Missing { what: &'static str },
    /// A request was refused, or was not.
    Request { what: &'static str },
    /// There is no memory for the case.
    Memory(Error),
    /// Ctrl-C.
    Cancelled,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Memory(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Stale { cpu, found, acknowledged } => write!(
                f,
                "stale translation: cpu {cpu} read version {found} after all had acknowledged version {acknowledged}"
            ),
            Self::Unmapped { cpu, found, gone } => {
                write!(f, "stale translation: cpu {cpu} still read mapping {found} after all had acknowledged that ")?;
                if found == gone {
                    f.write_str("it was unmapped")
                } else {
                    write!(f, "mapping {gone}, a later one there, was unmapped")
                }
            }
            Self::Unreadable { cpu, addr } => write!(f, "cpu {cpu} cannot read {addr:#x}, which is mapped"),
            Self::Right { cpu, addr, right, is_held: true } => {
                write!(f, "stale right: cpu {cpu} could {right} {addr:#x} after the right was taken away")
            }
            Self::Right { cpu, addr, right, is_held: false } => {
                write!(f, "cpu {cpu} cannot {right} {addr:#x}, as it may")
            }
            Self::Count { what, found, allowed: (least, most) } if least == most => {
                write!(f, "{what}: {found}, must be {least}")
            }
            Self::Count { what, found, allowed: (least, most) } => {
                write!(f, "{what}: {found}, must be {least} to {most}")
            }
            Self::Missing { what } => write!(f, "{what} did not come"),
            Self::Request { what } => f.write_str(what),
            Self::Memory(error) => write!(f, "no memory: {error}"),
            Self::Cancelled => f.write_str("stopped"),
        }
    }
}

/// Refuses a count outside of `allowed`.
pub(super) fn expect(what: &'static str, found: u64, allowed: (u64, u64)) -> Result<(), Failure> {
    let is_right = (allowed.0..=allowed.1).contains(&found);
    if is_right { Ok(()) } else { Err(Failure::Count { what, found, allowed }) }
}

/// Counts that a case has to tell, up to four.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures([Option<(&'static str, u64)>; 4]);

impl Figures {
    /// No figures but these.
    pub(super) fn of<const N: usize>(figures: [(&'static str, u64); N]) -> Self {
        const { assert!(N <= 4) };
        let mut all = [None; 4];
        all.iter_mut().zip(figures).for_each(|(place, figure)| *place = Some(figure));
        Self(all)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (what, count)) in self.0.iter().flatten().enumerate() {
            write!(f, "{} {} {what}", if nth == 0 { ":" } else { "," }, Count(*count))?;
        }
        Ok(())
    }
}

/// One run of a case: what all CPUs in it share.
pub(super) struct Run {
    /// Operations, which a case divides among CPUs as it likes.
    pub(super) nr_ops: u64,
    /// What random numbers are drawn from.
    pub(super) seed: u64,
    is_claimed: AtomicBool,
    first: Once<Failure>,
    is_over: AtomicBool,
}

impl Run {
    pub(super) fn new(nr_ops: u64, seed: u64) -> Self {
        Self { nr_ops, seed, is_claimed: AtomicBool::new(false), first: Once::new(), is_over: AtomicBool::new(false) }
    }

    /// Notes a failure, on any CPU; the run is over then. Only the first is kept.
    pub(super) fn fail(&self, failure: Failure) {
        // Claimed first: what is found in a cross-call may have interrupted this very function.
        if !self.is_claimed.swap(true, Ordering::AcqRel) {
            self.first.call_once(|| failure);
        }
        self.end();
    }

    /// As [`fail`](Self::fail), if it is one.
    pub(super) fn note(&self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.fail(failure);
        }
    }

    /// Has everybody stop.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether to stop.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Looks for Ctrl-C, on the first CPU.
    pub(super) fn watch(&self) {
        if input::is_cancelled() {
            self.fail(Failure::Cancelled);
        }
    }

    /// Waits until `is_due`, serving others. False if the run is over first; on the first CPU also for Ctrl-C.
    pub(super) fn wait_until(&self, is_due: impl Fn() -> bool) -> bool {
        machine::wait_until(is_due, || self.is_over())
    }

    /// The first failure, or these figures.
    pub(super) fn result(&self, figures: Figures) -> Result<Figures, Failure> {
        self.first.get().map_or(Ok(figures), |failure| Err(*failure))
    }
}
