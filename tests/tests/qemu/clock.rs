//! The clock: its rate by every way there is, and each check shown to fail.

use crate::support::{Run, Settings, Test, script};
use serde_json::Value;
use tests::{End, kernel};

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("clock::all-clocks-agree-and-none-warps", || {
            let run = Run::of(script(3, "clock; cpus; clock --json; quit"))?;
            run.ends(End::Success)?
                .says("clock: ok")?
                .says("none in 3 pairs of CPUs")?
                .says("on 3 cores, one CPU on each")?;
            let told: Value =
                serde_json::from_str(kernel::answer(run.serial(), "clock --json").trim()).unwrap_or_default();
            let rate = |name: &str| told[name].as_u64().unwrap_or(0);
            for name in ["pm_timer_hz", "hpet_hz", "pit_hz"] {
                let (hz, other) = (rate("hz"), rate(name));
                run.check(hz > 0 && hz.abs_diff(other) <= hz / 50, || format!("{hz} Hz, {name} {other}"))?;
            }
            run.check(told["max_warp_ticks"] == 0 && rate("bound_ticks") > 0, || format!("a bound in {told}"))?.passes()
        }),
        Test::new("clock::threads-of-a-core-are-counted", || {
            // A core with two threads, and one with one.
            let smt =
                Settings { qemu: ["-smp", "4,cores=2,threads=2"].map(String::from).into(), ..script(4, "cpus; quit") };
            Run::of(smt)?.ends(End::Success)?.says("on 2 cores, up to 2 CPUs on each")?.passes()
        }),
        Test::new("clock::each-source-can-be-forced", || {
            for (word, name) in [("tsc=hpet", "by HPET"), ("tsc=pit", "by PIT")] {
                let run = Run::of(Settings { append: word.into(), ..script(1, "clock; quit") })?;
                run.ends(End::Success)?.says(&format!("kHz, {name}"))?.says("clock: ok")?;
            }
            let run = Run::of(Settings { append: "tsc=sundial".into(), ..script(1, "quit") })?;
            run.ends(End::CommandFailed)?.says("tsc=sundial is not known")?.passes()
        }),
        Test::new("clock::a-lie-of-cpuid-is-found-at-boot", || {
            let lie = |append: &str| Run::of(Settings { append: append.into(), ..script(1, "clock; quit") });
            let run = lie("chaos=tsc-told:1000000")?;
            run.ends(End::Success)?
                .says("no clock agrees with CPUID")?
                .says("1000000 kHz, by CPUID")?
                .says("clock: ok")?;
            let run = lie("chaos=tsc-told:1000000 tsc=cpuid")?;
            run.ends(End::CommandFailed)?.says("ppm: off")?.says("clock: FAIL")?.passes()
        }),
        Test::new("clock::a-skewed-clock-warps", || {
            let run = Run::of(Settings { append: "chaos=skew-tsc:1:9000000000".into(), ..script(3, "clock; quit") })?;
            run.ends(End::CommandFailed)?.says("is behind cpu 1")?.says("clock: FAIL")?.passes()
        }),
    ]
}
