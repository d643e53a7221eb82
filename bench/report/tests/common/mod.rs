//! Recordings made up for the tests: shaped like those of the kernel and of the native benchmark.

#![allow(dead_code, reason = "each test program uses a part")]

use records::lines::Recording;
use records::{End, Latency, Meta, Remark, Throughput, VERSION, Waste};
use report::load::Run;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of a test's own, gone when it ends.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("bandolier-report-{name}-{process}-{number}"));
        fs::create_dir_all(&path).expect("a folder for leftovers");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("it can be written");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover in a folder for leftovers.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Random numbers, the same on every run (SplitMix64: Steele, Lea and Flood, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// From 0 to 1.
    pub(crate) fn part(&mut self) -> f64 {
        self.next() as f64 / u64::MAX as f64
    }
}

pub(crate) fn meta(source: &'static str) -> Meta<'static> {
    let is_kernel = source == "kernel";
    Meta {
        version: VERSION,
        source: source.into(),
        program: if is_kernel { "bandolier 0.1.0" } else { "bandolier-bench 0.1.0" }.into(),
        revision: Some("0123456".into()),
        profile: "release".into(),
        command: if is_kernel { "just bench" } else { "just bench-native --json FILE" }.into(),
        unix_s: Some(1_760_000_000),
        cpu: "Some CPU @ 2.60GHz".into(),
        platform: if is_kernel { "QEMU TCG" } else { "Linux" }.into(),
        is_emulated: is_kernel,
        nr_cpus: if is_kernel { 8 } else { 2 },
        host_cpus: is_kernel.then_some(2),
        memory_bytes: 1 << 30,
        apic: is_kernel.then(|| "x2apic".into()),
        loader: is_kernel.then(|| "Limine 8.2.0".into()),
        clock: if is_kernel { "tsc" } else { "thread CPU time" }.into(),
        clock_hz: if is_kernel { 2_600_000_000 } else { 1_000_000_000 },
        clock_source: if is_kernel { "pm timer" } else { "defined" }.into(),
        is_clock_invariant: true,
        timer_ticks: 60,
        seed: 1,
        nr_ops: Some(10_000),
        nr_reps: 10,
        nr_warm_ups: 2,
        ..Meta::default()
    }
}

/// A row whose repetitions take about `ticks`, each up to `noise` of it more or less.
pub(crate) fn row(
    random: &mut Random,
    (workload, contender, cpus): (&str, &str, u64),
    ticks: f64,
    noise: f64,
) -> Throughput<'static> {
    let milli =
        (0..10).map(|_| (ticks * 1000.0 * (1.0 + noise * (2.0 * random.part() - 1.0))) as u64).collect::<Vec<_>>();
    Throughput {
        workload: workload.to_owned().into(),
        contender: contender.to_owned().into(),
        cpus,
        unit: "pair".into(),
        nr_ops: 100_000 * cpus,
        milliticks_per_op: milli.into(),
        nr_locks: Some(if contender == "heap" { 12 } else { 200_000 * cpus }),
        nr_waits: Some(if cpus > 1 && contender != "heap" { 5000 } else { 0 }),
        ..Throughput::default()
    }
}

pub(crate) fn end(nr_rows: usize) -> Option<End<'static>> {
    Some(End { is_pass: true, nr_rows: nr_rows as u64, ..End::default() })
}

const LOCKED: [(&str, f64); 6] = [
    ("slabs", 300.0),
    ("slabs-locked", 420.0),
    ("talc", 640.0),
    ("linked_list", 900.0),
    ("buddy", 2600.0),
    ("rlsf", 590.0),
];

