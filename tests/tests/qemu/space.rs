//! The kernel's address space: trials on all CPUs, which must fail where shootdowns are dropped; lazy unmapping, which
//! `mem` accounts for and `reap` ends.

use crate::support::{Outcome, Run, Settings, Test, script, xapic};
use tests::End;

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("space::trials-on-1-cpu-with-64M", || {
            passes(Settings { mem: "64M".into(), ..script(1, "space test; mem; quit") })
        }),
        Test::new("space::trials-on-4-cpus", || passes(script(4, "space test; mem; quit"))),
        Test::new("space::trials-in-xapic-mode", || passes(xapic(script(3, "space test; mem; quit")))),
        Test::new("space::trials-fail-without-shootdowns", || {
            let run = Run::of(Settings { append: "chaos=drop-ipi".into(), ..script(4, "space test; quit") })?;
            let run = run.ends(End::CommandFailed)?;
            run.says_any(&["an unmapped page is gone: not so for"])?
                .says_any(&["a read-only page cannot be written: not so for"])?
                .says_any(&["data cannot be executed: not so for"])?
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

fn passes(settings: Settings) -> Outcome {
    Run::of(settings)?.ends(End::Success)?.says_any(&["space: PASS 12 trials"])?.adds_up(1)?.passes()
}
