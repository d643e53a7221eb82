//! The faults that the kernel command line asks for. What each is for: `kernel::chaos`.

use arch::control;
use kernel::chaos::Chaos;
use kernel::words::key_value;

use crate::{boot, bootinfo, per_cpu};

/// The words behind each `chaos=`, understood or as they stand.
fn words() -> impl Iterator<Item = Result<Chaos, &'static str>> {
    let cmdline = bootinfo::try_get().map(|info| info.cmdline());
    cmdline.into_iter().flat_map(|cmdline| {
        let pairs = cmdline.options().filter_map(key_value).filter(|(key, _)| *key == "chaos");
        pairs.map(|(_, value)| Chaos::parse(value).ok_or(value))
    })
}

/// The faults that are asked for.
pub fn asked() -> impl Iterator<Item = Chaos> {
    words().filter_map(Result::ok)
}

/// What was given as `chaos=` and cannot be understood.
pub fn wrong() -> impl Iterator<Item = &'static str> {
    words().filter_map(Result::err)
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
