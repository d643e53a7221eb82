//! Crash reports: each kind of fault ends the machine with a report that names the place, on any CPU.

use crate::support::{Run, Test, script};
use tests::{End, kernel};

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let crash = |(kind, words): &'static (&str, &[&str])| {
        Test::new(format!("fault::{}", kind.replace(' ', "-")), move || {
            let run = Run::of(script(2, &format!("fault {kind}; mem; quit")))?;
            // A script must not go on behind a crash.
            run.ends(End::Crashed)?.adds_up(0)?;
            for word in *words {
                run.says_any(&[word])?;
            }
            let named = kernel::backtrace(run.serial()).len();
            run.check(named >= 3, || format!("a backtrace with the names of functions, found {named}"))?;
            run.says(kernel::END_OF_REPORT)?.passes()
        })
    };
    kernel::FAULTS.iter().map(crash).collect()
}
