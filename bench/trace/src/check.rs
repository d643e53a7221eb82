//! Checks a recording from end to end, and sums it up.
//!
//! Replaying a damaged recording would blame the allocator for the recording's faults, so nothing is replayed before
//! every event has been checked: CPUs and ids in range, sizes as the format demands, each object allocated once, then
//! freed once as what it was, and the peak of the live bytes equal to the header's.
//!
//! Invariant: holding a [`Checked`] means that all of this is so.
//!
//! Called by: the kernel's replay, and `recorder` for what it is about to write or describe, each with scratch memory that it allocated fallibly (8 bytes an object).

use crate::fault::{Damaged, Fault};
use crate::{Action, Event, Kind, Trace};

/// The page size of the recorded machine: sizes of page runs are this, shifted by the order.
const PAGE_BYTES: u32 = 4096;
/// A size has 24 bits.
pub const NR_SIZE_CLASSES: usize = 24;
const NO_CPU: u8 = u8::MAX;

/// What a recording does with one object; scratch memory while checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectState {
    /// 0 until the object is allocated.
    size_bytes: u32,
    kind: Kind,
    alloc_cpu: u8,
    /// `NO_CPU` until the object is freed.
    free_cpu: u8,
}

/// A recording in which every event is as it should be.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'t, 's> {
    trace: Trace<'t>,
    objects: &'s [ObjectState],
    summary: Summary,
}

/// What a recording contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Allocations and frees.
    pub nr_events: u64,
    /// Allocations, page runs included.
    pub nr_objects: u64,
    /// Allocations of page runs.
    pub nr_page_runs: u64,
    /// The most bytes live at once, in the recorded order.
    pub peak_live_bytes: u64,
    /// The most objects live at once, in the recorded order.
    pub peak_live_objects: u64,
    /// Frees on another CPU than the allocation's.
    pub nr_cross_cpu_frees: u64,
    /// The largest object.
    pub largest_bytes: u32,
    /// All sizes added up.
    pub total_bytes: u64,
    /// Allocations by size: class `i` counts sizes from 2^i to 2^(i+1) - 1.
    pub nr_by_log2_size: [u64; NR_SIZE_CLASSES],
}

impl ObjectState {
    /// An object of which nothing is known yet: what scratch memory is filled with.
    pub const NEW: ObjectState = ObjectState { size_bytes: 0, kind: Kind::Object, alloc_cpu: NO_CPU, free_cpu: NO_CPU };

    /// The size it is allocated with.
    pub fn size_bytes(&self) -> u32 {
        self.size_bytes
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The CPU that allocates it.
    pub fn alloc_cpu(&self) -> u8 {
        self.alloc_cpu
    }

    /// The CPU that frees it.
    pub fn free_cpu(&self) -> u8 {
        self.free_cpu
    }
}

impl Default for ObjectState {
    fn default() -> ObjectState {
        ObjectState::NEW
    }
}

impl<'t> Trace<'t> {
    /// Checks every event, and that every object comes and goes. `scratch` needs an entry for each object of the header
    /// (at most half as many as events, if the recording is good); what it holds before does not matter.
    ///
    /// # Errors
    /// The first event that is wrong and what is wrong with it; then what only the whole shows.
    pub fn validate<'s>(self, scratch: &'s mut [ObjectState]) -> Result<Checked<'t, 's>, Damaged> {
        let header = *self.header();
        let whole = |what| Damaged { event: None, what };
        let fault = Fault::Scratch { len: scratch.len(), nr_objects: header.nr_objects };
        let objects = scratch.get_mut(..header.nr_objects as usize).ok_or(whole(fault))?;
        objects.fill(ObjectState::NEW);

        let mut summary = Summary::new();
        let (mut live_bytes, mut live_objects) = (0u64, 0u64);
        for (event, index) in self.events().zip(0u64..) {
            let at = |what| Damaged { event: Some(index), what };
            let Event { id, cpu, .. } = event;
            if u32::from(cpu) >= header.nr_cpus {
                return Err(at(Fault::Cpu { cpu, nr_cpus: header.nr_cpus }));
            }
            let object = objects.get_mut(id as usize).ok_or(at(Fault::Id { id, nr_objects: header.nr_objects }))?;
            match event.action {
                Action::Alloc => {
                    alloc(object, &event).map_err(at)?;
                    summary.count_alloc(&event);
                    live_bytes += u64::from(event.size_bytes);
                    live_objects += 1;
                    summary.peak_live_bytes = summary.peak_live_bytes.max(live_bytes);
                    summary.peak_live_objects = summary.peak_live_objects.max(live_objects);
                }
                Action::Free => {
                    free(object, &event).map_err(at)?;
                    summary.nr_cross_cpu_frees += u64::from(object.alloc_cpu != cpu);
                    live_bytes -= u64::from(object.size_bytes);
                    live_objects -= 1;
                }
            }
            summary.nr_events += 1;
        }

        for (object, id) in objects.iter().zip(0u32..) {
            if object.size_bytes == 0 {
                return Err(whole(Fault::NeverAllocated { id }));
            }
            if object.free_cpu == NO_CPU {
                let event = self.events().position(|event| event.id == id).map(|index| index as u64);
                return Err(Damaged { event, what: Fault::NeverFreed { id } });
            }
        }
        if summary.peak_live_bytes != header.peak_live_bytes {
            let found_bytes = summary.peak_live_bytes;
            return Err(whole(Fault::Peak { header_bytes: header.peak_live_bytes, found_bytes }));
        }
        Ok(Checked { trace: self, objects, summary })
    }
}