/// A run of the kernel under emulation, on 1 to 8 CPUs.
pub(crate) fn kernel(seed: u64, noise: f64) -> Recording {
    let mut random = Random(seed);
    let mut rows = Vec::new();
    for (workload, factor, heap) in
        [("pair64", 1.0, 90.0), ("pairmix", 1.1, 105.0), ("larson", 1.4, 320.0), ("mstress", 1.2, 330.0)]
    {
        for cpus in [1, 2, 4, 8] {
            let turns = (cpus as f64 / 2.0).max(1.0);
            rows.push(row(&mut random, (workload, "heap", cpus), heap * turns, noise));
            for (name, ticks) in LOCKED {
                let ticks = ticks * factor * if cpus > 1 { 2.0 * (cpus as f64).powf(1.4) } else { 1.0 };
                rows.push(row(&mut random, (workload, name, cpus), ticks, noise));
            }
        }
    }
    for bytes in [16_u64, 64, 256, 1024, 4096] {
        for (name, ticks) in [("heap", 88.0), ("talc", 610.0), ("rlsf", 560.0)] {
            let row = row(&mut random, ("pair", name, 1), ticks + bytes as f64 / 100.0, noise);
            rows.push(Throughput { scale: Some("bytes".into()), scale_value: Some(bytes), ..row });
        }
    }
    for fill in [0_u64, 500, 990, 999] {
        let row = row(&mut random, ("frame", "frames", 1), 150.0 + fill as f64 / 20.0, noise);
        rows.push(Throughput { scale: Some("fill_per_mille".into()), scale_value: Some(fill), ..row });
    }
    for cpus in [2_u64, 4, 8] {
        for (name, ticks) in [("halted", 3000.0), ("busy", 60_000.0), ("woken", 90_000.0)] {
            let row = row(&mut random, ("shootdown", name, cpus), ticks * cpus as f64, noise);
            rows.push(Throughput {
                unit: "round".into(),
                nr_ipis: Some(row.nr_ops),
                nr_locks: None,
                nr_waits: None,
                ..row
            });
        }
    }
    for cpus in [2_u64, 8] {
        for pages in [1_u64, 8, 64] {
            for (name, ticks) in [("halted", 3000.0), ("busy", 40_000.0)] {
                let row = row(&mut random, ("map", name, cpus), ticks + pages as f64 * 900.0, noise);
                rows.push(Throughput {
                    unit: "map, touch, unmap".into(),
                    scale: Some("pages".into()),
                    scale_value: Some(pages),
                    ..row
                });
            }
        }
    }
    let mut latencies = Vec::new();
    for cpus in [1, 2, 8] {
        for (name, ticks) in [("heap", 180), ("talc", 700), ("linked_list", 900)] {
            for operation in ["alloc", "free"] {
                latencies.push(Latency {
                    workload: "pairmix".into(),
                    contender: name.into(),
                    cpus,
                    operation: operation.into(),
                    nr_samples: 4000,
                    p50_ticks: ticks,
                    p99_ticks: ticks * (3 + cpus),
                    p999_ticks: ticks * 30 * cpus,
                    max_ticks: ticks * 900 * cpus,
                    timer_ticks: 70,
                    ..Latency::default()
                });
            }
        }
    }
    let end = end(rows.len());
    Recording { meta: meta("kernel"), rows, latencies, end, ..Recording::default() }
}

/// A run of the native benchmark, with memory held.
pub(crate) fn native(seed: u64, noise: f64) -> Recording {
    let mut random = Random(seed);
    let peers = [
        ("mm", 2.5),
        ("null", 0.6),
        ("mm-result", 2.7),
        ("mimalloc", 4.4),
        ("mimalloc-c", 4.0),
        ("jemalloc", 3.6),
        ("snmalloc", 3.5),
        ("rpmalloc", 4.8),
        ("glibc", 7.9),
        ("talc", 21.0),
        ("linked_list", 29.0),
        ("buddy", 95.0),
        ("rlsf", 22.0),
    ];
    let mut rows = Vec::new();
    for (workload, factor) in [("pair64", 1.0), ("pairmix", 1.1), ("thrash", 4.0), ("larson", 3.0), ("xmalloc", 1.5)] {
        for cpus in [1, 2] {
            for (name, ns) in peers {
                let is_lost = workload == "thrash" && name == "snmalloc";
                let ns = if is_lost { 2.0 } else { ns } * factor * if ns > 20.0 && cpus == 2 { 30.0 } else { 1.0 };
                let row = row(&mut random, (workload, name, cpus), ns, noise);
                rows.push(Throughput { nr_locks: None, nr_waits: None, ..row });
            }
        }
    }
    let mut wastes = Vec::new();
    for (name, factor) in [("mm", 1.0), ("jemalloc", 1.25), ("mimalloc", 1.4), ("glibc", 1.1)] {
        for (live, held) in [(4, 5.0), (8, 9.4), (16, 18.2), (16, 24.0), (16, 36.0), (2, 17.0)] {
            let (live_bytes, held_bytes) = (live << 20, (held * factor * 1_048_576.0) as u64);
            wastes.push(Waste { workload: "sawtooth".into(), contender: name.into(), live_bytes, held_bytes });
        }
    }
    let end = end(rows.len());
    Recording { meta: meta("native"), rows, wastes, end, ..Recording::default() }
}

/// A run that is one row, on one CPU.
pub(crate) fn tiny() -> Recording {
    let rows = vec![row(&mut Random(3), ("pair64", "heap", 1), 90.0, 0.0)];
    Recording { meta: meta("kernel"), end: end(1), rows, ..Recording::default() }
}

pub(crate) fn remark(text: &str) -> Remark<'static> {
    Remark { text: text.to_owned().into() }
}

pub(crate) fn run(recording: Recording) -> Run {
    Run { origin: "recording.jsonl".into(), path: "recording.jsonl".into(), recording }
}

pub(crate) fn written(recording: &Recording) -> String {
    let mut text = String::new();
    recording.write(&mut text).expect("a string takes everything");
    text
}
