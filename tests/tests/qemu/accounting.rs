//! What the kernel says of itself: for people and for programs the same figures, and latencies of every path.

use crate::support::{Failure, Run, Settings, Test, script};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tests::{End, kernel};

type Object = Map<String, Value>;

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("accounting::a-cache-says-the-same-to-people-and-programs", || {
            let run =
                Run::of(script(2, "stress 20k seed=7 cpus=2; slabs 64; slabs 64 --json; slabs; slabs --json; quit"))?;
            run.ends(End::Success)?;
            let pages = page(kernel::answer(run.serial(), "slabs 64"));
            let told = one(&run, "slabs 64 --json", "cache")?;
            let mut nr_equal = 0;
            for (name, value) in &pages {
                let Ok(number) = value.replace(',', "").parse::<u64>() else { continue };
                let same = told.get(&name.replace(' ', "_")).and_then(Value::as_u64);
                run.check(same == Some(number), || format!("{name} {number} in JSON too, found {same:?}"))?;
                nr_equal += 1;
            }
            run.check(nr_equal >= 25, || format!("25 figures of a cache at least, found {nr_equal}"))?;
            run.check(told["alloc"].as_u64() > Some(100), || "a cache that was used".into())?;
            run.check(told["buf_size_bytes"] == 64 && pages["buf size"] == "64 B", || "objects of 64 bytes".into())?;
            conserved(&run, &told)?;

            let rows = objects(&run, "slabs --json", "cache_summary")?;
            let table = kernel::answer(run.serial(), "slabs");
            run.check(table.lines().count() == rows.len() + 1, || format!("{} caches in both", rows.len()))?;
            for (line, row) in table.lines().skip(1).zip(&rows) {
                let shown = words(line);
                let told =
                    ["id", "chunk_size_bytes", "name", "buf_inuse", "cpu_rounds", "depot_rounds"].map(|k| &row[k]);
                let told = told.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_string));
                run.check(shown[..6] == told, || format!("{shown:?} in JSON too, found {told:?}"))?;
            }
            run.passes()
        }),
        Test::new("accounting::memory-says-the-same-to-people-and-programs", || {
            let run = Run::of(script(2, "stress 5k seed=7; mem; mem --json; quit"))?;
            run.ends(End::Success)?.adds_up(1)?;
            let told = one(&run, "mem --json", "mem")?;
            let text = kernel::answer(run.serial(), "mem");
            let mut sum = 0;
            for (name, key) in MEMORY {
                let shown = text.lines().find_map(|line| {
                    let (_, rest) = line.split_once(name)?;
                    rest.split_once(" frames")?.0.trim().replace(',', "").parse::<u64>().ok()
                });
                let same = told.get(key).and_then(Value::as_u64);
                run.check(shown.is_some() && same == shown, || {
                    format!("{name}: {shown:?} in JSON too, found {same:?}")
                })?;
                sum += same.unwrap_or(0);
            }
            let usable = told["usable_frames"].as_u64();
            run.check(usable == Some(sum - usable.unwrap_or(0)), || {
                format!("{usable:?} frames as the sum of the parts")
            })?;
            run.check(told["ok"] == true && told["difference_frames"] == 0, || "memory that adds up".into())?;
            run.passes()
        }),
        Test::new("accounting::every-byte-of-the-slabs-is-something-with-guarded-objects-too", || {
            let settings =
                Settings { append: "debug=guard:3".into(), ..script(4, "stress 5k seed=7; mem --json; quit") };
            let run = Run::of(settings)?;
            run.ends(End::Success)?;
            let told = one(&run, "mem --json", "mem")?;
            let number = |key: &str| told.get(key).and_then(Value::as_u64).unwrap_or(0);
            let parts = ["out", "in_magazines", "in_depots", "free", "magazines", "ends", "lost", "quarantined"];
            let sum: u64 = parts.iter().map(|part| number(&format!("slab_{part}_bytes"))).sum();
            let held = (number("slab_frames") + number("quarantined_frames")) * 4096;
            let guarded = number("slab_guarded_bytes");
            run.check(guarded > 0, || "guarded objects that are out".into())?;
            run.check(sum == held + guarded, || format!("{held} and {guarded} bytes, found {sum} in {told:?}"))?;
            run.passes()
        }),
        Test::new("accounting::every-path-has-a-latency-after-a-stress", || {
            let run = Run::of(script(
                4,
                "latency; latency on; stress 20k seed=7; latency --json; slabs 512 --json; mem; quit",
            ))?;
            run.ends(End::Success)?.judges("stress", &[true])?.adds_up(1)?;
            run.check(!kernel::answer(run.serial(), "latency").contains("alloc"), || "no samples before `on`".into())?;
            // Who meets at the depot is a matter of luck; the others are needed by any stress.
            for (command, needed) in
                [("latency --json", &["hit", "swap", "slab", "frame"][..]), ("slabs 512 --json", &["hit"])]
            {
                let rows = objects(&run, command, "latency")?;
                for path in needed {
                    let nr_found = rows.iter().filter(|row| row["path"] == *path).count();
                    run.check(nr_found == 2, || format!("{command}: {path} of alloc and of free, found {nr_found}"))?;
                }
                let mut hits = BTreeMap::new();
                for row in &rows {
                    let number = |key: &str| row.get(key).and_then(Value::as_u64);
                    let rising = ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"].map(number);
                    run.check(rising.is_sorted() && rising[0].is_some(), || format!("rising times, found {row:?}"))?;
                    run.check(number("samples") > Some(0), || format!("samples in {row:?}"))?;
                    let path = row["path"].as_str().unwrap_or_default();
                    let [hit, slow]: &mut [u64; 2] = hits.entry(row["operation"].to_string()).or_default();
                    *(if path == "hit" { hit } else { slow }) += number("samples").unwrap_or(0);
                }
                // A hit is sampled behind each exchange of magazines and nowhere else.
                let are_sampled = hits.len() == 2 && hits.values().all(|[hit, slow]| *hit > 0 && hit <= slow);
                run.check(are_sampled, || format!("at most a hit for each slow operation, found {hits:?}"))?;
            }
            let clock = one(&run, "latency --json", "latency_clock")?;
            run.check(clock["recording"] == true && clock["frequency_hz"].as_u64() > Some(0), || format!("{clock:?}"))?;
            run.passes()
        }),
        Test::new("accounting::every-answer-for-programs-is-one-object-a-line", || {
            let commands = [
                "cpus --json",
                "smp --json",
                "clock --json",
                "tlb --json",
                "slabs --json",
                "slabs id=6 --json",
                "latency --json",
                "mem --json",
                "vmmap --json",
                "vmmap --all --json",
            ];
            let run = Run::of(script(2, &format!("latency on; stress 1k seed=7; {}; quit", commands.join("; "))))?;
            run.ends(End::Success)?;
            for command in commands {
                let lines = kernel::answer(run.serial(), command);
                run.check(!lines.is_empty(), || format!("an answer to {command}"))?;
                for line in lines.lines() {
                    let kind = parse(line).and_then(|object| object.get("kind")?.as_str().map(str::to_string));
                    run.check(kind.is_some(), || format!("an object with a kind, found {line}"))?;
                }
                documents(&run, command)?;
            }
            let cpus = one(&run, "cpus --json", "cpus")?;
            run.check(cpus["online"] == 2 && cpus["known"] == 2, || format!("2 CPUs, found {cpus:?}"))?;
            let written = objects(&run, "tlb --json", "tlb")?;
            let writes: Vec<_> = written.iter().map(|row| row["icr_writes"].as_u64()).collect();
            run.check(writes == [32, 32, 1, 1, 0].map(Some), || format!("writes for 32 pages, found {writes:?}"))?;
            run.passes()
        }),
    ]
}

