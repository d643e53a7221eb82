//! Limine's way in: the same kernel from an ISO image, under BIOS and under UEFI.

use crate::boot::all_up;
use crate::support::{Outcome, Passed, Run, Settings, Test, script, xapic};
use std::time::Duration;
use tests::settings::Boot;
use tests::{host, image, kernel};

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("image::bios-8-cpus", || by_limine(Boot::Iso, script(8, ""))),
        Test::new("image::bios-1-cpu-xapic", || by_limine(Boot::Iso, xapic(script(1, "")))),
        Test::new("image::bios-5G", || by_limine(Boot::Iso, Settings { mem: "5G".into(), ..script(2, "") })),
        Test::new("image::uefi-8-cpus", || by_limine(Boot::Uefi, script(8, ""))),
    ]
}

fn by_limine(boot: Boot, settings: Settings) -> Outcome {
    if let Err(why) = image::limine_dir() {
        return Ok(Passed::Skipped(why.to_string()));
    }
    if boot == Boot::Uefi && host::ovmf().is_none() {
        return Ok(Passed::Skipped("OVMF is not installed".into()));
    }
    let cpus = settings.cpus;
    let module = Settings::parse([&*format!("modules={}", kernel::DEMONSTRATION_MODULE)])?.modules;
    let cmd = format!("cpus; mem; replay {}; stress 20000; mem; quit", kernel::DEMONSTRATION_MODULE);
    let run = Run::of(Settings { boot, cmd, modules: module, timeout: Duration::from_secs(180), ..settings })?;
    all_up(&run, cpus)?.says("Limine")?.judges("replay", &[true])?.judges("stress", &[true])?.adds_up(2)?.passes()
}
