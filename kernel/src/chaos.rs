//! The faults that the kernel command line asks for. What each is for: `kernel::chaos`.

use kernel::chaos::Chaos;
use kernel::words::key_value;

use crate::bootinfo;

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
