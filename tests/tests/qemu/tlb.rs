//! What shootdowns cost, as exact counts: instructions on machines whose clock counts them, interrupts on all.

use crate::support::{CTRL_C, Failure, Outcome, Run, Settings, Test, Typist, script, xapic};
use serde_json::Value;
use tests::settings::{Accel, ApicIds};
use tests::tlb_figures::{self, Figure};
use tests::{End, kernel};

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let counting = |cpus| Settings { accel: Accel::Icount, ..script(cpus, "") };
    vec![
        Test::new("tlb::figures-hold-to-the-instruction", move || figures_hold(counting(8))),
        Test::new("tlb::figures-hold-to-the-instruction-xapic", move || figures_hold(xapic(counting(4)))),
        Test::new("tlb::a-cluster-is-one-write-whatever-the-ids", move || sparse_ids(counting(1))),
        Test::new("tlb::growth-is-linear", move || growth_is_linear(&counting)),
        Test::new("tlb::figures-fail-when-interrupts-are-dropped", || figures_fail(script(3, ""))),
        Test::new("tlb::exact-figures-end-when-nobody-answers", move || exact_figures_end(counting(2))),
        Test::new("tlb::the-same-machine-counts-the-same", move || counts_repeat(&counting(4))),
        Test::new("tlb::threshold-is-measured-and-set", || threshold_is_set(script(2, ""))),
        Test::new("tlb::ctrl-c-ends-the-naive-way", || cancelled(script(4, ""))),
        Test::new("tlb::answers-for-programs-are-whole", || for_programs(script(4, ""))),
        Test::new("tlb::what-cannot-be-done-is-said", || refusals(script(2, ""))),
        Test::new("tlb::wrong-options-are-told", || wrong_options(script(2, ""))),
    ]
}

fn figures_of(settings: Settings) -> Result<(Run, Vec<Figure>), Failure> {
    let run = Run::of(Settings { cmd: format!("{}; quit", kernel::TLB_FIGURES_EXACT), ..settings })?;
    let figures = tlb_figures::read(kernel::answer(run.serial(), kernel::TLB_FIGURES_EXACT));
    Ok((run, figures))
}

/// Every figure that is judged holds, and what matters is among them.
fn figures_hold(settings: Settings) -> Outcome {
    let cpus = settings.cpus;
    let (run, figures) = figures_of(settings)?;
    run.ends(End::Success)?;
    for name in ["ICR writes, all others idle", "storm: interrupts", kernel::TLB_INITIATOR, kernel::TLB_ALL_CPUS] {
        run.check(figures.iter().any(|f| f.name == name), || format!("the figure \"{name}\""))?;
    }
    // What is unmapped lazily takes a twentieth of the naive instructions, all in all; bounds are for eight CPUs.
    let whole = figures.iter().find(|f| f.name == "unmap: instructions per page");
    let is_judged = whole.is_some_and(|whole| whole.most.is_some());
    run.check(is_judged == (cpus == 8), || format!("a bound for 8 CPUs, but {whole:?}"))?;
    let failed: Vec<&Figure> = figures.iter().filter(|f| !f.holds()).collect();
    run.check(failed.is_empty(), || format!("no figure above its bound, but {failed:?}"))?;
    // A bound of nothing at all would hold for a machine that did nothing.
    let naive = figures.iter().find(|f| f.name == "storm: interrupts").and_then(|f| f.naive);
    run.check(naive.is_some_and(|naive| naive >= 100), || format!("a storm in the naive way, but {naive:?}"))?;
    run.passes()
}

/// Four CPUs with APIC ids 0, 261, 512 and 513: two of the three others share a cluster. All others together are one
/// write; the first and the last of them are two.
fn sparse_ids(settings: Settings) -> Outcome {
    let apic_ids = ApicIds::parse("0,261,512,513").expect("ids of a machine that QEMU can make");
    let (run, figures) = figures_of(Settings { apic_ids, ..settings })?;
    run.ends(End::Success)?;
    let of = |name: &str| figures.iter().find(|f| f.name == name).map(|f| f.measured);
    run.check(of("ICR writes, all others busy") == Some(1), || format!("one write to all, but {figures:?}"))?;
    run.check(of("ICR writes, every second busy") == Some(2), || {
        format!("two writes to two clusters, but {figures:?}")
    })?;
    run.passes()
}

fn growth_is_linear(counting: &dyn Fn(u32) -> Settings) -> Outcome {
    let mut of = Vec::new();
    let mut last = None;
    for cpus in tlb_figures::CPUS {
        let (run, figures) = figures_of(counting(cpus))?;
        of.push(figures);
        last = Some(run);
    }
    let (growth, run) = (tlb_figures::growth(&of), last.expect("a list of machines is not empty"));
    run.check(growth.len() == 5 && growth.iter().all(Figure::holds), || format!("linear growth, but {growth:?}"))?;
    run.passes()
}

/// What makes the figures exact: two runs of the same machine agree in all of them.
fn counts_repeat(settings: &Settings) -> Outcome {
    let ((_, first), (run, second)) = (figures_of(settings.clone())?, figures_of(settings.clone())?);
    run.check(!first.is_empty() && first == second, || {
        format!("the same counts twice, but {first:?}\nand {second:?}")
    })?;
    run.passes()
}

