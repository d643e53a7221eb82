//! Everything that is x86-64, and all of the kernel's assembly.
//!
//! # Principles
//!
//! - **No instruction below this crate, no policy inside it.** A function here does one thing the machine can do; when
//!   to do it is the kernel's affair. What the crate needs from above (a trap handler, a way to read physical memory)
//!   it takes as a function pointer or a small trait, so it imports no other crate of the kernel.
//! - **A value is a proof.** A [`cpu::X2Apic`] exists only if CPUID said so, a [`gdt::Loaded`] only if this CPU runs on
//!   our segments, an [`irq::InterruptGuard`] only while interrupts are off. A function that would fault without the
//!   feature takes the proof, not a comment that asks for care.
//! - **Waiting is bounded.** A loop on hardware counts its turns and ends in an error that says what it waited for.
//! - **Firmware is not trusted.** The ACPI reader is total: no table, however malformed, makes it panic or run away.
//! - **One privilege level.** There is no user mode: GS always holds the kernel's base, no entry path swaps it, and no
//!   page is ever marked as the user's. If user mode came, the NMI, #MC and #DB entries would need care first.
//!
//! # Modules
//!
//! | module | what it is | when it runs |
//! |---|---|---|
//! | [`entry`] | the first instructions of the first and of every other CPU; changing stacks | boot |
//! | [`cpu`] | CPUID, as proofs | boot |
//! | [`control`] | CR0, CR4, EFER, PAT: one value for all CPUs, and a comparison that names what differs | each CPU |
//! | [`gdt`] | segments, task state, the stacks of double faults, NMIs and machine checks | each CPU |
//! | [`traps`] | interrupt table, naked stubs, trap frames, names of exceptions | once, each CPU, every trap |
//! | [`probe`] | reads and writes that survive a page fault | any time after traps |
//! | [`backtrace`] | walks frame pointers with `probe` | crash reports |
//! | [`irq`] | interrupts on and off, halting, fences | any time |
//! | [`gs`] | the per-CPU base | each CPU, every per-CPU access |
//! | [`apic`], [`ioapic`], [`pic`] | local APIC in both modes, I/O APIC, the legacy controllers silenced | boot, IPIs |
//! | [`paging`], [`tlb`], [`memory`], [`cache`] | page-table entries, CR3, local flushes, zeroing a page, flushing lines | any time |
//! | [`acpi`] | RSDP to MADT, FADT and HPET, read without trust | boot |
//! | [`tsc`], [`rate`] | time-stamp counter, its frequency, clocks to measure it with; the CPU's actual rate | any time |
//! | [`port`], [`serial`], [`i8042`] | port I/O, the console's UART and keyboard | any time |
//! | [`qemu`], [`reboot`] | ways out | any time |
//! | [`seed`] | a few unpredictable bits | boot |
//!
//! # What each proof means
//!
//! | value | having one tells you |
//! |---|---|
//! | [`cpu::X2Apic`] | CPUID offers x2APIC. Not that it is on: [`apic::mode`] says that |
//! | [`cpu::NoExecute`] | bit 63 of an entry is no-execute, not reserved (once `control` has set EFER.NXE) |
//! | [`cpu::Pages1GiB`] | a level-3 entry may be a leaf |
//! | [`cpu::Smep`], [`cpu::Smap`], [`cpu::Umip`] | the CR4 bit exists |
//! | [`cpu::InvariantTsc`] | the TSC ticks at one rate in all power states |
//! | [`cpu::GlobalPages`], [`cpu::Pcid`], [`cpu::Invpcid`] | the TLB feature exists; the first two are turned off |
//! | [`cache::LineFlush`] | cache lines can be flushed |
//! | [`cpu::RateCounters`] | IA32_MPERF and IA32_APERF can be read |
//! | [`cpu::FsGsBase`], [`cpu::Rdtscp`], [`cpu::Rdrand`] | the instruction exists |
//! | [`gdt::Loaded`] | this CPU runs on our GDT and TSS; interrupt gates may be loaded |
//! | [`irq::InterruptGuard`] | this CPU takes no maskable interrupt until the guard is dropped |
//! | [`apic::LocalApic`] | the APIC was in that mode when the value was made (and modes never change here) |
#![cfg_attr(not(test), no_std)]

#[cfg(not(target_arch = "x86_64"))]
compile_error!("`arch` is the x86-64 crate: build it for x86_64-unknown-none, or on an x86-64 host for its tests");

pub mod acpi;
pub mod apic;
pub mod backtrace;
pub mod cache;
pub mod control;
pub mod cpu;
pub mod entry;
pub mod fault;
pub mod gdt;
pub mod gs;
pub mod i8042;
pub mod ioapic;
pub mod irq;
pub mod memory;
mod msr;
pub mod paging;
pub mod pic;
pub mod port;
pub mod probe;
pub mod qemu;
pub mod rate;
pub mod reboot;
pub mod seed;
pub mod serial;
pub mod tlb;
pub mod traps;
pub mod tsc;
