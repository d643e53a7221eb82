//! A target that keeps its interrupts off and serves nobody: late answers, many requests, and more rounds than the log
//! holds.

use smp::{Hardware, IpiKind, Round};

use super::company::{a_target, while_masked};
use super::verdict::{Failure, Figures, Run, expect};
use super::window::Window;
use crate::crash;
use crate::machine::{Cpu, SHOOTDOWNS};
use crate::per_cpu;

/// Instructions that a target keeps its interrupts off for, while it is waited for.
const NR_INSTRUCTIONS: u64 = 1_000_000;

/// The answer comes a million instructions late: the round waits for it, and the watchdog is silent.
pub(super) fn late_answer(run: &Run) -> Result<Figures, Failure> {
    let target = a_target()?;
    let window = Window::new()?;
    let counters = SHOOTDOWNS.counters(per_cpu::this().cpu);
    let (waits, late) = (counters.waits.get(), crash::nr_late());
    for _ in 0..run.nr_ops {
        run.watch();
        if run.is_over() {
            break;
        }
        while_masked(
            run,
            target,
            NR_INSTRUCTIONS,
            || run.note(window.read().map(drop)),
            |go_on| {
                let (version, round) = window.begin(&Cpu);
                let seen = SHOOTDOWNS.seen(target);
                go_on();
                SHOOTDOWNS.wait(&Cpu, round);
                window.acknowledge(version);
                expect("generations that the target went ahead", SHOOTDOWNS.seen(target).wrapping_sub(seen), (1, 1))
            },
        )?;
    }
    expect("reports of the watchdog", crash::nr_late() - late, (0, 0))?;
    run.result(Figures::of([("rounds", run.nr_ops), ("had to wait", counters.waits.get() - waits)]))
}

/// Requests of each kind.
const NR_REQUESTS: usize = 100;

/// A hundred rounds, then a hundred bare interrupts, to a CPU that cannot take them: each time its handler runs once or
/// twice (the local APIC remembers one in service and one more), and no round is lost.
pub(super) fn many_requests(run: &Run) -> Result<Figures, Failure> {
    let target = a_target()?;
    let window = Window::new()?;
    let (counters, mine) = (SHOOTDOWNS.counters(target), SHOOTDOWNS.counters(per_cpu::this().cpu));
    let mut nr_handled = [0; 2];
    for _ in 0..run.nr_ops {
        run.watch();
        if run.is_over() {
            break;
        }
        let before = counters.ipis_taken.get();
        let coalesced = mine.coalesced.get();
        while_masked(
            run,
            target,
            0,
            || run.note(window.read().map(drop)),
            |go_on| {
                let mut rounds = [const { None::<Round> }; NR_REQUESTS];
                let mut newest = 0;
                for place in &mut rounds {
                    let (version, round) = window.begin(&Cpu);
                    (*place, newest) = (Some(round), version);
                }
                go_on();
                rounds.into_iter().flatten().for_each(|round| SHOOTDOWNS.wait(&Cpu, round));
                window.acknowledge(newest);
            },
        );
        // The handler may yet be to run: the rounds are over as soon as one interrupt has been.
        let handled = counters.ipis_taken.get() - before;
        expect("handler runs for 100 rounds", handled, (1, 2))?;
        let least = NR_REQUESTS as u64 - 1;
        expect("rounds that needed no interrupt", mine.coalesced.get() - coalesced, (least, u64::MAX))?;
        nr_handled[0] += handled;

        let before = counters.ipis_taken.get();
        while_masked(
            run,
            target,
            0,
            || {},
            |go_on| {
                for _ in 0..NR_REQUESTS {
                    Cpu.send_ipi(IpiKind::Shootdown, &smp::CpuSet::of(target));
                }
                go_on();
            },
        );
        run.wait_until(|| counters.ipis_taken.get() > before);
        let handled = counters.ipis_taken.get() - before;
        expect("handler runs for 100 interrupts", handled, (1, 2))?;
        nr_handled[1] += handled;
    }
    run.result(Figures::of([
        ("times 100 requests", run.nr_ops),
        ("handler runs for rounds", nr_handled[0]),
        ("for bare interrupts", nr_handled[1]),
    ]))
}

/// Rounds that a target is behind by. The log holds 64.
const BEHIND: [u64; 8] = [1, 2, 31, 32, 33, 64, 65, 200];

/// As many rounds as the target can be behind: up to the threshold it flushes page by page, above it and beyond the log
/// everything at once; either way it sees the newest page.
pub(super) fn log_overrun(run: &Run) -> Result<Figures, Failure> {
    let target = a_target()?;
    let window = Window::new()?;
    let counters = SHOOTDOWNS.counters(target);
    let threshold = SHOOTDOWNS.settings().full_flush_pages() as u64;
    let (mut nr_single, mut nr_full) = (0, 0);
    for behind in BEHIND.into_iter().cycle().take(BEHIND.len() * run.nr_ops as usize) {
        run.watch();
        if run.is_over() {
            break;
        }
        let [pages, full] = while_masked(
            run,
            target,
            0,
            || run.note(window.read().map(drop)),
            |go_on| {
                // Whatever it was behind by when it masked its interrupts does not count.
                let offset = SHOOTDOWNS.generation().wrapping_sub(SHOOTDOWNS.seen(target));
                expect("generations behind at the start", offset, (0, 0))?;
                let before = counters.values();
                let mut last = None;
                for _ in 0..behind {
                    last = Some(window.begin(&Cpu));
                }
                go_on();
                if let Some((version, round)) = last {
                    // One for all: who has acknowledged the last has acknowledged those before it.
                    SHOOTDOWNS.wait(&Cpu, round);
                    window.acknowledge(version);
                }
                let done = counters.values() - before;
                Ok::<_, Failure>([done.pages_flushed, done.full_flushes])
            },
        )?;
        let expected = if behind <= threshold { [behind, 0] } else { [0, 1] };
        expect("pages flushed one by one", pages, (expected[0], expected[0]))?;
        expect("flushes of everything", full, (expected[1], expected[1]))?;
        (nr_single, nr_full) = (nr_single + pages, nr_full + full);
    }
    run.result(Figures::of([("pages one by one", nr_single), ("flushes of everything", nr_full)]))
}
