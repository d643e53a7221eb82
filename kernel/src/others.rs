//! The other CPUs: memory for each, the signal to start, and the wait for them. And memory before that, and after.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use arch::entry::{self, ApStart};
use limine::mp::Cpu as MpCpu;
use mm::error::Result;
use mm::frame::{Frame, FrameRange, PAGE_SIZE};
use mm::frame_bitmap::RunRequest;
use mm::frame_table::Kind;
use mm::memory_map::{RegionKind, ranges_of_kind};
use smp::CpuId;
use spin::Once;

use crate::boot::{self, Equipment, or_stop};
use crate::bootinfo::BootInfo;
use crate::console::log;
use crate::machine::{self, HEAP};
use crate::per_cpu::{self, PerCpu, State};
use crate::time::Deadline;
use crate::{debug, devices, space};

/// How long the CPUs have to come: all start at once, and where many virtual CPUs share few real ones that takes.
const PATIENCE_NS: u64 = 30_000_000_000;

/// Physical memory below this is not reclaimed: CPUs that the bootloader started and did not list run there.
const TRAMPOLINE_END: u64 = 1 << 20;

/// Ranges of reclaimable memory that are looked at.
const MAX_LATER: usize = 128;

/// What boot made of the memory map, for `mem`.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootMemory {
    /// Usable frames, the reclaimed ones included.
    pub nr_usable: u64,
    /// Of these, the frame bitmap and the frame table.
    pub nr_metadata: u64,
}

/// CPUs that the bootloader lists and this kernel does not use.
static NR_LEFT_OUT: AtomicUsize = AtomicUsize::new(0);

/// CPUs that the bootloader lists and this kernel does not use, for want of memory or of room.
pub fn nr_left_out() -> usize {
    NR_LEFT_OUT.load(Ordering::Relaxed)
}

static MEMORY: Once<BootMemory> = Once::new();
static RECLAIMED: Once<u64> = Once::new();

/// What boot made of the memory map.
pub fn boot_memory() -> BootMemory {
    let nr_reclaimed = RECLAIMED.get().copied().unwrap_or(0);
    let memory = MEMORY.get().copied().unwrap_or_default();
    BootMemory { nr_usable: memory.nr_usable + nr_reclaimed, ..memory }
}

/// Takes charge of all usable frames, and opens the heap.
pub fn init_memory(info: &BootInfo) {
    let mut later = [const { None }; MAX_LATER];
    for (place, range) in later.iter_mut().zip(ranges_of_kind(info.regions(), RegionKind::BootloaderReclaimable)) {
        *place = Some(range);
    }
    let nr_later = later.iter().flatten().count();
    let later = later.map(|range| range.unwrap_or(FrameRange::new(Frame::new(1), 1).expect("not empty")));
    // SAFETY: the first use, by the first CPU; the direct map covers usable memory, in the bootloader's tables and in
    // ours after; the bootloader uses nothing that it calls usable.
    let initialised = or_stop(unsafe { HEAP.frames().init(info.regions(), &later[..nr_later], info.direct_map) });
    HEAP.add_cpu(CpuId::BOOT.index(), per_cpu::this().bank());
    debug::init();
    HEAP.init();
    MEMORY.call_once(|| BootMemory { nr_usable: initialised.nr_usable, nr_metadata: initialised.nr_metadata });
    log!("memory: {} MiB usable", (initialised.nr_usable * PAGE_SIZE as u64) >> 20);
}

/// A CPU that has been told to come.
struct Started {
    area: &'static PerCpu,
    start: &'static ApStart,
}

