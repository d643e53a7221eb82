//! `just tlb-figures`: what shootdowns cost, each figure beside the most that it may be.
//!
//! Counts come from machines whose CPUs run at once, and from machines whose clock counts instructions and whose runs are
//! all the same; instructions from the latter alone. What has to be linear in the number of CPUs is judged here, since a
//! kernel sees only its own boot; the rest it judges itself, by its command `tlb figures`.

use crate::error::Error;
use crate::qemu::{Console, Launch};
use crate::session::Session;
use crate::settings::{Accel, Settings};
use crate::{End, kernel};
use serde_json::Value;

/// Machines that are measured, by their CPUs. Each has twice as many as the one before.
pub const CPUS: [u32; 4] = [2, 4, 8, 16];

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// What was measured.
    pub measured: u64,
    /// The same in the naive way, where that is what it is compared with.
    pub naive: Option<u64>,
    /// The least that it may be; none where it is told and not judged.
    pub least: Option<u64>,
    /// The most that it may be; none where it is told and not judged.
    pub most: Option<u64>,
}

impl Figure {
    /// Whether it is no less and no more than it may be.
    pub fn holds(&self) -> bool {
        self.least.is_none_or(|least| self.measured >= least) && self.most.is_none_or(|most| self.measured <= most)
    }
}

/// The figures in the answer to `tlb figures --json`.
pub fn read(answer: &str) -> Vec<Figure> {
    let of = |line: &str| {
        let object: Value = serde_json::from_str(line.trim()).ok()?;
        (object["kind"] == "tlb_figure").then_some(())?;
        Some(Figure {
            name: object["figure"].as_str()?.into(),
            measured: object["measured"].as_u64()?,
            naive: object["naive"].as_u64(),
            least: object["least"].as_u64(),
            most: object["most"].as_u64(),
        })
    };
    answer.lines().filter_map(of).collect()
}

/// The figures that compare machines: `of[i]` are those of a machine with `CPUS[i]` CPUs.
pub fn growth(of: &[Vec<Figure>]) -> Vec<Figure> {
    let each = |name: &str| -> Option<Vec<u64>> {
        of.iter().map(|figures| figures.iter().find(|f| f.name == name).map(|f| f.measured)).collect()
    };
    let added = |at: &[u64], i: usize| at[i].saturating_sub(at[i - 1]).div_ceil(u64::from(CPUS[i] - CPUS[i - 1]));
    let figure = |name: &str, measured, most| Figure {
        name: name.into(),
        measured,
        naive: None,
        least: Some(0),
        most: Some(most),
    };
    let mut rows = Vec::new();
    for name in [kernel::TLB_INITIATOR, kernel::TLB_ALL_CPUS] {
        if let Some(at) = each(name).filter(|at| at.len() == CPUS.len()) {
            rows.push(figure(&format!("{name}, for each CPU from 8 to 16"), added(&at, 3), added(&at, 2)));
        }
    }
    if let Some(at) = each(kernel::TLB_BOOT).filter(|at| at.len() == CPUS.len()) {
        for i in 1..CPUS.len() {
            let name = format!("{}, {} CPUs, twice as many", kernel::TLB_BOOT, CPUS[i]);
            rows.push(figure(&name, at[i], 2 * at[i - 1]));
        }
    }
    rows
}

/// Measures and prints all figures. Returns whether each holds, and each machine did what was measured. The first machine
/// that did not is the last that is measured.
pub fn print(settings: &Settings) -> Result<bool, Error> {
    let (counted, mut is_fine) = until_one_fails(|cpus| {
        let machine = measure(settings, cpus, Accel::Icount, kernel::TLB_FIGURES_EXACT)?;
        if cpus == 8 || !machine.is_fine() {
            show(&format!("{cpus} CPUs, one thread, clock of instructions"), &machine.figures);
        }
        Ok(machine)
    })?;
    if is_fine {
        is_fine = show("2 to 16 CPUs, one thread, clock of instructions", &growth(&counted));
        let machine = measure(settings, 8, Accel::Tcg, kernel::TLB_FIGURES)?;
        is_fine &= show("8 CPUs at once", &machine.figures) && machine.is_fine();
    }
    println!("{}", if is_fine { "every figure holds" } else { "NOT every figure holds" });
    Ok(is_fine)
}

/// What one machine came to.
struct Measured {
    figures: Vec<Figure>,
    /// Whether the machine judged all of its own to hold.
    has_ended_well: bool,
}

impl Measured {
    fn is_fine(&self) -> bool {
        self.has_ended_well && !self.figures.is_empty() && self.figures.iter().all(Figure::holds)
    }
}

