//! The faults that the kernel command line asks for. What each is for: `kernel::chaos`.

use arch::control;
use kernel::chaos::{Chaos, Vain};
use kernel::words::key_value;
use smp::CpuId;

use crate::per_cpu::{self, State};
use crate::{boot, bootinfo};

/// The words behind each `chaos=`, as they stand and understood.
fn words() -> impl Iterator<Item = (&'static str, Option<Chaos>)> {
    let cmdline = bootinfo::try_get().map(|info| info.cmdline());
    cmdline.into_iter().flat_map(|cmdline| {
        let pairs = cmdline.options().filter_map(key_value).filter(|(key, _)| *key == "chaos");
        pairs.map(|(_, value)| (value, Chaos::parse(value)))
    })
}

/// The faults that are asked for.
pub fn asked() -> impl Iterator<Item = Chaos> {
    words().filter_map(|(_, chaos)| chaos)
}

/// What was given as `chaos=` and cannot be understood.
pub fn wrong() -> impl Iterator<Item = &'static str> {
    words().filter(|(_, chaos)| chaos.is_none()).map(|(word, _)| word)
}

/// What was given as `chaos=` and changes nothing on this machine, and why. Once the CPUs have been started.
pub fn in_vain() -> impl Iterator<Item = (&'static str, Vain)> {
    words().filter_map(|(word, chaos)| Some((word, why_in_vain(&chaos?)?)))
}

/// Why a fault changes nothing on this machine, if it does not. Once the CPUs have been started.
pub fn why_in_vain(chaos: &Chaos) -> Option<Vain> {
    let area = |cpu: u64| usize::try_from(cpu).ok().and_then(CpuId::new).and_then(per_cpu::of);
    chaos.in_vain(|cpu| area(cpu).is_some_and(|area| area.state() != State::Failed))
}

/// Changes a harmless bit of this CPU's registers, if that is asked for. Before they are compared with the first CPU's.
pub fn disturb_this_cpu() {
    let me = per_cpu::this().cpu.index() as u64;
    for chaos in asked() {
        if let (Chaos::Parity { cpu, register }, Some(features)) = (chaos, boot::features())
            && cpu == me
        {
            control::disturb_this_cpu(features, register);
        }
    }
}
