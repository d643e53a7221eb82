//! Stress: passes at every size and mode and leaves the accounts exact, and fails when shootdowns are dropped.

use crate::support::{Outcome, Run, Settings, Test, script, xapic};
use std::time::Duration;
use tests::{End, kernel};

/// The budget of the pair below, in operations: the same for the run that must pass and the one that must fail.
const PAIR: &str = "stress 200000 seed=7; quit";

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("stress::1-cpu", || passes(script(1, "stress 2s; mem; quit"))),
        Test::new("stress::2-cpus", || passes(script(2, "stress 3s; mem; quit"))),
        Test::new("stress::3-cpus-64M", || passes(Settings { mem: "64M".into(), ..script(3, "stress 3s; mem; quit") })),
        Test::new("stress::8-cpus", || passes(script(8, "mem; stress 5s; mem; quit"))),
        Test::new("stress::shows-progress", || {
            let run = Run::of(script(2, "stress 4s; quit"))?;
            run.ends(End::Success)?.says_any(&["stress: 1 s", "stress: 2 s", "stress: 3 s"])?.passes()
        }),
        Test::new("stress::8-cpus-xapic", || passes(xapic(script(8, "stress 5s; mem; quit")))),
        Test::new("stress::64-cpus", || {
            let settings = Settings { mem: "1G".into(), timeout: Duration::from_secs(120), ..script(64, "") };
            passes(Settings { cmd: "stress 5s; mem; quit".into(), ..settings })
        }),
        Test::new("stress::twice-with-one-seed", || {
            let run = Run::of(script(4, "stress 50000 seed=3; mem; stress 50000 seed=3; mem; quit"))?;
            run.ends(End::Success)?.judges("stress", &[true, true])?.adds_up(2)?.passes()
        }),
        Test::new("stress::on-some-of-the-cpus", || passes(script(8, "stress 50000 cpus=3; mem; quit"))),
        Test::new("stress::a-budget-passes-with-its-shootdowns", || passes(script(4, PAIR))),
        Test::new("stress::the-same-budget-fails-without-them", || {
            let run = Run::of(Settings { append: "chaos=drop-ipi".into(), ..script(4, PAIR) })?;
            run.ends(End::CommandFailed)?.judges("stress", &[false])?;
            // Not any failure: the one that dropped interrupts cause.
            run.says_any(&[": stale translation: cpu", ": stale right: cpu"])?;
            run.check(run.serial().matches("seed=7").count() >= 2, || "a line that replays the failure".into())?
                .passes()
        }),
    ]
}

fn passes(settings: Settings) -> Outcome {
    let mems = settings.cmd.split(';').filter(|c| c.trim() == "mem").count();
    let run = Run::of(settings)?;
    run.ends(End::Success)?.judges("stress", &[true])?.adds_up(mems)?;
    let verdict = kernel::verdicts(run.serial(), "stress").remove(0);
    let ops = verdict.value("ops").and_then(|ops| ops.parse::<u64>().ok());
    // Past the host's cores a duration is spent on waiting, so little more than a sign of life can be asked.
    run.check(ops.is_some_and(|ops| ops >= 100), || format!("100 operations or more, found {ops:?}"))?;
    run.check(verdict.value("seed").is_some(), || "the seed in the verdict".into())?.passes()
}
