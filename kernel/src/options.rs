//! The words of the kernel command line that mean something, and what is said of those that do not.
//!
//! Each option is read where it is used; here is only the list, and the complaints, so that a typing error is told and
//! fails a script instead of passing unnoticed. A complaint says what is used instead. What is set up on purpose to fail is
//! told, too.
//!
//! Called by: the shell, before its first command.

use kernel::chaos::Chaos;
use kernel::clock_choice::Wanted;
use kernel::figures::Nanos;
use kernel::keyboard::LayoutName;
use kernel::units::{self, UnitError};
use smp::shootdown::Settings;

use crate::console::{print, println};
use crate::machine::{self, SHOOTDOWNS};
use crate::{boot, bootinfo, chaos, clock, crash, debug, others};

/// Options of which the last counts: to be given once. `run=` is the shell's.
const ONCE: [&str; 9] =
    ["cpu-wait-ms", "cpus", "flush-pages", "host-cpus", "keyboard", "screen", "tlb", "tsc", "watchdog"];
/// Options that may be given several times, each of which counts.
const OFTEN: [&str; 2] = ["chaos", "debug"];

/// The most CPUs that the kernel is to use (`cpus=`), if that was said and can be understood.
pub fn nr_cpus() -> Option<usize> {
    number("cpus")?.ok().and_then(|nr_cpus| usize::try_from(nr_cpus).ok())
}

/// How long CPUs are waited for while none comes (`cpu-wait-ms=`), if that was said and can be understood.
pub fn cpu_wait_ms() -> Option<u64> {
    number("cpu-wait-ms")?.ok()
}

/// An option that is a number above 0; as an error, what stands there instead, and what that is.
fn number(key: &str) -> Option<Result<u64, (&'static str, &'static str)>> {
    let value = bootinfo::get().cmdline().get(key)?;
    Some(units::positive(value).map_err(|why| (value, why)))
}

/// Says what is wrong with the command line, and announces debug modes and faults. Whether all was understood.
pub fn announce() -> bool {
    let mut nr_wrong = 0;
    let mut complain = |complaint: core::fmt::Arguments<'_>| {
        println!("bandolier: {complaint}");
        nr_wrong += 1;
    };
    let cmdline = bootinfo::get().cmdline();
    let mut known = [""; ONCE.len() + OFTEN.len()];
    ONCE.iter().chain(&OFTEN).zip(&mut known).for_each(|(key, place)| *place = key);
    for option in cmdline.unknown(&known) {
        complain(format_args!("the option `{option}` on the command line means nothing here"));
    }
    for (key, last) in cmdline.repeated(&ONCE) {
        complain(format_args!("{key}= is given twice; the last, {key}={last}, counts"));
    }
    for wrong in debug::wrong_options() {
        complain(format_args!("debug: {wrong}; this word changes nothing"));
    }
    let waits = format_args!("{} is used", others::PATIENCE_MS);
    let nobody_said = format_args!("it counts for nothing");
    for (key, instead) in [("cpus", format_args!("all are used")), ("cpu-wait-ms", waits), ("host-cpus", nobody_said)] {
        if let Some(Err((value, why))) = number(key) {
            complain(format_args!("{key}={value} {why}; {instead}"));
        }
    }
    if let Some(layout) = cmdline.get("keyboard").filter(|name| LayoutName::find(name).is_none()) {
        complain(format_args!("keyboard={layout} is not known; us is used; these are:"));
        LayoutName::names().for_each(|name| print!(" {name}"));
        println!();
    }
    if let Some(other) = cmdline.get("screen").filter(|&value| value != "off") {
        complain(format_args!("screen={other} is not known and counts for nothing; there is: off"));
    }
    if let Some(word) = clock::wrong_option() {
        complain(format_args!("tsc={word} is not known and counts for nothing; there is: {}", Wanted::KNOWN));
    }
    if let Some(word) = cmdline.get("watchdog") {
        match units::duration_ns(word) {
            Ok(patience_ns) if patience_ns > 0 => machine::set_patience_ns(patience_ns),
            Err(UnitError::TooLarge) => complain(format_args!("watchdog={word} is too large; {} is used", patience())),
            _ => complain(format_args!(
                "watchdog={word} is no duration above 0, such as 10s or 500ms; {} is used",
                patience()
            )),
        }
    }
    for word in chaos::wrong() {
        complain(format_args!("chaos={word} is not known and changes nothing; there is: {}", Chaos::KNOWN));
    }
    for (word, why) in chaos::in_vain() {
        complain(format_args!("chaos={word} changes nothing: {why}"));
    }
    match cmdline.get("tlb").map(|way| (way, boot::features().and_then(|features| features.tlb_broadcast))) {
        None | Some(("ipi", _)) => {}
        Some(("broadcast", Some(broadcast))) => {
            println!("bandolier: TLBs are flushed by INVLPGB, {} pages at a time", broadcast.max_pages());
            machine::use_broadcast(broadcast);
        }
        Some(("broadcast", None)) => complain(format_args!("tlb=broadcast: this CPU has no INVLPGB; ipi is used")),
        Some((other, _)) => complain(format_args!("tlb={other} is not known; ipi is used; there is: ipi broadcast")),
    }
    match cmdline.get("flush-pages").map(|text| (text, text.parse())) {
        None => {}
        Some((_, Ok(nr_pages))) if nr_pages <= Settings::MAX_FULL_FLUSH_PAGES => {
            SHOOTDOWNS.settings().set_full_flush_pages(nr_pages);
        }
        Some((text, _)) => {
            complain(format_args!(
                "flush-pages={text} is no number up to {}; {} is used",
                Settings::MAX_FULL_FLUSH_PAGES,
                SHOOTDOWNS.settings().full_flush_pages()
            ));
        }
    }
    debug::announce();
    chaos::asked().filter(|chaos| chaos::why_in_vain(chaos).is_none()).for_each(begin);
    nr_wrong == 0
}

/// How long a CPU may take to answer before it is asked again.
fn patience() -> Nanos {
    Nanos(machine::patience_ns())
}

/// Begins a fault that has to be begun, and says which one it is.
fn begin(chaos: Chaos) {
    match chaos {
        Chaos::DropIpi => {
            println!("bandolier: chaos: interrupts of TLB shootdowns are dropped");
            SHOOTDOWNS.settings().set_drop_ipis(true);
        }
        Chaos::NoSelfService => {
            println!("bandolier: chaos: CPUs that wait serve no shootdowns");
            machine::stop_serving_shootdowns();
        }
        Chaos::NmiToSleep => {
            println!("bandolier: chaos: an NMI that came before a halt returns to it");
            crash::stop_stepping_over_halts();
        }
        Chaos::TscTold { hz } => println!("bandolier: chaos: CPUID seemed to tell {} kHz of the TSC", hz / 1000),
        Chaos::SkewTsc { cpu, ticks } => println!("bandolier: chaos: cpu {cpu}'s clock seems {ticks} ticks ahead"),
        Chaos::Parity { cpu, register } => println!("bandolier: chaos: cpu {cpu} has a bit of {register:?} changed"),
        Chaos::PoisonReclaimed => println!("bandolier: chaos: memory taken over from the bootloader was poisoned"),
        Chaos::Mp { lie } => {
            println!("bandolier: chaos: our loader lies about the CPUs ({lie}); no other one knows how to")
        }
        Chaos::BadFrame { number } => println!("bandolier: chaos: frame {number:#x} reads back wrong in memtest"),
    }
}
