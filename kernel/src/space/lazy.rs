//! Lazy unmapping: one shootdown round for a large batch of ranges, of all CPUs.
//!
//! ```text
//!   unmap_lazily    entries cleared ──► this CPU forgets (few pages) ──► the token waits in this CPU's queue
//!   purge           all queues ──► one round ──► frames free ──► addresses free
//! ```
//!
//! What is promised:
//! - At once: no page-table entry leads to the memory any more. A CPU that has no translation gets none, and this CPU has
//!   none, unless the range is longer than what is flushed page by page.
//! - Until the purge other CPUs may read and write the memory by translations they remember. That harms nobody: frames and
//!   addresses wait, by the type of their token, and are not used for anything else. So a use after free may go unnoticed
//!   there, but never hits a stranger. (Linux gives frames back before its lazy purge; here they wait too.)
//! - Nothing is allocated. The queues are bounded, and an unmap that finds its own full does without.
//!
//! Who unmaps lazily: the heap's large mappings. Who does not: guarded objects, which are there so that a use after free
//! is a fault at once, on every CPU; stacks and devices, which stay.
//!
//! A purge is due when the queue of a CPU holds [`limits`] ranges or pages; it is forced before a request for frames or
//! addresses is refused, before memory is compared with what it was, and by `reap`.
//!
//! Invariants: those of [`mm::page_table::PurgeQueue`]. Lock order: a queue's lock is taken alone. No lock is held while
//! other CPUs are waited for, so that whoever waits for a purger with interrupts off serves its round.
//! Context: any but an NMI, with no ranked lock held: an unmap may have to purge.

use mm::frame_table::Kind;
use mm::page_table::{PurgeQueue, Purged, Purging, Put, Waits};

use super::{Done, Mapped, Token, release, shoot_down, take_out};
use crate::machine::{Cpu, SHOOTDOWNS};
use crate::per_cpu;

pub use mm::page_table::MAX_WAITING;

/// A range that is unmapped, and what its frames are accounted for as; nothing for memory of others.
struct Waiting {
    token: Token,
    kind: Option<Kind>,
}

impl Waits for Waiting {
    fn nr_pages(&self) -> usize {
        self.token.range().nr_pages()
    }
}

static QUEUE: PurgeQueue<Waiting, Cpu> = PurgeQueue::new();

/// What waits for a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Ranges.
    pub nr_ranges: u64,
    /// Frames of these that are accounted for as mapped.
    pub nr_mapped: u64,
    /// Frames of these that are accounted for as large.
    pub nr_large: u64,
}

/// Unmaps a range. Its frames and addresses are free at some later time: see the module.
///
/// # Safety
///
/// Nobody uses the range any more.
pub unsafe fn unmap_lazily(mapped: Mapped) {
    let Mapped { range, kind } = mapped;
    // SAFETY: as promised by the caller, and the range was its owner's to unmap.
    let token = unsafe { take_out(range) };
    wait_for_purge(token, kind);
}

/// Lets a range that is unmapped wait for a purge.
#[inline(always)]
pub(super) fn wait_for_purge(token: Token, kind: Option<Kind>) {
    let range = token.range();
    if range.nr_pages() <= SHOOTDOWNS.settings().full_flush_pages() {
        range.page_numbers().for_each(|page| arch::tlb::flush_page((page as usize) * mm::frame::PAGE_SIZE));
    }
    match QUEUE.put(me(), Waiting { token, kind }) {
        Ok(Put::Waits) => {}
        // Somebody else's purge makes this one's room soon enough.
        Ok(Put::PurgeIsDue) => _ = try_purge(),
        Err(waiting) => release_at_once(waiting),
    }
}

/// For a queue that is full: somebody purges, and this CPU has filled both halves meanwhile, or was interrupted in its own
/// purge.
#[cold]
#[inline(never)]
fn release_at_once(Waiting { token, kind }: Waiting) {
    let range = token.range();
    release(token, kind, &shoot_down(&[Some(range)]));
}

/// One round, after which all that waited before the call is free.
///
/// Does nothing in a handler that has interrupted this CPU's own purge, which goes on afterwards; and waits for no other's
/// while this CPU is drained for another.
pub fn purge() -> Purged {
    QUEUE.purge(me(), try_purge)
}

#[inline(never)]
fn try_purge() -> Result<Purged, Purging> {
    QUEUE.try_purge(me(), |_| shoot_down_all(), |Waiting { token, kind }, done| release(token, kind, done))
}

/// Whether this CPU is in the midst of a purge, which whoever asks has interrupted.
pub fn is_purging() -> bool {
    QUEUE.purger() == Some(me())
}

/// A round over everything: more pages wait, as a rule, than are flushed one by one.
fn shoot_down_all() -> Done<'static> {
    let begun = SHOOTDOWNS.epoch();
    SHOOTDOWNS.initiate_all(&Cpu);
    Done { begun, ranges: None }
}

fn me() -> usize {
    per_cpu::this().cpu.index()
}

/// What waits just now. What a purge is just making free is counted as mapped or large, as before.
pub fn waiting() -> Sums {
    let mut sums = Sums::default();
    QUEUE.for_each(|waiting| {
        let nr_pages = waiting.nr_pages() as u64;
        sums.nr_ranges += 1;
        match waiting.kind {
            Some(Kind::Mapped) => sums.nr_mapped += nr_pages,
            Some(Kind::Large) => sums.nr_large += nr_pages,
            _ => {}
        }
    });
    sums
}

/// How many ranges, and how many pages, in the queue of one CPU make it purge.
pub fn lazy_limits() -> (usize, usize) {
    QUEUE.limits()
}

/// Sets [`lazy_limits`]; [`MAX_WAITING`] ranges are the most.
pub fn set_lazy_limits(nr_ranges: usize, nr_pages: usize) {
    QUEUE.set_limits(nr_ranges, nr_pages);
}

/// Purges since boot that had something to do: a round each.
pub fn nr_purges() -> u64 {
    QUEUE.nr_purges() as u64
}
