//! A survey in words and columns, and as JSON.
//!
//! Called by: the program's `info`.

use crate::survey::{CpuSurvey, KindSurvey, Moment, NR_LIFETIMES, Survey};
use figures::{Bytes, Count, Percent};
use mm::size_class::{self, NR_CLASSES};
use records::json;
use std::fmt::{self, Write};

/// Columns of the small picture of live bytes.
const SPARKS: usize = 64;
/// Columns of the longest bar.
const BAR: u64 = 30;
/// A row below this part of all is summed up with the others like it.
const SMALLEST_ROW: u64 = 100;

/// A recording's name and survey, to be printed.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it shows.
    pub survey: &'a Survey,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let survey = self.survey;
        let [objects, runs] = &survey.kinds;
        let (nr_cross, nr_frees) = survey.cross();
        writeln!(f, "{}: {} events of {} CPUs", self.name, Count(survey.summary.nr_events), survey.nr_cpus)?;
        writeln!(f)?;
        writeln!(f, "{:<24} {:>14} {:>14} {:>12} {:>12}", "", "allocated", "bytes", "peak live", "freed afar")?;
        for (name, kind) in [("objects", objects), ("page runs", runs)] {
            let afar = Percent(kind.nr_cross, kind.lifetimes.count());
            let bytes = Bytes(kind.bytes);
            writeln!(f, "{name:<24} {:>14} {bytes:>14} {:>12} {afar:>12}", Count(kind.nr), Bytes(kind.peak_bytes))?;
        }
        let afar = Percent(nr_cross, nr_frees);
        let (bytes, peak) = (Bytes(survey.summary.total_bytes), Bytes(survey.summary.peak_live_bytes));
        writeln!(f, "{:<24} {:>14} {bytes:>14} {peak:>12} {afar:>12}", "both", Count(survey.summary.nr_objects))?;
        let with_end = Percent(survey.summary.nr_cross_cpu_frees, survey.summary.nr_objects);
        let nr_live_at_end = Count(survey.nr_live_at_end);
        writeln!(f, "live at the end: {nr_live_at_end}, freed there by CPU 0; with these {with_end} are freed afar")?;

        writeln!(f, "\nlive bytes over its course, up to {peak}")?;
        writeln!(f, "  {}", sparkline(&survey.moments))?;
        self.sizes(f)?;
        self.lifetimes(f)?;
        self.cpus(f)
    }
}

impl Description<'_> {
    fn sizes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let survey = self.survey;
        let classes = survey.by_class.iter().enumerate().map(|(class, &count)| {
            let name = if class < NR_CLASSES { size_class::size(class).to_string() } else { "larger".into() };
            (name, count)
        });
        writeln!(f, "\nobjects by size class of the heap, bytes up to")?;
        rows(f, classes)?;
        let orders =
            survey.by_order.iter().enumerate().map(|(order, &count)| (Bytes(4096 << order).to_string(), count));
        writeln!(f, "\npage runs by size")?;
        rows(f, orders)
    }

    fn lifetimes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nlifetimes in events, of what was freed before the end")?;
        writeln!(f, "  {:<12} {:>12} {:>12} {:>12} {:>12}", "", "median", "p90", "p99", "longest")?;
        for (name, kind) in [("objects", &self.survey.kinds[0]), ("page runs", &self.survey.kinds[1])] {
            let [p50, p90, p99] = [50, 90, 99].map(|percent| Count(kind.lifetimes.percentile(percent)));
            writeln!(f, "  {name:<12} {p50:>12} {p90:>12} {p99:>12} {:>12}", Count(kind.lifetimes.max()))?;
        }
        let of_both = |i: usize| self.survey.kinds.iter().filter_map(|kind| kind.by_log2_lifetime.get(i)).sum();
        writeln!(f, "  both, events up to")?;
        rows(f, (0..NR_LIFETIMES).map(|i| (Count((2u64 << i) - 1).to_string(), of_both(i))))
    }

    fn cpus(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:>5} {:>14} {:>14} {:>14} {:>22}",
            "cpu", "allocations", "bytes", "frees", "of another's objects"
        )?;
        for (number, cpu) in self.survey.cpus.iter().enumerate() {
            let CpuSurvey { nr_allocs, nr_frees, nr_foreign, bytes } = *cpu;
            let foreign = Percent(nr_foreign, nr_frees);
            writeln!(
                f,
                "{number:>5} {:>14} {:>14} {:>14} {foreign:>22}",
                Count(nr_allocs),
                Bytes(bytes),
                Count(nr_frees)
            )?;
        }
        Ok(())
    }

    /// One object on a line.
    ///
    /// # Errors
    ///
    /// Of the writer.
    pub fn json(&self, out: &mut dyn Write) -> fmt::Result {
        let survey = self.survey;
        let (nr_cross, nr_frees) = survey.cross();
        json::line(out, |object| {
            object.text("kind", "trace-info");
            object.text("name", self.name);
            object.number("nr_cpus", survey.nr_cpus as u64);
            object.number("nr_events", survey.summary.nr_events);
            object.number("nr_allocated", survey.summary.nr_objects);
            object.number("nr_objects", survey.kinds[0].nr);
            object.number("nr_page_runs", survey.kinds[1].nr);
            object.number("total_bytes", survey.summary.total_bytes);
            object.number("peak_live_bytes", survey.summary.peak_live_bytes);
            object.number("peak_live_allocated", survey.summary.peak_live_objects);
            object.number("largest_bytes", survey.summary.largest_bytes);
            object.number("nr_live_at_end", survey.nr_live_at_end);
            object.number("nr_freed", nr_frees);
            object.number("nr_freed_on_another_cpu", nr_cross);
            for (name, kind) in [("object", &survey.kinds[0]), ("page_run", &survey.kinds[1])] {
                let KindSurvey { lifetimes, by_log2_lifetime, .. } = kind;
                object.number(&format!("{name}_bytes"), kind.bytes);
                object.number(&format!("{name}_peak_live_bytes"), kind.peak_bytes);
                object.number(&format!("{name}_lifetime_p50_events"), lifetimes.percentile(50));
                object.number(&format!("{name}_lifetime_p99_events"), lifetimes.percentile(99));
                object.number(&format!("{name}_lifetime_max_events"), lifetimes.max());
                object.list(&format!("{name}_nr_by_log2_lifetime"), by_log2_lifetime);
            }
            let sizes: Vec<u64> = (0..NR_CLASSES).map(|class| size_class::size(class) as u64).collect();
            object.list("size_class_bytes", &sizes);
            object.list("nr_objects_by_size_class", &survey.by_class);
            object.list("nr_page_runs_by_order", &survey.by_order);
            let moments = |part: fn(&Moment) -> u64| survey.moments.iter().map(part).collect::<Vec<_>>();
            object.list("course_events", &moments(|moment| moment.nr_events));
            object.list("course_object_bytes", &moments(|moment| moment.object_bytes));
            object.list("course_page_bytes", &moments(|moment| moment.page_bytes));
            let cpus = |part: fn(&CpuSurvey) -> u64| survey.cpus.iter().map(part).collect::<Vec<_>>();
            object.list("nr_allocs_by_cpu", &cpus(|cpu| cpu.nr_allocs));
            object.list("nr_frees_by_cpu", &cpus(|cpu| cpu.nr_frees));
            object.list("nr_foreign_frees_by_cpu", &cpus(|cpu| cpu.nr_foreign));
        })
    }
}