/// Starts every CPU that the bootloader lists, and waits for them, not for ever.
pub fn start(info: &BootInfo) {
    let (listed, first_apic_id) = info.cpus().unwrap_or((&[], per_cpu::this().apic_id()));
    let mut started: Vec<Started> = Vec::new();
    let mut nr_parked = 0;
    if started.try_reserve(listed.len()).is_err() {
        log!("cpus: no memory for a list of {} CPUs; going on with this one", listed.len());
        NR_LEFT_OUT.store(listed.len() - 1, Ordering::Relaxed);
        return;
    }
    for cpu in listed.iter().filter(|cpu| cpu.lapic_id != first_apic_id) {
        if started.iter().any(|other| other.area.apic_id() == cpu.lapic_id) {
            log!("cpus: APIC id {} is listed twice; the second entry is left parked", cpu.lapic_id);
            continue;
        }
        let Some(id) = CpuId::new(started.len() + 1) else {
            nr_parked += 1;
            continue;
        };
        match start_one(id, cpu) {
            Ok(one) => started.push(one),
            Err(error) => {
                log!("cpus: no memory for cpu {id} ({error}); going on with {} CPUs", started.len() + 1);
                break;
            }
        }
    }
    if nr_parked > 0 {
        log!("cpus: {nr_parked} more than the {} that this kernel can use stay parked", smp::MAX_CPUS);
    }
    NR_LEFT_OUT.store(listed.len().saturating_sub(started.len() + 1), Ordering::Relaxed);
    let nr_failed = wait_for(&started);
    if nr_failed == 0 && started.len() + 1 == listed.len().max(1) && is_complete(listed) {
        machine::allow_broadcast();
    }
    log!("cpus: {} online", started.len() + 1 - nr_failed);
}

fn start_one(id: CpuId, cpu: &'static MpCpu) -> Result<Started> {
    let own: &'static Equipment = keep(Equipment::new()?)?;
    let area = new_area(id, cpu.lapic_id)?;
    let gs_base = core::ptr::from_ref(area) as usize;
    let argument = core::ptr::from_ref(own).cast_mut().cast();
    let start = new_start(ApStart::new(own.stacks.main.top, space::root(), gs_base, boot::other_cpu, argument))?;
    // Nothing can fail any more, here or on its way: the others may know of it.
    per_cpu::publish(area);
    cpu.extra.store(core::ptr::from_ref(start) as u64, Ordering::Release);
    // SAFETY: only the argument's type differs, and both are one pointer to the MP information.
    let goto = unsafe {
        core::mem::transmute::<unsafe extern "C" fn(*const ()) -> !, unsafe extern "C" fn(&MpCpu) -> !>(
            entry::other_cpu_entry,
        )
    };
    cpu.goto_address.write(goto);
    Ok(Started { area, start })
}

/// Puts `value` where it stays for good.
///
/// # Errors
///
/// [`mm::error::Error::OutOfMemory`].
pub fn keep<T>(value: T) -> Result<&'static T> {
    let place: NonNull<T> = HEAP.alloc(Layout::new::<T>())?.cast();
    // SAFETY: fresh memory of the right layout, never freed.
    unsafe {
        place.write(value);
        Ok(place.as_ref())
    }
}

/// Frames for a `T`, for good: at an address of the direct map.
fn frames_for<T>() -> Result<NonNull<T>> {
    const { assert!(align_of::<T>() <= PAGE_SIZE) };
    let frames = HEAP.alloc_run(RunRequest::pages(size_of::<T>().div_ceil(PAGE_SIZE)), Kind::Owned)?;
    Ok(HEAP.frames().virt(frames.start()).cast())
}

/// A CPU's area, for good.
fn new_area(id: CpuId, apic_id: u32) -> Result<&'static PerCpu> {
    let place = frames_for::<PerCpu>()?;
    // SAFETY: frames of ours for good, page-aligned, with room for an area, which the write makes.
    unsafe {
        place.write(PerCpu::new(id, apic_id));
        Ok(place.as_ref())
    }
}

/// What a CPU reads before it has left the bootloader's tables. These know of the direct map, and of no other memory of
/// the heap, such as guarded objects.
fn new_start(start: ApStart) -> Result<&'static ApStart> {
    let place = frames_for::<ApStart>()?;
    // SAFETY: as above, with room for what is written.
    unsafe {
        place.write(start);
        Ok(place.as_ref())
    }
}

