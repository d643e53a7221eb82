//! QEMU as a second witness: the kernel's counts of interrupts sent and handled beside QEMU's trace of the local APICs.
//!
//! The script sends shootdowns in the naive way, one by one, in a batch and lazily, so that all modes are in the count.

use crate::support::{Outcome, Passed, Run, Settings, Test, script, xapic};
use tests::scratch::Scratch;
use tests::{End, error, kernel};

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("oracle::counts-every-shootdown-interrupt", || counts_agree(script(4, ""))),
        Test::new("oracle::counts-every-shootdown-interrupt-xapic", || counts_agree(xapic(script(4, "")))),
    ]
}

fn counts_agree(settings: Settings) -> Outcome {
    let dir = Scratch::new()?;
    let log = dir.file("trace.log");
    let qemu = ["-trace", "apic_register_write", "-D", &log.display().to_string()].map(String::from).to_vec();
    let run = Run::of(Settings { qemu, cmd: "tlb pages=64; cpus; quit".into(), ..settings })?;
    if run.qemu_said().contains("apic_register_write") {
        return Ok(Passed::Skipped("this QEMU cannot trace its local APICs".into()));
    }
    run.ends(End::Success)?;
    let trace = String::from_utf8_lossy(&error::read(&log)?).into_owned();
    let traced = trace.lines().filter(|line| sends_shootdown(line)).count() as u64;
    let told = kernel::ipis_sent(run.serial());
    run.check(told == Some(traced) && traced >= 64, || {
        format!("{traced} interrupts, as QEMU saw them, told {told:?}")
    })?;
    // After boot, which ends stale interrupts as well, every interrupt that was handled was ended once.
    let is_ours =
        |line: &&str| icr_write(line).is_some_and(|command| command & 0xff >= u64::from(kernel::SHOOTDOWN_VECTOR));
    let since_boot = trace.lines().skip_while(|line| !is_ours(line));
    let ended = since_boot.filter(|line| line.contains("register 0x0b = ")).count() as u64;
    let handled = kernel::interrupts_taken(run.serial());
    run.check(handled == Some(ended) && ended >= 64, || {
        format!("{ended} ends of interrupts, as QEMU saw them, told {handled:?} interrupts")
    })?;
    run.passes()
}

/// What is written to the low half of the interrupt command register (register 0x30), if the line tells of that.
fn icr_write(line: &str) -> Option<u64> {
    line.split_once("register 0x30 = 0x").and_then(|(_, v)| u64::from_str_radix(v.trim(), 16).ok())
}

/// A write with the vector of a shootdown in its lowest byte (Intel SDM volume 3, "Interrupt Command Register").
fn sends_shootdown(line: &str) -> bool {
    icr_write(line).is_some_and(|command| command & 0xff == u64::from(kernel::SHOOTDOWN_VECTOR))
}
