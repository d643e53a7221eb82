//! QEMU as a second witness: the kernel's counts of interrupts sent and handled beside QEMU's trace of the local APICs.
//!
//! The script sends shootdowns in the naive way, one by one, in a batch and lazily, so that all modes are in the count.

use crate::support::{Failure, Outcome, Passed, Run, Settings, Test, script, xapic};
use tests::scratch::Scratch;
use tests::{End, error, kernel};

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("oracle::counts-every-shootdown-interrupt", || counts_agree(script(4, ""))),
        Test::new("oracle::counts-every-shootdown-interrupt-xapic", || counts_agree(xapic(script(4, "")))),
        Test::new("oracle::no-interrupt-to-all-but-self-unless-all-are-online", || shorthand_is_for_all(script(4, ""))),
    ]
}

/// With all CPUs of the machine online, interrupts to all others are sent to all but self. If the bootloader lists one that
/// never comes, none is: it could be anywhere.
fn shorthand_is_for_all(settings: Settings) -> Outcome {
    for (append, is_due) in [("", true), ("chaos=mp:absent", false)] {
        let settings = Settings { append: append.into(), cmd: "tlb pages=16; quit".into(), ..settings.clone() };
        let Some((run, trace)) = traced(settings)? else {
            return Ok(Passed::Skipped("this QEMU cannot trace its local APICs".into()));
        };
        run.ends(End::Success)?;
        let sent: Vec<u64> = trace.lines().filter(|line| sends_shootdown(line)).filter_map(icr_write).collect();
        let nr_to_all = sent.iter().filter(|&&command| command & SHORTHAND == ALL_BUT_SELF).count();
        run.check(!sent.is_empty() && (nr_to_all > 0) == is_due, || {
            format!("interrupts to all but self: {is_due}, of {} were {nr_to_all}", sent.len())
        })?;
    }
    Ok(Passed::Yes)
}

/// The field of the interrupt command register that says to whom, apart from the destination, and its value for all others
/// (Intel SDM volume 3, "Interrupt Command Register").
const SHORTHAND: u64 = 0b11 << 18;
const ALL_BUT_SELF: u64 = 0b11 << 18;

/// Runs a machine; with what it said, what QEMU says that its local APICs were told. `None` if this QEMU cannot.
fn traced(settings: Settings) -> Result<Option<(Run, String)>, Failure> {
    let dir = Scratch::new()?;
    let log = dir.file("trace.log");
    let qemu = ["-trace", "apic_register_write", "-D", &log.display().to_string()].map(String::from).to_vec();
    let run = Run::of(Settings { qemu, ..settings })?;
    if run.qemu_said().contains("apic_register_write") {
        return Ok(None);
    }
    let trace = String::from_utf8_lossy(&error::read(&log)?).into_owned();
    Ok(Some((run, trace)))
}

fn counts_agree(settings: Settings) -> Outcome {
    let Some((run, trace)) = traced(Settings { cmd: "tlb pages=64; cpus; quit".into(), ..settings })? else {
        return Ok(Passed::Skipped("this QEMU cannot trace its local APICs".into()));
    };
    run.ends(End::Success)?;
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
