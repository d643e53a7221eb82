//! The boot path, top to bottom: from what QEMU hands over to the kernel's first instruction.
//!
//! One processor runs all of this, with interrupts off, on identity-mapped memory below 4 GiB. The other processors
//! start in `mp` while the boot processor goes on, and wait there for the kernel.

mod address_space;
mod answers;
mod apic;
mod clock;
mod cpu;
mod entry;
mod fail;
mod files;
mod handover;
mod irq_lines;
mod kernel;
mod mp;
mod mtrr;
mod park;
mod physical;
mod serial;
mod start_info;
mod store;
mod trampoline;
mod traps;

use loader::acpi::Rsdp;
use loader::lies::Lie;

use self::fail::Refusal;
use self::handover::Handover;

/// Called once by the entry stub, in 64-bit mode, with the address of the PVH start info.
extern "C" fn boot_processor(start_info: u32) -> ! {
    match boot(start_info.into()) {
        Ok(handover) => handover.enter(),
        Err(refusal) => fail::refuse(&refusal),
    }
}

fn boot(start_info: u64) -> Result<Handover, Refusal> {
    let cpu = cpu::detect()?;
    cpu.init_this_cpu(); // no-execute, write protection, cache types as the protocol wants them
    traps::init();
    traps::init_this_cpu(); // from here on a fault prints instead of resetting

    let start = start_info::read(start_info)?;
    let mut store = store::Store::new(start.memory_map()?);
    let cmdline = store.string(start.cmdline.iter().copied())?;
    let files = files::unpack(&start, &mut store)?; // kernel first, each on pages of its own
    let mut kernel = kernel::load(files.kernel(), &mut store)?; // segments, relocations, requests

    let rsdp = Rsdp::at(&physical::Identity, start.rsdp).or_else(|| Rsdp::search(&physical::Identity));
    let rsdp = rsdp.ok_or(Refusal::NoRsdp)?;
    irq_lines::mask_all(&rsdp);

    let stack_bytes = answers::stack_bytes(&kernel)?;
    let lie = Lie::asked(start.cmdline); // for tests of kernels: what to say of the processors that is not so
    let processors = mp::start(&kernel, &cpu, &rsdp, stack_bytes, lie, &mut store)?; // they come up from here on
    let mut answers = answers::Answers { kernel: &mut kernel, store: &mut store };
    answers.about_the_machine(&rsdp)?;
    answers.about_the_kernel(cmdline)?;
    answers.about_files(&files, cmdline)?;
    let entry = answers.entry_point()?;

    let stack_top = store.pages(stack_bytes, loader::memory::Kind::Reclaimable)? + stack_bytes;
    let root = address_space::build(&kernel, &cpu, &mut store)?;
    let mut answers = answers::Answers { kernel: &mut kernel, store: &mut store };
    answers.about_processors(processors.wait())?;
    answers.about_memory()?; // last: nothing is taken from memory after this
    park::open(root);
    Ok(Handover { entry, stack_top, root, argument: 0 })
}
