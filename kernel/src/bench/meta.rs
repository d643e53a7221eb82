//! The first record: what this machine and this build are, gathered in one place.
//!
//! Called by: [`super::bench`], once in a run, before anything is measured.

use arch::apic::Mode;
use arch::tsc::{self, Source};
use kernel::fixed::Fixed;
use mm::frame::PAGE_SIZE;
use records::{Meta, VERSION};

use super::plan::Plan;
use crate::machine::HEAP;
use crate::{boot, bootinfo, machine, time, workers};

/// What is measured of the machine beyond what it tells: `None` is what nobody has measured. They come from
/// [`checks`] alone.
#[derive(Clone, Copy, Debug, Default)]
struct Checks {
    /// Another clock's word on the TSC's rate in ticks in a second, and which clock that was.
    clock: Option<(u64, &'static str)>,
    max_warp_ticks: Option<u64>,
    actual_rate_per_mille: Option<u64>,
    nr_cores: Option<u64>,
    threads_per_core: Option<u64>,
}

/// The one place where checks of the clocks and of the topology enter the record. None is made so far.
fn checks() -> Checks {
    Checks::default()
}

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

/// What reading the clock costs: twice read with nothing in between, the least of many. A reading on another CPU at the
/// same time would count, so this is asked for while the others halt.
pub(super) fn timer_ticks() -> u64 {
    const NR_READINGS: usize = 1000;
    let cost = || {
        let start = tsc::read_serialised();
        tsc::read_serialised().wrapping_sub(start)
    };
    (0..NR_READINGS).map(|_| cost()).min().unwrap_or(0)
}

/// As the records spell it.
fn source_name(source: Source) -> &'static str {
    match source {
        Source::Bootloader => "bootloader",
        Source::CpuidCrystal | Source::CpuidBaseFrequency => "cpuid",
        Source::Hypervisor => "hypervisor",
        Source::PmTimer => "pm timer",
        Source::Pit => "pit",
        Source::Hpet => "hpet",
    }
}

/// Makes the record, and hands it to `take`.
pub(super) fn with_meta<R>(plan: &Plan<'_>, take: impl FnOnce(&Meta<'_>) -> R) -> R {
    let features = boot::features();
    let info = bootinfo::get();
    let (platform, is_emulated) = platform();
    let frequency = time::frequency();
    let checks = checks();
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
        nr_cores: checks.nr_cores,
        threads_per_core: checks.threads_per_core,
        host_cpus: host_cpus(),
        memory_bytes: HEAP.frames().nr_managed() * PAGE_SIZE as u64,
        apic: machine::apic().map(|apic| if apic.mode() == Mode::X2Apic { "x2apic" } else { "xapic" }.into()),
        loader: Some(loader.as_str().trim().into()),
        clock: "tsc".into(),
        clock_hz: frequency.map_or(0, |frequency| frequency.hz),
        clock_source: frequency.map_or("unknown", |frequency| source_name(frequency.source)).into(),
        clock_check_hz: checks.clock.map(|(hz, _)| hz),
        clock_check_source: checks.clock.map(|(_, source)| source.into()),
        is_clock_invariant: features.is_some_and(|features| features.invariant_tsc.is_some()),
        max_warp_ticks: checks.max_warp_ticks,
        timer_ticks: timer_ticks(),
        actual_rate_per_mille: checks.actual_rate_per_mille,
        seed: plan.seed,
        nr_ops: plan.nr_ops,
        nr_reps: plan.nr_reps as u64,
        nr_warm_ups: plan.nr_warm_ups as u64,
        is_summary: false,
    })
}
