//! A recording, checked and divided among the players, and what playing it takes.

use alloc::vec::Vec;
use core::fmt;

use kernel::figures::Bytes;
use kernel::plan::{self, Plan, PlanError};
use kernel::trace::{Action, Kind, Trace};
use kernel::trace_check::{Checked, ObjectState};
use kernel::trace_fault::Damaged;
use mm::frame::PAGE_SIZE;
use mm::size_class;

use crate::machine::HEAP;

/// Events that can be in flight beyond the recorded order: one for each CPU that a recording can name.
const WINDOW: u64 = 64;

/// Why a recording is not played.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is damaged.
    Damaged(Damaged),
    /// It cannot be divided among the CPUs.
    Plan(PlanError),
    /// There is no memory for the tables that playing takes.
    Tables { nr_bytes: usize },
    /// Memory does not add up before the first event.
    Memory,
    /// Its objects do not fit.
    TooLarge { needed: u64, available: u64 },
}

impl From<Damaged> for Refusal {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

impl From<PlanError> for Refusal {
    fn from(error: PlanError) -> Self {
        Self::Plan(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(damaged) => write!(f, "the recording is damaged: {damaged}"),
            Self::Plan(error) => write!(f, "{error}"),
            Self::Tables { nr_bytes } => write!(f, "too little memory: its tables need {}", Bytes(*nr_bytes as u64)),
            Self::Memory => f.write_str("memory does not add up before the start; `mem` says why"),
            Self::TooLarge { needed, available } => {
                write!(f, "too little memory: it needs about {}, there is {}", Bytes(*needed), Bytes(*available))
            }
        }
    }
}

/// A vector of `len` values, or a refusal.
pub(super) fn try_vec<T>(len: usize, value: impl FnMut() -> T) -> Result<Vec<T>, Refusal> {
    let mut items = Vec::new();
    items.try_reserve_exact(len).map_err(|_| Refusal::Tables { nr_bytes: len.saturating_mul(size_of::<T>()) })?;
    items.resize_with(len, value);
    Ok(items)
}

/// Memory for checking and dividing.
pub(crate) struct Scratch {
    objects: Vec<ObjectState>,
    indices: Vec<u32>,
}

impl Scratch {
    /// For `trace`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Tables`].
    pub(crate) fn new(trace: &Trace<'_>) -> Result<Self, Refusal> {
        let header = trace.header();
        Ok(Self {
            objects: try_vec(header.nr_objects as usize, || ObjectState::NEW)?,
            indices: try_vec(header.nr_events as usize, || 0)?,
        })
    }
}

/// A recording that can be played.
pub(crate) struct Score<'t, 's> {
    pub(crate) checked: Checked<'t, 's>,
    pub(super) plan: Plan<'s>,
    /// The event at which most bytes are live.
    pub(super) peak_event: u64,
    /// Bytes that the objects will take at most.
    pub(crate) needed_bytes: u64,
}

impl<'t, 's> Score<'t, 's> {
    /// Checks the recording, divides it among `nr_players`, and sees that there is memory for it.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub(crate) fn new(trace: Trace<'t>, nr_players: usize, scratch: &'s mut Scratch) -> Result<Self, Refusal> {
        let checked = trace.validate(&mut scratch.objects)?;
        let plan = plan::partition(&trace, nr_players, &mut scratch.indices)?;
        // An eighth more than the objects: slabs that are partly used, magazines, page tables.
        let needed = checked.peak_footprint(WINDOW, footprint);
        let needed_bytes = needed + needed / 8;
        HEAP.reclaim();
        let account = HEAP.account();
        let available = (account.nr_free + account.nr_cached) * PAGE_SIZE as u64;
        if needed_bytes > available {
            return Err(Refusal::TooLarge { needed: needed_bytes, available });
        }
        Ok(Self { checked, plan, peak_event: peak_event(&checked), needed_bytes })
    }
}

impl Score<'_, '_> {
    /// Bytes that the objects alone take at most, each as large as `rounded` makes it; runs of pages are not among them.
    pub(crate) fn peak_object_bytes(&self, rounded: impl Fn(u32) -> u64) -> u64 {
        let cost = |size_bytes, kind| if kind == Kind::Object { rounded(size_bytes) } else { 0 };
        self.checked.peak_footprint(WINDOW, cost)
    }
}

/// Bytes that an object takes from the frames.
fn footprint(size_bytes: u32, kind: Kind) -> u64 {
    let size = size_bytes as usize;
    match (kind, size_class::index_for(size, 8)) {
        (Kind::Object, Some(class)) => size_class::size(class) as u64,
        _ => size.next_multiple_of(PAGE_SIZE) as u64,
    }
}

fn peak_event(checked: &Checked<'_, '_>) -> u64 {
    let (mut live, mut peak, mut peak_event) = (0, 0, 0);
    for (index, event) in (0..).zip(checked.trace().events()) {
        let size = u64::from(checked.objects()[event.id as usize].size_bytes());
        match event.action {
            Action::Alloc => live += size,
            Action::Free => live -= size,
        }
        if live > peak {
            (peak, peak_event) = (live, index);
        }
    }
    peak_event
}
