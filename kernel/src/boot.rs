//! The boot path, top-down: what the first CPU does, and the subset that every other does.
//!
//! What a step has to tell it logs, with its time. One that cannot go on says why and ends QEMU with a failing status.
//! The two functions at the top are the path; what follows them are the steps that are no other file's.

use core::fmt::Display;

use arch::apic::{self, LocalApic, Mode};
use arch::control::{self, ControlState};
use arch::cpu::Features;
use arch::gdt::{DescriptorTables, InterruptStacks};
use arch::{entry, irq, qemu, traps as arch_traps};
use spin::Once;

use crate::bootinfo::BootInfo;
use crate::console::{self, log, println};
use crate::machine::{self, CALLS, Cpu, HEAP, SHOOTDOWNS, WORK};
use crate::per_cpu::{self, PerCpu, State};
use crate::stacks::{Stack, Stacks};
use crate::{chaos, clock, devices, idle, input, others, reclaim, shell, space, time, traps};

/// Exit value for a kernel that cannot boot: QEMU's status is 39.
const BAD_BOOT: u8 = 0x13;

static FEATURES: Once<Features> = Once::new();
/// The first CPU's control registers, which every other's must equal.
static CONTROL: Once<ControlState> = Once::new();

arch::first_cpu_entry!(_start => first_cpu);

/// The first CPU, on the bootloader's stack and page tables.
extern "C" fn first_cpu() -> ! {
    time::note_entry();
    console::init(); //                           so that everything below can speak
    println!("bandolier: entry");
    let features = FEATURES.call_once(Features::detect); // proofs: x2APIC or not, 1 GiB pages, no-execute
    init_control_this_cpu(features); //           write protection, SMEP, SMAP, UMIP where there are
    per_cpu::init_first_cpu(features.apic_id); // GS base: from here on this CPU has magazines
    early_traps(); //                             from here on a fault prints instead of resetting
    let info = or_stop(BootInfo::take()); //      copies of all that the bootloader says
    devices::find(info); //                       what ACPI says, read through the bootloader's mapping
    or_stop(clock::init(features)); //            how fast the TSC ticks
    reclaim::init_memory(info); //                every usable frame into the bitmap; the heap works after this
    console::keep_scrollback(); //                the one time that the screen takes memory
    or_stop(space::init(info, features)); //      our own page tables: W^X, large direct map
    let apic = or_stop(find_apic(features)); //   x2APIC or xAPIC, as we found it
    machine::set_apic(apic);
    let own = or_stop(Equipment::for_first_cpu()); // guarded stacks; the bootloader's stack is left here
    // SAFETY: a stack of this CPU's own, mapped and unused; nothing on the old one is needed.
    unsafe { entry::call_on_stack(own.stacks.main.top, first_cpu_on_own_stack, (&raw const own).cast_mut().cast()) }
}

/// The first CPU, on its own stack and page tables.
extern "C" fn first_cpu_on_own_stack(equipment: *mut ()) -> ! {
    // SAFETY: `first_cpu` passes its own; its frame lies in memory that is not reclaimed before this copy.
    let own = unsafe { *equipment.cast::<Equipment>() };
    join_this_cpu(&own); //                    descriptor tables, traps, APIC, shootdowns, calls
    log_machine();
    if let Some(apic) = machine::apic() {
        input::init_keyboard(); //             before its interrupt is routed; none is no error
        devices::get().inspect(|devices| devices.route_console(apic)); // console input by interrupt
    }
    // SAFETY: traps are loaded, no lock is held.
    unsafe { irq::enable() };
    let departure = others::start(crate::bootinfo::get()); // every other CPU runs `other_cpu` below
    reclaim::reclaim(crate::bootinfo::get(), departure); //  the bootloader's memory, if nobody is there any more
    shell::run()
}

/// Every other CPU, on its own stack and the kernel's page tables.
pub extern "C" fn other_cpu(equipment: *mut ()) -> ! {
    // SAFETY: `others::start` passes the CPU's, in memory that stays for good.
    let own = unsafe { *equipment.cast::<Equipment>() };
    init_control_this_cpu(FEATURES.get().expect("the first CPU has found them"));
    chaos::disturb_this_cpu();
    join_this_cpu(&own);
    // SAFETY: traps are loaded, no lock is held.
    unsafe { irq::enable() };
    idle::park()
}

/// What every CPU does to become one of the kernel's, interrupts off.
fn join_this_cpu(own: &Equipment) {
    let me = per_cpu::this();
    me.set_stack(own.stacks.main);
    load_tables(own.tables);
    let apic = machine::apic().expect("set up before any CPU joins");
    apic.init_this_cpu();
    assert!(apic.id() == me.apic_id(), "cpu {} has APIC id {}, not {}", me.cpu, apic.id(), me.apic_id());
    check_parity(&me);
    HEAP.add_cpu(me.cpu.index(), me.bank());
    CALLS.join(&Cpu); //                          before the next: who is online can be called
    SHOOTDOWNS.join(&Cpu); //                     publish, then flush everything once
    WORK.open(&Cpu);
    me.set_state(State::Online);
}

/// What the first CPU can do, and who it says it is; `None` before it has looked.
pub fn features() -> Option<&'static Features> {
    FEATURES.get()
}

