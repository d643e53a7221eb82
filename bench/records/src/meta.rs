//! The first record: what ran, where, and how.

use crate::record::{Text, record};

record! {
    /// What ran, where, and how. Two recordings can be compared if what is said here of machine and settings agrees.
    "bench-meta" => Meta<'a> {
        /// Version of this format.
        version: u64,
        /// `kernel`: measured by the kernel's `bench`, in one boot. `native`: `mm` and its peers as a program on a host.
        source: Text<'a>,
        /// What measured, with its version.
        program: Text<'a>,
        /// Revision of the source it was built from, with `-dirty` behind it if that was changed.
        revision: Option<Text<'a>>,
        /// `release` or `debug`.
        profile: Text<'a>,
        /// The command that makes this recording again.
        command: Text<'a>,
        /// When it was made, in seconds of Unix time.
        unix_s: Option<u64>,
        /// The CPU's name for itself.
        cpu: Text<'a>,
        /// The hypervisor or emulator below, by its own name; `bare metal` where there is none.
        platform: Text<'a>,
        /// Times mean nothing beyond this recording: instructions were emulated.
        is_emulated: bool,
        /// CPUs that could take part.
        nr_cpus: u64,
        /// Cores with a CPU of their own among them, where the machine tells.
        nr_cores: Option<u64>,
        /// Threads of a core, where the machine tells; 1 is without SMT.
        threads_per_core: Option<u64>,
        /// CPUs that the host under an emulator can run at a time: beyond them a run measures the host's scheduler.
        host_cpus: Option<u64>,
        /// Memory that could be allocated.
        memory_bytes: u64,
        /// `x2apic` or `xapic`.
        apic: Option<Text<'a>>,
        /// The bootloader and its version.
        loader: Option<Text<'a>>,
        /// What counts ticks: `tsc`, or `thread CPU time`.
        clock: Text<'a>,
        /// Ticks in a second.
        clock_hz: u64,
        /// How that is known: `cpuid`, `pm timer`, `hpet`, `pit`, or `defined`.
        clock_source: Text<'a>,
        /// What another clock measured instead, in ticks in a second.
        clock_check_hz: Option<u64>,
        /// Which one that was.
        clock_check_source: Option<Text<'a>>,
        /// The clock's rate does not change with the CPU's.
        is_clock_invariant: bool,
        /// Most that one CPU's clock was seen behind another's.
        max_warp_ticks: Option<u64>,
        /// What reading the clock costs, twice read with nothing in between: the least of many.
        timer_ticks: u64,
        /// The CPU's actual rate under load, in thousandths of its nominal one (APERF over MPERF).
        actual_rate_per_mille: Option<u64>,
        /// What all random choices follow from.
        seed: u64,
        /// Operations of each CPU in a repetition; `null` where it differs by workload and contender, and
        /// rows tell.
        nr_ops: Option<u64>,
        /// Measured repetitions.
        nr_reps: u64,
        /// Repetitions before, which are not measured.
        nr_warm_ups: u64,
        /// Lists hold the three quartiles instead of all repetitions: what fits where room is short.
        is_summary: bool,
    }
}
