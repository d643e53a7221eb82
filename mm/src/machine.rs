//! What this crate needs from the machine it runs on: one trait, filled in by the kernel in one file, and by the host
//! tests in another. Everything else in the crate is the same source in both.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::bank::Bank;
use crate::debug::Finding;
use crate::error::{Error, Result};
use crate::frame::PAGE_SIZE;

/// What one CPU at a time does, and others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// It reclaims memory, or keeps others from it: [`crate::heap::Heap::reclaim`].
    Reclaim,
    /// It purges: [`crate::page_table::PurgeQueue`].
    Purge,
}

/// The machine below the allocator.
///
/// # Safety
///
/// [`Machine::bank`] is what keeps the CPUs apart without atomics. An implementation promises that
/// - a CPU gets the same bank on every call, and no other CPU ever gets it;
/// - whoever called it does not move to another CPU while it uses the bank (no preemption, no migration); interrupts
///   may come, and may allocate.
///
/// [`Machine::irq_save`] promises that no interrupt handler runs on this CPU until the matching `irq_restore`.
pub unsafe trait Machine: Send + Sync + 'static {
    /// This CPU's magazines. On the hit path: must inline to a load or two.
    fn bank() -> &'static Bank;

    /// The address `offset` bytes into this CPU's bank.
    ///
    /// The hit path reaches a cache's magazines by this, then several of their fields. Worth a line of assembly
    /// (`add register, gs:[bank]`) where there may be one: the compiler, seeing an addition, folds it into each access
    /// as `[bank + offset + field]`, and some cores forward a store to the next load of the same field at full speed
    /// only if it is addressed by one register. Measured: 2.3 times the time for a pair.
    #[inline(always)]
    fn bank_at(offset: usize) -> *const u8 {
        core::ptr::from_ref(Self::bank()).cast::<u8>().wrapping_add(offset)
    }

    /// Adds `N` to a word that only this CPU writes, in one step for its interrupt handlers, and returns the sum.
    ///
    /// The default locks the bus, which is right everywhere and slow on the hit path. `add [word], N` without the lock
    /// prefix does: an interrupt comes before or after an instruction, and a handler leaves the word as it found it.
    #[inline(always)]
    fn add_on_this_cpu<const N: i64>(word: &AtomicU64) -> u64 {
        word.fetch_add(N as u64, Ordering::Relaxed).wrapping_add(N as u64)
    }

    /// Disables interrupts on this CPU and returns what [`Machine::irq_restore`] needs to undo it. Nests.
    fn irq_save() -> usize;

    /// Puts the interrupt flag back.
    ///
    /// # Safety
    ///
    /// `saved` comes from the latest `irq_save` of this CPU that has not been restored yet.
    unsafe fn irq_restore(saved: usize);

    /// Called in every turn of a lock's wait, interrupts off; `nr_turns` counts from 0. Waits a little, longer with
    /// each turn, and serves requests of other CPUs: the holder may be waiting for this CPU to answer one.
    fn relax(nr_turns: u32);

    /// Waits until `is_over` says that what CPU `cpu` is at has ended, serving requests of other CPUs as [`Machine::relax`]
    /// does: it may be waiting for an answer to one. Called with no lock of this crate held, interrupts on or off.
    ///
    /// That lasts as long as other CPUs take to answer a request or two. A kernel may say so if it lasts longer.
    fn wait_for(_awaited: Awaited, _cpu: usize, is_over: impl Fn() -> bool) {
        let mut nr_turns = 0;
        while !is_over() {
            Self::relax(nr_turns);
            nr_turns = nr_turns.saturating_add(1);
        }
    }

    /// Has every other CPU that runs call [`crate::heap::Heap::serve_drain`], halted ones included, and returns
    /// when they have. A CPU that was interrupted inside its own magazine may skip that one cache.
    fn drain_other_cpus();

    /// Reports a bad free that was found late, when the object left the magazines. The object has been dropped, all
    /// structures are sound; the kernel decides whether to go on. Also reports [`Error::Corrupt`]: metadata that was
    /// overwritten and is out of use now. Called with no lock held.
    fn report(error: Error);

    /// Maps `nr_pages` zeroed pages at adjacent addresses, for an allocation for which no adjacent frames are left.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]; also the answer of a machine that has no page tables of its own, which is the default.
    fn map_pages(nr_pages: usize) -> Result<NonNull<u8>> {
        Err(Error::OutOfMemory { bytes: nr_pages.saturating_mul(PAGE_SIZE) })
    }

    /// Length in pages of the live range that `map_pages` returned at exactly `addr`; `None` if there is none.
    fn mapped_pages(_addr: NonNull<u8>) -> Option<usize> {
        None
    }

    /// Takes back a range of `map_pages`. Its memory and its addresses are used again when no CPU can reach it any more,
    /// which may be later than this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if no range starts at `addr`.
    ///
    /// # Safety
    ///
    /// Nothing uses the range any more.
    unsafe fn unmap_pages(addr: NonNull<u8>) -> Result<()> {
        Err(Error::Foreign { addr: addr.addr().get() })
    }

    /// Has frames given back that wait for something outside this crate, such as those of ranges that are unmapped and
    /// wait for a shootdown. Called when memory is short, and before it is compared, with no lock of this crate held
    /// and nobody excluded from anything; may wait for other CPUs. Nothing waits by default.
    fn purge_unmapped() {}

    /// Whether this CPU is in the midst of what [`Machine::purge_unmapped`] does, however it came to it: then a handler has
    /// interrupted it and asks. Such a handler waits for nobody who reclaims, since that CPU may in turn, in a handler, wait
    /// for this one's purge to end.
    fn is_purging() -> bool {
        false
    }

    /// Has what lies in this CPU's magazines of ranges and in their depots go back to the arena
    /// ([`SharedArena::reclaim_here`](crate::arena::SharedArena::reclaim_here)): addresses are no memory, but the magazines
    /// that they lie in are. Called in a reclaim, when memory is short or idle, with no lock of this crate held; waits for nobody and
    /// asks for no memory. The other CPUs' magazines are [`Machine::drain_other_cpus`]'s to drain. A machine without quantum
    /// caches has nothing to do, which is the default.
    fn reclaim_ranges() {}

    /// A clock that this CPU can read in any context, in ticks of its own length; asked only while latencies are recorded
    /// ([`crate::latency`]). What came before is done, what comes after has not begun. Without one, all take no time.
    fn timestamp() -> u64 {
        0
    }

    /// Sets `nr_pages` adjacent pages of addresses aside for good, for guarded objects. Nothing is mapped there. `None` if
    /// there are none, now or ever.
    fn reserve_addresses(_nr_pages: usize) -> Option<NonNull<u8>> {
        None
    }

    /// Maps the page at `addr`, one of `reserve_addresses` at which nothing is mapped; contents undefined.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`]. Nobody is made to give memory back for it.
    fn map_page_at(_addr: NonNull<u8>) -> Result<()> {
        Err(Error::OutOfMemory { bytes: PAGE_SIZE })
    }

    /// Takes the page at `addr` back, from `map_page_at`. Returns when no CPU can reach it any more.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`] if there is none.
    ///
    /// # Safety
    ///
    /// Nothing uses the page any more.
    unsafe fn unmap_page_at(addr: NonNull<u8>) -> Result<()> {
        Err(Error::Foreign { addr: addr.addr().get() })
    }

    /// Number of this CPU, for reports.
    fn cpu_number() -> usize {
        0
    }

    /// Writes the return addresses of those who called into this crate, innermost first, and returns how many. For
    /// caches with [`DebugFlags::AUDIT`] only.
    ///
    /// [`DebugFlags::AUDIT`]: crate::debug::DebugFlags::AUDIT
    fn backtrace(_sites: &mut [usize]) -> usize {
        0
    }

    /// Reports what a debug check found, once. As [`Machine::report`]; a bad free comes back to its caller as an error,
    /// too.
    fn report_finding(finding: &Finding) {
        Self::report(finding.error);
    }
}
