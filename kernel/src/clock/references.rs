//! The clocks that the TSC can be measured with, in the order in which they are believed.
//!
//! A measurement takes 10 ms on a quiet machine; see `arch::tsc::calibrate`. A PIT that stands still, as on boards without
//! one, takes up to a second to be given up.

use core::ptr::NonNull;

use arch::tsc::{self, CalibrationError, Frequency, HPET_BYTES, HpetCounter, Pit, PmTimer, Source};
use spin::Once;

use crate::console::log;
use crate::{devices, space};

/// What became of a measurement: `None` where the clock does not exist.
pub type Measured = Option<Result<Frequency, CalibrationError>>;

/// One clock, and what it measured.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Which.
    pub source: Source,
    /// What it measured.
    pub measured: Measured,
}

/// All clocks, measured one after the other.
pub fn all() -> impl Iterator<Item = Reading> {
    let clocks: [(Source, fn() -> Measured); 3] =
        [(Source::PmTimer, pm_timer), (Source::Hpet, hpet), (Source::Pit, || Some(pit()))];
    clocks.into_iter().map(|(source, measure)| Reading { source, measured: measure() })
}

/// Measurements that succeed, each made when it is asked for.
pub fn independent() -> impl Iterator<Item = Frequency> {
    all().filter_map(|reading| reading.measured?.ok())
}

/// By the ACPI PM timer.
pub fn pm_timer() -> Measured {
    let port = devices::get()?.pm_timer_port?;
    // SAFETY: the port is what the FADT says.
    Some(tsc::calibrate(&mut unsafe { PmTimer::new(port) }, tsc::read))
}

/// By the PIT, which every PC is taken to have.
///
/// # Errors
///
/// [`CalibrationError`]
pub fn pit() -> Result<Frequency, CalibrationError> {
    // SAFETY: nobody else in this kernel touches channel 2 or the speaker.
    tsc::calibrate(&mut unsafe { Pit::start() }, tsc::read)
}

/// By the HPET. Needs the kernel's own page tables.
pub fn hpet() -> Measured {
    /// Address of the registers, mapped for good at the first use.
    static BASE: Once<Option<usize>> = Once::new();
    let phys = devices::get()?.hpet_phys?;
    let base = *BASE.call_once(|| {
        let mapped = space::map_device(phys, HPET_BYTES);
        mapped.inspect_err(|error| log!("hpet: cannot be mapped: {error}")).ok().map(|base| base as usize)
    });
    let base = NonNull::new(core::ptr::with_exposed_provenance_mut(base?))?;
    // SAFETY: where ACPI says that the registers are, mapped uncached for good; nobody else in this kernel uses them.
    match unsafe { HpetCounter::start(base) } {
        Ok(mut counter) => Some(tsc::calibrate(&mut counter, tsc::read)),
        Err(period) => {
            log!("hpet: {period}");
            None
        }
    }
}
