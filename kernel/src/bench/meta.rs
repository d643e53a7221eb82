//! The first record: what this machine and this build are, gathered in one place.
//!
//! Called by: [`super::bench`], once in a run, before anything is measured.

use arch::apic::Mode;
use kernel::fixed::Fixed;
use mm::frame::PAGE_SIZE;
use records::{Meta, VERSION};

use super::plan::Plan;
use crate::machine::HEAP;
use crate::{boot, bootinfo, clock, machine, workers};

/// CPUs that the host under an emulator can run at a time, as whoever started it says: the option `host-cpus=N`.
pub(super) fn host_cpus() -> Option<u64> {
    let words = bootinfo::get().cmdline().get("host-cpus")?;
    kernel::units::number(words).ok().filter(|&number| number > 0)
}

/// The accelerator or hypervisor by its own name, and whether it emulates instructions.
pub(super) fn platform() -> (&'static str, bool) {
    let hypervisor = boot::features().and_then(|features| features.hypervisor.as_ref());
    let name = hypervisor.map_or("bare metal", |name| name.as_str().trim());
    (name, name.contains("TCG"))
}

/// Makes the record, and hands it to `take`.
pub(super) fn with_meta<R>(plan: &Plan<'_>, take: impl FnOnce(&Meta<'_>) -> R) -> R {
    let features = boot::features();
    let info = bootinfo::get();
    let (platform, is_emulated) = platform();
    // On all CPUs: some ten milliseconds, and up to twenty for each pair of them.
    let facts = clock::facts();
    let program = concat!("Bandolier ", env!("CARGO_PKG_VERSION"));
    let command = Fixed::<256>::of(format_args!("bench {}", plan.words.trim()));
    let loader = Fixed::<128>::of(format_args!("{} {}", info.bootloader.0.as_str(), info.bootloader.1.as_str()));
    take(&Meta {
        version: VERSION,
        source: "kernel".into(),
        program: program.into(),
        // Set by tools/build.sh.
        revision: option_env!("BANDOLIER_REVISION").filter(|revision| !revision.is_empty()).map(Into::into),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        command: command.as_str().trim_end().into(),
        // This kernel reads no calendar.
        unix_s: None,
        cpu: features.map_or("", |features| features.brand.as_str().trim()).into(),
        platform: platform.into(),
        is_emulated,
        nr_cpus: workers::nr_available() as u64,
        nr_cores: facts.and_then(|facts| facts.nr_cores),
        threads_per_core: facts.and_then(|facts| facts.threads_per_core),
        host_cpus: host_cpus(),
        memory_bytes: HEAP.frames().nr_managed() * PAGE_SIZE as u64,
        apic: machine::apic().map(|apic| if apic.mode() == Mode::X2Apic { "x2apic" } else { "xapic" }.into()),
        loader: Some(loader.as_str().trim().into()),
        clock: "tsc".into(),
        clock_hz: facts.map_or(0, |facts| facts.clock_hz),
        clock_source: facts.map_or("unknown", |facts| facts.clock_source).into(),
        clock_check_hz: facts.and_then(|facts| facts.clock_check_hz),
        clock_check_source: facts.and_then(|facts| facts.clock_check_source).map(Into::into),
        is_clock_invariant: facts.is_some_and(|facts| facts.is_clock_invariant),
        max_warp_ticks: facts.and_then(|facts| facts.max_warp_ticks),
        timer_ticks: facts.map_or(0, |facts| facts.timer_ticks),
        actual_rate_per_mille: facts.and_then(|facts| facts.actual_rate_per_mille),
        seed: plan.seed,
        nr_ops: plan.nr_ops,
        nr_reps: plan.nr_reps as u64,
        nr_warm_ups: plan.nr_warm_ups as u64,
        is_summary: false,
    })
}