/// The page says of every object in the answer to `command` what it is, and names each of its fields.
pub(crate) fn documents(run: &Run, command: &str) -> Result<(), Failure> {
    const PAGE: &str = include_str!("../../../docs/accounting.md");
    let is_named = |name: &str| PAGE.contains(&format!("`{name}`"));
    for line in kernel::answer(run.serial(), command).lines() {
        let object = parse(line).unwrap_or_default();
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        run.check(is_named(kind), || format!("docs/accounting.md to name `{kind}`, of {command}"))?;
        run.check(!kind.contains('-'), || format!("a kind whose words are joined by `_`, found {kind}"))?;
        for name in object.keys() {
            run.check(is_named(name), || format!("docs/accounting.md to name `{name}` of `{kind}`, of {command}"))?;
        }
    }
    Ok(())
}

/// Lines of `mem`, and their names for programs. The first is the sum of the others.
const MEMORY: [(&str, &str); 9] = [
    ("usable", "usable_frames"),
    ("kernel", "kernel_frames"),
    ("page tables", "page_table_frames"),
    ("address tags", "address_tag_frames"),
    ("slabs", "slab_frames"),
    ("large", "large_frames"),
    ("page magazines", "page_magazine_frames"),
    ("mapped", "mapped_frames"),
    ("free", "free_frames"),
];

fn parse(line: &str) -> Option<Object> {
    serde_json::from_str(line).ok()
}

/// The objects of this kind in the answer to `command`, every line of which must be an object.
fn objects(run: &Run, command: &str, kind: &str) -> Result<Vec<Object>, Failure> {
    let answer = kernel::answer(run.serial(), command);
    let parsed: Option<Vec<Object>> = answer.lines().map(parse).collect();
    run.check(parsed.is_some(), || format!("JSON in answer to {command}, found {answer}"))?;
    let is_wanted = |object: &Object| object.get("kind").is_some_and(|found| found == kind);
    Ok(parsed.unwrap_or_default().into_iter().filter(is_wanted).collect())
}

/// The only such object.
fn one(run: &Run, command: &str, kind: &str) -> Result<Object, Failure> {
    let mut found = objects(run, command, kind)?;
    run.check(found.len() == 1, || format!("one {kind} in the answer to {command}, found {}", found.len()))?;
    Ok(found.remove(0))
}

/// The cells of a line: two blanks or more stand between them.
fn words(line: &str) -> Vec<String> {
    line.split("  ").map(str::trim).filter(|word| !word.is_empty()).map(|word| word.replace(',', "")).collect()
}

/// The figures of a page, by name.
fn page(text: &str) -> BTreeMap<String, String> {
    let figures = text.lines().filter(|line| line.starts_with("    "));
    figures.map(words).filter(|words| words.len() >= 2).map(|words| (words[0].clone(), words[1].clone())).collect()
}

/// The sums that hold of a cache at rest.
fn conserved(run: &Run, of: &Object) -> Result<(), Failure> {
    let n = |key: &str| of.get(key).and_then(Value::as_i64).unwrap_or(i64::MIN);
    let sums = [
        ("objects with users", n("alloc") - n("free"), n("buf_inuse")),
        ("objects", n("buf_inuse") + n("buf_avail"), n("buf_total")),
        ("slabs", n("slab_create") - n("slab_destroy"), n("slabs")),
        ("objects out of slabs", n("slab_alloc") - n("slab_free"), n("buf_inuse") + n("buf_constructed")),
    ];
    for (name, one, other) in sums {
        run.check(one == other && one >= 0, || format!("{name} conserved, found {one} and {other}"))?;
    }
    Ok(())
}