/// Measures machine after machine as long as all is well; the figures so far, and whether it was all the time.
fn until_one_fails(mut measure: impl FnMut(u32) -> Result<Measured, Error>) -> Result<(Vec<Vec<Figure>>, bool), Error> {
    let mut counted = Vec::new();
    for cpus in CPUS {
        let machine = measure(cpus)?;
        let is_fine = machine.is_fine();
        counted.push(machine.figures);
        if !is_fine {
            return Ok((counted, false));
        }
    }
    Ok((counted, true))
}

/// The figures of one machine.
fn measure(settings: &Settings, cpus: u32, accel: Accel, command: &str) -> Result<Measured, Error> {
    let settings = Settings { cpus, accel, cmd: format!("{command}; quit"), ..settings.clone() };
    let report = Session::start(Launch::prepare(&settings, Console::Pipe)?, settings.timeout, false)?.finish();
    let answer = kernel::answer(&report.serial, command);
    let has_ended_well = report.end == End::Success;
    if !has_ended_well {
        println!("the machine with {cpus} CPUs: {}; again: {}", report.end, settings.as_just());
        answer.lines().filter(|line| !line.starts_with('{')).for_each(|line| println!("  it said: {line}"));
    }
    Ok(Measured { figures: read(answer), has_ended_well })
}

/// Prints a table; returns whether all of it holds, and it is not empty.
fn show(title: &str, figures: &[Figure]) -> bool {
    let width = figures.iter().map(|f| f.name.len()).max().unwrap_or(0);
    let shown = |n: Option<u64>| n.map_or("-".into(), |n| n.to_string());
    println!(
        "\n{title}\n  {:<width$}  {:>10}  {:>8}  {:>8}  {:>10}",
        "figure", "measured", "naive", "at least", "at most"
    );
    for figure in figures {
        let verdict = match figure.most {
            None => "",
            Some(_) if figure.holds() => "holds",
            Some(_) => "FAILS",
        };
        let (naive, least, most) = (shown(figure.naive), shown(figure.least), shown(figure.most));
        println!("  {:<width$}  {:>10}  {naive:>8}  {least:>8}  {most:>10}  {verdict}", figure.name, figure.measured);
    }
    !figures.is_empty() && figures.iter().all(Figure::holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_the_kernel_prints() {
        let answer = "{\"kind\":\"tlb_figure\",\"figure\":\"a\",\"measured\":3,\"naive\":\"-\",\"least\":\"-\",\"most\":\"-\"}\r\n\
                      noise\r\n{\"kind\":\"tlb\"}\r\n\
                      {\"kind\":\"tlb_figure\",\"figure\":\"b\",\"measured\":9,\"naive\":20,\"least\":1,\"most\":8}\r\n";
        let figures = read(answer);
        assert_eq!(figures.len(), 2);
        assert_eq!((figures[0].measured, figures[0].naive, figures[0].holds()), (3, None, true));
        assert_eq!((figures[1].naive, figures[1].most, figures[1].holds()), (Some(20), Some(8), false));
        assert!(Figure { measured: 8, ..figures[1].clone() }.holds());
        assert!(!Figure { measured: 0, ..figures[1].clone() }.holds());
    }

    #[test]
    fn the_first_machine_that_fails_is_the_last() {
        let measured_with = |bad: Option<u32>, has_figures: bool| {
            let mut booted = Vec::new();
            let (counted, is_fine) = until_one_fails(|cpus| {
                booted.push(cpus);
                let row = Figure { name: "a".into(), measured: 1, naive: None, least: None, most: None };
                let is_bad = bad == Some(cpus);
                let figures = if is_bad && !has_figures { Vec::new() } else { vec![row] };
                Ok(Measured { figures, has_ended_well: !(is_bad && has_figures) })
            })
            .expect("no machine is started");
            assert_eq!(counted.len(), booted.len());
            (booted, is_fine)
        };
        assert_eq!(measured_with(None, true), (CPUS.to_vec(), true));
        assert_eq!(measured_with(Some(CPUS[0]), true), (vec![CPUS[0]], false));
        assert_eq!(measured_with(Some(CPUS[1]), false), (CPUS[..2].to_vec(), false));
    }

    #[test]
    fn growth_that_is_more_than_linear_fails() {
        let of = |cost: fn(u64) -> u64| {
            let figure = |n: u32| Figure {
                name: kernel::TLB_INITIATOR.into(),
                measured: cost(n.into()),
                naive: None,
                least: None,
                most: None,
            };
            growth(&CPUS.map(|n| vec![figure(n)]))
        };
        assert!(of(|n| 300 + 34 * n).iter().all(Figure::holds));
        assert!(!of(|n| 300 + n * n).iter().all(Figure::holds));
    }
}
