//! The shell as a person uses it: line editing, history, Ctrl-C, and a machine that idles quietly at the prompt.

use crate::support::{Test, Typist, script};
use std::thread;
use std::time::Duration;
use tests::End;

const BACKSPACE: &str = "\x7f";
const UP: &str = "\x1b[A";
const LEFT: &str = "\x1b[D";
const CTRL_C: &str = "\x03";

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("console::backspace-and-arrows-edit-the-line", || {
            let mut typist = Typist::at_prompt(script(1, ""))?;
            let (_, status) = typist.enter(&format!("memx{BACKSPACE}"))?;
            typist.expect(status == 0, "`memx` less one letter to run as `mem`")?;
            let (_, status) = typist.enter(&format!("mm{LEFT}e"))?;
            typist.expect(status == 0, "`mm` with an `e` put between to run as `mem`")?;
            typist.quit().ends(End::Success)?.adds_up(2)?.passes()
        }),
        Test::new("console::the-arrow-up-brings-back-the-last-line", || {
            let mut typist = Typist::at_prompt(script(1, ""))?;
            typist.enter("mem")?;
            let (_, status) = typist.enter(UP)?;
            typist.expect(status == 0, "the line brought back to run")?;
            typist.quit().ends(End::Success)?.adds_up(2)?.passes()
        }),
        Test::new("console::ctrl-c-drops-the-line", || {
            let mut typist = Typist::at_prompt(script(1, ""))?;
            typist.keys(&format!("frobnicate{CTRL_C}"));
            typist.prompt()?;
            let (_, status) = typist.enter("mem")?;
            typist.expect(status == 0, "only the second line to run")?;
            typist.quit().adds_up(1)?.passes()
        }),
        Test::new("console::ctrl-c-stops-stress", || {
            let mut typist = Typist::at_prompt(script(8, ""))?;
            typist.keys("stress 600s\r");
            // Its first line of progress.
            typist.reads("stress: ")?;
            typist.keys(CTRL_C);
            typist.prompt()?;
            let (_, status) = typist.enter("mem")?;
            typist.expect(status == 0, "mem to add up after the interruption")?;
            typist.quit().adds_up(1)?.passes()
        }),
        Test::new("console::a-long-paste-loses-nothing", || {
            let mut typist = Typist::at_prompt(script(2, ""))?;
            let (_, status) = typist.enter(&format!("mem{}", ";mem".repeat(15)))?;
            typist.expect(status == 0, "all sixteen commands of the line to run")?;
            typist.quit().ends(End::Success)?.adds_up(16)?.passes()
        }),
        Test::new("console::idle-at-the-prompt-costs-little", || {
            let typist = Typist::at_prompt(script(8, ""))?;
            let window = Duration::from_secs(5);
            let before = typist.cpu_time();
            thread::sleep(window);
            let used = typist.cpu_time() - before;
            let percent = 100.0 * used.as_secs_f64() / window.as_secs_f64();
            typist.expect(percent < 10.0, format!("under 10 % of a core at the prompt, used {percent:.1} %"))?;
            typist.quit().ends(End::Success)?.passes()
        }),
    ]
}