/// Waits until every started CPU is online or the time is up. Returns how many have failed.
fn wait_for(started: &[Started]) -> usize {
    let deadline = Deadline::after_ns(PATIENCE_NS);
    let is_pending = |one: &&Started| one.area.state() == State::Starting;
    machine::wait_until(|| !started.iter().any(|one| is_pending(&one)), || deadline.has_passed());
    let mut nr_failed = 0;
    for late in started.iter().filter(is_pending) {
        // Revoked, it can only park. If it has claimed its start already it is on its way: a moment more for that one.
        if !late.start.revoke() {
            late.area.set_state(State::Failed);
            nr_failed += 1;
            log!("cpus: cpu {} (APIC id {}) did not come", late.area.cpu, late.area.apic_id());
        } else {
            let deadline = Deadline::after_ns(PATIENCE_NS);
            let has_come = machine::wait_until(|| late.area.state() != State::Starting, || deadline.has_passed());
            assert!(has_come, "cpu {} left the bootloader and never came", late.area.cpu);
        }
    }
    nr_failed
}

/// Whether the bootloader lists every CPU that the machine has.
fn is_complete(listed: &[&MpCpu]) -> bool {
    devices::get().is_some_and(|devices| devices.nr_cpus <= listed.len())
}

/// Takes over the bootloader's memory, once no CPU can be in it any more.
///
/// Every CPU that the bootloader lists runs on its own stack and our page tables; one that did not come may still be
/// parked in the bootloader's code, and then nothing is taken. What lies below 1 MiB stays, for CPUs that the bootloader
/// started and lost.
pub fn reclaim(info: &BootInfo) {
    if per_cpu::all().any(|area| area.state() != State::Online) {
        log!("memory: a CPU is missing, so the bootloader's memory is left alone");
        return;
    }
    let nr_online = per_cpu::all().count();
    if info.cpus().is_some_and(|(listed, _)| listed.len() > nr_online) {
        log!("memory: CPUs stay parked in the bootloader's memory, so it is left alone");
        return;
    }
    let mut nr_reclaimed = 0;
    for range in ranges_of_kind(info.regions(), RegionKind::BootloaderReclaimable) {
        if range.start().addr() < TRAMPOLINE_END {
            continue;
        }
        nr_reclaimed += add_but_files(info, range);
    }
    RECLAIMED.call_once(|| nr_reclaimed);
    log!("memory: {} KiB taken over from the bootloader", nr_reclaimed * PAGE_SIZE as u64 / 1024);
}

/// Gives the heap the frames of `range` in which no file lies that is still read; returns how many. Limine 8.2 keeps the
/// kernel's own file, where crash reports find their symbols, in memory that it calls reclaimable.
fn add_but_files(info: &BootInfo, range: FrameRange) -> u64 {
    let (mut from, end) = (u64::from(range.start().number()), range.end_number());
    let mut nr_added = 0;
    while from < end {
        let files = info.files().map(|bytes| frames_of(info, bytes)).filter(|file| file.end > from);
        let file = files.min_by_key(|file| file.start).filter(|file| file.start < end).unwrap_or(end..end);
        let nr_pages = file.start.saturating_sub(from) as u32;
        if let Some(part) = FrameRange::new(Frame::new(from as u32), nr_pages) {
            // An emulator that has run code in a page takes each write to that page for a change of the code, a thousand
            // ticks, until all of the code is written over.
            for frame in part.iter() {
                // SAFETY: every CPU has left the bootloader's stacks, tables and code; its answers have been copied. The
                // direct map covers all memory.
                unsafe { HEAP.frames().virt(frame).write_bytes(0, PAGE_SIZE) };
            }
            // SAFETY: as above.
            if unsafe { HEAP.frames().add(part) }.is_ok() {
                nr_added += u64::from(nr_pages);
            }
        }
        from = file.end;
    }
    nr_added
}

/// Numbers of the frames that `bytes`, seen through the direct map, lie in.
fn frames_of(info: &BootInfo, bytes: &[u8]) -> Range<u64> {
    let start = (bytes.as_ptr() as usize).wrapping_sub(info.direct_map) as u64;
    start / PAGE_SIZE as u64..(start + bytes.len() as u64).div_ceil(PAGE_SIZE as u64)
}
