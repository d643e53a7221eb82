//! `fault`: crashes on purpose, to see the report.

use core::ptr;

use arch::fault as faults;
use kernel::args::{ArgError, Args};
use smp::CpuSet;

use super::{Command, Status};
use crate::console::println;
use crate::machine::{CALLS, Cpu, HEAP};
use crate::{image, per_cpu};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "fault",
    usage: "<kind>",
    help: "crash on purpose, to see the report",
    details: "Kinds: panic, read, write, text, execute, stack, opcode, divide, gp, double-free, alloc, other-cpu.\n\
              The machine ends with a failing status.",
    run: fault,
}];

/// Name, and what it does.
pub const KINDS: [(&str, fn()); 12] = [
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
    ("alloc", || alloc::alloc::handle_alloc_error(core::alloc::Layout::new::<[u8; 64]>())),
    ("other-cpu", on_other_cpu),
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
    crash();
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

fn double_free() {
    if let Ok(object) = HEAP.malloc(64) {
        // SAFETY: not safe: the second free is the fault.
        unsafe {
            let first = HEAP.free(object);
            let second = HEAP.free(object);
            println!("first free: {first:?}, second: {second:?}");
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
