//! The clock: which of the machine's clocks the TSC's rate is taken from, and what is known of the TSC besides.
//!
//! | file | what it does |
//! |---|---|
//! | [`references`] | the clocks that the TSC can be measured with |
//! | [`warp`] | compares the CPUs' clocks with one another |
//! | [`rate`] | how fast the CPUs run under load |
//!
//! At boot CPUID's word, if it gives one, is held against one clock that it does not speak for, which takes 10 ms; a rate
//! that was measured in the first place is held against another clock only when somebody asks: `clock`, or a benchmark.
//! Called by: boot, the shell, the benchmark. Context: the first CPU, interrupts on or off.

mod rate;
mod references;
mod warp;

pub use references::{Reading, all as references};
pub use warp::{Warps, check as check_warps};

use arch::cpu::Features;
use arch::tsc::{self, CalibrationError, Frequency, Source};
use kernel::chaos::Chaos;
use kernel::clock_choice::{self, Belief, Wanted};

use crate::console::log;
use crate::{boot, bootinfo, chaos, per_cpu, time};

pub use rate::actual_per_mille;

/// What `tsc=` asks for, if anything that there is.
fn wanted() -> Option<Wanted> {
    bootinfo::try_get()?.cmdline().get("tsc").and_then(Wanted::parse)
}

/// What was given as `tsc=` and cannot be understood.
pub fn wrong_option() -> Option<&'static str> {
    let word = bootinfo::try_get()?.cmdline().get("tsc")?;
    Wanted::parse(word).is_none().then_some(word)
}

/// What CPUID tells, or seems to.
fn told(features: &Features) -> Option<Frequency> {
    let seeming = chaos::asked().find_map(|chaos| match chaos {
        Chaos::TscTold { hz } => Frequency::new(hz, Source::CpuidCrystal),
        _ => None,
    });
    seeming.or(features.tsc_frequency)
}

/// A first rate, before there are page tables to map a HPET with: from CPUID, else measured against the ACPI timer, else
/// against the PIT; or what `tsc=` says, if that is one of these.
///
/// # Errors
///
/// The last clock's, if no clock could tell.
pub fn init(features: &Features) -> Result<Frequency, CalibrationError> {
    let told = told(features).filter(|_| matches!(wanted(), None | Some(Wanted::Cpuid)));
    let frequency = match (wanted(), told) {
        (_, Some(told)) => told,
        (Some(Wanted::Pit), _) => references::pit().or_else(|error| references::pm_timer().unwrap_or(Err(error)))?,
        _ => references::pm_timer().and_then(Result::ok).map_or_else(references::pit, Ok)?,
    };
    time::set_frequency(frequency);
    Ok(frequency)
}

/// Settles on a rate, and says so. Once, when devices can be mapped.
pub fn settle() {
    let Some(first) = time::frequency() else { return };
    let settled = match wanted() {
        Some(Wanted::Hpet) => match references::hpet() {
            Some(Ok(measured)) => measured,
            Some(Err(error)) => {
                log!("tsc: no rate by the HPET: {error}");
                first
            }
            None => {
                log!("tsc: no rate by the HPET: there is none to be used");
                first
            }
        },
        Some(_) => first,
        None if was_told(first.source) => checked(first),
        None => first,
    };
    time::set_frequency(settled);
    if let Some(wanted) = wanted()
        && !is_as_wanted(wanted, settled.source)
    {
        log!("tsc: the clock that tsc= asks for is not here");
    }
    log!("tsc: {} kHz, by {}", settled.hz / 1000, settled.source);
}

/// CPUID's word, or a measurement that contradicts it.
fn checked(told: Frequency) -> Frequency {
    let mut clocks = references::independent();
    let Some(measured) = clocks.next() else {
        log!("tsc: no clock is here to check the rate by {} with", told.source);
        return told;
    };
    let mut second = None;
    let belief = clock_choice::believe(told.hz, measured.hz, || {
        second = clocks.next();
        second.map(|frequency| frequency.hz)
    });
    match belief {
        Belief::Told => {
            log!("tsc: {} kHz by {} agrees with CPUID", measured.hz / 1000, measured.source);
            return told;
        }
        Belief::ToldByTwo => log!("tsc: the {} is off, another clock agrees with CPUID:", measured.source),
        Belief::Measured => log!("tsc: no clock agrees with CPUID, so the measured rate is used:"),
    }
    for heard in [Some(told), Some(measured), second].into_iter().flatten() {
        log!("tsc:   {} kHz, by {}", heard.hz / 1000, heard.source);
    }
    if belief == Belief::Measured { measured } else { told }
}

