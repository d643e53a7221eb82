//! What is told of the CPUs: `smp` to people and to programs, who is missing and why, and options that cannot be met.

use serde_json::{Value, json};

use crate::accounting::documents;
use crate::support::{Outcome, Passed, Run, Settings, Test, script};
use tests::{End, kernel};

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("smp::counts-what-it-shows", counts),
        Test::new("smp::who-is-missing-is-told-to-programs", missing),
        Test::new("smp::options-that-cannot-be-met-are-told", wrong_options),
    ]
}

/// The two forms of `smp` agree with each other and with what happened.
fn counts() -> Outcome {
    let run = Run::of(script(3, "tlb pages=32; smp --json; smp; quit"))?;
    run.ends(End::Success)?;
    let (cpus, all) = (objects(&run, "smp_cpu"), objects(&run, "smp"));
    run.check(cpus.len() == 3 && all.len() == 1, || format!("three CPUs and a total, found {cpus:?} {all:?}"))?;
    for name in ["rounds", "ipis_sent", "ipis_taken", "pages_flushed", "full_flushes", "skipped", "saved"] {
        let sum: u64 = cpus.iter().filter_map(|cpu| cpu[name].as_u64()).sum();
        run.check(all[0][name] == sum, || format!("{name} to add up to {sum}: {}", all[0]))?;
    }
    // 32 pages the naive way, 32 one by one, and two batches: a round each.
    run.check(all[0]["rounds"].as_u64().is_some_and(|rounds| rounds >= 66), || format!("66 rounds in {}", all[0]))?;
    run.check(cpus.iter().all(|cpu| cpu["state"] == "Online"), || "three CPUs online".into())?;
    for cpu in &cpus {
        let number = |name: &str| cpu[name].as_u64().unwrap_or(u64::MAX);
        let is_newest =
            number("seen").saturating_add(number("behind")) >= all[0]["generation"].as_u64().unwrap_or(u64::MAX);
        run.check(is_newest, || format!("generations seen and missed to be all in {cpu}"))?;
        let is_present = cpu["now"] == if number("cpu") == 0 { "running" } else { "halted" };
        run.check(is_present, || format!("one CPU that runs, and halted ones, found {cpu}"))?;
        run.check(number("interrupts") >= number("ipis_taken"), || format!("those of shootdowns among all in {cpu}"))?;
    }
    let answer = kernel::answer(run.serial(), "smp");
    run.check(answer.lines().all(|line| line.chars().count() <= 120), || "lines of at most 120 columns".into())?;
    run.check(kernel::cpus_online(answer).is_some() && answer.contains("\nall "), || "tables and a total".into())?;

    // One set of names: a heading has a blank where the field has `_`, and a field has its unit behind it.
    let headings: Vec<&str> = answer
        .lines()
        .filter(|line| line.starts_with("cpu "))
        .flat_map(|line| line.split("  "))
        .map(str::trim)
        .collect();
    for heading in headings.iter().filter(|heading| !heading.is_empty()) {
        let name = heading.replace(' ', "_");
        let is_field = [name.clone(), name.clone() + "_ns"].iter().any(|name| !cpus[0][name].is_null());
        run.check(is_field, || format!("a field {name} in {}", cpus[0]))?;
    }
    let nr_fields = cpus[0].as_object().map_or(0, serde_json::Map::len);
    // `cpu` heads both tables, and no table has the `kind`.
    let nr_headings = headings.iter().filter(|heading| !heading.is_empty()).count();
    run.check(nr_fields == nr_headings, || format!("{nr_fields} fields for the headings {headings:?}"))?;
    let told = format!(
        "generation {}, {} rounds, everything is flushed above {} pages",
        all[0]["generation"],
        all[0]["mode"].as_str().unwrap_or_default(),
        all[0]["flush_pages"]
    );
    run.check(answer.contains(told.split_once(',').map_or("", |(_, rest)| rest)), || told.clone())?.passes()
}

/// The objects of a kind in the answer to `smp --json`.
fn objects(run: &Run, kind: &str) -> Vec<Value> {
    let lines = kernel::answer(run.serial(), "smp --json").lines();
    let objects = lines.filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    objects.filter(|object| object["kind"] == kind).collect()
}

/// Who is missing is told to programs, with the reason, from the list and where there is none.
fn missing() -> Outcome {
    let none = "the bootloader did not answer the request for a list of CPUs";
    // The lie, and what is to be told: entry, APIC id, number, state, reason.
    let cases = [
        ("none", json!([null, 2, null, "Unlisted", none])),
        ("absent", json!([3, 30583, 3, "Failed", "did not come"])),
        ("null", json!([2, null, null, "Ignored", "points at no entry"])),
    ];
    for (lie, due) in cases {
        let append = format!("chaos=mp:{lie} cpu-wait-ms=300");
        let run = Run::of(Settings { append, ..script(3, "smp --json; quit") })?;
        run.ends(End::CommandFailed)?;
        documents(&run, "smp --json")?;
        let missing = objects(&run, "smp_missing");
        let fields = ["entry", "apic_id", "cpu", "state", "reason"];
        let told: Vec<Value> =
            missing.iter().map(|object| fields.iter().map(|&field| object[field].clone()).collect()).collect();
        run.check(told.contains(&due), || format!("{due} after chaos=mp:{lie}, found {missing:?}"))?;
    }
    Ok(Passed::Yes)
}

/// Options that cannot be met are told, with what is used instead, and fail the run.
fn wrong_options() -> Outcome {
    let append = "chaos=parity:9:cr0 chaos=parity:0:cr0 chaos=skew-tsc:4:1 chaos=bad-frame:1 chaos=bad-frame:2 \
                  cpus=2 cpus=junk cpus=4 cpu-wait-ms=99999999999999999999 flush-pages=7 flush-pages= watchdog=5s watchdog=0";
    let run = Run::of(Settings { append: append.into(), ..script(4, "smp; quit") })?;
    run.ends(End::CommandFailed)?;
    let complaints = [
        "chaos=parity:9:cr0 changes nothing: there is no cpu 9",
        "chaos=parity:0:cr0 changes nothing: cpu 0 is the one that the others are compared with",
        "chaos=skew-tsc:4:1 changes nothing: there is no cpu 4",
        "cpus= is given twice; the last, cpus=4, counts",
        "cpu-wait-ms=99999999999999999999 is too large; 10000 is used",
        "flush-pages= is given twice; the last, flush-pages=, counts",
        "flush-pages= is no number up to 63; 32 is used",
        "watchdog= is given twice; the last, watchdog=0, counts",
        "watchdog=0 is no duration above 0, such as 10s or 500ms; 10 s is used",
    ];
    for complaint in complaints {
        run.says(&format!("bandolier: {complaint}\r\n"))?;
    }
    // What may be given twice is not complained of, and what is in vain is not announced.
    let nr_complaints = run.serial().lines().filter(|line| line.starts_with("bandolier: ")).count();
    let announced = ["bandolier: entry", "bandolier: chaos: frame 0x1 reads", "bandolier: chaos: frame 0x2 reads"];
    announced.iter().try_for_each(|line| run.says(line).map(|_| ()))?;
    run.check(nr_complaints == complaints.len() + announced.len(), || "these complaints, and no more".into())?;
    run.says("everything is flushed above 32 pages")?.says("4 of 4 CPUs online")?.passes()
}
