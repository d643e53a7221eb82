//! CPUs of any kind: sparse and large APIC ids, a bootloader that lists them wrongly, ones that never come or come late,
//! ones that differ; and what the kernel makes of them, in its boot lines, in `smp`, and in its exit status.

use std::thread::sleep;
use std::time::Duration;

use crate::support::{Failure, Outcome, Passed, Run, Settings, Test, Typist, script, xapic};
use tests::settings::{ApicIds, Boot};
use tests::{End, image, kernel, tlb_figures};

/// What a lie of the loader has to bring about, on a machine of four CPUs.
struct Lie {
    name: &'static str,
    /// A boot line that names what is wrong; empty if nobody has to know.
    said: &'static str,
    /// How many of how many CPUs are online.
    online: (u32, u32),
    /// Whether the bootloader's memory is taken over all the same.
    is_reclaimed: bool,
    /// What `smp` says besides; may be empty.
    shown: &'static str,
}

const fn lie(
    name: &'static str,
    said: &'static str,
    online: (u32, u32),
    is_reclaimed: bool,
    shown: &'static str,
) -> Lie {
    Lie { name, said, online, is_reclaimed, shown }
}

const LIES: [Lie; 17] = [
    lie(
        "duplicate",
        "cpus: entry 3 (APIC id 2) is parked: has the same APIC id as entry 2",
        (3, 4),
        true,
        "entry 3, APIC id 2: Parked: has the same APIC id as entry 2",
    ),
    lie("reversed", "", (4, 4), true, ""),
    lie("no-first", "cpus: this CPU (APIC id 0) is not in the bootloader's list", (4, 4), true, ""),
    lie("first-id", "cpus: this CPU has APIC id 0, and the bootloader says 30583", (4, 4), true, ""),
    lie(
        "wrong-id",
        "cpus: cpu 3 (APIC id 30583) is not there: one with APIC id 3 came in its place",
        (3, 4),
        true,
        "entry 3, APIC id 30583, cpu 3: Failed: one with APIC id 3 came in its place",
    ),
    lie(
        "same-entry",
        "cpus: entry 3 (APIC id 2) is ignored: the same as entry 2",
        (3, 4),
        true,
        "entry 3, APIC id 2: Ignored: the same as entry 2",
    ),
    lie(
        "two-in-one",
        "cpus: 1 that ACPI names and the bootloader does not list are stopped",
        (3, 4),
        true,
        "APIC id 3: Unlisted: ACPI names it, and the bootloader does not list it",
    ),
    lie(
        "absent",
        "cpus: cpu 4 (APIC id 30583) did not come",
        (4, 5),
        false,
        "entry 4, APIC id 30583, cpu 4: Failed: did not come",
    ),
    lie(
        "late",
        "cpus: cpu 3 (APIC id 3) did not come",
        (3, 4),
        false,
        "entry 3, APIC id 3, cpu 3: Failed: did not come",
    ),
    lie("null", "cpus: entry 3 is ignored: points at no entry", (3, 4), true, "entry 3: Ignored: points at no entry"),
    lie("wild", "cpus: entry 3 is ignored: points at no entry", (3, 4), true, "entry 3: Ignored: points at no entry"),
    lie(
        "crowd",
        "more than this kernel can use; 91 more like it",
        (4, 604),
        false,
        "entry 512 to 603, APIC id 31091 to 31182: Parked: more than this kernel can use",
    ),
    lie(
        "none",
        "cpus: the bootloader did not answer the request for a list of CPUs; going on with this one",
        (1, 4),
        true,
        "APIC id 1 to 3: Unlisted: the bootloader did not answer the request for a list of CPUs",
    ),
    lie(
        "empty",
        "cpus: the bootloader's list is empty; going on with this one",
        (1, 4),
        true,
        "APIC id 1 to 3: Unlisted: the bootloader's list is empty",
    ),
    lie("endless", "cpus: the bootloader lists 18,446,744,073,709,551,615 CPUs; 4 are looked at", (4, 4), true, ""),
    lie("flag", "cpus: the APICs are in x2APIC, and the bootloader says xAPIC", (4, 4), true, ""),
    lie("xapic", "(xAPIC)", (4, 4), true, ""),
];

/// Registers whose parity is checked, and how the report names them.
const REGISTERS: [(&str, &str); 5] =
    [("cr0", "CR0"), ("cr4", "CR4"), ("efer", "EFER"), ("pat", "PAT"), ("mtrr", "MTRR digest")];