fn init_control_this_cpu(features: &Features) {
    // SAFETY: all CPUs are taken to be alike (and checked in `check_parity`); the kernel writes no read-only memory, has
    // no user pages, and is built without floating point.
    unsafe { control::init_this_cpu(features) };
}

/// Traps before there is memory for guarded stacks.
fn early_traps() {
    static mut STACKS: [[u128; 1024]; 3] = [[0; 1024]; 3];
    arch_traps::init(traps::handle, traps::SHOOTDOWN_ENTRY);
    static TABLES: Once<DescriptorTables> = Once::new();
    let first = &raw mut STACKS as usize;
    load_tables(TABLES.call_once(|| new_tables([1, 2, 3].map(|nth| first + nth * size_of::<[u128; 1024]>()))));
}

/// Makes this CPU use `tables`, and the interrupt table.
fn load_tables(tables: &'static DescriptorTables) {
    // SAFETY: the stacks are mapped and this CPU's alone; the tables are new, and loaded here only.
    let loaded = unsafe { tables.load() };
    arch_traps::load_this_cpu(&loaded);
}

/// Descriptor tables with these stacks, given by their tops.
fn new_tables([double_fault_top, nmi_top, machine_check_top]: [usize; 3]) -> DescriptorTables {
    DescriptorTables::new(InterruptStacks { double_fault_top, nmi_top, machine_check_top })
}

/// What a CPU needs of its own to run the kernel. Made before it is told to come, so that its coming cannot fail.
#[derive(Clone, Copy)]
pub struct Equipment {
    /// Its stacks.
    pub stacks: Stacks,
    tables: &'static DescriptorTables,
}

impl Equipment {
    /// For one CPU.
    ///
    /// # Errors
    ///
    /// [`mm::error::Error::OutOfMemory`].
    pub fn new() -> Result<Self, mm::error::Error> {
        Self::with_stacks(Stacks::new()?)
    }

    /// For the first CPU.
    fn for_first_cpu() -> Result<Self, mm::error::Error> {
        Self::with_stacks(Stacks::for_first_cpu()?)
    }

    fn with_stacks(stacks: Stacks) -> Result<Self, mm::error::Error> {
        Ok(Self { stacks, tables: others::keep(new_tables(stacks.traps.map(|Stack { top, .. }| top)))? })
    }
}

/// The local APIC in the mode that the bootloader left it in.
fn find_apic(features: &Features) -> Result<LocalApic, ApicError> {
    if features.local_apic.is_none() {
        return Err(ApicError::None);
    }
    match (apic::mode(), features.x2apic) {
        (Mode::X2Apic, Some(proof)) => LocalApic::new_x2apic(proof).map_err(ApicError::Mode),
        (Mode::XApic, _) => {
            let base = space::map_device(apic::base_phys(), mm::frame::PAGE_SIZE).map_err(ApicError::Memory)?;
            // SAFETY: the registers of the local APIC, mapped uncached for good in the tables that all CPUs use.
            unsafe { LocalApic::new_xapic(base.cast()) }.map_err(ApicError::Mode)
        }
        (mode, _) => Err(ApicError::Unusable { mode }),
    }
}

enum ApicError {
    None,
    Mode(apic::WrongMode),
    Memory(mm::error::Error),
    Unusable { mode: Mode },
}

impl Display for ApicError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::None => f.write_str("this CPU has no local APIC, so there are no interrupts between CPUs"),
            Self::Mode(wrong) => write!(f, "{wrong}"),
            Self::Memory(error) => write!(f, "the local APIC cannot be mapped: {error}"),
            Self::Unusable { mode } => {
                write!(f, "the local APIC is in the mode {mode}, which this CPU cannot be used in")
            }
        }
    }
}

/// Every CPU must run with the first one's control registers: a CPU with other rights or memory types would break what
/// the others rely on.
fn check_parity(me: &PerCpu) {
    let mine = ControlState::read(FEATURES.get().expect("found first thing"));
    let first = CONTROL.call_once(|| mine);
    if let Some(difference) = first.differences(&mine).next() {
        panic!("cpu {} differs from cpu 0: {difference}", me.cpu);
    }
}

fn log_machine() {
    let features = FEATURES.get().expect("found first thing");
    let info = crate::bootinfo::get();
    let mode = machine::apic().map_or("no APIC", |apic| if apic.mode() == Mode::X2Apic { "x2APIC" } else { "xAPIC" });
    log!("cpu: {} ({mode})", features.brand.as_str().trim());
    log!("hypervisor: {}", features.hypervisor.as_ref().map_or("none", |name| name.as_str()));
    log!("bootloader: {} {}", info.bootloader.0.as_str(), info.bootloader.1.as_str());
    clock::settle();
    if info.nr_modules_dropped > 0 {
        log!("modules: {} of them found no place and cannot be named", info.nr_modules_dropped);
    }
    if info.nr_regions_dropped > 0 {
        log!("memory: {} entries of the memory map found no place and are left unused", info.nr_regions_dropped);
    }
}

/// Stops the boot with the reason, unless all is well.
pub fn or_stop<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| {
        println!("bandolier: cannot boot: {error}");
        console::refresh();
        qemu::exit(BAD_BOOT)
    })
}
