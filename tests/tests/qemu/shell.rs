//! The shell as a program uses it: scripts, statuses, and words that say what was expected.

use crate::support::{Run, Test, Typist, script};
use tests::End;

/// Lines that must be refused, and what the refusal must mention (in any case of letters).
const REFUSED: [(&str, &[&str]); 19] = [
    ("frobnicate", &["frobnicate", "help"]),
    ("memx", &["memx", "`mem`"]),
    ("mem everything", &["everything"]),
    ("cpus 3", &["3"]),
    ("slabs nosuch extra", &["slabs"]),
    ("slabs id=500", &["id"]),
    ("slabs check", &["debug=slab"]),
    ("slabs leaks 64 more", &["more"]),
    ("latency sideways", &["sideways", "reset"]),
    ("latency cpu=9", &["no cpu 9"]),
    ("reap 3", &["--all"]),
    ("replay", &["replay"]),
    ("replay nosuch.kmt", &["nosuch.kmt"]),
    ("stress banana", &["banana"]),
    ("stress seed=x", &["seed"]),
    ("stress cpus=99", &["cpus"]),
    ("stress 1s 2s 3s colour=red", &["stress"]),
    ("fault nosuch", &["nosuch"]),
    ("help nosuch", &["nosuch"]),
];

const COMMANDS: [&str; 13] = [
    "help", "cpus", "mem", "slabs", "reap", "latency", "tlb", "replay", "stress", "version", "quit", "reboot", "fault",
];

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("shell::a-script-ends-with-success", || {
            let run = Run::of(script(2, "help; version; cpus; mem; slabs; quit"))?;
            run.ends(End::Success)?.adds_up(1)?.passes()
        }),
        Test::new("shell::help-explains-every-command", || {
            let mut typist = Typist::at_prompt(script(1, ""))?;
            let (list, status) = typist.enter("help")?;
            typist.expect(status == 0, "status 0 of help")?;
            for command in COMMANDS {
                typist.expect(list.contains(command), format!("{command} in the list"))?;
                let (text, status) = typist.enter(&format!("help {command}"))?;
                // The first line is the echo of what was typed.
                let explains = text.lines().skip(1).any(|line| line.starts_with(command));
                typist.expect(status == 0 && explains, format!("help for {command}"))?;
            }
            typist.quit().ends(End::Success)?.passes()
        }),
        Test::new("shell::mistakes-say-what-was-expected", || {
            let mut typist = Typist::at_prompt(script(2, ""))?;
            for (line, words) in REFUSED {
                let (text, status) = typist.enter(line)?;
                // The first line is the echo of what was typed.
                let answer = text.split_once('\n').map_or("", |(_, rest)| rest).to_lowercase();
                typist.expect(status != 0, format!("a status other than 0 after {line:?}"))?;
                for word in words {
                    typist.expect(answer.contains(word), format!("{word:?} in the answer to {line:?}"))?;
                }
            }
            let (_, status) = typist.enter("mem")?;
            typist.expect(status == 0, "status 0 of mem after the mistakes")?;
            typist.quit().ends(End::CommandFailed)?.adds_up(1)?.passes()
        }),
        Test::new("shell::the-worst-status-of-a-script-counts", || {
            Run::of(script(1, "frobnicate; mem; quit"))?.ends(End::CommandFailed)?.adds_up(1)?.passes()
        }),
        Test::new("shell::nothing-runs-after-quit", || {
            Run::of(script(1, "quit; mem"))?.ends(End::Success)?.adds_up(0)?.passes()
        }),
        Test::new("shell::empty-commands-are-nothing", || {
            Run::of(script(1, ";; mem ; ;quit"))?.ends(End::Success)?.adds_up(1)?.passes()
        }),
        Test::new("shell::reboot-resets-the-machine", || Run::of(script(1, "mem; reboot"))?.ends(End::Reset)?.passes()),
    ]
}
