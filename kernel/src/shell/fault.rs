//! `fault`: crashes on purpose, to see the report. Those that take several CPUs are in [`together`].

mod together;

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use arch::fault as faults;
use kernel::args::{ArgError, Args};
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use smp::CpuSet;

use super::{Command, Status};
use crate::console::println;
use crate::machine::{CALLS, Cpu, HEAP};
use crate::{debug, image, per_cpu};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "fault",
    usage: "<kind>",
    help: "crash on purpose, to see the report",
    details: "Kinds: panic, read, write, text, execute, stack, opcode, divide, gp, double-free, alloc, other-cpu,\n\
              all-panic (every CPU at once), panic-among-deaf (the others keep their interrupts off), deaf (the last CPU\n\
              keeps its interrupts off for ever and the others wait for it, for 40 s unless watchdog=500ms or so is on\n\
              the kernel command line), endless-purge and endless-reclaim (a CPU never ends what one at a time does, and\n\
              others wait for their turn). The machine ends with a failing status.\n\
              Found in debugged caches only (debug=slab): redzone, use-after-free. Found with debug=guard:N only:\n\
              guard-overrun, guard-use-after-free.",
    run: fault,
}];

/// Name, and what it does.
pub const KINDS: [(&str, fn()); 21] = [
    ("panic", || panic!("asked for by `fault panic`")),
    ("read", || read(0x10)),
    ("write", || write(0x10)),
    ("text", || write(image::text().start)),
    ("execute", execute_data),
    ("stack", || _ = overflow(0)),
    ("opcode", faults::undefined_opcode),
    ("divide", faults::divide_by_zero),
    ("gp", || read(0x0123_4567_89ab_cdef)),
    ("double-free", double_free),
    ("alloc", || alloc::alloc::handle_alloc_error(Layout::new::<[u8; 64]>())),
    ("other-cpu", on_other_cpu),
    ("all-panic", together::all_panic),
    ("panic-among-deaf", together::panic_among_deaf),
    ("deaf", together::deaf),
    ("endless-purge", together::endless_purge),
    ("endless-reclaim", together::endless_reclaim),
    ("redzone", write_past),
    ("use-after-free", write_after_free),
    ("guard-overrun", read_past_guarded),
    ("guard-use-after-free", read_guarded_after_free),
];

fn read(addr: usize) {
    // SAFETY: not safe: nothing can be read there, which is the fault.
    unsafe { ptr::read_volatile(addr as *const u8) };
}

fn write(addr: usize) {
    // SAFETY: not safe: nothing can be written there, which is the fault.
    unsafe { ptr::write_volatile(addr as *mut u8, 1) };
}

fn fault<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let kind = args.required("a kind of fault")?;
    args.finish(usage)?;
    let Some((_, crash)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        println!("fault: `{kind}` is no kind of fault; `help fault` lists them");
        return Ok(Status::Usage);
    };
    let nr_found = debug::nr_findings();
    crash();
    if debug::nr_findings() > nr_found {
        println!("fault: found, and the kernel goes on");
        return Ok(Status::Ok);
    }
    println!("fault: the fault did not come");
    Ok(Status::Failed)
}

fn execute_data() {
    static CODE: [u8; 16] = [0xc3; 16];
    // SAFETY: not safe: constants are mapped no-execute, which is what this shows.
    let function = unsafe { core::mem::transmute::<*const u8, extern "C" fn()>(CODE.as_ptr()) };
    function();
}

/// Recurses until the guard page below the stack is hit.
#[expect(unconditional_recursion, reason = "that is the fault")]
fn overflow(depth: u64) -> u64 {
    let page = [depth; 64];
    core::hint::black_box(&page);
    overflow(depth + 1) + page[(depth % 64) as usize]
}

/// Prints what a free came to.
fn tell(free: &str, came_to: Result<(), Error>) {
    match came_to {
        Ok(()) => println!("{free}: done"),
        Err(error) => println!("{free}: refused, {error}"),
    }
}

/// What `redzone` and `use-after-free` ask for: not quite all of what its class has.
const SLACK: Layout = Layout::new::<[u8; 61]>();

/// Writes one byte past what it asked for.
#[inline(never)]
fn write_past() {
    if let Ok(object) = HEAP.alloc(SLACK) {
        // SAFETY: not safe: the byte is not the caller's, which is the fault. It is nobody else's either.
        unsafe {
            object.add(SLACK.size()).write_volatile(0x77);
            tell("free", HEAP.dealloc(object, SLACK));
        }
    }
}

/// Writes to an object that it has freed, and allocates another.
#[inline(never)]
fn write_after_free() {
    if let Ok(object) = HEAP.alloc(SLACK) {
        // SAFETY: not safe: the write is the fault. Nobody allocates in between.
        unsafe {
            tell("free", HEAP.dealloc(object, SLACK));
            object.add(50).write_volatile(0x77);
        }
        if let Ok(next) = HEAP.alloc(SLACK) {
            // SAFETY: not used any more.
            tell(if next == object { "free of the same again" } else { "free of another" }, unsafe {
                HEAP.dealloc(next, SLACK)
            });
        }
    }
}

/// Allocates until an object is a guarded one that ends where its page ends; the others go back.
#[inline(never)]
fn guarded() -> Option<NonNull<u8>> {
    const SIZE: usize = 64;
    const MAX_TRIES: usize = 4096;
    let mut others = alloc::vec::Vec::new();
    others.try_reserve(MAX_TRIES).ok()?;
    let mut found = None;
    while found.is_none() && others.len() < MAX_TRIES {
        let object = HEAP.malloc(SIZE).ok()?;
        let is_right = HEAP.is_guarded(object) && (object.addr().get() + SIZE).is_multiple_of(PAGE_SIZE);
        if is_right { found = Some(object) } else { others.push(object) }
    }
    for other in others {
        // SAFETY: not used any more.
        let freed = unsafe { HEAP.free(other) };
        assert!(freed.is_ok(), "{other:p}: {freed:?}");
    }
    found
}

#[inline(never)]
fn read_past_guarded() {
    if let Some(object) = guarded() {
        read(object.addr().get() + 64);
    }
}

#[inline(never)]
fn read_guarded_after_free() {
    if let Some(object) = guarded() {
        // SAFETY: not safe: it is used after, which is the fault.
        tell("free", unsafe { HEAP.free(object) });
        read(object.addr().get() + 8);
    }
}

#[inline(never)]
fn double_free() {
    if let Ok(object) = HEAP.malloc(64) {
        // SAFETY: not safe: the second free is the fault.
        unsafe {
            tell("first free", HEAP.free(object));
            tell("second free", HEAP.free(object));
        }
        HEAP.drain_this_cpu();
    }
}

fn on_other_cpu() {
    let me = per_cpu::this().cpu;
    match per_cpu::all().find(|area| area.cpu != me) {
        Some(area) => {
            let called = CALLS.call(&Cpu, &CpuSet::of(area.cpu), &|cpu| panic!("asked for on cpu {cpu}"));
            println!("fault: {called:?}");
        }
        None => println!("fault: there is no other CPU"),
    }
}
