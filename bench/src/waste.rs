//! Memory held over memory asked for: how much of what an allocator takes is not what it was asked for.
//!
//! Each workload of each allocator is a process of its own, as what one leaves behind is another's start; one thread, the same
//! numbers on every run. For `mm` what is held is the frames that are not free, for the others what the host counts as
//! resident beyond the start, huge pages off.

mod recording;
mod resident;
mod sawtooth;
mod spike;

use std::fmt::Display;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use workloads::Peer;

use crate::options::Options;
use crate::peers::{ALLOCATORS, Null};
use crate::record::Recorder;
use recording::Recording;
use resident::Resident;

/// A figure of the table.
struct Column {
    head: &'static str,
    /// What ours shall not exceed.
    goal: Option<Goal>,
    /// In percent rather than a ratio.
    is_percent: bool,
}

#[derive(Clone, Copy)]
enum Goal {
    AtMost(f64),
    Below(f64),
}

const fn ratio(head: &'static str, goal: Option<Goal>) -> Column {
    Column { head, goal, is_percent: false }
}

const fn percent(head: &'static str, goal: Option<Goal>) -> Column {
    Column { head, goal, is_percent: true }
}

/// The figures in the order in which the probes print them; the last two only with a recording.
const COLUMNS: [Column; 8] = [
    ratio("sawtooth: first tooth", Some(Goal::AtMost(1.20))),
    ratio("peak", Some(Goal::AtMost(2.9))),
    ratio("end", None),
    ratio("after reap", Some(Goal::Below(19.0))),
    percent("spike: at its peak", None),
    percent("dropped and reaped", Some(Goal::AtMost(0.14))),
    percent("recording: at its peak", None),
    percent("at its last allocation, reaped", None),
];

/// Figures of the sawtooth and the spike.
const NR_ALWAYS: usize = 6;

impl Goal {
    /// Not a number is not met.
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::Below(bound) => figure < bound,
        }
    }
}

impl Column {
    fn show(&self, figure: f64) -> String {
        if self.is_percent { format!("{:.1} %", figure * 100.0) } else { format!("{figure:.2}") }
    }

    fn show_goal(&self) -> String {
        match self.goal {
            None => "-".into(),
            Some(Goal::AtMost(most)) => format!("<= {}", self.show(most)),
            Some(Goal::Below(bound)) => format!("< {}", self.show(bound)),
        }
    }
}

/// Prints the table. True if ours meets its goals.
///
/// # Errors
///
/// What keeps this program from running itself, or one of its children from ending well.
pub(crate) fn print(options: &Options) -> Result<bool, String> {
    let columns = if options.recording.is_some() { &COLUMNS[..] } else { &COLUMNS[..NR_ALWAYS] };
    let row = |name: &str, cells: Vec<String>| println!("| {name} | {} |", cells.join(" | "));
    row("held over live", columns.iter().map(|column| column.head.to_owned()).collect());
    println!("|---|{}", "---|".repeat(columns.len()));
    let mut is_met = true;
    let mut recorder = Recorder::begin(0);
    for (i, allocator) in ALLOCATORS.iter().enumerate() {
        // One `mm` is enough, the bare harness holds nothing, and two do not finish unless they are asked for by name.
        let is_left_out = ["mm-result", "mimalloc-c", Null::NAME].contains(&allocator.name)
            || options.allocators.is_empty() && TOO_SLOW.contains(&allocator.name);
        if i > 0 && (is_left_out || !options.wants_peer(allocator.name)) {
            continue;
        }
        let figures = probe_in_child(allocator.name, options.recording.as_deref(), &mut recorder)?;
        if figures.len() != columns.len() {
            return Err(format!("{} printed {} figures of {}", allocator.name, figures.len(), columns.len()));
        }
        row(allocator.name, columns.iter().zip(&figures).map(|(column, &figure)| column.show(figure)).collect());
        if i == 0 {
            row("goal of ours", columns.iter().map(Column::show_goal).collect());
            let verdict = |(column, &figure): (&Column, &f64)| column.goal.map(|goal| goal.is_met(figure));
            let verdicts: Vec<_> = columns.iter().zip(&figures).map(verdict).collect();
            let word = |met: &Option<bool>| met.map_or("", |met| if met { "met" } else { "missed" }).to_owned();
            row("", verdicts.iter().map(word).collect());
            is_met = verdicts.iter().all(|met| *met != Some(false));
        }
    }
    options.json.as_ref().map_or(Ok(()), |path| recorder.finish(path))?;
    Ok(is_met)
}

/// Searches through all free blocks on every free: minutes.
const TOO_SLOW: &[&str] = &["linked_list", "buddy"];