/// Notes the allocation of `object`, if it is a proper one.
fn alloc(object: &mut ObjectState, event: &Event) -> Result<(), Fault> {
    let Event { id, size_bytes, .. } = *event;
    if object.size_bytes != 0 {
        return Err(Fault::AllocatedTwice { id });
    }
    if size_bytes == 0 {
        return Err(Fault::ZeroSize { id });
    }
    if event.kind == Kind::PageRun && (size_bytes < PAGE_BYTES || !size_bytes.is_power_of_two()) {
        return Err(Fault::NotAPageOrder { id, size_bytes });
    }
    *object = ObjectState { size_bytes, kind: event.kind, alloc_cpu: event.cpu, free_cpu: NO_CPU };
    Ok(())
}

/// Notes the free of `object`, if it is a proper one.
fn free(object: &mut ObjectState, event: &Event) -> Result<(), Fault> {
    let Event { id, size_bytes, .. } = *event;
    if size_bytes != 0 {
        return Err(Fault::SizeInFree { id, size_bytes });
    }
    if object.size_bytes == 0 {
        return Err(Fault::FreeBeforeAlloc { id });
    }
    if object.free_cpu != NO_CPU {
        return Err(Fault::FreedTwice { id });
    }
    if object.kind != event.kind {
        return Err(Fault::WrongKind { id, allocated: object.kind });
    }
    object.free_cpu = event.cpu;
    Ok(())
}

impl Summary {
    const fn new() -> Summary {
        Summary {
            nr_events: 0,
            nr_objects: 0,
            nr_page_runs: 0,
            peak_live_bytes: 0,
            peak_live_objects: 0,
            nr_cross_cpu_frees: 0,
            largest_bytes: 0,
            total_bytes: 0,
            nr_by_log2_size: [0; NR_SIZE_CLASSES],
        }
    }

    /// Counts an allocation whose size is not 0.
    fn count_alloc(&mut self, event: &Event) {
        self.nr_objects += 1;
        self.nr_page_runs += u64::from(event.kind == Kind::PageRun);
        self.largest_bytes = self.largest_bytes.max(event.size_bytes);
        self.total_bytes += u64::from(event.size_bytes);
        self.nr_by_log2_size[event.size_bytes.ilog2() as usize] += 1;
    }
}

impl<'t, 's> Checked<'t, 's> {
    /// The recording.
    pub fn trace(&self) -> &Trace<'t> {
        &self.trace
    }

    /// What it contains.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// What it does with each object, by id.
    pub fn objects(&self) -> &'s [ObjectState] {
        self.objects
    }

    /// The most that can be live at once when objects cost what `footprint` says (size in bytes and kind, to bytes, or
    /// to any other unit), and no CPU plays an event before all events that stand `window` or more before it are done.
    ///
    /// Window 0 or 1 is the recorded order, exactly. A replay on several CPUs does not keep that order: a CPU that runs
    /// ahead allocates while another still has frees to do. `u64::MAX` bounds a replay that holds nobody back; that is
    /// the sum of all objects.
    ///
    /// The bound: if `done` events are done from the start on, only events before `done + window` can have been played,
    /// so what is live is at most what those allocate less what the done ones free.
    pub fn peak_footprint(&self, window: u64, footprint: impl Fn(u32, Kind) -> u64) -> u64 {
        let cost = |event: &Event| {
            let object = &self.objects[event.id as usize];
            footprint(object.size_bytes, object.kind)
        };
        let mut ahead = self.trace.events();
        let mut live = 0u64;
        for _ in 1..window {
            match ahead.next() {
                Some(event) if event.action == Action::Alloc => live = live.saturating_add(cost(&event)),
                Some(_) => {}
                None => break,
            }
        }
        let mut peak = live;
        for done in self.trace.events() {
            if let Some(event) = ahead.next()
                && event.action == Action::Alloc
            {
                live = live.saturating_add(cost(&event));
            }
            peak = peak.max(live);
            if done.action == Action::Free {
                live = live.saturating_sub(cost(&done));
            }
        }
        peak
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