/// What takes minutes and runs only when its group is named.
pub(crate) fn is_on_demand(test: &Test) -> bool {
    test.group() == "many-cpus"
}

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let survives = |lie: &'static Lie| Test::new(format!("smp::survives-{}", lie.name), || survives(lie));
    let differs = |(register, name): (&'static str, &'static str)| {
        Test::new(format!("smp::parity-{register}"), move || {
            let settings = Settings { append: format!("chaos=parity:2:{register}"), ..script(3, "quit") };
            let run = Run::of(settings)?;
            run.ends(End::Crashed)?.says(&format!("cpu 2 differs from cpu 0: {name} 0x"))?.passes()
        })
    };
    let mut all: Vec<Test> = LIES.iter().map(survives).collect();
    all.extend(REGISTERS.map(differs));
    all.extend([
        Test::new("smp::sparse-and-large-apic-ids", || sparse(large_ids(script(1, "")))),
        Test::new("smp::sparse-apic-ids-xapic", || {
            // Without x2APIC mode QEMU cannot have ids above 254.
            sparse(Settings { apic_ids: ids("0,7,19,254"), ..xapic(script(1, "")) })
        }),
        Test::new("smp::an-id-that-xapic-mode-cannot-name", || {
            let settings = Settings { apic_ids: ids("0,9,261"), append: "chaos=mp:xapic".into(), ..script(1, "") };
            let run = Run::of(Settings { cmd: "stress 4000; smp; mem; quit".into(), ..settings })?;
            run.ends(End::CommandFailed)?.says("cpus: 1 that ACPI names have APIC ids that xAPIC mode cannot name")?;
            run.says("2 of 3 CPUs online")?.judges("stress", &[true])?.adds_up(1)?.passes()
        }),
        Test::new("smp::clusters-are-told-at-once", clusters),
        Test::new("smp::free-seats-are-no-cpus", || {
            let run = seats(4, "")?;
            run.says("4 of 4 CPUs online")?.never_says("are stopped")?.passes()
        }),
        Test::new("smp::an-online-capable-cpu-that-was-lost-is-stopped", || {
            // Whoever went on in the bootloader's memory would crash there.
            let run = seats(3, "chaos=mp:capable chaos=poison-reclaimed")?;
            run.says("cpus: 5 more that ACPI calls online-capable are stopped")?.says("3 of 3 CPUs online")?;
            run.says("taken over from the bootloader, poisoned")?.passes()
        }),
        Test::new("smp::large-apic-ids-by-limine", || {
            if let Err(why) = image::limine_dir() {
                return Ok(Passed::Skipped(why.to_string()));
            }
            sparse(Settings { boot: Boot::Iso, ..large_ids(script(1, "")) })
        }),
        Test::new("smp::a-late-cpu-parks", late),
        Test::new("smp::cpus-can-be-left-out", left_out),
        Test::new("smp::cpus-without-room-for-their-stacks-park", || {
            // 3 MiB are free before the bootloader's memory is taken over: enough for a few.
            let tiny = Settings { mem: "13M".into(), ..script(64, "smp; tlb pages=4; mem; quit") };
            let run = Run::of(tiny)?;
            run.ends(End::CommandFailed)?.says("cpus: no memory for cpu ")?;
            run.says("Parked: no memory for it")?.says("taken over from the bootloader")?.adds_up(1)?;
            let (online, known) = kernel::cpus_online(run.serial()).unwrap_or_default();
            run.check(known == 64 && (2..64).contains(&online), || {
                format!("some of 64 CPUs, found {online} of {known}")
            })?;
            run.passes()
        }),
        Test::new("smp::without-a-local-apic-it-is-refused", || {
            let run = Run::of(Settings { cpu: "max,-apic".into(), ..script(1, "quit") })?;
            run.ends(End::BadBoot)?.says("this CPU has no local APIC")?.passes()
        }),
        Test::new("smp::nothing-is-left-in-the-bootloaders-memory", poisoned),
        Test::new("smp::idle-cpus-cost-little", idle),
    ]);
    all.extend([
        Test::new("many-cpus::255-by-limine", || {
            if let Err(why) = image::limine_dir() {
                return Ok(Passed::Skipped(why.to_string()));
            }
            many(Settings { boot: Boot::Iso, ..script(255, "") })
        }),
        Test::new("many-cpus::300-direct", || many(script(300, ""))),
    ]);
    all
}