fn probe_in_child(allocator: &str, recording: Option<&Path>, recorder: &mut Recorder) -> Result<Vec<f64>, String> {
    let this = env::current_exe().map_err(|error| format!("this program does not find itself: {error}"))?;
    let mut figures = Vec::new();
    for workload in ["sawtooth", "spike"].into_iter().chain(recording.map(|_| "recording")) {
        let mut command = Command::new(&this);
        command.args(["--probe", allocator, workload]);
        if let Some(path) = recording {
            command.arg("--recording").arg(path);
        }
        let output = command.output().map_err(|error| format!("a probe does not start: {error}"))?;
        if !output.status.success() {
            return Err(format!("{workload} with {allocator}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let (first, looks) = text.split_once('\n').unwrap_or((&text, ""));
        let unexpected = |word: &str| format!("{workload} with {allocator} printed {word}");
        for word in first.split_whitespace() {
            figures.push(word.parse().map_err(|_| unexpected(word))?);
        }
        for line in looks.lines() {
            let (live, held) = line.split_once(' ').ok_or_else(|| unexpected(line))?;
            let bytes = |word: &str| word.parse().map_err(|_| unexpected(word));
            recorder.waste(workload, allocator, bytes(live)?, bytes(held)?);
        }
    }
    Ok(figures)
}

/// What was in use and what was held, whenever somebody looked.
#[derive(Debug, Default)]
struct Looks(Vec<(u64, u64)>);

impl Looks {
    /// Notes both, and returns what is held.
    fn note<P: Peer>(&mut self, live: u64, resident: &Resident<P>) -> Result<u64, String> {
        let held = resident.bytes()?;
        self.0.push((live, held));
        Ok(held)
    }
}

/// The child's part: one workload with allocator `P`, a line of figures, and a line for each look.
pub(crate) fn probe<P: Peer>(workload: &str, recording: Option<&Path>) -> Result<(), String> {
    resident::no_huge_pages();
    let mut looks = Looks(Vec::with_capacity(64));
    let figures = match (workload, recording) {
        ("sawtooth", _) => sawtooth::run::<P>(&mut looks)?.to_vec(),
        ("spike", _) => spike::run::<P>(&mut looks)?.to_vec(),
        ("recording", Some(path)) => read(path)?.replay::<P>(&mut looks)?.to_vec(),
        _ => return Err(format!("no workload {workload}, or no recording")),
    };
    println!("{}", figures.iter().map(|figure| format!("{figure:.6}")).collect::<Vec<_>>().join(" "));
    looks.0.iter().for_each(|(live, held)| println!("{live} {held}"));
    Ok(())
}

fn read(path: &Path) -> Result<Recording, String> {
    let say = |what: &dyn Display| format!("{}: {what}", path.display());
    let bytes = fs::read(path).map_err(|error| say(&error))?;
    Recording::parse(&bytes).map_err(|what| say(&what))
}

/// The part of `held` bytes that nobody asked for.
fn waste(live: u64, held: u64) -> f64 {
    1.0 - live as f64 / held as f64
}

/// An object that is live.
#[derive(Clone, Copy, Debug)]
struct Live {
    object: *mut u8,
    size: u32,
    align: u32,
}

impl Live {
    /// A new one, all of it written: what is not touched is not resident.
    fn alloc<P: Peer>(size: usize, align: usize) -> Result<Self, String> {
        let layout =
            std::alloc::Layout::from_size_align(size, align).map_err(|error| format!("{size} bytes: {error}"))?;
        let object = P::alloc(layout);
        if object.is_null() {
            return Err(format!("{} has no {size} bytes", P::NAME));
        }
        // SAFETY: just allocated with this size.
        unsafe { object.write_bytes(0x5a, size) };
        Ok(Self { object, size: size as u32, align: align as u32 })
    }

    fn free<P: Peer>(self) {
        // SAFETY: size and alignment of a layout, by `alloc`.
        let layout = unsafe { std::alloc::Layout::from_size_align_unchecked(self.size as usize, self.align as usize) };
        // SAFETY: made by `alloc` with this layout; a value that is freed has been taken out of its table.
        unsafe { P::dealloc(self.object, layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_met_at_the_bound_or_below_it_and_never_by_what_is_no_number() {
        assert!(Goal::AtMost(1.2).is_met(1.2) && !Goal::AtMost(1.2).is_met(1.21));
        assert!(!Goal::Below(19.0).is_met(19.0) && Goal::Below(19.0).is_met(18.9));
        assert!(!Goal::AtMost(1.2).is_met(f64::NAN));
        assert!((waste(86, 100) - 0.14).abs() < 1e-9);
    }
}
