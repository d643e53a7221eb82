//! What was measured as records, for `just report` and `just bench-compare`: the format is that of the kernel's `bench`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

use records::{End, Meta, Record, Throughput, VERSION, Waste};

use crate::host::{MEMORY_BYTES, NR_CPUS};
use crate::measure::Row;
use crate::{measure, round};

/// Collects the lines of a recording.
pub(crate) struct Recorder {
    text: String,
    nr_rows: u64,
}

impl Recorder {
    /// Begins with what this host is. `nr_reps` is 0 where nothing is timed.
    pub(crate) fn begin(nr_reps: usize) -> Self {
        let mut recorder = Self { text: String::new(), nr_rows: 0 };
        recorder.push(&meta(nr_reps));
        recorder
    }

    fn push(&mut self, record: &impl Record) {
        // A string takes everything.
        let _ = record.write(&mut self.text);
    }

    /// Adds all cells of a row of the table of times.
    pub(crate) fn times(&mut self, row: &Row) {
        for cell in &row.cells {
            let milli: Vec<u64> = cell.ns.iter().map(|ns| (ns * 1000.0).round() as u64).collect();
            self.row(&Throughput {
                workload: row.workload.name.into(),
                contender: cell.allocator.name.into(),
                cpus: row.nr_threads as u64,
                unit: "pair".into(),
                nr_ops: cell.nr_pairs_measured,
                milliticks_per_op: milli.into(),
                ..Throughput::default()
            });
        }
    }

    /// Adds what a pair takes in instructions, counted over `nr_pairs` of them.
    pub(crate) fn instructions(&mut self, workload: &str, allocator: &str, per_pair: f64, nr_pairs: u64) {
        self.row(&Throughput {
            workload: workload.into(),
            contender: allocator.into(),
            cpus: 1,
            unit: "pair".into(),
            nr_ops: nr_pairs,
            milli_instructions_per_op: Some((per_pair * 1000.0).round() as u64),
            ..Throughput::default()
        });
    }

    fn row(&mut self, row: &Throughput<'_>) {
        self.nr_rows += 1;
        self.push(row);
    }

    /// Adds a look at what an allocator holds.
    pub(crate) fn waste(&mut self, workload: &str, allocator: &str, live_bytes: u64, held_bytes: u64) {
        self.push(&Waste { workload: workload.into(), contender: allocator.into(), live_bytes, held_bytes });
    }

    /// Ends it and writes it to a file, whose folder is made; `-` is standard output. An object that is damaged ends the
    /// program long before this.
    ///
    /// # Errors
    ///
    /// What the host says.
    pub(crate) fn finish(mut self, path: &Path) -> Result<(), String> {
        self.push(&End { is_pass: true, nr_rows: self.nr_rows, ..End::default() });
        if path == Path::new("-") {
            print!("{}", self.text);
            return Ok(());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.map_or(Ok(()), fs::create_dir_all).map_err(|error| format!("{}: {error}", path.display()))?;
        fs::write(path, self.text).map_err(|error| format!("{}: {error}", path.display()))
    }
}

fn meta(nr_reps: usize) -> Meta<'static> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |name: &str| cpuinfo.lines().find_map(|line| Some(line.strip_prefix(name)?.split_once(':')?.1.trim()));
    let has = |flag: &str| line("flags").is_some_and(|flags| flags.split(' ').any(|it| it == flag));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let words = env::args().skip(1).map(|word| if word.contains(' ') { format!("'{word}'") } else { word });
    let number = |name: &str| line(name).and_then(|word| word.parse::<u64>().ok()).filter(|&number| number > 0);
    let (siblings, cores) = (number("siblings"), number("cpu cores"));
    Meta {
        version: VERSION,
        source: "native".into(),
        program: format!("bandolier-bench {} on Linux {}", env!("CARGO_PKG_VERSION"), kernel.trim()).into(),
        revision: env::var("BANDOLIER_REVISION").ok().filter(|revision| !revision.is_empty()).map(Into::into),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        command: ["just bench-native".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ").into(),
        unix_s: SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs()),
        cpu: line("model name").unwrap_or("unknown").to_owned().into(),
        platform: if has("hypervisor") { hypervisor() } else { "bare metal".into() }.into(),
        is_emulated: false,
        nr_cpus: NR_CPUS as u64,
        nr_cores: None,
        threads_per_core: siblings.zip(cores).map(|(siblings, cores)| siblings / cores),
        host_cpus: std::thread::available_parallelism().ok().map(|nr_cpus| nr_cpus.get() as u64),
        memory_bytes: MEMORY_BYTES as u64,
        apic: None,
        loader: None,
        clock: "thread CPU time".into(),
        clock_hz: 1_000_000_000,
        clock_source: "defined".into(),
        clock_check_hz: None,
        clock_check_source: None,
        is_clock_invariant: true,
        max_warp_ticks: None,
        timer_ticks: round::clock_cost_ns(),
        actual_rate_per_mille: None,
        // Fixed lists and fixed seeds; a round is as many pairs as fill its time.
        seed: 0,
        nr_ops: None,
        nr_reps: nr_reps as u64,
        nr_warm_ups: if nr_reps == 0 { 0 } else { measure::NR_WARM_UPS },
        is_summary: false,
    }
}

/// Whose virtual machine this is, as its firmware says.
fn hypervisor() -> String {
    let said = ["/sys/class/dmi/id/product_name", "/sys/class/dmi/id/sys_vendor", "/sys/hypervisor/type"];
    let names = said.iter().filter_map(|path| fs::read_to_string(path).ok());
    names.map(|name| name.trim().to_owned()).find(|name| !name.is_empty()).unwrap_or_else(|| "a virtual machine".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::lines::read;

    #[test]
    fn what_is_recorded_can_be_read() {
        let folder = env::temp_dir().join(format!("bandolier-bench-record-{}", std::process::id()));
        let path = folder.join("new").join("native.jsonl");
        let mut recorder = Recorder::begin(9);
        recorder.instructions("pair64", "mm", 44.0, 64_000);
        recorder.waste("sawtooth", "mm", 1 << 20, 3 << 20);
        recorder.finish(&path).expect("the folder is made");
        let text = fs::read_to_string(&path).expect("it was written");
        fs::remove_dir_all(&folder).expect("it was made here");

        let runs = read(&text).expect("records");
        let run = &runs[0];
        assert_eq!((run.meta.source.as_ref(), run.meta.clock_hz, run.meta.nr_reps), ("native", 1_000_000_000, 9));
        assert!(run.meta.timer_ticks > 0 && !run.meta.is_emulated && !run.meta.cpu.is_empty());
        assert_eq!(run.rows[0].milli_instructions_per_op, Some(44_000));
        assert_eq!((run.wastes[0].live_bytes, run.wastes[0].held_bytes), (1 << 20, 3 << 20));
        assert_eq!(run.end.as_ref().map(|end| (end.is_pass, end.nr_rows)), Some((true, 1)));
    }
}
