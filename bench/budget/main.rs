//! The gate on instructions: counts what each path of the allocator takes, and compares with `mm/budget.txt`.
//!
//! A path is counted from its entry to its `ret`, as the release profile makes it; a call of `mask` and of `unmask`
//! stands for what a kernel does inline to switch interrupts off and on. Of several counts of a path the largest
//! counts. Ends with a line that counts the paths, and fails if one has grown. See `bench/README.md`.

mod machine;
mod paths;
mod ranges;
mod step;

use std::env;
use std::process::ExitCode;

use ::tests::budget::{Measured, SLACK, settle};
use paths::Path;
use step::{Count, Label};

/// In the environment: leaves the gate out, where a host permits no tracing.
const SKIP: &str = "SKIP_INSTRUCTION_BUDGET";

/// What has a line in the budget, and by which path's largest count.
const LINES: &[(&str, Path)] = &[
    ("alloc-runtime", Path::AllocRuntime),
    ("free-runtime", Path::FreeRuntime),
    ("alloc-constant", Path::AllocConstant),
    ("free-constant", Path::FreeConstant),
    ("cache-alloc", Path::CacheAlloc),
    ("cache-free", Path::CacheFree),
    ("bulk16-alloc-per-object", Path::BulkAlloc),
    ("bulk16-free-per-object", Path::BulkFree),
    ("frame-alloc", Path::FrameAlloc),
    ("frame-free", Path::FrameFree),
    ("swap-on-alloc", Path::AllocLocal),
    ("swap-on-free", Path::FreeLocal),
    ("rack-on-alloc", Path::AllocRack),
    ("rack-on-free", Path::FreeRack),
    ("depot-on-alloc", Path::DepotAlloc),
    ("depot-on-free", Path::DepotFree),
    ("refill-per-object", Path::Refill),
    ("spill-per-object", Path::Spill),
    ("range-alloc", Path::RangeAlloc),
    ("range-free", Path::RangeFree),
    ("arena-alloc-of-10", Path::Alloc10),
    ("arena-free-of-10", Path::Free10),
    ("arena-alloc-of-1k", Path::Alloc1k),
    ("arena-free-of-1k", Path::Free1k),
    ("arena-alloc-of-100k", Path::Alloc100k),
    ("arena-free-of-100k", Path::Free100k),
    ("arena-alloc-of-1m", Path::Alloc1m),
    ("arena-free-of-1m", Path::Free1m),
];

/// Lines for the longest stretch with interrupts off, which is a little more than what a lock is held for.
const MASKED_LINES: &[(&str, Path)] = &[
    ("depot-on-alloc-masked", Path::DepotAlloc),
    ("depot-on-free-masked", Path::DepotFree),
    ("refill-masked", Path::Refill),
    ("spill-masked", Path::Spill),
];

fn main() -> ExitCode {
    if env::var_os(SKIP).is_some() {
        println!("instructions are not counted: {SKIP} is set\n0 passed, 0 failed, 1 skipped");
        return ExitCode::SUCCESS;
    }
    if cfg!(debug_assertions) {
        eprintln!("instructions are counted of a release build: `tools/budget.sh`");
        return ExitCode::FAILURE;
    }
    machine::init();
    let outcome = step::follow(paths::script).and_then(|calls| {
        let counts = Counts(calls);
        let gate = counts.notices_three_more()?;
        let ranges = counts.ranges_keep_their_promises()?;
        let outcome = settle("host", &counts.lines()?)?;
        Ok((gate, ranges, outcome))
    });
    match outcome {
        Ok((gate, ranges, outcome)) => {
            println!("{:<30} {:>7} {:>8}  {:<8} reason", "path", "budget", "measured", "");
            print!("{}", outcome.table);
            println!("{gate}\n{ranges}");
            println!("{} passed, {} failed, 0 skipped", outcome.nr_passed, outcome.nr_failed);
            if outcome.nr_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("instructions cannot be counted: {error}\n(leave this out by {SKIP}=1 in the environment)");
            println!("0 passed, 1 failed, 0 skipped");
            ExitCode::FAILURE
        }
    }
}

/// What every call took.
struct Counts(Vec<(Label, Count)>);

impl Counts {
    /// The largest number of instructions of `path`, from its entry to its `ret`, with the number of objects moved.
    fn of(&self, path: Path) -> Result<(u64, u64), String> {
        let calls = self.0.iter().filter(|(label, _)| label.path == path as u32);
        let largest = calls.max_by_key(|(_, count)| count.nr_instructions);
        let (label, count) = largest.ok_or(format!("{path:?} was never walked"))?;
        Ok((count.nr_instructions - self.around()?, u64::from(label.nr_objects)))
    }