/// Whether a rate was told, not measured.
fn was_told(source: Source) -> bool {
    !matches!(source, Source::PmTimer | Source::Hpet | Source::Pit)
}

fn is_as_wanted(wanted: Wanted, source: Source) -> bool {
    match wanted {
        Wanted::Cpuid => was_told(source),
        Wanted::PmTimer => source == Source::PmTimer,
        Wanted::Hpet => source == Source::Hpet,
        Wanted::Pit => source == Source::Pit,
    }
}

/// A source, in the words of the records of a benchmark.
pub fn source_name(source: Source) -> &'static str {
    match source {
        Source::Bootloader => "bootloader",
        Source::CpuidCrystal | Source::CpuidBaseFrequency | Source::Hypervisor => "cpuid",
        Source::PmTimer => "pm timer",
        Source::Hpet => "hpet",
        Source::Pit => "pit",
    }
}

/// What reading the clock costs: two readings with nothing in between, the least of many, in ticks.
pub fn read_cost() -> u64 {
    const NR_PAIRS: u32 = 1000;
    let pair = |_| {
        let start = tsc::read_serialised();
        tsc::read_serialised().wrapping_sub(start)
    };
    (0..NR_PAIRS).map(pair).min().unwrap_or(0)
}

/// What the first record of a benchmark says of cores and clock, in the fields of the same names there.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Cores among the CPUs that are online.
    pub nr_cores: Option<u64>,
    /// The most of these CPUs that one core has.
    pub threads_per_core: Option<u64>,
    /// Ticks of the TSC in a second.
    pub clock_hz: u64,
    /// Who says so.
    pub clock_source: &'static str,
    /// What another clock measured, just now.
    pub clock_check_hz: Option<u64>,
    /// Which.
    pub clock_check_source: Option<&'static str>,
    /// The TSC's rate does not change with the CPU's.
    pub is_clock_invariant: bool,
    /// The most that one CPU's clock was seen behind another's; `None` on one CPU, or after Ctrl-C.
    pub max_warp_ticks: Option<u64>,
    /// What reading it costs.
    pub timer_ticks: u64,
    /// Rate of the slowest CPU while all are busy, in thousandths of the nominal one, where CPUs tell.
    pub actual_rate_per_mille: Option<u64>,
}

/// Cores and threads among the CPUs that are online, where CPUID tells.
pub fn cores() -> Option<arch::cpu::Cores> {
    let ids = per_cpu::all().filter(|area| area.state() == per_cpu::State::Online).map(|area| area.apic_id());
    let mut known = [0; smp::MAX_CPUS];
    let nr_known = known.iter_mut().zip(ids).map(|(place, id)| *place = id).count();
    boot::features()?.topology.cores(known[..nr_known].iter().copied())
}

/// Measures and compares, on all CPUs: takes 20 ms, and for each pair of CPUs up to 20 more. `None` without a clock.
///
/// Context: the shell, interrupts on, no other work on the CPUs.
pub fn facts() -> Option<Facts> {
    let frequency = time::frequency()?;
    let check = references::independent().find(|check| check.source != frequency.source);
    let cores = cores();
    Some(Facts {
        nr_cores: cores.map(|cores| cores.nr_cores as u64),
        threads_per_core: cores.map(|cores| cores.threads_per_core as u64),
        clock_hz: frequency.hz,
        clock_source: source_name(frequency.source),
        clock_check_hz: check.map(|check| check.hz),
        clock_check_source: check.map(|check| source_name(check.source)),
        is_clock_invariant: boot::features().is_some_and(|features| features.invariant_tsc.is_some()),
        max_warp_ticks: warp::check().map(|warps| warps.max_warp_ticks),
        timer_ticks: read_cost(),
        actual_rate_per_mille: rate::actual_per_mille().map(|(lowest, _)| lowest),
    })
}
