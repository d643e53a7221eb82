//! The kernel's address space: trials on all CPUs, which must fail where shootdowns are dropped; lazy unmapping, which
//! `mem` accounts for and `reap` ends.

use crate::support::{Failure, Run, Settings, Test, script, xapic};
use tests::End;

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("space::trials-on-1-cpu-with-64M", || {
            // Of the addresses, four times the memory, there is no gigabyte that begins at a multiple of one.
            let run = passes(Settings { mem: "64M".into(), ..script(1, "") }, 12)?;
            run.says("space: left out: a leaf of 1 GiB")?.passes()
        }),
        Test::new("space::trials-without-room-are-left-out", || {
            // Some 2 MiB are usable, and less than that is free: too little for a large leaf.
            let run = passes(Settings { mem: "10M".into(), ..script(1, "") }, 9)?;
            run.says("space: left out: a range of 2 MiB leaves is gone everywhere")?
                .says("9 trials, 4 left out")?
                .passes()
        }),
        Test::new("space::trials-on-4-cpus", || passes(roomy(script(4, "")), 13)?.passes()),
        Test::new("space::trials-in-xapic-mode", || passes(xapic(roomy(script(3, ""))), 13)?.passes()),
        Test::new("space::trials-without-leaves-of-1-gib", || {
            let settings = Settings { cpu: "max,-pdpe1gb".into(), ..roomy(script(2, "")) };
            passes(settings, 12)?.says("space: left out: a leaf of 1 GiB")?.says("this CPU has none")?.passes()
        }),
        Test::new("space::trials-fail-without-shootdowns", || {
            let run = Run::of(Settings { append: "chaos=drop-ipi".into(), ..roomy(script(4, "space test; quit")) })?;
            let run = run.ends(End::CommandFailed)?;
            run.says_any(&["an unmapped page is gone: not so for"])?
                .says_any(&["a read-only page cannot be written: not so for"])?
                .says_any(&["data cannot be executed: not so for"])?
                .says_any(&["a read-only gigabyte cannot be written: not so for"])?
                .says_any(&["a remapped page has its contents: not so for"])?
                .passes()
        }),
        Test::new("space::lazily-unmapped-pages-take-few-interrupts", || {
            let run = Run::of(script(4, "tlb pages=32 lazy=16; space purge; mem; quit"))?;
            let run = run.ends(End::Success)?.adds_up(1)?;
            run.says_any(&["tlb: 2 rounds made the lazily unmapped pages free"])?.passes()
        }),
    ]
}

/// With a gigabyte of memory that is whole: the one from 4 GiB on.
fn roomy(settings: Settings) -> Settings {
    Settings { mem: "3G".into(), ..settings }
}

/// All trials pass that can be run, so many.
fn passes(settings: Settings, nr_trials: u64) -> Result<Run, Failure> {
    let run = Run::of(Settings { cmd: "space test; mem; quit".into(), ..settings })?;
    run.ends(End::Success)?.says(&format!("space: PASS {nr_trials} trials"))?.adds_up(1)?;
    Ok(run)
}
