//! What a recording came to, in words: what is in it, what was lost, what was left out and what was added.
//!
//! Called by: the program, on standard error: standard output is the command's.

use crate::record::Outcome;
use figures::{Bytes, Count, Nanos, Percent};
use std::fmt;
use std::path::Path;

/// An outcome to be printed.
#[derive(Debug)]
pub struct Told<'a> {
    /// The recording.
    pub path: &'a Path,
    /// What it came to.
    pub outcome: &'a Outcome,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { summary, counts, nr_cpus, elapsed, .. } = self.outcome;
        let path = self.path.display();
        writeln!(
            f,
            "recorded: {path}: {} events of {} CPUs in {}: {} objects, {} page runs, peak live {}",
            Count(summary.nr_events),
            nr_cpus,
            Nanos(elapsed.as_micros() as u64 * 1_000),
            Count(counts.nr_objects),
            Count(counts.nr_page_runs),
            Bytes(summary.peak_live_bytes)
        )?;
        self.lost(f)?;
        writeln!(
            f,
            "recorded: added {} frees of what was handed out again without one, {} of what was live at the end",
            Count(counts.nr_reused),
            Count(counts.nr_live_at_end)
        )?;
        if counts.nr_slab_runs > 0 {
            writeln!(
                f,
                "recorded: {} page runs of {} in all were taken for slabs{}",
                Count(counts.nr_slab_runs),
                Bytes(counts.slab_bytes),
                if self.outcome.is_without_slab_pages { ", and are left out" } else { "" }
            )?;
        }
        let left_out = [
            (counts.nr_unseen_allocs, "frees of what was allocated before"),
            (counts.nr_large_kmallocs, "large kmallocs, whose page runs are recorded"),
            (counts.nr_own, "allocations of the recorder itself"),
            (counts.nr_of_nothing, "frees of nothing and failed allocations"),
            (counts.nr_too_large, "allocations whose size the format cannot hold"),
        ];
        let left_out: Vec<_> = left_out.iter().filter(|(count, _)| *count > 0).collect();
        for (i, (count, what)) in left_out.iter().enumerate() {
            write!(f, "{}{} {what}", if i == 0 { "recorded: left out " } else { ", " }, Count(*count))?;
        }
        if !left_out.is_empty() {
            writeln!(f)?;
        }
        if usize::from(*nr_cpus) > trace::MAX_CPUS {
            writeln!(f, "recorded: the format has 64 CPUs: CPU n of {nr_cpus} is recorded as n mod 64")?;
        }
        if self.outcome.is_full {
            writeln!(f, "recorded: stopped at the most events that are kept (--max-events), before the command ended")?;
        }
        self.replay(f)
    }
}

/// Whether `just`, a shell, the list of modules and the kernel's shell all take `text` for one word.
fn is_plain(text: &str) -> bool {
    !text.starts_with('-') && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_+,./:@%".contains(c))
}

impl Told<'_> {
    /// How to play it.
    fn replay(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The recipe runs in the project's folder.
        let whole = self.path.canonicalize().unwrap_or_else(|_| self.path.into());
        let name = self.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        match whole.to_str().filter(|path| is_plain(path) && is_plain(&name)) {
            Some(path) => {
                writeln!(f, "recorded: replay it with: just modules={path} cmd='replay {name}; quit' qemu-smp")
            }
            None => f.write_str("recorded: to replay it, call it by a name of letters, digits and -_+,.:@% alone\n"),
        }
    }

    fn lost(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { counts, cpus, buffer_kib, .. } = self.outcome;
        let nr_lost = self.outcome.nr_lost();
        if nr_lost == 0 {
            writeln!(f, "recorded: lost no events")?;
        } else {
            let all = counts.nr_records + nr_lost;
            writeln!(
                f,
                "recorded: LOST {} of {} events ({}); larger buffers than {} may help (--buffer MIB)",
                Count(nr_lost),
                Count(all),
                Percent(nr_lost, all),
                Bytes(buffer_kib << 10)
            )?;
        }
        for cpu in cpus {
            let stats = &cpu.stats;
            if stats.nr_lost() > 0 || cpu.nr_gaps > 0 {
                writeln!(
                    f,
                    "recorded:   CPU {}: {} overwritten, {} dropped, {} by interrupts; the pages name {} in {} places",
                    cpu.cpu,
                    Count(stats.nr_overrun),
                    Count(stats.nr_dropped),
                    Count(stats.nr_commit_overrun),
                    Count(cpu.nr_missed),
                    Count(cpu.nr_gaps)
                )?;
            }
            if stats.nr_read != cpu.nr_read {
                writeln!(
                    f,
                    "recorded:   CPU {}: the kernel says that {} events were read, {} were found",
                    cpu.cpu,
                    Count(stats.nr_read),
                    Count(cpu.nr_read)
                )?;
            }
            if cpu.nr_steps_back > 0 {
                let steps = Count(cpu.nr_steps_back);
                writeln!(f, "recorded:   CPU {}: the clock stepped back {steps} times", cpu.cpu)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_if_nobody_on_the_way_takes_it_apart() {
        for name in ["a.kmt", "/tmp/build-1_2/x+y.kmt", "a,b:c@d%e"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["a b.kmt", "it's.kmt", "a;b", "a=b.kmt", "--json", "$x", "\u{fc}.kmt"] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