fn ids(text: &str) -> ApicIds {
    ApicIds::parse(text).expect("ids of a machine that QEMU can make")
}

fn large_ids(settings: Settings) -> Settings {
    Settings { apic_ids: ids("0,513,261,512"), ..settings }
}

/// The machine comes up, does what a machine has to, and says what is wrong.
fn survives(lie: &Lie) -> Outcome {
    let append = format!("chaos=mp:{} cpu-wait-ms=1000", lie.name);
    let run = Run::of(Settings { append, ..script(4, "smp; stress 1000; mem; quit") })?;
    let (online, known) = lie.online;
    let end = if online == known { End::Success } else { End::CommandFailed };
    let taken = if lie.is_reclaimed { "taken over from the bootloader" } else { "the bootloader's is left alone" };
    run.ends(end)?.says(&format!("{online} of {known} CPUs online"))?.says(lie.said)?.says(lie.shown)?;
    run.says(taken)?.judges("stress", &[true])?.adds_up(1)?.passes()
}

/// Four CPUs with chosen ids, in their order, work together and are told by few interrupts.
fn sparse(settings: Settings) -> Outcome {
    let is_x2apic = !settings.cpu.contains("-x2apic");
    let mut apic_ids: Vec<u32> = settings.apic_ids.to_string().split(',').filter_map(|id| id.parse().ok()).collect();
    apic_ids.sort_unstable();
    let run = Run::of(Settings { cmd: "cpus; tlb pages=16; stress 2000; smp; smp nmi; mem; quit".into(), ..settings })?;
    run.ends(End::Success)?.says(kernel::apic_mode(is_x2apic))?.says("4 of 4 CPUs online")?;
    let found: Vec<u32> =
        rows(kernel::answer(run.serial(), "cpus")).iter().filter_map(|row| row.get(1)?.parse().ok()).collect();
    run.check(found == apic_ids, || format!("APIC ids {apic_ids:?} in their order, found {found:?}"))?;
    run.says("3 of 3 CPUs answered an NMI")?.judges("stress", &[true])?.adds_up(1)?.passes()
}

/// With a CPU left out nothing may be sent to all: the other three are in two clusters, and get two interrupt commands.
fn clusters() -> Outcome {
    let settings = Settings { apic_ids: ids("0,261,512,513,600"), append: "cpus=4".into(), ..script(1, "") };
    let run = Run::of(Settings { cmd: "tlb pages=16 --json; smp; quit".into(), ..settings })?;
    run.ends(End::Success)?.says("APIC id 600: Parked: not asked for, by cpus=")?;
    let answer = kernel::answer(run.serial(), "tlb pages=16 --json");
    let objects = answer.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line.trim()).ok());
    let counts: Vec<(String, u64)> = objects
        .filter_map(|object| Some((object["method"].as_str()?.to_string(), object["icr_writes"].as_u64()?)))
        .collect();
    for (method, nr_writes) in [("naive", 48), ("one by one", 32), ("batched", 2), ("batched, all idle", 0)] {
        let is_there = counts.iter().any(|(name, count)| name == method && *count == nr_writes);
        run.check(is_there, || format!("{nr_writes} interrupt commands {method}, found {counts:?}"))?;
    }
    run.passes()
}

/// A machine of four CPUs with room for four more, on which `online` come up: an interrupt to all of them is one command,
/// as there is nobody else to hear it. In xAPIC mode, where it would otherwise be one to each.
fn seats(online: u32, append: &str) -> Result<Run, Failure> {
    let qemu = ["-smp", "4,maxcpus=8"].map(String::from).to_vec();
    let cmd = format!("{}; stress 6000; smp; mem; quit", kernel::TLB_FIGURES);
    let run = Run::of(Settings { qemu, cmd, append: append.into(), ..xapic(script(4, "")) })?;
    run.ends(End::Success)?.judges("stress", &[true])?.adds_up(1)?;
    let figures = tlb_figures::read(kernel::answer(run.serial(), kernel::TLB_FIGURES));
    let nr_writes = figures.iter().find(|figure| figure.name == "ICR writes, all others busy").map(|f| f.measured);
    run.check(nr_writes == Some(1), || format!("one command to {} others, found {nr_writes:?}", online - 1))?;
    Ok(run)
}

/// Rows of a table whose first column is a CPU.
fn rows(answer: &str) -> Vec<Vec<&str>> {
    let words = answer.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|row| row.len() > 4 && row[0].parse::<u32>().is_ok()).collect()
}

