//! Recording switched on and off, and what it found.
//!
//! Called by: the shell, tests. Nobody is stopped: samples arrive while a report is made.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, Release};

use super::{Operation, Path, Recorders, read};
use crate::error::{Error, Result};
use crate::frame::{FrameRange, PAGE_SIZE};
use crate::frame_bitmap::RunRequest;
use crate::frame_table::Kind;
use crate::frames::Frames;
use crate::heap::Heap;
use crate::histogram::Histogram;
use crate::machine::Machine;

/// Whose operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All CPUs'.
    Heap,
    /// Those of the CPU with this number, large allocations among them.
    Cpu(usize),
    /// Those of the cache with this id, on all CPUs.
    Cache(u16),
}

/// Pages of one [`Recorders`].
const NR_PAGES: usize = size_of::<Recorders>().div_ceil(PAGE_SIZE);

/// Recorders that nobody has yet, each with the address of the next in its first word. Gives them back when it is
/// dropped.
struct Spare<'a, M: Machine> {
    frames: &'a Frames<M>,
    first: Option<NonNull<Recorders>>,
}

impl<M: Machine> Spare<'_, M> {
    fn add(&mut self) -> Result<()> {
        let run = self.frames.alloc_run_zeroed(RunRequest::pages(NR_PAGES), Kind::Owned)?;
        let added = self.frames.virt(run.start()).cast::<Recorders>();
        // SAFETY: pages of ours, aligned for anything.
        unsafe { added.cast().write(self.first) };
        self.first = Some(added);
        Ok(())
    }

    /// Recorders without samples: all zero bytes.
    fn take(&mut self) -> Option<NonNull<Recorders>> {
        let taken = self.first?;
        // SAFETY: written by `add`, in pages that are still ours; a null pointer is zero bytes again.
        self.first = unsafe { taken.cast().replace(None) };
        Some(taken)
    }
}

impl<M: Machine> Drop for Spare<'_, M> {
    fn drop(&mut self) {
        while let Some(recorders) = self.take() {
            let frame = self.frames.frame_of(recorders.cast());
            let run = frame.and_then(|frame| FrameRange::new(frame, NR_PAGES as u32)).expect("a run of `add`");
            // SAFETY: taken by `add`, and nobody has seen them.
            if let Err(error) = unsafe { self.frames.free_run(run, Kind::Owned) } {
                panic!("recorders that nobody used cannot be freed: {error}");
            }
        }
    }
}

impl<M: Machine> Heap<M> {
    /// Records from here on how long operations take. Each CPU and each cache that is known by now and has no recorders
    /// yet gets some, of 5 frames; they stay for good.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if there are not enough for all; [`Error::Busy`] in a handler that has
    /// interrupted a reclaim. Nothing has changed then.
    pub fn record_latency(&self) -> Result<()> {
        let Some(_exclusive) = self.exclude_others() else { return Err(Error::Busy { nr_objects: 0 }) };
        let latency = &self.supply().latency;
        let missing = || {
            let of_cpus = self.banks().map(|(_, bank)| &bank.latency.recorders);
            let of_caches = self.caches().map(|(id, _)| &latency.by_cache[usize::from(id)]);
            of_cpus.chain(of_caches).filter(|place| read(place).is_none())
        };
        let mut spare = Spare { frames: self.frames(), first: None };
        for _ in missing() {
            spare.add()?;
        }
        // A CPU that has come in between goes without.
        for (place, recorders) in missing().zip(core::iter::from_fn(|| spare.take())) {
            place.store(recorders.as_ptr(), Release);
        }
        latency.is_on.store(true, Relaxed);
        Ok(())
    }

    /// Records no longer. What was recorded stays; operations that are under way are still recorded.
    pub fn stop_recording_latency(&self) {
        self.supply().latency.is_on.store(false, Relaxed);
    }

    /// Whether latencies are being recorded.
    pub fn is_recording_latency(&self) -> bool {
        self.supply().latency.is_on.load(Relaxed)
    }

    /// Forgets all samples.
    pub fn reset_latency(&self) {
        let of_caches = self.supply().latency.by_cache.iter().filter_map(read);
        let of_cpus = self.banks().filter_map(|(_, bank)| read(&bank.latency.recorders));
        of_caches.chain(of_cpus).for_each(Recorders::reset);
    }

    /// Adds the samples of `operation` by way of `path` to `histogram`, in ticks of [`Machine::timestamp`].
    pub fn add_latency_to(&self, scope: Scope, operation: Operation, path: Path, histogram: &mut Histogram) {
        let mut add = |recorders: &Recorders| recorders.of(operation, path).add_to(histogram);
        match scope {
            Scope::Cache(id) => self.supply().latency.of_cache(id).into_iter().for_each(add),
            Scope::Heap | Scope::Cpu(_) => {
                for (cpu, bank) in self.banks() {
                    if scope == Scope::Heap || scope == Scope::Cpu(cpu) {
                        read(&bank.latency.recorders).into_iter().for_each(&mut add);
                    }
                }
            }
        }
    }

    /// What reading the clock adds to each sample, in ticks: the least of many readings one behind the other.
    pub fn clock_cost(&self) -> u64 {
        const NR_READINGS: usize = 200;
        let reading = |_| {
            let start = M::timestamp();
            M::timestamp().saturating_sub(start)
        };
        (0..NR_READINGS).map(reading).min().unwrap_or(0)
    }

    /// Frames that recorders take now.
    pub fn nr_latency_frames(&self) -> u64 {
        let of_caches = self.supply().latency.by_cache.iter().filter_map(read).count();
        let of_cpus = self.banks().filter_map(|(_, bank)| read(&bank.latency.recorders)).count();
        ((of_caches + of_cpus) * NR_PAGES) as u64
    }
}