    /// What a counted call takes besides the path: all of the call of nothing but its two instructions.
    fn around(&self) -> Result<u64, String> {
        const NOTHING: u64 = 2;
        let mut calls = self.0.iter().filter(|(label, _)| label.path == Path::Nothing as u32).map(|(_, count)| count);
        let first = calls.next().ok_or("nothing was never called")?.nr_instructions;
        match calls.find(|count| count.nr_instructions != first) {
            Some(other) => Err(format!("the same took {first} and then {} instructions", other.nr_instructions)),
            None => Ok(first - NOTHING),
        }
    }

    /// The longest stretch of `path` with interrupts off.
    fn masked(&self, path: Path) -> Result<u64, String> {
        let calls = self.0.iter().filter(|(label, _)| label.path == path as u32);
        let longest = calls.map(|(_, count)| count.nr_masked).max().ok_or(format!("{path:?} was never walked"))?;
        // It begins at the entry of `mask`; a path that only jumps there is that function.
        Ok(longest.saturating_sub(self.of(Path::Mask)?.0))
    }

    fn lines(&self) -> Result<Vec<Measured>, String> {
        let whole = LINES.iter().map(|&(name, path)| {
            let (nr_instructions, nr_objects) = self.of(path)?;
            Ok(Measured::new(name, nr_instructions, nr_objects))
        });
        let masked = MASKED_LINES.iter().map(|&(name, path)| Ok(Measured::new(name, self.masked(path)?, 1)));
        whole.chain(masked).collect()
    }

    /// What a path takes on average.
    fn mean(&self, path: Path) -> Result<f64, String> {
        let calls = self.0.iter().filter(|(label, _)| label.path == path as u32);
        let (sum, nr_calls) = calls.fold((0, 0), |(sum, n), (_, count)| (sum + count.nr_instructions, n + 1));
        if nr_calls == 0 {
            Err(format!("{path:?} was never walked"))
        } else {
            Ok(sum as f64 / f64::from(nr_calls) - self.around()? as f64)
        }
    }

    /// A range from a magazine and back takes at most three times an object; one from the arena takes the same in a million
    /// pieces as in ten, a quarter more at most.
    fn ranges_keep_their_promises(&self) -> Result<String, String> {
        let pair = |alloc, free| Ok::<_, String>(self.of(alloc)?.0 + self.of(free)?.0);
        let (object, range) = (pair(Path::AllocRuntime, Path::FreeRuntime)?, pair(Path::RangeAlloc, Path::RangeFree)?);
        let mut text =
            format!("a range and back: {range} instructions, an object and back: {object}; in so many pieces:");
        let mut least = f64::INFINITY;
        for (nr_segments, alloc, free) in ranges::FRAGMENTED {
            let mean = self.mean(alloc)? + self.mean(free)?;
            least = least.min(mean);
            text += &format!(" {nr_segments}: {mean:.1}");
            if mean > 1.25 * least {
                return Err(format!("{text}: more than a quarter above the least"));
            }
        }
        if range > 3 * object { Err(format!("{text}: more than three times")) } else { Ok(text) }
    }

    /// The proof that growth is seen: a path with three instructions more exceeds its own count by more than the slack.
    fn notices_three_more(&self) -> Result<String, String> {
        let (plain, fattened) = (self.of(Path::AllocRuntime)?.0, self.of(Path::Fattened)?.0);
        if fattened * 10 > plain * 10 + SLACK {
            Ok(format!("alloc-runtime fattened on purpose: {fattened} for {plain}, which would fail"))
        } else {
            Err(format!("a path fattened on purpose took {fattened}, the plain one {plain}: growth is not seen"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_work_takes_the_same_steps_and_more_work_takes_more() {
        extern "C" fn turns(n: usize, _: usize) -> usize {
            (0..n).fold(0, |sum, i| std::hint::black_box(sum ^ i))
        }
        let calls = step::follow(|counted| {
            for n in [10, 10, 20, 30] {
                counted.call(turns, n, 0);
                counted.label(Label { path: 1, nr_objects: n as u32 });
            }
        });
        let counts: Vec<u64> = match calls {
            Ok(calls) => calls.iter().map(|(_, count)| count.nr_instructions).collect(),
            Err(error) if env::var_os(SKIP).is_some() => return println!("left out: {error}"),
            Err(error) => panic!("{error}; {SKIP}=1 leaves this out"),
        };
        assert_eq!(counts[0], counts[1]);
        assert!(counts[2] >= counts[1] + 20, "{counts:?}: two instructions a turn at least");
        assert_eq!(counts[3] - counts[2], counts[2] - counts[1], "{counts:?}");
    }
}
