//! The end: a panic or an exception that nobody handles, on any CPU.
//!
//! The first CPU to crash stops the others by NMI, takes the console by force, and prints one report: what and where,
//! registers, a backtrace with the names from the kernel's own ELF, where every other CPU was, and what to type to get
//! here again. Then QEMU ends with a failing status; on a real machine the CPU halts.
//!
//! Context: any, an NMI included. Takes no lock, allocates nothing, waits for nobody without a bound.

use core::fmt::Display;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arch::backtrace::Backtrace;
use arch::traps::{PageFaultCode, TrapFrame, exception_name, fault_address, vectors};
use arch::{irq, qemu};
use kernel::symbols::Symbols;
use smp::{CpuId, LateReport};

use crate::console::{self, println};
use crate::per_cpu::{self, PerCpu, State};
use crate::tlb_test::halt;
use crate::{bootinfo, debug, image, machine, stress, time};

/// Exit value for a crash: QEMU's status is 37.
const CRASHED: u8 = 0x12;
/// Turns of the wait for other CPUs to stop or answer: a second or so.
const MAX_TURNS: u32 = 2_000_000;
/// Other CPUs that are shown on the screen; the serial line has them all.
const MAX_ON_SCREEN: usize = 8;
/// No CPU.
const NONE: usize = usize::MAX;

/// The CPU that reports.
static REPORTER: AtomicUsize = AtomicUsize::new(NONE);
/// Set when the report itself has crashed.
static HAS_CRASHED_AGAIN: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    irq::disable();
    report(&info, None, Backtrace::here(is_stack))
}

/// An exception that nobody handles.
pub fn exception(frame: &TrapFrame) -> ! {
    let vector = frame.vector as u8;
    let name = exception_name(vector).unwrap_or("reserved exception");
    let trace = Backtrace::interrupted(frame, is_stack);
    if vector == vectors::PAGE_FAULT {
        let address = fault_address();
        report(&format_args!("{name}: {} at {address:#x}", PageFaultCode(frame.error_code)), Some(frame), trace)
    }
    if vector == vectors::DOUBLE_FAULT && per_cpu::this().is_guard_page(fault_address()) {
        report(
            &format_args!("{name}: stack overflow into the guard page at {:#x}", fault_address()),
            Some(frame),
            trace,
        )
    }
    report(&format_args!("{name}, error code {:#x}", frame.error_code), Some(frame), trace)
}

