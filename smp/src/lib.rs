//! Bandolier's multiprocessor protocols: who the CPUs are, how one makes the others forget a translation, run a
//! function or start a job, and how several meet.
//!
//! # Principles
//!
//! 1. **The protocol that is model-checked is the protocol that boots.** Nothing here names hardware: what a protocol
//!    needs from the machine is the [`Hardware`] trait, which the kernel fills in with one glue file and the tests with
//!    a machine made of arrays. Atomics come from `sync` alone, so the same source runs in the kernel, under
//!    `cargo test`, under Miri, under loom (`--cfg loom`, which explores every interleaving and every stale value the
//!    memory model allows) and under shuttle (`--cfg shuttle`, random schedules of more CPUs).
//! 2. **An acknowledgement is a state, not an event.** The local APIC remembers one request for each vector, however
//!    many were sent; so nobody counts interrupts. A CPU publishes how far it has come, and whoever waits reads that.
//! 3. **One writer.** Progress, presence and counters are written by the CPU they belong to, on a line of its own.
//!    What others must write (the `pending` flag of a shootdown, the mailbox of a cross-call) is said where it is.
//! 4. **No locks, no heap.** There is no lock order because there is no lock: everything here may be called with any
//!    lock of the kernel held or not, and with interrupts on or off. Callers still hold no ranked lock while they wait
//!    for other CPUs. Nothing here may be called from an NMI handler.
//! 5. **Whoever waits, serves.** Two CPUs that wait for each other with interrupts off would never finish, so every
//!    wait loop looks after its own CPU's requests, and [`Hardware::relax`] lets the kernel serve the rest.
//! 6. **A CPU that never answers is named.** Waits that depend on another CPU's interrupt handler are bounded by
//!    [`watchdog`]: ask again, then have it dumped, then stop the machine with its number.
//!
//! # Modules
//!
//! | module | what it holds |
//! |---|---|
//! | [`cpu`] | [`CpuId`], a dense validated index; [`Pinned`], the proof of where this code runs |
//! | [`cpu_set`] | [`CpuSet`] and [`AtomicCpuSet`] |
//! | [`per_cpu`] | [`PerCpu`], one padded slot for each CPU |
//! | [`hardware`] | the [`Hardware`] trait |
//! | [`shootdown`] | [`Shootdown`]: TLB shootdown by generations |
//! | [`shorthand`] | [`Shorthand`]: when one interrupt to all but self will do |
//! | [`cross_call`] | [`CrossCall`]: run a function on other CPUs, now, in their interrupt handler |
//! | [`work`] | [`WorkSlots`]: give an idle CPU a long job |
//! | [`barrier`] | [`Barrier`]: a reusable meeting of n CPUs |
//! | [`clock_skew`] | [`clock_skew::Exchange`]: how far apart two CPUs' clocks are |
//! | [`watchdog`] | deadlines on wrapping clocks, and the report that names who is late |

#![cfg_attr(not(any(test, loom, shuttle, feature = "count-atomics")), no_std)]

#[macro_use]
#[doc(hidden)]
pub mod sync;
#[doc(hidden)]
pub mod mutant;

pub mod barrier;
pub mod clock_skew;
pub mod cpu;
pub mod cpu_set;
pub mod cross_call;
pub mod hardware;
pub mod per_cpu;
mod poll;
pub mod shootdown;
pub mod shorthand;
pub mod watchdog;
pub mod work;

pub use barrier::Barrier;
pub use cpu::{CpuId, MAX_CPUS, Pinned};
pub use cpu_set::{AtomicCpuSet, CpuSet};
pub use cross_call::{CallError, CrossCall};
pub use hardware::{Broadcast, Hardware, IpiKind};
pub use per_cpu::PerCpu;
pub use shootdown::{PageRange, Round, Shootdown};
pub use shorthand::Shorthand;
pub use watchdog::LateReport;
pub use work::{StartError, WorkSlots};