fn late() -> Outcome {
    let settings = Settings { append: "chaos=mp:late cpu-wait-ms=300".into(), ..script(3, "") };
    let mut typist = Typist::at_prompt(settings)?;
    let is_late = |answer: &str| answer.contains("cpu 2: Late: came too late, and parks");
    let (mut answer, mut status) = (String::new(), 0);
    // It comes two seconds after it was called, by the guest's clock.
    for _ in 0..40 {
        (answer, status) = typist.enter("smp")?;
        if is_late(&answer) {
            break;
        }
        sleep(Duration::from_millis(250));
    }
    typist.expect(is_late(&answer) && status == 1, "a CPU that came too late, and a command that failed")?;
    let (answer, _) = typist.enter("stress 4000")?;
    typist.expect(answer.contains("cpus=2"), "two CPUs that work on")?;
    typist.quit().ends(End::CommandFailed)?.passes()
}

fn left_out() -> Outcome {
    let run =
        Run::of(Settings { append: "cpus=3".into(), ..script(6, "smp; cpus; tlb pages=16; stress 2000; mem; quit") })?;
    run.ends(End::Success)?.says("cpus: entry 3 (APIC id 3) is parked: not asked for, by cpus=; 2 more like it")?;
    run.says("entry 3 to 5, APIC id 3 to 5: Parked: not asked for, by cpus=")?.says("3 of 3 CPUs online")?;
    run.says("taken over from the bootloader")?.judges("stress", &[true])?.adds_up(1)?;
    let wrong = Run::of(Settings { append: "cpus=none".into(), ..script(2, "quit") })?;
    wrong.ends(End::CommandFailed)?.says("cpus=none is not a number above 0; all are used")?.passes()
}

/// All of the bootloader's memory is overwritten with an instruction that traps and an address that is none. Whoever
/// still ran there, or read a table there, would crash.
fn poisoned() -> Outcome {
    for settings in [script(4, ""), Settings { append: "cpus=2".into(), ..script(4, "") }] {
        let append = format!("{} chaos=poison-reclaimed", settings.append);
        let cmd = "stress 6000; smp nmi; tlb pages=16; stress 2000; mem; quit".into();
        let run = Run::of(Settings { append, cmd, ..settings })?;
        run.ends(End::Success)?.says("taken over from the bootloader, poisoned")?;
        run.says(" answered an NMI")?.judges("stress", &[true, true])?.adds_up(1)?;
    }
    Ok(Passed::Yes)
}

/// Eight CPUs at the prompt halt: QEMU's threads take next to nothing of a core.
fn idle() -> Outcome {
    /// By far enough to tell halted CPUs from one that polls, which takes all of a core.
    const SECONDS: u64 = 3;
    let mut typist = Typist::at_prompt(script(8, ""))?;
    let used = cpu_time_of(&mut typist, SECONDS)?;
    // A tenth of a core; on a busy host the threads get no more than that, and need no more.
    typist
        .expect(used < Duration::from_secs(SECONDS) / 10, format!("a tenth of a core, not {used:?} in {SECONDS} s"))?;
    typist.quit().ends(End::Success)?.passes()
}

fn cpu_time_of(typist: &mut Typist, seconds: u64) -> Result<Duration, Failure> {
    let before = typist.cpu_time();
    sleep(Duration::from_secs(seconds));
    Ok(typist.cpu_time() - before)
}

/// As many as come up are listed, every one that is listed works, and the accounts are exact.
fn many(settings: Settings) -> Outcome {
    let nr_cpus = settings.cpus;
    let settings = Settings { mem: "1G".into(), timeout: Duration::from_secs(420), ..settings };
    let run = Run::of(Settings { cmd: "cpus; stress 4000; smp nmi; mem; quit".into(), ..settings })?;
    if !run.serial().contains(kernel::ENTRY) {
        return Ok(Passed::Skipped("the bootloader itself did not survive so many CPUs".into()));
    }
    run.judges("stress", &[true])?.adds_up(1)?;
    let (online, known) = kernel::cpus_online(run.serial()).unwrap_or_default();
    let is_whole = online == nr_cpus;
    // Limine is known to lose some of so many: those are told, and the rest comes up.
    run.check(online * 10 >= nr_cpus * 9 && known >= online, || format!("{nr_cpus} CPUs, found {online} of {known}"))?;
    run.ends(if is_whole { End::Success } else { End::CommandFailed })?.passes()
}
