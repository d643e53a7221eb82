//! The test of memory: passes where memory is good, finds a frame that is not, and gives back what it took.

use crate::support::{Failure, Run, Settings, Test, Typist, script};
use tests::End;
use tests::kernel::{self, Verdict};

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("memtest::good-memory-passes-and-all-that-is-free-is-tested", || {
            let run = Run::of(small(3, "", "mem; memtest --seed 5; memtest random --cpus 1; mem; stress 5k; quit"))?;
            run.ends(End::Success)?.judges("memtest", &[true, true])?.judges("stress", &[true])?.adds_up(2)?;
            let free = kernel::answer(run.serial(), "mem").lines().find_map(|line| {
                let (nr_frames, _) = line.trim().strip_prefix("free")?.split_once(" frames")?;
                nr_frames.trim().replace(',', "").parse::<u64>().ok()
            });
            for verdict in kernel::verdicts(run.serial(), "memtest") {
                let [tested, of] = counts(&run, &verdict, ["frames", "of"])?;
                // What is in use at the prompt is a few hundred frames.
                run.check(tested < of && tested + 500 > of, || format!("nearly all of {of} frames, found {tested}"))?;
                run.check(free.is_some_and(|free| tested + 8 > free), || {
                    format!("all of {free:?} free, found {tested}")
                })?;
            }
            run.never_says("memtest: bad")?.passes()
        }),
        Test::new("memtest::a-bad-frame-is-found-and-never-used-again", || {
            let run = Run::of(small(
                2,
                "chaos=bad-frame:2000",
                "memtest address random --seed 5; mem; memtest address; mem --json; quit",
            ))?;
            run.ends(End::CommandFailed)?.judges("memtest", &[false, true])?.adds_up(1)?;
            run.says("bad: 0x000002000268: ")?.says("read, xor 0000000000200000")?.says("\"retired_frames\":1,")?;
            let verdicts = kernel::verdicts(run.serial(), "memtest");
            let [tested, retired] = counts(&run, &verdicts[0], ["frames", "retired"])?;
            let [later] = counts(&run, &verdicts[1], ["frames"])?;
            run.check(retired == 1 && later < tested, || format!("a frame less, found {tested}, then {later}"))?;
            run.passes()
        }),
        Test::new("memtest::each-of-several-bad-frames-is-found-and-what-is-not-tested-is-said", || {
            let bad = "chaos=bad-frame:2000 chaos=bad-frame:2400 chaos=bad-frame:ffffffff";
            let run = Run::of(small(2, bad, "memtest address; mem; quit"))?;
            run.ends(End::CommandFailed)?.judges("memtest", &[false])?.adds_up(1)?;
            run.says("bad: 0x000002000268: ")?.says("bad: 0x000002400268: ")?.says("bad_words=2 retired=2")?;
            run.says("frame 0xffffffff, bad by chaos, is not free and was not tested")?.passes()
        }),
        Test::new("memtest::ctrl-c-gives-everything-back", || {
            let mut typist = Typist::at_prompt(small(2, "", ""))?;
            typist.keys("memtest --passes 100000\r");
            typist.reads("of all, ")?;
            typist.keys("\x03");
            typist.reads("memtest: STOPPED")?;
            let status = typist.prompt()?;
            typist.expect(status == 1, "a test that was not finished is no success")?;
            typist.enter("stress 5k")?;
            typist.enter("mem")?;
            typist.quit().judges("stress", &[true])?.adds_up(1)?.passes()
        }),
    ]
}

fn small(cpus: u32, append: &str, cmd: &str) -> Settings {
    Settings { mem: "64M".into(), append: append.into(), ..script(cpus, cmd) }
}

fn counts<const N: usize>(run: &Run, verdict: &Verdict, keys: [&str; N]) -> Result<[u64; N], Failure> {
    let found = keys.map(|key| verdict.value(key).and_then(|value| value.parse::<u64>().ok()));
    run.check(found.iter().all(Option::is_some), || format!("numbers of {keys:?}, found {found:?}"))?;
    Ok(found.map(Option::unwrap_or_default))
}