/// An NMI: from a CPU that reports a crash, or one that asks where this one is; else the hardware's.
pub fn on_nmi(frame: &mut TrapFrame) {
    let me = per_cpu::this();
    match REPORTER.load(Ordering::Acquire) {
        NONE => {}
        // A question that came too late, or the hardware's: nothing is worth as much as the report that this CPU is at.
        reporter if reporter == me.cpu.index() => return,
        _ => {
            // One that has crashed as well has said already where.
            if me.state() != State::Stopped {
                note_place(&me, frame);
                me.set_state(State::Stopped);
            }
            irq::halt_forever();
        }
    }
    let nr_answers = me.nr_nmi_answers.load(Ordering::Relaxed);
    if nr_answers == me.nr_nmi_questions.load(Ordering::Acquire) {
        exception(frame);
    }
    note_place(&me, frame);
    // Release: whoever sees it answered sees the answer.
    me.nr_nmi_answers.store(nr_answers + 1, Ordering::Release);
    if halt::on_nmi(&me, frame) || !STEPS_OVER_HALT.load(Ordering::Relaxed) {
        return;
    }
    if irq::step_over_halt(frame) {
        NR_BEFORE_HALT.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a CPU that an NMI found between `sti` and `hlt` goes on without halting. It does, but for chaos.
static STEPS_OVER_HALT: AtomicBool = AtomicBool::new(true);

/// Has such CPUs halt from here on: see [`kernel::chaos`].
pub fn stop_stepping_over_halts() {
    STEPS_OVER_HALT.store(false, Ordering::Relaxed);
}

/// NMIs since boot that came between `sti` and `hlt`.
static NR_BEFORE_HALT: AtomicU64 = AtomicU64::new(0);

/// How many NMIs since boot came between `sti` and `hlt`, where they would have cost a wake-up.
pub fn nr_before_halt() -> u64 {
    NR_BEFORE_HALT.load(Ordering::Relaxed)
}

fn note_place(me: &PerCpu, frame: &TrapFrame) {
    me.seen_rbp.store(frame.rbp, Ordering::Relaxed);
    me.seen_rip.store(frame.rip, Ordering::Release);
}

/// Asks a CPU by NMI where it is. `None` if it does not say so within a second or so.
///
/// Each question is one NMI, and each NMI that is taken is one answer, so that a CPU can tell a question from the hardware's
/// NMI however many ask. Two that arrive as one leave a question unanswered for good: then the next NMI of the hardware,
/// should there ever be one, is taken for a question.
///
/// Context: any but an NMI. Serves others meanwhile.
pub fn ask_where(cpu: CpuId) -> Option<u64> {
    let (area, apic) = (per_cpu::of(cpu)?, machine::apic()?);
    let nr_answers = area.nr_nmi_answers.load(Ordering::Acquire);
    area.nr_nmi_questions.fetch_add(1, Ordering::AcqRel);
    apic.send_nmi(area.apic_id()).ok()?;
    (0..MAX_TURNS).find_map(|_| {
        machine::relax_and_serve();
        let is_answered = area.nr_nmi_answers.load(Ordering::Acquire) != nr_answers;
        is_answered.then(|| area.seen_rip.load(Ordering::Relaxed))
    })
}

/// Reports that some CPU does not answer, since boot.
static NR_LATE: AtomicU64 = AtomicU64::new(0);

/// How often some CPU was reported not to answer, since boot.
pub fn nr_late() -> u64 {
    NR_LATE.load(Ordering::Relaxed)
}

/// Who does not answer, with the time in the clock's own unit.
pub fn late(report: &LateReport) -> impl Display + '_ {
    report.in_ms(time::ticks(1_000_000))
}

/// Some CPU does not answer: finds out where it is, and says so.
pub fn report_late(report: &LateReport) {
    /// The one that is late may hold the console, and so may what this wait has interrupted.
    macro_rules! say {
        ($($arg:tt)*) => { console::write_impatiently(format_args!("watchdog: {}\n", format_args!($($arg)*))) };
    }
    NR_LATE.fetch_add(1, Ordering::Relaxed);
    say!("{}", late(report));
    match ask_where(report.first_late) {
        Some(rip) => say!("cpu {} is at {}", report.first_late, Place(rip)),
        None => say!("cpu {} does not take an NMI either", report.first_late),
    }
}

fn report(what: &dyn Display, frame: Option<&TrapFrame>, trace: impl Iterator<Item = usize>) -> ! {
    irq::disable();
    let me = per_cpu::this();
    let index = me.cpu.index();
    match REPORTER.compare_exchange(NONE, index, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        Err(reporter) if reporter == index => crashed_again(what, frame),
        Err(_) => {
            // Another CPU is reporting, and shows where this one is.
            me.seen_rip.store(frame.map_or(panic as *const () as u64, |frame| frame.rip), Ordering::Release);
            me.set_state(State::Stopped);
            irq::halt_forever();
        }
    }
    stop_others(&me);
    console::force();
    println!();
    println!("*** crash on cpu {}: {what}", me.cpu);
    if let Some(frame) = frame {
        println!("at  {}", Place(frame.rip));
        println!("{frame}");
        if frame.vector as u8 == vectors::PAGE_FAULT
            && let Some(finding) = machine::HEAP.explain_fault(fault_address())
        {
            println!("{}", debug::Report(&finding));
        }
    }
    println!("backtrace:");
    print_trace(trace);
    let mut nr_others = 0;
    for other in per_cpu::all().filter(|other| other.cpu != me.cpu) {
        console::spare_screen(nr_others >= MAX_ON_SCREEN);
        report_other(other);
        nr_others += 1;
    }
    console::spare_screen(false);
    if nr_others > MAX_ON_SCREEN {
        println!("{} CPUs more than fit on a screen", nr_others - MAX_ON_SCREEN);
    }
    if let Some(plan) = stress::running() {
        println!("again with: {plan}");
    }
    println!("*** end of the report");
    qemu::exit(CRASHED)
}

/// One line for each return address, and one for many of the same in a row.
fn print_trace(trace: impl Iterator<Item = usize>) {
    let mut trace = trace.enumerate().peekable();
    while let Some((depth, address)) = trace.next() {
        // The address behind a call may already be the next function's.
        println!("{depth:4}  {}", Place(address as u64 - 1));
        let mut nr_same = 0;
        while trace.next_if(|&(_, next)| next == address).is_some() {
            nr_same += 1;
        }
        if nr_same > 0 {
            println!("      and {nr_same} times more");
        }
    }
}

fn crashed_again(what: &dyn Display, frame: Option<&TrapFrame>) -> ! {
    console::force();
    // What fails twice is the report itself: say the least that can be said, then nothing.
    if !HAS_CRASHED_AGAIN.swap(true, Ordering::Relaxed) {
        println!("*** the report crashed too: {what} at {:#x}", frame.map_or(0, |frame| frame.rip));
    }
    qemu::exit(CRASHED)
}

/// Stops every other CPU that runs the kernel. Not "all but self": a CPU still in the bootloader has no handler for an
/// NMI, would reset the machine, and take the report with it.
fn stop_others(me: &PerCpu) {
    let others = || per_cpu::all().filter(|other| other.cpu != me.cpu && other.state() == State::Online);
    let Some(apic) = machine::apic() else { return };
    for other in others() {
        // One that cannot be reached runs on; the report says so.
        let _ = apic.send_nmi(other.apic_id());
    }
    for _ in 0..MAX_TURNS {
        if others().next().is_none() {
            break;
        }
        core::hint::spin_loop();
    }
}

fn report_other(other: &PerCpu) {
    match other.state() {
        State::Stopped => println!("cpu {}: {}", other.cpu, Place(other.seen_rip.load(Ordering::Acquire))),
        state => println!("cpu {}: not stopped, {state:?}", other.cpu),
    }
}

/// Whether an address may lie on a stack of ours: the current CPU's own, or at least kernel memory. The walk reads by
/// probe, so a wrong guess costs a line and no fault.
pub fn is_stack(addr: usize) -> bool {
    per_cpu::this().has_on_stack(addr) || addr >= 0xffff_8000_0000_0000 && !image::text().contains(&addr)
}

/// A code address, with the name of the function it lies in.
pub struct Place(pub u64);

impl Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x} ", self.0)?;
        let symbols = bootinfo::try_get().and_then(|info| Symbols::new(info.kernel_file));
        match symbols.and_then(|symbols| symbols.lookup(self.0)) {
            Some(symbol) if image::text().contains(&(self.0 as usize)) => {
                write!(f, "{}+{:#x}", symbol.name, symbol.offset)
            }
            _ => f.write_str("(no symbol)"),
        }
    }
}
