//! The figures that the README quotes, measured and printed: boot times by both ways in, and counts from the kernel.
//!
//! Under emulation a time means nothing by itself, so boot times are given beside those of the other way in, taken
//! in turns in the same run, as ratios. The counts are the kernel's own, printed by its commands.

use crate::error::Error;
use crate::image;
use crate::kernel;
use crate::qemu::{Console, Launch};
use crate::session::{Session, WaitError};
use crate::settings::{Boot, Settings, boot_name};
use std::time::Duration;

const ROUNDS: usize = 5;
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// The stages of a boot, from the start of QEMU.
#[derive(Clone, Copy, Debug)]
struct Stages {
    entry: Duration,
    prompt: Duration,
}

/// Measures and prints all figures. Returns false if a machine did not do what was measured.
pub fn print(settings: &Settings) -> Result<bool, Error> {
    let ways: &[Boot] = match image::limine_dir() {
        Ok(_) => &[Boot::Direct, Boot::Iso],
        Err(why) => {
            println!("boot by Limine's image is left out: {why}");
            &[Boot::Direct]
        }
    };
    println!("boot, seconds from the start of QEMU, median of {ROUNDS} rounds taken in turns");
    println!("{:>5}  {:<8}{:>10}{:>10}", "cpus", "way in", "to entry", "to prompt");
    for cpus in [8, 64] {
        let mut rounds = vec![Vec::new(); ways.len()];
        for _ in 0..ROUNDS {
            for (way, stages) in ways.iter().zip(&mut rounds) {
                let settings = Settings { cpus, boot: *way, cmd: String::new(), ..settings.clone() };
                match boot(&settings)? {
                    Ok(measured) => stages.push(measured),
                    Err(serial) => {
                        println!("no prompt by {} with {cpus} CPUs; the serial line:\n{serial}", boot_name(*way));
                        return Ok(false);
                    }
                }
            }
        }
        let medians: Vec<Stages> = rounds.iter().map(|r| median(r)).collect();
        for (way, m) in ways.iter().zip(&medians) {
            let (entry, prompt) = (m.entry.as_secs_f64(), m.prompt.as_secs_f64());
            println!("{cpus:>5}  {:<8}{entry:>10.3}{prompt:>10.3}", boot_name(*way));
        }
        if let [direct, image] = medians[..] {
            let (entry, prompt) = (ratio(image.entry, direct.entry), ratio(image.prompt, direct.prompt));
            println!("{cpus:>5}  {:<8}{entry:>10}{prompt:>10}", "ratio");
        }
    }
    counts(settings)
}

/// Boots to the prompt. The inner error is the serial log of a machine that did not get there.
fn boot(settings: &Settings) -> Result<Result<Stages, String>, Error> {
    let mut session = Session::start(Launch::prepare(settings, Console::Pipe)?, BOOT_LIMIT, false)?;
    let mut stages = || {
        let entry = session.wait_for(kernel::ENTRY, BOOT_LIMIT)?;
        let prompt = session.wait_until(BOOT_LIMIT, |serial| kernel::prompt(serial).map(|(len, _)| len))?;
        Ok::<_, WaitError>(Stages { entry, prompt })
    };
    let measured = stages();
    Ok(measured.map_err(|_| session.serial()))
}

fn median(stages: &[Stages]) -> Stages {
    let middle = |of: fn(&Stages) -> Duration| {
        let mut times: Vec<Duration> = stages.iter().map(of).collect();
        times.sort();
        times[times.len() / 2]
    };
    Stages { entry: middle(|s| s.entry), prompt: middle(|s| s.prompt) }
}

fn ratio(slow: Duration, fast: Duration) -> String {
    format!("{:.1}", slow.as_secs_f64() / fast.as_secs_f64())
}

/// Runs the commands that count, and shows what they print.
fn counts(settings: &Settings) -> Result<bool, Error> {
    let mut settings = Settings { cmd: kernel::COUNTING.into(), ..settings.clone() };
    settings.modules = Settings::parse([&*format!("modules={}", kernel::DEMONSTRATION_MODULE)])?.modules;
    println!("\ncounts, by the kernel: {}", kernel::COUNTING);
    let report = Session::start(Launch::prepare(&settings, Console::Pipe)?, settings.timeout, true)?.finish();
    let events = kernel::verdicts(&report.serial, "replay").iter().find_map(|v| v.value("events")?.parse::<u64>().ok());
    if let (Some(events), Some(&visits)) = (events, kernel::depot_visits(&report.serial).first()) {
        let one_in = events.checked_div(visits).map_or("none".into(), |n| format!("1 in {n}"));
        println!("depot visits per operation of the replay: {visits} in {events}, {one_in}");
    }
    Ok(report.end == crate::End::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_taken_for_each_stage() {
        let at = |entry, prompt| Stages { entry: Duration::from_millis(entry), prompt: Duration::from_millis(prompt) };
        let m = median(&[at(3, 9), at(1, 20), at(2, 10)]);
        assert_eq!((m.entry.as_millis(), m.prompt.as_millis()), (2, 10));
        assert_eq!(ratio(Duration::from_millis(830), Duration::from_millis(80)), "10.4");
    }
}