/// A machine whose rounds nobody is told of: counts of nothing are not within their bounds.
fn figures_fail(settings: Settings) -> Outcome {
    let cmd = format!("{}; tlb pages=4; quit", kernel::TLB_FIGURES);
    let run = Run::of(Settings { append: "chaos=drop-ipi".into(), cmd, ..settings })?;
    run.ends(End::CommandFailed)?.says("so these counts mean nothing")?.says("bandolier [1]> tlb pages=4")?;
    run.says("bandolier [1]> quit")?;
    let figures = tlb_figures::read(kernel::answer(run.serial(), kernel::TLB_FIGURES));
    for name in ["ICR writes, all others busy", "ICR writes, every second busy", "storm: interrupts"] {
        let figure = figures.iter().find(|f| f.name == name);
        let is_refused = figure.is_some_and(|f| f.measured == 0 && !f.holds());
        run.check(is_refused, || format!("0 to be too little for {name}, but {figure:?}"))?;
    }
    run.passes()
}

/// A wait for acknowledgements that never come is over by itself, and told.
fn exact_figures_end(settings: Settings) -> Outcome {
    let (run, figures) = figures_of(Settings { append: "chaos=drop-ipi".into(), ..settings })?;
    run.ends(End::CommandFailed)?.says("tlb: figures: time was up: every CPU should have taken the interrupt")?;
    run.check(figures.iter().any(|f| !f.holds()), || format!("figures that do not hold, but {figures:?}"))?.passes()
}

fn threshold_is_set(settings: Settings) -> Outcome {
    let cmd = "tlb threshold; tlb flush-pages=5; tlb threshold; quit".into();
    let run = Run::of(Settings { append: "flush-pages=7".into(), cmd, ..settings })?;
    run.says("flush-pages is 7")?.says("flush-pages is 5")?.ends(End::Success)?.passes()
}

/// Ctrl-C among thousands of naive rounds: a prompt at once, the pages that are left do not go in the naive way, too.
fn cancelled(settings: Settings) -> Outcome {
    let mut typist = Typist::at_prompt(settings)?;
    let rounds = |typist: &mut Typist| -> Result<Option<u64>, Failure> {
        let (answer, _) = typist.enter("smp --json")?;
        let objects = answer.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
        Ok(objects.filter(|object| object["kind"] == "smp").find_map(|object| object["rounds"].as_u64()))
    };
    let before = rounds(&mut typist)?;
    typist.keys("tlb pages=4096\r");
    typist.reads("pages to go")?;
    typist.keys(CTRL_C);
    let status = typist.prompt()?;
    typist.expect(status == 1, format!("what was stopped to have failed, status {status}"))?;
    let nr_rounds = rounds(&mut typist)?.zip(before).map(|(after, before)| after - before);
    typist.expect(nr_rounds.is_some_and(|nr| nr < 4096), format!("fewer rounds than pages, but {nr_rounds:?}"))?;
    typist.quit().says("tlb: stopped")?.passes()
}

/// Nothing but objects, and all that people are told is in them.
fn for_programs(settings: Settings) -> Outcome {
    // The first takes seconds where CPUs run at once, and people are told how far it is.
    let commands = ["tlb pages=64 --json", "tlb flush-pages=9 threshold --json", "tlb flush-pages=8 --json"];
    let run = Run::of(Settings { cmd: format!("{}; tlb pages=64; quit", commands.join("; ")), ..settings })?;
    run.ends(End::Success)?;
    let mut objects = Vec::new();
    for line in commands.iter().flat_map(|command| kernel::answer(run.serial(), command).lines()) {
        let object = serde_json::from_str::<Value>(line.trim());
        run.check(object.is_ok(), || format!("an object, but {line:?}"))?;
        objects.extend(object);
    }
    let of = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let method = |name: &str| of("tlb").find(|object| object["method"] == name).cloned().unwrap_or_default();
    run.check(method("lazily")["purges"] == 1, || format!("one purge, but {objects:?}"))?;
    run.check(method("batched")["icr_writes_per_page"] == 0.016, || format!("1/64, rounded, but {objects:?}"))?;
    let best = of("tlb_threshold_best").find(|best| best["flush_pages"] == 9 && best["best_pages"].is_u64());
    run.check(best.is_some(), || format!("what the threshold comes to, but {objects:?}"))?;
    run.check(of("tlb_flush_pages").count() == 2, || format!("what was set, but {objects:?}"))?;
    run.says("1   0.016 per page")?.passes()
}

fn refusals(settings: Settings) -> Outcome {
    let cmd =
        "tlb figures --exact; tlb threshold pages=4; tlb figures lazy=4; smp nmi --json; smp nmi nmi; quit".into();
    let run = Run::of(Settings { cmd, ..settings.clone() })?;
    run.says("boot with accel=icount")?.says("unexpected argument `pages=4`")?.says("unexpected argument `lazy=4`")?;
    run.says("smp: unexpected argument `--json`")?.says("smp: nmi is given twice")?.ends(End::CommandFailed)?;
    let run = Run::of(Settings { cpus: 1, cmd: "tlb figures; quit".into(), ..settings })?;
    run.says("tlb: figures: it needs another CPU")?.ends(End::CommandFailed)?.passes()
}

fn wrong_options(settings: Settings) -> Outcome {
    let append = "tlb=telepathy flush-pages=64".into();
    let run = Run::of(Settings { append, cmd: "quit".into(), ..settings.clone() })?;
    run.says("tlb=telepathy is not known")?.says("flush-pages=64 is no number up to 63")?.ends(End::CommandFailed)?;
    // No emulator has the instruction; the kernel says so, and goes on by interrupts.
    let run = Run::of(Settings { append: "tlb=broadcast".into(), cmd: "tlb pages=4; quit".into(), ..settings })?;
    run.says("this CPU has no INVLPGB")?.says("one by one                4")?.passes()
}
