//! The other processors: listed once each, waiting, and in the promised state when they are called.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, CpuidResult};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use limine::mp::{Cpu, ResponseFlags};

use super::memory_map::Memory;
use super::report::{Report, input};
use super::requests::{MP, STACK_BYTES, WANTS_X2APIC, revision};
use super::state::{State, other_entry};

const MAX_CPUS: usize = 320;
const APIC_BASE: u32 = 0x1b;
const X2APIC: u64 = 1 << 10;
const EXPECTED_TIMER: u64 = 1 << 16;

/// What a processor finds when it is called.
#[repr(C)]
pub(super) struct Seen {
    state: State,
    apic_id: u32,
    /// Local vector table entry of the timer, and its initial count: 0 stops it.
    timer: [u64; 2],
    /// Interrupts in service or pending, all words joined.
    interrupts: u64,
    apic_base: u64,
    mtrr_default: u64,
    is_done: AtomicU32,
}

/// A seat for each processor, the boot processor's first. Whoever sits there writes it, until it says `is_done`.
struct Seats(UnsafeCell<[Seen; MAX_CPUS]>);

// SAFETY: see `seat`: one writer for each seat, and readers only after it is done.
unsafe impl Sync for Seats {}

static SEATS: Seats = Seats(UnsafeCell::new(
    [const {
        // SAFETY: integers all through.
        unsafe { core::mem::zeroed() }
    }; MAX_CPUS],
));

/// Seat `index`, below `MAX_CPUS`.
fn seat(index: usize) -> *mut Seen {
    SEATS.0.get().cast::<Seen>().wrapping_add(index)
}

/// Seat `index`, if whoever sits there is done.
fn done(index: usize) -> Option<&'static Seen> {
    // SAFETY: an atomic, which may be read while others write; it lies inside the static.
    let is_done = unsafe { &(*seat(index)).is_done };
    // SAFETY: nobody writes the seat any more: this read pairs with the releasing store in `other_cpu`.
    (is_done.load(Ordering::Acquire) != 0).then(|| unsafe { &*seat(index) })
}

static NR_DONE: AtomicU32 = AtomicU32::new(0);

fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: only registers that every CPU here has are read: APIC base, x2APIC registers in that mode, MTRR default.
    unsafe { asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// An APIC register of this processor, in whichever mode it is. `hhdm` must reach the APIC: base revisions below 3.
fn apic(register: u32, hhdm: u64) -> u64 {
    let base = read_msr(APIC_BASE);
    if base & X2APIC != 0 {
        return read_msr(0x800 + (register >> 4));
    }
    let address = hhdm + (base & 0xffff_f000) + u64::from(register);
    // SAFETY: the APIC's page, in the direct map.
    u64::from(unsafe { (address as *const u32).read_volatile() })
}

fn apic_id(hhdm: u64) -> u32 {
    let is_x2apic = read_msr(APIC_BASE) & X2APIC != 0;
    apic(0x20, hhdm) as u32 >> if is_x2apic { 0 } else { 24 }
}

fn look(hhdm: u64, seen: &mut Seen) {
    seen.apic_base = read_msr(APIC_BASE);
    seen.mtrr_default = read_msr(0x2ff);
    // Revision 3 does not map the APIC.
    if hhdm == 0 && seen.apic_base & X2APIC == 0 {
        seen.apic_id = cpuid_1().ebx >> 24;
        seen.timer = [EXPECTED_TIMER, 0];
        return;
    }
    seen.apic_id = apic_id(hhdm);
    seen.timer = [apic(0x320, hhdm), apic(0x380, hhdm)];
    seen.interrupts = (0..8).fold(0, |all, word| all | apic(0x100 + word * 16, hhdm) | apic(0x200 + word * 16, hhdm));
}

static HHDM_FOR_APIC: AtomicU64 = AtomicU64::new(0);

/// Entered by every other processor with its own `State`, the first member of its `Seen`.
pub(super) extern "C" fn other_cpu(seat: *mut Seen) -> ! {
    // SAFETY: the seat that `check` gave this processor, which nobody else looks at until it is done.
    let seen = unsafe { &mut *seat };
    look(HHDM_FOR_APIC.load(Ordering::Acquire), seen);
    seen.is_done.store(1, Ordering::Release);
    NR_DONE.fetch_add(1, Ordering::Release);
    loop {
        // SAFETY: stops this processor.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

#[allow(unused_unsafe, reason = "the intrinsic became safe after the oldest supported compiler")]
fn cpuid_1() -> CpuidResult {
    // SAFETY: every x86-64 CPU has the instruction.
    unsafe { __cpuid(1) }
}

fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has the counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Checks the list, calls everyone, checks what they saw.
pub(super) fn check(report: &mut Report, memory: &Memory, first: &State) {
    // SAFETY: reading the masks of the PICs; without PICs nobody's ports, which read as ones.
    let masks = unsafe { [input(0x21), input(0xa1)] };
    report.check(masks == [0xff; 2], format_args!("interrupts: PIC masks {masks:x?}"));
    let Some(response) = MP.get_response() else {
        return report.check(false, format_args!("processors: not answered"));
    };
    let cpus = response.cpus();
    let is_x2apic = read_msr(APIC_BASE) & X2APIC != 0;
    let has_x2apic = cpuid_1().ecx >> 21 & 1 != 0;
    let flag = response.flags().contains(ResponseFlags::X2APIC);
    report.check(flag == is_x2apic, format_args!("processors: x2APIC flag {flag}, mode {is_x2apic}"));
    report.check(is_x2apic == (WANTS_X2APIC && has_x2apic), format_args!("processors: x2APIC mode as asked"));
    report.check(memory.is_response(response), format_args!("processors: told in reclaimable memory"));
    report.check(!cpus.is_empty() && cpus.len() <= MAX_CPUS, format_args!("processors: {}", cpus.len()));
    let hhdm = if revision() < 3 { memory.hhdm } else { 0 };
    HHDM_FOR_APIC.store(hhdm, Ordering::Release);
    // SAFETY: the first seat is this processor's.
    look(hhdm, unsafe { &mut *seat(0) });
    // SAFETY: as above, and nothing writes it from here on.
    let mine = unsafe { &*seat(0) };
    let bsp = response.bsp_lapic_id();
    report.check(mine.apic_id == bsp, format_args!("processors: this is {bsp}, its APIC says {}", mine.apic_id));
    let unique = cpus.iter().enumerate().all(|(index, cpu)| cpus[..index].iter().all(|c| c.lapic_id != cpu.lapic_id));
    report.check(unique, format_args!("processors: each APIC id once"));
    report.check(cpus.iter().any(|cpu| cpu.lapic_id == bsp), format_args!("processors: this one is listed"));
    let quiet = cpus.iter().all(|cpu| goto_address(cpu) == 0);
    report.check(quiet, format_args!("processors: goto_address is 0 everywhere"));

    // Let them sleep for a while: then even the longest nap is tried.
    let until = ticks() + 100_000_000;
    while ticks() < until {}
    let others = || cpus.iter().filter(|cpu| cpu.lapic_id != bsp);
    let start = ticks();
    for (cpu, index) in others().zip(1..) {
        cpu.extra.store(seat(index) as u64, Ordering::Relaxed);
        cpu.goto_address.write(other_entry);
    }
    let nr_others = others().count();
    let mut progress = (0, start);
    while (NR_DONE.load(Ordering::Acquire) as usize) < nr_others && ticks() - progress.1 < 20_000_000_000 {
        let done = NR_DONE.load(Ordering::Acquire);
        if done != progress.0 {
            progress = (done, ticks());
        }
        for _ in 0..1000 {
            core::hint::black_box(());
        }
    }
    let took = ticks() - start;
    report
        .note(format_args!("processors: {} of {nr_others} came within {took} ticks", NR_DONE.load(Ordering::Acquire)));
    for (cpu, index) in others().zip(1..) {
        let Some(seen) = done(index) else {
            report.check(false, format_args!("cpu {}: did not come", cpu.lapic_id));
            continue;
        };
        check_other(report, memory, cpu, seen, mine, first);
        let is_apart = |rsp: u64| rsp.abs_diff(seen.state.rsp) >= STACK_BYTES;
        let apart = is_apart(first.rsp) && (1..index).filter_map(done).all(|other| is_apart(other.state.rsp));
        report.check(apart, format_args!("cpu {}: a stack of its own", cpu.lapic_id));
    }
}

fn goto_address(cpu: &Cpu) -> u64 {
    // SAFETY: the third word of the structure, which nobody but this kernel writes.
    unsafe { core::ptr::from_ref(cpu).cast::<u64>().add(2).read_volatile() }
}

fn check_other(report: &mut Report, memory: &Memory, cpu: &Cpu, seen: &Seen, mine: &Seen, first: &State) {
    let id = cpu.lapic_id;
    report.check(seen.apic_id == id, format_args!("cpu {id}: its APIC says {}", seen.apic_id));
    seen.state.check(report, "other", memory, core::ptr::from_ref(cpu) as u64);
    let same = |state: &State| (state.cr0, state.cr3, state.cr4, state.efer, state.pat, state.gdt_base);
    report.check(same(&seen.state) == same(first), format_args!("cpu {id}: control registers as the first one's"));
    let mode = |seen: &Seen| seen.apic_base & X2APIC;
    report.check(mode(seen) == mode(mine), format_args!("cpu {id}: APIC mode as the first one's"));
    report.check(seen.timer == [EXPECTED_TIMER, 0], format_args!("cpu {id}: APIC timer {:x?}", seen.timer));
    report.check(seen.interrupts == 0, format_args!("cpu {id}: no interrupt pending or in service"));
    report.check(seen.mtrr_default == mine.mtrr_default, format_args!("cpu {id}: MTRRs as the first one's"));
}