/// Names, counts, shares and bars. Rows below a hundredth are summed up in one, where there are several.
fn rows(f: &mut fmt::Formatter<'_>, rows: impl Iterator<Item = (String, u64)>) -> fmt::Result {
    let rows: Vec<_> = rows.filter(|(_, count)| *count > 0).collect();
    let all: u64 = rows.iter().map(|(_, count)| count).sum();
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let (small, large): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, count)| count * SMALLEST_ROW < all);
    let mut row = |name: &str, count: u64| {
        let bar = "#".repeat((u128::from(count) * u128::from(BAR) / u128::from(most.max(1))) as usize);
        let line = format!("  {name:>13} {:>14} {:>8}  {bar}", Count(count), Percent(count, all));
        writeln!(f, "{}", line.trim_end())
    };
    for (name, count) in &large {
        row(name, *count)?;
    }
    match &small[..] {
        [] => Ok(()),
        [(name, count)] => row(name, *count),
        several => row(&format!("{} others", several.len()), several.iter().map(|(_, count)| count).sum()),
    }
}

/// Live bytes as a line of text: in each column the most of its part.
fn sparkline(moments: &[Moment]) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = moments.iter().map(Moment::bytes).max().unwrap_or(0).max(1);
    let part = moments.len().div_ceil(SPARKS).max(1);
    let spark = |moments: &[Moment]| {
        let bytes = moments.iter().map(Moment::bytes).max().unwrap_or(0);
        let step = (u128::from(bytes) * STEPS.len() as u128).div_ceil(u128::from(most)).max(1) as usize;
        STEPS[(step - 1).min(STEPS.len() - 1)]
    };
    moments.chunks(part).map(spark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &[u8] = include_bytes!("../../../tests/data/fork-exec-small.kmt");

    #[test]
    fn a_sparkline_rises_to_the_peak_and_falls_to_nothing() {
        let moment = |page_bytes| Moment { page_bytes, ..Moment::default() };
        assert_eq!(sparkline(&[moment(0), moment(1), moment(50), moment(51), moment(100)]), "▁▁▄▅█");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[moment(u64::MAX / 2); 240]).chars().count(), 60);
    }

    #[test]
    fn a_real_recording_is_described() {
        let survey = Survey::of(REAL).expect("a good recording");
        let text = Description { name: "fork-exec-small.kmt", survey: &survey }.to_string();
        for part in
            ["21,504 events of 2 CPUs", "7,973", "2,779", "2.77 MiB", "lifetimes in events", "of another's objects"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn the_json_is_one_line_with_every_count() {
        let survey = Survey::of(REAL).expect("a good recording");
        let mut line = String::new();
        Description { name: "a \"b\"", survey: &survey }.json(&mut line).expect("a string takes all");
        assert_eq!(line.lines().count(), 1);
        for part in ["\"name\":\"a \\\"b\\\"\"", "\"nr_events\":21504", "\"peak_live_bytes\":2909570"] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
    }
}
